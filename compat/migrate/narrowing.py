"""What a condition says of a name: ``isinstance(x, TrainLoop)`` where nothing else is known of ``x``."""

import ast
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from compat.migrate.values import Values

if TYPE_CHECKING:
    from compat.migrate.expressions import Expressions

__all__ = ["narrowed", "told_by"]

Told = dict[str, Values]


def told_by(reader: "Expressions", test: ast.expr) -> tuple[Told, Told]:
    """Return what names are where a condition holds, and where it does not."""
    match test:
        case ast.Call(func=ast.Name(id="isinstance"), args=[ast.Name(id=name), kind]):
            is_pythons = reader.scope.look_up("isinstance", reader.facts) is None
            found = reader.annotation(kind) if is_pythons and not reader.scope.look_up(name, reader.facts) else None
            return ({name: found} if found else {}), {}
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            holds, fails = told_by(reader, operand)
            return fails, holds
        case ast.BoolOp(op=ast.And(), values=parts):
            return _all(told_by(reader, part)[0] for part in parts), {}
        case ast.BoolOp(op=ast.Or(), values=parts):
            return {}, _all(told_by(reader, part)[1] for part in parts)
    return {}, {}


def _all(parts: Iterator[Told]) -> Told:
    return {name: values for part in parts for name, values in part.items()}


@contextmanager
def narrowed(reader: "Expressions", told: Mapping[str, Values]) -> Iterator[None]:
    """Let names be what a condition says of them, for as long as it holds and they are not bound anew."""
    before = {name: reader.scope.env.get(name) for name in told}
    reader.scope.env.update(told)
    yield
    for name, values in before.items():
        if reader.scope.env.get(name) != told[name]:
            continue
        if values is None:
            del reader.scope.env[name]
        else:
            reader.scope.env[name] = values
