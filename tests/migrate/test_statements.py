"""Following names through a program: scopes, branches, loops, classes and functions."""

from pathlib import Path

import pytest

from tests.migrate.reading import uses

HEAD = "from aitoolbox import TrainLoop, TTModel, AbstractCallback\n"


def after_head(folder: Path, code: str) -> list[str]:
    """Return the findings below the import line, which is line 1."""
    return [found for found in uses(folder, HEAD + code) if not found.startswith("1:")]


@pytest.mark.parametrize(
    "code",
    [
        "def f(TrainLoop):\n    return TrainLoop(1)",
        "def f():\n    TrainLoop = 3\n    return TrainLoop",
        "def f():\n    print(TrainLoop)\n    TrainLoop = 3",
        "def f():\n    for TrainLoop in []:\n        TrainLoop",
        "def f():\n    with open('x') as TrainLoop:\n        TrainLoop",
        "def f():\n    try:\n        pass\n    except ValueError as TrainLoop:\n        TrainLoop",
        "def f():\n    import other as TrainLoop\n    TrainLoop.x",
        "def f():\n    class TrainLoop: pass\n    TrainLoop()",
        "def f(x):\n    match x:\n        case [TrainLoop, *rest]:\n            TrainLoop",
        "[TrainLoop for TrainLoop in []]",
        "f = lambda TrainLoop: TrainLoop.x",
        "TrainLoop = 5\nprint(TrainLoop)",
        "del TrainLoop\nTrainLoop",
        "class A:\n    TrainLoop = 3\n    print(TrainLoop)",
        "a.TrainLoop\nTTModels",
        "x = {'TrainLoop': 1}['TrainLoop']\nf(TrainLoop=2)",
    ],
)
def test_a_name_that_is_shadowed_is_no_use(code: str, tmp_path: Path) -> None:
    assert after_head(tmp_path, code) == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("Loop = TrainLoop\nLoop(1)", ["2:8 reference TrainLoop", "3:1 reference TrainLoop"]),
        ("A, B = TrainLoop, 3\nA(1); B(1)", ["2:8 reference TrainLoop", "3:1 reference TrainLoop"]),
        ("if x:\n    TrainLoop = None\nTrainLoop(1)", ["4:1 reference TrainLoop"]),
        ("def f():\n    TrainLoop = 3\nTrainLoop", ["4:1 reference TrainLoop"]),
        ("class A:\n    TrainLoop = 3\n    def f(self):\n        return TrainLoop", ["5:16 reference TrainLoop"]),
        ("if (n := TrainLoop(1)):\n    n.fit(1)", ["2:10 reference TrainLoop", "3:7 member TrainLoop.fit"]),
        ("def f():\n    global L\n    L = TrainLoop\nL(1)", ["4:9 reference TrainLoop", "5:1 reference TrainLoop"]),
        ("def f():\n    return l.fit(1)\nl = TrainLoop(1)", ["3:14 member TrainLoop.fit", "4:5 reference TrainLoop"]),
        ("é = 'é'; TrainLoop", ["2:10 reference TrainLoop"]),
        ("@TrainLoop\ndef f(x=TrainLoop): pass", ["2:2 reference TrainLoop", "3:9 reference TrainLoop"]),
        ("while True:\n    l.fit(1)\n    l = TrainLoop(1)", ["3:7 member TrainLoop.fit", "4:9 reference TrainLoop"]),
        ("TrainLoop.__name__", ["2:1 reference TrainLoop"]),
        ("import aitoolbox\naitoolbox.TrainLoop = 3", ["2:8 import aitoolbox", "3:1 reference TrainLoop"]),
        ("f'{TrainLoop}'", ["2:4 reference TrainLoop"]),
        ("try:\n    l = TrainLoop(1)\nfinally:\n    l.fit(1)", [
            "3:9 reference TrainLoop", "5:7 member TrainLoop.fit"]),
        ("match x:\n    case TrainLoop() as l:\n        l.fit(1)", [
            "3:10 reference TrainLoop", "4:11 member TrainLoop.fit"]),
    ],
)  # fmt: skip
def test_a_name_is_followed(code: str, expected: list[str], tmp_path: Path) -> None:
    assert after_head(tmp_path, code) == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("l = TrainLoop(1)\nl.fit(1)\nl.epoch", ["3:3 member TrainLoop.fit", "4:3 member TrainLoop.epoch"]),
        ("TrainLoop(1).fit(2)", ["2:14 member TrainLoop.fit"]),
        ("def f(l: TrainLoop): l.fit(1)", ["2:24 member TrainLoop.fit"]),
        ("def f(l: 'TrainLoop | None'): l.fit(1)", ["2:33 member TrainLoop.fit"]),
        ("from typing import Optional\ndef f(l: Optional[TrainLoop] = None): l.fit(1)", ["3:41 member TrainLoop.fit"]),
        ("l: TrainLoop = make()\nl.fit(1)", ["3:3 member TrainLoop.fit"]),
        ("def f(ls: list[TrainLoop]):\n    for l in ls: l.fit(1)", ["3:20 member TrainLoop.fit"]),
        ("for l in [TrainLoop(1)]:\n    l.fit(1)", ["3:7 member TrainLoop.fit"]),
        ("d = {'a': TrainLoop(1)}\nd['a'].fit(1)", ["3:8 member TrainLoop.fit"]),
        ("def make():\n    return TrainLoop(1)\nmake().fit(1)", ["4:8 member TrainLoop.fit"]),
        ("def make() -> TrainLoop: ...\nmake().fit(1)", ["3:8 member TrainLoop.fit"]),
        ("with TrainLoop(1) as l:\n    l.fit(1)", ["3:7 member TrainLoop.fit"]),
        ("l = TrainLoop(1)\nrun = l.fit\nrun(1)", ["3:9 member TrainLoop.fit"]),
        ("l = TrainLoop(1)\nl.early_stop = True", ["3:3 member TrainLoop.early_stop"]),
        ("l = TrainLoop(1)\nl.mine = 1\nl.mine", []),
        ("l = TrainLoop(1)\ngetattr(l, 'fit')(1)", ["3:1 member TrainLoop.fit"]),
        ("TrainLoop.fit(l)", ["2:1 reference TrainLoop.fit"]),
    ],
)  # fmt: skip
def test_members_of_instances(code: str, expected: list[str], tmp_path: Path) -> None:
    found = after_head(tmp_path, code)
    assert [use for use in found if "." in use.split()[-1]] == expected


