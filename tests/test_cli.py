"""``python -m compat``: its commands, what it prints, and its exit codes."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import compat
from compat.cli import main


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"trainloop-compat {compat.__version__}\n"


def test_version_is_that_of_the_installed_package() -> None:
    assert version("trainloop-compat") == compat.__version__


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_help_page(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: python -m compat [-h] [--version] COMMAND ...\n")
    for said in ("COMPAT_QUIET=1", "COMPAT_QUIRKS=Q01=fixed", "compat.install()", "run ", "check "):
        assert said in out


@pytest.mark.parametrize("command", ["run", "check"])
def test_each_command_has_a_help_page(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: python -m compat {command} ")


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["--no-such-option"], "unrecognized arguments: --no-such-option"),
        (["no-such-command"], "invalid choice: 'no-such-command'"),
        (["check"], "the following arguments are required: PATH"),
        (["run"], "there is no program to run"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_arguments_that_cannot_be_understood(argv: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    assert problem in capsys.readouterr().err


def test_check_as_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it finds is tested in tests/migrate; here, that the command leads there."""
    clean, old = tmp_path / "clean.py", tmp_path / "old.py"
    clean.write_text("import json\n", encoding="utf-8")
    old.write_text("from aitoolbox import TrainLoop\n", encoding="utf-8")
    assert main(["check", str(clean)]) == 0
    assert main(["check", str(old)]) == 1
    assert "TrainLoop" in capsys.readouterr().out
    assert main(["check", str(tmp_path / "no_such.py")]) == 2


@pytest.mark.parametrize(
    ("argv", "code"), [(["--version"], 0), (["--no-such-option"], 2), (["run", "-c", "raise SystemExit(7)"], 7)]
)
def test_as_a_module(argv: list[str], code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "compat", *argv], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == code
    assert bool(done.stdout or done.stderr) == (code != 7)
