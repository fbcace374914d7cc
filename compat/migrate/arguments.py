"""Arguments: those of calls and of overrides of which the table has something to say."""

import ast
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from compat._surface import Name, surface
from compat.migrate import guards, own
from compat.migrate.names import Target, Verdict
from compat.migrate.values import NOTHING, Elements, Instance, Local, Member, Partial, Thing, Value, Values

if TYPE_CHECKING:
    from compat.migrate.expressions import Expressions

__all__ = ["check_call", "check_override"]

# `parameter`, `parameter=value`, `parameter: kind`, `#3`, `#3: kind`, and in `member(...)` the same or nothing.
_KEY = re.compile(
    r"(?:(?P<member>\w+)\()?(?P<parameter>#\d+|\w*)"
    r"(?:(?P<given>=(?P<value>[^()]*))|: (?P<kinds>\w+(?: \| \w+)*))?\)?"
)
_DISPLAYS = (
    (ast.List | ast.ListComp | ast.Tuple, "list"),
    (ast.Dict | ast.DictComp, "dict"),
    (ast.Set | ast.SetComp, "set"),
    (ast.Lambda, "function"),
    (ast.JoinedStr, "str"),
)
# Names that stand for names that stand for names: no program goes further.
_DEEPEST = 5
_PROCESSES = "gpu_mode='ddp'"


def check_call(reader: "Expressions", value: Value, node: ast.Call, known: Mapping[ast.expr, Values]) -> None:
    """Note the arguments of a call of which the table has something to say.

    Args:
        reader: Where the call stands.
        value: What is called.
        node: The call.
        known: What is known of its arguments.
    """
    match value:
        case Thing(target=target) if target.kind == "name":
            _check(reader, _rows(target.row), "__init__" if target.is_class else "", node, known)
        case Thing(target=target) | Member(target=target) if target.kind == "member":
            rows = _rows(target.row, target.path.rpartition(".")[0])
            _check(reader, rows, target.member, node, known, takes_self=isinstance(value, Thing))
            if target.member == "fit" and any(_is_made_with(reader, row, _PROCESSES, node.func) for row in rows):
                guards.remark_on_import(reader, node)
        case Local() if not any("__init__" in made.body for _, made in reader.facts.lineage(value)):
            for base in reader.facts.old_bases(value)[:1]:
                _check(reader, _rows(base.target.row), "__init__", node, known)
        case Partial(of=of, places=places):
            later = ast.copy_location(ast.Call(node.func, [] if places else node.args, node.keywords), node)
            check_call(reader, of, later, known)


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


def _check(
    reader: "Expressions",
    rows: list[Name],
    member: str,
    node: ast.Call,
    known: Mapping[ast.expr, Values],
    *,
    takes_self: bool = False,
) -> None:
    keys = list(_keys(rows, member))
    if not keys:
        return
    given = _arguments(rows[-1], member, node, takes_self)
    for row, key, found in keys:
        argument = node.func if found["parameter"] == "" and not given else given.get(found["parameter"])
        if argument is None:
            continue
        if (told := row.arguments[key].follows) and _is_made_with(reader, row, told, node.func):
            _note(reader, row, key, argument, follows=told)
        else:
            _judge(reader, row, key, found, argument, known.get(argument, NOTHING))
    _unseen(reader, keys, node)


def _judge(
    reader: "Expressions", row: Name, key: str, found: "re.Match[str]", argument: ast.expr, values: Values
) -> None:
    """Note an argument if it is what the table means, and remark on one that may be."""
    meant = [_is_meant(found, leaf, values) for leaf in _leaves(reader, argument)]
    if any(meant):
        _note(reader, row, key, argument)
    elif None in meant:
        said = row.arguments[key]
        if "#" in key and said.versions:
            _remark_place(reader, row, key, argument)
        else:
            text = f"{row.short}({key}) is {said.status}: whether it is meant is computed when the program runs."
            reader.recorder.remark(text, argument)


