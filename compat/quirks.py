"""The deliberate oddities of the old loop: their ids, their switches, and the warnings they give.

A quirk is *kept* when the loop does what the old one did, and *fixed* when it does what is right. Where numbers of a
program that runs would change, kept is the default and the quirk warns once at the user's line. Three switches, the
nearer one wins:

* one loop: ``TrainLoop(..., quirks={"Q01": "fixed"})``
* this process: ``compat.quirks.set(Q01="fixed")``
* one run: the environment variable ``COMPAT_QUIRKS=Q01=fixed,Q11=fixed``
"""

import builtins
import os
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import FrameType

from compat.exceptions import InvalidArgumentError, InvalidTypeError, QuirkWarning

__all__ = ["QUIRKS", "Quirk", "QuirkSettings", "is_fixed", "reset", "set"]

_ENVIRONMENT = "COMPAT_QUIRKS"
_MODES = ("kept", "fixed")


@dataclass(frozen=True)
class Quirk:
    """One oddity of the old loop.

    Attributes:
        id: ``Q`` and two or three digits.
        default: ``kept`` or ``fixed``.
        kept: What the old loop does.
        fixed: What the correction does; empty where there is no switch, only a warning.
    """

    id: str
    default: str
    kept: str
    fixed: str = ""


def _table(*rows: Quirk) -> dict[str, Quirk]:
    return {row.id: row for row in rows}


