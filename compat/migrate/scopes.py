"""Scopes: which names a function, class or module binds, and what they are at a point of the program."""

import ast
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from compat.migrate.values import NOTHING, Facts, Local, Values

__all__ = ["Env", "Scope", "bound_names", "constants", "merge", "statements"]

Env = dict[str, Values]
Bound = tuple[frozenset[str], dict[str, str]]
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


@dataclass
class Scope:
    """One scope while it is read.

    Attributes:
        kind: ``module``, ``class``, ``function``, or ``inline`` for a comprehension or a lambda.
        key: Under which the facts keep what its names ever were.
        parent: The scope round it.
        bound: The names that it binds anywhere in its body, but for ``global`` and ``nonlocal`` ones.
        declared: Its ``global`` and ``nonlocal`` names.
        env: What its names are at the point that is being read.
        local: The class, for ``class``; for a method, the class that it is defined in.
        is_closed: Whether its body has been read to the end.
        constants: What its names are that are assigned once, and by an expression.
    """

    kind: str
    key: tuple[str, int, int, str]
    parent: "Scope | None" = None
    bound: set[str] = field(default_factory=set)
    declared: dict[str, str] = field(default_factory=dict)
    env: Env = field(default_factory=dict)
    local: Local | None = None
    is_closed: bool = False
    constants: dict[str, ast.expr] = field(default_factory=dict)

    def look_up(self, name: str, facts: Facts) -> Values | None:
        """Return what a name is here; None if no scope binds it."""
        scope: Scope | None = self._home(name)
        is_first = True
        while scope is not None:
            skipped = scope.kind == "class" and not is_first
            if not skipped and (found := scope._own(name, facts)) is not None:
                return found
            is_first = False
            scope = scope.parent
        return None

    def _own(self, name: str, facts: Facts) -> Values | None:
        is_remote = (self.key, name) in facts.remote
        if name not in self.bound and name not in self.env and not is_remote:
            return None
        ever = frozenset(facts.names.get(self.key, {}).get(name, NOTHING))
        if self.is_closed:
            # A function runs later: it may meet whatever the name ever is.
            return ever
        if is_remote:
            return ever | self.env.get(name, NOTHING)
        if self.kind == "class":
            # Before it is bound in the class, the name is the one outside.
            return self.env.get(name)
        return self.env.get(name, NOTHING)

    def _home(self, name: str) -> "Scope":
        """Return the scope in which a name is written: another one, if it is declared global or nonlocal."""
        declared = self.declared.get(name)
        if declared is None or self.parent is None:
            return self
        scope = self.parent
        while scope.parent is not None and (
            declared == "global" or not (scope.kind == "function" and name in scope.bound)
        ):
            scope = scope.parent
        return scope

    def constant(self, name: str) -> ast.expr | None:
        """Return the expression that a name stands for, if it is assigned once."""
        home = self.holder(name)
        return home.constants.get(name) if home else None

    def holder(self, name: str) -> "Scope | None":
        """Return the scope whose name this is when it is read."""
        scope: Scope | None = self
        while scope is not None and not (name in scope.bound or name in scope.env):
            scope = scope.parent
        return scope

    def bind(self, name: str, values: Values, facts: Facts) -> None:
        """Let a name be something from here on."""
        home = self._home(name)
        if home is not self:
            facts.remote.add((home.key, name))
        else:
            self.env[name] = values
        known = facts.names.setdefault(home.key, {}).setdefault(name, set())
        facts.learn(known, values)


def merge(first: Env, second: Env) -> Env:
    """Return what names may be where two ways through the program meet."""
    names = {*first, *second}
    return {name: first.get(name, NOTHING) | second.get(name, NOTHING) for name in names}


def statements(body: Iterable[ast.stmt]) -> Iterator[ast.AST]:
    """Yield all nodes of a body that belong to its own scope, nested scopes as one node each."""
    queue: list[ast.AST] = list(body)
    while queue:
        node = queue.pop()
        yield node
        if isinstance(node, ast.comprehension):
            # Its target is a name of the comprehension alone.
            queue += [node.iter, *node.ifs]
        elif not isinstance(node, _SCOPES):
            queue.extend(ast.iter_child_nodes(node))


def bound_names(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> Bound:
    """Return the names that a body binds, and those that it declares global or nonlocal.

    They are kept at the node: a file is read several times.
    """
    known: Bound | None = getattr(node, "bound_names", None)
    if known is None:
        known = _bound_names(node.body)
        node.bound_names = known  # type: ignore[union-attr]
    return known


def _bound_names(body: Iterable[ast.stmt]) -> Bound:
    bound: set[str] = set()
    declared: dict[str, str] = {}
    for node in statements(body):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                bound.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                bound.add(name)
            case ast.Import(names=names):
                bound.update(alias.asname or alias.name.split(".")[0] for alias in names)
            case ast.ImportFrom(names=names):
                bound.update(alias.asname or alias.name for alias in names if alias.name != "*")
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                bound.add(name)
            case ast.MatchMapping(rest=str(name)):
                bound.add(name)
            case ast.Global(names=names):
                declared.update(dict.fromkeys(names, "global"))
            case ast.Nonlocal(names=names):
                declared.update(dict.fromkeys(names, "nonlocal"))
    return frozenset(bound - set(declared)), declared


def constants(node: ast.Module | ast.FunctionDef | ast.AsyncFunctionDef) -> dict[str, ast.expr]:
    """Return the names of a body that are assigned once, and by an expression: they are kept at the node."""
    known: dict[str, ast.expr] | None = getattr(node, "constants", None)
    if known is None:
        known = _constants(node)
        node.constants = known  # type: ignore[union-attr]
    return known


def _constants(node: ast.Module | ast.FunctionDef | ast.AsyncFunctionDef) -> dict[str, ast.expr]:
    inner = list(statements(node.body))
    stored = Counter(part.id for part in inner if isinstance(part, ast.Name) and not isinstance(part.ctx, ast.Load))
    stored.update(part.asname or part.name for part in inner if isinstance(part, ast.alias))
    # A function in it may write to it as well; that a name is a parameter somewhere is enough to leave it alone.
    elsewhere = {name for part in ast.walk(node) if isinstance(part, ast.Global | ast.Nonlocal) for name in part.names}
    taken = {part.arg for part in ast.walk(node) if isinstance(part, ast.arg)}
    found: dict[str, ast.expr] = {}
    for part in inner:
        match part:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                if stored[name] == 1 and name not in elsewhere and name not in taken:
                    found[name] = value
    return found
