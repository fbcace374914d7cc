"""Paths in strings, imports by name, and annotations that are strings."""

from pathlib import Path

import pytest

from tests.migrate.reading import TRAIN_LOOP, remarks, uses


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (f"mock.patch('{TRAIN_LOOP}')", ["1:12 string TrainLoop"]),
        (f"mock.patch('{TRAIN_LOOP}.fit')", ["1:12 string TrainLoop.fit"]),
        ("x = {'_target_': 'aitoolbox.TrainLoop'}", ["1:18 string TrainLoop"]),
        ("entry = 'aitoolbox.torchtrain.model:TTModel'", ["1:9 string TTModel"]),
        ("mock.patch('aitoolbox.torchtrain.model')", ["1:12 string aitoolbox.torchtrain.model"]),
        ("import_string('aitoolbox.torchtrain.model')", ["1:15 string aitoolbox.torchtrain.model"]),
        ("mock.patch('aitoolbox.torchtrain.model.Nothing')", ["1:12 string aitoolbox.torchtrain.model.Nothing"]),
        ("import sys\nsys.modules['aitoolbox'].TrainLoop", ["2:1 reference TrainLoop", "2:13 string aitoolbox"]),
    ],
)
def test_a_path_in_a_string_is_a_use(code: str, expected: list[str], tmp_path: Path) -> None:
    assert uses(tmp_path, code) == expected


@pytest.mark.parametrize(
    "code",
    [
        "'aitoolbox.torchtrain.model.TTModel'",
        "def f():\n    'aitoolbox.TrainLoop'",
        "x = 'see aitoolbox.TrainLoop'",
        "x = 'aitoolbox'",
        "x = 'aitoolbox2.TrainLoop'",
        "x = b'aitoolbox.TrainLoop'",
        "# aitoolbox.TrainLoop",
    ],
)
def test_texts_that_speak_of_it_are_no_uses(code: str, tmp_path: Path) -> None:
    assert uses(tmp_path, code) == []
    assert remarks(tmp_path, code) == []


def test_a_string_like_a_path_is_a_remark_where_it_is_looked_up(tmp_path: Path) -> None:
    assert uses(tmp_path, "mock.patch('aitoolbox.log')") == []
    (remark,) = remarks(tmp_path, "mock.patch('aitoolbox.log')")
    assert remark == "1: The string 'aitoolbox.log' looks like a path of AIToolbox, which has none like it."


@pytest.mark.parametrize(
    "code",
    [
        "logging.getLogger('aitoolbox.torchtrain')",
        "logging.getLogger('aitoolbox.torchtrain.train_loop.TrainLoop')",
        "open('aitoolbox.log')",
        "path = 'aitoolbox.json'",
        "x = {'logger': 'aitoolbox.torchtrain.model'}",
        "x = 'aitoolbox.torchtrain.model.Nothing'",
    ],
)
def test_control_loggers_and_files_are_called_like_modules(code: str, tmp_path: Path) -> None:
    assert uses(tmp_path, code) == []
    assert remarks(tmp_path, code) == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import importlib\nm = importlib.import_module('aitoolbox.torchtrain')\nm.TTModel", [
            "2:29 dynamic import aitoolbox.torchtrain", "3:1 reference TTModel"]),
        ("from importlib import import_module as load\nload('.model', 'aitoolbox.torchtrain').TTModel", [
            "2:1 reference TTModel", "2:6 dynamic import aitoolbox.torchtrain.model",
            "2:16 string aitoolbox.torchtrain"]),
        ("m = __import__('aitoolbox.torchtrain')\nm.TrainLoop", [
            "1:16 dynamic import aitoolbox.torchtrain", "2:1 reference TrainLoop"]),
        ("import pytest\na = pytest.importorskip('aitoolbox')\na.TrainLoop", [
            "2:25 dynamic import aitoolbox", "3:1 reference TrainLoop"]),
        ("import importlib.util\nimportlib.util.find_spec('aitoolbox')", ["2:26 dynamic import aitoolbox"]),
        ("import pkgutil\npkgutil.resolve_name('aitoolbox.torchtrain.model:TTModel')(1)", [
            "2:22 dynamic import TTModel"]),
        ("def import_module(x): ...\nimport_module('aitoolbox')", []),
    ],
)  # fmt: skip
def test_imports_by_name(code: str, expected: list[str], tmp_path: Path) -> None:
    assert uses(tmp_path, code) == expected


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import importlib\nimportlib.import_module('aitoolbox.' + x)", "computed when the program runs"),
        ("import importlib\nimportlib.import_module(f'aitoolbox.{x}')", "computed when the program runs"),
        ("exec('import aitoolbox')\n", "Code in a string speaks of AIToolbox"),
        ("import aitoolbox\ngetattr(aitoolbox, x)", "a name that is computed"),
    ],
)
def test_what_cannot_be_followed_is_said(code: str, said: str, tmp_path: Path) -> None:
    (remark,) = remarks(tmp_path, code)
    assert said in remark


def test_annotations_in_strings(tmp_path: Path) -> None:
    code = "import aitoolbox as ai\ndef f(l: 'ai.TrainLoop', n: 'not python(') -> 'ai.TTModel': l.fit(1)\n"
    assert uses(tmp_path, code) == [
        "1:8 import aitoolbox",
        "2:10 reference TrainLoop",
        "2:47 reference TTModel",
        "2:63 member TrainLoop.fit",
    ]


def test_a_literal_is_no_annotation(tmp_path: Path) -> None:
    code = "from typing import Literal\nfrom aitoolbox import TrainLoop\ndef f(x: Literal['TrainLoop']): x.fit(1)\n"
    assert uses(tmp_path, code) == ["2:23 import TrainLoop"]
