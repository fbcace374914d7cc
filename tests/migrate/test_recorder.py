"""Noting uses: each once, at its place."""

import ast

from compat.migrate import names
from compat.migrate.names import Verdict
from compat.migrate.recorder import Recorder, in_string
from compat.migrate.sources import Chunk, parse

CODE = "é = a.TrainLoop\n" + "x" * 300


def recorder() -> tuple[Recorder, ast.Attribute]:
    made = Recorder("f.py")
    made.chunk = Chunk(parse(CODE), tuple(CODE.split("\n")))
    node = made.chunk.tree.body[0]
    assert isinstance(node, ast.Assign)
    assert isinstance(node.value, ast.Attribute)
    return made, node.value


def test_a_use_is_noted_once_a_place() -> None:
    made, node = recorder()
    for kind in ("reference", "subclass"):
        made.use(kind, names.find("aitoolbox.TrainLoop"), node)
    made.use("member", names.find("aitoolbox.TrainLoop"), node, at_name=True)
    first, second = made.findings
    assert (str(first.place), first.kind, first.code) == ("f.py:1:5", "reference", "é = a.TrainLoop")
    assert str(second.place) == "f.py:1:7"


def test_what_stands_in_a_string_is_placed_at_the_string() -> None:
    made, node = recorder()
    in_string(ast.walk(node), ast.Constant("x", lineno=1, col_offset=3, end_lineno=1, end_col_offset=4))
    made.use("member", names.find("aitoolbox.TrainLoop"), node, at_name=True)
    assert str(made.findings[0].place) == "f.py:1:3"


def test_a_remark_is_made_once_a_place() -> None:
    made, node = recorder()
    made.remark("text", node)
    made.remark("text", node)
    made.remark("text", made.chunk.tree.body[1])
    made.remark("another", node)
    assert [(remark.place.line, remark.text) for remark in made.remarks] == [(1, "another"), (1, "text"), (2, "text")]


def test_what_stands_in_for_a_name_is_met_where_it_is_called() -> None:
    made, node = recorder()
    later = names.find("aitoolbox.TrainLoopCheckpoint")
    made.use("reference", later, node)
    assert [found.effort for found in made.findings] == ["needs a look"]
    made.use("reference", later, node, is_called=True)
    assert [found.effort for found in made.findings] == ["does not run"]


def test_who_only_asks_does_not_use_what_is_not_there() -> None:
    made, node = recorder()
    made.is_asking = True
    for name in ("fitt", "fit_distributed"):
        made.use("member", names.find("aitoolbox.TrainLoop." + name), node)
    assert made.findings == ()
    made.use("member", names.find("aitoolbox.TrainLoop.fit"), node)
    assert len(made.findings) == 1


def test_long_lines_are_cut() -> None:
    made, _ = recorder()
    made.argument("name", Verdict("differs", "Why."), made.chunk.tree.body[1])
    assert (len(made.findings[0].code), made.findings[0].code[-3:]) == (200, "...")
