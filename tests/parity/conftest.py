"""Options, fixtures and the summary of the parity tests.

Everything can also be given by environment variables, because pytest knows the options of this file only when
``tests/parity`` is named on the command line: ``COMPAT_PARITY_PART`` and ``COMPAT_PARITY_PYTHON``.
"""

from __future__ import annotations

import os
import sys

import pytest
from filelock import FileLock

from tests.parity.catalogue import share
from tests.parity.session import Session, open_session
from tests.parity.spec import Program

_SESSION = pytest.StashKey[Session]()
_SUMMARIES = pytest.StashKey[list[str]]()
_WORKER_OUTPUT = "parity_summary"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("parity", "differential tests against AIToolbox 1.8.0")
    group.addoption("--parity-part", default=None, help="N/M: judge the N-th of M shares of the programs")
    group.addoption("--compat-python", default=None, help="interpreter that runs our side of the programs")


def _option(config: pytest.Config, name: str, variable: str, default: str) -> str:
    return config.getoption(name, None) or os.environ.get(variable) or default


def _program_of(item: pytest.Item) -> Program | None:
    callspec = getattr(item, "callspec", None)
    program = callspec.params.get("program") if callspec is not None else None
    return program if isinstance(program, Program) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the share of the programs that ``--parity-part`` names; other tests stay."""
    part = _option(config, "--parity-part", "COMPAT_PARITY_PART", "1/1")
    ids = dict.fromkeys(program.id for program in map(_program_of, items) if program is not None)
    kept = set(share(list(ids), part))
    leave = [item for item in items if (program := _program_of(item)) is not None and program.id not in kept]
    if leave:
        config.hook.pytest_deselected(items=leave)
        items[:] = [item for item in items if item not in set(leave)]


@pytest.fixture(scope="session")
def parity(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Session:
    """All sides, run once for exactly the programs whose tests were selected."""
    programs = map(_program_of, request.session.items)
    ids = sorted({program.id for program in programs if program is not None})
    python = _option(request.config, "--compat-python", "COMPAT_PARITY_PYTHON", sys.executable)
    base = tmp_path_factory.getbasetemp()
    # Under xdist every worker has this fixture: the first one runs the programs, the others read its files.
    folder = (base.parent if hasattr(request.config, "workerinput") else base) / "parity"
    folder.mkdir(exist_ok=True)
    with FileLock(folder / "lock"):
        session = open_session(folder, ids, python)
    request.config.stash[_SESSION] = session
    return session


def _summary(session: Session) -> str:
    lines = [f"{session.judged} programs compared: {session.mode}"]
    if session.why:
        lines.append(f"no reference here: {session.why}")
    lines.append(
        f"seconds: reference {session.reference.seconds}, ours {session.ours.seconds}, "
        f"through the runner {session.installed.seconds}"
    )
    for quirk, (programs, values) in sorted(session.corrected.items()):
        lines.append(f"corrected on purpose, {quirk}: {values} values in {programs} programs")
    return "\n".join(lines)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Under xdist, hand the summary to the process that prints."""
    output = getattr(session.config, "workeroutput", None)
    judged = session.config.stash.get(_SESSION, None)
    if output is not None and judged is not None:
        output[_WORKER_OUTPUT] = _summary(judged)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """Collect what ``pytest_sessionfinish`` of an xdist worker handed over."""
    text = getattr(node, "workeroutput", {}).get(_WORKER_OUTPUT)
    config = getattr(node, "config", None)
    if text and isinstance(config, pytest.Config):
        config.stash.setdefault(_SUMMARIES, []).append(text)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what the comparison rested on: a green run against records proves less than one against the reference."""
    collected = config.stash.get(_SUMMARIES, None)
    texts = list(collected) if collected else []
    if (session := config.stash.get(_SESSION, None)) is not None:
        texts.append(_summary(session))
    if texts:
        terminalreporter.section("parity with AIToolbox 1.8.0")
    for text in texts:
        terminalreporter.write_line(text)
