"""What containers hold, and what comes out of them: by iteration, by a place, by Python's own functions."""

from collections.abc import Iterable, Sequence

from compat.migrate.values import (
    NOTHING,
    Element,
    Elements,
    Function,
    Instance,
    Local,
    Member,
    Method,
    Partial,
    Row,
    Thing,
    Value,
    Values,
)

__all__ = [
    "GROWING",
    "at_place",
    "display",
    "elements_of",
    "from_builtin",
    "from_method",
    "grown",
    "method",
    "opened",
    "subscripted",
]

# Methods that put an argument into a container.
GROWING = frozenset({"add", "append", "appendleft", "extend", "insert", "setdefault", "update"})
_GIVING = frozenset({"get", "pop", "popleft", "setdefault"})
_METHODS = GROWING | _GIVING | {"copy", "items", "values"}
_PLAIN = (Thing, Member, Local, Instance, Function, Partial, Row)
_LISTS = frozenset({"filter", "frozenset", "iter", "list", "map", "reversed", "set", "sorted", "tuple"})
_LISTS |= {"itertools.chain", "itertools.cycle", "itertools.islice"}
_ONES = frozenset({"max", "min", "next", "random.choice"})
_SAME = frozenset({"copy.copy", "copy.deepcopy"})
# Rows within rows, as `enumerate(zip(...))` makes them; deeper ones would not come to an end.
_DEEPEST = 2


def _held(values: Iterable[Value]) -> frozenset[Element]:
    return frozenset(value for value in values if isinstance(value, _PLAIN))


def elements_of(values: Iterable[Value], kind: str = "list") -> Values:
    """Return a container with such elements; nothing, if nothing is known of them."""
    held = _held(values)
    return frozenset({Elements(held, kind)}) if held else NOTHING


def display(values: Iterable[Value], kind: str = "list") -> Values:
    """Return the container that a program writes down, whether its elements are known or not."""
    return frozenset({Elements(_held(values), kind)})


def opened(values: Iterable[Value]) -> Values:
    """Return what iterating some containers may give. Of the keys of a ``dict`` nothing is known."""
    return _inside(value for value in values if isinstance(value, Elements) and value.kind != "dict")


def subscripted(values: Iterable[Value]) -> Values:
    """Return what a place or a key of some containers may give."""
    return _inside(values)


def _inside(values: Iterable[Value]) -> Values:
    return frozenset(inner for value in values if isinstance(value, Elements) for inner in value.of)


def at_place(values: Iterable[Value], place: int) -> Values:
    """Return what a target among several gets, by its place."""
    found: set[Value] = set()
    for value in values:
        if isinstance(value, Elements):
            found |= opened({value})
        elif isinstance(value, Row) and place < len(value.parts):
            found |= value.parts[place]
    return frozenset(found)


def method(of: Elements, name: str) -> Values:
    """Return a method of a container, if it is one that matters."""
    return frozenset({Method(of, name)}) if name in _METHODS else NOTHING


def from_method(called: Method) -> Values:
    """Return what a method of a container gives."""
    inner = called.of
    if called.name == "items":
        return _rows([NOTHING, inner.of])
    if called.name == "values":
        return frozenset({Elements(inner.of)})
    if called.name == "copy":
        return frozenset({inner})
    return frozenset(inner.of) if called.name in _GIVING else NOTHING


def grown(called: Iterable[Value], arguments: Sequence[Values]) -> Values:
    """Return what containers are after a method put something into them."""
    found: set[Value] = set()
    for value in called:
        if isinstance(value, Method) and value.name in GROWING and arguments:
            is_many = value.name in ("extend", "update")
            added = subscripted(arguments[-1]) if is_many else arguments[-1]
            if held := _held(added):
                found.add(Elements(value.of.of | held, value.of.kind))
    return frozenset(found)


def from_builtin(path: str, arguments: Sequence[Values]) -> Values:
    """Return what a function of Python gives that takes containers.

    Args:
        path: Such as ``builtins.enumerate``.
        arguments: What it is called with, by place.
    """
    name = path.removeprefix("builtins.")
    first = arguments[0] if arguments else NOTHING
    if name == "enumerate":
        return _rows([NOTHING, opened(first)])
    if name == "zip":
        return _rows([opened(argument) for argument in arguments])
    if name in _LISTS:
        iterated = arguments if name == "itertools.chain" else arguments[1:] if name == "filter" else [first]
        return display(()) if name == "map" else display(value for one in iterated for value in opened(one))
    if name == "dict":
        return first or display((), "dict")
    if name in _ONES:
        return opened(first)
    return first if name in _SAME else NOTHING


def _rows(parts: Sequence[Values]) -> Values:
    row = Row(tuple(frozenset(value for value in _held(part) if _depth(value) < _DEEPEST) for part in parts))
    return frozenset({Elements(frozenset({row}))}) if any(row.parts) else NOTHING


def _depth(value: Element) -> int:
    inner = [one for part in value.parts for one in part] if isinstance(value, Row) else []
    return max(map(_depth, inner), default=0) + isinstance(value, Row)
