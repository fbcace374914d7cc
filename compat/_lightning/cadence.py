"""Every reach into Lightning's loops, in one place.

The step of the module consumes a whole epoch in one Lightning step, so Lightning's own counters have to be told what
happened: how many batches, how many updates, and that the epoch is over. None of these names is public API of
Lightning, so each of them is tested on the oldest and the newest supported version.
"""

import dataclasses
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Trainer

from compat._evaluation import length_of

if TYPE_CHECKING:
    from compat.train_loop import TrainLoop

__all__ = ["BatchCounter", "LazyLoader", "set_epoch_length", "set_epoch_range"]


class LazyLoader:
    """What the Trainer gets as its training loader: the facade's current one, opened only when a batch is asked for.

    Lightning opens loaders before the hooks that may seed or swap them, and takes a list of batches for a list of
    loaders. Every ``iter(DataLoader)`` draws from the global random number generator, so the moment matters.

    Args:
        loop: The facade.
    """

    def __init__(self, loop: "TrainLoop") -> None:
        """Keep a weak reference: the Trainer outlives the fit, and must not keep the facade alive."""
        self._loop = weakref.proxy(loop)

    def __len__(self) -> int:
        """Return the number of batches of the facade's current loader.

        Raises:
            TypeError: It has no length, or none yet. At 0 the Trainer would end the fit before its first hook, and with
                it the old callbacks that may bring another loader.
        """
        length = length_of(self._loop.train_loader)
        if not length:
            raise TypeError("the training loader has no length yet")
        return length

    def __iter__(self) -> Iterator[Any]:
        """Open the facade's current loader at the first batch."""
        yield from self._loop.train_loader


def set_epoch_range(trainer: Trainer, start: int, stop: int) -> None:
    """Let the Trainer run the epochs ``start`` to ``stop - 1``; none if there is none.

    Args:
        trainer: A Trainer in its ``on_train_start``.
        start: The first epoch; ``trainer.current_epoch`` from then on.
        stop: The epoch after the last one.
    """
    progress: Any = trainer.fit_loop.epoch_progress.current
    progress.ready = progress.started = progress.processed = progress.completed = start
    trainer.fit_loop.max_epochs = max(stop, 0)


def set_epoch_length(trainer: Trainer, loader: Any) -> None:
    """Tell the Trainer the number of batches of the loader that this epoch runs over.

    Args:
        trainer: A Trainer in its ``on_train_epoch_start``.
        loader: The facade's loader; a callback may have swapped it since the Trainer asked for its length.
    """
    length = length_of(loader)
    trainer.fit_loop.max_batches = float("inf") if length is None else length


class BatchCounter:
    """Counts batches and updates into the Trainer while one Lightning step runs over many batches.

    Lightning counts the first batch of a step and the end of the last one itself; the rest is written by :meth:`flush`.

    Args:
        trainer: The Trainer.
        fetcher: Lightning's data fetcher of this epoch.

    Attributes:
        batches: Batches that were begun in this epoch. Counted up by the step.
        updates: Updates of the weights in this epoch. Counted up by the step.
    """

    def __init__(self, trainer: Trainer, fetcher: Any) -> None:
        """Look the counters up once an epoch."""
        self.batches = 0
        self.updates = 0
        self._epoch_loop: Any = trainer.fit_loop.epoch_loop
        self._fetcher = fetcher
        self._written_batches = 1
        self._written_updates = 0

    def flush(self) -> None:
        """Write what was counted into the Trainer, where ``trainer.global_step`` and native parts read it."""
        batches, updates = self.batches - self._written_batches, self.updates - self._written_updates
        if batches > 0:
            _advance(self._epoch_loop.batch_progress, batches)
            self._epoch_loop._batches_that_stepped += batches
            self._written_batches += batches
        if updates:
            _advance(self._epoch_loop.manual_optimization.optim_step_progress, updates)
            self._written_updates += updates

    def finish_epoch(self, last_batch: Any) -> None:
        """Say that the epoch has no more batches.

        Args:
            last_batch: What the batch-end hooks are given.
        """
        fetcher = self._fetcher
        fetcher.fetched = self.batches
        fetcher._batch, fetcher._batch_idx = last_batch, max(self.batches - 1, 0)
        fetcher.done = True


def _advance(progress: Any, count: int) -> None:
    # XXX: `progress.increment_by` does this from Lightning 2.5 on; use it once 2.4 is no longer supported.
    for tracker in (progress.total, progress.current):
        for field in dataclasses.fields(tracker):
            setattr(tracker, field.name, getattr(tracker, field.name) + count)