def test_an_unknown_member_is_reported_with_the_nearest(tmp_path: Path) -> None:
    assert "3:3 member TrainLoop.fitt" in after_head(tmp_path, "l = TrainLoop(1)\nl.fitt(1)")


def test_attributes_of_self_across_methods(tmp_path: Path) -> None:
    code = """class A:
    def __init__(self):
        self.loop = TrainLoop(1)
        self.kind = TrainLoop
    @property
    def inner(self):
        return self.loop
    def go(self):
        self.loop.fit(1)
        self.kind(2)
        self.inner.fit(2)
        self.fit(3)
A().loop.fit(4)
"""
    assert after_head(tmp_path, code) == [
        "4:21 reference TrainLoop",
        "5:21 reference TrainLoop",
        "10:19 member TrainLoop.fit",
        "11:9 reference TrainLoop",
        "12:20 member TrainLoop.fit",
        "14:10 member TrainLoop.fit",
    ]


def test_subclasses_their_overrides_and_what_they_inherit(tmp_path: Path) -> None:
    code = """class Mine(TrainLoop):
    def __init__(self):
        super().__init__(1)
    def _calculate_batch_loss(self, batch_data):
        self.helper()
        return super()._calculate_batch_loss(batch_data)
    def helper(self):
        return self.predict_on_test_set()
class Yours(Mine):
    def fit(self): pass
m = Mine()
m.fit(1)
m.helper()
Yours().fit(2)
"""
    assert after_head(tmp_path, code) == [
        "2:12 subclass TrainLoop",
        "4:17 member TrainLoop.__init__",
        "5:5 override TrainLoop._calculate_batch_loss",
        "7:24 member TrainLoop._calculate_batch_loss",
        "9:21 member TrainLoop.predict_on_test_set",
        "11:5 override TrainLoop.fit",
        "13:3 member TrainLoop.fit",
    ]


def test_a_callback_knows_the_loop_it_is_given(tmp_path: Path) -> None:
    code = """class Stop(AbstractCallback):
    def on_epoch_end(self):
        self.train_loop_obj.early_stop = True
        self.train_loop_obj.mine = 1
        self.own = 2
        self.own
    def other(self): pass
"""
    assert after_head(tmp_path, code) == [
        "2:12 subclass AbstractCallback",
        "3:5 override AbstractCallback.on_epoch_end",
        "4:14 member AbstractCallback.train_loop_obj",
        "4:29 member TrainLoop.early_stop",
        "5:14 member AbstractCallback.train_loop_obj",
    ]


def test_a_class_with_a_foreign_base_may_have_any_member(tmp_path: Path) -> None:
    code = "import other\nclass A(other.Mixin, TrainLoop):\n    def f(self):\n        self.anything()\n"
    assert after_head(tmp_path, code) == ["3:22 subclass TrainLoop"]


def test_endless_definitions_come_to_an_end(tmp_path: Path) -> None:
    code = """def f():
    global TTModel
    class TTModel(TTModel):
        def get_loss(self): pass
    return f()
x = TrainLoop
while x:
    while x:
        while x:
            x = x.next
            class TTModel(TTModel): pass
"""
    assert "7:5 reference TrainLoop" in after_head(tmp_path, code)


def test_loops_within_loops_are_read_in_no_time(tmp_path: Path) -> None:
    depth = 60
    code = "".join(f"{' ' * level}while x{level}:\n" for level in range(depth))
    code += "".join(f"{' ' * depth}x{level + 1} = x{level}\n" for level in reversed(range(depth)))
    found = after_head(tmp_path, "x0 = TrainLoop\n" + code)
    assert "2:6 reference TrainLoop" in found


def test_python_functions_that_call_each_other(tmp_path: Path) -> None:
    code = "def a(): return b()\ndef b(): return a() or TrainLoop(1)\na().fit(1)"
    assert after_head(tmp_path, code) == ["3:24 reference TrainLoop", "4:5 member TrainLoop.fit"]
