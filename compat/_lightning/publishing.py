"""The facade's history, published where native parts look: in the Trainer's metrics and in the loggers."""

import weakref
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Trainer

from compat.losses import MultiLoss

if TYPE_CHECKING:
    from compat.train_loop import TrainLoop

__all__ = ["STEP_LOSS", "History", "log_step"]

# What `self.log("accumulated_loss", on_step=True)` would make of the name.
STEP_LOSS = "accumulated_loss_step"


class History:
    """What the history of a fit has got since it was looked at last.

    Args:
        loop: The facade.
    """

    def __init__(self, loop: "TrainLoop") -> None:
        """Note what it holds already: an earlier fit has published that."""
        # The Trainer keeps this, and outlives the fit.
        self._loop: Any = weakref.proxy(loop)
        self._shown = self._logged = _lengths(loop.train_history)
        self._of_epoch: set[str] = set()

    def begin_epoch(self) -> None:
        """Forget which entries the epoch before has brought."""
        self._of_epoch = set()

    def is_stale(self, name: str) -> bool:
        """Tell whether this epoch has brought no value for an entry of the history.

        Args:
            name: The entry; what is none is not stale.
        """
        return name not in self._of_epoch and any(str(key) == name for key in self._shown)

    def show(self, trainer: Trainer) -> None:
        """Put what is new into the Trainer's metrics, in float64: ``self.log`` would round to float32.

        What is not new stays the tensor that it is, as in Lightning, so that nobody takes it for this epoch's.

        Args:
            trainer: The Trainer.
        """
        new, self._shown = self._since(self._shown)
        metrics = {key: torch.tensor(value, dtype=torch.float64) for key, value in new.items()}
        self._of_epoch |= metrics.keys()
        live: tuple[Any, ...] = (trainer.callback_metrics, trainer.logged_metrics)
        for each in live:
            each.update(metrics)
        # Plain numbers, as a bar shows them.
        bar: Any = trainer.progress_bar_metrics
        bar.update(new)

    def publish(self, trainer: Trainer, step: int | None = None) -> None:
        """Put what is new into the Trainer's metrics, and send it to the loggers.

        Args:
            trainer: The Trainer.
            step: The step to log at; the facade's own count of batches if there is none.
        """
        self.show(trainer)
        new, self._logged = self._since(self._logged)
        if new:
            _log(trainer, self._loop, new, step)

    def _since(self, before: Mapping[Any, int]) -> tuple[dict[str, float], dict[Any, int]]:
        """Return the last numbers of the entries that have grown, and how long all are by now."""
        history = self._loop.train_history
        lengths = _lengths(history)
        last = _last_numbers(_records(history))
        return {str(key): value for key, value in last.items() if lengths.get(key) != before.get(key)}, lengths


def log_step(trainer: Trainer, loop: "TrainLoop") -> None:
    """Send the loss of the last batch to the loggers.

    Args:
        trainer: The Trainer.
        loop: The facade.
    """
    loss = loop.loss_batch_accum[-1] if loop.loss_batch_accum else None
    if isinstance(loss, MultiLoss):
        values = {f"accumulated_loss_{name}_step": float(each) for name, each in loss.loss_dict.items()}
    else:
        values = {} if loss is None else {STEP_LOSS: float(loss)}
    if values:
        _log(trainer, loop, values)


def _log(trainer: Trainer, loop: "TrainLoop", values: Mapping[str, float], step: int | None = None) -> None:
    # The facade's own count of batches: the same number that the Trainer logs at, and it goes on over fits.
    at = loop.total_iteration_idx if step is None else step
    for logger in trainer.loggers:
        logger.log_metrics({**values, "epoch": loop.epoch}, step=at)
        logger.save()


def _records(history: Any) -> Iterable[tuple[Any, Any]]:
    # The dict itself: the methods of the history may be overridden, and the old loop does not call them here.
    records: Mapping[Any, Any] = getattr(history, "train_history", history)
    return records.items()


def _lengths(history: Any) -> dict[Any, int]:
    return {key: len(values) for key, values in _records(history) if isinstance(values, list)}


def _last_numbers(items: Iterable[tuple[Any, Any]]) -> dict[Any, float]:
    last = {}
    for key, values in items:
        value = values[-1] if isinstance(values, list) and values else None
        if getattr(value, "size", None) == 1 or (isinstance(value, torch.Tensor) and value.numel() == 1):
            # A tensor, or one of numpy's numbers or arrays.
            value = value.item()  # type: ignore[union-attr]
        if isinstance(value, int | float):
            last[key] = float(value)
    return last
