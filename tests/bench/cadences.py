"""The same fit with native parts attached that make its step shorter: what each cadence costs."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench.tasks import Task, old_style_loop, timed

__all__ = ["CADENCES", "RUNNERS", "available", "with_parts"]

# Callbacks for `fit`, and `lightning_args`.
Parts = tuple[list[Any], dict[str, Any]]


def _nothing(folder: Path) -> Parts:
    return [], {}


def _bar(folder: Path) -> Parts:
    from lightning.pytorch.callbacks import TQDMProgressBar

    return [TQDMProgressBar()], {}


def _checkpoint(folder: Path) -> Parts:
    from lightning.pytorch.callbacks import ModelCheckpoint

    return [ModelCheckpoint(folder, every_n_train_steps=50)], {}


def _checkpoint_without_file(folder: Path) -> Parts:
    from lightning.pytorch.callbacks import ModelCheckpoint

    # The steps end where the one above saves, and nothing is written.
    return [ModelCheckpoint(folder, every_n_train_steps=50, save_top_k=0)], {}


def _every_batch(folder: Path) -> Parts:
    from lightning.pytorch import Callback

    class Idle(Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            """Do nothing, after every batch."""

    return [Idle()], {}


def _averages(folder: Path) -> Parts:
    from lightning.pytorch import callbacks

    return [callbacks.EMAWeightAveraging()], {}


def _logger_per_epoch(folder: Path) -> Parts:
    from lightning.pytorch.loggers import CSVLogger

    return [], {"logger": CSVLogger(folder)}


def _logger_per_step(folder: Path) -> Parts:
    return [], {**_logger_per_epoch(folder)[1], "log_every_n_steps": 1}


CADENCES: dict[str, Callable[[Path], Parts]] = {
    "whole epochs": _nothing,
    "TQDMProgressBar": _bar,
    "ModelCheckpoint, 50": _checkpoint,
    "the same, no file": _checkpoint_without_file,
    "idle, every batch": _every_batch,
    "EMAWeightAveraging": _averages,
    "CSVLogger, epochs": _logger_per_epoch,
    "CSVLogger, steps": _logger_per_step,
}


def available() -> list[str]:
    """Return the keys of ``CADENCES`` whose parts this Lightning has."""
    from lightning.pytorch import callbacks

    return [name for name in CADENCES if name != "EMAWeightAveraging" or hasattr(callbacks, name)]


def with_parts(name: str, task: Task, epochs: int, folder: Path) -> tuple[float, Any]:
    """Train with ``compat.TrainLoop`` and the parts of one cadence.

    Args:
        name: A key of ``CADENCES``.
        task: What to train.
        epochs: How long.
        folder: For the files of the parts.

    Returns:
        The seconds of the fit, and the loop.
    """
    from compat import TrainLoop, TTBasicModel

    callbacks, lightning_args = CADENCES[name](folder)
    loop = old_style_loop(task, TTBasicModel, TrainLoop, lightning_args=lightning_args)
    return timed(lambda: loop.fit(num_epochs=epochs, callbacks=callbacks)), loop


def _seconds(name: str, task: Task, epochs: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        return with_parts(name, task, epochs, Path(folder))[0]


RUNNERS: dict[str, Callable[[Task, int], float]] = {name: partial(_seconds, name) for name in CADENCES}