QUIRKS: Mapping[str, Quirk] = _table(
    Quirk(
        "Q01",
        "kept",
        "a second fit starts at the index of the last epoch that ran, and runs it again",
        "a second fit starts at the epoch after the last one that ran, and num_epochs still counts from the first",
    ),
    Quirk(
        "Q02",
        "kept",
        "num_iterations is compared with the count of all batches that the loop ever trained",
        "num_iterations counts the batches of this fit",
    ),
    Quirk(
        "Q03",
        "fixed",
        "the number of epochs for num_iterations is computed before on_train_begin can swap the loaders",
        "the number of epochs for num_iterations is computed from the loader that is trained on",
    ),
    Quirk("Q05", "kept", "early_stop stays set, so a later fit runs one epoch", "fit starts with early_stop cleared"),
    Quirk(
        "Q07",
        "kept",
        "a callback object that is passed again is registered again, and each of its hooks runs twice",
        "a callback object that is passed again is registered once",
    ),
    Quirk("Q08", "kept", "unknown keyword arguments of fit are ignored"),
    Quirk(
        "Q10",
        "kept",
        "gradients that an earlier fit left on the parameters are added to the first step of this one",
        "gradients left over from an earlier fit are cleared when fit starts",
    ),
    Quirk(
        "Q11",
        "kept",
        "the last, shorter accumulation window of an epoch is divided by the full window size",
        "the last, shorter accumulation window of an epoch is divided by its own size",
    ),
    Quirk(
        "Q13",
        "kept",
        "get_num_training_steps leaves out the update of a partial accumulation window",
        "get_num_training_steps counts the updates that really happen",
    ),
    Quirk(
        "Q16",
        "fixed",
        "batch losses of a fit that raised are averaged into the next accumulated_loss",
        "fit starts with no batch losses recorded",
    ),
    Quirk(
        "Q17",
        "kept",
        "end_auto_eval is on only for an exact bool or int: any other type switches it off",
        "end_auto_eval takes whole numbers of any type, and truth values of numpy",
    ),
    Quirk(
        "Q18",
        "kept",
        "the automatic evaluation of the training set draws from the random number generators, so the batch order of"
        " later epochs depends on end_auto_eval",
        "the automatic evaluation of the training set leaves the random number generators as they were",
    ),
    Quirk(
        "Q19",
        "kept",
        "a loss over a data set is the mean over its batches, so the samples of a smaller last batch weigh more",
        "a loss over a data set is the mean over its samples",
    ),
    Quirk(
        "Q21",
        "kept",
        "use_amp is on only for True itself or a dict: any other value switches it off",
        "use_amp is on for any true value",
    ),
    Quirk("Q22", "kept", "use_amp on the CPU trains in float32"),
    Quirk(
        "Q24",
        "kept",
        "on_after_optimizer_step and the schedulers go on although the gradient scaler skipped the step",
        "on_after_optimizer_step and the schedulers wait for a step that really happened",
    ),
    Quirk(
        "Q34",
        "fixed",
        "a prediction stored for an earlier iteration is served as one of the current iteration",
        "a prediction is served only for the iteration that it was stored for",
    ),
    Quirk("Q40", "kept", "metadata of batches with different keys is joined key by key, so its rows do not line up"),
    Quirk(
        "Q41",
        "fixed",
        "the losses of a MultiLoss are reported under alphabetically sorted names, whatever their order",
        "each loss of a MultiLoss is reported under its own name",
    ),
    Quirk(
        "Q42",
        "kept",
        "of a MultiLoss with a single optimizer only the first loss is back-propagated",
        "all losses of a MultiLoss are back-propagated before the single optimizer's step",
    ),
    Quirk(
        "Q43",
        "kept",
        "losses beyond the number of optimizers are not back-propagated",
        "losses beyond the number of optimizers are back-propagated before the last optimizer's step",
    ),
    Quirk(
        "Q45",
        "kept",
        "an optimizer steps before the next loss is back-propagated, which fails for layers that both use",
        "all losses are back-propagated, then all optimizers step",
    ),
    Quirk(
        "Q46",
        "kept",
        "gradients that a later loss leaves on an earlier optimizer's parameters are added to its next step",
        "all gradients are cleared once every optimizer has stepped",
    ),
    Quirk(
        "Q48",
        "fixed",
        "loss names in a loss_optimizer_map become strings, and of two losses with one optimizer only the last counts",
        "loss names stay as they are, and two losses with one optimizer are both back-propagated",
    ),
    Quirk(
        "Q69",
        "kept",
        "EarlyStopping stops after patience + 1 epochs without improvement, is blocked by a NaN in the first epoch, and"
        " maximises every metric without 'loss' or 'error' in its name",
        "EarlyStopping stops after patience epochs without improvement (at least one), never takes a NaN for the best,"
        " and minimises the usual names of losses, errors and distances",
    ),
    Quirk(
        "Q70",
        "kept",
        "EarlyStopping counts an epoch without a new value of its metric as one without improvement",
        "EarlyStopping waits for a new value of its metric",
    ),
    Quirk(
        "Q78",
        "fixed",
        "DataSubsetTestRun replaces the loaders for good, and the whole training set becomes a list for"
        " num_train_batches=0",
        "DataSubsetTestRun gives the loaders back after fit, and leaves the training loader alone for"
        " num_train_batches=0",
    ),
    Quirk(
        "Q88",
        "kept",
        "on_after_gradient_update and on_after_optimizer_step run only if a callback has set grad_cb_used",
        "on_after_gradient_update and on_after_optimizer_step run for every callback that has them",
    ),
    Quirk(
        "Q91",
        "kept",
        "the warm-up schedulers start with a learning rate of 0, so the first update changes nothing",
        "the warm-up schedulers start with the learning rate of their first step",
    ),
    Quirk(
        "Q92",
        "kept",
        "ReduceLROnPlateauScheduler evaluates the validation loss although end_auto_eval is off, and keeps no record",
        "the validation loss that ReduceLROnPlateauScheduler evaluates is put into the history",
    ),
    Quirk("Q102", "kept", "a fit whose epochs have all been run trains nothing"),
)

_process: dict[str, str] = {}
_warned: builtins.set[tuple[str, str, int]] = builtins.set()


def set(**modes: str) -> None:
    """Set quirks for this process.

    Args:
        modes: ``Q01="fixed"``, ``Q11="kept"`` and so on.

    Raises:
        InvalidArgumentError: An id without a switch, or a mode other than ``kept`` and ``fixed``. Nothing is set then.
    """
    _process.update(_checked(modes, "compat.quirks.set"))


def reset() -> None:
    """Forget what :func:`set` set for this process, and which warnings were given."""
    _process.clear()
    _warned.clear()


def is_fixed(quirk: str) -> bool:
    """Tell whether a quirk is corrected in this process, whatever a single loop says of it."""
    return _mode(quirk, {}) == "fixed"


