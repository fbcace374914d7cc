"""Calls: what they give, the arguments of which the table has something to say, and imports by name."""

import ast
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from compat._surface import Name, surface
from compat.migrate import own, strings
from compat.migrate.names import Target, Verdict
from compat.migrate.values import (
    NOTHING,
    Function,
    Instance,
    Local,
    Member,
    Outside,
    Parents,
    Thing,
    Value,
    Values,
)

if TYPE_CHECKING:
    from compat.migrate.expressions import Expressions

__all__ = ["check_override", "read_call"]

_IMPORTERS = frozenset(
    {
        "builtins.__import__",
        "importlib.__import__",
        "importlib.import_module",
        "importlib.util.find_spec",
        "pkgutil.resolve_name",
        "pytest.importorskip",
    }
)
_GETTERS = frozenset({"builtins.getattr", "builtins.hasattr", "builtins.setattr", "builtins.delattr"})
_CODE = frozenset({"builtins.exec", "builtins.eval", "builtins.compile"})
# `parameter`, `parameter=value`, `#3`, and in `member(...)` the same or nothing.
_KEY = re.compile(r"(?:(?P<member>\w+)\()?(?P<parameter>#\d+|\w*)(?P<given>=(?P<value>[^()]*))?\)?")


def read_call(reader: "Expressions", node: ast.Call) -> Values:
    """Read a call, and return what it may give."""
    called = reader.evaluate(node.func)
    outside = {value.path for value in called if isinstance(value, Outside)}
    if outside & _IMPORTERS and (node.args or node.keywords):
        return _import(reader, node, outside)
    arguments = [reader.evaluate(argument) for argument in node.args]
    for keyword in node.keywords:
        reader.evaluate(keyword.value)
    if outside & _CODE and node.args and strings.mentions_package(node.args[0]):
        reader.recorder.remark("Code in a string speaks of AIToolbox: it is not read.", node)
    if outside & _GETTERS:
        return _get_attribute(reader, node, arguments)
    if outside & {"typing.cast"} and node.args:
        return reader.annotation(node.args[0]) if isinstance(node.args[0], ast.Constant) else _made(arguments[0])
    if "builtins.super" in outside:
        return _parents(reader, arguments)
    for value in sorted(called, key=repr):
        _check_arguments(reader, value, node)
    return frozenset(given for value in called for given in _given(reader, value))


def _given(reader: "Expressions", value: Value) -> Values:
    if isinstance(value, Function):
        return frozenset(reader.facts.returns.get((value.file, value.cell, value.line), set()))
    return _made(frozenset({value}))


def _made(values: Values) -> Values:
    """Return the instances that calling some classes makes."""
    return frozenset(
        Instance(value)
        for value in values
        if isinstance(value, Local) or (isinstance(value, Thing) and value.target.is_class)
    )


def _import(reader: "Expressions", node: ast.Call, outside: set[str]) -> Values:
    for argument in (*node.args[1:], *(keyword.value for keyword in node.keywords)):
        reader.evaluate(argument)
    named = {keyword.arg: keyword.value for keyword in node.keywords}
    path = node.args[0] if node.args else named.get("name", named.get("modname"))
    if path is None:
        return NOTHING
    package = node.args[1] if len(node.args) > 1 else named.get("package")
    found = strings.read_import(reader.recorder, path, package)
    if "builtins.__import__" in outside and len(node.args) < 4 and "fromlist" not in named:
        # Without a fromlist it gives the package that the path begins with.
        return frozenset(Thing(_root(value.target)) for value in found if isinstance(value, Thing))
    return NOTHING if "importlib.util.find_spec" in outside else found


def _root(target: Target) -> Target:
    first = target.written.split(".")[0]
    return Target("module", first, first, first)


def _get_attribute(reader: "Expressions", node: ast.Call, arguments: list[Values]) -> Values:
    """Read ``getattr`` and its likes as the attribute that they name."""
    if len(node.args) < 2 or not any(isinstance(value, Thing | Instance | Parents) for value in arguments[0]):
        return NOTHING
    name = node.args[1]
    if not isinstance(name, ast.Constant) or not isinstance(name.value, str):
        if any(isinstance(value, Thing) for value in arguments[0]):
            reader.recorder.remark("An attribute is taken by a name that is computed: which one is not known.", node)
        return NOTHING
    found = reader.attribute_of(arguments[0], name.value, node, None)
    for value in found:
        if isinstance(value, Thing):
            reader.recorder.use("reference", value.target, node)
    return found


def _parents(reader: "Expressions", arguments: list[Values]) -> Values:
    named = [value for value in (arguments[0] if arguments else ()) if isinstance(value, Local)]
    local = named[0] if named else reader.scope.local
    return frozenset({Parents(local)}) if local else NOTHING


