"""Old callbacks and Lightning's events: who runs when.

The order of events in one fit. ``C`` are Lightning's callbacks, checkpoints last among them; ``B`` is the bridge of
this file, first in Lightning's list; ``M`` is the module; ``old`` are the callbacks of the TrainLoop::

    TrainLoop._train
        old.on_train_loop_registration              in list order, before the Trainer exists
        model and criterion to the device, model.train()
    Trainer.fit
        C.setup                                     M.configure_optimizers
        C.on_fit_start
        C.on_train_start   M.on_train_start         -> old.on_train_begin; the range of epochs is read after it
        for each epoch
            C.on_train_epoch_start   M.on_train_epoch_start
                                                    -> banner, old.on_epoch_begin
            for each step: the whole epoch, or the batches up to where a part acts
                C.on_train_batch_start              is given the first batch of the step
                M.training_step: for each batch
                    old.on_batch_begin
                    loss
                    for each optimizer
                        C.on_before_backward
                        backward
                        C.on_after_backward
                        old.on_after_gradient_update
                        C.on_before_optimizer_step  at an update only, and so is what follows
                        step
                        old.on_after_optimizer_step
                        C.on_before_zero_grad
                        zero_grad
                    scaler update
                    old.on_batch_end
                    the next batch is fetched
                C.on_train_batch_end                is given the last batch of the step
            only if a part acts in validation
                C.on_validation_start
                C.on_validation_epoch_start
                M.validation_step                   -> automatic losses -> history -> old.on_epoch_end,
                                                    -> end of the epoch's messages -> Lightning's metrics
                C.on_validation_epoch_end
                C.on_validation_end
            B.on_train_epoch_end                    -> the same, unless there was a validation
                                                    -> history published: Lightning's metrics, loggers
                                                    -> early_stop or num_iterations end the fit
            C.on_train_epoch_end                    sees this epoch's metrics, those of old callbacks too
        C.on_train_end
        M.on_train_end                              -> automatic test loss, old.on_train_end
        B.on_fit_end                                -> the test loss published
        C.on_fit_end
        C.teardown

A step is a whole epoch unless a part has to hear of single batches; :mod:`compat._lightning.needs` knows which.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from compat._lightning.module import LoopModule
from compat._lightning.needs import Need, OwnCallback
from compat._lightning.publishing import log_step

__all__ = ["EpochEndBridge", "StepLosses", "TimedCheckpoints", "companions"]


class EpochEndBridge(OwnCallback):
    """Ends the facade's epoch before any other Lightning callback hears of its end.

    In the module's own hook it would be too late: Lightning calls most callbacks before the module, and they would read
    the last epoch's metrics.
    """

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate, tell the old callbacks, publish the history, and decide whether the fit goes on.

        Args:
            trainer: The Trainer.
            pl_module: The module.
        """
        module = cast("LoopModule", pl_module)
        module.end_epoch()
        module.publish()
        module.settle_monitors()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Tell the other callbacks of what the user's code raised.

        Args:
            trainer: The Trainer.
            pl_module: The module.
            exception: That, or what carries it.
        """
        cast("LoopModule", pl_module).tell_of(exception)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Publish what the end of the training has added: the loss on the test set.

        Args:
            trainer: The Trainer.
            pl_module: The module.
        """
        cast("LoopModule", pl_module).publish()


class StepLosses(OwnCallback):
    """Logs the loss of every n-th batch, for a program that has asked for ``log_every_n_steps``.

    Args:
        every: So many batches.
    """

    def __init__(self, every: int) -> None:
        """Keep the number."""
        self._every = every
        self.needs = (Need(f"log_every_n_steps={every}", lambda count: count.all_batches % every == 0),)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log the loss of the batch.

        Args:
            trainer: The Trainer.
            pl_module: The module.
            outputs: The batch's loss, if every batch is a step of its own.
            batch: The batch.
            batch_idx: Its index.
        """
        loop = cast("LoopModule", pl_module).loop
        if (loop.total_iteration_idx + 1) % self._every == 0:
            log_step(trainer, loop)


class TimedCheckpoints(OwnCallback):
    """Lets checkpoints be saved by the clock: with manual optimization Lightning returns before it looks at it.

    XXX: the hook asks the module for nothing but ``automatic_optimization`` (lightning 2.6). A version that looks at
    the clock by itself saves at the first call, and finds at the second that it has.

    Args:
        checkpoints: Those with a ``train_time_interval``.
    """

    def __init__(self, checkpoints: Sequence[ModelCheckpoint]) -> None:
        """Keep them."""
        self._checkpoints = checkpoints

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Let each look at the clock.

        Args:
            trainer: The Trainer.
            pl_module: The module.
            outputs: The batch's loss, if every batch is a step of its own.
            batch: The batch.
            batch_idx: Its index.
        """
        as_automatic: Any = SimpleNamespace(automatic_optimization=True)
        for checkpoint in self._checkpoints:
            checkpoint.on_train_batch_end(trainer, as_automatic, outputs, batch, batch_idx)


def companions(callbacks: Sequence[Callback], log_every_n_steps: int | None) -> list[Callback]:
    """List the callbacks of this package that a Trainer needs beside the user's.

    Args:
        callbacks: The user's.
        log_every_n_steps: Every how many batches the loss is to be logged; ``None`` if nobody has asked for it.

    Returns:
        The bridge, which has to come first, and what the others need.
    """
    timed = [each for each in callbacks if isinstance(each, ModelCheckpoint) and each._train_time_interval is not None]
    return [
        EpochEndBridge(),
        *([StepLosses(log_every_n_steps)] if log_every_n_steps else []),
        *([TimedCheckpoints(timed)] if timed else []),
    ]
