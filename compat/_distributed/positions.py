"""Where each rank is: posted once a second, and read when one waits for another that does not come.

A rank that hangs cannot say so itself. But a thread beside it can say where it was a second ago, and the others can
conclude who keeps them waiting. Nothing here takes part in a collective operation, so it works while one hangs.
"""

import json
import multiprocessing
import os
import platform
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from compat._ledger import _is_internal
from compat.exceptions import OutOfStepError

__all__ = ["Board", "Position", "Reporter", "Sight", "blamed", "machine", "sight"]

_PERIOD = 1.0
# Long enough for a rank that runs to post again.
_PAUSE = 2.5 * _PERIOD
_STACK = 10
# Names of modules in which a thread is when it waits for the other ranks.
_WAITING = ("torch.distributed", "torch.autograd", "torch.nn.parallel", "compat._distributed")
# Marks of errors that another rank has caused.
_SECONDARY = ("OutOfStepError", "gloo", "NCCL", "Dist")
_STDLIB = sysconfig.get_path("stdlib") + os.sep
_INSTALLED = ("site-packages", "dist-packages")


@dataclass(frozen=True)
class Sight:
    """What a thread is doing.

    Attributes:
        where: The innermost line of the user's code, such as ``train.py:33 in on_batch_end``; of any code if it is busy
            outside of the user's, nothing if it waits there.
        waits: Whether that line waits for the other ranks, rather than being busy.
        stack: The innermost frames, innermost last.
    """

    where: str
    waits: bool
    stack: tuple[str, ...]


@dataclass(frozen=True)
class Position:
    """Where a rank is.

    Attributes:
        rank: The rank.
        number: How often it has posted.
        batch: The number of the batch.
        step: How often the batch number has changed: larger later, on all ranks alike.
        meets: How many meetings it has passed.
        place: What it was doing, as its loop says.
        state: Empty while it runs; ``left`` or ``failed``.
        detail: What it is waiting in, or how it failed.
        where: See :class:`Sight`.
        waits: See :class:`Sight`.
        stack: See :class:`Sight`.
        machine: The machine, see :func:`machine`.
        pid: The process.
    """

    rank: int
    number: int
    batch: int
    step: int
    meets: int
    place: str
    state: str
    detail: str
    where: str
    waits: bool
    stack: tuple[str, ...]
    machine: str
    pid: int

    def __str__(self) -> str:
        """Return one line for an error."""
        if self.state == "failed":
            return f"rank {self.rank} failed: {self.detail}"
        batch = f"in batch {self.batch}" if self.batch >= 0 else "before the first batch"
        doing = ", ".join(filter(None, (self.place, self.detail)))
        at = f", at {self.where}" if self.where else ""
        return f"rank {self.rank} was {batch}{f' ({doing})' if doing else ''}{at}"

    def is_gone(self) -> bool:
        """Tell whether its process has ended; False where that cannot be seen from here."""
        return self.machine == machine() and not _lives(self.pid)

    def traceback(self) -> str:
        """Return its stack as the end of a line about it, innermost last."""
        lines = "".join(f"\n    {line}" for line in self.stack)
        return f". Its stack, innermost last:{lines}" if lines else "."


class Board:
    """The positions of all ranks, in a store that all of them can read.

    Args:
        store: A ``torch.distributed.Store``.
    """

    def __init__(self, store: Any) -> None:
        self._store = store

    def post(self, position: Position) -> None:
        """Replace what a rank has posted."""
        self._store.set(f"position/{position.rank}", json.dumps(asdict(position)))

    def read(self, rank: int) -> Position | None:
        """Return what a rank has posted last, None if it has not yet."""
        key = f"position/{rank}"
        # A `get` of a missing key waits for it.
        if not self._store.check([key]):
            return None
        told = json.loads(self._store.get(key))
        return Position(**{**told, "stack": tuple(told["stack"])})


