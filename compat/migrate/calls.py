"""Calls: what they give, and imports by name."""

import ast
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from compat.migrate import arguments, containers, dynamic, names, strings
from compat.migrate.names import Target
from compat.migrate.values import (
    NOTHING,
    Function,
    Instance,
    Local,
    Method,
    Outside,
    Parents,
    Partial,
    Thing,
    Value,
    Values,
)

if TYPE_CHECKING:
    from compat.migrate.expressions import Expressions

__all__ = ["read_call"]

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
_CODE = frozenset({"builtins.exec", "builtins.eval", "builtins.compile"})
# Callbacks that call a function with the loop.
_CALLED_WITH_LOOP = "aitoolbox.torchtrain.callbacks.basic.FunctionOnTrainLoop"
_LOOP = "aitoolbox.torchtrain.train_loop.train_loop.TrainLoop"


def read_call(reader: "Expressions", node: ast.Call) -> Values:
    """Read a call, and return what it may give."""
    called = reader.evaluate(node.func, is_called=True)
    outside = {value.path for value in called if isinstance(value, Outside)}
    if outside & _IMPORTERS and (node.args or node.keywords):
        return _import(reader, node, outside)
    _tell_lambdas(reader, called, node)
    given, known = _read_arguments(reader, node)
    if outside & _CODE and node.args and strings.mentions_package(node.args[0]):
        reader.recorder.remark("Code in a string speaks of AIToolbox: it is not read.", node)
    if dynamic.is_patch(node.func):
        dynamic.read_patch(reader, node, given)
    if getters := outside & dynamic.GETTERS:
        return dynamic.read_getter(reader, node, min(getters).removeprefix("builtins."), given)
    if "builtins.super" in outside:
        return _parents(reader, given)
    if "functools.partial" in outside and node.args:
        return _partial(reader, node, given[0], known)
    for value in sorted(called, key=repr):
        _note_call(reader, value, node, known)
    if isinstance(node.func, ast.Attribute):
        reader.grow(node.func.value, containers.grown(called, given))
    return frozenset(one for value in called for one in _gives(reader, value, node, given))


def _read_arguments(reader: "Expressions", node: ast.Call) -> tuple[list[Values], dict[ast.expr, Values]]:
    """Return what is known of the arguments: by place, and of all of them by their expressions."""
    if dynamic.is_lookup(node.func):
        for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
            strings.read_looked_up(reader.recorder, argument)
    is_log = getattr(node.func, "attr", getattr(node.func, "id", "")) in ("getLogger", "get_logger")
    # Loggers are called like the modules that they belong to.
    given = [reader.evaluate(one) for one in node.args if not (is_log and isinstance(one, ast.Constant))]
    known = dict(zip(node.args, given, strict=False))
    known |= {keyword.value: reader.evaluate(keyword.value) for keyword in node.keywords}
    return given, known


def _tell_lambdas(reader: "Expressions", called: Values, node: ast.Call) -> None:
    """Let the function of a ``FunctionOnTrainLoop`` know what it is called with."""
    if not any(isinstance(value, Thing) and value.target.path == _CALLED_WITH_LOOP for value in called):
        return
    loop: Values = frozenset({Instance(Thing(names.find(_LOOP)))})
    named = [keyword.value for keyword in node.keywords if keyword.arg == "fn_to_execute"]
    for function in (node.args[:1] or named)[:1]:
        reader.lambdas[id(function)] = loop
        if isinstance(function, ast.Name | ast.Attribute):
            for value in reader.values(function):
                if isinstance(value, Function):
                    reader.facts.give(value, 0, loop)


def _note_call(reader: "Expressions", value: Value, node: ast.Call, known: Mapping[ast.expr, Values]) -> None:
    """Note what a call says of the old library: its arguments, and what is called without being named."""
    match value:
        case Function() if value.file == reader.file:
            _give(reader, value, node, known)
        case Instance(of=Thing() | Local()):
            # `loop(3)` is `loop.__call__(3)`.
            for member in reader.attribute_of(frozenset({value}), "__call__", node, None):
                arguments.check_call(reader, member, node, known)
        case _:
            if isinstance(value, Local):
                _note_stand_in(reader, value, node.func)
            arguments.check_call(reader, value, node, known)


def _note_stand_in(reader: "Expressions", local: Local, node: ast.expr) -> None:
    """Note that an object of a subclass is made, where it descends from a class that is not served."""
    for base in reader.facts.old_bases(local):
        if names.verdict(base.target).status in ("later", "refused"):
            reader.recorder.use("reference", base.target, node, is_called=True)


def _give(reader: "Expressions", function: Function, node: ast.Call, known: Mapping[ast.expr, Values]) -> None:
    """Learn what a function of this file is called with."""
    if function.is_method and not (
        isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name) and node.func.value.id == "self"
    ):
        # It may be called with or without its first argument.
        reader.facts.give(function, "*", NOTHING)
        return
    is_spread = any(isinstance(argument, ast.Starred) for argument in node.args)
    if is_spread or any(keyword.arg is None for keyword in node.keywords):
        reader.facts.give(function, "*", NOTHING)
    for place, argument in enumerate(node.args):
        reader.facts.give(function, place, known.get(argument, NOTHING))
    for keyword in node.keywords:
        if keyword.arg is not None:
            reader.facts.give(function, keyword.arg, known.get(keyword.value, NOTHING))


def _partial(reader: "Expressions", node: ast.Call, function: Values, known: Mapping[ast.expr, Values]) -> Values:
    """Read ``functools.partial`` as a call that is finished later."""
    first, *places = node.args
    call = ast.copy_location(ast.Call(first, places, node.keywords), node)
    reader.note(function, first, is_called=True)
    made: set[Value] = set()
    for value in sorted(function, key=repr):
        arguments.check_call(reader, value, call, known)
        if isinstance(value, Local) or (isinstance(value, Thing) and value.target.is_class):
            made.add(Partial(value, len(places)))
    return frozenset(made)


def _gives(reader: "Expressions", value: Value, node: ast.Call, given: Sequence[Values]) -> Iterable[Value]:
    match value:
        case Function():
            return frozenset(reader.facts.returns.get(value.key, ()))
        case Partial(of=of):
            return _made(frozenset({of}))
        case Method():
            return containers.from_method(value)
        case Outside(path="typing.cast") if node.args:
            is_text = isinstance(node.args[0], ast.Constant)
            return reader.annotation(node.args[0]) if is_text else _made(given[0])
        case Outside(path="builtins.vars") if given:
            dynamic.leave_open(reader, given[0])
            return NOTHING
        case Outside(path=path):
            return containers.from_builtin(path, given)
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
        strings.read_looked_up(reader.recorder, argument)
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


def _parents(reader: "Expressions", given: Sequence[Values]) -> Values:
    named = [value for value in (given[0] if given else ()) if isinstance(value, Local)]
    local = named[0] if named else reader.scope.local
    return frozenset({Parents(local)}) if local else NOTHING
