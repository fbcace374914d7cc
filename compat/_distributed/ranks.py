"""This process among those of the fit: in step with them, and exchanging with them."""

import logging
import os
import threading
import uuid
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from compat._distributed.lockstep import Arrival, Lockstep
from compat._distributed.parcels import Parcel, Sealed, pack, parcels, unpack
from compat._distributed.positions import Board, Position, Reporter, blamed, machine, sight
from compat.exceptions import OutOfStepError

__all__ = ["Ranks", "drain"]

# What a rank packs before it sends, in bytes; and the most that goes into one message.
_LIMIT, _SMALLEST_LIMIT, _PIECE = 4 << 20, 256 << 10, 64 << 20
# Values up to this many bytes go along with the meeting, over the store.
_SMALL = 32 << 10
_FAILED = -1

logger = logging.getLogger(__name__)


class Ranks:
    """This process among those of the fit.

    All ranks make it, at the same time, when the process group exists; and all make the same calls of :meth:`meet`,
    :meth:`exchange`, :meth:`share` and :meth:`stream`, in the same order, or get an error that says who did what.
    Nothing here touches the default group: messages go over a gloo group of its own, meetings and positions over the
    store.

    Args:
        timeout: How long a rank waits for the others.

    Attributes:
        rank: This process's number among all.
        size: The number of processes.
        local_rank: Its number among those of this machine.

    Raises:
        ValueError: There is no process group.
    """

    def __init__(self, timeout: timedelta) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self._alone = 0
        self._place, self._batch, self._step = "", -1, 0
        self._posts = 0
        self._streams = self._failure = ""
        self._thread = threading.get_ident()
        self._machine = machine()
        self._group: Any = None
        self._reporter: Reporter | None = None
        self._lockstep: Lockstep | None = None
        if self.size == 1:
            self.local_rank = 0
            return
        self._group = dist.new_group(backend="gloo", timeout=timeout)
        told: list[Any] = [None] * self.size
        dist.all_gather_object(told, (uuid.uuid4().hex, self._machine), group=self._group)
        self.local_rank = _local_rank([name for _, name in told], self.rank)
        # Keys of rank 0's choosing: an earlier fit in this process group has left some of its own.
        store = dist.distributed_c10d.PrefixStore(f"compat/{told[0][0]}", _own_connection())
        self._lockstep = Lockstep(store, self.rank, self.size, timeout)
        self._board = Board(store)
        self._reporter = Reporter(self._board, self._position)

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether what runs now runs on this rank only."""
        return self._alone > 0

    @contextmanager
    def standing_alone(self) -> Iterator[None]:
        """Mark what runs inside as running on this rank only."""
        self._alone += 1
        try:
            yield
        finally:
            self._alone -= 1

    def at(self, place: str, batch: int) -> None:
        """Note where this rank is; as cheap as it looks.

        Call it at the start of each batch: a rank that has gone on into another batch can then be told from one that
        is slow.

        Args:
            place: What the loop is doing.
            batch: The number of the training batch; the same on all ranks at the same point of the program.
        """
        if batch != self._batch:
            self._step += 1
        self._place, self._batch = place, batch

    def meet(self, call: str) -> None:
        """Wait until all ranks are here, and see that all are here for the same.

        Args:
            call: What follows: a call such as ``predict_on_test_set()``, or a point such as ``the end of epoch 2``.

        Raises:
            OutOfStepError: Another rank came for something else, has gone on, left or failed, or does not come within
                the timeout; or this rank runs alone.
        """
        self._meet(call)

    def exchange(self, call: str, value: Any) -> list[Any]:
        """Give each rank the values of all.

        Args:
            call: See :meth:`meet`.
            value: This rank's value: anything that can be pickled. Tensors arrive on the CPU.

        Returns:
            The values by rank, this rank's own as it is.

        Raises:
            OutOfStepError: See :meth:`meet`.
        """
        parcel = pack(value) if self.size > 1 else None
        return [value if rank == self.rank else got for rank, got in enumerate(self._trade(call, parcel))]

    def share(self, call: str, value: Any = None) -> Any:
        """Give each rank the value of rank 0.

        Args:
            call: See :meth:`meet`.
            value: The value, on rank 0; the others' are not looked at.

        Returns:
            Rank 0's value; on rank 0 the object itself.

        Raises:
            OutOfStepError: See :meth:`meet`.
        """
        got = self._trade(call, pack(value) if self.is_main and self.size > 1 else None)
        return value if self.is_main else got[0]

    def seal(self, items: Iterable[Any], turns: bool = False) -> Any:
        """Pack items for :meth:`stream` while they are made, so that they lie in a few large pieces of memory.

        Args:
            items: This rank's items.
            turns: As for the stream.
        """
        return list(items) if self.size == 1 else Sealed(items, self._limit(turns))

    def stream(self, call: str, items: Any, turns: bool = False) -> Iterator[Any]:
        """Give each rank the items of all, in the order of the ranks, in pieces.

        The ranks meet at once; the items flow while the result is iterated over, which all ranks have to do to its end.
        A rank holds one message of about 4 MiB beside what it has yielded, or one item if that is larger; with
        ``turns`` one for each rank, of 4 MiB in all or 256 KiB each. Its own items are yielded as they are; those of
        the others arrive with their tensors on the CPU, without a graph.

        Args:
            call: See :meth:`meet`.
            items: This rank's items, or what :meth:`seal` made of them: then its own arrive as those of the others do.
                A list stays the caller's, and so in memory; give ``drain(list)`` to have each item forgotten when it
                has been yielded. A generator runs when its rank's turn has come, so the others
                wait for it: what takes long is better computed before, by all ranks at the same time.
            turns: Item `i` of rank `r` is number `i * size + r`, as far as the ranks have as many; otherwise rank 0's
                items come first, then rank 1's, and so on.

        Returns:
            An iterator over the items of all ranks.

        Raises:
            OutOfStepError: See :meth:`meet`; or, while iterating, another rank failed to make its items. The rank
                itself gets its own error.
        """
        self._meet(call)
        if self.size == 1:
            return iter(items)
        limit = self._limit(turns)
        sources = [self._from(rank, call, items, limit) for rank in range(self.size)]
        return self._followed(call, _in_turns(sources) if turns else _one_after_another(sources))

    def _limit(self, turns: bool) -> int:
        return max(_LIMIT // self.size, _SMALLEST_LIMIT) if turns else _LIMIT

    def blame(self) -> OutOfStepError | None:
        """Say which rank the others were waiting for, after a collective operation failed or timed out.

        Returns:
            An error that names the rank, its place and its stack; None if none stands out. Takes up to three seconds.
        """
        if self._reporter is None:
            return None
        others = [rank for rank in range(self.size) if rank != self.rank]
        try:
            return blamed(lambda: [told for rank in others if (told := self._board.read(rank))], self._position())
        except (RuntimeError, OSError) as error:
            gone = f"the ranks' positions cannot be read: the process that keeps them is gone ({error})"
            return OutOfStepError(gone)

    def failed(self, failure: BaseException) -> None:
        """Tell those who wait for this rank that it cannot come any more. The group stays, for :meth:`close`.

        Args:
            failure: The error with which the fit ends here.
        """
        self._failure = f"{type(failure).__name__}: {failure}"
        if self._reporter is not None:
            self._post(self._position())

    def close(self, failure: BaseException | None = None) -> None:
        """Leave the others. Waits for nobody; a second call does nothing.

        Args:
            failure: The error with which the fit ends on this rank, for those that wait for it.
        """
        reporter, self._reporter = self._reporter, None
        if reporter is None:
            return
        if failure is not None:
            self.failed(failure)
        reporter.stop()
        self._post(self._position("left"))
        # Its connections close with the last reference to it, and others that wait for this rank get an error.
        group, self._group = self._group, None
        try:
            dist.destroy_process_group(group)
        except ValueError as error:
            logger.debug("The group was destroyed before: %s", error)

    def _post(self, position: Position) -> None:
        try:
            self._board.post(position)
        except (RuntimeError, OSError) as error:
            logger.debug("The process that keeps the store is gone: %s", error)

    def _meet(self, call: str, load: bytes = b"") -> list[Arrival]:
        if self.alone:
            raise OutOfStepError(
                f"{call} needs all processes, but runs on rank {self.rank} alone, in a callback with "
                "device_idx_execution. Call it from a callback that runs on all."
            )
        where = sight(threading.get_ident()).where if self.size > 1 else ""
        mine = Arrival(call, self._step, self._batch, where, load)
        return [mine] if self._lockstep is None else self._lockstep.meet(mine)

    def _trade(self, call: str, parcel: Parcel | None) -> list[Any]:
        """Meet, and return what the ranks brought in their parcels; None for a rank without, and for this one."""
        fits = parcel is not None and sum(parcel.sizes()) <= _SMALL
        load = b"" if parcel is None else b"s" + parcel.to_bytes() if fits else b"l"
        arrivals = self._meet(call, load)
        got: list[Any] = []
        for rank, arrival in enumerate(arrivals):
            if rank == self.rank:
                if parcel is not None and not fits:
                    self._send(parcel)
                got.append(None)
            elif arrival.load == b"l":
                got += self._receive(rank, call)
            else:
                got += Parcel.from_bytes(arrival.load[1:]) if arrival.load else [None]
        return got

    def _followed(self, call: str, items: Iterator[Any]) -> Iterator[Any]:
        """Yield the items, and let the others see in what this rank is."""
        self._streams = call
        try:
            yield from items
        finally:
            self._streams = ""

    def _from(self, source: int, call: str, items: Any, limit: int) -> Iterator[Any]:
        """Yield a rank's items, after sending them if the rank is this one."""
        if source != self.rank:
            while received := self._receive(source, call):
                yield from drain(received)
            return
        packed = items.drained() if isinstance(items, Sealed) else parcels(items, limit)
        while True:
            try:
                parcel = next(packed, None)
            except BaseException as error:
                self._send(Parcel(0, [], pack(f"{type(error).__name__}: {error}").body, 0, []), _FAILED)
                raise
            if parcel is None:
                self._send(Parcel(0, [], torch.empty(0, dtype=torch.uint8), 0, []))
                return
            self._send(parcel)
            own = parcel.contents()
            del parcel
            yield from drain(own)

    def _send(self, parcel: Parcel, count: int | None = None) -> None:
        told, pickled, body, *large = parcel.sizes()
        header = [told if count is None else count, pickled, body, len(large)]
        self._broadcast(torch.tensor(header), self.rank)
        if large:
            self._broadcast(torch.tensor(large), self.rank)
        for flat in (parcel.body, *parcel.large):
            self._broadcast(flat, self.rank)

    def _receive(self, source: int, call: str) -> list[Any]:
        header = self._broadcast(torch.empty(4, dtype=torch.int64), source)
        count, pickled, size, parts = map(int, header)
        sizes = self._broadcast(torch.empty(parts, dtype=torch.int64), source).tolist()
        flats = [self._broadcast(torch.empty(size, dtype=torch.uint8), source) for size in (size, *sizes)]
        if count == _FAILED:
            why = unpack(1, len(flats[0]), flats[0], [])[0]
            raise OutOfStepError(f"rank {source} failed while it made its part of {call}: {why}", source)
        return unpack(count, pickled, flats[0], flats[1:])

    def _broadcast(self, flat: Tensor, source: int) -> Tensor:
        for start in range(0, len(flat), _PIECE):
            dist.broadcast(flat[start : start + _PIECE], source, group=self._group)
        return flat

    def _position(self, state: str = "") -> Position:
        self._posts += 1
        seen = sight(self._thread)
        call, passed = (self._lockstep.call, self._lockstep.passed) if self._lockstep else ("", 0)
        doing = f"waiting for the others in {call}" if call else self._streams and f"exchanging in {self._streams}"
        if self.alone:
            doing = "in a callback of this rank alone"
        return Position(
            rank=self.rank,
            number=self._posts,
            batch=self._batch,
            step=self._step,
            meets=passed,
            place=self._place,
            state="failed" if self._failure else state,
            detail=self._failure or doing,
            where=seen.where,
            waits=seen.waits,
            stack=seen.stack,
            machine=self._machine,
            pid=os.getpid(),
        )


