"""Import statements: of the old library, of other checked files, and of everything else."""

import ast
from collections.abc import Iterable
from typing import TYPE_CHECKING

from compat._surface import surface
from compat.migrate import names
from compat.migrate.values import NOTHING, InProject, Leak, Outside, Thing, Value, Values

if TYPE_CHECKING:
    from compat.migrate.expressions import Expressions

__all__ = ["note_leak", "public_names", "read_import", "read_import_from"]

# The package that serves the old names: who imports from it is on the way already.
_OURS = "compat"


def read_import(reader: "Expressions", node: ast.Import) -> None:
    """Read ``import a.b.c`` and ``import a.b.c as x``."""
    for alias in node.names:
        first = alias.name.split(".")[0]
        if first in names.ROOTS:
            target = names.find(alias.name)
            reader.recorder.use("import", target, alias)
            bound = target if alias.asname else names.root(first)
            values: Values = frozenset({Thing(bound)}) if bound.kind in ("module", "name") else NOTHING
        else:
            values = _other(reader, alias)
        reader.scope.bind(alias.asname or first, values, reader.facts)


def _other(reader: "Expressions", alias: ast.alias) -> Values:
    project, file = reader.project, reader.file
    found = project.resolve(file, alias.name, 0) if alias.asname else project.packages(file, alias.name)
    if found:
        return frozenset({found})
    return frozenset({Outside(alias.name if alias.asname else alias.name.split(".")[0])})


def read_import_from(reader: "Expressions", node: ast.ImportFrom) -> None:
    """Read ``from a.b import c``, relative ones and star imports included."""
    module = node.module or ""
    if not node.level and module.split(".")[0] in names.ROOTS:
        for alias in node.names:
            _from_old(reader, module, alias)
        return
    found = reader.project.resolve(reader.file, module, node.level)
    for alias in node.names:
        if alias.name == "*":
            _project_star(reader, found, "." * node.level + module)
            continue
        values = _from_other(reader, found, module, alias, node.level)
        reader.scope.bind(alias.asname or alias.name, values, reader.facts)


def _from_old(reader: "Expressions", module: str, alias: ast.alias) -> None:
    if alias.name == "*":
        _old_star(reader, module, alias)
        return
    target = names.find(f"{module}.{alias.name}")
    reader.recorder.use("import", target, alias)
    values: Values = NOTHING
    if target.kind == "foreign":
        values = frozenset({Outside(target.path)})
    elif target.kind != "unknown":
        values = frozenset({Thing(target)})
    reader.scope.bind(alias.asname or alias.name, values, reader.facts)


def _old_star(reader: "Expressions", module: str, alias: ast.alias) -> None:
    target = names.find(module)
    reader.recorder.use("star import", target, alias)
    if target.kind != "module":
        return
    brought = names.star(target)
    scope = reader.scope
    for name, found in brought.names.items():
        scope.bind(name, frozenset({Thing(found)}), reader.facts)
    for name, path in brought.foreign.items():
        _bind_leak(reader, Leak(name, module, path))
    for name, path in brought.leaked.items():
        _bind_leak(reader, Leak(name, module, path, is_older=True))


def _bind_leak(reader: "Expressions", leak: Leak) -> None:
    """Bind what a star import gave away by accident, unless the file binds the name itself as well."""
    if leak.name in reader.scope.bound or leak.name in reader.scope.env:
        return
    values: set[Value] = {leak}
    if leak.path in surface().names:
        target = names.find(leak.path)
        written = f"{leak.module}.{leak.name}"
        values.add(Thing(names.Target(target.kind, target.path, written, target.row)))
    else:
        values.add(Outside(leak.path))
    reader.scope.bind(leak.name, frozenset(values), reader.facts)


def note_leak(reader: "Expressions", leak: Leak, kind: str, node: ast.expr) -> str:
    """Note the use of a name that only a star import gave away.

    Returns:
        The path of the leaked name as the program says it, if that is an error today; else nothing.
    """
    if not leak.is_older or reader.unread_stars:
        which = "AIToolbox 1.0 to 1.3" if leak.is_older else "the old library"
        others = f", or of {' or '.join(reader.unread_stars)}" if leak.is_older else ""
        text = f"{leak.name} comes from nowhere but the star import of {leak.module}, as {which} gave it away{others}: "
        reader.recorder.remark(f"{text}import {leak.path} itself.", node)
        return ""
    written = f"{leak.module}.{leak.name}"
    head, _, last = leak.path.rpartition(".")
    line = f"from {head} import {last}" if head else f"import {last}"
    line += f" as {leak.name}" if leak.name != last else ""
    why = "Only the star import of AIToolbox 1.0 to 1.3 gave it away; today it is a NameError."
    reader.recorder.refuse(kind, written, names.Verdict("refused", f"{why} Write: {line}.", native=line), node)
    return written


def public_names(body: Iterable[ast.stmt]) -> frozenset[str] | None:
    """Return what ``__all__`` of a module lists; None if it has none, or one that is computed."""
    found: set[str] | None = None
    for statement in body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
                found = _texts(value)
            case ast.AnnAssign(target=ast.Name(id="__all__"), value=ast.expr() as value):
                found = _texts(value)
            case ast.AugAssign(target=ast.Name(id="__all__"), value=value):
                more = _texts(value)
                found = None if found is None or more is None else found | more
    return None if found is None else frozenset(found)


def _texts(node: ast.expr) -> set[str] | None:
    try:
        return {str(text) for text in ast.literal_eval(node)}
    except (ValueError, TypeError, SyntaxError):
        # It is computed, from other modules as a rule.
        return None


def _project_star(reader: "Expressions", found: InProject | None, module: str) -> None:
    file = reader.project.file_of(found.path) if found else ""
    if module.split(".")[0] == _OURS:
        for name in names.distinctive():
            reader.scope.bind(name, frozenset({Outside(f"{_OURS}.{name}")}), reader.facts)
    elif not file:
        reader.unread_stars.append(module)
    public = reader.facts.public.get(file)
    for name, values in list(reader.facts.exports(file).items()):
        if name in public if public is not None else not name.startswith("_"):
            reader.scope.bind(name, frozenset(values), reader.facts)


def _from_other(reader: "Expressions", found: InProject | None, module: str, alias: ast.alias, level: int) -> Values:
    if found is None:
        written = "." * level + module
        _unresolved(reader, written, alias)
        return frozenset({Outside(f"{module}.{alias.name}")}) if not level else NOTHING
    values = reader.project.attribute(found.path, alias.name, reader.facts)
    for value in values:
        if isinstance(value, Thing):
            reader.recorder.use("import", value.target, alias)
    return values


def _unresolved(reader: "Expressions", module: str, alias: ast.alias) -> None:
    """Say of a name that is spelled like one of the old library, but comes from a module that was not read."""
    if alias.name in names.distinctive() and module.split(".")[0] != _OURS:
        reader.recorder.remark(
            f"{alias.name} comes from {module}, which is not among the checked files: "
            "whether it is AIToolbox's is not known.",
            alias,
        )
