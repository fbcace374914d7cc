"""What the value of an expression may be, and which uses of the old API are in it.

``Expressions.values`` notes the uses inside an expression and returns what it may be; ``evaluate`` also notes the use
that the expression itself is. A dotted path is one use: that of the longest part that the old library knows.
"""

import ast
from collections.abc import Iterable
from itertools import chain

from compat.migrate import calls, imports, names, narrowing, strings
from compat.migrate.containers import at_place, display, elements_of, method, opened, subscripted
from compat.migrate.dynamic import leave_open
from compat.migrate.project import Project
from compat.migrate.recorder import Recorder
from compat.migrate.scopes import Scope
from compat.migrate.values import (
    NOTHING,
    Elements,
    Facts,
    Function,
    InProject,
    Instance,
    Leak,
    Local,
    Member,
    Outside,
    Parents,
    Thing,
    Value,
    Values,
)

__all__ = ["Expressions"]

_DEEPEST = 6
_MAPPINGS = frozenset({"DefaultDict", "Dict", "Mapping", "MutableMapping", "OrderedDict", "defaultdict", "dict"})


class Expressions:
    """Reads expressions.

    Args:
        file: The file that is read, absolute.
        facts: What was learned of all files.
        project: The files that import each other.
        recorder: Where the uses go.
    """

    def __init__(self, file: str, facts: Facts, project: Project, recorder: Recorder) -> None:
        """Stand at the beginning of a file."""
        self.file = file
        self.facts = facts
        self.project = project
        self.recorder = recorder
        self.scope = Scope("module", (file, 0, 0, ""))
        self.unread_stars: list[str] = []
        # What the one argument of a lambda is, where the call says so that the lambda stands in.
        self.lambdas: dict[int, Values] = {}

    def evaluate(self, node: ast.expr | None, kind: str = "reference", *, is_called: bool = False) -> Values:
        """Read an expression and note its uses, itself included.

        Args:
            node: The expression; None is nothing.
            kind: What the use is called if the expression itself is one.
            is_called: Whether what it gives is called.
        """
        if node is None:
            return NOTHING
        found = self.values(node)
        if isinstance(node, ast.Name | ast.Attribute):
            self.note(found, node, kind, is_called=is_called)
        return found

    def note(
        self, values: Iterable[Value], node: ast.expr, kind: str = "reference", *, is_called: bool = False
    ) -> None:
        """Note the uses that an expression itself is.

        A member that a name holds was used where it was taken.
        """
        values = list(values)
        gone = {imports.note_leak(self, value, kind, node) for value in values if isinstance(value, Leak)}
        for value in values:
            if not isinstance(value, Thing) or value.target.written in gone:
                continue
            if value.target.kind != "member" or not isinstance(node, ast.Name):
                self.recorder.use(kind, value.target, node, is_called=is_called)

    def values(self, node: ast.expr) -> Values:
        """Read an expression, and note the uses inside it."""
        match node:
            case ast.Name():
                return self._name(node)
            case ast.Attribute():
                return self._attribute(node)
            case ast.Call():
                return calls.read_call(self, node)
            case ast.Constant(value=str()):
                strings.read_string(self.recorder, node)
                return NOTHING
            case ast.Lambda():
                return self._lambda(node)
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                return self._comprehension(node)
            case ast.List(elts=elements) | ast.Tuple(elts=elements) | ast.Set(elts=elements):
                return display(chain.from_iterable([self.evaluate(element) for element in elements]))
            case ast.Dict(keys=keys, values=inner):
                for key in keys:
                    self.evaluate(key)
                return display(chain.from_iterable([self.evaluate(element) for element in inner]), "dict")
            case ast.NamedExpr(target=ast.Name(id=name), value=value):
                found = self.evaluate(value)
                self.outer().bind(name, found, self.facts)
                return found
            case ast.IfExp(test=test, body=body, orelse=orelse):
                self.evaluate(test)
                holds, fails = narrowing.told_by(self, test)
                with narrowing.narrowed(self, holds):
                    found = self.evaluate(body)
                with narrowing.narrowed(self, fails):
                    return found | self.evaluate(orelse)
            case ast.BoolOp(op=op, values=[first, *rest]):
                found = self.evaluate(first)
                told = narrowing.told_by(self, first)[not isinstance(op, ast.And)]
                with narrowing.narrowed(self, told):
                    return found.union(*[self.evaluate(inner) for inner in rest])
            case ast.Yield(value=value):
                found = elements_of(self.evaluate(value))
                self.returned(found)
                return NOTHING
            case ast.YieldFrom(value=value):
                self.returned(self.evaluate(value))
                return NOTHING
            case ast.Await(value=value):
                return self.evaluate(value)
            case ast.Starred(value=value):
                return opened(self.evaluate(value))
            case ast.Subscript():
                return self._subscript(node)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self.evaluate(child)
        return NOTHING

    def returned(self, values: Values) -> None:
        """Learn what the function that is read returns, or a generator yields."""
        scope = self.outer()
        if scope.kind == "function":
            file, cell, line, _ = scope.key
            self.facts.learn(self.facts.returns[(file, cell, line)], values)

    def outer(self) -> Scope:
        """Return the scope that an assignment expression writes to."""
        scope = self.scope
        while scope.kind == "inline" and scope.parent is not None:
            scope = scope.parent
        return scope

    def _name(self, node: ast.Name) -> Values:
        found = self.scope.look_up(node.id, self.facts)
        if found is None and self.unread_stars and node.id in names.distinctive():
            text = "which is not among the checked files: whether it is AIToolbox's is not known."
            where = " or ".join(dict.fromkeys(self.unread_stars))
            self.recorder.remark(f"{node.id} comes from the star import of {where}, {text}", node)
        return frozenset({Outside(f"builtins.{node.id}")}) if found is None else found

    def _attribute(self, node: ast.Attribute) -> Values:
        is_path = isinstance(node.value, ast.Name | ast.Attribute)
        base = self.values(node.value) if is_path else self.evaluate(node.value)
        return self.attribute_of(base, node.attr, node, node.value if is_path else None)

    def attribute_of(self, base: Values, name: str, node: ast.expr, owner: ast.expr | None) -> Values:
        """Return what an attribute may be, and note its use.

        Args:
            base: What it is an attribute of.
            name: Its name.
            node: The expression that takes it.
            owner: The expression that it is taken of, if that is a path whose own use was not noted yet.
        """
        found: set[Value] = set()
        is_sure = len(base) == 1
        if name == "__dict__":
            leave_open(self, base)
        for value in base:
            match value:
                case Thing(target=target):
                    found |= self._of_thing(target, name, node, owner)
                case Leak() if owner is not None:
                    self.note([value], owner)
                case Elements():
                    found |= method(value, name)
                case Instance(of=Thing(target=target)):
                    found |= self._of_instance(target, name, node, is_sure)
                case Instance(of=Local() as local) | (Local() as local):
                    found |= self._of_local(local, name, node, is_sure)
                case Parents(of=local):
                    found |= self._of_local(local, name, node, is_sure, skip=True)
                case InProject(path=path):
                    found |= self.project.attribute(path, name, self.facts)
                case Outside(path=path) if path.count(".") < _DEEPEST:
                    found.add(Outside(f"{path}.{name}"))
        return frozenset(found)

    def _of_thing(self, target: names.Target, name: str, node: ast.expr, owner: ast.expr | None) -> set[Value]:
        found = names.attribute(target, name)
        if found is None:
            if owner is not None:
                self.note([Thing(target)], owner)
            return set()
        if found.kind == "unknown":
            if not self.facts.is_stored(target.row, name):
                self.recorder.use("reference", found, node)
            elif owner is not None:
                self.note([Thing(target)], owner)
            return set()
        if found.kind == "foreign":
            self.recorder.use("reference", found, node)
            return {Outside(found.path)}
        return {Thing(found)}

    def _of_instance(self, target: names.Target, name: str, node: ast.expr, is_sure: bool) -> set[Value]:
        """Note the use of a member. An unknown one counts only where nothing else can be meant."""
        found = names.attribute(target, name)
        if found is None:
            return set()
        if found.kind == "unknown":
            if is_sure and not self.facts.is_stored(target.row, name):
                self.recorder.use("member", found, node, at_name=True)
            return set()
        self.recorder.use("member", found, node, at_name=True)
        return {Member(found), *_typed(target, name)}

    def _of_local(self, of: Local, name: str, node: ast.expr, is_sure: bool, skip: bool = False) -> set[Value]:
        """Look an attribute up in a class of the program, then in the old classes that it descends from."""
        found: set[Value] = set()
        is_bound = False
        for key, known in self.facts.lineage(of):
            if skip and key == of:
                continue
            values = known.attributes.get(name, set())
            is_bound |= bool(values) or name in known.attributes
            found |= chain_returns(values, self.facts)
            if name in known.body:
                return found
        for base in self.facts.old_bases(of):
            inherited = names.attribute(base.target, name)
            if inherited is None:
                return found
            if inherited.kind != "unknown":
                if is_bound and not names.is_listed(inherited):
                    return found
                self.recorder.use("member", inherited, node, at_name=True)
                return {Member(inherited), *_typed(base.target, name), *found}
            if (
                is_sure
                and not is_bound
                and not self.facts.is_open(of)
                and not self.facts.is_stored(base.target.row, name)
            ):
                self.recorder.use("member", inherited, node, at_name=True)
        return found

    def _lambda(self, node: ast.Lambda) -> Values:
        arguments = node.args
        for default in (*arguments.defaults, *arguments.kw_defaults):
            self.evaluate(default)
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        named += [extra for extra in (arguments.vararg, arguments.kwarg) if extra]
        given = self.lambdas.get(id(node), NOTHING)
        inner = self._enter_inline()
        inner.env.update({argument.arg: NOTHING if number else given for number, argument in enumerate(named)})
        self.evaluate(node.body)
        self._leave_inline()
        return NOTHING

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> Values:
        # The first iterable is read outside, everything else inside.
        first = self.evaluate(node.generators[0].iter)
        self._enter_inline()
        for number, part in enumerate(node.generators):
            iterated = first if number == 0 else self.evaluate(part.iter)
            self.assign(part.target, opened(iterated))
            for condition in part.ifs:
                self.evaluate(condition)
        if isinstance(node, ast.DictComp):
            self.evaluate(node.key)
        is_dict = isinstance(node, ast.DictComp)
        found = self.evaluate(node.value if isinstance(node, ast.DictComp) else node.elt)
        self._leave_inline()
        return display(found, "dict" if is_dict else "list")

    def _enter_inline(self) -> Scope:
        self.scope = Scope("inline", self.scope.key, self.scope, local=self.scope.local)
        return self.scope

    def _leave_inline(self) -> None:
        if self.scope.parent is not None:
            self.scope = self.scope.parent

    def _subscript(self, node: ast.Subscript) -> Values:
        base = self.evaluate(node.value)
        if Outside("sys.modules") in base and isinstance(node.slice, ast.Constant):
            return strings.read_import(self.recorder, node.slice, kind="string")
        self.evaluate(node.slice)
        # A subscripted class, as of a generic, is still the class.
        return subscripted(base) | frozenset(value for value in base if isinstance(value, Local | Thing))

    def assign(self, target: ast.expr, values: Values) -> None:
        """Let the target of an assignment be something, and note the uses in it."""
        match target:
            case ast.Name(id=name):
                self.scope.bind(name, values, self.facts)
            case ast.Attribute():
                self._store(target, values)
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                for place, inner in enumerate(parts):
                    is_spread = any(isinstance(before, ast.Starred) for before in parts[:place])
                    self.assign(inner, opened(values) if is_spread else at_place(values, place))
            case ast.Starred(value=inner):
                self.assign(inner, elements_of(values))
            case ast.Subscript(value=base, slice=index):
                holders = [value for value in self.evaluate(base) if isinstance(value, Elements)]
                self.evaluate(index)
                for holder in holders:
                    self.grow(base, display({*holder.of, *values}, holder.kind))

    def grow(self, holder: ast.expr, values: Values) -> None:
        """Let a container that a name or an attribute holds have more elements."""
        if not any(isinstance(value, Elements) and value.of for value in values):
            return
        if isinstance(holder, ast.Name):
            home = self.scope.holder(holder.id)
            if home is not None:
                before = home.env.get(holder.id, NOTHING)
                home.bind(holder.id, before | values, self.facts)
        elif isinstance(holder, ast.Attribute) and isinstance(holder.value, ast.Name):
            self.store(self.values(holder.value), holder.attr, values)

    def _store(self, target: ast.Attribute, values: Values) -> None:
        """Write to an attribute: of an old class it is a use, of an object of the program it is learned."""
        is_path = isinstance(target.value, ast.Name | ast.Attribute)
        base = self.values(target.value) if is_path else self.evaluate(target.value)
        self.store(base, target.attr, values)
        written = self.attribute_of(base, target.attr, target, target.value if is_path else None)
        if any(isinstance(value, Thing) for value in base):
            # `aitoolbox.TrainLoop = Mine`, as patches by hand do.
            self.note(written, target)

    def store(self, base: Values, name: str, values: Values) -> None:
        """Let an attribute of some objects be something."""
        for value in base:
            match value:
                case Thing(target=old) | Instance(of=Thing(target=old)):
                    found = names.attribute(old, name)
                    if found is not None and found.kind == "unknown" and old.row:
                        self.facts.store(old.row, name)
                case (Local() as local) | Instance(of=Local() as local) if local in self.facts.classes:
                    attributes = self.facts.classes[local].attributes
                    self.facts.size += name not in attributes
                    self.facts.learn(attributes[name], values)

    def annotation(self, node: ast.expr | None) -> Values:
        """Read an annotation, and return what an object that is annotated so may be."""
        match node:
            case None:
                return NOTHING
            case ast.Constant(value=str()):
                parsed = strings.parse_annotation(node)
                return self.annotation(parsed) if parsed is not None else NOTHING
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                return self.annotation(left) | self.annotation(right)
            case ast.Tuple(elts=parts):
                return frozenset(chain.from_iterable([self.annotation(part) for part in parts]))
            case ast.Subscript(value=head, slice=inner):
                return self._generic(head, inner)
        return instances(self.evaluate(node))

    def _generic(self, head: ast.expr, inner: ast.expr) -> Values:
        found = self.evaluate(head)
        name = head.attr if isinstance(head, ast.Attribute) else getattr(head, "id", "")
        if name == "Literal":
            return NOTHING
        parts = self.annotation(inner)
        if old := instances(found):
            return old
        if name in ("Annotated", "ClassVar", "Final", "Optional", "Union"):
            return parts
        if name in ("Type", "type"):
            return frozenset(part.of for part in parts if isinstance(part, Instance))
        if name in _MAPPINGS:
            return elements_of(parts, "dict")
        return elements_of(parts)


def instances(values: Values) -> Values:
    """Return the instances of the classes among some values."""
    return frozenset(
        Instance(value)
        for value in values
        if isinstance(value, Local) or (isinstance(value, Thing) and value.target.is_class)
    )


def chain_returns(values: Iterable[Value], facts: Facts) -> set[Value]:
    """Return the values of attributes: those of properties are what they return."""
    found: set[Value] = set()
    for value in values:
        if isinstance(value, Function) and value.is_property:
            found |= facts.returns.get((value.file, value.cell, value.line), set())
        else:
            found.add(value)
    return found


def _typed(target: names.Target, name: str) -> set[Value]:
    typed = names.type_of(target, name)
    return {Instance(Thing(typed))} if typed else set()