class Reporter:
    """A thread that posts a rank's position once a second.

    Args:
        board: Where to.
        look: Makes the position.
    """

    def __init__(self, board: Board, look: Callable[[], Position]) -> None:
        self._board, self._look = board, look
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="compat-position", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and wait for its end."""
        self._ended.set()
        self._thread.join(timeout=5 * _PERIOD)

    def _run(self) -> None:
        while True:
            try:
                self._board.post(self._look())
            except (RuntimeError, OSError):
                # The store went with the process that kept it: nobody can read positions any more.
                return
            if self._ended.wait(_PERIOD):
                return


def sight(thread: int) -> Sight:
    """Look where a thread is.

    Args:
        thread: Its identifier.
    """
    # No frame is kept, or its own would hold itself, and with it whatever the callers are working on.
    frame = sys._current_frames().get(thread)
    shown: list[str] = []
    inside: list[str] = []
    where = ""
    while frame is not None and (not where or len(shown) < _STACK):
        is_own = not where and _is_users(frame)
        if is_own:
            where = _line(frame, Path(frame.f_code.co_filename).name)
        elif not where:
            inside.append(frame.f_globals.get("__name__") or "")
        if is_own or len(shown) < _STACK:
            shown.append(_line(frame, frame.f_code.co_filename))
        frame = frame.f_back
    waits = any(name.startswith(_WAITING) for name in inside)
    if not where and not waits:
        where = shown[0] if shown else "its end"
    return Sight(where, waits, tuple(reversed(shown)))


def blamed(read: Callable[[], Iterable[Position]], own: Position) -> OutOfStepError | None:
    """Say which rank keeps the others waiting.

    Args:
        read: Reads the positions of the other ranks; called a second time after two seconds and a half where the first
            does not decide, since a rank that does not post any more can be told only by waiting.
        own: This rank's position.

    Returns:
        An error with a sentence that names the rank and its place, and its stack; None if no rank stands out.
    """
    first = {position.rank: position for position in read()}
    if found := _failed(first.values()):
        return found
    time.sleep(_PAUSE)
    now = {position.rank: position for position in read()}
    if found := _failed(now.values()):
        return found
    for rank, position in now.items():
        if rank in first and first[rank].number == position.number and not position.state:
            silent = "has given no sign of life for seconds: it was stopped, its machine is gone, or it is in a call"
            return OutOfStepError(f"rank {rank} {silent} that lets no other thread run; {_told(position)}", rank)
    # This rank may have said already that it has failed: it did so because it waited in vain.
    return _lagging([*(position for position in now.values() if not position.state), own])


def _failed(positions: Iterable[Position]) -> OutOfStepError | None:
    found = list(positions)
    for position in found:
        if not position.state and position.is_gone():
            return OutOfStepError(
                f"rank {position.rank} is gone: its process has ended; {_told(position)}", position.rank
            )
    failed = [position for position in found if position.state == "failed"]
    # Who lost a connection, or waited in vain, failed because of another: only if nobody else did is it of interest.
    failed.sort(key=lambda position: any(sign in position.detail for sign in _SECONDARY))
    return OutOfStepError(str(failed[0]), failed[0].rank) if failed else None


def _lagging(running: list[Position]) -> OutOfStepError | None:
    last = min((position.step, position.meets) for position in running)
    behind = [position for position in running if (position.step, position.meets) == last]
    if len(behind) == len(running):
        # All are at the same point of the loop: who is not waiting there is who the others wait for.
        behind = [position for position in running if not position.waits]
        if not behind or len(behind) == len(running):
            return None
    busy = [position for position in behind if not position.waits] or behind
    also = f", as {'is' if len(busy) == 2 else 'are'} {_ranks(p.rank for p in busy[1:])}" if busy[1:] else ""
    return OutOfStepError(f"rank {busy[0].rank} is behind the others{also}; {_told(busy[0])}", busy[0].rank)


def _told(position: Position) -> str:
    return f"{position}{position.traceback()}"


def _ranks(ranks: Iterable[int]) -> str:
    told = ", ".join(map(str, ranks))
    return f"rank {told}" if "," not in told else f"ranks {told}"


def _is_users(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    if frame.f_back is None and file == "<string>" and multiprocessing.parent_process() is not None:
        # How a process of multiprocessing starts.
        return False
    is_library = file.startswith((_STDLIB, "<")) and not any(folder in file for folder in _INSTALLED)
    # What is typed into a notebook or a shell has a name such as <ipython-input-1> or <stdin>.
    is_typed = file.startswith(("<stdin", "<ipython", "<string"))
    return (is_typed or not is_library) and not _is_internal(frame)


def _line(frame: FrameType, file: str) -> str:
    return f"{file}:{frame.f_lineno} in {frame.f_code.co_name}"


def machine() -> str:
    """Return a name under which process ids are unique: the host, and in a container its own numbering."""
    namespace = Path("/proc/self/ns/pid")
    return f"{platform.node()} {namespace.readlink() if namespace.is_symlink() else ''}"


def _lives(pid: int) -> bool:
    if os.name != "posix":
        # Signal 0 is none elsewhere.
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        # A process that has ended, but for which nobody has waited yet: state Z, behind the name in brackets.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return True
