"""``check`` from the command line: arguments, files, exit codes."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from compat.migrate.cli import configure, execute
from tests.migrate.reading import write

RUN = (
    "import argparse, sys; from compat.migrate.cli import configure, execute\n"
    "parser = argparse.ArgumentParser(); configure(parser); sys.exit(execute(parser.parse_args()))"
)


def run(*argv: str) -> int:
    parser = argparse.ArgumentParser()
    configure(parser)
    return execute(parser.parse_args(argv))


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return write(tmp_path, "program.py", "from aitoolbox import TrainLoop\n")


def test_text_goes_to_the_terminal(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(str(program)) == 1
    out, err = capsys.readouterr()
    assert out.startswith(f"{program}\n  1:23  ")
    assert err == ""


def test_silence_does_not_silence_a_report(
    program: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPAT_QUIET", "1")
    run(str(program))
    assert capsys.readouterr().out != ""


def test_json_goes_to_the_terminal(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json", str(program)) == 1
    assert json.loads(capsys.readouterr().out)["findings"][0]["line"] == 1


def test_reports_in_files(program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, page = tmp_path / "report.json", tmp_path / "report.html"
    assert run(str(program), "--json", "--output", str(text), "--html", str(page)) == 1
    assert capsys.readouterr().out == ""
    assert json.loads(text.read_text(encoding="utf-8"))["schema"] == 1
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["program.py", "report.html", "report.json"]


@pytest.mark.parametrize("option", ["--output", "--html"])
def test_a_file_that_cannot_be_written(
    option: str, program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = str(tmp_path / "no" / "such" / "folder" / "x")
    assert run(str(program), option, target) == 2
    assert f"{target!r} cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("code", "expected"),
    [("import os\n", 0), ("import aitoolbox\n", 1), ("import aitoolbox\n(", 2)],
)
def test_exit_codes_of_the_process(code: str, expected: int, tmp_path: Path) -> None:
    path = write(tmp_path, "a.py", code)
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (expected, "")


@pytest.mark.parametrize("argv", [[], ["a", "--nothing"], ["--html"]])
def test_arguments_that_cannot_be_understood(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run(*argv)
    assert stop.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--output", "x", "--html", "./x"), "both name './x'"),
        (("--html", "-"), "names no file"),
        (("--html", "a.py"), "is to be read"),
        (("--output", "a.py"), "is to be read"),
    ],
)
def test_files_that_would_overwrite_each_other(
    argv: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, "a.py", "import aitoolbox\n")
    assert run("a.py", *argv) == 2
    assert said in capsys.readouterr().err
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(path.name, "import aitoolbox\n")]


def test_a_dash_is_the_terminal(program: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(str(program), "--output", "-") == 1
    assert "Uses of AIToolbox" in capsys.readouterr().out
    assert not Path("-").exists()


def test_a_path_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("/no/such/path") == 2
    assert "/no/such/path: no such file or directory" in capsys.readouterr().out


def test_a_terminal_that_shows_ascii_alone(tmp_path: Path) -> None:
    path = write(tmp_path, "é.py", "import aitoolbox\n")
    environment = {"PYTHONIOENCODING": "ascii", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", RUN, str(path)],
        capture_output=True,
        timeout=60,
        env=environment,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, b"")
    assert b"\\xe9.py" in done.stdout


def test_a_reader_that_stops_reading(tmp_path: Path) -> None:
    path = write(tmp_path, "a.py", "from aitoolbox import TrainLoop\n" + "TrainLoop\n" * 20_000)
    with subprocess.Popen(
        [sys.executable, "-c", RUN, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 1
