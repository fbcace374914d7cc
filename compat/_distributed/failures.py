"""What a failing worker leaves behind, and whose fault it was.

A worker writes how it ended into a folder of its parent, then leaves. When one of them is gone, the others soon fail
too, because nobody answers them; such an error is *secondary*, and whoever has one waits a second before it leaves, so
that the cause is there first.
"""

import importlib
import multiprocessing
import os
import pickle
import signal
import time
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist

from compat.exceptions import OutOfStepError, WorkerError

__all__ = ["FOLDER_VARIABLE", "Ending", "check_main_guard", "is_secondary", "leave", "read", "record", "worker_error"]

# How gloo, NCCL and the store say that another process is gone or silent; they have no class of their own everywhere.
_CONSEQUENCES = (
    "gloo",
    "nccl",
    "connection closed by peer",
    "pair closure",
    "connection reset by peer",
    "broken pipe",
    "timed out waiting",
    "socket timeout",
    "tcpstore",
)
_PATIENCE = 1.0
# Tells a worker, until it has imported the program, where its parent looks.
FOLDER_VARIABLE = "COMPAT_DDP_FOLDER"
_UNGUARDED = "unguarded"
_GUARD = (
    "Put what starts the training under\n\n"
    '    if __name__ == "__main__":\n\n'
    "since every worker process imports the program anew to find its classes and functions."
)
_MAXIMUM_TEXT, _MAXIMUM_LINE = 20_000, 500


@dataclass(frozen=True)
class Ending:
    """How a worker ended, in its own words.

    Attributes:
        rank: Its rank among all processes of the fit.
        when: The time at which it failed, in seconds since 1970.
        what: The error in one line.
        text: The traceback.
        secondary: Whether it only is the consequence of another worker's end.
        culprit: The rank that the error blames, if it knows one.
        pickled: The error itself, ``None`` where it cannot be pickled.
    """

    rank: int
    when: float
    what: str
    text: str
    secondary: bool
    culprit: int | None
    pickled: bytes | None


def check_main_guard() -> None:
    """Refuse to start a training in a process that only imports the program to learn its names.

    Raises:
        WorkerError: If this process was started with ``spawn`` and is still importing the program.
        SystemExit: If it is a worker of a fit: then the parent says so, once, and the workers are silent.
    """
    if not getattr(multiprocessing.current_process(), "_inheriting", False):
        return
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder is not None and Path(folder).is_dir():
        (Path(folder) / _UNGUARDED).touch()
        raise SystemExit(1)
    raise WorkerError(f"This program starts its training while another process imports it. {_GUARD}")


def is_secondary(error: BaseException) -> bool:
    """Tell whether an error only says that another process is gone.

    The first error of the chain decides: one that is raised while a failed exchange is cleaned up is a consequence
    too, and a cause remains one if the exchange that follows it fails as well.

    Args:
        error: What a worker raised.
    """
    first = error
    seen = {id(first)}
    while True:
        before = first.__cause__ or (None if first.__suppress_context__ else first.__context__)
        if before is None or id(before) in seen:
            break
        first = before
        seen.add(id(first))
    if isinstance(first, dist.DistError):
        return True
    text = str(first).lower()
    return isinstance(first, RuntimeError) and any(mark in text for mark in _CONSEQUENCES)


def leave(folder: str, rank: int, error: BaseException) -> None:
    """Record how this worker ended; wait a little if another one is to blame.

    Args:
        folder: Where the parent looks.
        rank: The rank of this worker.
        error: What it raised.
    """
    secondary = is_secondary(error) or _culprit(error) not in (None, rank)
    record(folder, rank, error, secondary)
    if secondary:
        time.sleep(_PATIENCE)


def record(folder: str, rank: int, error: BaseException, secondary: bool) -> None:
    """Write how a worker ended where its parent finds it.

    Args:
        folder: Where the parent looks.
        rank: The rank of the worker.
        error: What it raised. Notes that were added to it are kept with the traceback.
        secondary: Whether it is the consequence of another worker's end.
    """
    text = "".join(traceback.format_exception(error)).rstrip()
    if len(text) > _MAXIMUM_TEXT:
        text = f"{text[: _MAXIMUM_TEXT // 4]}\n  ... left out ...\n{text[-_MAXIMUM_TEXT * 3 // 4 :]}"
    # What an error says of another rank may take several lines: that rank's stack.
    what = _in_a_line(error) if _culprit(error) is None else str(error)
    ending = Ending(rank, time.time(), what, text, secondary, _culprit(error), _pickled(error))
    final = Path(folder) / f"rank-{rank}.pickle"
    draft = final.with_suffix(".draft")
    draft.write_bytes(pickle.dumps(ending))
    draft.replace(final)


def read(folder: str) -> dict[int, Ending]:
    """Read what the workers have left, by rank.

    Args:
        folder: Where they were to leave it.
    """
    found = (pickle.loads(path.read_bytes()) for path in sorted(Path(folder).glob("rank-*.pickle")))
    return {ending.rank: ending for ending in found}


