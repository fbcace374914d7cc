"""Meetings of all ranks: each says what it is about to do, and goes on once all have said the same.

Collective operations pair up blindly: what one rank sends for its evaluation, another may take for its gradients, and
a rank that does not come is waited for in silence. So the ranks meet first, over the store of the process group, where
a rank that waits can look around.
"""

import pickle
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from compat._distributed.positions import Board, Position
from compat.exceptions import OutOfStepError

__all__ = ["Arrival", "Lockstep"]

_ADVICE = (
    "All processes have to make the same calls: take the call out of `if is_main_process():`, or give the callback "
    "device_idx_execution=0, which lets it run alone."
)
_SHORTEST, _LONGEST = 5e-5, 0.02
# Seconds between two looks at the ranks that keep this one waiting. Longer than the positions are apart.
_LOOK = 1.1
_LISTED = 8


@dataclass(frozen=True)
class Arrival:
    """What a rank brings to a meeting.

    Attributes:
        call: What it is about to do: a call such as ``evaluate_loss_on_test_set()``, or a point such as ``the end of
            epoch 2``.
        step: How often its batch number has changed.
        batch: That number.
        where: The line of the user's code that it comes from.
        load: What it hands to the others.
    """

    call: str
    step: int
    batch: int
    where: str
    load: bytes = b""

    def __str__(self) -> str:
        """Return what the rank did, as the end of a sentence about it."""
        batch = f"batch {self.batch}" if self.batch >= 0 else "before the first batch"
        place = ", ".join(filter(None, (batch, self.where)))
        return f"{'called' if self.call.endswith(')') else 'went on to'} {self.call} ({place})"


class Lockstep:
    """The meetings of one rank.

    Args:
        store: A ``torch.distributed.Store`` that all ranks of this fit share and nobody else uses.
        rank: This rank.
        size: The number of ranks.
        timeout: How long to wait for the others.

    Attributes:
        passed: How many meetings it has passed.
        call: The meeting in which it waits, empty if in none.
    """

    def __init__(self, store: Any, rank: int, size: int, timeout: timedelta) -> None:
        self.passed = 0
        self.call = ""
        self._store, self._rank, self._size, self._timeout = store, rank, size, timeout.total_seconds()
        self._board = Board(store)
        self._number = 0

    def meet(self, mine: Arrival) -> list[Arrival]:
        """Wait until all ranks have come, and see that all came for the same.

        Args:
            mine: What this rank comes for.

        Returns:
            What each rank brought, by rank.

        Raises:
            OutOfStepError: Another rank came for something else, has gone on, left or failed, or does not come in time.
        """
        self._number += 1
        self._store.set(self._key(self._rank), pickle.dumps(mine))
        self.call = mine.call
        try:
            self._wait(mine)
        finally:
            self.call = ""
        arrivals = [mine if rank == self._rank else self._read(rank) for rank in range(self._size)]
        _compare(dict(enumerate(arrivals)))
        self.passed += 1
        if self._number > 1:
            # All are here, so all have read what was brought to the meeting before.
            self._store.delete_key(self._key(self._rank, self._number - 1))
        return arrivals

    def _wait(self, mine: Arrival) -> None:
        others = [rank for rank in range(self._size) if rank != self._rank]
        keys = [self._key(rank) for rank in others]
        start, pause, seen = time.monotonic(), _SHORTEST, dict[int, int]()
        next_look = start + _LOOK
        # A `wait` of the store would block its connection, and print its own complaint when time is up.
        while not self._store.check(keys):
            now = time.monotonic()
            if now >= next_look:
                self._look_around(mine, others, seen)
                next_look = time.monotonic() + _LOOK
            if now - start > self._timeout:
                self._give_up(mine, others)
            time.sleep(pause)
            pause = min(1.5 * pause, _LONGEST)

    def _look_around(self, mine: Arrival, others: Iterable[int], seen: dict[int, int]) -> None:
        """Raise if one of the others can never come.

        Args:
            mine: What this rank comes for.
            others: The other ranks.
            seen: The number of the first post that was seen of each rank, in this meeting; filled here.
        """
        missing = []
        for rank in others:
            if self._is_here(rank):
                _compare({self._rank: mine, rank: self._read(rank)})
            elif (position := self._board.read(rank)) is not None:
                missing.append(position)
        for position in missing:
            # What was posted before this meeting says nothing about it.
            is_new = position.number > seen.setdefault(position.rank, position.number)
            why = self._why_never(mine, position, is_new)
            # It may have come between the two looks, and then have gone on.
            if why and not self._is_here(position.rank):
                raise self._error(mine, *why)

    def _why_never(self, mine: Arrival, position: Position, is_new: bool) -> tuple[str, int | None] | None:
        """Return why a rank can never come, and whose fault that is; None if it may be just slow."""
        rank = position.rank
        if position.state == "failed":
            return f"{position}", rank
        if position.state == "left":
            return f"rank {rank} had ended its fit. {_ADVICE}", None
        if position.is_gone():
            return f"rank {rank} is gone: its process has ended. Last, {position}", rank
        # The count of the changes never goes back, the number itself may, in the hands of a callback: both have to say
        # that the rank has gone on.
        if is_new and position.step > mine.step and position.batch > mine.batch:
            place = ", ".join(filter(None, (position.place or "no place told", position.where)))
            return f"rank {rank} went on to batch {position.batch} ({place}). {_ADVICE}", None
        return None

    def _give_up(self, mine: Arrival, others: Iterable[int]) -> None:
        missing = [rank for rank in others if not self._is_here(rank)]
        if not missing:
            return
        told = []
        for rank in missing[:_LISTED]:
            position = self._board.read(rank)
            last = f"rank {rank} never said where it is" if position is None else f"{position}{position.traceback()}"
            told.append(last)
        late = f"{_named(missing)} did not come within {self._timeout:g} seconds. Last, " + "\nand ".join(told)
        raise self._error(mine, late, missing[0])

    def _error(self, mine: Arrival, others: str, culprit: int | None) -> OutOfStepError:
        return OutOfStepError(f"rank {self._rank} {mine} while {others}", culprit)

    def _is_here(self, rank: int) -> bool:
        return bool(self._store.check([self._key(rank)]))

    def _read(self, rank: int) -> Arrival:
        arrival = pickle.loads(self._store.get(self._key(rank)))
        assert isinstance(arrival, Arrival)
        return arrival

    def _key(self, rank: int, number: int | None = None) -> str:
        return f"{self._number if number is None else number}/{rank}"


def _compare(arrivals: dict[int, Arrival]) -> None:
    """Raise unless all came for the same."""
    groups: dict[tuple[str, int], list[int]] = {}
    for rank, arrival in arrivals.items():
        groups.setdefault((arrival.call, arrival.step), []).append(rank)
    if len(groups) == 1:
        return
    # Who made a call comes first: that is what has to be looked at.
    ordered = sorted(groups.values(), key=lambda ranks: (not arrivals[ranks[0]].call.endswith(")"), ranks[0]))
    told = [f"{_named(ranks)} {arrivals[ranks[0]]}" for ranks in ordered]
    raise OutOfStepError(f"{' while '.join(told)}. {_ADVICE}")


def _named(ranks: list[int]) -> str:
    told = ", ".join(map(str, ranks[:_LISTED])) + (", ..." if len(ranks) > _LISTED else "")
    return f"rank {told}" if len(ranks) == 1 else f"ranks {told}"