class QuirkSettings:
    """The quirks of one loop: its own switches, then those of the process, the run and the table.

    Args:
        switches: Modes by id, such as ``{"Q01": "fixed"}``.

    Raises:
        InvalidTypeError: ``switches`` is not a mapping.
        InvalidArgumentError: An id without a switch, or a mode other than ``kept`` and ``fixed``.
    """

    def __init__(self, switches: Mapping[str, str] | None = None) -> None:
        """Check the switches and keep a copy."""
        if switches is not None and not isinstance(switches, Mapping):
            raise InvalidTypeError(
                f"quirks={switches!r} is a {type(switches).__name__}. Pass a dict, such as quirks={{'Q01': 'fixed'}}."
            )
        self._switches = _checked(switches or {}, "TrainLoop(quirks=)")
        # Early: a mistake in the environment should not wait for the first fit.
        _from_environment(os.environ.get(_ENVIRONMENT, ""))

    def fixed(self, quirk: str) -> bool:
        """Tell whether the quirk is corrected for this loop."""
        return _mode(quirk, self._switches) == "fixed"

    def warn(self, quirk: str, detail: str = "") -> None:
        """Warn that a quirk is at work, once for each line of the user's code.

        Args:
            quirk: The id.
            detail: What happens in this run, where the table's text is too general.
        """
        row = QUIRKS[quirk]
        text = f"{quirk}: {detail or row.kept}."
        if row.fixed:
            text += (
                f' As in the old loop. Corrected, {row.fixed}: TrainLoop(..., quirks={{"{quirk}": "fixed"}}),'
                f' compat.quirks.set({quirk}="fixed") or {_ENVIRONMENT}={quirk}=fixed; "kept" ends this warning.'
            )
        else:
            text += f' compat.quirks.set({quirk}="kept") ends this warning.'
        if _stated(quirk, self._switches) is None:
            _warn_at_user_line(quirk, text)


def _mode(quirk: str, switches: Mapping[str, str]) -> str:
    return _stated(quirk, switches) or QUIRKS[quirk].default


def _stated(quirk: str, switches: Mapping[str, str]) -> str | None:
    """Return what was said about a quirk: of the loop, else of the process, else of the run."""
    for said in (switches, _process, _from_environment(os.environ.get(_ENVIRONMENT, ""))):
        if quirk in said:
            return said[quirk]
    return None


@lru_cache(maxsize=8)
def _from_environment(text: str) -> Mapping[str, str]:
    modes: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        quirk, _, mode = part.partition("=")
        modes[quirk.strip()] = mode.strip()
    return _checked(modes, _ENVIRONMENT)


def _checked(modes: Mapping[str, str], place: str) -> dict[str, str]:
    for quirk, mode in modes.items():
        if quirk not in QUIRKS:
            known = ", ".join(QUIRKS)
            raise InvalidArgumentError(f"{place}: {quirk!r} is not a quirk with a switch. Those are: {known}.")
        if mode not in _MODES:
            raise InvalidArgumentError(f"{place}: {quirk}={mode!r} is not a mode. Use 'kept' or 'fixed'.")
        if mode == "fixed" and not QUIRKS[quirk].fixed:
            raise InvalidArgumentError(f"{place}: {quirk} cannot be corrected. 'kept' ends its warning.")
    return dict(modes)


def _warn_at_user_line(quirk: str, text: str) -> None:
    stacklevel, filename, line = _user_frame()
    if (quirk, filename, line) in _warned:
        return
    _warned.add((quirk, filename, line))
    warnings.warn(text, QuirkWarning, stacklevel=stacklevel)


def _user_frame() -> tuple[int, str, int]:
    """Find the innermost frame of the user's code.

    Returns:
        Its stack level for a ``warnings.warn`` in the caller of this function, its file and its line.
    """
    # XXX: `warnings.warn(skip_file_prefixes=)` does this from Python 3.12 on; use it once 3.11 is no longer supported.
    frame: FrameType | None = sys._getframe(1)
    level, last = 0, ("", 0)
    while frame is not None:
        level += 1
        last = (frame.f_code.co_filename, frame.f_lineno)
        if frame.f_globals.get("__name__", "").split(".")[0] not in _INTERNAL:
            break
        frame = frame.f_back
    return level, *last


_INTERNAL = frozenset({"compat", "lightning", "lightning_fabric", "pytorch_lightning", "torch", "contextlib", "tqdm"})
