"""A rank's part of a loader: the batches that it trains on, and those that it evaluates.

Training needs as many batches on every rank, so that a few are repeated: :func:`deal_out`. Evaluation needs every batch
once and in order: :func:`share_of`. A part is a copy of the loader with another sampler. Everything else stays: the
class of the loader, its workers, generator and collate function. The loader itself is not touched.

Which batches there are is decided by the whole sampler, which every rank walks to its end, so that its random numbers
are those of one process. For training, two kinds of samplers are replaced as the old library did, so that the weights
are the same: those that read in order, and those that shuffle the whole data set.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, Sampler, SequentialSampler
from torch.utils.data.distributed import DistributedSampler

from compat._distributed.parts import (
    Agree,
    Block,
    Slice,
    Strided,
    StridedBatches,
    Turns,
    as_drawn,
    bounds,
    is_indexed,
    length_of,
)
from compat.callbacks.ddp import _epoch_taker
from compat.exceptions import EmptyLoaderError, InvalidArgumentError, InvalidTypeError

__all__ = ["Share", "deal_out", "lost_before", "rebuilt", "share_of", "whole"]

# Where a dealt loader keeps what it is a part of.
_WHOLE = "_compat_whole"
# Loaders whose worker processes outlive a pass keep their part too: its workers are started once, and end with them.
_kept: WeakKeyDictionary[DataLoader[Any], tuple[int, int, Any]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Share:
    """What one rank evaluates.

    Attributes:
        batches: Whole batches, of which none is in the share of another rank.
        turns: Whether the ranks take turns, so that batch ``i`` of rank ``r`` is number ``i * size + r`` of the loader.
            Otherwise the loader's batches are those of rank 0, then those of rank 1, and so on.
    """

    batches: Iterable[Any]
    turns: bool


def deal_out(
    loader: Any, rank: int, size: int, agree: Agree = as_drawn, *, shuffle: bool | None = None, own: bool = False
) -> tuple[Any, Any]:
    """Make a rank's part of a loader to train on; all parts have the same number of batches.

    Samples are dealt one by one, and whole batches where the batches are not of the loader's own making: a batch
    sampler, or a list of batches. Where they cannot be divided evenly, the first ones are dealt again.

    Args:
        loader: A ``DataLoader``, a list of batches, or another iterable with a length. What was dealt before is dealt
            again from the whole; a loader with a distributed sampler for as many ranks stays as it is.
        rank: The rank, from 0.
        size: The number of ranks.
        agree: Makes one list of what each rank's sampler drew. Called on every rank when an epoch starts, for samplers
            that may draw at random; it need not be when they draw the same everywhere.
        shuffle: Whether to shuffle a data set that is read in order, or the other way round; ``None`` to do as the
            loader does.
        own: Whether the loader was built in this process, and so may hold this rank's part alone. One without a length
            is left whole then, and has to give as many batches as on the other ranks.

    Returns:
        The part, and what has a ``set_epoch`` that wants to know every epoch, or ``None``.

    Raises:
        InvalidTypeError: The loader cannot be dealt out.
        InvalidArgumentError: It has a sampler for another number of ranks.
        EmptyLoaderError: It has batches, and its parts have none.
    """
    loader = whole(loader)
    if not _is_countable(loader):
        if not own:
            raise InvalidTypeError(_no_dealing(loader))
        return loader, _epoch_taker(loader) or _epoch_taker(getattr(loader, "dataset", None))
    if isinstance(loader, DataLoader):
        return _dealt_samples(loader, rank, size, agree, shuffle)
    part = StridedBatches(loader, rank, size)
    part.__dict__[_WHOLE] = loader
    return part, part if _epoch_taker(loader) is not None else None


def _dealt_samples(
    loader: DataLoader[Any], rank: int, size: int, agree: Agree, shuffle: bool | None
) -> tuple[Any, Any]:
    there = _own_part(loader, rank, size)
    if there is not None:
        return there
    if _has_own_batches(loader):
        batches: Sampler[Any] = Strided(loader.batch_sampler, rank, size, agree)
        part, sampler = _copied(loader, batch_sampler=batches), batches
    else:
        sampler = _sample_sampler(loader, rank, size, agree, shuffle)
        part = _with_sampler(loader, sampler)
    if length_of(part) == 0 and length_of(loader):
        raise EmptyLoaderError(
            f"The loader has {length_of(loader)} batches, and none of its {size} parts has any: drop_last=True drops a"
            f" last batch of fewer than batch_size={loader.batch_size} samples, on every process. Use a smaller"
            " batch_size, which is that of one process, or drop_last=False."
        )
    part.__dict__[_WHOLE] = loader
    return part, sampler


def _sample_sampler(loader: DataLoader[Any], rank: int, size: int, agree: Agree, shuffle: bool | None) -> Sampler[Any]:
    sampler: Any = loader.sampler
    if type(sampler) is DistributedSampler:
        # Made for other ranks than those of this fit: what it says of the order still holds.
        shuffle = sampler.shuffle if shuffle is None else shuffle
        return DistributedSampler(loader.dataset, size, rank, shuffle, sampler.seed, sampler.drop_last)
    if not _takes_all_once(loader):
        return Strided(sampler, rank, size, agree)
    shuffle = type(sampler) is RandomSampler if shuffle is None else shuffle
    return DistributedSampler(loader.dataset, num_replicas=size, rank=rank, shuffle=shuffle)


def _takes_all_once(loader: DataLoader[Any]) -> bool:
    """Tell whether the order of samples is all that the sampler decides."""
    sampler: Any = loader.sampler
    if length_of(sampler) != length_of(loader.dataset):
        return False
    # Not their subclasses, which may do anything.
    return type(sampler) is SequentialSampler or (type(sampler) is RandomSampler and not sampler.replacement)


def share_of(loader: Any, rank: int, size: int, agree: Agree = as_drawn, *, own: bool = False) -> Share:
    """Make a rank's part of a loader to evaluate. The parts of all ranks are the loader's batches, each once.

    The batches are those of one process. A part is a block of them where they can be counted beforehand, without
    loading any; of an iterable it is every ``size``-th, and all are read on every rank. A part may be empty.

    Args:
        loader: A loader of any kind; of one that was dealt out the whole is shared. A loader with a distributed sampler
            for as many ranks stays as it is: each rank evaluates what its sampler says.
        rank: The rank, from 0.
        size: The number of ranks.
        agree: Makes one list of what each rank's sampler drew; see :func:`deal_out`.
        own: Whether the loader was built in this process. One without a length is left whole then: it is this rank's
            part, and the next rank's follows it.

    Returns:
        The part. Of a loader with persistent workers it is made once, so that they persist.
    """
    loader = whole(loader)
    if size == 1:
        return Share(loader, turns=False)
    if isinstance(loader, DataLoader) and not isinstance(loader.dataset, IterableDataset):
        there = _own_part(loader, rank, size)
        return Share(there[0], turns=False) if there is not None else _sampled_share(loader, rank, size, agree)
    if own and not _is_countable(loader):
        return Share(loader, turns=False)
    if is_indexed(loader):
        return Share(Slice(loader, *bounds(len(loader), rank, size)), turns=False)
    return Share(Turns(loader, rank, size), turns=True)


def _sampled_share(loader: DataLoader[Any], rank: int, size: int, agree: Agree) -> Share:
    kept = _kept.get(loader)
    if kept is not None and kept[:2] == (rank, size):
        part = kept[2]
        sampler = part.sampler if part.batch_sampler is None else part.batch_sampler
        sampler.agree = agree
        return Share(part, turns=isinstance(sampler, Turns))
    name = "sampler" if loader.batch_sampler is None else "batch_sampler"
    inner: Any = getattr(loader, name)
    counted = length_of(inner) is not None
    part = _copied(loader, **{name: (Block if counted else Turns)(inner, rank, size, agree)})
    if loader.persistent_workers:
        _kept[loader] = (rank, size, part)
    return Share(part, turns=not counted)


def _own_part(loader: DataLoader[Any], rank: int, size: int) -> tuple[Any, Any] | None:
    """Look whether a loader's own sampler deals it out already.

    Args:
        loader: The loader.
        rank: The rank that asks. The sampler of a loader that came here from another process may name that one's.
        size: The number of ranks.

    Returns:
        The loader, a copy for this rank if need be, and its sampler; ``None`` if it has no sampler for as many ranks.

    Raises:
        InvalidArgumentError: The sampler is for another number of ranks, and cannot be made anew for these.
    """
    name = "batch_sampler" if _has_own_batches(loader) else "sampler"
    sampler: Any = getattr(loader, name)
    distributed: Any = sampler if hasattr(sampler, "num_replicas") else getattr(sampler, "sampler", None)
    if not (hasattr(distributed, "num_replicas") and hasattr(distributed, "rank")):
        return None
    if distributed.num_replicas != size:
        if distributed.num_replicas == 1 or type(distributed) is DistributedSampler:
            return None
        raise InvalidArgumentError(
            f"The loader's {type(distributed).__name__} is for num_replicas={distributed.num_replicas} processes, and"
            f" there are {size}. Leave it out: the loop deals out the data itself. Or build the loader in each process,"
            " by InMultiProcessDataLoad."
        )
    if distributed.rank == rank:
        return loader, distributed
    here = copy.copy(distributed)
    here.rank = rank
    if name == "sampler":
        return _with_sampler(loader, here), here
    batches = here
    if distributed is not sampler:
        batches = copy.copy(sampler)
        batches.sampler = here
    return _copied(loader, batch_sampler=batches), here


def lost_before(loader: Any) -> list[str]:
    """Name what the old library lost of a loader when it built one for each process (quirk Q61).

    Args:
        loader: The whole loader.

    Returns:
        The names of arguments of ``DataLoader``.
    """
    loader = whole(loader)
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return []
    lost = {
        "generator": loader.generator is not None,
        "persistent_workers": loader.persistent_workers,
        "prefetch_factor": loader.prefetch_factor not in (None, 2),
        "multiprocessing_context": loader.multiprocessing_context is not None,
        "batch_sampler": _has_own_batches(loader),
        "sampler": not _has_own_batches(loader) and not _takes_all_once(loader),
    }
    return [name for name, is_lost in lost.items() if is_lost]


def rebuilt(loader: DataLoader[Any]) -> DataLoader[Any]:
    """Build a loader as the old library did before it dealt it out, with the arguments that it knew (quirk Q61).

    Args:
        loader: The loader. A batch sampler's has no ``batch_size``, so that its samples come one by one.
    """
    return DataLoader(
        loader.dataset,
        batch_size=loader.batch_size,
        # Any other sampler was taken for one that reads in order.
        shuffle=type(loader.sampler) is RandomSampler,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        drop_last=loader.drop_last,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
    )


def whole(loader: Any) -> Any:
    """Return the loader that :func:`deal_out` made a part of; any other as it is.

    Args:
        loader: A loader.
    """
    return getattr(loader, "__dict__", {}).get(_WHOLE, loader)


def _is_countable(loader: Any) -> bool:
    """Tell whether a loader's batches, or samples, can be numbered beforehand."""
    if isinstance(loader, DataLoader) and isinstance(loader.dataset, IterableDataset):
        return False
    return length_of(loader) is not None


