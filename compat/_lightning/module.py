"""The LightningModule round a TrainLoop: Lightning's hooks and steps call the facade's template methods."""

import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Trainer

from compat import _console
from compat._distributed.gradients import unwrapped
from compat._evaluation import batch_size as batch_samples
from compat._evaluation import length_of
from compat._lightning import cadence, course, limits
from compat._lightning.batch import Around, Verbs, train_batch
from compat._lightning.epoch import begin_epoch, end_epoch, evaluate_epoch, is_watched
from compat._lightning.guest_checks import OneFitModule
from compat._lightning.muting import Muted
from compat._lightning.needs import Cadence, OwnCallback, cadence_of, note_parts
from compat._lightning.publishing import History
from compat._lightning.surroundings import Surroundings
from compat.losses import MultiLoss, MultiOptimizer
from compat.parallel import TTDataParallel

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


class LoopModule(OneFitModule):
    """Runs the epochs of one fit: manual optimization, and one Lightning step for as many batches as nobody counts.

    The facade is held by a weak reference, so that a deep copy of this module copies the model and not the loop with
    its loaders, history and optimizers.

    Args:
        loop: The facade.
        surroundings: What the Trainer changes in the process, to be given back once it has; ``None`` where the process
            is the Trainer's affair.

    Attributes:
        model: The user's model, without a wrapper for several devices.
        cadence: How the batches are dealt into steps, and why. Set by :meth:`attach`.
        history: What the Trainer has not been told of yet. Set when the training starts.
    """

    def __init__(self, loop: "TrainLoop", surroundings: Surroundings | None) -> None:
        """Take the model as the only submodule: the criterion stays out of the state dict."""
        super().__init__()
        self._surroundings = surroundings
        self.automatic_optimization = False
        object.__setattr__(self, "_loop_reference", weakref.ref(loop))
        self.model = bare(loop.model)
        self.cadence = Cadence()
        self.history: History | None = None
        self._is_finished = self._is_reached = False
        self._feed: cadence.BatchFeed | None = None
        self._count: cadence.BatchCounter
        self._verbs: Verbs | None = None
        self._muted = Muted()

    @property
    def loop(self) -> "TrainLoop":
        """The facade.

        Raises:
            ReferenceError: The facade is gone, or this module is a copy that was loaded somewhere else.
        """
        reference: Callable[[], TrainLoop | None] | None = self.__dict__["_loop_reference"]
        loop = reference() if reference is not None else None
        if loop is None:
            raise ReferenceError(
                "This LoopModule has no TrainLoop any more: it is a copy, or was sent to another process. Use the model"
                " in its attribute `model`; in several processes train with TrainLoop(gpu_mode='ddp')."
            )
        return loop

    def __getattr__(self, name: str) -> Any:
        """Look for what this module lacks in the user's model: finetuning callbacks ask for its ``backbone``."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            model = self._modules.get("model") if not name.startswith("_") and "_modules" in self.__dict__ else None
            if model is None or not hasattr(model, name):
                raise
            return getattr(model, name)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what belongs to this process and this fit."""
        gone = dict.fromkeys(("_loop_reference", "_surroundings", "runs_in", "history", "_feed", "_count", "_verbs"))
        return {**super().__getstate__(), **gone, "cadence": Cadence()}

    def attach(self, trainer: Trainer) -> None:
        """Find out what the Trainer's parts need, and have a validation loop only where somebody acts in it.

        Args:
            trainer: The Trainer that is to run this module, with all its callbacks.
        """
        self.runs_in = trainer
        self.cadence = cadence_of(trainer)
        trainer.limit_val_batches = 1.0 if self.cadence.validation else 0

    def _validates(self, epoch: int) -> bool:
        """Tell whether the validation loop runs: in epochs that are evaluated; in all where weights are averaged."""
        every = course.auto_eval(self.loop)
        return isinstance(every, bool) or self.cadence.changes_weights or not epoch % every

    def log(self, name: str, value: Any, *args: Any, **kwargs: Any) -> None:
        """Log a value from a native hook; Lightning itself cannot tell the size of a batch that the step has taken.

        Args:
            name: Its name.
            value: The value.
            args: As in the base class.
            kwargs: As in the base class; without a ``batch_size`` the value weighs as much as the last batch.
        """
        if kwargs.get("batch_size") is None:
            kwargs["batch_size"] = 1 if self._feed is None else max(batch_samples(self._feed.last), 1)
        super().log(name, value, *args, **kwargs)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Do nothing: the Trainer clears gradients when a fit starts, and the facade decides when that happens.

        Args:
            set_to_none: What the base class is asked.
        """

    def train_dataloader(self) -> cadence.LazyLoader:
        """Return a loader that opens the facade's current one when the epoch begins."""
        return cadence.LazyLoader(self.loop)

    def val_dataloader(self) -> list[int]:
        """Return one batch of nothing: the facade evaluates by itself, in one validation step."""
        return [0]

    def configure_optimizers(self) -> list[torch.optim.Optimizer] | None:
        """Return the user's own torch optimizers; the facade steps them. Lightning takes no other kind."""
        optimizer = self.loop.optimizer
        found = list(optimizer.optimizer_list) if isinstance(optimizer, MultiOptimizer) else [optimizer]
        return found if all(map(_is_whole_optimizer, found)) else None

    def on_train_start(self) -> None:
        """Begin the training; only then are the epochs to run known."""
        loop = self.loop
        self.history = History(loop)
        # Once more: parts may have got hooks, or other parts, while they were set up.
        self.attach(self.trainer)
        note_parts(self.trainer, self.cadence)
        if self._surroundings is not None:
            self._surroundings.give_back()
        with self.carried():
            loop.callbacks_handler.execute_train_begin()
            limits.renew(loop)
            course.keep_step(loop, "the first epoch")
            loop.callbacks_handler.check_gradient_hooks()
            start, stop = self.epochs_to_run()
        self._follow(loop)
        cadence.set_epoch_range(self.trainer, start, stop)
        if self.cadence.gradient_callbacks or self.cadence.is_profiled:
            self._verbs = Around(loop, self.trainer, self, self.cadence.gradient_callbacks)

    def epochs_to_run(self) -> tuple[int, int]:
        """Return the first epoch of this fit, and the one to stop before."""
        start, stop = course.epochs_to_run(self.loop)
        return start, limits.epochs(self.loop, stop)

    def _follow(self, loop: "TrainLoop") -> None:
        """Take over the model and the optimizers that a hook may have put into the facade: checkpoints hold them."""
        self.model = bare(loop.model)
        optimizers = self.configure_optimizers() or []
        if [id(each) for each in optimizers] != [id(each) for each in self.trainer.optimizers]:
            self.trainer.optimizers = optimizers

    def continue_counts(self) -> None:
        """Let the Trainer count on from earlier fits."""
        cadence.continue_counts(self.trainer, self.loop.total_iteration_idx + 1, self.loop._compat.updates)

    def carried(self) -> AbstractContextManager[None]:
        """Return the context for what must not reach Lightning as it is."""
        return carried()

    def tell_of(self, error: BaseException) -> None:
        """Tell the native callbacks of what was raised, and not of what carries it past Lightning.

        Args:
            error: What Lightning has caught.
        """
        if not isinstance(error, CarriedError):
            return
        callbacks: list[Any] = self.trainer.callbacks  # type: ignore[attr-defined]  # set by one of its connectors
        for callback in callbacks:
            if not isinstance(callback, OwnCallback):
                callback.on_exception(self.trainer, self, error.original)
                self._muted.mute(callback, "on_exception")

    def let_go(self) -> None:
        """Let go of the facade: the Trainer and this module outlive the fit."""
        self._verbs = self._feed = self.runs_in = None
        self._muted.give_back()

    def on_train_epoch_start(self) -> None:
        """Begin an epoch."""
        loop = self.loop
        with self.carried():
            begin_epoch(loop, self.trainer.current_epoch)
        self._follow(loop)
        self._muted.give_back()
        self._muted.mute_validation(self.trainer)
        if self.history is not None:
            self.history.begin_epoch()
        self._is_finished = self._is_reached = False
        cadence.set_epoch_length(self.trainer, loop.train_loader)
        if self.cadence.validation:
            cadence.validate_this_epoch(self.trainer, self._validates(loop.epoch))
        # A fit inside the epoch before has counted in a Trainer of its own.
        self.continue_counts()
        self._count = cadence.BatchCounter(self.trainer)
        self._feed = cadence.BatchFeed(
            self._batches, lambda: length_of(loop.train_loader), self.cadence.is_every_batch, self.cadence.is_profiled
        )
        cadence.take_feed(self.trainer, self._feed)

    def _batches(self) -> Iterator[Any]:
        loop, bar = self.loop, self.trainer.progress_bar_callback
        with self.carried():
            shown = loop.is_main_process() and bar is None
            return iter(_console.progress(loop.train_loader, "Training") if shown else loop.train_loader)

    def training_step(self, dataloader_iter: cadence.BatchFeed) -> Any:
        """Train on the batches up to the next cut, or on all of the epoch.

        The parameter's name tells Lightning that this step consumes the loader itself. The batches come straight from
        the facade's loader, and each when the one before has been trained, so that the random number generators are
        drawn from as in the old loop.

        Args:
            dataloader_iter: The batches of this epoch.

        Returns:
            The loss of the batch for the hooks after it, if every batch is a step of its own.
        """
        with self.carried():
            self._train_batches(dataloader_iter)
        return _last_loss(self.loop) if self.cadence.is_every_batch else None

    def _train_batches(self, feed: cadence.BatchFeed) -> None:
        loop, count, verbs, cuts = self.loop, self._count, self._verbs, self.cadence.cuts
        state, ranks = loop._compat, loop._compat.ranks
        handler = loop.callbacks_handler
        ends = handler.cbs_on_batch_end
        watched, last_batch = verbs is not None or is_watched(loop), state.target.last_batch
        batch, trained, updates = feed.ahead, None, count.updates
        count.begin_step()
        try:
            while batch is not feed.END:
                loop.iteration = count.batches
                count.batches += 1
                if watched:
                    count.flush()
                if ranks is not None:
                    ranks.at(f"batch {loop.iteration} of epoch {loop.epoch}", loop.total_iteration_idx + 1)
                count.is_updated = train_batch(loop, batch, verbs)
                count.updates += count.is_updated
                if ends:
                    # Counted before the hooks: one that raises ends a batch whose update has been made.
                    count.flush()
                    handler.execute_batch_end()
                trained = batch
                feed.ahead = batch = feed.END if loop.total_iteration_idx == last_batch else feed.fetch()
                if cuts and any(cut(count) for cut in cuts):
                    break
                if watched and ranks is None and cadence.may_stop(self.trainer):
                    break
        finally:
            # Also when a batch raises: a checkpoint of the exception must hold the right counters.
            count.flush()
            state.updates += count.updates - updates
        count.end_step(is_last=batch is feed.END)
        feed.trained(trained, count.batches)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Let the processes of a fit agree on a stop that a native part may have asked for in one of them.

        Args:
            outputs: What the step returned.
            batch: The last batch of the step.
            batch_idx: Its index.
        """
        ranks = self.loop._compat.ranks
        if ranks is not None:
            stops = ranks.exchange(f"batch {batch_idx} of epoch {self.loop.epoch}", bool(self.trainer.should_stop))
            self.trainer.should_stop = any(stops)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """End the epoch for the facade and the old callbacks, and publish what it has brought for those who act here.

        Args:
            batch: Nothing.
            batch_idx: Zero.
        """
        if self.trainer.sanity_checking or self.history is None:
            return
        # As at the end of an epoch: Lightning has gradients off here, and its tensors are of no use in training.
        with torch.inference_mode(False), torch.enable_grad():
            self._finish_epoch()
        self.history.show(self.trainer)
        self._muted.mute_stale(self.trainer, self.history, "on_validation_end")

    def on_validation_model_zero_grad(self) -> None:
        """Leave the gradients alone: the facade decides when they are cleared."""

    def on_validation_model_eval(self) -> None:
        """Leave the model's mode to the facade's own pass."""

    def on_validation_model_train(self) -> None:
        """Leave the model's mode to the facade's own pass."""

    def _finish_epoch(self) -> None:
        """Evaluate the losses of the epoch and run the old callbacks, once: in the validation loop if there is one.

        There the weights are those that are evaluated, averaged ones too, and old callbacks' metrics can be monitored.
        """
        if self._is_finished:
            return
        self._is_finished = True
        with self.carried():
            evaluate_epoch(self.loop)
            self._is_reached = end_epoch(self.loop, self._feed is not None and self._feed.done)

    def end_epoch(self) -> None:
        """End the epoch, unless that is done, and decide whether the fit goes on."""
        feed = self._feed
        if self.trainer.should_stop and not self._count.batches:
            # Somebody has asked to stop where the epoch began: it has not been.
            self.loop._compat.epoch_ran = False
            return
        self._finish_epoch()
        if feed is not None:
            # A fit that stopped inside the epoch has left the loader open.
            feed.reset()
        if self.cadence.changes_weights:
            course.forget_predictions(self.loop)
        self._follow(self.loop)
        if self._is_reached:
            cadence.stop_after_this_epoch(self.trainer)
        elif self.loop.early_stop:
            self.trainer.should_stop = True

    def publish(self) -> None:
        """Publish what the history has got since the last time."""
        if self.history is not None:
            self.history.publish(self.trainer)

    def settle_monitors(self) -> None:
        """Spare the parts that monitor what this epoch has not brought, and refuse those that wait in vain."""
        if self.history is not None:
            self._muted.mute_stale(self.trainer, self.history, "on_train_epoch_end")
            every = course.auto_eval(self.loop)
            if isinstance(every, bool) or not self.loop.epoch % every:
                self._muted.check_monitors(self.trainer)

    def on_train_end(self) -> None:
        """End the training: the automatic test loss, then the old callbacks."""
        loop = self.loop
        self._muted.give_back()
        if self.cadence.changes_weights:
            course.forget_predictions(loop)
        with self.carried():
            loop.auto_execute_end_of_training()
            loop.callbacks_handler.execute_train_end()
        if self._surroundings is not None:
            self._surroundings.take_over()


def bare(model: Any) -> Any:
    """Return the user's model without the wrapper of a fit on several devices.

    Args:
        model: The facade's model.
    """
    model = unwrapped(model)
    return model.module if isinstance(model, TTDataParallel) else model


def _last_loss(loop: "TrainLoop") -> Any:
    """Return what the hooks after a batch are given: its loss, and those of a ``MultiLoss`` by name."""
    loss = loop.loss_batch_accum[-1] if loop.loss_batch_accum else None
    if not isinstance(loss, MultiLoss):
        return loss
    losses = loss.loss_dict
    return {**losses, "loss": sum(losses.values()) / len(losses)}


def _is_whole_optimizer(optimizer: Any) -> bool:
    """Tell whether Lightning can hold an optimizer: a wrapper may derive from torch's class and never initialise it."""
    return isinstance(optimizer, torch.optim.Optimizer) and all(
        hasattr(optimizer, name) for name in ("state", "param_groups", "defaults")
    )
