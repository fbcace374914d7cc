"""Parts of samplers, and of lists of batches: every rank's own, from the same whole.

Samples and batches are dealt by their places, so that a sampler of batches is like one of samples. Every rank walks the
whole, so that its random numbers are those of one process.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from torch.utils.data import BatchSampler, RandomSampler, Sampler, SequentialSampler

from compat.callbacks.ddp import _epoch_taker
from compat.exceptions import InvalidArgumentError

__all__ = [
    "Agree",
    "Block",
    "Slice",
    "Strided",
    "StridedBatches",
    "Turns",
    "as_drawn",
    "bounds",
    "is_indexed",
    "length_of",
]

Agree = Callable[[list[Any]], list[Any]]


def as_drawn(items: list[Any]) -> list[Any]:
    """Take a sampler's list as this process drew it."""
    return items


def length_of(loader: Any) -> int | None:
    """Return the length of a loader or sampler, ``None`` if it has none.

    Args:
        loader: A loader, a sampler, or a data set.
    """
    try:
        return len(loader)
    except (TypeError, NotImplementedError, AttributeError):
        return None


def is_indexed(loader: Any) -> bool:
    """Tell whether batches can be asked for by number; one with an ``__iter__`` of its own may give others by that.

    Args:
        loader: A loader.
    """
    if isinstance(loader, Sequence):
        return True
    return hasattr(loader, "__getitem__") and not hasattr(loader, "__iter__") and length_of(loader) is not None


def bounds(count: int, rank: int, size: int) -> tuple[int, int]:
    """Return where a rank's block of items begins and ends; the first blocks are longer by one where need be.

    Args:
        count: The number of items.
        rank: The rank.
        size: The number of ranks.
    """
    each, more = divmod(count, size)
    start = rank * each + min(rank, more)
    return start, start + each + (rank < more)


def _reads_in_order(sampler: Any) -> bool:
    if type(sampler) is BatchSampler:
        return _reads_in_order(sampler.sampler)
    return type(sampler) is SequentialSampler


def _is_torchs_own(sampler: Any) -> bool:
    """Tell whether a sampler has as many items as it says, and the same ones wherever the random state is the same."""
    if type(sampler) is BatchSampler:
        return _is_torchs_own(sampler.sampler)
    return type(sampler) is SequentialSampler or (type(sampler) is RandomSampler and sampler.generator is None)


def _drawn(sampler: Iterable[Any]) -> list[Any]:
    # A batch sampler may fill the same list again for its next batch.
    return [list(item) if isinstance(item, list) else item for item in sampler]


class _TellsTheWhole:
    """Passes the epoch on to what it is a part of."""

    inner: Any

    def set_epoch(self, epoch: int) -> None:
        """Tell the whole the epoch, if it wants to know.

        Args:
            epoch: The epoch.
        """
        taker = _epoch_taker(self.inner)
        if taker is not None:
            taker.set_epoch(epoch)


class _Part(_TellsTheWhole, Sampler[Any]):
    """A rank's part of a sampler, or of a batch sampler.

    Args:
        inner: The whole.
        rank: The rank.
        size: The number of ranks.
        agree: Makes one list of what each rank drew.
    """

    def __init__(self, inner: Any, rank: int, size: int, agree: Agree = as_drawn) -> None:
        """Keep the arguments."""
        self.inner, self.rank, self.size, self.agree = inner, rank, size, agree

    def _all(self) -> Sequence[Any]:
        if type(self.inner) is SequentialSampler:
            return range(len(self.inner))
        drawn = _drawn(self.inner)
        return drawn if _reads_in_order(self.inner) else self.agree(drawn)


class Strided(_Part):
    """Every ``size``-th item, as many on every rank: the first ones come again where the last ones are missing."""

    def __iter__(self) -> Iterator[Any]:
        items = self._all()
        for position in _positions(len(items), self.rank, self.size):
            yield items[position % len(items)]

    def __len__(self) -> int:
        return math.ceil(len(self.inner) / self.size)


class Block(_Part):
    """A block of the items, each of which is in the block of one rank alone."""

    def __iter__(self) -> Iterator[Any]:
        if _is_torchs_own(self.inner):
            # Nothing to agree on, and nothing to keep: a list of all indices would outgrow the predictions.
            start, end = bounds(len(self.inner), self.rank, self.size)
            # To the very end, so that the random numbers are those of one process.
            yield from (item for number, item in enumerate(self.inner) if start <= number < end)
            return
        items = self._all()
        # By what there really is: the length of a batch sampler can be an estimate.
        start, end = bounds(len(items), self.rank, self.size)
        yield from items[start:end]

    def __len__(self) -> int:
        start, end = bounds(len(self.inner), self.rank, self.size)
        return end - start


class Turns(_Part):
    """Every ``size``-th item of an iterable that knows no length, each on one rank alone."""

    def __iter__(self) -> Iterator[Any]:
        for number, item in enumerate(self.inner):
            if number % self.size == self.rank:
                yield item

    def __len__(self) -> int:
        """Count the items of this rank; a ``TypeError`` if the whole cannot be counted."""
        return len(range(self.rank, len(self.inner), self.size))


class Slice:
    """A block of a sequence of batches.

    Args:
        batches: The whole.
        start: The number of the first batch.
        end: The number of the one that the block stops before.
    """

    def __init__(self, batches: Any, start: int, end: int) -> None:
        """Keep the arguments."""
        self._batches, self._range = batches, range(start, end)

    def __iter__(self) -> Iterator[Any]:
        return (self._batches[index] for index in self._range)

    def __len__(self) -> int:
        return len(self._range)


class StridedBatches(_TellsTheWhole):
    """Every ``size``-th batch of a list of batches, or of another iterable with a length; see :class:`Strided`.

    What else is asked of it is asked of the whole.

    Args:
        batches: The whole.
        rank: The rank.
        size: The number of ranks.
    """

    def __init__(self, batches: Any, rank: int, size: int) -> None:
        """Keep the arguments."""
        self.inner, self.rank, self.size = batches, rank, size

    def __getattr__(self, name: str) -> Any:
        # While it is copied or unpickled there is no whole yet.
        if name == "inner" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.inner, name)

    def __len__(self) -> int:
        return math.ceil(len(self.inner) / self.size)

    def __getitem__(self, index: int) -> Any:
        count = len(self.inner)
        return self.inner[_positions(count, self.rank, self.size)[index] % count]

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self))) if is_indexed(self.inner) else self._walk()

    def _walk(self) -> Iterator[Any]:
        count, seen, first = len(self.inner), 0, None
        positions = _positions(count, self.rank, self.size)
        repeated = positions[-1] % count if positions and positions[-1] >= count else None
        for number, batch in enumerate(islice(self.inner, count)):
            seen += 1
            if number == repeated:
                first = batch
            if number in positions:
                yield batch
        if seen < count:
            raise InvalidArgumentError(
                f"The {type(self.inner).__name__} says that it has {count} batches, and gave {seen}. Each process is to"
                " train on as many as the others, so its length has to be right."
            )
        if repeated is not None:
            yield first


def _positions(count: int, rank: int, size: int) -> range:
    """Return a rank's places among the items, with which it begins anew behind the last."""
    return range(rank, math.ceil(count / size) * size, size)
