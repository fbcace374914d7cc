"""Arguments of which the table has something to say, in calls and in overrides."""

from dataclasses import replace
from pathlib import Path

import pytest

from compat._surface import Member, surface
from tests.migrate.reading import TRAIN_LOOP, read, remarks, uses

HEAD = "from aitoolbox import TrainLoop\n"


@pytest.fixture
def arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of its own, so that the tests do not depend on what is served today."""
    row = surface().names[TRAIN_LOOP]
    said = {
        "gpu_mode='ddp'": Member("later", why="Comes later."),
        "use_amp": Member("differs", why="Differs."),
        "fit(num_nodes)": Member("refused", why="No."),
        "fit(#2)": Member("differs", why="It was callbacks.", versions="1.0 - 1.3"),
        "get_num_training_steps()": Member("refused", why="It takes an argument.", versions="1.0"),
        "_optimizer_step(iteration)": Member("refused", why="It takes one argument.", versions="1.2 - 1.3"),
    }
    monkeypatch.setitem(surface().names, TRAIN_LOOP, replace(row, arguments=said))


def found(folder: Path, code: str) -> list[str]:
    return [use for use in uses(folder, HEAD + code) if " argument " in use]


@pytest.mark.usefixtures("arguments")
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("TrainLoop(m, gpu_mode='ddp')", ["2:23 argument TrainLoop(gpu_mode='ddp')"]),
        ("TrainLoop(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 'ddp')", ["2:46 argument TrainLoop(gpu_mode='ddp')"]),
        ("TrainLoop(m, gpu_mode='dp')", []),
        ("TrainLoop(m, gpu_mode='single', use_amp=True)", ["2:41 argument TrainLoop(use_amp)"]),
        ("other(gpu_mode='ddp')", []),
        ("TrainLoop(m).fit(1, num_nodes=2)", ["2:31 argument TrainLoop.fit(num_nodes)"]),
        ("l = TrainLoop(m)\nl.get_num_training_steps()", ["3:1 argument TrainLoop.get_num_training_steps()"]),
        ("l = TrainLoop(m)\nl.get_num_training_steps(3)", []),
        ("class A(TrainLoop): pass\nA(m, gpu_mode='ddp')", ["3:15 argument TrainLoop(gpu_mode='ddp')"]),
        ("class A(TrainLoop):\n    def __init__(self, gpu_mode): pass\nA(gpu_mode='ddp')", []),
        ("class A(TrainLoop):\n    def __init__(self):\n        super().__init__(1, gpu_mode='ddp')", [
            "4:38 argument TrainLoop(gpu_mode='ddp')"]),
        ("class A(TrainLoop):\n    def _optimizer_step(self, iteration, grad, idx): pass", [
            "3:31 argument TrainLoop._optimizer_step(iteration)"]),
        ("class A(TrainLoop):\n    def _optimizer_step(self, optimizer_idx): pass", []),
    ],
)  # fmt: skip
def test_arguments(code: str, expected: list[str], tmp_path: Path) -> None:
    assert found(tmp_path, code) == expected


@pytest.mark.usefixtures("arguments")
def test_a_place_that_meant_something_else_is_a_remark(tmp_path: Path) -> None:
    assert found(tmp_path, "TrainLoop(m).fit(1, [])") == []
    (remark,) = remarks(tmp_path, HEAD + "TrainLoop(m).fit(1, [])")
    assert remark == "2: If it was written for AIToolbox 1.0 - 1.3: fit(#2): It was callbacks."


@pytest.mark.usefixtures("arguments")
@pytest.mark.parametrize("code", ["TrainLoop(m, gpu_mode=mode)", "TrainLoop(m, **config)", "TrainLoop(*all, **more)"])
def test_arguments_that_cannot_be_seen_are_remarked(code: str, tmp_path: Path) -> None:
    assert found(tmp_path, code) == []
    (remark,) = remarks(tmp_path, HEAD + code)
    assert "gpu_mode='ddp'" in remark


def test_the_tables_own_arguments_are_understood(tmp_path: Path) -> None:
    """Every key of the real table can be told apart by the check."""
    from compat.migrate.calls import _KEY

    keys = [key for row in surface().names.values() for key in row.arguments]
    assert keys
    assert [key for key in keys if not _KEY.fullmatch(key)] == []
    assert not _KEY.fullmatch("fit(a, b)")


def test_an_argument_carries_what_the_table_says(tmp_path: Path, arguments: None) -> None:
    report = read(tmp_path, HEAD + "TrainLoop(m, gpu_mode='ddp')")
    (argument,) = [finding for finding in report.findings if finding.kind == "argument"]
    assert (argument.status, argument.why, argument.effort) == ("later", "Comes later.", "does not run")
