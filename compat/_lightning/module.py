"""The LightningModule round a TrainLoop: Lightning's hooks and steps call the facade's template methods."""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningModule

from compat import _console
from compat._distributed.gradients import after_backward, share_buffers
from compat._distributed.sharding import made_whole
from compat._lightning import cadence, course, steps, tally
from compat._lightning.surroundings import Surroundings
from compat.losses import MultiOptimizer

if TYPE_CHECKING:
    from compat.train_loop import TrainLoop

__all__ = ["CarriedError", "LoopModule"]


class CarriedError(Exception):
    """Carries what Lightning would swallow or replace: an end of an epoch, of the process, or an interrupt."""

    def __init__(self, original: BaseException) -> None:
        """Keep what was raised."""
        super().__init__(repr(original))
        self.original = original


@contextmanager
def carried() -> Iterator[None]:
    """Wrap what must not reach Lightning, so that it passes through unharmed.

    Lightning takes a StopIteration for the end of the epoch, and turns a KeyboardInterrupt into its own SystemExit.
    """
    try:
        yield
    except (StopIteration, KeyboardInterrupt, SystemExit) as error:
        raise CarriedError(error) from error


class LoopModule(LightningModule):
    """Runs the epochs of one fit: manual optimization, and one Lightning step for all batches of an epoch.

    The facade is held by a weak reference, so that a deep copy of this module copies the model and not the loop with
    its loaders, history and optimizers.

    Args:
        loop: The facade.
        surroundings: What the Trainer changes in the process, to be given back once it has.
    """

    def __init__(self, loop: "TrainLoop", surroundings: Surroundings) -> None:
        """Take the model as the only submodule: the criterion stays out of the state dict."""
        super().__init__()
        self._surroundings = surroundings
        self.automatic_optimization = False
        object.__setattr__(self, "_loop_reference", weakref.ref(loop))
        self.model = loop.model

    @property
    def loop(self) -> "TrainLoop":
        """The facade.

        Raises:
            ReferenceError: The facade is gone, or this module is a copy that was loaded somewhere else.
        """
        reference: Callable[[], TrainLoop | None] | None = self.__dict__["_loop_reference"]
        loop = reference() if reference is not None else None
        if loop is None:
            raise ReferenceError("This LoopModule has no TrainLoop any more. Use the model in its attribute `model`.")
        return loop

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what belongs to this process and this fit."""
        return {**super().__getstate__(), "_loop_reference": None, "_surroundings": None}

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Do nothing: the Trainer clears gradients when a fit starts, and the facade decides when that happens.

        Args:
            set_to_none: What the base class is asked.
        """

    def train_dataloader(self) -> cadence.LazyLoader:
        """Return a loader that opens the facade's current one when the epoch begins."""
        return cadence.LazyLoader(self.loop)

    def configure_optimizers(self) -> list[torch.optim.Optimizer] | None:
        """Return the user's own torch optimizers; the facade steps them. Lightning takes no other kind."""
        optimizer = self.loop.optimizer
        found = list(optimizer.optimizer_list) if isinstance(optimizer, MultiOptimizer) else [optimizer]
        return found if all(map(_is_whole_optimizer, found)) else None

    def on_train_start(self) -> None:
        """Begin the training; only then are the epochs to run known."""
        loop = self.loop
        self._surroundings.give_back()
        with carried():
            loop.callbacks_handler.execute_train_begin()
            course.keep_step(loop, "the first epoch")
            loop.callbacks_handler.check_gradient_hooks()
            start, stop = course.epochs_to_run(loop)
        self.model = loop.model
        cadence.set_epoch_range(self.trainer, start, stop)

    def on_train_epoch_start(self) -> None:
        """Begin an epoch."""
        loop = self.loop
        with carried():
            begin_epoch(loop, self.trainer.current_epoch)
        self.model = loop.model
        cadence.set_epoch_length(self.trainer, loop.train_loader)

    def training_step(self, dataloader_iter: Iterator[Any]) -> None:
        """Train on all batches of the epoch.

        The parameter's name tells Lightning that this step consumes the loader itself. The batches come straight from
        the facade's loader, in a plain ``for``, so that the random number generators are drawn from as in the old loop.

        Args:
            dataloader_iter: Lightning's iterator; only its counters are used.
        """
        with carried():
            self._train_epoch(cadence.BatchCounter(self.trainer, dataloader_iter.data_fetcher))  # type: ignore[attr-defined]

    def _train_epoch(self, count: cadence.BatchCounter) -> None:
        loop = self.loop
        batch, watched, last_batch = None, is_watched(loop), loop._compat.target.last_batch
        ranks = loop._compat.ranks
        try:
            shown = loop.is_main_process()
            batches = _console.progress(loop.train_loader, "Training") if shown else loop.train_loader
            for iteration, batch in enumerate(batches):
                loop.iteration = iteration
                count.batches = iteration + 1
                if watched:
                    count.flush()
                if ranks is not None:
                    ranks.at(f"batch {iteration} of epoch {loop.epoch}", loop.total_iteration_idx + 1)
                count.updates += train_batch(loop, batch)
                if loop.total_iteration_idx == last_batch:
                    break
        finally:
            # Also when a batch raises: a checkpoint of the exception must hold the right counters.
            count.flush()
        count.finish_epoch(batch)

    def on_train_end(self) -> None:
        """End the training: the automatic test loss, then the old callbacks."""
        loop = self.loop
        with carried():
            loop.auto_execute_end_of_training()
            loop.callbacks_handler.execute_train_end()
        self._surroundings.take_over()


