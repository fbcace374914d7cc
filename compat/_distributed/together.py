"""Evaluation by all processes of a fit: each takes a part of the batches, and each gets the result of the whole."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader

from compat import _evaluation
from compat._distributed import dealing
from compat._distributed.gradients import share_buffers
from compat._distributed.ranks import Ranks
from compat._distributed.sharding import made_whole
from compat.losses import MultiLoss

__all__ = ["Part", "evaluation", "gathered", "on_device"]


@dataclass(frozen=True)
class Part:
    """What this process evaluates of a loader.

    Attributes:
        batches: Its batches.
        everyone: Turns what this process makes of its batches, one item each, into that of all processes, in the order
            of the loader. Tensors of the others arrive on the CPU.
        is_alone: Whether these are all batches.
        whole: The loader, of which these are a part.
    """

    batches: Iterable[Any]
    everyone: Callable[[Iterable[Any]], Iterable[Any]]
    is_alone: bool
    whole: Any


@contextmanager
def evaluation(loop: Any, loader: Any, call: str) -> Iterator[Part]:
    """Hold an evaluation: by this process alone, or, while a fit runs in several, by all of them.

    Together they make what one process would: the batches are the same, in an order that rank zero's random numbers
    decide, the model has rank zero's buffers, and nothing is evaluated twice.

    Args:
        loop: The facade.
        loader: What is evaluated; of a loader that was dealt out, the whole.
        call: What was called, for an error that says which process called what.
    """
    ranks: Ranks | None = loop._compat.ranks
    if ranks is None:
        yield Part(loader, iter, is_alone=True, whole=loader)
    elif ranks.alone:
        made_whole(loop.model, alone=True)
        # The others know nothing of it, and must not draw other numbers later on.
        with _evaluation.untouched_rng(dealing.whole(loader)):
            whole = dealing.whole(loader)
            yield Part(whole, iter, is_alone=True, whole=whole)
    else:
        yield from _all_together(loop, loader, ranks, call)


def _all_together(loop: Any, loader: Any, ranks: Ranks, call: str) -> Iterator[Part]:
    whole = dealing.whole(loader)
    generator = getattr(whole, "generator", None)
    ours = (torch.get_rng_state(), generator.get_state() if generator is not None else None)
    of_torch, of_loader = ranks.share(call, ours)
    made_whole(loop.model)
    share_buffers(loop.model)
    part = _part(loop, loader, ranks, call)
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(of_torch)
        if generator is not None and of_loader is not None:
            generator.set_state(of_loader)
        # All processes compute before the first one sends.
        yield Part(
            part.batches, lambda made: ranks.stream(call, ranks.seal(made, part.turns), part.turns), False, whole
        )
    if isinstance(whole, DataLoader) and generator is None:
        # What opening a loader draws in any case, and so what the training goes on from in the old library.
        torch.empty((), dtype=torch.int64).random_()


def _part(loop: Any, loader: Any, ranks: Ranks, call: str) -> dealing.Share:
    whole = dealing.whole(loader)
    own = any(whole is loader for loader in loop._compat.built_here)
    if loop._compat.has_dealt and loader is loop.train_loader and whole is loader:
        # A callback has put it there when the data had been dealt out: it is what this process alone trains on.
        return dealing.Share(whole, turns=False)

    agree = partial(ranks.share, call)
    if loop._compat.quirks.fixed("Q60"):
        part = dealing.share_of(whole, ranks.rank, ranks.size, agree, own=own)
        if ranks.size > 1:
            loop._compat.quirks.met("Q60", f"{call} by {ranks.size} processes is in the order of the data set")
        return part
    batches, sampler = dealing.deal_out(whole, ranks.rank, ranks.size, agree, own=own)
    if sampler is not None:
        sampler.set_epoch(loop.epoch)
    if ranks.size > 1:
        loop._compat.quirks.met("Q60", f"{call} by {ranks.size} processes is in the order of the processes")
    return dealing.Share(batches, turns=False)


def gathered(loop: Any, losses: list[Any], samples: list[int] | None) -> tuple[list[Any], list[int] | None]:
    """Put together the losses that the processes of a fit have seen, rank by rank.

    Args:
        loop: The facade.
        losses: The losses of this process's batches.
        samples: The number of samples of each, or ``None``.

    Returns:
        Those of all processes; what was given, outside of a fit in several processes or in one of them alone.
    """
    ranks: Ranks | None = loop._compat.ranks
    if ranks is None or ranks.alone or loop._compat.is_gathered:
        return losses, samples
    pairs = list(zip(losses, samples if samples is not None else [0] * len(losses), strict=True))
    everyone = list(ranks.stream("parse_loss()", pairs))
    counts = [count for _, count in everyone] if samples is not None else None
    return [on_device(loss, loop.device) for loss, _ in everyone], counts


def on_device(loss: Any, device: torch.device) -> Any:
    """Move a loss that may have come from another process.

    Args:
        loss: A tensor, a ``MultiLoss`` of such, or anything else, which stays.
        device: Where to.
    """
    if isinstance(loss, MultiLoss):
        return MultiLoss({name: on_device(value, device) for name, value in loss.items()})
    return loss.to(device) if isinstance(loss, torch.Tensor) else loss
