"""The old callbacks of a plain Trainer: who runs when.

The first adapter in the Trainer's list drives all old callbacks of it, in the order that their ``execution_order``
gives. ``A`` are the adapter's hooks as Lightning calls them, ``M`` is the user's module, ``old`` are the old
callbacks::

    Trainer.fit
        A.setup                                     one view of the Trainer for all of them
        A.on_fit_start                              -> old.on_train_loop_registration; the optimizers exist from here on
                                                    -> several processes: old.on_multiprocess_start
        [ckpt_path: Lightning restores optimizers and counters]
        A.on_train_start                            -> state of the checkpoint, old.on_train_begin
        for each epoch
            A.on_train_epoch_start                  -> old.on_epoch_begin
            for each batch
                A.on_train_batch_start              -> old.on_batch_begin
                M.training_step, backward
                A.on_after_backward                 -> while accumulating: old.on_after_gradient_update
                A.on_before_optimizer_step          -> old.on_after_gradient_update, of the optimizer that steps
                step of the optimizer               -> old.on_after_optimizer_step, by a hook of torch's
                A.on_train_batch_end                -> manual optimization, while accumulating:
                                                       old.on_after_gradient_update of each optimizer
                                                    -> old.on_batch_end
            Lightning's validation
            A.on_train_epoch_end                    -> what the module logged becomes history
                                                    -> old.on_epoch_end, end of the epoch's messages
                                                    -> what they recorded goes to the loggers
                                                    -> early_stop becomes trainer.should_stop
            M.on_train_epoch_end                       what it logs becomes history before the next event
        A.on_train_end                              -> old.on_train_end

Gradient hooks run while ``grad_cb_used`` is true, as in a TrainLoop. Other than there, gradients are cleared before the
next backward pass and not after the step.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Trainer

from compat._lightning.old_state import attributes_of, plain, restore, state_of_callback
from compat._lightning.view import TrainerView
from compat.callbacks.abstract import AbstractCallback
from compat.callbacks.debugging import FunctionOnTrainLoop
from compat.callbacks.evaluation import ModelPerformanceEvaluation
from compat.callbacks.gradient import GradientStatsPrint
from compat.callbacks.stopping import AllPredictionsSame
from compat.exceptions import RefusedError

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

__all__ = ["OldCallbacks"]

_PREDICTING = (AllPredictionsSame, ModelPerformanceEvaluation)


class OldCallbacks:
    """All old callbacks of one Trainer, driven by its events.

    Args:
        trainer: The Trainer.

    Attributes:
        view: What stands for their TrainLoop.
    """

    def __init__(self, trainer: Trainer) -> None:
        """Make the view."""
        self.view = TrainerView(trainer)
        self._trainer = trainer
        self._handles: list[RemovableHandle] = []
        self._at_start: dict[int, dict[str, Any]] = {}
        self._restored: dict[int, dict[str, Any]] = {}
        self._is_epoch_open = False
        self._watching: list[GradientStatsPrint] = []
        # Of the running batch: the optimizers that said that they are about to step, and the backward passes.
        self._announced: set[int] = set()
        self._backward_passes = 0

    def register(self, callbacks: Sequence[AbstractCallback]) -> None:
        """Register callbacks, in the order of the Trainer's list.

        Args:
            callbacks: All old callbacks of the Trainer.

        Raises:
            MissingAttributeError: One of them predicts, and the module cannot.
        """
        view = self.view
        view.start_fit()
        for callback in callbacks:
            if isinstance(callback, _PREDICTING):
                view.check_predictions(f"predict, as {type(callback).__name__} does")
        view.callbacks_handler.register_callbacks(list(callbacks))
        self._watching = [callback for callback in view.callbacks if isinstance(callback, GradientStatsPrint)]
        if view.ddp_training_mode:
            view.callbacks_handler.execute_multiprocess_start()
        self._at_start = {id(callback): attributes_of(callback) for callback in view.callbacks}

    def begin_training(self) -> None:
        """Restore the state of a checkpoint, and begin."""
        view = self.view
        for callback in view.callbacks:
            restore(callback, self._restored.get(id(callback), {}))
        self._restored = {}
        view.count_batches()
        self._settle_epoch_before()
        view.begin_epoch(self._trainer.current_epoch)
        view.logged.begin(self._trainer)
        view.callbacks_handler.execute_train_begin()
        view.callbacks_handler.check_gradient_hooks()
        self.let_go()
        self._handles = [one.register_step_post_hook(self._after_step) for one in self._trainer.optimizers]

    def begin_epoch(self) -> None:
        """Begin an epoch."""
        self._settle_epoch_before()
        self.view.begin_epoch(self._trainer.current_epoch)
        self.view.logged.begin(self._trainer)
        self._is_epoch_open = True
        self.view.callbacks_handler.execute_epoch_begin()

    def begin_batch(self, index: int) -> None:
        """Begin a batch.

        Args:
            index: Its index in the epoch.
        """
        # Lightning may begin inside an epoch, and then says nothing of the epoch's beginning.
        self._is_epoch_open = True
        self._announced.clear()
        self._backward_passes = 0
        self.view.begin_batch(index)
        self.view.callbacks_handler.execute_batch_begin()

    def after_backward(self) -> None:
        """Tell of gradients that no step follows; with manual optimization nobody knows yet whether one does."""
        self._backward_passes += 1
        view = self.view
        is_automatic = view.lightning_module.automatic_optimization
        if is_automatic and view.grad_cb_used and not view.should_execute_optimizer_update():
            view.callbacks_handler.execute_gradient_update(0)

    def before_step(self, optimizer: Any) -> None:
        """Tell of the gradients that an optimizer is about to step on.

        Args:
            optimizer: One of the Trainer's.
        """
        view = self.view
        index = next(index for index, one in enumerate(self._trainer.optimizers) if one is optimizer)
        view.has_updated = True
        self._announced.add(index)
        if view.grad_cb_used:
            view.callbacks_handler.execute_gradient_update(index)
        # Its own hook on the optimizer is too early in automatic optimization, where Lightning runs the backward pass
        # inside the step: what it copied there is replaced.
        for callback in self._watching:
            callback._before_step(optimizer, (), {})

    def _after_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        view = self.view
        view.has_updated = True
        index = next(index for index, one in enumerate(self._trainer.optimizers) if one is optimizer)
        waiting = list(filter(_acts_on_gradients, view.callbacks_handler.cbs_on_after_gradient_update))
        if view.grad_cb_used and waiting and index not in self._announced:
            raise RefusedError(
                f"{type(view.lightning_module).__name__} has stepped an optimizer past Lightning, which then tells"
                f" nobody of the gradients before the step: {', '.join(type(each).__name__ for each in waiting)} could"
                " not act. Step the optimizers that self.optimizers() returns."
            )
        if view.grad_cb_used:
            view.callbacks_handler.execute_optimizer_step()

    def end_batch(self, outputs: Any) -> None:
        """End a batch.

        Args:
            outputs: What Lightning gives of the step's result.
        """
        view = self.view
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if isinstance(loss, torch.Tensor) and loss.dim() == 0:
            view.loss_batch_accum.append(loss.detach())
        is_manual = not view.lightning_module.automatic_optimization
        if is_manual and self._backward_passes and not view.has_updated and view.grad_cb_used:
            for index in range(len(self._trainer.optimizers)):
                view.callbacks_handler.execute_gradient_update(index)
        view.callbacks_handler.execute_batch_end()

    def end_epoch(self) -> None:
        """End an epoch: history, old callbacks, messages, loggers, and whether the training goes on."""
        trainer, view = self._trainer, self.view
        self._record()
        self._record_accumulated_loss()
        self._is_epoch_open = False
        view.callbacks_handler.execute_epoch_end()
        view.message_service.end_of_epoch_trigger()
        self._publish()
        stop = view.wants_to_stop
        if trainer.world_size > 1:
            stop = bool(trainer.strategy.reduce_boolean_decision(stop, all=False))
        if stop:
            trainer.should_stop = True

    def end_training(self) -> None:
        """End the training."""
        self._settle_epoch_before()
        self.view.callbacks_handler.execute_train_end()
        self._publish()
        self.let_go()

    def let_go(self) -> None:
        """Take the hooks off the optimizers."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def state_of(self, callback: AbstractCallback) -> dict[str, Any]:
        """Return the state of a callback for a checkpoint; nothing of one that is not registered in this process.

        Args:
            callback: One of them.
        """
        at_start = self._at_start.get(id(callback))
        return {} if at_start is None else state_of_callback(callback, at_start)

    def restore_callback(self, callback: AbstractCallback, state: dict[str, Any]) -> None:
        """Keep the state of a callback until it is registered.

        Args:
            callback: One of them.
            state: What :meth:`state_of` returned.
        """
        self._restored[id(callback)] = state

    def state(self) -> dict[str, Any]:
        """Return for a checkpoint what belongs to no single callback."""
        view, history = self.view, {}
        for name, values in view.train_history.items():
            try:
                history[name] = plain(values)
            except TypeError:
                # No plain values: a file that holds them could not be loaded without trust.
                continue
        return {
            "history": history,
            "own_metrics": sorted(view.own_metrics),
            "epoch": view.logged.epoch,
            "is_epoch_open": self._is_epoch_open,
            "waiting": self._new_metrics(view.logged.peek(self._trainer)),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over the state of a checkpoint.

        Args:
            state: What :meth:`state` returned.
        """
        view = self.view
        view.train_history.wrap_pre_prepared_history({name: list(values) for name, values in state["history"].items()})
        view.own_metrics = set(state["own_metrics"])
        view.logged.restore(state["epoch"], state["waiting"])
        self._is_epoch_open = state["is_epoch_open"]

    def _settle_epoch_before(self) -> None:
        """Take what the last epoch logged last; end one that was open in the checkpoint and is not run on."""
        view = self.view
        if view.logged.epoch in (-1, self._trainer.current_epoch):
            return
        if self._is_epoch_open:
            view.begin_epoch(view.logged.epoch)
            self.end_epoch()
        else:
            self._record()

    def _record(self) -> None:
        for name, value in self._new_metrics(self.view.logged.take(self._trainer)).items():
            self.view.train_history.insert_single_result_into_history(name, value)

    def _new_metrics(self, metrics: dict[str, float]) -> dict[str, float]:
        """Leave out what old callbacks have put there themselves."""
        return {name: value for name, value in metrics.items() if name not in self.view.own_metrics}

    def _record_accumulated_loss(self) -> None:
        """Record the mean of what the steps returned as their loss, under the old name."""
        view, trainer = self.view, self._trainer
        losses, view.loss_batch_accum = view.loss_batch_accum, []
        if not losses or "accumulated_loss" in view.logged.seen(trainer):
            return
        mean = view.parse_loss(losses)
        if trainer.world_size > 1:
            mean = trainer.strategy.reduce(mean.to(view.device), reduce_op="mean")
        # Lightning divides the loss by the size of the window, and gives out the quotient.
        window = trainer.accumulate_grad_batches if view.lightning_module.automatic_optimization else 1
        view.train_history.insert_single_result_into_history("accumulated_loss", mean.item() * window)

    def _publish(self) -> None:
        """Send what old callbacks have recorded to the loggers, at the step of Lightning's own metrics of the epoch."""
        view, trainer = self.view, self._trainer
        inserted, view.inserted = view.inserted, {}
        if trainer.world_size > 1:
            # Of a callback that runs in one process alone the others need the metric too: a checkpoint may go by it.
            own, inserted = inserted, trainer.strategy.broadcast(inserted, src=0)
            view.own_metrics.update(inserted)
            for name in inserted.keys() - own.keys():
                trainer.callback_metrics[name] = torch.tensor(inserted[name], dtype=torch.float64)
        if not inserted:
            return
        is_automatic = view.lightning_module.automatic_optimization
        step = trainer.global_step - 1 if is_automatic else trainer.fit_loop.total_batch_idx
        for logger in trainer.loggers:
            logger.log_metrics({**inserted, "epoch": view.epoch}, step=max(step, 0))
            logger.save()


def _acts_on_gradients(callback: AbstractCallback) -> bool:
    return not isinstance(callback, FunctionOnTrainLoop) or callback.after_gradient_update
