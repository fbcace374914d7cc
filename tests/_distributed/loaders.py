"""Data sets, samplers and loaders of all kinds, what one process sees of them, and what all ranks see together."""

import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from compat._distributed.dealing import Share, deal_out


class Numbers(Dataset[int]):
    """The numbers from 0 on, each its own row."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        if not 0 <= index < self.count:
            raise IndexError(index)
        return index


class Stream(IterableDataset[int]):
    """The same, one after another."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.count))


class Sized(Stream):
    """A stream that says its length."""

    def __len__(self) -> int:
        return self.count


class Pairs(Sampler[list[int]]):
    """Batches of two in a random order, in one list that is filled again; its length is an estimate, and too high."""

    def __init__(self, count: int) -> None:
        self.count, self.epoch = count, 0

    def __iter__(self) -> Iterator[list[int]]:
        batch: list[int] = []
        for first in torch.randperm((self.count + 1) // 2).tolist():
            batch[:] = [index for index in (2 * first, 2 * first + 1) if index < self.count]
            yield batch

    def __len__(self) -> int:
        return (self.count + 1) // 2 + 1

    def set_epoch(self, epoch: int) -> None:
        """Keep the epoch."""
        self.epoch = epoch


class Uncounted(Sampler[int]):
    """Indices in the reverse order, and no length."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[int]:
        return reversed(range(self.count))


class Walked:
    """A loader of a user's own: batches in a random order, and a length."""

    def __init__(self, count: int, claimed: int | None = None) -> None:
        self.count, self.claimed, self.epoch = count, claimed, 0

    def __iter__(self) -> Iterator[list[int]]:
        return ([index] for index in torch.randperm(self.count).tolist())

    def __len__(self) -> int:
        return self.count if self.claimed is None else self.claimed


class Indexed:
    """Batches by number, the way Python iterated before there was ``__iter__``."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> list[int]:
        if index >= self.count:
            raise IndexError(index)
        return [index]


class Marked(DataLoader[Any]):
    """A loader with something of its own, and batches that tell of it."""

    def __init__(self, *args: Any, mark: int, **options: Any) -> None:
        self.mark = mark
        super().__init__(*args, **options)

    def __iter__(self) -> Any:
        return ((self.mark, batch) for batch in super().__iter__())


def plain(batch: Any) -> Any:
    """Leave a list of samples as it is."""
    return batch


def numbers(count: int, size: int | None = 2, **options: Any) -> DataLoader[Any]:
    """Make a loader of lists of numbers."""
    return DataLoader(Numbers(count), batch_size=size, collate_fn=plain, **options)


def seeded(seed: int = 3) -> torch.Generator:
    """Make a generator."""
    return torch.Generator().manual_seed(seed)


def subset(count: int) -> list[int]:
    """Choose every second of some numbers."""
    return list(range(0, count, 2))


Make = Callable[[int], Any]

# Loaders of at least one row; each is made anew for each rank, as each process has its own.
COUNTED: dict[str, Make] = {
    "in order": numbers,
    "shuffled": lambda n: numbers(n, shuffle=True),
    "shuffled by a generator": lambda n: numbers(n, shuffle=True, generator=seeded()),
    "drop_last": lambda n: numbers(n, drop_last=True),
    "single samples": lambda n: numbers(n, None),
    "single shuffled samples": lambda n: numbers(n, None, shuffle=True),
    "weighted": lambda n: numbers(n, sampler=WeightedRandomSampler(torch.arange(1.0, n + 1).tolist(), n + 3)),
    "with replacement": lambda n: numbers(n, sampler=RandomSampler(range(n), replacement=True, num_samples=n)),
    "a random subset": lambda n: numbers(n, sampler=SubsetRandomSampler(subset(n))),
    "a batch sampler of torch": lambda n: DataLoader(
        Numbers(n), batch_sampler=BatchSampler(RandomSampler(range(n)), 3, drop_last=False), collate_fn=plain
    ),
    "batches in order": lambda n: DataLoader(
        Numbers(n), batch_sampler=BatchSampler(SequentialSampler(range(n)), 3, drop_last=False), collate_fn=plain
    ),
    "a list": lambda n: [[index] for index in range(n)],
    "a tuple": lambda n: tuple([index] for index in range(n)),
    "by number": Indexed,
    "a subclass": lambda n: Marked(Numbers(n), batch_size=2, mark=7, collate_fn=plain),
}
# These are only counted roughly, or read on every rank to count.
LOOSE: dict[str, Make] = {
    "a batch sampler of an estimated length": lambda n: DataLoader(
        Numbers(n), batch_sampler=Pairs(n), collate_fn=plain
    ),
    "a sampler without a length": lambda n: numbers(n, sampler=Uncounted(n)),
    "a stream": lambda n: DataLoader(Stream(n), batch_size=2, collate_fn=plain),
    "a stream of known length": lambda n: DataLoader(Sized(n), batch_size=2, collate_fn=plain),
    "a loader of the user's own": Walked,
    "a generator": lambda n: ([index] for index in range(n)),
}


def in_one_process(make: Make, count: int, seed: int = 0) -> tuple[list[Any], torch.Tensor]:
    """Return the batches of one process, and the state of torch's generator afterwards."""
    torch.manual_seed(seed)
    return list(make(count)), torch.get_rng_state()


def dealt(make: Make, count: int, size: int, **options: Any) -> list[tuple[Any, Any]]:
    """Deal a loader out to all ranks."""
    return [deal_out(make(count), rank, size, **options) for rank in range(size)]


def drawn(part: Any, seed: int = 0) -> list[Any]:
    """Read a part, with the random numbers that every process has."""
    torch.manual_seed(seed)
    return list(part)


def joined(shares: list[Share], seed: int = 0) -> tuple[list[Any], set[bytes]]:
    """Put the shares of all ranks together again, and note what their random generators are left with."""
    read, states = [], set()
    for share in shares:
        read.append(drawn(share.batches, seed))
        states.add(torch.get_rng_state().numpy().tobytes())
    assert len({share.turns for share in shares}) == 1
    if not shares[0].turns:
        return [batch for part in read for batch in part], states
    longest = max(map(len, read))
    return [part[turn] for turn in range(longest) for part in read if turn < len(part)], states


def flat(batches: list[Any]) -> list[Any]:
    """Return the rows of batches; a row that is a batch of its own is one."""
    return [row for batch in batches for row in (batch if isinstance(batch, list) else [batch])]


def wait_for_feeders() -> None:
    """Wait for the threads that feed worker processes: they end a moment after these."""
    gc.collect()
    for thread in threading.enumerate():
        if thread.name == "QueueFeederThread":
            thread.join(10)
