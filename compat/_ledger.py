"""What really happened in this process: which served names a program used, and which quirks changed its outcome.

Names are noted only while somebody watches; quirks are counted always, since that costs nothing until one happens.
Every entry knows the lines of the user's code that led to it. Nothing is shared between processes.
"""

import os
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from compat.exceptions import DifferenceError

__all__ = [
    "Entry",
    "Place",
    "absorb",
    "attached",
    "called",
    "clear",
    "entries",
    "happened",
    "refused",
    "unwatch",
    "used",
    "user_frame",
    "watch",
    "watched",
]

_PLACES = 10
_OURS = "compat"
_PACKAGE = str(Path(__file__).parent) + os.sep
_INTERNAL = frozenset(
    {
        _OURS,
        "aitoolbox",
        "lightning",
        "lightning_fabric",
        "pytorch_lightning",
        "torch",
        "tqdm",
        # What calls the code of others, and the import of a module that trains when it is imported.
        "_frozen_importlib",
        "_frozen_importlib_external",
        "concurrent",
        "contextlib",
        "importlib",
        "multiprocessing",
        "runpy",
        "threading",
    }
)


@dataclass(frozen=True)
class Place:
    """A line of the user's code.

    Attributes:
        file: The file, as Python names it.
        line: The line in it.
        count: How often it led to the entry.
    """

    file: str
    line: int
    count: int


@dataclass(frozen=True)
class Entry:
    """One thing that happened.

    Attributes:
        feature: The path of a served name such as ``compat.train_loop.TrainLoop.fit``, the id of a quirk, what was
            refused, or the path of a part of Lightning's.
        kind: ``name``, ``quirk``, ``refused``, or ``native`` for a part of Lightning's.
        mode: ``kept`` or ``fixed`` for a quirk, else empty.
        detail: What was said of it the first time.
        count: How often it happened.
        places: The first lines of the user's code that led to it, at most ten.
    """

    feature: str
    kind: str
    mode: str
    detail: str
    count: int
    places: tuple[Place, ...]


@dataclass
class _Record:
    detail: str = ""
    count: int = 0
    places: dict[tuple[str, int], int] = field(default_factory=dict)


@dataclass
class _Ledger:
    watching: bool = False
    strict: bool = False
    records: dict[tuple[str, str, str], _Record] = field(default_factory=dict)
    # Loaders run in threads. Reentrant: a signal handler may train while an entry is written.
    lock: Any = field(default_factory=threading.RLock)


_ledger = _Ledger()


def _renew_lock() -> None:
    _ledger.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    # A child must not wait for a thread of its parent that held the lock.
    os.register_at_fork(after_in_child=_renew_lock)


def watch(*, strict: bool = False) -> None:
    """Note the served names that are used from here on.

    Args:
        strict: Raise where a correction makes the outcome another than the old library's.
    """
    _ledger.watching, _ledger.strict = True, strict


def unwatch() -> None:
    """Stop noting names and raising. What was noted stays."""
    _ledger.watching = _ledger.strict = False


def watched() -> tuple[bool, bool]:
    """Tell whether somebody watches, and whether the watch is strict."""
    return _ledger.watching, _ledger.strict


def absorb(others: Iterable[Entry]) -> None:
    """Take over what happened in a process that worked for this one, as if at the line of the program that runs now.

    Args:
        others: What :func:`entries` returned there.
    """
    for entry in others:
        if entry.kind == "quirk" or _ledger.watching:
            _note((entry.feature, entry.kind, entry.mode), entry.detail, entry.count)


def clear(kind: str = "") -> None:
    """Forget what happened.

    Args:
        kind: Forget only the entries of this kind.
    """
    with _ledger.lock:
        for key in [key for key in _ledger.records if not kind or key[1] == kind]:
            del _ledger.records[key]


def entries() -> tuple[Entry, ...]:
    """Return what happened, in the order in which it happened first."""
    with _ledger.lock:
        return tuple(
            Entry(*key, record.detail, record.count, tuple(Place(*place, n) for place, n in record.places.items()))
            for key, record in _ledger.records.items()
        )