def _has_own_batches(loader: DataLoader[Any]) -> bool:
    """Tell whether the batches come from a batch sampler of the user's: beside one there is no ``batch_size``."""
    return loader.batch_sampler is not None and loader.batch_size is None


def _copied(loader: DataLoader[Any], **changes: Any) -> DataLoader[Any]:
    """Copy a loader, with other samplers and without its running workers.

    A loader does not let its samplers be set, and building another one would lose what a subclass keeps.
    """
    part = copy.copy(loader)
    part.__dict__.update(changes, _iterator=None)
    return part


def _with_sampler(loader: DataLoader[Any], sampler: Sampler[Any]) -> DataLoader[Any]:
    if loader.batch_size is None:
        return _copied(loader, sampler=sampler)
    batches = BatchSampler(sampler, loader.batch_size, loader.drop_last)
    return _copied(loader, sampler=sampler, batch_sampler=batches)


def _no_dealing(loader: Any) -> str:
    data = getattr(loader, "dataset", None)
    what = f"{type(loader).__name__} over a {type(data).__name__}" if data is not None else type(loader).__name__
    if isinstance(data, IterableDataset):
        why = "an IterableDataset decides itself what each process reads"
    elif isinstance(loader, Iterable) or hasattr(loader, "__getitem__"):
        why = "it has no length"
    else:
        why = "it is no loader: pass a DataLoader or a list of batches"
    return (
        f"A {what} cannot be dealt out to the processes of a fit: {why}. Build it in each process, with"
        " InMultiProcessDataLoad(train_loader_build_fn=...), so that process torch.distributed.get_rank() reads its own"
        " part, of as many batches as the others."
    )
