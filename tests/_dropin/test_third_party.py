"""A team's own tests of code that uses the old library run with ``python -m compat run -m pytest``."""

import shutil
from pathlib import Path

import pytest

from tests._dropin.processes import PLAIN, SERVED, run

PROJECT = Path(__file__).with_name("third_party")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PROJECT, tmp_path / "project"))


@pytest.mark.parametrize("more", [(), ("-n", "2")], ids=["one process", "two workers"])
def test_a_third_party_suite_runs(project: Path, more: tuple[str, ...]) -> None:
    done = run(*SERVED, "-m", "pytest", "-q", "-p", "no:cacheprovider", *more, folder=project, seconds=240)
    assert "14 passed" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0


def test_its_failures_are_failures(project: Path) -> None:
    broken = project / "tests" / "test_broken.py"
    broken.write_text(
        "from shop.training import train\ndef test_wrong():\n    assert train(1) is None\n", encoding="utf-8"
    )
    done = run(*SERVED, "-m", "pytest", "-q", "tests/test_broken.py", folder=project, seconds=240)
    assert done.returncode == 1
    assert "1 failed" in done.stdout


def test_control_it_does_not_run_without(project: Path) -> None:
    done = run(*PLAIN, "-m", "pytest", "-q", folder=project)
    assert done.returncode != 0
    assert "No module named 'aitoolbox'" in done.stdout + done.stderr
