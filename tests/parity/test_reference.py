"""When the reference's environment is used, built, or done without; and what its record says."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

from tests.parity import records, reference
from tests.parity.session import WorkerFailedError, run_side


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that stands for the reference's environment."""
    folder = tmp_path / "env"
    monkeypatch.setenv(reference.FOLDER_VARIABLE, str(folder))
    monkeypatch.delenv(reference.SWITCH_VARIABLE, raising=False)
    return folder


def _interpreter_that(environment: Path, script: str) -> None:
    python = reference.interpreter(environment)
    python.parent.mkdir(parents=True)
    python.write_text(f"#!{sys.executable}\n{script}\n", encoding="utf-8")
    python.chmod(0o755)


def test_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(reference.SWITCH_VARIABLE, "off")
    with pytest.raises(reference.ReferenceUnavailableError, match="switched off by COMPAT_REFERENCE=off"):
        reference.prepare()


def test_stamped_environment_is_reused_as_it_is(environment: Path) -> None:
    environment.mkdir()
    (environment / reference.STAMP).write_text(json.dumps(reference.wanted_versions()), encoding="utf-8")
    assert reference.prepare() == reference.interpreter(environment)


def test_prepared_environment_is_accepted_without_a_stamp(environment: Path) -> None:
    versions = json.dumps(reference.wanted_versions())
    _interpreter_that(environment, f"print('a notice')\nprint({versions!r})")
    assert reference.prepare() == reference.interpreter(environment)
    assert not (environment / reference.STAMP).exists()


def test_prepared_environment_with_another_torch_is_refused_and_left_alone(environment: Path) -> None:
    versions = json.dumps({**reference.wanted_versions(), "torch": "1.0"})
    _interpreter_that(environment, f"print({versions!r})")
    with pytest.raises(reference.ReferenceUnavailableError, match="does not hold"):
        reference.prepare()
    assert reference.interpreter(environment).exists()


def test_stamp_is_written_only_after_everything_else(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "_build", lambda folder: folder.mkdir())
    with pytest.raises(reference.ReferenceUnavailableError, match="does not import"):
        reference.prepare()
    assert not (environment / reference.STAMP).exists()


def test_failed_installation_says_the_last_line_of_pip(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **more: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 1, "", "first\nERROR: no route to the index\n")

    monkeypatch.setattr(venv, "create", lambda *args, **more: environment.mkdir())
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(reference.ReferenceUnavailableError, match="ERROR: no route to the index"):
        reference.prepare()
    assert any(part.startswith("torch==") for part in commands[0])


def test_record_reads_back_as_written(tmp_path: Path) -> None:
    path = tmp_path / "record.json.xz"
    programs = {"a": {"loss": [0.1, float("inf"), -0.0], "text": "ä"}}
    records.write({"torch": "2"}, programs, path)
    again = path.read_bytes()
    assert records.read(path) == ({"torch": "2"}, programs)
    records.write({"torch": "2"}, programs, path)
    assert path.read_bytes() == again


def test_record_of_another_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record.json.xz"
    monkeypatch.setattr(records, "FORMAT", 0)
    records.write({}, {}, path)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="record it anew"):
        records.read(path)


def test_record_in_the_repository_is_small_and_says_where_it_was_made() -> None:
    environment, _ = records.read()
    assert records.PATH.stat().st_size < 3_000_000
    assert set(environment) == {"torch", "numpy", "capability", "threads"}


@pytest.mark.parametrize("name", ["torch", "capability", "threads"])
def test_records_are_bitwise_only_in_an_equal_environment(name: str) -> None:
    environment = {"torch": "2.13.0", "numpy": "2.4", "capability": "AVX2", "threads": 1}
    assert records.bitwise(environment, {**environment, "numpy": "1.26"})
    assert not records.bitwise(environment, {**environment, name: "another"})


def test_worker_that_dies_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\nraise SystemExit('no such library')\n", encoding="utf-8")
    python.chmod(0o755)
    with pytest.raises(WorkerFailedError, match="no such library"):
        run_side("compat", str(python), tmp_path)
