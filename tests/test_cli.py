"""``python -m compat``: what it prints, and its exit codes."""

import subprocess
import sys
from importlib.metadata import version

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
    assert out.startswith("usage: python -m compat [-h] [--version]\n")
    assert "COMPAT_QUIET=1" in out
    assert "COMPAT_QUIRKS=Q01=fixed" in out


@pytest.mark.parametrize("argv", [["--no-such-option"], ["no-such-command"]])
def test_arguments_that_cannot_be_understood(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    assert f"unrecognized arguments: {argv[0]}" in capsys.readouterr().err


@pytest.mark.parametrize(("argv", "code"), [(["--version"], 0), (["--no-such-option"], 2)])
def test_as_a_module(argv: list[str], code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "compat", *argv], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == code
    assert (done.stdout or done.stderr) != ""
