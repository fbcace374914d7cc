"""Which of Lightning's callbacks will not do in a TrainLoop: what fails there, and what would run silently wrong.

All of it is said before the fit has changed anything. :mod:`compat._lightning.needs` says what the others need.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint, ProgressBar, Timer

from compat import _ledger
from compat._lightning.needs import hook_owner, overrides
from compat._lightning.old_in_new import OldCallbackAdapter
from compat.callbacks._native import check_native
from compat.exceptions import CompatError, InvalidArgumentError, InvalidTypeError, RefusedError

if TYPE_CHECKING:
    from compat.train_loop import TrainLoop

__all__ = ["REFUSED", "Refusal", "problems_of"]


@dataclass(frozen=True)
class Refusal:
    """Why a part is not served.

    Attributes:
        why: The reason.
        instead: What to do.
    """

    why: str
    instead: str


REFUSED = {
    "BatchSizeFinder": Refusal(
        why="It trains trial batches through the loop, which stay in its counters, and the size that it finds never"
        " reaches the loop's own loader",
        instead="Make loaders of several sizes, or use Lightning's Tuner.scale_batch_size on a LightningModule of your"
        " own",
    ),
    "GradientAccumulationScheduler": Refusal(
        why="Lightning refuses it where the loop steps the optimizers itself, as here",
        instead="Use fit(grad_accumulation=n); to change it while training, set train_loop_obj.grad_accumulation in"
        " on_epoch_begin of an AbstractCallback",
    ),
    "LearningRateFinder": Refusal(
        why="Its trial steps neither raise the learning rate nor see a loss where the loop steps the optimizers itself:"
        " it would suggest a number that means nothing",
        instead="Use Lightning's Tuner.lr_find on a LightningModule of your own",
    ),
    "StochasticWeightAveraging": Refusal(
        why="It waits for Lightning to step its schedule and to average, which does not happen where the loop steps the"
        " optimizers itself: the learning rate would stay, and a last epoch would train that should only collect"
        " statistics",
        instead="Use WeightAveraging or EMAWeightAveraging (Lightning 2.6 or newer)",
    ),
}
_NEED_LOGGER = ("DeviceStatsMonitor", "LearningRateMonitor", "ThroughputMonitor")
_NOT_SHARDED = ("ModelPruning", "OnExceptionCheckpoint", "WeightAveraging")


def problems_of(callbacks: Sequence[Callback], loop: "TrainLoop", has_logger: bool) -> list[CompatError]:
    """List what is wrong with Lightning's callbacks in a loop.

    Args:
        callbacks: All those of the coming fit, each once.
        loop: The facade.
        has_logger: Whether the Trainer has a logger.
    """
    flags = loop._compat.flags
    problems: list[CompatError] = []
    for callback in callbacks:
        problems += _package_problems(callback)
        problems += _refusals(callback)
        problems += _adapter_problems(callback)
        problems += _validation_batch_problems(callback)
        problems += _never_saves(callback, loop.end_auto_eval)
        problems += [] if has_logger else _missing_logger(callback)
        if flags.strategy == "fsdp":
            problems += _sharded_problems(callback)
    return [*problems, *_clashes(callbacks, loop), *_switched_off(callbacks, flags.trainer)]


def _validation_batch_problems(callback: Callback) -> list[CompatError]:
    """List hooks for validation batches; Lightning's own parts and bars know how to do without."""
    found: list[CompatError] = []
    for hook in ("on_validation_batch_start", "on_validation_batch_end"):
        owner = hook_owner(callback, hook)
        is_known = owner is not None and owner.__module__.startswith("lightning.") and hook not in vars(callback)
        if owner is not None and not is_known and not isinstance(callback, ProgressBar):
            found.append(
                RefusedError(
                    f"{type(callback).__name__}.{hook} is not served for a TrainLoop: the loop evaluates by itself, so"
                    " Lightning has no validation batches. Use on_validation_epoch_end, or on_after_batch_prediction of"
                    " an AbstractCallback."
                )
            )
    return found


def _never_saves(callback: Callback, end_auto_eval: Any) -> list[CompatError]:
    """List a checkpoint that is due only in epochs that end_auto_eval leaves out."""
    if not isinstance(callback, ModelCheckpoint) or type(end_auto_eval) is not int:
        return []
    monitor, every = str(callback.monitor), callback._every_n_epochs
    is_automatic = monitor.startswith(("loss", "val_loss"))
    if not is_automatic or every <= 1 or end_auto_eval <= 1 or math.gcd(every, end_auto_eval) == 1:
        return []
    return [
        InvalidArgumentError(
            f"{type(callback).__name__}(monitor={monitor!r}, every_n_epochs={every}) would never save: it is due in"
            f" epochs {every - 1}, {2 * every - 1}, ..., and end_auto_eval={end_auto_eval} evaluates the epochs 0,"
            f" {end_auto_eval}, {2 * end_auto_eval}, ... Leave every_n_epochs out: it saves where there is a new value."
        )
    ]


