"""Conditions that say what a name is."""

from pathlib import Path

import pytest

from tests.migrate.reading import uses

HEAD = "from aitoolbox import TrainLoop, TTModel\n"


def fits(folder: Path, code: str) -> list[str]:
    found = uses(folder, HEAD + "def f(x, y):\n" + "".join(f"    {line}\n" for line in code.splitlines()))
    return [use.split(":")[0] for use in found if use.endswith("member TrainLoop.fit")]


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("if isinstance(x, TrainLoop):\n    x.fit(1)", ["4"]),
        ("if isinstance(x, (TrainLoop, int)):\n    x.fit(1)", ["4"]),
        ("if y and isinstance(x, TrainLoop):\n    x.fit(1)", ["4"]),
        ("if not isinstance(x, TrainLoop):\n    return\nx.fit(1)", ["5"]),
        ("if not isinstance(x, TrainLoop) or y:\n    raise TypeError\nx.fit(1)", ["5"]),
        ("assert isinstance(x, TrainLoop), 'no'\nx.fit(1)", ["4"]),
        ("isinstance(x, TrainLoop) and x.fit(1)", ["3"]),
        ("return x.fit(1) if isinstance(x, TrainLoop) else 0", ["3"]),
        ("if not isinstance(x, TrainLoop):\n    pass\nelse:\n    x.fit(1)", ["6"]),
    ],
)
def test_what_a_condition_says_is_followed(code: str, lines: list[str], tmp_path: Path) -> None:
    assert fits(tmp_path, code) == lines


@pytest.mark.parametrize(
    "code",
    [
        "if isinstance(x, TrainLoop):\n    pass\nx.fit(1)",
        "if isinstance(x, TrainLoop):\n    pass\nelse:\n    x.fit(1)",
        "if isinstance(x, TrainLoop):\n    x = y\n    x.fit(1)",
        "if not isinstance(x, TrainLoop):\n    x.fit(1)",
        "if isinstance(x, TrainLoop) or y:\n    x.fit(1)",
        "isinstance(x, TrainLoop) or x.fit(1)",
        "isinstance = y\nif isinstance(x, TrainLoop):\n    x.fit(1)",
        "x = TTModel()\nif isinstance(x, TrainLoop):\n    x.fit(1)",
    ],
)
def test_control_what_it_does_not_say_is_not(code: str, tmp_path: Path) -> None:
    assert fits(tmp_path, code) == []
