"""Old callbacks and Lightning's events: who runs when.

The order of events in one fit. ``C`` are Lightning's callbacks, ``M`` is the module, ``B`` is the bridge of this file,
first in Lightning's list, and ``old`` are the callbacks of the TrainLoop::

    TrainLoop._train
        old.on_train_loop_registration              in list order, before the Trainer exists
        model and criterion to the device, model.train()
    Trainer.fit
        C.on_train_start   M.on_train_start         -> old.on_train_begin; the range of epochs is read after it
        for each epoch
            C.on_train_epoch_start   M.on_train_epoch_start
                                                    -> banner, old.on_epoch_begin
            M.training_step: for each batch
                old.on_batch_begin
                loss
                for each optimizer
                    backward, old.on_after_gradient_update
                    step, old.on_after_optimizer_step
                    zero_grad
                scaler update, old.on_batch_end
            B.on_train_epoch_end                    -> automatic losses -> history -> old.on_epoch_end
                                                    -> end of the epoch's messages
                                                    -> history published as Lightning's metrics
                                                    -> early_stop or num_iterations end the fit
            C.on_train_epoch_end                       sees this epoch's metrics
        C.on_train_end   M.on_train_end             -> automatic test loss, old.on_train_end
"""

from collections.abc import Mapping
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from compat._lightning.module import LoopModule, carried, end_epoch

__all__ = ["EpochEndBridge", "publish"]


class EpochEndBridge(Callback):
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
        loop = cast("LoopModule", pl_module).loop
        with carried():
            stop = end_epoch(loop)
        publish(trainer, loop.train_history)
        if stop:
            trainer.should_stop = True


def publish(trainer: Trainer, history: Any) -> None:
    """Publish the last value of each history entry as Lightning's metrics, in float64.

    ``self.log`` would round to float32, and the metrics would no longer equal the history.

    Args:
        trainer: The Trainer.
        history: The facade's history.
    """
    # The dict itself: the methods of the history may be overridden, and the old loop does not call them here.
    records = getattr(history, "train_history", history).items()
    metrics = {key: torch.tensor(value, dtype=torch.float64) for key, value in _last_numbers(records).items()}
    shown: tuple[Any, ...] = (trainer.callback_metrics, trainer.logged_metrics, trainer.progress_bar_metrics)
    for live in shown:
        live.update(metrics)


def _last_numbers(items: Any) -> Mapping[str, float]:
    last = {}
    for key, values in items:
        value = values[-1] if isinstance(values, list) and values else None
        if isinstance(value, torch.Tensor) and value.numel() == 1:
            value = value.item()
        if isinstance(value, int | float):
            last[key] = float(value)
    return last
