"""What calls give and are given: parameters that no annotation tells, generators, and objects that are called."""

from pathlib import Path

import pytest

from tests.migrate.reading import uses

HEAD = """from aitoolbox import TrainLoop, AbstractCallback
from aitoolbox.torchtrain.callbacks.basic import FunctionOnTrainLoop
"""


def members(folder: Path, code: str) -> list[str]:
    found = [use for use in uses(folder, HEAD + code) if " member " in use]
    return [use.rpartition(" ")[2] for use in found if not use.endswith("__init__")]


@pytest.mark.parametrize(
    "code",
    [
        "def run(l): l.fit(1)\nrun(TrainLoop(1))",
        "def run(n, l): l.fit(1)\nrun(1, l=TrainLoop(1))",
        "def run(l): l.fit(1)\nrun(TrainLoop(1))\nrun(TrainLoop(2))",
        "class A:\n    def go(self): self.run(TrainLoop(1))\n    def run(self, l): l.fit(1)",
        "def hook(l): l.fit(1)\nFunctionOnTrainLoop(hook, epoch_end=True)",
        "FunctionOnTrainLoop(lambda l: l.fit(1))",
        "FunctionOnTrainLoop(fn_to_execute=lambda l: l.fit(1))",
        "@deco\ndef made() -> TrainLoop: ...\nmade().fit(1)",
        (
            "from contextlib import contextmanager\n@contextmanager\ndef made():\n    yield TrainLoop(1)\n"
            "with made() as l: l.fit(1)"
        ),
        "def made():\n    yield TrainLoop(1)\nfor l in made(): l.fit(1)",
        "def made():\n    yield from [TrainLoop(1)]\nfor l in made(): l.fit(1)",
        "class M:\n    def __enter__(self): return TrainLoop(1)\nwith M() as l: l.fit(1)",
        "from functools import partial\nmake = partial(TrainLoop, 1)\nmake(2).fit(1)",
    ],
)
def test_a_loop_that_is_handed_on_is_followed(code: str, tmp_path: Path) -> None:
    assert members(tmp_path, code) == ["TrainLoop.fit"]


@pytest.mark.parametrize(
    "code",
    [
        "def run(l): l.fit(1)\nrun(other)",
        "def run(l): l.fit(1)\nrun(TrainLoop(1))\nrun(other)",
        "def run(l): l.fit(1)\nrun(TrainLoop(1))\nrun(*others)",
        "def run(l): l.fit(1)",
        "def run(l, m): m.fit(1)\nrun(TrainLoop(1), other)",
        "def run(l: int): l.fit(1)\nrun(TrainLoop(1))",
        "@deco\ndef made(): return TrainLoop(1)\nmade().fit(1)",
        "class M:\n    def __enter__(self): return other\nwith M() as l: l.fit(1)",
        "other(lambda l: l.fit(1))",
    ],
)
def test_control_what_is_not_known_is_not_followed(code: str, tmp_path: Path) -> None:
    assert members(tmp_path, code) == []


def test_calling_a_loop_is_a_use_of_its_call(tmp_path: Path) -> None:
    assert members(tmp_path, "l = TrainLoop(1)\nl(5)") == ["TrainLoop.__call__"]
    assert members(tmp_path, "class A(TrainLoop):\n    def go(self): self(5)") == ["TrainLoop.__call__"]
    own = "class A(TrainLoop):\n    def __call__(self): pass\nA(1)(5)"
    assert members(tmp_path, own) == []


def test_the_members_of_a_mapping_are_those_of_a_multi_loss(tmp_path: Path) -> None:
    code = "from aitoolbox import MultiLoss\nm = MultiLoss({})\nm.items(); m.get(1); m.backward(1, 2, 3); m.nothing\n"
    found = uses(tmp_path, code)[-4:]
    assert [use.rpartition(" ")[2] for use in found] == [
        "MultiLoss.items",
        "MultiLoss.get",
        "MultiLoss.backward",
        "MultiLoss.nothing",
    ]


def test_attributes_that_are_assigned_together_are_known(tmp_path: Path) -> None:
    code = "from aitoolbox.nlp.core.vocabulary import Vocabulary\nv = Vocabulary('a')\nv.PAD_token, v.EOD_token\n"
    assert [use.rpartition(" ")[2] for use in uses(tmp_path, code)[-2:]] == [
        "Vocabulary.PAD_token",
        "Vocabulary.EOD_token",
    ]


def test_members_that_a_class_that_is_not_served_never_had_are_the_programs_own(tmp_path: Path) -> None:
    code = "from aitoolbox import TrainLoopCheckpoint\nl = TrainLoopCheckpoint(1)\nl.fit(1)\nl.nonexist\n"
    code += "class A(TrainLoopCheckpoint):\n    def go(self):\n        self.epoch = 3\n        self.epoch; self.mine\n"
    assert members(tmp_path, code) == ["TrainLoopCheckpoint.fit"]
