"""One batch: the old loop's order of events, with Lightning's round its verbs where somebody has hooks there."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from compat._amp import LoopScaler
from compat._distributed.gradients import after_backward
from compat._lightning import steps
from compat.losses import MultiLoss, MultiOptimizer

if TYPE_CHECKING:
    from compat.train_loop import TrainLoop

__all__ = ["Around", "train_batch"]


class Verbs(Protocol):
    """What makes an update of a loss: the facade's own verbs, which users override, or those with events round them."""

    def _backward_pass(self, loss_batch: Any, optimizer_idx: int) -> None: ...
    def _optimizer_step(self, optimizer_idx: int) -> None: ...
    def _optimizer_zero_grad(self, optimizer_idx: int) -> None: ...


class Around:
    """The facade's verbs with Lightning's events round them, which the Trainer itself would never fire here.

    Args:
        loop: The facade.
        trainer: The Trainer.
        module: The module that it runs.
        callbacks: Those with hooks at these places; the profiler, if there is one, hears of them as well.
    """

    def __init__(
        self, loop: "TrainLoop", trainer: Trainer, module: LightningModule, callbacks: Sequence[Callback]
    ) -> None:
        """Keep what the hooks are given."""
        self._loop, self._trainer, self._module, self._callbacks = loop, trainer, module, callbacks
        self._profile = trainer.profiler.profile  # type: ignore[attr-defined]  # set by one of its connectors

    def _tell(self, hook: str, *further: Any) -> None:
        for callback in self._callbacks:
            getattr(callback, hook)(self._trainer, self._module, *further)

    def _backward_pass(self, loss_batch: Any, optimizer_idx: int) -> None:
        self._tell("on_before_backward", _own_loss(loss_batch, optimizer_idx))
        with self._profile("backward"):
            self._loop._backward_pass(loss_batch, optimizer_idx)
        self._tell("on_after_backward")

    def _optimizer_step(self, optimizer_idx: int) -> None:
        if self._loop.should_execute_optimizer_update():
            optimizer = _optimizer(self._loop, optimizer_idx)
            # Lightning shows its hooks the gradients as they are.
            _unscale(self._loop.amp_scaler, optimizer)
            self._tell("on_before_optimizer_step", optimizer)
        with self._profile("optimizer_step"):
            self._loop._optimizer_step(optimizer_idx)

    def _optimizer_zero_grad(self, optimizer_idx: int) -> None:
        if self._loop.should_execute_optimizer_update():
            self._tell("on_before_zero_grad", _optimizer(self._loop, optimizer_idx))
        with self._profile("optimizer_zero_grad"):
            self._loop._optimizer_zero_grad(optimizer_idx)


def _unscale(scaler: torch.amp.GradScaler, optimizer: Any) -> None:
    if isinstance(scaler, LoopScaler):
        scaler.unscale_once(optimizer)
    elif scaler.is_enabled():
        try:
            scaler.unscale_(optimizer)
        except RuntimeError as error:
            # One of torch's own, put into the loop by hand, and a callback has unscaled already.
            if "already been called" not in str(error):
                raise


def _optimizer(loop: "TrainLoop", optimizer_idx: int) -> Any:
    optimizer = loop.optimizer
    return optimizer.optimizer_list[optimizer_idx] if isinstance(optimizer, MultiOptimizer) else optimizer


def _own_loss(loss: Any, optimizer_idx: int) -> Any:
    """Return the loss tensor of one optimizer, as native hooks expect one."""
    if isinstance(loss, torch.Tensor) or not isinstance(loss, MultiLoss):
        return loss
    return loss.loss_dict.get(loss.optimizer_loss_map.get(optimizer_idx), loss)


def train_batch(loop: "TrainLoop", batch: Any, verbs: Verbs | None = None) -> bool:
    """Train on one batch, in the old loop's order of events, up to ``on_batch_end``.

    Args:
        loop: The facade.
        batch: The batch as the loader yielded it.
        verbs: What runs in place of the facade's own verbs.

    Returns:
        Whether the batch ended an accumulation window, so that the weights were updated.
    """
    handler = loop.callbacks_handler
    loop.total_iteration_idx += 1
    if handler.cbs_on_batch_begin:
        handler.execute_batch_begin()
    loss = loop._calculate_batch_loss(batch)
    verbs = verbs or loop
    if loop.num_optimizers == 1:
        _backward(loop, verbs, loss, 0)
        verbs._optimizer_step(0)
        verbs._optimizer_zero_grad(0)
    else:
        _several_optimizers(loop, verbs, loss)
    updated = loop.should_execute_optimizer_update()
    if updated:
        if loop.amp_scaler.is_enabled():
            loop.amp_scaler.update()
        if loop.num_optimizers > 1:
            steps.settle_leaked_gradients(loop)
    return updated


def _backward(loop: "TrainLoop", verbs: Verbs, loss: Any, optimizer_idx: int) -> None:
    verbs._backward_pass(loss, optimizer_idx)
    if loop._compat.ranks is not None:
        after_backward(loop)
    if loop.grad_cb_used:
        loop.callbacks_handler.execute_gradient_update(optimizer_idx)


def _several_optimizers(loop: "TrainLoop", verbs: Verbs, loss: Any) -> None:
    indices = range(loop.num_optimizers)
    if loop._compat.backward_before_steps:
        _backward(loop, verbs, loss, 0)
        owned = steps.owned_gradients(loop)
        for optimizer_idx in indices[1:]:
            _backward(loop, verbs, loss, optimizer_idx)
        steps.note_order_of_steps(loop, owned)
        for optimizer_idx in indices:
            verbs._optimizer_step(optimizer_idx)
        for optimizer_idx in indices:
            verbs._optimizer_zero_grad(optimizer_idx)
        return
    for optimizer_idx in indices:
        _backward(loop, verbs, loss, optimizer_idx)
        verbs._optimizer_step(optimizer_idx)
        verbs._optimizer_zero_grad(optimizer_idx)