def worker_error(folder: str, exitcodes: Mapping[int, int]) -> WorkerError:
    """Decide whose fault it was, and make the parent's error.

    Args:
        folder: Where the workers have left how they ended.
        exitcodes: How workers ended that the launcher saw fail, by rank; negative for a signal.

    Returns:
        The error; the worker's own one is its cause, where that could be pickled.
    """
    if (Path(folder) / _UNGUARDED).exists():
        return WorkerError(f"The program started its training again in the worker processes. {_GUARD}")
    endings = read(folder)
    own = [ending for ending in endings.values() if not ending.secondary]
    if own:
        return _raised(min(own, key=lambda ending: ending.when))
    silent = sorted(rank for rank in exitcodes if rank not in endings)
    if silent:
        return _died(silent[0], exitcodes[silent[0]])
    return _lost(endings.values())


def _raised(ending: Ending) -> WorkerError:
    error = WorkerError(
        f"rank {ending.rank} failed: {ending.what}\n\nIn the worker process of rank {ending.rank}:\n\n{ending.text}",
        rank=ending.rank,
        exitcode=1,
    )
    error.__cause__ = _unpickled(ending.pickled)
    return error


def _died(rank: int, exitcode: int) -> WorkerError:
    if exitcode < 0:
        number = -exitcode
        name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        return WorkerError(
            f"rank {rank} was killed by {name}{_usual_reason(name)}. It left no traceback.",
            rank=rank,
            exitcode=exitcode,
            signal=number,
        )
    text = f"rank {rank} ended with exit code {exitcode} before the training was over, and left no traceback."
    if exitcode == 1:
        text += f' What it printed may say more. Is `if __name__ == "__main__":` missing? {_GUARD}'
    else:
        text += " Something in it called os._exit, or a library ended the process."
    return WorkerError(text, rank=rank, exitcode=exitcode)


def _usual_reason(name: str) -> str:
    reasons = {
        "SIGKILL": "out of memory is the usual reason",
        "SIGBUS": "no room left in shared memory is the usual reason",
        "SIGSEGV": "a fault in native code; the program shows it with `python -X faulthandler`",
        "SIGTERM": "something outside the program ended it",
    }
    return f": {reasons[name]}" if name in reasons else ""


def _lost(endings: Iterable[Ending]) -> WorkerError:
    """Blame the rank that a worker blames, or nobody: all that is known then is who was left alone."""
    in_time = sorted(endings, key=lambda ending: (ending.culprit is None, ending.when))
    if not in_time:
        return WorkerError("The workers ended before the training was over, and none of them says why.")
    first = in_time[0]
    if first.culprit is not None:
        error = WorkerError(
            f"rank {first.culprit} did not go on, says rank {first.rank}: {first.what}\n\n"
            f"In the worker process of rank {first.rank}:\n\n{first.text}",
            rank=first.culprit,
        )
        error.__cause__ = _unpickled(first.pickled)
        return error
    error = WorkerError(
        f"rank {first.rank} failed in an exchange with the other processes: {first.what}\n\nNo worker on this machine "
        f"has another reason. One of the others may hang, may have ended on another machine (see what was printed "
        f"there), or does not make the same calls.\n\nIn the worker process of rank {first.rank}:\n\n{first.text}",
        rank=first.rank,
        exitcode=1,
    )
    error.__cause__ = _unpickled(first.pickled)
    return error


def _culprit(error: BaseException) -> int | None:
    return error.culprit if isinstance(error, OutOfStepError) else None


def _in_a_line(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "it was interrupted (SIGINT)"
    if isinstance(error, SystemExit):
        return f"it called sys.exit({error.code!r}) before the training was over"
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:_MAXIMUM_LINE]}" if lines else type(error).__name__


def _pickled(error: BaseException) -> bytes | None:
    """Pickle an error so that it can be built again, whatever its constructor asks for."""
    ways: tuple[Any, ...] = (error, _Parts.of(error))
    for dumps in (pickle.dumps, _cloudpickle_dumps()):
        for way in ways:
            try:
                data: bytes = dumps(way)
                again = _unpickled(data)
            # A user's class may raise anything here; then the text has to do.
            except Exception:  # noqa: BLE001
                continue
            if type(again) is type(error) and str(again) == str(error):
                return data
    return None


def _cloudpickle_dumps() -> Any:
    try:
        return importlib.import_module("cloudpickle").dumps
    except ModuleNotFoundError:
        return pickle.dumps


def _unpickled(data: bytes | None) -> BaseException | None:
    """Build an error again; ``None`` where the parent cannot."""
    if data is None:
        return None
    try:
        made = pickle.loads(data)
        error = made.together() if isinstance(made, _Parts) else made
    # A class that only the worker has, or one whose constructor refuses.
    except Exception:  # noqa: BLE001
        return None
    return error if isinstance(error, BaseException) else None


@dataclass(frozen=True)
class _Parts:
    """An error taken to pieces: its constructor is not called again."""

    kind: type[BaseException]
    args: tuple[Any, ...]
    attributes: dict[str, Any]

    @classmethod
    def of(cls, error: BaseException) -> "_Parts":
        kept = {name: value for name, value in vars(error).items() if _can_be_pickled(value)}
        return cls(type(error), tuple(arg if _can_be_pickled(arg) else repr(arg) for arg in error.args), kept)

    def together(self) -> BaseException:
        error = self.kind.__new__(self.kind, *self.args)
        error.args = self.args
        vars(error).update(self.attributes)
        return error


def _can_be_pickled(value: Any) -> bool:
    try:
        pickle.dumps(value)
    except Exception:  # noqa: BLE001 - the answer is no
        return False
    return True
