"""Attributes named by strings: those that are there, those that the program makes, and those that it only asks for."""

from pathlib import Path

import pytest

from tests.migrate.reading import read, uses

HEAD = "from aitoolbox import TrainLoop, AbstractCallback\nl = TrainLoop(1)\n"
CALLBACK = "class A(AbstractCallback):\n    def __init__(self, **kw):\n        super().__init__('A')\n        {}\n"


def attributes(folder: Path, code: str) -> list[str]:
    """Return the uses of attributes below the head."""
    found = [use for use in uses(folder, HEAD + code) if use[0] != "1" and "." in use.split()[-1]]
    return [use for use in found if not use.endswith("__init__")]


@pytest.mark.parametrize(
    "code",
    [
        "hasattr(l, 'fitt')",
        "hasattr(l, 'fit_distributed')",
        "getattr(l, 'dataset_info', None)",
        "getattr(TrainLoop, 'fitt', None)",
        "setattr(l, 'run_name', 'x')\nl.run_name",
        "setattr(l, name, 'x')\nl.run_name",
        "l.__dict__.update(more)\nl.run_name",
        "vars(l).update(more)\nl.run_name",
        CALLBACK.format("setattr(self, 'thr', 1)") + "A().thr",
        CALLBACK.format("for k, v in kw.items(): setattr(self, k, v)") + "A().thr",
        CALLBACK.format("self.__dict__.update(kw)") + "A().thr",
        CALLBACK.format("vars(self).update(kw)") + "A().thr",
        CALLBACK.format("pass") + "    def __getattribute__(self, name): return 1\nA().thr",
        "mock.patch.object(l, 'run_name', create=True)",
    ],
)
def test_what_the_program_makes_or_only_asks_for_is_no_use(code: str, tmp_path: Path) -> None:
    assert attributes(tmp_path, code) == []


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("l.run_name", "TrainLoop.run_name"),
        ("getattr(l, 'fitt')", "TrainLoop.fitt"),
        ("setattr(l, 'run_name', 1)\nl.fitt", "TrainLoop.fitt"),
        (CALLBACK.format("setattr(self, 'thr', 1)") + "A().other", "AbstractCallback.other"),
        ("def setattr(*x): pass\nsetattr(l, 'run_name', 1)\nl.run_name", "TrainLoop.run_name"),
    ],
)
def test_control_what_is_not_there_is_unknown(code: str, name: str, tmp_path: Path) -> None:
    (use,) = attributes(tmp_path, code)
    assert use.endswith(name)
    assert read(tmp_path, HEAD + code).statuses["unknown"] == 1


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("hasattr(l, 'fit')", "TrainLoop.fit"),
        ("setattr(l, 'early_stop', True)", "TrainLoop.early_stop"),
        ("mock.patch.object(TrainLoop, 'fit')", "TrainLoop.fit"),
        ("mocker.patch.object(l, 'fit')", "TrainLoop.fit"),
        ("monkeypatch.setattr(TrainLoop, 'fit', f)", "TrainLoop.fit"),
        ("from aitoolbox.torchtrain import model\nmock.patch.object(model, 'TTModell')", "model.TTModell"),
    ],
)
def test_an_attribute_named_by_a_string_is_a_use(code: str, name: str, tmp_path: Path) -> None:
    assert attributes(tmp_path, code)[-1].endswith(name)
