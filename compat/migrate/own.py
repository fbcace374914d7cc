"""What our own classes have, read from our source files: the table lists only what is not plainly the same.

Reading them with ``ast`` keeps the check free of torch.
"""

import ast
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib import resources
from itertools import chain

from compat._surface import surface

__all__ = ["Members", "class_members", "old_path", "signature"]

_FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
# Bases that bring no members a program would use.
_PLAIN = frozenset({"ABC", "object"})
# Bases of Python's own that bring members, under the names that our modules import them by.
_COLLECTIONS = {kind.__name__: kind for kind in (Mapping, MutableMapping, Sequence)}


@dataclass
class Members:
    """The members of a class, those of its bases included.

    Attributes:
        owners: For each member, the path of the class of ours that defines it.
        types: For some members, the path of the class of ours that their value is an instance of.
        signatures: For each method, its parameters without ``self``.
        is_open: Whether there may be more members than are known, from a base that is not ours.
    """

    owners: dict[str, str] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    signatures: dict[str, tuple[str, ...]] = field(default_factory=dict)
    is_open: bool = False


@lru_cache(maxsize=1)
def _old_paths() -> dict[str, str]:
    rows = sorted(surface().names.values(), key=lambda row: not row.versions)
    # A row that 1.8 has comes last and wins.
    return {row.ours: row.old for row in rows if row.ours}


def old_path(ours: str) -> str:
    """Return the path in AIToolbox 1.8 of what lives here under a path, or nothing."""
    return _old_paths().get(ours, "")


@cache
def class_members(ours: str) -> Members | None:
    """Read the members of a class of ours.

    Args:
        ours: Its path, such as ``compat.train_loop.TrainLoop``.

    Returns:
        None if no class is found there.
    """
    module, _, name = ours.rpartition(".")
    tree = _tree(module)
    node = _definition(tree, name)
    if not isinstance(node, ast.ClassDef) or tree is None:
        return None
    imports = _imports(tree)
    found = Members()
    for base in reversed([base for base in node.bases if not (isinstance(base, ast.Name) and base.id in _PLAIN)]):
        kind = base.value if isinstance(base, ast.Subscript) else base
        if isinstance(kind, ast.Name) and kind.id in _COLLECTIONS:
            found.owners.update({name: ours for name in dir(_COLLECTIONS[kind.id]) if not name.startswith("_")})
        else:
            _inherit(found, _qualify(base, module, tree, imports))
    for statement in node.body:
        for member, annotation in _declared(statement):
            found.owners[member] = ours
            _note_type(found, member, annotation, module, tree, imports)
        if isinstance(statement, _FunctionNode):
            found.signatures[statement.name] = _parameters(statement)
    found.is_open |= "__getattr__" in found.owners
    return found


@cache
def signature(ours: str) -> tuple[str, ...] | None:
    """Read the parameters of a function of ours, or None if there is no function at that path."""
    module, _, name = ours.rpartition(".")
    node = _definition(_tree(module), name)
    return _parameters(node, skip=0) if isinstance(node, _FunctionNode) else None


@cache
def _tree(module: str) -> ast.Module | None:
    package, _, rest = module.partition(".")
    root = resources.files(package)
    parts = rest.split(".") if rest else []
    for candidate in ([*parts[:-1], f"{parts[-1]}.py"] if parts else ["__init__.py"], [*parts, "__init__.py"]):
        file = root.joinpath(*candidate)
        if file.is_file():
            return ast.parse(file.read_text(encoding="utf-8"))
    return None


def _definition(tree: ast.Module | None, name: str) -> ast.stmt | None:
    definitions = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [node for node in (tree.body if tree else ()) if isinstance(node, definitions) and node.name == name]
    return found[-1] if found else None


def _imports(tree: ast.Module) -> dict[str, str]:
    """Map what a module of ours imports from others of ours, for type checkers only included, to its path."""
    return {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "compat"
        for alias in node.names
    }


def _qualify(node: ast.expr, module: str, tree: ast.Module, imports: dict[str, str]) -> str:
    """Return the path of ours that an expression names; nothing if it names none."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
        node = ast.Name(node.value)
    if not isinstance(node, ast.Name):
        return ""
    if node.id in imports:
        return imports[node.id]
    return f"{module}.{node.id}" if _definition(tree, node.id) else ""


def _inherit(found: Members, base: str) -> None:
    inherited = class_members(base) if base else None
    if inherited is None:
        found.is_open = True
        return
    found.owners.update(inherited.owners)
    found.types.update(inherited.types)
    found.signatures.update(inherited.signatures)
    found.is_open |= inherited.is_open


def _declared(statement: ast.stmt) -> Iterator[tuple[str, ast.expr | None]]:
    """Yield the members that a statement of a class body makes, each with what tells its type."""
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        yield statement.target.id, statement.annotation
    elif isinstance(statement, ast.Assign):
        yield from ((target.id, None) for target in statement.targets if isinstance(target, ast.Name))
    elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        yield statement.name, None
        yield from _stored_on_self(statement)


def _stored_on_self(function: _FunctionNode) -> Iterator[tuple[str, ast.expr | None]]:
    for node in ast.walk(function):
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            continue
        value = node.value.func if isinstance(node.value, ast.Call) else None
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in chain.from_iterable(map(_flat, targets)):
            if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "self":
                yield target.attr, node.annotation if isinstance(node, ast.AnnAssign) else value


def _flat(target: ast.expr) -> Iterator[ast.expr]:
    """Yield the targets of an assignment, those of ``a, b = ...`` one by one."""
    if isinstance(target, ast.Tuple | ast.List):
        for part in target.elts:
            yield from _flat(part)
    else:
        yield target


def _note_type(
    found: Members, member: str, node: ast.expr | None, module: str, tree: ast.Module, imports: dict[str, str]
) -> None:
    path = _qualify(node, module, tree, imports) if node else ""
    if path and path.rpartition(".")[2][:1].isupper():
        found.types.setdefault(member, path)


def _parameters(function: _FunctionNode, skip: int = 1) -> tuple[str, ...]:
    is_static = any(isinstance(node, ast.Name) and node.id == "staticmethod" for node in function.decorator_list)
    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    return tuple(names[0 if is_static else skip :])