def used(what: object) -> None:
    """Note that the program used a served name, if somebody watches.

    Args:
        what: An instance, a class, a function, or the dotted path of one of ours. Of a user's subclass its first base
            that is ours is noted; what is not ours at all is not.
    """
    if not _ledger.watching:
        return
    path = what if isinstance(what, str) else _path_of(what)
    if path:
        _note((path, "name", ""), "")


def happened(quirk: str, mode: str, detail: str = "", difference: str = "") -> None:
    """Count that a quirk changed the outcome.

    Args:
        quirk: Its id.
        mode: ``kept`` if the old library's way was gone, ``fixed`` if the corrected one was.
        detail: What happened.
        difference: What a strict run is to say of it.

    Raises:
        DifferenceError: It was corrected, and the watch is strict.
    """
    _note((quirk, "quirk", mode), detail)
    if _ledger.strict and mode == "fixed":
        raise DifferenceError(difference or f"{quirk}: {detail or 'the outcome is corrected'}.")


def refused(feature: str, why: str) -> None:
    """Note that the program asked for something that is refused, if somebody watches.

    Args:
        feature: What it asked for.
        why: Why it is refused.
    """
    if _ledger.watching:
        _note((feature, "refused", ""), why)


def attached(part: str, detail: str = "") -> None:
    """Note that a part of Lightning's runs in a loop, if somebody watches.

    Args:
        part: Its path, or what it made of the training step.
        detail: What is to be said of it.
    """
    if _ledger.watching:
        _note((part, "native", ""), detail)


def called(path: str) -> None:
    """Note that the program itself called a function of ours, if somebody watches; our own calls do not count.

    Args:
        path: The function's path.
    """
    # The frame below is the function's, the one below that its caller's.
    if _ledger.watching and not _is_internal(sys._getframe(2)):
        used(path)


def _note(key: tuple[str, str, str], detail: str, count: int = 1) -> None:
    _, file, line = user_frame()
    with _ledger.lock:
        record = _ledger.records.setdefault(key, _Record(detail))
        record.count += count
        if (file, line) in record.places or len(record.places) < _PLACES:
            record.places[file, line] = record.places.get((file, line), 0) + count


def _path_of(what: object) -> str:
    while isinstance(what, partial):
        what = what.func
    if isinstance(what, type):
        return next(filter(None, map(_own_path, what.__mro__)), "")
    if hasattr(what, "__qualname__"):
        return _own_path(what)
    return _path_of(type(what))


def _own_path(what: object) -> str:
    """Return the path of a public class or function of this package, nothing for any other."""
    module, name = getattr(what, "__module__", None) or "", getattr(what, "__qualname__", "")
    path = module.split(".")
    is_ours = path[0] == _OURS and "<" not in name and not any(part.startswith("_") for part in (*path, name))
    return f"{module}.{name}" if is_ours else ""


def user_frame() -> tuple[int, str, int]:
    """Find the innermost frame of the user's code.

    Returns:
        Its stack level for a ``warnings.warn`` in the caller of this function, its file and its line; the outermost
        frame if none is the user's.
    """
    # XXX: `warnings.warn(skip_file_prefixes=)` does this from Python 3.12 on; use it once 3.11 is no longer supported.
    frame: FrameType | None = sys._getframe(1)
    level, last = 0, ("", 0)
    while frame is not None:
        level += 1
        last = (frame.f_code.co_filename, frame.f_lineno)
        if not _is_internal(frame):
            break
        frame = frame.f_back
    return level, *last


def _is_internal(frame: FrameType) -> bool:
    name = frame.f_globals.get("__name__") or ""
    # `python -m compat` runs as `__main__`: its file tells it from the user's.
    return name.split(".")[0] in _INTERNAL or (name == "__main__" and frame.f_code.co_filename.startswith(_PACKAGE))
