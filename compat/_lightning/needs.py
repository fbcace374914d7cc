"""What native parts need of the training step: whole epochs, cuts where a part acts, or every batch.

One step of Lightning takes a whole epoch unless something attached has to hear of single batches. A part of Lightning's
own is known to act at certain batches only, so the step is cut there and nowhere else; a callback that nobody knows
gets every batch. The same goes for the validation loop: there is none, unless somebody acts in it.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.profilers import PassThroughProfiler

from compat import _ledger
from compat._lightning.cadence import BatchCounter

__all__ = [
    "GRADIENT_HOOKS",
    "Cadence",
    "Cut",
    "Need",
    "OwnCallback",
    "cadence_of",
    "hook_owner",
    "note_parts",
    "overrides",
]

Cut = Callable[[BatchCounter], bool]

GRADIENT_HOOKS = ("on_before_backward", "on_after_backward", "on_before_optimizer_step", "on_before_zero_grad")
_BATCH_HOOKS = ("on_train_batch_start", "on_train_batch_end")
_VALIDATION_HOOKS = (
    "on_validation_start",
    "on_validation_epoch_start",
    "on_validation_batch_start",
    "on_validation_batch_end",
    "on_validation_epoch_end",
    "on_validation_end",
)
_CHANGE_WEIGHTS = ("ModelPruning", "WeightAveraging")
# Measured on one thread of a CPU: tests/bench.
_COST = (
    "Every batch is a step of Lightning's own then, which costs about 0.1 ms more for each; without these parts a step"
    " takes the whole epoch"
)
_COST_OF_CUTS = "A step ends where they act, and no earlier"
# A bar that a person watches need not move more often, in seconds.
_BAR_INTERVAL = 0.1
# In several processes all have to cut at the same batch, so a clock will not do.
_BAR_BATCHES = 50


@dataclass(frozen=True)
class Need:
    """What one part needs, and why.

    Attributes:
        reason: Who, and what for; shown to users.
        cut: Tells after a batch whether the step ends there; ``None`` if it ends after every batch.
    """

    reason: str
    cut: Cut | None = None


@dataclass(frozen=True)
class Cadence:
    """How the batches of an epoch are dealt into Lightning's steps, and whether there is a validation loop.

    Attributes:
        needs: What keeps the step from taking whole epochs; none if it takes them.
        validation: Who needs the validation loop, and why; none if there is none.
        gradient_callbacks: The callbacks with hooks round the backward pass and the update.
        is_profiled: Whether a profiler wants to hear of them too.
        changes_weights: Whether a part puts other weights into the model where an epoch or the training ends.
    """

    needs: tuple[Need, ...] = ()
    validation: tuple[str, ...] = ()
    gradient_callbacks: tuple[Callback, ...] = ()
    is_profiled: bool = False
    changes_weights: bool = False

    @property
    def reasons(self) -> tuple[str, ...]:
        """What keeps the step from taking whole epochs; none if it takes them."""
        return tuple(need.reason for need in self.needs)

    @property
    def is_every_batch(self) -> bool:
        """Whether every batch is a step of its own."""
        return any(need.cut is None for need in self.needs)

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """What decides after a batch whether the step ends there."""
        if self.is_every_batch:
            return (_after_every_batch,)
        return tuple(need.cut for need in self.needs if need.cut is not None)

    def __str__(self) -> str:
        """Say it in a line."""
        every = [need.reason for need in self.needs if need.cut is None]
        steps = "cut" if self.needs else "whole epochs"
        said = f"every batch, for {'; '.join(every)}" if every else ", for ".join([steps, *_joined(self.reasons)])
        return ". Validation, for ".join([said, *_joined(self.validation)])


def _joined(reasons: tuple[str, ...]) -> list[str]:
    return ["; ".join(reasons)] if reasons else []


def _after_every_batch(count: BatchCounter) -> bool:
    return True


class OwnCallback(Callback):
    """A callback that this package adds to the Trainer's. It says itself what it needs.

    Attributes:
        needs: What keeps the step from taking whole epochs.
    """

    needs: tuple[Need, ...] = ()


def cadence_of(trainer: Trainer) -> Cadence:
    """Find out what the parts of a Trainer need.

    Args:
        trainer: A Trainer with all its callbacks, before it runs.
    """
    everyone: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]  # set by one of its connectors
    callbacks = [each for each in everyone if not isinstance(each, OwnCallback)]
    several = trainer.world_size > 1
    needs = [need for each in everyone if isinstance(each, OwnCallback) for need in each.needs]
    needs += [need for each in callbacks for need in _batch_needs(each, trainer, several)]
    profiler = trainer.profiler  # type: ignore[attr-defined]
    is_profiled = not isinstance(profiler, PassThroughProfiler)
    if is_profiled:
        needs.append(Need(f"{type(profiler).__name__}, which times each of them"))
    gradient_callbacks = tuple(each for each in callbacks if any(overrides(each, hook) for hook in GRADIENT_HOOKS))
    if gradient_callbacks and trainer.loggers and (every := trainer.log_every_n_steps):  # type: ignore[attr-defined]
        # What they log from inside a step goes to the loggers when it ends.
        names = ", ".join(type(each).__name__ for each in gradient_callbacks)
        reason = f"{names}, which may log (log_every_n_steps={every})"
        needs.append(Need(reason, lambda count: count.all_batches % every == 0))
    if trainer.min_steps:
        least = trainer.min_steps
        # Who wants to stop before has to wait until then, and no longer.
        needs.append(Need(f"min_steps={least}", lambda count: count.is_updated and count.all_updates == least))
    if trainer.max_steps >= 0:
        limit = trainer.max_steps
        needs.append(Need(f"max_steps={limit}", lambda count: count.all_updates >= limit))
    return Cadence(
        needs=tuple(needs),
        validation=tuple(_validation_needs(callbacks)),
        gradient_callbacks=gradient_callbacks,
        is_profiled=is_profiled,
        changes_weights=any(each.__name__ in _CHANGE_WEIGHTS for part in callbacks for each in type(part).__mro__),
    )


def note_parts(trainer: Trainer, cadence: Cadence) -> None:
    """Note for the report which native parts a Trainer has, and what they make of the training step.

    Args:
        trainer: The Trainer.
        cadence: What its parts need.
    """
    everyone: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]  # set by one of its connectors
    # The logger of a trial run is nobody's.
    loggers = [each for each in trainer.loggers if type(each).__name__ != "DummyLogger"]
    for part in (*(each for each in everyone if not isinstance(each, OwnCallback)), *loggers):
        _ledger.attached(f"{type(part).__module__}.{type(part).__qualname__}")
    if cadence.needs:
        steps = str(cadence).partition(". Validation")[0]
        _ledger.attached("training step", f"{steps}. {_COST if cadence.is_every_batch else _COST_OF_CUTS}")
    if cadence.validation:
        _ledger.attached("validation loop", f"there is one, for {'; '.join(cadence.validation)}")


def hook_owner(callback: Callback, name: str) -> type | None:
    """Find the class that defines a callback's hook.

    Args:
        callback: A native callback.
        name: The hook.

    Returns:
        The class, the callback's own for a hook that was set on the object, or ``None`` if nobody overrides it.
    """
    if name in vars(callback):
        return type(callback)
    owner = next((each for each in type(callback).__mro__ if name in vars(each)), None)
    return None if owner is Callback else owner


def overrides(callback: Callback, name: str) -> bool:
    """Tell whether a callback has a hook.

    Args:
        callback: A native callback.
        name: The hook.
    """
    return hook_owner(callback, name) is not None


def _rule(callback: Callback, hook: str, rules: dict[str, Any]) -> tuple[Any, bool]:
    """Return the rule for a hook, and whether somebody has the hook at all; no rule if nobody knows what it does."""
    owner = hook_owner(callback, hook)
    if owner is None:
        return None, False
    is_set_on_object = hook in vars(callback)
    is_lightnings = owner.__module__.startswith("lightning.pytorch.") and not is_set_on_object
    return (rules.get(owner.__name__) if is_lightnings else None), True


def _batch_needs(callback: Callback, trainer: Trainer, several: bool) -> list[Need]:
    found: list[Need] = []
    known: list[Any] = []
    for hook in _BATCH_HOOKS:
        rule, is_there = _rule(callback, hook, _BATCH_RULES)
        if is_there and rule is None:
            found.append(Need(f"{type(callback).__name__}.{hook}"))
        elif is_there and rule not in known:
            # A part with both hooks has one rule for them.
            known.append(rule)
            found += rule(callback, trainer, several)
    return found


def _nothing(callback: Any, trainer: Trainer, several: bool) -> list[Need]:
    return []


def _every_batch(callback: Any, trainer: Trainer, several: bool) -> list[Need]:
    return [Need(f"{type(callback).__name__}, which counts every batch")]


def _clock(seconds: Callable[[], float | None], several: bool) -> Cut | None:
    """Make a cut by the clock; in several processes every batch instead, since each has a clock of its own."""
    if several:
        return None

    def is_time(count: BatchCounter) -> bool:
        left = seconds()
        return left is not None and left <= 0

    return is_time


def _of_checkpoint(callback: Any, trainer: Trainer, several: bool) -> list[Need]:
    found, name = [], type(callback).__name__
    # XXX: no public attribute says so (lightning 2.6).
    every = callback._every_n_train_steps
    if every >= 1:
        found.append(
            Need(
                f"{name}(every_n_train_steps={every})",
                lambda count: count.is_updated and count.all_updates % every == 0,
            )
        )
    interval = callback._train_time_interval
    if interval is not None:
        seconds = interval.total_seconds()

        def left() -> float | None:
            last = callback._last_time_checked
            return None if last is None else float(last + seconds - time.monotonic())

        found.append(Need(f"{name}(train_time_interval={interval})", _clock(left, several)))
    return found


def _of_timer(callback: Any, trainer: Trainer, several: bool) -> list[Need]:
    if callback._interval != "step" or callback._duration is None:
        return []
    return [Need(f"{type(callback).__name__}, whose time may run out", _clock(callback.time_remaining, several))]


def _of_learning_rates(callback: Any, trainer: Trainer, several: bool) -> list[Need]:
    if callback.logging_interval == "epoch":
        return []
    return [_before_logging(callback, trainer)]


def _of_device_stats(callback: Any, trainer: Trainer, several: bool) -> list[Need]:
    every = trainer.log_every_n_steps  # type: ignore[attr-defined]
    if not every:
        return []
    after = Need(f"{type(callback).__name__}, after it", lambda count: count.all_batches % every == 0)
    return [_before_logging(callback, trainer), after]


def _before_logging(callback: Any, trainer: Trainer) -> Need:
    # It acts where a batch begins, so the step ends one batch earlier.
    every = trainer.log_every_n_steps  # type: ignore[attr-defined]
    reason = f"{type(callback).__name__}, before each batch that is logged (log_every_n_steps={every})"
    return Need(reason, lambda count: bool(every) and (count.all_batches + 1) % every == 0)


def _of_averages(callback: Any, trainer: Trainer, several: bool) -> list[Need]:
    name = type(callback).__name__
    owner = next(each for each in type(callback).__mro__ if "should_update" in vars(each))
    if not owner.__module__.startswith("lightning.pytorch.") or "should_update" in vars(callback):
        return [Need(f"{name}, which may average after every update", lambda count: count.is_updated)]
    if getattr(callback, "update_every_n_steps", 1) == 0:
        return []
    return [
        Need(
            f"{name}, which averages after updates",
            lambda count: count.is_updated and callback.should_update(step_idx=count.all_updates - 1),
        )
    ]


def _of_bar(callback: Any, trainer: Trainer, several: bool) -> list[Need]:
    if not callback.is_enabled:
        return []
    # Of one the rate is in batches, of the other in times a second.
    is_tqdm = any(each.__name__ == "TQDMProgressBar" for each in type(callback).__mro__)
    every = int(callback.refresh_rate) if is_tqdm else 1
    reason = f"{type(callback).__name__}, which moves"
    if several:
        batches = -(-_BAR_BATCHES // every) * every
        return [Need(reason, lambda count: count.batches % batches == 0)]
    due = 0.0

    def is_due(count: BatchCounter) -> bool:
        nonlocal due
        if count.batches % every:
            return False
        now = time.monotonic()
        if now < due:
            return False
        due = now + _BAR_INTERVAL
        return True

    return [Need(reason, is_due)]


_BATCH_RULES: dict[str, Callable[[Any, Trainer, bool], list[Need]]] = {
    "DeviceStatsMonitor": _of_device_stats,
    "LearningRateMonitor": _of_learning_rates,
    "ModelCheckpoint": _of_checkpoint,
    "RichProgressBar": _of_bar,
    "SpikeDetection": _every_batch,
    "TQDMProgressBar": _of_bar,
    "ThroughputMonitor": _every_batch,
    "Timer": _of_timer,
    "WeightAveraging": _of_averages,
}


def _validation_needs(callbacks: Iterable[Callback]) -> list[str]:
    found: list[str] = []
    for callback in callbacks:
        name = type(callback).__name__
        rules = [_rule(callback, hook, _VALIDATION_RULES) for hook in _VALIDATION_HOOKS]
        found += [
            f"{name}, which acts in validation" if rule is None else rule(callback)
            for rule in dict.fromkeys(rule for rule, is_there in rules if is_there)
        ]
    return [reason for reason in dict.fromkeys(found) if reason]


def _not_there(callback: Any) -> str:
    # What it would do there is about batches of a validation loop, and the loop's own pass has none.
    return ""


def _at_validation_of_checkpoint(callback: Any) -> str:
    name = type(callback).__name__
    if callback._save_on_train_epoch_end is False:
        return f"{name}(save_on_train_epoch_end=False)"
    if callback.monitor is None or callback._every_n_train_steps < 1:
        return ""
    return f"{name}(monitor={callback.monitor!r}, every_n_train_steps={callback._every_n_train_steps})"


def _at_validation_of_stopping(callback: Any) -> str:
    is_at_validation = callback._check_on_train_epoch_end is False
    return f"{type(callback).__name__}(check_on_train_epoch_end=False)" if is_at_validation else ""


def _at_validation_of_pruning(callback: Any) -> str:
    return "" if callback._prune_on_train_epoch_end else f"{type(callback).__name__}(prune_on_train_epoch_end=False)"


def _at_validation_of_averages(callback: Any) -> str:
    return f"{type(callback).__name__}, whose averaged weights are evaluated"


_VALIDATION_RULES: dict[str, Callable[[Any], str]] = {
    "DeviceStatsMonitor": _not_there,
    "EarlyStopping": _at_validation_of_stopping,
    "ModelCheckpoint": _at_validation_of_checkpoint,
    "ModelPruning": _at_validation_of_pruning,
    "RichProgressBar": _not_there,
    "TQDMProgressBar": _not_there,
    "ThroughputMonitor": _not_there,
    "Timer": _not_there,
    "WeightAveraging": _at_validation_of_averages,
}
