"""Every reach into Lightning's loops, in one place.

The step of the module consumes a whole epoch in one Lightning step, so Lightning's own counters have to be told what
happened: how many batches, how many updates, and that the epoch is over. None of these names is public API of
Lightning, so each of them is tested on the oldest and the newest supported version.
"""

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

    Lightning counts the first batch and the end of the last one itself. Counting each further batch before it runs
    keeps the counters right also when a batch raises.

    Args:
        trainer: The Trainer.
        fetcher: Lightning's data fetcher of this epoch.
    """

    def __init__(self, trainer: Trainer, fetcher: Any) -> None:
        """Look the counters up once an epoch."""
        self._epoch_loop: Any = trainer.fit_loop.epoch_loop
        batches, updates = self._epoch_loop.batch_progress, self._epoch_loop.manual_optimization.optim_step_progress
        self._batches: tuple[Any, ...] = (batches.total, batches.current)
        self._updates: tuple[Any, ...] = (updates.total, updates.current)
        self._fetcher = fetcher

    def further_batch(self) -> None:
        """Count a batch after the first one."""
        # Field by field: Lightning's own methods take ten calls for this, which shows in the time of a small step.
        for progress in self._batches:
            progress.ready += 1
            progress.started += 1
            progress.processed += 1
            progress.completed += 1
        self._epoch_loop._batches_that_stepped += 1

    def update(self) -> None:
        """Count one update of the weights: this is ``trainer.global_step``."""
        for progress in self._updates:
            progress.ready += 1
            progress.completed += 1

    def finish_epoch(self, batches: int, last_batch: Any) -> None:
        """Say that the epoch has no more batches.

        Args:
            batches: How many ran.
            last_batch: What the batch-end hooks are given.
        """
        fetcher = self._fetcher
        fetcher.fetched = batches
        fetcher._batch, fetcher._batch_idx = last_batch, max(batches - 1, 0)
        fetcher.done = True
