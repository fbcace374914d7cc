"""What is known of the value of a name, and what was learned of the checked files as a whole.

A value is a small hashable fact; an expression has a set of them, all that it may be. There are finitely many: what
is learned only grows, so reading the files again and again comes to an end.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from compat.migrate.names import Target

__all__ = [
    "NOTHING",
    "Elements",
    "Facts",
    "Function",
    "InProject",
    "Instance",
    "Leak",
    "Local",
    "LocalClass",
    "Member",
    "Method",
    "Outside",
    "Parents",
    "Partial",
    "Row",
    "Thing",
    "Value",
    "Values",
]


@dataclass(frozen=True)
class Thing:
    """A module, class, function or constant of the old library itself."""

    target: Target


@dataclass(frozen=True)
class Member:
    """A member of the old library, taken from an instance."""

    target: Target


@dataclass(frozen=True)
class Local:
    """A class that the program defines, by the file and the line that do."""

    file: str
    cell: int
    line: int
    name: str


@dataclass(frozen=True)
class Instance:
    """An instance of a class of the old library or of the program."""

    of: Thing | Local


@dataclass(frozen=True)
class Parents:
    """What ``super()`` is in a class of the program."""

    of: Local


@dataclass(frozen=True)
class Function:
    """A function that the program defines. A property gives what it returns."""

    file: str
    cell: int
    line: int
    is_property: bool = False
    is_method: bool = False

    @property
    def key(self) -> tuple[str, int, int]:
        """Under which the facts keep what it takes and returns."""
        return self.file, self.cell, self.line


@dataclass(frozen=True)
class Partial:
    """A class whose first arguments ``functools.partial`` has given already: so many by place."""

    of: Thing | Local
    places: int = 0


@dataclass(frozen=True)
class InProject:
    """A module among the checked files: its path without the suffix, or that of its folder."""

    path: str


@dataclass(frozen=True)
class Outside:
    """A module, or something in one, that is neither of the old library nor among the checked files."""

    path: str


@dataclass(frozen=True)
class Leak:
    """A name that is bound by a star import of the old library alone, and is not of the old library."""

    name: str
    module: str
    path: str
    is_older: bool = False


@dataclass(frozen=True)
class Row:
    """A tuple of which each place is known by itself, as ``zip`` makes them."""

    parts: tuple[frozenset["Element"], ...]


@dataclass(frozen=True)
class Elements:
    """A container with such elements, or values where it is a ``dict``; of any other kind it is a ``list``."""

    of: frozenset["Element"]
    kind: str = "list"


@dataclass(frozen=True)
class Method:
    """A method of a container."""

    of: Elements
    name: str


Element = Thing | Member | Local | Instance | Function | Partial | Row
Value = Element | Parents | InProject | Outside | Leak | Elements | Method
Values = frozenset[Value]
NOTHING: Values = frozenset()


@dataclass
class LocalClass:
    """What is known of a class of the program.

    Attributes:
        bases: The values of its bases.
        has_foreign_bases: Whether a base is not known, so that there may be members that nobody sees here.
        is_open: Whether the program gives instances attributes whose names it computes.
        body: The names that its body binds.
        attributes: What its attributes may be, those that are stored on ``self`` included.
    """

    bases: list[Values] = field(default_factory=list)
    has_foreign_bases: bool = False
    is_open: bool = False
    body: set[str] = field(default_factory=set)
    attributes: dict[str, set[Value]] = field(default_factory=lambda: defaultdict(set))


@dataclass
class Facts:
    """What was learned of the checked files; it only grows.

    Attributes:
        names: For each scope, by its key, all that its names ever were.
        classes: The classes of the program.
        returns: What its functions return.
        remote: Names of scopes that other scopes write to, as ``global`` lets them: scope keys and names.
        given: What functions are called with, by place or by name.
        unsure: Of which of these not every call tells.
        public: What ``__all__`` of a file lists, for the files that have one.
        stored: Attributes that the program itself puts on instances of old classes: rows of the table and names; the
            name is ``*`` where it is computed.
        size: How much was learned; while it grows, another reading is needed.
    """

    names: dict[tuple[str, int, int, str], dict[str, set[Value]]] = field(default_factory=dict)
    classes: dict[Local, LocalClass] = field(default_factory=dict)
    returns: dict[tuple[str, int, int], set[Value]] = field(default_factory=lambda: defaultdict(set))
    remote: set[tuple[tuple[str, int, int, str], str]] = field(default_factory=set)
    given: dict[tuple[tuple[str, int, int], int | str], set[Value]] = field(default_factory=lambda: defaultdict(set))
    unsure: set[tuple[tuple[str, int, int], int | str]] = field(default_factory=set)
    public: dict[str, frozenset[str]] = field(default_factory=dict)
    stored: set[tuple[str, str]] = field(default_factory=set)
    size: int = 0

    def learn(self, known: set[Value], values: Values) -> None:
        """Add values to what is known of something."""
        before = len(known)
        known.update(values)
        self.size += len(known) - before

    def store(self, row: str, name: str) -> None:
        """Note that the program puts an attribute of its own on instances of an old class."""
        if (row, name) not in self.stored:
            self.stored.add((row, name))
            self.size += 1

    def is_stored(self, row: str, name: str) -> bool:
        """Tell whether the program may have put an attribute on instances of an old class."""
        return (row, name) in self.stored or (row, "*") in self.stored

    def open(self, of: Local) -> None:
        """Note that the program gives instances of a class attributes whose names it computes."""
        known = self.classes.get(of)
        if known and not known.is_open:
            known.is_open = True
            self.size += 1

    def give(self, function: Function, place: int | str, values: Values) -> None:
        """Note what a call gives to a parameter of a function: an instance, or something that is not known."""
        key = (function.key, place)
        if len(values) == 1 and all(isinstance(value, Instance) for value in values):
            self.learn(self.given[key], values)
        elif key not in self.unsure:
            self.unsure.add(key)
            self.size += 1

    def taken(self, key: tuple[str, int, int], place: int, name: str) -> Values:
        """Return the instance that every call gives to a parameter; nothing if they do not agree."""
        places: list[int | str] = [place, name]
        if any((key, where) in self.unsure for where in (*places, "*")):
            return NOTHING
        found = frozenset(value for where in places for value in self.given.get((key, where), ()))
        return found if len(found) == 1 else NOTHING

    def exports(self, file: str) -> dict[str, set[Value]]:
        """Return what the names of a file's module ever were."""
        return self.names.get((file, 0, 0, ""), {})

    def lineage(self, of: Local) -> Iterator[tuple[Local, LocalClass]]:
        """Yield a class of the program and its bases that are such classes, nearest first."""
        seen: set[Local] = set()
        queue = [of]
        while queue:
            key = queue.pop(0)
            found = self.classes.get(key)
            if key in seen or found is None:
                continue
            seen.add(key)
            yield key, found
            queue += [base for values in found.bases for base in sorted_locals(values)]

    def old_bases(self, of: Local) -> list[Thing]:
        """Return the old classes that a class of the program descends from, nearest first."""
        found: dict[Thing, None] = {}
        for _, known in self.lineage(of):
            for values in known.bases:
                things = (base for base in values if isinstance(base, Thing) and base.target.kind == "name")
                found.update(dict.fromkeys(sorted(things, key=lambda thing: thing.target.path)))
        return list(found)

    def is_open(self, of: Local) -> bool:
        """Tell whether instances may have members that are not seen here."""
        asked = {"__getattr__", "__getattribute__", "__setattr__"}
        return any(known.has_foreign_bases or known.is_open or asked & known.body for _, known in self.lineage(of))

    def is_old(self, value: Value, depth: int = 3) -> bool:
        """Tell whether a value has to do with the old library, so that other files need to know of it."""
        match value:
            case Thing() | Member() | Leak():
                return True
            case Local():
                return bool(self.old_bases(value)) or (depth > 0 and self._holds_old(value, depth))
            case Instance(of=of) | Partial(of=of):
                return self.is_old(of, depth)
            case Row(parts=parts):
                return any(self.is_old(one, depth) for part in parts for one in part)
            case Function():
                returned = self.returns.get(value.key, set())
                return depth > 0 and any(self.is_old(inner, depth - 1) for inner in returned)
            case Elements(of=inner):
                return any(self.is_old(one, depth) for one in inner)
        return False

    def _holds_old(self, of: Local, depth: int) -> bool:
        attributes = (values for _, known in self.lineage(of) for values in known.attributes.values())
        return any(self.is_old(value, depth - 1) for values in attributes for value in values)


def sorted_locals(values: Values) -> list[Local]:
    """Return the classes of the program among some values, in a fixed order."""
    found = [value for value in values if isinstance(value, Local)]
    return sorted(found, key=lambda local: (local.file, local.cell, local.line))
