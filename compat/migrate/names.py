"""The names of AIToolbox as a program writes them, and what the table says of each.

Older paths are led to those of 1.8. Whatever a module imported can be asked of it as well, as in the old library.
"""

import difflib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache

from compat._layout import PACKAGE, Contents, contents, gone, nearest
from compat._surface import Member, Name, surface
from compat.migrate import own

__all__ = [
    "DISTINCTIVE",
    "PACKAGE",
    "ROOTS",
    "Star",
    "Target",
    "Verdict",
    "attribute",
    "find",
    "root",
    "star",
    "verdict",
]

# How the names begin that hardly any other library has.
DISTINCTIVE = ("TrainLoop", "TTModel", "TTBasic")
# Up to 0.3.1 the package was written with capitals.
ROOTS = (PACKAGE, "AIToolbox")
# What comes with this package.
_INSTALLED = frozenset({"lightning", "numpy", "torch", "torchmetrics", "tqdm"})


@dataclass(frozen=True)
class Target:
    """Something of the old library.

    Attributes:
        kind: ``module``, ``name``, ``member`` of a class, ``foreign`` for what a module imported from elsewhere, or
            ``unknown``.
        path: Its path in AIToolbox 1.8; for ``foreign``, where it comes from.
        written: Its path as the program says it, aliases resolved.
        row: The path of the row in the table: of the name, of the class of a member, or of the module.
        member: The member's name, for ``member``.
    """

    kind: str
    path: str
    written: str
    row: str = ""
    member: str = ""

    @property
    def is_class(self) -> bool:
        """Whether it is a class, which the old library told by the first letter."""
        return self.kind == "name" and self.path.rpartition(".")[2][:1].isupper()


@dataclass(frozen=True)
class Verdict:
    """What is to be said of a target; the fields are those of a finding."""

    status: str
    why: str = ""
    quirks: tuple[str, ...] = ()
    native: str = ""
    nearest: tuple[str, ...] = ()
    versions: str = ""
    is_harmless: bool = False


@dataclass(frozen=True)
class Star:
    """What a star import brings.

    Attributes:
        names: Names of the old library, its submodules included.
        foreign: What the module had imported from elsewhere: paths by name.
        leaked: What only the star import of 1.0 to 1.3 brought, when the package was one module: paths by name.
    """

    names: Mapping[str, Target]
    foreign: Mapping[str, str]
    leaked: Mapping[str, str]


def _moved(path: str) -> str:
    """Return where a module is in 1.8."""
    module = surface().modules.get(path)
    if module and module.now:
        return module.now
    parent, _, child = path.rpartition(".")
    if not parent:
        return path
    now = _moved(parent)
    return path if now == parent or path in surface().modules else f"{now}.{child}"


def root(name: str) -> Target:
    """Return the target of the package itself."""
    return Target("module" if name == PACKAGE else "unknown", name, name, name)


def find(path: str) -> Target:
    """Return what a path of the old library leads to.

    Args:
        path: Such as ``aitoolbox.torchtrain.train_loop.TrainLoop``. What lies behind a name's members is cut off.
    """
    first, *rest = path.split(".")
    target = root(first)
    if target.kind == "unknown":
        return Target("unknown", path, path)
    for part in rest:
        found = attribute(target, part)
        if found is None:
            break
        target = found
        if target.kind in ("unknown", "foreign"):
            break
    return target if target.kind != "unknown" else Target("unknown", path, path)


@cache
def attribute(target: Target, name: str) -> Target | None:
    """Return what an attribute of a target is.

    Args:
        target: A module or a class of the old library; of other things nothing is known.
        name: The attribute.

    Returns:
        A target, of the kind ``unknown`` if the old library had no such thing; None if it cannot be told.
    """
    written = f"{target.written}.{name}"
    if target.kind == "module":
        return _of_module(target, name, written)
    if target.is_class:
        return _of_class(target, name, written)
    # Whatever is below a module that is gone is gone with it.
    refused = gone(target.row)
    return Target("name", written, written, refused.path) if refused and target.kind == "name" else None


def _of_module(target: Target, name: str, written: str) -> Target | None:
    if name.startswith("__"):
        return None
    spelled = target.written
    for module in dict.fromkeys((spelled, target.path, _moved(spelled))):
        held = contents(module)
        if held is None:
            continue
        if name in held.names:
            row = held.names[name]
            return Target("name", _current(row), written, row.old)
        if name in held.children:
            path = _moved(f"{module}.{name}")
            return Target("module", path, written, f"{module}.{name}")
        if name in held.foreign:
            path = held.foreign[name]
            if contents(path) is not None:
                return Target("module", path, written, path)
            return Target("foreign", path, written)
    refused = gone(f"{spelled}.{name}")
    if refused is None:
        return Target("unknown", written, written)
    kind = "module" if refused.path.startswith(f"{spelled}.{name}") else "name"
    return Target(kind, written, written, refused.path)


def _current(row: Name) -> str:
    """Return the path in 1.8 of a name that an older version had elsewhere, or under another name."""
    return (own.old_path(row.ours) or row.old) if row.versions and row.ours else row.old


def _of_class(target: Target, name: str, written: str) -> Target | None:
    row = surface().names.get(target.row)
    if row is None:
        return Target("member", written, written, target.row, name)
    if not row.is_served:
        # Its members are not listed: one that no other class has is likely the program's own.
        is_likely = name in row.members or name in _member_names()
        return Target("member", f"{target.path}.{name}", written, row.old, name) if is_likely else None
    members = own.class_members(row.ours) if row.ours else None
    if members is None:
        return Target("member", f"{target.path}.{name}", written, row.old, name)
    if name in members.owners:
        owner = own.old_path(members.owners[name]) or target.path
        return Target("member", f"{owner}.{name}", written, row.old, name)
    if name in row.members:
        return Target("member", f"{target.path}.{name}", written, row.old, name)
    if members.is_open or name.startswith("__"):
        return None
    return Target("unknown", f"{target.path}.{name}", written, row.old, name)