def drain(items: list[Any]) -> Iterator[Any]:
    """Yield the items of a list and forget each one: for :meth:`Ranks.stream`, of a list that nobody needs after it.

    Args:
        items: The list, empty afterwards.
    """
    items.reverse()
    while items:
        yield items.pop()


def _one_after_another(sources: list[Iterator[Any]]) -> Iterator[Any]:
    for source in sources:
        yield from source


def _in_turns(sources: list[Iterator[Any]]) -> Iterator[Any]:
    waiting = deque(sources)
    while waiting:
        source = waiting.popleft()
        try:
            item = next(source)
        except StopIteration:
            continue
        waiting.append(source)
        yield item
        del item


def _local_rank(machines: list[str], rank: int) -> int:
    told = os.environ.get("LOCAL_RANK", "")
    return int(told) if told.isdecimal() else machines[:rank].count(machines[rank])


def _own_connection() -> Any:
    """Return the store of the process group, on a connection of our own where there is such a thing.

    A connection serves one call at a time, and torch waits in its own for as long as a minute at a time.
    """
    # XXX: torch has no public way to the store with which a process group was made (as of 2.13); tests/_distributed/
    # test_ranks.py notices when this one goes.
    store = dist.distributed_c10d._get_default_store()
    # torch 2.4 cannot copy a store.
    return store.clone() if hasattr(store, "clone") else store
