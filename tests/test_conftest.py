"""The guards of conftest.py, each against a test that leaves something behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What a test does, and what the guard must say of it.
LEAKS = {
    "variable": ("import os; os.environ['LEFT'] = '1'", "variables: LEFT was None, is '1'"),
    "lost_variable": ("import os; del os.environ['THERE']", "variables: THERE was 'yes', is None"),
    "thread": ("import threading; threading.Timer(3, print).start()", "(Timer) is new"),
    "process": (
        "import multiprocessing, time; multiprocessing.Process(target=time.sleep, args=(3,)).start()",
        "Process-1",
    ),
    "file": ("open('left.txt', 'w').close()", "files: left.txt is new"),
    "grad_mode": ("torch.set_grad_enabled(False)", "torch_flags: grad mode was True, is False"),
    "dtype": ("torch.set_default_dtype(torch.float64)", "torch_flags: default dtype was torch.float32"),
    "torch_threads": ("torch.set_num_threads(torch.get_num_threads() + 1)", "torch_flags: threads was"),
    "directory": ("import os; os.chdir('/')", "directory: was"),
}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Run all of them, and two tests that leave nothing, in a pytest of their own."""
    folder = tmp_path_factory.mktemp("leaks")
    lines = ["import torch", "def test_draw(): assert torch.rand(1) != torch.rand(1)"]
    lines += [f"def test_{name}():\n    {code}" for name, (code, _) in LEAKS.items()]
    lines += ["def test_draw_again(): assert torch.initial_seed() == SEED", "SEED = torch.initial_seed()"]
    folder.joinpath("test_leaks.py").write_text("\n".join(lines), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "-p", "no:xdist", "-rA"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "THERE": "yes", "COLUMNS": "500"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.stdout


@pytest.mark.parametrize("name", LEAKS)
def test_leaker_fails_and_is_told_what_it_left(report: str, name: str) -> None:
    assert f"ERROR test_leaks.py::test_{name} - Failed: This test leaves something behind" in report
    assert LEAKS[name][1] in report


def test_tidy_tests_pass(report: str) -> None:
    assert f"{len(LEAKS) + 2} passed, {len(LEAKS)} errors" in report