@lru_cache(maxsize=1)
def _member_names() -> frozenset[str]:
    """Return the names of all members of the classes that are served."""
    served = [own.class_members(row.ours) for row in surface().names.values() if row.is_served]
    return frozenset(name for members in served if members for name in members.owners)


@cache
def star(target: Target) -> Star:
    """Return what ``from target import *`` brings."""
    names: dict[str, Target] = {}
    foreign: dict[str, str] = {}
    for module in dict.fromkeys((target.path, target.written)):
        for name in sorted((contents(module) or Contents()).known()):
            found = attribute(target, name)
            if found is None or name.startswith("_"):
                continue
            if found.kind == "foreign":
                foreign[name] = found.path
            else:
                names[name] = found
    # 1.0 to 1.3 had one module where 1.8 has a package with a module of the same name in it.
    inner = contents(f"{target.path}.{target.path.rpartition('.')[2]}") or Contents()
    leaked = inner.foreign | {name: row.old for name, row in inner.names.items()}
    return Star(names, foreign, {name: path for name, path in leaked.items() if name not in {*names, *foreign}})


@cache
def verdict(target: Target) -> Verdict:
    """Return what the table says of a target."""
    if target.kind == "unknown":
        return _unknown(target)
    if target.kind == "foreign":
        return _of_foreign(target.path)
    row = surface().names.get(target.row)
    if row is None:
        return _of_module_row(target)
    if target.kind == "member":
        said = _member(row, target)
        if said:
            native = said.native or row.native
            versions = said.versions or row.versions
            versions, harmless = said.versions or row.versions, _is_harmless(said)
            return Verdict(said.status, said.why, said.quirks, native, versions=versions, is_harmless=harmless)
        if row.is_served:
            return Verdict("same", native=row.native, versions=row.versions)
    versions = row.versions or _module_versions(target)
    harmless = _is_harmless(row)
    return Verdict(row.status, row.why, row.quirks, row.native, versions=versions, is_harmless=harmless)


def _is_harmless(said: Name | Member) -> bool:
    """Tell whether a difference is none to a program that ran: an error that is clearer, or no longer there."""
    return said.status == "differs" and not said.results


def _of_foreign(path: str) -> Verdict:
    """Judge what a module imported from elsewhere: it is handed on, if it is installed."""
    module, _, name = path.rpartition(".")
    native = f"from {module} import {name}" if module else f"import {name}"
    needed = "tensorboard" if path.startswith("torch.utils.tensorboard") else path.split(".")[0]
    if needed in _INSTALLED or needed in sys.stdlib_module_names:
        return Verdict("same", native=native)
    return Verdict("differs", f"The package of {needed} must be installed: this package does not bring it.", (), native)


def _module_versions(target: Target) -> str:
    module = surface().modules.get(target.written.rpartition(".")[0])
    return module.versions if module else ""


def _member(row: Name, target: Target) -> Member | None:
    """Return what is said of a member: of its class, or of the class that it is inherited from."""
    if target.member in row.members:
        return row.members[target.member]
    owner = surface().names.get(target.path.rpartition(".")[0])
    return owner.members.get(target.member) if owner else None


def _of_module_row(target: Target) -> Verdict:
    said = gone(target.row) or surface().modules.get(target.row)
    if said is None:
        return Verdict("same")
    return Verdict(said.status, said.why, native=said.native, versions=said.versions)


def _unknown(target: Target) -> Verdict:
    if target.path.split(".")[0] != PACKAGE:
        why = "The package was written AIToolbox up to 0.3.1, which is not served; from 1.0 on it is aitoolbox."
        lower = PACKAGE + target.path[len(PACKAGE) :]
        return Verdict("unknown", why, nearest=tuple(dict.fromkeys((find(lower).path, *_nearest(lower))))[:3])
    what = "member" if target.member else "name"
    return Verdict("unknown", f"No AIToolbox from 1.0 to 1.8 had a {what} like this.", nearest=_nearest(target.path))


def _nearest(path: str) -> tuple[str, ...]:
    """Return up to three known names, the likeliest first: those of the same place, then those of others."""
    parent, _, short = path.rpartition(".")
    row = surface().names.get(parent)
    if row:
        members = own.class_members(row.ours) if row.ours else None
        known = {*row.members, *(members.owners if members else ())}
        return tuple(f"{parent}.{near}" for near in difflib.get_close_matches(short, sorted(known)))
    return nearest(path)


def type_of(target: Target, member: str) -> Target | None:
    """Return the old class that the value of a member of an old class is an instance of, where that is known."""
    row = surface().names.get(target.row)
    members = own.class_members(row.ours) if row and row.ours else None
    old = own.old_path(members.types[member]) if members and member in members.types else ""
    return Target("name", old, old, old) if old else None


def is_listed(target: Target) -> bool:
    """Tell whether a member is known to exist, rather than taken for granted of a class that is not served."""
    row = surface().names.get(target.row)
    members = own.class_members(row.ours) if row and row.ours else None
    return bool(row and (target.member in row.members or (members and target.member in members.owners)))


@lru_cache(maxsize=1)
def distinctive() -> frozenset[str]:
    """Return the names whose spelling alone says something."""
    shorts = {row.short for row in surface().names.values()}
    return frozenset(short for short in shorts if short.startswith(DISTINCTIVE))
