"""Which module of AIToolbox holds which names: the table, turned round.

The paths of older versions are in it as well. Nothing here imports what it names.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from compat._surface import Module, Name, surface

__all__ = ["PACKAGE", "Contents", "contents", "gone", "layout", "nearest"]

PACKAGE = "aitoolbox"


@dataclass(frozen=True)
class Contents:
    """What one module of AIToolbox holds.

    Attributes:
        names: Its names that are in the table, those that it exports for others included.
        foreign: What else it imported, and so gave away: paths by name.
        children: The names of its submodules.
        homes: The modules of ours in which the names that it defines live.
    """

    names: dict[str, Name] = field(default_factory=dict)
    foreign: dict[str, str] = field(default_factory=dict)
    children: set[str] = field(default_factory=set)
    homes: set[str] = field(default_factory=set)

    def known(self) -> set[str]:
        """All names that the module answers to."""
        return {*self.names, *self.foreign, *self.children}


@lru_cache(maxsize=1)
def layout() -> Mapping[str, Contents]:
    """Map every module that can be imported, under its new and its older paths, to what it holds."""
    held: dict[str, Contents] = {PACKAGE: Contents()}
    for row in surface().names.values():
        defining = _module(held, row.module)
        defining.names[row.short] = row
        if row.ours:
            defining.homes.add(row.ours.rpartition(".")[0])
        for exporter in row.also:
            _module(held, exporter).names[row.short] = row
    for module in surface().modules.values():
        if module.status == "refused":
            continue
        holder = _module(held, module.path)
        for name, path in map(_as_name, module.holds):
            if path in surface().names:
                holder.names.setdefault(name, surface().names[path])
            else:
                holder.foreign[name] = path
    _move(held)
    return held


def _module(held: dict[str, Contents], path: str) -> Contents:
    """Return the contents of a module; it and its parents come to be when they are first named."""
    if path not in held:
        held[path] = Contents()
        parent, _, child = path.rpartition(".")
        _module(held, parent).children.add(child)
    return held[path]


def _as_name(held: str) -> tuple[str, str]:
    path, _, name = held.partition(" as ")
    return name or path.rpartition(".")[2], path


def _move(held: dict[str, Contents]) -> None:
    """Give the older paths what their modules hold today, beside the names that only they had."""
    for module in surface().modules.values():
        if not module.now:
            continue
        old, now = _module(held, module.path), _module(held, module.now)
        for name, row in now.names.items():
            old.names.setdefault(name, row)
        for name, path in now.foreign.items():
            old.foreign.setdefault(name, path)
        old.children.update(now.children)
        old.homes.update(now.homes)
        for child in now.children:
            # A package that moved takes its modules along.
            held.setdefault(f"{module.path}.{child}", held[f"{module.now}.{child}"])


def contents(path: str) -> Contents | None:
    """Return what a module holds, or None if there is no such module."""
    return layout().get(path)


def gone(path: str) -> Module | None:
    """Return the row of the refused module that a path is, or is in; None if there is none."""
    parts = path.split(".")
    prefixes = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    rows = (surface().modules.get(prefix) for prefix in prefixes)
    return next((row for row in rows if row and row.status == "refused"), None)


def nearest(path: str) -> tuple[str, ...]:
    """Return up to three known paths that a mistyped one is near to: of the same module first, then of others.

    Args:
        path: A path that the old library did not have.
    """
    parent, _, short = path.rpartition(".")
    there = contents(parent) or Contents()
    here = difflib.get_close_matches(short, sorted({*there.names, *there.children}))
    found = [f"{parent}.{name}" for name in here]
    places = _places()
    for name in difflib.get_close_matches(short, sorted(places)):
        # What the module itself exports needs no second path.
        found += [] if name in here else places[name]
    return tuple(dict.fromkeys(found))[:3]


@lru_cache(maxsize=1)
def _places() -> Mapping[str, list[str]]:
    """Map each last part of a path to the names and modules that end in it."""
    places: dict[str, list[str]] = {}
    for path in (*surface().names, *layout()):
        places.setdefault(path.rpartition(".")[2], []).append(path)
    return places
