"""The old history for native code: what a LightningModule logged, one value an epoch.

How a key is known to have been logged in this epoch: ``trainer.callback_metrics`` keeps the tensors of earlier epochs,
and puts a new tensor in place of one whose key is logged again. So what was there when the epoch began is remembered,
the tensors themselves and not their values, and whatever is another object later is new. Lightning drops what a
training epoch has logged before the next one begins, so nothing of it comes back as a new object.

The module's own ``on_train_epoch_end`` runs after that of most callbacks, so what it logs is taken a little later: when
the next epoch begins, the training ends, or a checkpoint is written, whichever comes first.
"""

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

__all__ = ["EpochMetrics", "HistoryCallback"]


class EpochMetrics:
    """The metrics that are logged in one epoch, each of them taken once.

    Attributes:
        epoch: The epoch that :meth:`begin` was last called for, -1 before.
    """

    def __init__(self) -> None:
        """Start before any epoch."""
        self.epoch = -1
        self._before: dict[str, Any] = {}
        self._taken: dict[str, float] = {}
        self._restored: dict[str, float] = {}

    def begin(self, trainer: Trainer) -> None:
        """Remember what is there already.

        Args:
            trainer: The Trainer, whose epoch begins.
        """
        self.epoch = trainer.current_epoch
        self._before = dict(trainer.callback_metrics)
        self._taken = {}

    def peek(self, trainer: Trainer) -> dict[str, float]:
        """Return what was logged in this epoch and has not been taken, in this process.

        Args:
            trainer: The Trainer.
        """
        metrics = trainer.callback_metrics
        fresh = {
            name: _number(value)
            for name, value in metrics.items()
            if self._before.get(name) is not value and name not in self._taken and not _is_of_a_step(name, metrics)
        }
        return {**self._restored, **{name: value for name, value in fresh.items() if value is not None}}

    def seen(self, trainer: Trainer) -> dict[str, float]:
        """Return what was logged in this epoch, taken or not.

        Args:
            trainer: The Trainer.
        """
        return {**self._taken, **self.peek(trainer)}

    def take(self, trainer: Trainer) -> dict[str, float]:
        """Return what was logged in this epoch and has not been taken: in all processes what the first one has.

        Args:
            trainer: The Trainer.
        """
        found = self.peek(trainer)
        if trainer.world_size > 1:
            found = trainer.strategy.broadcast(found, src=0)
        self._taken.update(found)
        self._restored = {}
        return found

    def restore(self, epoch: int, values: Mapping[str, float]) -> None:
        """Take over what was logged, and not taken, when a checkpoint was written.

        Args:
            epoch: The epoch in which it was logged.
            values: The values by name.
        """
        self.epoch, self._restored = epoch, dict(values)


def _number(value: Any) -> float | None:
    if isinstance(value, torch.Tensor):
        return float(value.item()) if value.numel() == 1 else None
    return float(value) if isinstance(value, int | float) else None


def _is_of_a_step(name: str, metrics: Mapping[str, Any]) -> bool:
    """Tell whether a metric is the value of the last step: logged with ``on_step=True`` beside that of the epoch."""
    # With several loaders the name goes on behind it.
    base, step, tail = name.rpartition("_step")
    return bool(step) and (not tail or tail.startswith("/dataloader_idx_")) and f"{base}{tail}" in metrics


class HistoryCallback(Callback):
    """Keeps what a module logs as the old training history: a list for each metric, one value an epoch.

    An epoch in which a metric was not logged adds no value to its list. A metric that is logged per step alone counts
    with its last value; of one that is logged both ways ``<name>_step`` is left out. ``trainer.test`` adds the test's
    metrics. In several processes all of them hold what the first one logged.

    It is kept in checkpoints, and goes on where it was with ``trainer.fit(ckpt_path=)``.

    Example:
        ``history = HistoryCallback(); Trainer(callbacks=[history]).fit(module); history.history["val_loss"]``

    Attributes:
        history: The lists of values by metric name.

    Note:
        What the module logs in its own ``on_train_epoch_end`` is in the history from the next epoch's beginning on.
    """

    def __init__(self) -> None:
        """Start with an empty history."""
        self.history: dict[str, list[float]] = {}
        self._metrics = EpochMetrics()
        self._trainer: Trainer | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Settle the epoch of the checkpoint that the training goes on from; Lightning may begin inside an epoch."""
        self._trainer = trainer
        self._begin(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take what the epoch before logged last."""
        self._begin(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take what the epoch has logged."""
        self._append(self._metrics.take(trainer))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take what the last epoch logged last."""
        self._append(self._metrics.take(trainer))
        self._trainer = None

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take what the module logged when the training was over: a TrainLoop does so with the loss on its test set."""
        self._append(self._metrics.take(trainer))

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember what was there before the test."""
        self._metrics.begin(trainer)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take what the test has logged."""
        self._append(self._metrics.take(trainer))

    def state_dict(self) -> dict[str, Any]:
        """Return the history, and what has been logged since it was last added to."""
        waiting = self._metrics.peek(self._trainer) if self._trainer is not None else {}
        history = {name: list(values) for name, values in self.history.items()}
        return {"history": history, "epoch": self._metrics.epoch, "waiting": waiting}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the history.

        Args:
            state_dict: What :meth:`state_dict` returned.
        """
        self.history.clear()
        self.history.update({name: list(values) for name, values in state_dict["history"].items()})
        self._metrics.restore(state_dict["epoch"], state_dict["waiting"])

    def _begin(self, trainer: Trainer) -> None:
        if trainer.current_epoch != self._metrics.epoch:
            self._append(self._metrics.take(trainer))
        self._metrics.begin(trainer)

    def _append(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.history.setdefault(name, []).append(value)
