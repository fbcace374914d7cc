"""Reader of ``surface.toml``: what became of every public name of AIToolbox.

The table is read once, when somebody first asks. It is checked by the tests, not here: what ships has passed them.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module, resources
from typing import Any

STATUSES = ("same", "differs", "refused", "later")


@dataclass(frozen=True)
class Member:
    """What is to be said of one member of a class.

    Attributes:
        status: One of ``STATUSES``.
        quirks: Ids of the oddities that show in it.
        why: What differs, or why it is refused; empty for ``same``.
    """

    status: str
    quirks: tuple[str, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class Name:
    """One public name of AIToolbox and what became of it.

    Attributes:
        old: Its import path in the reference.
        ours: Its import path here.
        status: One of ``STATUSES``.
        native: How the same thing is said in Lightning alone.
        also: Other packages of the reference that export it.
        quirks: Ids of the oddities that show in it.
        why: What differs, or why it is refused; empty for ``same``.
        members: The members that are not plainly the same.
    """

    old: str
    ours: str
    status: str
    native: str
    also: tuple[str, ...]
    quirks: tuple[str, ...]
    why: str
    members: Mapping[str, Member]

    @property
    def short(self) -> str:
        """The name without its module."""
        return self.ours.rpartition(".")[2]


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
        additions: What is ours alone, by name.
    """

    names: Mapping[str, Name]
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
        additions={name: Addition(name, **row) for name, row in tables["additions"].items()},
    )


def _name(old: str, row: dict[str, Any]) -> Name:
    members = {name: _member(fields) for name, fields in row.pop("members", {}).items()}
    also, quirks = tuple(row.pop("also", ())), tuple(row.pop("quirks", ()))
    return Name(old=old, members=members, also=also, quirks=quirks, why=row.pop("why", ""), **row)


def _member(fields: dict[str, Any]) -> Member:
    return Member(quirks=tuple(fields.pop("quirks", ())), **fields)


@lru_cache(maxsize=1)
def homes() -> Mapping[str, str]:
    """Map each lazy name of the package root to the path that it is found at.

    Names of the old library come first, then our additions ``compat.<name>``.
    """
    old = {row.short: row.ours for row in surface().names.values()}
    added = (row for row in surface().additions.values() if row.ours and row.name.count(".") == 1)
    return old | {row.name.partition(".")[2]: row.ours for row in added}


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
