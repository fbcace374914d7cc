"""Callbacks that change or show gradients."""

from collections.abc import Callable, Container, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from compat._console import say
from compat._loop_state import state_of
from compat.callbacks.abstract import AbstractCallback
from compat.exceptions import InvalidTypeError, MissingAttributeError
from compat.losses import MultiOptimizer

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

__all__ = ["GradNormClip", "GradValueClip", "GradientCallbackBase", "GradientStatsPrint"]


class GradientCallbackBase(AbstractCallback):
    """Base of callbacks with gradient hooks: it makes the training loop run them.

    Args:
        callback_name: A name for listings.
        execution_order: As for every callback.
    """

    def __init__(self, callback_name: str, execution_order: int = 0) -> None:
        """Name the callback."""
        super().__init__(callback_name, execution_order)

    def on_train_loop_registration(self) -> None:
        """Switch the gradient hooks on."""
        self.train_loop_obj.grad_cb_used = True

    def _unscale(self, optimizer_idx: int) -> None:
        optimizer: Any = self.train_loop_obj.optimizer
        if isinstance(optimizer, MultiOptimizer):
            optimizer = optimizer[optimizer_idx]
        self.train_loop_obj.amp_scaler.unscale_(optimizer)


class GradValueClip(GradientCallbackBase):
    """Clip each gradient value before the optimizer step.

    Args:
        max_grad_value: Values are cut to between minus this and this.

    Note:
        With several optimizers all parameters of the model are clipped before the step of each.
    """

    def __init__(self, max_grad_value: float) -> None:
        """Keep the limit."""
        super().__init__("Gradient value clipping")
        self.max_grad_value = max_grad_value

    def on_after_gradient_update(self, optimizer_idx: int) -> None:
        """Clip, if a step follows."""
        if self.train_loop_obj.should_execute_optimizer_update():
            self._unscale(optimizer_idx)
            torch.nn.utils.clip_grad_value_(self.train_loop_obj.model.parameters(), self.max_grad_value)


class GradNormClip(GradientCallbackBase):
    """Scale the gradients down to a norm before the optimizer step.

    Args:
        max_grad_norm: The largest norm of all gradients together.
        kwargs: For ``torch.nn.utils.clip_grad_norm_``.

    Note:
        With several optimizers all parameters of the model are clipped before the step of each.
    """

    def __init__(self, max_grad_norm: float, **kwargs: Any) -> None:
        """Keep the limit."""
        super().__init__("Gradient norm clipping")
        self.max_grad_norm = max_grad_norm
        self.kwargs = kwargs

    def on_after_gradient_update(self, optimizer_idx: int) -> None:
        """Clip, if a step follows."""
        if self.train_loop_obj.should_execute_optimizer_update():
            self._unscale(optimizer_idx)
            torch.nn.utils.clip_grad_norm_(self.train_loop_obj.model.parameters(), self.max_grad_norm, **self.kwargs)


