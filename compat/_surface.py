"""Reader of ``surface.toml``: what became of every public name of AIToolbox.

The table is read once, when somebody first asks. It is checked by the tests, not here: what ships has passed them.
"""

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module, resources
from typing import Any

STATUSES = ("same", "differs", "refused", "later")
SERVED = ("lightning", "emulated")


@dataclass(frozen=True)
class Member:
    """What is to be said of one member of a class.

    Attributes:
        status: One of ``STATUSES``.
        quirks: Ids of the oddities that show in it.
        why: What differs, or why it is refused; empty for ``same``.
        served: One of ``SERVED``; empty if it is as for the whole class.
        results: Whether a program that ran can get other results, where the status is ``differs``.
        versions: The versions of AIToolbox of whose code this is said; empty if of 1.8.
        native: How the same thing is said in Lightning alone; empty if it is as for the whole class.
        follows: Of an argument of a method: the key of an argument of the constructor that it shares the lot of.
    """

    status: str
    quirks: tuple[str, ...] = ()
    why: str = ""
    served: str = ""
    versions: str = ""
    native: str = ""
    follows: str = ""
    results: bool = False


@dataclass(frozen=True)
class Name:
    """One public name of AIToolbox and what became of it.

    Attributes:
        old: Its import path in the reference.
        ours: Its import path here; empty for ``refused`` and ``later``.
        status: One of ``STATUSES``.
        served: One of ``SERVED``: who does the work.
        results: Whether a program that ran can get other results, where the status is ``differs``.
        native: How the same thing is said in Lightning alone.
        versions: The versions of AIToolbox that had it under this path; empty if 1.8 still has.
        also: Other packages of the reference that export it.
        quirks: Ids of the oddities that show in it.
        why: What differs, or why it is refused; empty for ``same``.
        members: The members that are not plainly the same, or of which Lightning says the same in other words.
        arguments: The arguments that are not plainly the same: ``parameter``, ``parameter=value``, ``parameter: kind``,
            ``#3``, the third place, or ``#3: kind``; of a member the same as ``member(parameter)``, ``member(#3)``, and
            ``member()`` for a call or an override without arguments.
    """

    old: str
    ours: str
    status: str
    served: str
    native: str
    versions: str
    also: tuple[str, ...]
    quirks: tuple[str, ...]
    why: str
    members: Mapping[str, Member]
    arguments: Mapping[str, Member]
    results: bool = False

    @property
    def short(self) -> str:
        """The name without its module."""
        return self.old.rpartition(".")[2]

    @property
    def module(self) -> str:
        """The module of the reference that defines it."""
        return self.old.rpartition(".")[0]

    @property
    def is_served(self) -> bool:
        """Whether it does something here, be it the same or not."""
        return self.status in ("same", "differs")

    @property
    def is_alias(self) -> bool:
        """Whether it is served by something of another name."""
        return self.is_served and self.short != self.ours.rpartition(".")[2]


@dataclass(frozen=True)
class Module:
    """What is to be said of a module of AIToolbox beside the names that it defines.

    Attributes:
        path: Its import path in the reference.
        status: ``same``, ``differs``, or ``refused`` for one that is gone and has nothing in its place.
        now: Where it went in AIToolbox 1.8; empty if it did not move.
        versions: The versions of AIToolbox that had it under this path; empty if 1.8 still has.
        apart: Its submodules that did not come along when it was imported.
        holds: What it imported, and so gave away too: ``path`` or ``path as name``.
        why: What differs, or why it is refused; empty for ``same``.
        native: How the same thing is said in Lightning alone.
    """

    path: str
    status: str = "same"
    now: str = ""
    versions: str = ""
    holds: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()
    why: str = ""
    native: str = ""


@dataclass(frozen=True)
class Addition:
    """A name, a member or a keyword-only parameter that the old library does not have.

    Attributes:
        name: Its path; a parameter is written ``path.of.function(parameter=)``.
        what: What it is for.
        ours: Where it is defined, if it is a name of the package root.
    """

    name: str
    what: str
    ours: str = ""


@dataclass(frozen=True)
class Surface:
    """The whole table.

    Attributes:
        names: Old names by their import path in the reference.
        modules: Modules of the reference of which more is to be said than their names, by import path.
        additions: What is ours alone, by name.
    """

    names: Mapping[str, Name]
    modules: Mapping[str, Module]
    additions: Mapping[str, Addition]


@lru_cache(maxsize=1)
def surface() -> Surface:
    """Read the table that lies beside this file."""
    return parse(resources.files("compat").joinpath("surface.toml").read_text(encoding="utf-8"))


def parse(text: str) -> Surface:
    """Turn the text of a table into rows.

    Args:
        text: TOML as ``surface.toml`` describes it.

    Raises:
        TypeError: A row has a field that does not exist, or lacks one.
    """
    tables = tomllib.loads(text)
    return Surface(
        names={old: _name(old, row) for old, row in tables["names"].items()},
        modules={path: _module(path, row) for path, row in tables.get("modules", {}).items()},
        additions={name: Addition(name, **row) for name, row in tables["additions"].items()},
    )


def _name(old: str, row: dict[str, Any]) -> Name:
    whole: dict[str, Any] = {"ours": "", "served": "emulated", "versions": "", "why": ""} | row
    for part in ("members", "arguments"):
        whole[part] = {name: _member(said) for name, said in row.get(part, {}).items()}
    for part in ("also", "quirks"):
        whole[part] = tuple(row.get(part, ()))
    return Name(old=old, **whole)


def _module(path: str, row: dict[str, Any]) -> Module:
    return Module(path=path, holds=tuple(row.pop("holds", ())), apart=tuple(row.pop("apart", ())), **row)


def _member(fields: dict[str, Any]) -> Member:
    return Member(quirks=tuple(fields.pop("quirks", ())), **fields)


@lru_cache(maxsize=1)
def homes() -> Mapping[str, str]:
    """Map each lazy name of the package root to the path that it is found at.

    Names of the old library's last version come first, then our additions ``compat.<name>``. What only older versions
    had is served under its old import path alone.
    """
    old = {row.short: row.ours for row in surface().names.values() if row.is_served and not row.versions}
    added = (row for row in surface().additions.values() if row.ours and row.name.count(".") == 1)
    return old | {row.name.partition(".")[2]: row.ours for row in added}


@lru_cache(maxsize=1)
def unserved() -> Mapping[str, str]:
    """Map each name that is refused or not served yet to its import path in the reference."""
    return {row.short: row.old for row in surface().names.values() if not row.is_served}


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a sentence with the known names that a mistyped one is near to; nothing if there is none."""
    near = difflib.get_close_matches(name, sorted(known), n=3)
    return f" Nearest: {', '.join(near)}." if near else ""


def resolve(path: str) -> Any:
    """Import a module, or import what holds an attribute and return that.

    Args:
        path: Such as ``compat.quirks`` or ``compat.train_loop.TrainLoop``.

    Raises:
        ImportError: The path leads nowhere.
    """
    try:
        return import_module(path)
    except ModuleNotFoundError as missing:
        module, _, attribute = path.rpartition(".")
        # Only when the last step is no module: an import that fails inside a module is that module's own affair.
        if missing.name != path or not module:
            raise
    found = import_module(module)
    try:
        return getattr(found, attribute)
    except AttributeError:
        raise ImportError(f"{module} has no {attribute}", name=path) from None
