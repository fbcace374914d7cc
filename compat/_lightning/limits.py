"""Fits on fewer batches: ``limit_train_batches`` and its relatives, by shorter loaders in place of the loop's own.

The rules are Lightning's. An int is a number of batches, a float a share of them, rounded down; a share that leaves no
batch at all is an error. Here is what a TrainLoop adds to them:

- A loader that a callback puts into the loop while the fit runs is cut, too, before its first batch; a share is as many
  batches then as it was of the loader before. When the fit is over the loop holds that loader, whole.
- 0 batches to validate or to test on are no evaluation at all: the loop's loader is ``None`` while the fit runs. 0 to
  train on are no epoch: ``on_train_begin``, the test loss and ``on_train_end`` are all that happens.
- What was evaluated or predicted on fewer batches is forgotten when the fit is over.
- A shuffled training set is drawn anew to be evaluated, so its loss is that of other batches than those trained on.
- In several processes the training limit is that of each process, as in Lightning. The loss on the training set is then
  that of as many batches of the whole set as all processes train on. The limits for validation and test count the
  batches of the whole set, so that every number is the one of a single process.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch.distributed as dist
from torch.utils.data import DataLoader, IterableDataset, Sampler, SequentialSampler

from compat._distributed import dealing
from compat._evaluation import length_of
from compat._lightning.flag_limits import Limits
from compat._loop_state import LoopState
from compat.exceptions import CompatError, InvalidArgumentError, InvalidTypeError, RefusedError, raise_problems

if TYPE_CHECKING:
    from compat.train_loop import TrainLoop

__all__ = ["applied", "epochs", "limit_problems", "renew"]

# The loop's attribute, the argument of the Trainer, and what the prediction store calls it.
_SETS = (
    ("train_loader", "limit_train_batches", "train"),
    ("validation_loader", "limit_val_batches", "val"),
    ("test_loader", "limit_test_batches", "test"),
)


@contextmanager
def applied(loop: "TrainLoop") -> Iterator[None]:
    """Hold a fit on as many batches as ``lightning_args`` ask for; the loop gets its loaders back, however it ends.

    Args:
        loop: The facade; in a fit of several processes with its training batches dealt out.

    Raises:
        InvalidTypeError: A share of a loader that has no length.
        InvalidArgumentError: A share that leaves no batch.
        RefusedError: A loader that is dealt out by a sampler of its own.
    """
    state = loop._compat
    if not state.flags.limits or state in _running:
        # A callback fits inside a fit, whose loaders are shorter already.
        yield
        return
    raise_problems([*limit_problems(loop), *_sampler_problems(loop)])
    cuts = _running[state] = _Cuts(loop, state.flags.limits)
    try:
        cuts.make()
        yield
    finally:
        del _running[state]
        cuts.undo()


def renew(loop: "TrainLoop") -> None:
    """Cut the loaders that a callback has put into the loop; called where hooks have run and before the next batch.

    Args:
        loop: The facade.
    """
    cuts = _running.get(loop._compat)
    if cuts is not None and cuts.make():
        # A callback that gives a loader back when the fit is over looks for the one that it has put there.
        loop._compat.run_after_fit(cuts.undo)


def epochs(loop: "TrainLoop", stop: int) -> int:
    """Return the epoch that a fit stops before: with ``fast_dev_run`` it has one, without training batches none.

    Args:
        loop: The facade, whose ``epoch`` is the first one to run.
        stop: The epoch to stop before otherwise.
    """
    limits = loop._compat.flags.limits
    most = 1 if limits.fast_dev_run else 0 if _limit_of(limits, "train") == 0 else None
    return stop if most is None else min(stop, loop.epoch + most)


def limit_problems(loop: "TrainLoop") -> list[CompatError]:
    """List which limits do not fit the loop's loaders.

    Args:
        loop: The facade, before the fit.
    """
    problems: list[CompatError] = []
    limits = loop._compat.flags.limits
    for attribute, argument, data in _SETS:
        limit, loader = _limit_of(limits, data), getattr(loop, attribute)
        # None of them is a share that every loader has.
        if isinstance(limit, float) and limit and loader is not None:
            name = "overfit_batches" if limits.overfit and data != "test" else argument
            problems += _share_problems(f"lightning_args={{{name!r}: {limit}}}", attribute, limit, length_of(loader))
    return problems


def _share_problems(shown: str, attribute: str, share: float, length: int | None) -> list[CompatError]:
    if length is None:
        return [
            InvalidTypeError(
                f"{shown} is a share of loop.{attribute}, which has no length. Use a number of batches, or give the"
                " loader a __len__."
            )
        ]
    if length and not int(length * share):
        return [
            InvalidArgumentError(
                f"{shown} of the {length} batches of loop.{attribute} leaves none. Use at least {1 / length}, or a"
                " number of batches."
            )
        ]
    return []


def _sampler_problems(loop: "TrainLoop") -> list[CompatError]:
    """List the loaders for evaluation that a sampler of their own deals out to the processes of the fit."""
    rank, size = _place(loop)
    limits, problems = loop._compat.flags.limits, list[CompatError]()
    for attribute, argument, data in _SETS[1:]:
        loader = getattr(loop, attribute)
        if size == 1 or _limit_of(limits, data) is None or not isinstance(loader, DataLoader):
            continue
        part = dealing._own_part(loader, rank, size)
        if part is not None:
            problems.append(
                RefusedError(
                    f"{argument} is not served for loop.{attribute} in {size} processes: its"
                    f" {type(part[1]).__name__} gives each of them other batches. Pass a loader without it, which is"
                    " dealt out all the same, or one over fewer samples."
                )
            )
    return problems


def _limit_of(limits: Limits, data: str) -> int | float | None:
    if limits.fast_dev_run:
        return limits.fast_dev_run
    if limits.overfit and data != "test":
        return limits.overfit
    value: int | float | None = getattr(limits, data)
    return value


def _place(loop: "TrainLoop") -> tuple[int, int]:
    """Return the rank of this process in the fit, and their number."""
    if loop.gpu_mode != "ddp" or not (dist.is_available() and dist.is_initialized()):
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


class _Cuts:
    """The loaders that stand in for those of one loop while it fits.

    Args:
        loop: The facade.
        limits: How many batches there are to be.
    """

    def __init__(self, loop: "TrainLoop", limits: Limits) -> None:
        self._loop = loop
        self._limits = {attribute: _limit_of(limits, data) for attribute, _, data in _SETS}
        self._in_order = ("train_loader", "validation_loader") if limits.overfit else ()
        self._made: list[tuple[str, Any, Any]] = []

    def make(self) -> bool:
        """Put shorter loaders in place of those that are too long.

        Returns:
            Whether there were any.
        """
        before = len(self._made)
        for attribute, limit in self._limits.items():
            loader = getattr(self._loop, attribute)
            if loader is None or limit is None or any(loader is made for _, made, _ in self._made):
                continue
            count = _count(limit, length_of(loader))
            if isinstance(limit, float):
                # The share of whatever comes after it.
                self._limits[attribute] = count
            shorter = self._shorter(attribute, loader, count)
            if shorter is not loader:
                self._replace(attribute, loader, shorter)
        return len(self._made) > before

    def undo(self) -> None:
        """Give the loop its loaders back."""
        for attribute, made, whole in reversed(self._made):
            if getattr(self._loop, attribute) is made:
                self._forget(attribute)
                setattr(self._loop, attribute, whole)
            if isinstance(made, DataLoader):
                # Workers that would persist have nothing to wait for.
                made._iterator = None
            told = self._loop._compat.given_back.get(attribute)
            if told is not None and told[0] is made:
                self._loop._compat.given_back[attribute] = (whole, told[1])

    def _shorter(self, attribute: str, loader: Any, count: int) -> Any:
        is_training = attribute == "train_loader"
        if count == 0:
            # Without an epoch to train nobody asks for a batch, but for the evaluations.
            return loader if is_training else None
        in_order = attribute in self._in_order
        if is_training and dealing.whole(loader) is not loader:
            return self._shorter_part(loader, count, in_order)
        return _first(_unshuffled(loader) if in_order else loader, count)

    def _shorter_part(self, part: Any, count: int, in_order: bool) -> Any:
        """Cut what this process trains on, and in the same way the whole, on which the loss is evaluated."""
        whole, (rank, size) = dealing.whole(part), _place(self._loop)
        if in_order and (ordered := _unshuffled(whole)) is not whole:
            whole, part = ordered, dealing.deal_out(ordered, rank, size)[0]
        shorter = _first(part, count)
        if shorter is part:
            return part
        shorter.__dict__[dealing._WHOLE] = _first(whole, count * size)
        return shorter

    def _replace(self, attribute: str, loader: Any, shorter: Any) -> None:
        self._forget(attribute)
        setattr(self._loop, attribute, shorter)
        self._made.append((attribute, shorter, loader))
        built_here = self._loop._compat.built_here
        if any(loader is one for one in built_here):
            built_here.append(shorter)

    def _forget(self, attribute: str) -> None:
        # What was evaluated on the one is not what the other gives.
        store: Any = self._loop.prediction_store
        store._forget(next(data for name, _, data in _SETS if name == attribute))


_running: WeakKeyDictionary[LoopState, _Cuts] = WeakKeyDictionary()


def _count(limit: int | float, length: int | None) -> int:
    """Return the number of batches that a limit leaves of a loader.

    Args:
        limit: A number of batches, or a share.
        length: What there are; ``None`` if that is not known.

    Raises:
        InvalidTypeError: A share of what is not known.
    """
    if isinstance(limit, int) or not limit:
        return int(limit)
    if length is None:
        raise InvalidTypeError(
            f"A limit of {limit} is a share of a loader without a length, which a callback has put into the loop. Use a"
            " number of batches, or give the loader a __len__."
        )
    return int(length * limit)


def _first(loader: Any, count: int) -> Any:
    """Return a loader of the first batches of another; that one itself if it has no more."""
    length = length_of(loader)
    if length is not None and length <= count:
        return loader
    if isinstance(loader, list | tuple):
        return loader[:count]
    if _samples_by_itself(loader):
        # Its workers load no batch more than is used, and it stays a DataLoader for whoever asks.
        name = "sampler" if loader.batch_sampler is None else "batch_sampler"
        # A smaller last batch is not among the first ones.
        changes = {name: FirstItems(getattr(loader, name), count), "drop_last": True}
        shorter: Any = dealing._copied(loader, **changes)
        return shorter
    return FirstBatches(loader, count)


def _samples_by_itself(loader: Any) -> bool:
    """Tell whether what a loader yields is what its sampler says, and nothing else."""
    kind = type(loader)
    return (
        isinstance(loader, DataLoader)
        and not isinstance(loader.dataset, IterableDataset)
        and kind.__iter__ is DataLoader.__iter__
        and kind.__len__ is DataLoader.__len__
    )


def _unshuffled(loader: Any) -> Any:
    """Return a loader that reads its data set in order, as far as its samples are its own to choose."""
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return loader
    if isinstance(loader.sampler, SequentialSampler):
        return loader
    data: Any = loader.dataset
    return dealing._with_sampler(loader, SequentialSampler(data))


class _PassesOn:
    """Has what the whole has: attributes are read from it, and set on it."""

    _of: Any
    _count: int

    def __init__(self, whole: Any, count: int) -> None:
        self.__dict__.update(_of=whole, _count=count)

    def __getattr__(self, name: str) -> Any:
        # While it is copied or unpickled there is no whole yet.
        if name == "_of" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._of, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._of, name, value)

    def __len__(self) -> int:
        """Return the number of items; a ``TypeError`` if the whole cannot be counted."""
        return min(len(self._of), self._count)

    def __iter__(self) -> Iterator[Any]:
        """Ask the whole for that many, and for none beyond."""
        yield from islice(self._of, self._count)


class FirstBatches(_PassesOn):
    """The first batches of a loader of any kind.

    Args:
        whole: The loader.
        count: How many.
    """


class FirstItems(_PassesOn, Sampler[Any]):
    """The first items of a sampler, or the first batches of a batch sampler.

    Args:
        whole: The sampler.
        count: How many.
    """