class GradientStatsPrint(AbstractCallback):
    """Print mean, standard deviation and share of zeros of the weight gradients of some layers.

    The report at the end of an epoch shows the gradients of its last update: they are copied just before each
    optimizer step, since they are cleared after it. With an optimizer that is not torch's they can be copied only if
    every backward pass is reported.

    Args:
        model_layers_extract_def: Takes the model, returns the layers; each has a ``weight``.
        on_every_grad_update: Print a report after each backward pass too (the first optimizer's).
    """

    _missed = False

    def __init__(
        self, model_layers_extract_def: Callable[[Any], Iterable[Any]], on_every_grad_update: bool = False
    ) -> None:
        """Keep the arguments."""
        super().__init__("Print model gradient stats", device_idx_execution=0)
        self.model_layers_extract_def = model_layers_extract_def
        self.on_every_grad_update = on_every_grad_update
        self._last_update: dict[int, torch.Tensor] = {}
        self._reported: dict[int, torch.Tensor] = {}
        self._handles: dict[torch.optim.Optimizer, RemovableHandle] = {}

    def on_train_loop_registration(self) -> None:
        """Switch the gradient hooks on if every backward pass is reported, and watch the optimizers."""
        if self.on_every_grad_update:
            self.train_loop_obj.grad_cb_used = True
        self._watch_optimizers()

    def _watch_optimizers(self) -> None:
        """Be told before each step of the loop's optimizers, which may have been replaced since the last time."""
        optimizer: Any = self.train_loop_obj.optimizer
        optimizers = optimizer.optimizer_list if isinstance(optimizer, MultiOptimizer) else [optimizer]
        current = [one for one in optimizers if isinstance(one, torch.optim.Optimizer)]
        for gone in [one for one in self._handles if one not in current]:
            self._handles.pop(gone).remove()
        for one in current:
            if one not in self._handles:
                self._handles[one] = one.register_step_pre_hook(self._before_step)

    def _before_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self._remember({id(parameter) for group in optimizer.param_groups for parameter in group["params"]})

    def _remember(self, own: Container[int] | None = None) -> None:
        """Copy the gradients of the layers, of those only whose weight is among ``own`` if that is given."""
        for index, layer in enumerate(self._layers()):
            weight: Any = getattr(layer, "weight", None)
            # With several optimizers each shows the layers that it steps on.
            if (own is None or id(weight) in own) and getattr(weight, "grad", None) is not None:
                # A copy: the step may work in place (Nesterov momentum does), and so may clearing the gradients.
                self._last_update[index] = weight.grad.detach().clone()

    def _layers(self) -> Iterable[Any]:
        layers: Any = self.model_layers_extract_def(self.train_loop_obj.model)
        if not isinstance(layers, Iterable):
            raise InvalidTypeError(
                f"model_layers_extract_def returned a {type(layers).__name__}, which is not iterable. Return a list of "
                "layers, be it of one."
            )
        return layers

    def on_after_gradient_update(self, optimizer_idx: int) -> None:
        """Print a report, if every backward pass is reported."""
        if not self.on_every_grad_update:
            return
        if not self._handles and self.train_loop_obj.should_execute_optimizer_update():
            # An optimizer that is not torch's tells nobody when it steps: this is the last chance before it does.
            self._remember()
        if optimizer_idx == 0:
            self.gradients_report()

    def on_epoch_end(self) -> None:
        """Print the report of the epoch's last update."""
        self._reported, self._last_update = self._last_update, {}
        try:
            self.gradients_report()
        finally:
            self._reported = {}
        if self._missed:
            self._missed = False
            state_of(self.train_loop_obj).quirks.met("Q75")
        self._watch_optimizers()

    def gradients_report(self) -> None:
        """Print the report of the gradients as they are; at the end of an epoch, of its last update.

        Raises:
            InvalidTypeError: ``model_layers_extract_def`` does not return a sequence.
            MissingAttributeError: A layer without a weight.
        """
        say("---> Model layers gradients stats")
        for index, layer in enumerate(self._layers()):
            weight: Any = getattr(layer, "weight", None)
            if weight is None:
                raise MissingAttributeError(
                    f"Layer {index} that model_layers_extract_def returned is a {type(layer).__name__}, which has no "
                    "weight to show the gradient of. Return layers with a weight, such as torch.nn.Linear."
                )
            gradient = self._reported.get(index, weight.grad)
            self._missed = self._missed or (weight.grad is None and gradient is not None)
            if gradient is None:
                say(f"Layer {index} grad are None")
            else:
                _say_stats(index, gradient)


def _say_stats(index: int, gradient: torch.Tensor) -> None:
    values = gradient.detach().cpu()
    if values.dtype is torch.bfloat16:
        # numpy knows no bfloat16; float32 holds each of its values.
        values = values.float()
    # Mean and deviation as numpy sums them: torch rounds otherwise in the last digit, and lines are compared.
    array = values.numpy()
    zeros = int(np.count_nonzero(array == 0))
    say(f"Layer {index} grads: Mean: {float(np.mean(array))}; Std {float(np.std(array))}")
    say(f"\tRatio of zero gradients: {zeros / array.size}")
