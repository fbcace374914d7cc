"""Attributes that are named by a string: ``getattr``, ``setattr``, ``vars``, and the patches of tests."""

import ast
from typing import TYPE_CHECKING

from compat.migrate.values import NOTHING, Instance, Local, Parents, Thing, Values

if TYPE_CHECKING:
    from compat.migrate.expressions import Expressions

__all__ = ["GETTERS", "is_lookup", "is_patch", "leave_open", "read_getter", "read_patch"]

GETTERS = frozenset({"builtins.getattr", "builtins.hasattr", "builtins.setattr", "builtins.delattr"})
# Functions of any library that take a dotted path and look up what it leads to.
_LOOKUPS = frozenset(
    [
        "delattr",
        "get_class",
        "get_object",
        "import_class",
        "import_from_string",
        "import_module",
        "import_object",
        "import_string",
        "load_class",
        "load_object",
        "locate",
        "multiple",
        "object",
        "patch",
        "resolve_name",
        "setattr",
    ]
)


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def is_lookup(function: ast.expr) -> bool:
    """Tell whether a function is one that looks up what a dotted path leads to."""
    return _last_name(function) in _LOOKUPS


def is_patch(function: ast.expr) -> bool:
    """Tell whether a function is ``mock.patch.object``, or ``monkeypatch.setattr`` and its like."""
    if not isinstance(function, ast.Attribute):
        return False
    return (function.attr == "object" and _last_name(function.value) == "patch") or function.attr in (
        "setattr",
        "delattr",
    )


def _text(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def read_patch(reader: "Expressions", node: ast.Call, arguments: list[Values]) -> None:
    """Read what a test puts in the place of an attribute as a use of it."""
    if len(node.args) < 2 or (name := _text(node.args[1])) is None:
        return
    # A patch may make an attribute if it is told to.
    reader.recorder.is_asking = any(keyword.arg in ("create", "raising") for keyword in node.keywords)
    found = reader.attribute_of(arguments[0], name, node.args[1], None)
    for value in found:
        if isinstance(value, Thing):
            reader.recorder.use("reference", value.target, node.args[1])
    reader.recorder.is_asking = False


def read_getter(reader: "Expressions", node: ast.Call, function: str, arguments: list[Values]) -> Values:
    """Read ``getattr`` and its likes as the attribute that they name.

    Args:
        reader: Where the call stands.
        node: The call.
        function: Its name.
        arguments: What it is called with.
    """
    if len(node.args) < 2 or not any(isinstance(value, Thing | Instance | Parents | Local) for value in arguments[0]):
        return NOTHING
    name = _text(node.args[1])
    if name is None:
        if function == "setattr":
            leave_open(reader, arguments[0])
        if any(isinstance(value, Thing) for value in arguments[0]):
            reader.recorder.remark("An attribute is taken by a name that is computed: which one is not known.", node)
        return NOTHING
    if function == "setattr":
        reader.store(arguments[0], name, arguments[2] if len(arguments) > 2 else NOTHING)
    # Whoever asks before, or has something else at hand, may ask for what is not there.
    reader.recorder.is_asking = function == "hasattr" or (function == "getattr" and len(node.args) > 2)
    found = reader.attribute_of(arguments[0], name, node, None)
    for value in found:
        if isinstance(value, Thing):
            reader.recorder.use("reference", value.target, node)
    reader.recorder.is_asking = False
    return found


def leave_open(reader: "Expressions", values: Values) -> None:
    """Note that objects may get attributes that nobody sees here."""
    for value in values:
        match value:
            case (Local() as local) | Instance(of=Local() as local) | Parents(of=local):
                reader.facts.open(local)
            case Thing(target=target) | Instance(of=Thing(target=target)) if target.row:
                reader.facts.store(target.row, "*")
