"""Keep Lightning from saying what the old loop did not say; its real warnings come through."""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["expected", "quiet"]

_CHATTER = (
    "GPU available",
    "TPU available",
    "HPU available",
    "IPU available",
    "💡 Tip",
    "`Trainer.fit` stopped",
    "You are using a CUDA device",
    "LOCAL_RANK:",
    "Detected KeyboardInterrupt",
)
# Each of these speaks of how this package uses Lightning, not of anything the user did.
_EXPECTED = (
    ".*dataloader_iter.*",
    ".*does not have many workers.*",
    ".*LeafSpec.*",
    ".*smaller than the logging interval.*",
    ".*`LightningModule.configure_optimizers` returned `None`.*",
    r".*module\(s\) in eval mode at the start of training.*",
    ".*GPU available but not used.*",
    ".*Using ModelCheckpoint with manual optimization and every_n_train_steps.*",
)
_LOGGERS = (
    "lightning.pytorch.utilities.rank_zero",
    "lightning.fabric.utilities.rank_zero",
    "lightning.pytorch",
    "lightning.fabric",
)


class _Drop(logging.Filter):
    """Drops log records that start like chatter."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the record is to be kept."""
        return not record.getMessage().lstrip().startswith(_CHATTER)


@contextmanager
def quiet() -> Iterator[None]:
    """Filter Lightning's chatter out of the log and the warnings while a fit runs."""
    from lightning_utilities.core import rank_zero

    # Messages go through this shared object, and after an `import pytorch_lightning` it belongs to that package.
    loggers = [rank_zero.log, *map(logging.getLogger, _LOGGERS)]
    chatter = _Drop()
    for logger in loggers:
        logger.addFilter(chatter)
    try:
        with expected():
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(chatter)


@contextmanager
def expected() -> Iterator[None]:
    """Filter out the warnings that speak of how this package uses Lightning."""
    # Into the list itself: `catch_warnings` would undo what the user's hooks do to the warnings, and forget which of
    # them were shown already.
    entries: list[Any] = [("ignore", re.compile(message), Warning, None, 0) for message in _EXPECTED]
    filters: list[Any] = warnings.filters  # type: ignore[assignment]  # typeshed knows it as read-only
    filters[:0] = entries
    try:
        yield
    finally:
        for entry in entries:
            if entry in filters:
                filters.remove(entry)
