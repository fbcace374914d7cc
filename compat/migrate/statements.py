"""Reads a file statement by statement: what its names are at each point, and which uses of the old API are in it.

Ways through the program that may all be taken are read one after the other and merged. The body of a function is read
when the code round it has been read to its end, since it runs later.
"""

import ast
from collections.abc import Callable, Iterable, Sequence

from compat.migrate import arguments, imports, names, narrowing
from compat.migrate.containers import elements_of, opened
from compat.migrate.expressions import Expressions
from compat.migrate.scopes import Scope, bound_names, constants, merge
from compat.migrate.sources import Chunk
from compat.migrate.values import (
    NOTHING,
    Elements,
    Function,
    Instance,
    Local,
    LocalClass,
    Outside,
    Value,
    Values,
)

__all__ = ["Reader"]

_FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
# Decorators that leave what a function returns as it is.
_HARMLESS = frozenset({"abstractmethod", "cache", "classmethod", "lru_cache", "override", "staticmethod", "wraps"})
# These give what the function yields, to `with`.
_HARMLESS |= {"asynccontextmanager", "contextmanager"}
# Loops within loops are read once only from this depth on: each level doubles the work.
_REPEATED_LOOPS = 4
_PROPERTIES = frozenset({"cached_property", "property"})


class Reader(Expressions):
    """Reads one file. It takes what ``Expressions`` takes."""

    def read(self, chunks: Sequence[Chunk]) -> None:
        """Read a script, or the cells of a notebook in their order.

        Args:
            chunks: What was parsed; the cells of a notebook share one module.
        """
        self._later: list[tuple[Chunk, Callable[[], None]]] = []
        self._loops = 0
        for chunk in chunks:
            bound, _ = bound_names(chunk.tree)
            self.scope.bound |= bound
            self.scope.constants |= constants(chunk.tree)
            public = imports.public_names(chunk.tree.body)
            if public is not None and self.file not in self.facts.public:
                self.facts.public[self.file] = public
                self.facts.size += 1
        for chunk in chunks:
            self.recorder.chunk = chunk
            self.block(chunk.tree.body)
        module = self.scope
        module.is_closed = True
        while self._later:
            self.recorder.chunk, body = self._later.pop(0)
            body()
            self.scope = module

    def block(self, body: Iterable[ast.stmt]) -> bool:
        """Read statements in order.

        Returns:
            Whether the end can be reached: not past a ``return`` or ``raise``.
        """
        reaches = True
        for statement in body:
            # What cannot be reached is read all the same: a use is a use.
            reaches = self._statement(statement) and reaches
        return reaches

    def _statement(self, node: ast.stmt) -> bool:
        match node:
            case ast.Import():
                imports.read_import(self, node)
            case ast.ImportFrom():
                imports.read_import_from(self, node)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._function(node)
            case ast.ClassDef():
                self._class(node)
            case ast.Assign(targets=targets, value=value):
                self._assignment(targets, value)
            case ast.AnnAssign(target=target, annotation=annotation, value=value):
                found = self.annotation(annotation) | self.evaluate(value)
                self.assign(target, found)
            case ast.AugAssign(target=target, value=value):
                self.evaluate(value)
                self.assign(target, self._augmented(target, value))
            case ast.Expr(value=ast.Constant(value=str())):
                return True  # A docstring, or another text that nobody reads at run time.
            case ast.Return(value=value):
                self.returned(self.evaluate(value))
                return False
            case ast.Raise():
                self._children(node)
                return False
            case ast.Assert(test=test, msg=said):
                self.evaluate(test)
                self.evaluate(said)
                self.scope.env.update(narrowing.told_by(self, test)[0])
            case (
                ast.If()
                | ast.For()
                | ast.AsyncFor()
                | ast.While()
                | ast.Try()
                | ast.With()
                | ast.AsyncWith()
                | ast.Match()
            ):
                return self._compound(node)
            case ast.Delete(targets=targets):
                for deleted in targets:
                    self.assign(deleted, NOTHING)
            case _ if hasattr(node, "handlers"):
                return self._try(node)  # `try` with `except*`
            case _:
                self._children(node)
        return True

    def _children(self, node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self.evaluate(child)

    def _augmented(self, target: ast.expr, value: ast.expr) -> Values:
        # `callbacks += [EarlyStopping()]`: the elements of both.
        if not isinstance(target, ast.Name):
            return NOTHING
        before = self.scope.look_up(target.id, self.facts) or NOTHING
        return before if isinstance(value, ast.List | ast.Tuple) else NOTHING

    def _assignment(self, targets: list[ast.expr], value: ast.expr) -> None:
        if (
            isinstance(value, ast.Tuple | ast.List)
            and len(targets) == 1
            and isinstance(targets[0], ast.Tuple | ast.List)
        ):
            parts = targets[0].elts
            if len(parts) == len(value.elts) and not any(
                isinstance(part, ast.Starred) for part in (*parts, *value.elts)
            ):
                for part, found in zip(parts, [self.evaluate(element) for element in value.elts], strict=True):
                    self.assign(part, found)
                return
        found = self.evaluate(value)
        for target in targets:
            self.assign(target, found)

    def _compound(self, node: ast.stmt) -> bool:
        match node:
            case ast.If(test=test, body=body, orelse=orelse):
                self.evaluate(test)
                return self._if(test, body, orelse)
            case (
                ast.For(target=target, iter=iterated, body=body, orelse=orelse)
                | ast.AsyncFor(target=target, iter=iterated, body=body, orelse=orelse)
            ):
                elements = opened(self.evaluate(iterated))
                self._loop(body, lambda: self.assign(target, elements))
                return self.block(orelse)
            case ast.While(test=test, body=body, orelse=orelse):
                self._loop(body, lambda: self.evaluate(test))
                return self.block(orelse)
            case ast.With(items=items, body=body) | ast.AsyncWith(items=items, body=body):
                for item in items:
                    found = self._entered(self.evaluate(item.context_expr))
                    if item.optional_vars is not None:
                        self.assign(item.optional_vars, found)
                return self.block(body)
            case ast.Match():
                return self._match(node)
        return self._try(node)

    def _if(self, test: ast.expr, body: list[ast.stmt], orelse: list[ast.stmt]) -> bool:
        """Read both ways, each with what the condition says of it."""
        told = narrowing.told_by(self, test)
        reached: list[bool] = []

        def way(number: int, statements: list[ast.stmt]) -> Callable[[], bool]:
            def read() -> bool:
                with narrowing.narrowed(self, told[number]):
                    reached.append(self.block(statements))
                return reached[-1]

            return read

        reaches = self._branches([way(0, body), way(1, orelse)])
        if reached[0] != reached[1]:
            # Only one way leads on, and what it says holds from here on.
            self.scope.env.update(told[reached.index(True)])
        return reaches

    def _entered(self, values: Values) -> Values:
        """Return what ``with`` gives: an object of the program may say so itself, and a generator yields it."""
        found: set[Value] = set()
        for value in values:
            if isinstance(value, Elements):
                found |= value.of
                continue
            local = value.of if isinstance(value, Instance) and isinstance(value.of, Local) else None
            lineage = self.facts.lineage(local) if local else ()
            enters = next((made.attributes["__enter__"] for _, made in lineage if "__enter__" in made.body), None)
            for entered in enters if enters is not None else ():
                found |= self.facts.returns.get(entered.key, set()) if isinstance(entered, Function) else set()
            if enters is None:
                found.add(value)
        return frozenset(found)

    def _branches(self, branches: Sequence[Callable[[], bool]]) -> bool:
        """Read ways of which one is taken, and merge what they leave."""
        before = self.scope.env
        left = []
        for branch in branches:
            self.scope.env = dict(before)
            if branch():
                left.append(self.scope.env)
        self.scope.env = before if not left else left[0]
        for env in left[1:]:
            self.scope.env = merge(self.scope.env, env)
        return bool(left)

    def _loop(self, body: list[ast.stmt], start: Callable[[], object]) -> None:
        """Read the body of a loop, twice where the first time changed what a name may be, and not too often in all."""
        self._loops += 1
        for _ in range(2 if self._loops <= _REPEATED_LOOPS else 1):
            before = dict(self.scope.env)
            start()
            self.block(body)
            self.scope.env = merge(before, self.scope.env)
            if all(self.scope.env[name] == before.get(name, NOTHING) for name in self.scope.env):
                break
        self._loops -= 1

    def _match(self, node: ast.Match) -> bool:
        self.evaluate(node.subject)

        def case(part: ast.match_case) -> Callable[[], bool]:
            def read() -> bool:
                self._pattern(part.pattern)
                self.evaluate(part.guard)
                return self.block(part.body)

            return read

        return self._branches([*map(case, node.cases), lambda: True])

    def _pattern(self, pattern: ast.pattern) -> None:
        for node in ast.walk(pattern):
            match node:
                case ast.MatchValue(value=value) | ast.MatchClass(cls=value):
                    self.evaluate(value)
                case ast.MatchAs(pattern=ast.MatchClass(cls=cls), name=str(name)):
                    self.scope.bind(name, self.annotation(cls), self.facts)
                case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                    self.scope.bind(name, NOTHING, self.facts)

    def _try(self, node: ast.stmt) -> bool:
        """Read a ``try``. A handler may run after any part of the body."""
        assert isinstance(node, ast.Try) or hasattr(node, "handlers")
        body, handlers = node.body, node.handlers  # type: ignore[attr-defined,union-attr,unused-ignore]
        orelse, final = node.orelse, node.finalbody  # type: ignore[attr-defined,union-attr,unused-ignore]
        before = dict(self.scope.env)
        was_guarded = self.recorder.is_guarded
        self.recorder.is_guarded |= any(_catches_import(handler) for handler in handlers)
        reaches = self.block(body)
        self.recorder.is_guarded = was_guarded
        after = self.scope.env
        either = merge(before, after)

        def clean() -> bool:
            self.scope.env = dict(after)
            return self.block(orelse) and reaches

        def handle(handler: ast.ExceptHandler) -> Callable[[], bool]:
            def read() -> bool:
                self.scope.env = dict(either)
                self.evaluate(handler.type)
                if handler.name:
                    self.scope.bind(handler.name, NOTHING, self.facts)
                return self.block(handler.body)

            return read

        reaches = self._branches([clean, *map(handle, handlers)])
        return self.block(final) and reaches

    def _function(self, node: _FunctionNode) -> None:
        """Read the head of a function now, and its body later."""
        decorators = {decorator_name(decorator) for decorator in node.decorator_list}
        for decorator in node.decorator_list:
            self.evaluate(decorator)
        arguments = node.args
        for default in (*arguments.defaults, *arguments.kw_defaults):
            self.evaluate(default)
        given = self._parameters(node, decorators)
        returned = self.annotation(node.returns)
        key = (self.file, self.recorder.chunk.cell, node.lineno)
        is_method = self.scope.kind == "class" and "staticmethod" not in decorators
        value = Function(*key, is_property=bool(decorators & _PROPERTIES), is_method=is_method)
        # A decorator that is not known may change what is returned, unless the function says what that is.
        is_plain = decorators <= _HARMLESS | _PROPERTIES or bool(returned)
        self.scope.bind(node.name, frozenset({value}) if is_plain else NOTHING, self.facts)
        self.facts.learn(self.facts.returns[key], returned)
        outer, chunk = self.scope, self.recorder.chunk

        def body() -> None:
            bound, declared = bound_names(node)
            self.scope = Scope("function", (*key, node.name), outer, {*bound, *given}, declared, local=outer.local)
            self.scope.constants = constants(node)
            taken = self._taken(node, value) if is_plain else {}
            for name, values in given.items():
                self.scope.bind(name, values or taken.get(name, NOTHING), self.facts)
            self.block(node.body)
            self.scope.is_closed = True

        self._later.append((chunk, body))

    def _parameters(self, node: _FunctionNode, decorators: set[str]) -> dict[str, Values]:
        """Return what the parameters of a function may be: the first one of a method is known, others are annotated."""
        arguments = node.args
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        given = {argument.arg: self.annotation(argument.annotation) for argument in named}
        if arguments.vararg:
            given[arguments.vararg.arg] = elements_of(self.annotation(arguments.vararg.annotation))
        if arguments.kwarg:
            given[arguments.kwarg.arg] = elements_of(self.annotation(arguments.kwarg.annotation), "dict")
        if self.scope.kind == "class" and self.scope.local and named and "staticmethod" not in decorators:
            local = self.scope.local
            is_class = "classmethod" in decorators or node.name in ("__init_subclass__", "__new__")
            given[named[0].arg] = frozenset({local if is_class else Instance(local)})
        return given

    def _taken(self, node: _FunctionNode, function: Function) -> dict[str, Values]:
        """Return what the calls of a function give to its parameters that are not annotated."""
        named = [*node.args.posonlyargs, *node.args.args][function.is_method :]
        bare = [argument for argument in (*named, *node.args.kwonlyargs) if argument.annotation is None]
        places = {argument.arg: place for place, argument in enumerate(named)}
        return {
            argument.arg: self.facts.taken(function.key, places.get(argument.arg, -1), argument.arg)
            for argument in bare
        }

    def _class(self, node: ast.ClassDef) -> None:
        for decorator in node.decorator_list:
            self.evaluate(decorator)
        local = Local(self.file, self.recorder.chunk.cell, node.lineno, node.name)
        known = self.facts.classes.setdefault(local, LocalClass())
        bases = [self.evaluate(base, "subclass") for base in node.bases]
        self._learn_bases(known, bases)
        for keyword in node.keywords:
            self.evaluate(keyword.value)
        self._overrides(node, local)
        bound, declared = bound_names(node)
        known.body |= bound
        outer = self.scope
        self.scope = Scope(
            "class", (self.file, local.cell, node.lineno, node.name), outer, {*bound}, declared, local=local
        )
        self.block(node.body)
        self.scope.is_closed = True
        for name, values in self.scope.env.items():
            self.facts.learn(known.attributes[name], values)
        self.scope = outer
        self.scope.bind(node.name, frozenset({local}), self.facts)

    def _learn_bases(self, known: LocalClass, bases: list[Values]) -> None:
        plain = {Outside("builtins.object"), Outside("abc.ABC")}
        is_foreign = any(not base or any(isinstance(value, Outside) for value in base - plain) for base in bases)
        if known.bases != bases or known.has_foreign_bases != is_foreign:
            # What a base may be only grows from one reading to the next.
            known.bases, known.has_foreign_bases = bases, is_foreign
            self.facts.size += 1

    def _overrides(self, node: ast.ClassDef, local: Local) -> None:
        """Note the members of old classes that a subclass defines anew, but for Python's own methods."""
        old = self.facts.old_bases(local)
        for statement in node.body:
            if not isinstance(statement, _FunctionNode) or statement.name.startswith("__"):
                continue
            found = (names.attribute(base.target, statement.name) for base in old)
            member = next((target for target in found if target and target.kind == "member"), None)
            if member and names.is_listed(member):
                self.recorder.use("override", member, statement)
                arguments.check_override(self, member, statement)


def _catches_import(handler: ast.ExceptHandler) -> bool:
    """Tell whether a handler catches that an import fails."""
    if handler.type is None:
        return True
    names_of = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    caught = {"BaseException", "Exception", "ImportError", "ModuleNotFoundError"}
    return any(isinstance(name, ast.Name) and name.id in caught for name in names_of)


def decorator_name(node: ast.expr) -> str:
    """Return the last name of a decorator, without its arguments."""
    node = node.func if isinstance(node, ast.Call) else node
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