def _is_whole_optimizer(optimizer: Any) -> bool:
    """Tell whether Lightning can hold an optimizer: a wrapper may derive from torch's class and never initialise it."""
    return isinstance(optimizer, torch.optim.Optimizer) and all(
        hasattr(optimizer, name) for name in ("state", "param_groups", "defaults")
    )


def is_watched(loop: "TrainLoop") -> bool:
    """Tell whether code of the user's runs inside the step, and so may read the Trainer's counters there.

    Writing them costs about as much as the rest of a small step's bookkeeping.

    Args:
        loop: The facade.
    """
    handler = loop.callbacks_handler
    hooks = (handler.cbs_on_batch_begin, handler.cbs_on_batch_end, handler.cbs_on_after_gradient_update)
    return any(hooks) or bool(handler.cbs_on_after_optimizer_step) or type(loop).__module__ != "compat.train_loop"


def begin_epoch(loop: "TrainLoop", epoch: int) -> None:
    """Announce an epoch to the user and to the old callbacks.

    Args:
        loop: The facade.
        epoch: The epoch's index.
    """
    loop.epoch = epoch
    loop._compat.epoch_ran = False
    if loop.is_main_process():
        rule = "=" * 80
        _console.say(f"\n\n{rule}\n{rule}\nEpoch: {epoch}")
    loop.callbacks_handler.execute_epoch_begin()
    course.keep_step(loop, f"the batches of epoch {epoch}")
    tally.epoch_began(loop)


def end_epoch(loop: "TrainLoop") -> bool:
    """End an epoch: automatic losses, old callbacks, messages.

    Args:
        loop: The facade.

    Returns:
        Whether it was the last one of this fit.
    """
    tally.epoch_trained(loop)
    if loop._compat.ranks is not None:
        loop._compat.ranks.at(f"the end of epoch {loop.epoch}", loop.total_iteration_idx)
        # A callback that runs in one process alone evaluates the model that all have.
        made_whole(loop.model)
        share_buffers(loop.model)
    loop.auto_execute_end_of_epoch()
    loop.callbacks_handler.execute_epoch_end()
    loop.message_service.end_of_epoch_trigger()
    course.agree(loop)
    reached = course.reached(loop)
    loop._compat.epoch_ran = not reached or loop.iteration == len(loop.train_loader) - 1
    if loop.early_stop:
        return True
    if reached:
        _console.say(
            f"Stopping training after {loop._compat.target.num_iterations} training iterations. "
            f"Current iteration index: {loop.total_iteration_idx}"
        )
    return reached


def train_batch(loop: "TrainLoop", batch: Any) -> bool:
    """Train on one batch, in the old loop's order of events.

    Args:
        loop: The facade.
        batch: The batch as the loader yielded it.

    Returns:
        Whether the batch ended an accumulation window, so that the weights were updated.
    """
    handler = loop.callbacks_handler
    loop.total_iteration_idx += 1
    if handler.cbs_on_batch_begin:
        handler.execute_batch_begin()
    loss = loop._calculate_batch_loss(batch)
    if loop.num_optimizers == 1:
        _backward(loop, loss, 0)
        loop._optimizer_step(0)
        loop._optimizer_zero_grad(0)
    else:
        _several_optimizers(loop, loss)
    updated = loop.should_execute_optimizer_update()
    if updated:
        if loop.amp_scaler.is_enabled():
            loop.amp_scaler.update()
        if loop.num_optimizers > 1:
            steps.settle_leaked_gradients(loop)
    if handler.cbs_on_batch_end:
        handler.execute_batch_end()
    return updated


def _backward(loop: "TrainLoop", loss: Any, optimizer_idx: int) -> None:
    loop._backward_pass(loss, optimizer_idx)
    if loop._compat.ranks is not None:
        after_backward(loop)
    if loop.grad_cb_used:
        loop.callbacks_handler.execute_gradient_update(optimizer_idx)


def _several_optimizers(loop: "TrainLoop", loss: Any) -> None:
    indices = range(loop.num_optimizers)
    if loop._compat.backward_before_steps:
        _backward(loop, loss, 0)
        owned = steps.owned_gradients(loop)
        for optimizer_idx in indices[1:]:
            _backward(loop, loss, optimizer_idx)
        steps.note_order_of_steps(loop, owned)
        for optimizer_idx in indices:
            loop._optimizer_step(optimizer_idx)
        for optimizer_idx in indices:
            loop._optimizer_zero_grad(optimizer_idx)
        return
    for optimizer_idx in indices:
        _backward(loop, loss, optimizer_idx)
        loop._optimizer_step(optimizer_idx)
        loop._optimizer_zero_grad(optimizer_idx)
