"""The only place that prints."""

import subprocess
import sys

import pytest

from compat import _console
from compat._console import is_quiet, progress, say, verbose


def test_says_a_line_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    say("AVG", 1.5, None)
    say("a", "b", sep="")
    say()
    captured = capsys.readouterr()
    assert captured.out == "AVG 1.5 None\nab\n\n"
    assert captured.err == ""


def test_progress_is_shown_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress([1, 2, 3], "Training")) == [1, 2, 3]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.lstrip("\r").startswith("Training:   0%|")
    assert "3/3" in captured.err


def test_progress_of_something_without_a_length(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress(iter([1, 2]), "Training")) == [1, 2]
    assert "Training: 2it" in capsys.readouterr().err


def test_verbose_off_silences_both(capsys: pytest.CaptureFixture[str]) -> None:
    verbose(False)
    batches = [1, 2]
    say("unheard")
    assert progress(batches, "unseen") is batches
    assert capsys.readouterr() == ("", "")
    verbose()
    say("heard")
    assert capsys.readouterr().out == "heard\n"


@pytest.mark.parametrize("value", ["1", "true", "YES", "on"])
def test_environment_silences(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPAT_QUIET", value)
    assert is_quiet()


@pytest.mark.parametrize("value", ["", "0", "false", " No ", "OFF"])
def test_environment_that_does_not_silence(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPAT_QUIET", value)
    assert not is_quiet()


@pytest.mark.parametrize("rank", [0, 1])
def test_only_rank_zero_speaks(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("torch.distributed")
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_rank", lambda: rank)
    assert is_quiet() is (rank != 0)


def test_importing_the_console_loads_no_torch() -> None:
    program = "import sys, compat._console as c; c.say('x'); print('torch' in sys.modules, 'tqdm' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "x\nFalse False\n"
    assert _console.__name__ == "compat._console"
