"""Schedulers that raise the learning rate from zero and let it fall again, stepped after each optimizer update.

With s updates done, w of warm-up and T in all, and p = (s - w) / max(1, T - w) the progress after the warm-up, the
learning rate is multiplied by s / max(1, w) while s < w, and then by

* constant: 1
* linear: max(0, (T - s) / max(1, T - w))
* cosine: max(0, (1 + cos(pi * 2 * c * p)) / 2), with c cycles
* cosine with hard restarts: max(0, (1 + cos(pi * ((c * p) mod 1))) / 2) while p < 1, then 0

The multipliers are those of ``get_constant_schedule_with_warmup``, ``get_linear_schedule_with_warmup``,
``get_cosine_schedule_with_warmup`` and ``get_cosine_with_hard_restarts_schedule_with_warmup`` of Hugging Face
transformers.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from compat._loop_state import state_of
from compat.callbacks.abstract import AbstractCallback
from compat.exceptions import InvalidTypeError
from compat.schedulers.basic import LambdaLRScheduler

if TYPE_CHECKING:
    from compat.train_loop import TrainLoop

__all__ = [
    "ConstantWithWarmupScheduler",
    "CosineWithWarmupScheduler",
    "HardRestartsCosineWithWarmupScheduler",
    "LinearWithWarmupScheduler",
]

# Functions of this module with their arguments bound, not closures: they can be pickled, so the schedulers can be sent
# to other processes.


def _progress(step: int, warmup: float, total: float) -> float:
    return (step - warmup) / max(1, total - warmup)


def _constant(step: int) -> float:
    return 1.0


def _linear(step: int, *, warmup: float, total: float) -> float:
    return max(0.0, (total - step) / max(1, total - warmup))


def _cosine(step: int, *, warmup: float, total: float, cycles: float) -> float:
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * cycles * 2.0 * _progress(step, warmup, total))))


def _hard_restarts(step: int, *, warmup: float, total: float, cycles: float) -> float:
    progress = _progress(step, warmup, total)
    if progress >= 1.0:
        return 0.0
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * ((cycles * progress) % 1.0))))


def _warmed_up(step: int, *, warmup: float, then: Callable[[int], float], first_step_counts: bool) -> float:
    if step >= warmup:
        return then(step)
    return (step + 1 if first_step_counts else step) / max(1, warmup)


class _WarmupScheduler(LambdaLRScheduler):
    """A warm-up, and what follows it.

    Note:
        The first update runs with a learning rate of 0, and changes nothing (Q91). With the switch the warm-up counts
        from 1, so that the first update runs with 1/w and update w with the full learning rate.
    """

    def __init__(self, name: str, warmup: float, then: Callable[[int], float], last_epoch: int, **kwargs: Any) -> None:
        super().__init__(
            partial(_warmed_up, warmup=warmup, then=then, first_step_counts=False),
            execute_epoch_end=False,
            execute_batch_end=True,
            last_epoch=last_epoch,
            **kwargs,
        )
        self.callback_name = name
        self._began_at: int | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the torch scheduler, without the multiplier.

        As in the old library's checkpoints: the steps of the warm-up are arguments of the program, not saved state.
        """
        state = super().state_dict()
        state["lr_lambdas"] = [None] * len(state["lr_lambdas"])
        return state

    def register_train_loop_object(self, train_loop_obj: "TrainLoop") -> AbstractCallback:
        """Build the torch scheduler, with a warm-up as the quirk's switch says."""
        multiplier = self.scheduler_args["lr_lambda"]
        if isinstance(multiplier, partial) and multiplier.func is _warmed_up:
            quirks = state_of(train_loop_obj).quirks
            is_fixed = quirks.fixed("Q91")
            self.scheduler_args["lr_lambda"] = partial(multiplier, first_step_counts=is_fixed)
            if multiplier.keywords["warmup"] > 0 and not is_fixed:
                quirks.foretell("Q91")
        callback = super().register_train_loop_object(train_loop_obj)
        self._began_at = self.scheduler.last_epoch
        return callback

    def on_epoch_end(self) -> None:
        """Step as for every lambda scheduler; count once that the first updates had another learning rate (Q91)."""
        super().on_epoch_end()
        multiplier = self.scheduler_args["lr_lambda"]
        if self._began_at is None or self.scheduler.last_epoch == self._began_at:
            return
        if isinstance(multiplier, partial) and self._began_at < multiplier.keywords.get("warmup", 0):
            state_of(self.train_loop_obj).quirks.met("Q91")
        self._began_at = None


