"""What is put into containers and what comes out of them, as programs do it."""

from pathlib import Path

import pytest

from compat.migrate.containers import at_place, display, from_builtin, opened, subscripted
from compat.migrate.values import NOTHING, Instance, Local, Row
from tests.migrate.reading import uses

HEAD = "from aitoolbox import TrainLoop\nl = TrainLoop(1)\n"
LOOP = Instance(Local("f.py", 0, 1, "Loop"))


def fits(folder: Path, code: str) -> int:
    """Count the uses of ``TrainLoop.fit``."""
    return len([use for use in uses(folder, HEAD + code) if use.endswith("member TrainLoop.fit")])


@pytest.mark.parametrize(
    "code",
    [
        "for i, x in enumerate([l]): x.fit(1)",
        "for a, x in zip(names, [l]): x.fit(1)",
        "for i, (a, x) in enumerate(zip(names, [l])): x.fit(1)",
        "for x in sorted([l], key=len): x.fit(1)",
        "for x in reversed(list((l,))): x.fit(1)",
        "d = {'a': l}\nfor k, x in d.items(): x.fit(1)",
        "d = {'a': l}\nfor x in d.values(): x.fit(1)",
        "d = {'a': l}\nd.get('a').fit(1)",
        "d = {n: l for n in names}\n[x.fit(1) for k, x in d.items()]",
        "xs = []\nxs.append(l)\nxs[0].fit(1)",
        "xs = list()\nxs.extend([l])\nfor x in xs: x.fit(1)",
        "def f():\n    xs = []\n    for n in names: xs.append(TrainLoop(n))\n    for x in xs: x.fit(1)",
        "def f(k):\n    d = {}\n    d[k] = l\n    d[k].fit(1)",
        "d = dict()\nd['a'] = l\nfor x in d.values(): x.fit(1)",
        (
            "class A:\n    def __init__(self): self.xs = []\n    def a(self): self.xs.append(l)\n"
            "    def b(self):\n        for x in self.xs: x.fit(1)"
        ),
        "xs = []\ndef a(): xs.append(l)\ndef b(): xs[0].fit(1)",
        "next(iter([l])).fit(1)",
        "import copy\ncopy.copy(l).fit(1)",
        "xs = [l]\nxs.pop().fit(1)",
        "a, *rest = [l, l]\nrest[0].fit(1)",
        "def f(d: dict[str, TrainLoop]):\n    for x in d.values(): x.fit(1)",
        "def f(**more: TrainLoop):\n    more['a'].fit(1)",
    ],
)
def test_what_a_container_holds_is_followed(code: str, tmp_path: Path) -> None:
    assert fits(tmp_path, code) == 1


@pytest.mark.parametrize(
    "code",
    [
        "for x, i in enumerate([l]): x.fit(1)",
        "for a, x in zip([l], names): x.fit(1)",
        "for x in {'a': l}: x.fit(1)",
        "d = {'a': l}\nfor x, k in d.items(): x.fit(1)",
        "xs = []\nxs.append(other)\nxs[0].fit(1)",
        "xs = []\nxs.remove(l)\nxs[0].fit(1)",
        "def enumerate(x): return other\nfor i, x in enumerate([l]): x.fit(1)",
        "len([l]).fit(1)",
    ],
)
def test_control_what_is_something_else_is_no_use(code: str, tmp_path: Path) -> None:
    assert fits(tmp_path, code) == 0


def test_rows_keep_their_places() -> None:
    rows = opened(from_builtin("builtins.enumerate", [display({LOOP})]))
    assert rows == {Row((frozenset(), frozenset({LOOP})))}
    assert [at_place(rows, place) for place in range(3)] == [NOTHING, {LOOP}, NOTHING]


def test_rows_within_rows_come_to_an_end() -> None:
    values = display({LOOP})
    for _ in range(5):
        values = from_builtin("builtins.enumerate", [values])
    assert values == NOTHING


def test_a_dict_gives_its_values_by_key_and_nothing_by_iteration() -> None:
    held = display({LOOP}, "dict")
    assert [opened(held), subscripted(held)] == [NOTHING, {LOOP}]
