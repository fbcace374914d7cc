"""Scopes: which names a body binds, and what they are from where."""

import ast

import pytest

from compat.migrate.scopes import Scope, bound_names, merge
from compat.migrate.values import NOTHING, Facts, Outside

A, B = frozenset({Outside("a")}), frozenset({Outside("b")})


@pytest.mark.parametrize(
    ("code", "bound"),
    [
        ("x = y", {"x"}),
        ("import a.b, c as d", {"a", "d"}),
        ("from a import b, c as d", {"b", "d"}),
        ("from a import *", set()),
        ("def f(a): b = 1\nclass C: d = 1", {"f", "C"}),
        ("for a, (b, *c) in d: pass", {"a", "b", "c"}),
        ("with a as b: pass", {"b"}),
        ("try: pass\nexcept E as e: pass", {"e"}),
        ("[x for x in y if (z := x)]", {"z"}),
        ("lambda a: (b := a)", set()),
        ("match a:\n    case {'k': b, **c} | [b, *c]: pass\n    case D(e=f) as g: pass", {"b", "c", "f", "g"}),
        ("del x", {"x"}),
        ("x += 1\ny: int", {"x", "y"}),
        ("a.b = c[d] = 1", set()),
    ],
)
def test_bound_names(code: str, bound: set[str]) -> None:
    found, declared = bound_names(ast.parse(code))
    assert (set(found), declared) == (bound, {})


def test_declared_names_are_not_bound() -> None:
    found, declared = bound_names(ast.parse("global a\nnonlocal b\na = b = c = 1"))
    assert (set(found), declared) == ({"c"}, {"a": "global", "b": "nonlocal"})


def test_merging_keeps_what_a_name_may_be_either_way() -> None:
    assert merge({"x": A, "y": A}, {"x": B}) == {"x": A | B, "y": A}


def test_a_closed_scope_shows_all_that_a_name_ever_was() -> None:
    facts, module = Facts(), Scope("module", ("f", 0, 0, ""), bound={"x"})
    inner = Scope("function", ("f", 0, 1, "g"), module)
    assert inner.look_up("x", facts) == NOTHING
    module.bind("x", A, facts)
    module.bind("x", B, facts)
    assert inner.look_up("x", facts) == B
    module.is_closed = True
    assert inner.look_up("x", facts) == A | B
    assert inner.look_up("y", facts) is None


def test_functions_do_not_see_the_names_of_the_class_round_them() -> None:
    facts, module = Facts(), Scope("module", ("f", 0, 0, ""), env={"x": A}, bound={"x"})
    body = Scope("class", ("f", 0, 1, "C"), module, bound={"x"})
    assert body.look_up("x", facts) == A
    body.bind("x", B, facts)
    assert body.look_up("x", facts) == B
    assert Scope("function", ("f", 0, 2, "m"), body).look_up("x", facts) == A
    assert Scope("inline", body.key, body).look_up("x", facts) == A


def test_global_and_nonlocal_names_are_written_outside() -> None:
    facts, module = Facts(), Scope("module", ("f", 0, 0, ""))
    outer = Scope("function", ("f", 0, 1, "g"), module, bound={"y"})
    inner = Scope("function", ("f", 0, 2, "h"), outer, declared={"x": "global", "y": "nonlocal"})
    inner.bind("x", A, facts)
    inner.bind("y", B, facts)
    assert module.look_up("x", facts) == A
    assert outer.look_up("y", facts) == B
    assert module.look_up("y", facts) is None