def _kinds(callback: Callback, names: Sequence[str]) -> list[str]:
    """Return which of Lightning's classes, by name, a callback is an instance of: old versions lack some of them."""
    mro = type(callback).__mro__
    return [each.__name__ for each in mro if each.__name__ in names and each.__module__.startswith("lightning.")]


def _named(callback: Callback, kind: str) -> str:
    name = type(callback).__name__
    return name if name == kind else f"{name}, which is a {kind},"


def _refusals(callback: Callback) -> list[CompatError]:
    found: list[CompatError] = []
    for kind in _kinds(callback, tuple(REFUSED)):
        said = REFUSED[kind]
        _ledger.refused(f"fit(callbacks=[{kind}(...)])", f"{said.why}.")
        found.append(
            RefusedError(f"{_named(callback, kind)} is not served in a TrainLoop. {said.why}. {said.instead}.")
        )
    return found


def _package_problems(callback: Callback) -> list[CompatError]:
    try:
        check_native(callback)
    except CompatError as problem:
        return [problem]
    return []


def _adapter_problems(callback: Callback) -> list[CompatError]:
    if not isinstance(callback, OldCallbackAdapter):
        return []
    name = type(callback.old_callback).__name__
    return [
        InvalidTypeError(
            f"as_lightning_callback is for a Trainer of your own with a module of your own. Pass the {name} itself: the"
            " loop runs old callbacks as they are."
        )
    ]


def _missing_logger(callback: Callback) -> list[CompatError]:
    return [
        InvalidArgumentError(
            f"{_named(callback, kind)} has nowhere to write to: there is no logger. Give the loop one, as in"
            " TrainLoop(..., lightning_args={'logger': CSVLogger('logs')})."
        )
        for kind in _kinds(callback, _NEED_LOGGER)
    ]


def _sharded_problems(callback: Callback) -> list[CompatError]:
    kinds = _kinds(callback, _NOT_SHARDED) or (["Checkpoint"] if isinstance(callback, Checkpoint) else [])
    return [
        RefusedError(
            f"{_named(callback, kind)} is not served with the strategy 'fsdp': each process holds a part of the"
            " weights and of the optimizer's state only. Use gpu_mode='ddp' without it, or save"
            " loop.model.state_dict() after fit, when the model is whole."
        )
        for kind in kinds[:1]
    ]


def _clashes(callbacks: Sequence[Callback], loop: "TrainLoop") -> list[CompatError]:
    found: list[CompatError] = []
    bars = [each for each in callbacks if isinstance(each, ProgressBar)]
    if len(bars) > 1:
        names = ", ".join(type(each).__name__ for each in bars)
        found.append(
            InvalidArgumentError(f"There are several progress bars: {names}. Pass one of them.{_origins(bars, loop)}")
        )
    keys: dict[str, Callback] = {}
    for callback in callbacks:
        if not overrides(callback, "state_dict"):
            continue
        name = type(callback).__name__
        if callback.state_key in keys:
            found.append(
                InvalidArgumentError(
                    f"There are two {name} whose state a checkpoint could not tell apart (state_key"
                    f" {callback.state_key!r}). Pass one of them, or give them other arguments."
                    f"{_origins([keys[callback.state_key], callback], loop)}"
                )
            )
        keys[callback.state_key] = callback
    return found


def _origins(clashing: Sequence[Callback], loop: "TrainLoop") -> str:
    """Say where those come from that the running call need not have named."""
    said = ""
    for owned, where in (
        (loop._compat.flags.callbacks, "given in lightning_args={'callbacks': ...}"),
        (
            loop.callbacks_handler.native_callbacks,
            "registered already; callbacks_handler.native_callbacks is the list to take it out of",
        ),
    ):
        theirs = [each for each in clashing if any(each is one for one in owned)]
        if theirs and len(theirs) < len(clashing):
            said += f" The {type(theirs[0]).__name__} is {where}."
            clashing = [each for each in clashing if all(each is not one for one in theirs)]
    return said


def _switched_off(callbacks: Sequence[Callback], asked: Any) -> list[CompatError]:
    """List the callbacks that contradict ``lightning_args``."""
    found: list[CompatError] = []
    for flag, kind in (("enable_checkpointing", Checkpoint), ("enable_progress_bar", ProgressBar)):
        names = [type(each).__name__ for each in callbacks if isinstance(each, kind)]
        if names and asked.get(flag) is False:
            found.append(_contradiction(f"{flag!r}: False", names[0]))
        elif names and asked.get("barebones"):
            found.append(_contradiction("'barebones': True", names[0]))
    timers = [type(each).__name__ for each in callbacks if isinstance(each, Timer)]
    if timers and asked.get("max_time") is not None:
        # Lightning would not look at the time that was given.
        found.append(_contradiction(f"'max_time': {asked['max_time']!r}", timers[0]))
    return found


def _contradiction(shown: str, name: str) -> CompatError:
    return InvalidArgumentError(f"lightning_args={{{shown}}} contradicts the callback {name}. Leave one of them out.")
