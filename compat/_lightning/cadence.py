"""Every reach into Lightning's loops, in one place.

The step of the module consumes many batches in one Lightning step, often a whole epoch, so Lightning's own counters
have to be told what happened: how many batches, how many updates, and that the epoch is over. None of these names is
public API of Lightning, so each of them is tested on the oldest and the newest supported version.
"""

import dataclasses
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from lightning.pytorch import Trainer
from lightning.pytorch.loops.fetchers import _DataLoaderIterDataFetcher
from lightning.pytorch.trainer.states import TrainerFn

from compat._evaluation import length_of

if TYPE_CHECKING:
    from compat.train_loop import TrainLoop

__all__ = [
    "ENDLESS",
    "BatchCounter",
    "BatchFeed",
    "LazyLoader",
    "continue_counts",
    "data_given",
    "forget_max_steps",
    "last_step",
    "may_stop",
    "set_epoch_length",
    "set_epoch_range",
    "start_from_scratch",
    "stop_after_this_epoch",
    "take_feed",
    "validate_this_epoch",
]


# Lightning's word for it.
ENDLESS = -1


class LazyLoader:
    """What the Trainer gets as a loader: the facade's current one, opened only when a batch is asked for.

    Lightning opens loaders before the hooks that may seed or swap them, and takes a list of batches for a list of
    loaders. Every ``iter(DataLoader)`` draws from the global random number generator, so the moment matters.

    Args:
        loop: The facade.
        attribute: Where it has the loader.
    """

    def __init__(self, loop: "TrainLoop", attribute: str = "train_loader") -> None:
        """Keep a weak reference: the Trainer outlives the fit, and must not keep the facade alive."""
        self._loop = weakref.proxy(loop)
        self._attribute = attribute

    def __len__(self) -> int:
        """Return the number of batches of the facade's current loader.

        Raises:
            TypeError: It has no length, or none yet. At 0 the Trainer would end the fit before its first hook, and with
                it the old callbacks that may bring another loader.
        """
        length = length_of(getattr(self._loop, self._attribute))
        if not length:
            raise TypeError(f"{self._attribute} has no length yet")
        return length

    def __getattr__(self, name: str) -> Any:
        """Look up what native parts ask of a loader; no sampler, which Lightning would tell the epoch."""
        if name not in ("batch_size", "dataset", "num_workers"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(getattr(self._loop, self._attribute), name)

    def __iter__(self) -> Iterator[Any]:
        """Open the facade's current loader at the first batch."""
        yield from getattr(self._loop, self._attribute)


def set_epoch_range(trainer: Trainer, start: int, stop: int) -> None:
    """Let the Trainer run the epochs ``start`` to ``stop - 1``; none if there is none.

    Args:
        trainer: A Trainer in its ``on_train_start``.
        start: The first epoch; ``trainer.current_epoch`` from then on.
        stop: The epoch after the last one; ``ENDLESS`` if there is none.
    """
    progress: Any = trainer.fit_loop.epoch_progress.current
    progress.ready = progress.started = progress.processed = progress.completed = start
    trainer.fit_loop.max_epochs = max(stop, ENDLESS)


def set_epoch_length(trainer: Trainer, loader: Any) -> None:
    """Tell the Trainer the number of batches of the loader that this epoch runs over.

    Args:
        trainer: A Trainer in its ``on_train_epoch_start``.
        loader: The facade's loader; a callback may have swapped it since the Trainer asked for its length.
    """
    length = length_of(loader)
    trainer.fit_loop.max_batches = float("inf") if length is None else length


def continue_counts(trainer: Trainer, batches: int, updates: int) -> None:
    """Let the Trainer count on from where other fits have come: a new one starts at zero.

    Args:
        trainer: A Trainer in its ``on_train_epoch_start``.
        batches: Batches that were trained before.
        updates: Updates of the weights before; ``trainer.global_step`` from then on.
    """
    epoch_loop: Any = trainer.fit_loop.epoch_loop
    epoch_loop._batches_that_stepped = batches
    for field in dataclasses.fields(epoch_loop.batch_progress.total):
        setattr(epoch_loop.batch_progress.total, field.name, batches)
    _advance(epoch_loop.manual_optimization.optim_step_progress, updates - trainer.global_step)


def last_step(trainer: Trainer) -> int:
    """Return the step at which ``self.log`` logs at the end of an epoch: the index of the last batch.

    Args:
        trainer: A Trainer outside of its batches.
    """
    return max(trainer.fit_loop.epoch_loop._batches_that_stepped - 1, 0)


def data_given(trainer: Trainer) -> dict[str, Any]:
    """Return where a Trainer takes its loaders from: the module, a data module or loaders, by the argument.

    Args:
        trainer: A Trainer that knows what it is asked for. Only where it trains, validates or tests.
    """
    fit: Any = trainer.fit_loop
    sources = {
        TrainerFn.FITTING: {"train_dataloaders": fit, "val_dataloaders": fit.epoch_loop.val_loop},
        TrainerFn.VALIDATING: {"dataloaders": trainer.validate_loop},
        TrainerFn.TESTING: {"dataloaders": trainer.test_loop},
    }.get(cast("TrainerFn", trainer.state.fn), {})
    return {name: loop._data_source.instance for name, loop in sources.items()}


def stop_after_this_epoch(trainer: Trainer) -> None:
    """End the fit with the running epoch, whatever the Trainer was told about the least number of epochs or steps.

    Args:
        trainer: A Trainer in an ``on_train_epoch_end``.
    """
    fit_loop: Any = trainer.fit_loop
    trainer.should_stop = True
    fit_loop.max_epochs = fit_loop.epoch_progress.current.processed


def forget_max_steps(trainer: Trainer) -> None:
    """Take back the number of updates that the Trainer would stop after.

    Args:
        trainer: A Trainer that has not run yet.
    """
    trainer.fit_loop.epoch_loop.max_steps = -1


def start_from_scratch(trainer: Trainer) -> None:
    """Keep the Trainer from going on from a file that it finds: one of an exception, or of a SLURM job.

    It would load weights and counters behind the facade's back.

    Args:
        trainer: A Trainer that has not run yet.
    """
    connector: Any = trainer._checkpoint_connector
    # Somebody has decided: for no file.
    connector._user_managed = True


def may_stop(trainer: Trainer) -> bool:
    """Tell whether somebody has asked the Trainer to stop, and it may by now.

    Args:
        trainer: The Trainer.
    """
    return trainer.should_stop and bool(trainer.fit_loop._can_stop_early)


def take_feed(trainer: Trainer, feed: "BatchFeed") -> None:
    """Let the Trainer take its batches from a feed, and not from the loader that it has opened itself.

    Args:
        trainer: A Trainer in its ``on_train_epoch_start``.
        feed: The feed.
    """
    fit_loop: Any = trainer.fit_loop
    feed.setup(fit_loop._combined_loader)
    fit_loop._data_fetcher = feed


def validate_this_epoch(trainer: Trainer, is_evaluated: bool) -> None:
    """Let the validation loop run at the end of the coming epoch, or leave it out.

    Args:
        trainer: A Trainer in its ``on_train_epoch_start``.
        is_evaluated: Whether the epoch is evaluated.
    """
    trainer.limit_val_batches = 1.0 if is_evaluated else 0
    # A loader that was swapped has another length; the last batch of the epoch is what counts.
    trainer.val_check_batch = float("inf")


class BatchFeed(_DataLoaderIterDataFetcher):
    """The batches of one epoch, one ahead: a batch is fetched once the one before has been trained.

    So it is known which one is the last, for a loader without a length too, and the hooks before a batch are given that
    batch. A plain ``for`` fetches at the same moments.

    Args:
        batches: Opens the facade's loader.
        length: Returns its length, if it has one.
        steps_alone: Whether every batch is a step of its own.
        is_profiled: Whether a profiler is to be told when a batch is fetched.

    Attributes:
        ahead: The batch that comes next; ``END`` if there is none.
        fetch: Fetches the next batch, or ``END``.
    """

    END = object()

    def __init__(
        self,
        batches: Callable[[], Iterator[Any]],
        length: Callable[[], int | None],
        steps_alone: bool,
        is_profiled: bool,
    ) -> None:
        """Open nothing yet."""
        super().__init__()
        self._open, self._length = batches, length
        self._steps_alone, self._is_profiled = steps_alone, is_profiled
        self._is_open = False
        self.fetch: Callable[[], Any] = _no_more
        self.reset()

    def __iter__(self) -> "BatchFeed":
        """Start over; Lightning asks for it before an epoch."""
        self.reset()
        return self

    def __next__(self) -> "BatchFeed":  # type: ignore[override]
        """Give the step this feed, and the hooks before it the batch that comes next."""
        if self.done:
            raise StopIteration
        if not self._is_open:
            fetch: Callable[[], Any] = partial(next, self._open(), self.END)
            self.fetch = partial(self._timed, fetch) if self._is_profiled else fetch
            self._is_open, self.ahead = True, self.fetch()
        if self.ahead is self.END:
            self.done = True
            raise StopIteration
        self._batch, self._batch_idx = self.ahead, self.fetched
        # Lightning takes this over as `is_last_batch`, for the hooks before the batch.
        self.done = self._steps_alone and self.fetched + 1 == self._length()
        return self

    @property
    def last(self) -> Any:
        """The batch that was trained last, or is about to be; ``None`` outside of the batches."""
        return self._batch

    def _timed(self, fetch: Callable[[], Any]) -> Any:
        self._start_profiler()
        try:
            return fetch()
        finally:
            self._stop_profiler()

    def trained(self, batch: Any, count: int) -> None:
        """Say which batch was trained last, for the hooks after the step.

        Args:
            batch: The batch.
            count: The number of batches of this epoch so far.
        """
        self.fetched, self.done = count, self.ahead is self.END
        self._batch, self._batch_idx = batch, max(count - 1, 0)
        if self.done:
            self._close()

    def reset(self) -> None:
        """Forget the epoch, and let go of the facade's loader."""
        self.fetched, self.done, self.length = 0, False, None
        self._batch, self._batch_idx, self.ahead = None, 0, None
        self._close()

    def _close(self) -> None:
        self._is_open, self.fetch = False, _no_more


def _no_more() -> Any:
    return BatchFeed.END


class BatchCounter:
    """Counts batches and updates into the Trainer while one Lightning step runs over many batches.

    Lightning counts the first batch of a step and the end of the last one itself; the rest is written by :meth:`flush`.

    Args:
        trainer: The Trainer.

    Attributes:
        batches: Batches that were begun in this epoch. Counted up by the step.
        updates: Updates of the weights in this epoch. Counted up by the step.
        is_updated: Whether the last batch updated the weights. Set by the step.
    """

    def __init__(self, trainer: Trainer) -> None:
        """Look the counters up once an epoch."""
        self.batches = 0
        self.updates = 0
        self.is_updated = False
        self._fit_loop: Any = trainer.fit_loop
        self._epoch_loop: Any = trainer.fit_loop.epoch_loop
        self._batches_before = self._epoch_loop._batches_that_stepped
        self._updates_before = trainer.global_step
        self._written_batches = 0
        self._written_updates = 0

    @property
    def all_batches(self) -> int:
        """Batches that were begun in all epochs."""
        return int(self._batches_before + self.batches)

    @property
    def all_updates(self) -> int:
        """Updates of the weights in all epochs: what ``trainer.global_step`` will be."""
        return int(self._updates_before + self.updates)

    def begin_step(self) -> None:
        """Leave the first batch of a step to Lightning."""
        self._written_batches += 1

    def flush(self) -> None:
        """Write what was counted into the Trainer, where ``trainer.global_step`` and native parts read it."""
        batches, updates = self.batches - self._written_batches, self.updates - self._written_updates
        if batches > 0:
            _advance(self._epoch_loop.batch_progress, batches)
            self._epoch_loop._batches_that_stepped += batches
            self._written_batches += batches
        self._epoch_loop.batch_progress.is_last_batch = self.batches == self._fit_loop.max_batches
        if updates:
            _advance(self._epoch_loop.manual_optimization.optim_step_progress, updates)
            self._written_updates += updates

    def end_step(self, is_last: bool) -> None:
        """End a step: a loader may yield more than it said, and the Trainer believes what it said.

        Args:
            is_last: Whether the epoch is over too.
        """
        if not is_last and self.batches >= self._fit_loop.max_batches:
            self._fit_loop.max_batches = float("inf")


def _advance(progress: Any, count: int) -> None:
    # XXX: `progress.increment_by` does this from Lightning 2.5 on; use it once 2.4 is no longer supported.
    for tracker in (progress.total, progress.current):
        for field in dataclasses.fields(tracker):
            setattr(tracker, field.name, getattr(tracker, field.name) + count)