def _check_arguments(reader: "Expressions", value: Value, node: ast.Call) -> None:
    match value:
        case Thing(target=target) if target.kind == "name":
            _check(reader, _rows(target.row), "__init__" if target.is_class else "", node)
        case Thing(target=target) | Member(target=target) if target.kind == "member":
            rows = _rows(target.row, target.path.rpartition(".")[0])
            _check(reader, rows, target.member, node, takes_self=isinstance(value, Thing))
        case Local() if not any("__init__" in known.body for _, known in reader.facts.lineage(value)):
            for base in reader.facts.old_bases(value)[:1]:
                _check(reader, _rows(base.target.row), "__init__", node)


def _rows(*paths: str) -> list[Name]:
    """Return the served names among some paths: of one that is not served nothing more needs to be said."""
    found = (surface().names.get(path) for path in dict.fromkeys(paths))
    return [row for row in found if row and row.is_served]


def _keys(rows: list[Name], member: str) -> Iterator[tuple[Name, str, "re.Match[str]"]]:
    for row in rows:
        for key in row.arguments:
            found = _KEY.fullmatch(key)
            if found and (found["member"] or "__init__") == (member or "__init__"):
                yield row, key, found


def _check(reader: "Expressions", rows: list[Name], member: str, node: ast.Call, *, takes_self: bool = False) -> None:
    """Note the arguments of a call of which the table has something to say."""
    keys = list(_keys(rows, member))
    if not keys:
        return
    given = _arguments(rows[-1], member, node, takes_self)
    for row, key, found in keys:
        argument = node.func if found["parameter"] == "" and not given else given.get(found["parameter"])
        if argument is None:
            continue
        if found["given"] and not _may_be(argument, found["value"]):
            if not isinstance(argument, ast.Constant):
                said = row.arguments[key]
                text = f"{row.short}({key}) is {said.status}: whether it is meant is computed when the program runs."
                reader.recorder.remark(text, argument)
            continue
        note_argument(reader, row, key, argument)
    _unseen(reader, keys, node)


def note_argument(reader: "Expressions", row: Name, key: str, node: ast.AST) -> None:
    """Note an argument.

    What stands in a place that meant something else in older versions is a remark: 1.8 has that place as well.
    """
    said = row.arguments[key]
    name = f"{row.old}.{key}" if key.endswith(")") else f"{row.old}({key})"
    if "#" in key and said.versions:
        reader.recorder.remark(
            f"If it was written for AIToolbox {said.versions}: {name.rpartition('.')[2]}: {said.why}", node
        )
        return
    verdict = Verdict(said.status, said.why, said.quirks, row.native, versions=said.versions)
    reader.recorder.argument(name, verdict, node)


def _unseen(reader: "Expressions", keys: list[tuple[Name, str, "re.Match[str]"]], node: ast.Call) -> None:
    listed = [key for row, key, _ in keys if not row.arguments[key].versions]
    if listed and any(keyword.arg is None for keyword in node.keywords):
        text = f"Arguments are passed with **: whether {', '.join(listed)} is among them is not known."
        reader.recorder.remark(text, node)


def check_override(reader: "Expressions", member: Target, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    """Note the parameters of an override of which the table has something to say."""
    arguments = node.args
    named = [*arguments.posonlyargs, *arguments.args][1:] + arguments.kwonlyargs
    taken: dict[str, ast.AST] = {argument.arg: argument for argument in named}
    for row, key, found in _keys(_rows(member.row, member.path.rpartition(".")[0]), member.member):
        is_bare = found["parameter"] == "" and not taken and not arguments.vararg
        place = node if is_bare else taken.get(found["parameter"])
        if place is not None:
            note_argument(reader, row, key, place)


def _arguments(row: Name, member: str, node: ast.Call, takes_self: bool) -> dict[str, ast.expr]:
    """Return the arguments of a call by the names of their parameters, as far as these are known."""
    given = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
    parameters: tuple[str, ...] | None
    if member:
        members = own.class_members(row.ours)
        parameters = members.signatures.get(member) if members else None
    else:
        parameters = own.signature(row.ours)
    positional = node.args[1:] if takes_self else node.args
    for number, argument in enumerate(positional, 1):
        if isinstance(argument, ast.Starred):
            break
        given[f"#{number}"] = argument
        if parameters and number <= len(parameters):
            given[parameters[number - 1]] = argument
    return given


def _may_be(argument: ast.expr, value: str) -> bool:
    """Tell whether an argument is the value that the table names, which writes it with or without quotes."""
    if not isinstance(argument, ast.Constant):
        return False
    given = argument.value
    return value in (repr(given), f'"{given!s}"') or (isinstance(given, str) and value == given)