def _leaves(reader: "Expressions", node: ast.expr, depth: int = 0) -> Iterator[ast.expr]:
    """Yield what an expression may stand for: both ways of a condition, and what a constant was assigned."""
    if isinstance(node, ast.IfExp):
        for way in (node.body, node.orelse):
            yield from _leaves(reader, way, depth)
        return
    constant = reader.scope.constant(node.id) if isinstance(node, ast.Name) and depth < _DEEPEST else None
    if constant is None:
        yield node
    else:
        yield from _leaves(reader, constant, depth + 1)


def _is_meant(found: "re.Match[str]", argument: ast.expr, values: Values) -> bool | None:
    """Tell whether an argument is what the table means; None if that cannot be told."""
    if found["given"]:
        return _is_value(argument, found["value"]) if isinstance(argument, ast.Constant) else None
    if not found["kinds"]:
        # A place that meant something else in older versions tells nothing of the value.
        return None if "#" in found["parameter"] else True
    kind = _kind_of(argument, values)
    return None if kind is None else kind in found["kinds"].split(" | ")


def _kind_of(argument: ast.expr, values: Values) -> str | None:
    """Return the kind of an argument, as the table calls it; None if it is not known."""
    if isinstance(argument, ast.Constant):
        return "None" if argument.value is None else type(argument.value).__name__
    if isinstance(argument, ast.UnaryOp) and isinstance(argument.operand, ast.Constant):
        return type(argument.operand.value).__name__
    for kinds, name in _DISPLAYS:
        if isinstance(argument, kinds):
            return name
    # What a member or something from elsewhere is, is not known.
    kinds_of = {
        value.kind if isinstance(value, Elements) else "object" if isinstance(value, Thing | Instance) else None
        for value in values
    }
    return kinds_of.pop() if len(kinds_of) == 1 else None


def _is_made_with(reader: "Expressions", row: Name, key: str, method: ast.expr) -> bool:
    """Tell whether the object whose method is called was made, as far as one sees, with an argument of the table."""
    found = _KEY.fullmatch(key)
    if found is None or not isinstance(method, ast.Attribute):
        return False
    for made in _leaves(reader, method.value):
        if isinstance(made, ast.Call):
            argument = _arguments(row, "__init__", made, takes_self=False).get(found["parameter"])
            leaves = _leaves(reader, argument) if argument is not None else ()
            if any(_is_meant(found, leaf, NOTHING) for leaf in leaves):
                return True
    return False


def _note(reader: "Expressions", row: Name, key: str, node: ast.AST, follows: str = "") -> None:
    said = row.arguments[key]
    shared = row.arguments.get(follows)
    # What can be used is said of that argument, at its own place; what cannot is said again.
    is_harmless = shared is not None and shared.status == "differs"
    if shared is not None and not is_harmless:
        said = shared
    native = said.native or row.native
    verdict = Verdict(said.status, said.why, said.quirks, native, versions=said.versions, is_harmless=is_harmless)
    reader.recorder.argument(_full(row, key), verdict, node)


def _full(row: Name, key: str) -> str:
    return f"{row.old}.{key}" if key.endswith(")") else f"{row.old}({key})"


def _remark_place(reader: "Expressions", row: Name, key: str, node: ast.AST) -> None:
    """Remark on a place that meant something else in older versions: 1.8 has it as well."""
    said = row.arguments[key]
    name = _full(row, key).rpartition(".")[2]
    reader.recorder.remark(f"If it was written for AIToolbox {said.versions}: {name}: {said.why}", node)


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
            _note(reader, row, key, place)


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


def _is_value(argument: ast.Constant, value: str) -> bool:
    """Tell whether an argument is the value that the table names, which writes it with or without quotes."""
    given = argument.value
    return value in (repr(given), f'"{given!s}"') or (isinstance(given, str) and value == given)
