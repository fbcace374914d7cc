"""Which of Lightning's callbacks will not do in a TrainLoop: what fails there, and what would run silently wrong.

All of it is said before the fit has changed anything. :mod:`compat._lightning.needs` says what the others need.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import Checkpoint, ProgressBar

from compat import _ledger
from compat._lightning.needs import overrides
from compat._lightning.old_in_new import OldCallbackAdapter
from compat.callbacks._native import check_package
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
        problems += [] if has_logger else _missing_logger(callback)
        if flags.strategy == "fsdp":
            problems += _sharded_problems(callback)
    return [*problems, *_clashes(callbacks), *_switched_off(callbacks, flags.trainer)]


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
        check_package(callback)
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


def _clashes(callbacks: Sequence[Callback]) -> list[CompatError]:
    found: list[CompatError] = []
    bars = [type(each).__name__ for each in callbacks if isinstance(each, ProgressBar)]
    if len(bars) > 1:
        found.append(InvalidArgumentError(f"There are several progress bars: {', '.join(bars)}. Pass one of them."))
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
                )
            )
        keys[callback.state_key] = callback
    return found


def _switched_off(callbacks: Sequence[Callback], asked: Any) -> list[CompatError]:
    """List the callbacks whose kind ``lightning_args`` switches off."""
    found: list[CompatError] = []
    for flag, kind in (("enable_checkpointing", Checkpoint), ("enable_progress_bar", ProgressBar)):
        names = [type(each).__name__ for each in callbacks if isinstance(each, kind)]
        if names and asked.get(flag) is False:
            found.append(
                InvalidArgumentError(
                    f"lightning_args={{{flag!r}: False}} contradicts the callback {names[0]}. Leave one of them out."
                )
            )
    return found