class ConstantWithWarmupScheduler(_WarmupScheduler):
    """Warm up, then keep the learning rate.

    Args:
        num_warmup_steps: How many optimizer updates the warm-up takes.
        last_epoch: For the torch scheduler: -1, or the last step when resuming.
        kwargs: For the torch scheduler, and ``optimizer_idx``.

    Raises:
        InvalidTypeError: A number of steps that is not a number.
    """

    def __init__(self, num_warmup_steps: float, last_epoch: int = -1, **kwargs: Any) -> None:
        """Keep the arguments; the torch scheduler is built at registration."""
        _check_numbers(self, num_warmup_steps=num_warmup_steps)
        super().__init__(
            "Warmed up constant learning rate scheduler", num_warmup_steps, _constant, last_epoch, **kwargs
        )


class LinearWithWarmupScheduler(_WarmupScheduler):
    """Warm up, then let the learning rate fall linearly to 0.

    Args:
        num_warmup_steps: How many optimizer updates the warm-up takes.
        num_training_steps: How many optimizer updates the training takes, the warm-up included.
        last_epoch: For the torch scheduler: -1, or the last step when resuming.
        kwargs: For the torch scheduler, and ``optimizer_idx``.

    Raises:
        InvalidTypeError: A number of steps that is not a number.
    """

    def __init__(self, num_warmup_steps: float, num_training_steps: float, last_epoch: int = -1, **kwargs: Any) -> None:
        """Keep the arguments; the torch scheduler is built at registration."""
        _check_numbers(self, num_warmup_steps=num_warmup_steps, num_training_steps=num_training_steps)
        super().__init__(
            "Warmed up linearly decreasing learning rate scheduler",
            num_warmup_steps,
            partial(_linear, warmup=num_warmup_steps, total=num_training_steps),
            last_epoch,
            **kwargs,
        )


class _WaveScheduler(_WarmupScheduler):
    """A warm-up, and a wave of some number of cycles after it; a subclass says which wave, and its name."""

    _name: str
    _wave: Callable[..., float]

    def __init__(
        self,
        num_warmup_steps: float,
        num_training_steps: float,
        num_cycles: float = 0.5,
        last_epoch: int = -1,
        **kwargs: Any,
    ) -> None:
        """Keep the arguments; the torch scheduler is built at registration."""
        _check_numbers(
            self, num_warmup_steps=num_warmup_steps, num_training_steps=num_training_steps, num_cycles=num_cycles
        )
        wave = partial(type(self)._wave, warmup=num_warmup_steps, total=num_training_steps, cycles=num_cycles)
        super().__init__(self._name, num_warmup_steps, wave, last_epoch, **kwargs)


class CosineWithWarmupScheduler(_WaveScheduler):
    """Warm up, then let the learning rate follow a cosine.

    Args:
        num_warmup_steps: How many optimizer updates the warm-up takes.
        num_training_steps: How many optimizer updates the training takes, the warm-up included.
        num_cycles: How many waves the cosine makes; a half falls from the full learning rate to 0.
        last_epoch: For the torch scheduler: -1, or the last step when resuming.
        kwargs: For the torch scheduler, and ``optimizer_idx``.

    Raises:
        InvalidTypeError: A number of steps or cycles that is not a number.
    """

    _name = "Warmed up cosine decreasing learning rate scheduler"
    _wave = staticmethod(_cosine)


class HardRestartsCosineWithWarmupScheduler(_WaveScheduler):
    """Warm up, then let the learning rate fall along a cosine, again and again from the top.

    Args:
        num_warmup_steps: How many optimizer updates the warm-up takes.
        num_training_steps: How many optimizer updates the training takes, the warm-up included.
        num_cycles: How many times it falls from the full learning rate to 0.
        last_epoch: For the torch scheduler: -1, or the last step when resuming.
        kwargs: For the torch scheduler, and ``optimizer_idx``.

    Raises:
        InvalidTypeError: A number of steps or cycles that is not a number.
    """

    _name = "Warmed up hard restarts cosine learning rate scheduler"
    _wave = staticmethod(_hard_restarts)


def _check_numbers(scheduler: LambdaLRScheduler, **arguments: Any) -> None:
    for name, value in arguments.items():
        try:
            value + 0.0
        except TypeError as error:
            raise InvalidTypeError(
                f"{type(scheduler).__name__}({name}={value!r}) is a {type(value).__name__}. Pass a number."
            ) from error
