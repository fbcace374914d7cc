"""Mixed precision as the old loop has it: autocast round the loss and the predictions, and one gradient scaler."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from compat import _ledger
from compat.exceptions import InvalidTypeError

__all__ = ["SCALER_OPTIONS", "LoopScaler", "autocast", "readable", "scaler_options"]

SCALER_OPTIONS = ("init_scale", "growth_factor", "backoff_factor", "growth_interval")

_NO_CONTEXT: AbstractContextManager[Any] = nullcontext()


def autocast(use_amp: bool, device: torch.device, dtype: torch.dtype | None = None) -> AbstractContextManager[Any]:
    """Return the context that a loss or a prediction is computed in.

    Args:
        use_amp: Whether mixed precision is on.
        device: Where the model is.
        dtype: The type to compute in, on whatever device and without a scaler; ``None`` leaves it to ``use_amp``.

    Returns:
        Autocast. Where that would change nothing, a context that does nothing and costs nothing.
    """
    if dtype is not None:
        # Inside an autocast of the user's a cache of cast weights would outlive the update of the weights.
        is_inside = torch.is_autocast_enabled(device.type)
        return torch.autocast(device.type, dtype=dtype, cache_enabled=False if is_inside else None)
    # A disabled autocast still has work to do inside an autocast of the user's: the old loop switches that off.
    if device.type == "cuda" and (use_amp or torch.is_autocast_enabled("cuda")):
        return torch.autocast("cuda", enabled=use_amp)
    return _NO_CONTEXT


def readable(value: Any) -> Any:
    """Turn bfloat16 into float32, which holds the same numbers: numpy, and so every metric, has no bfloat16.

    Args:
        value: A tensor, a container of values, or anything else, which is left as it is.
    """
    if isinstance(value, torch.Tensor):
        return value.float() if value.dtype == torch.bfloat16 else value
    if isinstance(value, dict):
        return {key: readable(entry) for key, entry in value.items()}
    return type(value)(map(readable, value)) if type(value) in (list, tuple) else value


def scaler_options(use_amp: Any) -> dict[str, Any]:
    """Take the options of the gradient scaler out of ``TrainLoop(use_amp=)``.

    Args:
        use_amp: A dict of options, or anything else for none.

    Returns:
        The options.

    Raises:
        InvalidTypeError: The dict has a key that is not an option.
    """
    if not isinstance(use_amp, Mapping):
        return {}
    unknown = sorted(str(key) for key in use_amp if key not in SCALER_OPTIONS)
    if unknown:
        raise InvalidTypeError(
            f"use_amp={dict(use_amp)!r} has unknown keys: {', '.join(unknown)}. "
            f"The options of the gradient scaler are: {', '.join(SCALER_OPTIONS)}. "
            "A dict switches mixed precision on by itself, so leave 'enabled' out."
        )
    return dict(use_amp)


class LoopScaler(torch.amp.GradScaler):
    """A gradient scaler that several clipping callbacks can share, and that says whether it skipped a step.

    Args:
        enabled: Whether mixed precision is on. Where the device is missing the scaler is disabled all the same.
        device: The kind of device whose gradients are scaled.
        options: ``init_scale``, ``growth_factor``, ``backoff_factor`` and ``growth_interval``.

    Attributes:
        last_step_skipped: True if the last ``step`` met infinite gradients and did not call the optimizer.
        repeated_unscales: How often gradients were to be unscaled twice (quirk Q25). Set back by who counts.
    """

    def __init__(self, enabled: bool = True, device: str = "cuda", **options: Any) -> None:
        """Build the scaler."""
        super().__init__(device, enabled=enabled and (device != "cuda" or torch.cuda.is_available()), **options)
        self.last_step_skipped = False
        self.repeated_unscales = 0
        self._unscaled: set[int] = set()

    def unscale_(self, optimizer: torch.optim.Optimizer) -> None:
        """Divide the optimizer's gradients by the scale, once in an update however often it is asked for.

        Args:
            optimizer: The optimizer whose gradients are about to be clipped.
        """
        if not self.is_enabled():
            return
        if id(optimizer) in self._unscaled:
            self.repeated_unscales += 1
            return
        super().unscale_(optimizer)
        self._unscaled.add(id(optimizer))

    def unscale_once(self, optimizer: torch.optim.Optimizer) -> None:
        """Divide the optimizer's gradients by the scale, unless a callback has done so in this update.

        Args:
            optimizer: The optimizer whose gradients are about to be looked at.
        """
        if self.is_enabled() and id(optimizer) not in self._unscaled:
            self.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> float | None:
        """Step the optimizer, unless its gradients are infinite.

        Args:
            optimizer: A torch optimizer, or any object with ``step`` while mixed precision is off.
            args: Passed on to the optimizer.
            kwargs: Passed on to the optimizer.

        Returns:
            What the optimizer's ``step`` returned.
        """
        if not self.is_enabled():
            return super().step(optimizer, *args, **kwargs)
        result = super().step(optimizer, *args, **kwargs)
        # XXX: torch 2.13 has no public word for this, and a hook on the optimizer would miss those not made by torch.
        infinite = self._per_optimizer_states[id(optimizer)]["found_inf_per_device"]
        self.last_step_skipped = any(bool(found.item()) for found in infinite.values())
        # After the step a further `unscale_` in the same update is a mistake, and torch says so.
        self._unscaled.discard(id(optimizer))
        return result

    def update(self, new_scale: float | torch.Tensor | None = None) -> None:
        """Adapt the scale at the end of an update.

        Args:
            new_scale: A scale to set instead.
        """
        super().update(new_scale)
        self._unscaled.clear()

    def forget_updates(self) -> None:
        """Forget an update that an exception cut short: its gradients are not those of the next one."""
        if self.is_enabled():
            self._unscaled.clear()
            self._per_optimizer_states.clear()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a scaler's state.

        Args:
            state_dict: What ``state_dict`` returned. The empty state of a run on the CPU leaves the scaler as it is.
        """
        if state_dict:
            super().load_state_dict(state_dict)
        elif self.is_enabled():
            _ledger.happened("Q22", "fixed", "the gradient scaler keeps its state, since the one to load is empty")
