"""Run the workers of both sides and judge every program; pytest and ``record`` only ask for the outcome."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tests.parity import records
from tests.parity.backend import COMPAT, INSTALLED, REFERENCE
from tests.parity.catalogue import STAND_IN, SWITCHED_BACK
from tests.parity.compare import Difference, compare
from tests.parity.corrections import corrected_values, expected_observation
from tests.parity.reference import ROOT, ReferenceUnavailableError, prepare
from tests.parity.spec import Program

SHARDS = 2
_SHARD_SECONDS = 1200


class WorkerFailedError(Exception):
    """A worker ended without a result; the message holds the end of what it wrote."""


@dataclass(frozen=True)
class Side:
    """All observations of one side."""

    environment: dict[str, Any]
    programs: dict[str, Any]
    seconds: float


def run_side(side: str, python: str, folder: Path, ids: list[str] | None = None) -> Side:
    """Run all shards of one side at the same time and join their results.

    Args:
        side: one of ``backend.SIDES``.
        python: interpreter that can import that side.
        folder: where results and logs go; results that lie there already are taken as they are.
        ids: only these programs.

    Raises:
        WorkerFailedError: a worker died.
    """
    outs = [folder / f"{side}-{number}.json" for number in range(1, SHARDS + 1)]
    if not all(out.exists() for out in outs):
        _run_workers(side, python, folder, outs, ids)
    parts = [json.loads(out.read_text(encoding="utf-8")) for out in outs]
    programs = {key: observation for part in parts for key, observation in part["programs"].items()}
    return Side(parts[0]["environment"], programs, max(part["seconds"] for part in parts))


def _run_workers(side: str, python: str, folder: Path, outs: list[Path], ids: list[str] | None) -> None:
    runner = ["-m", "compat", "run"] if side == INSTALLED else []
    base = [python, *runner, "-m", "tests.parity.worker", "--side", side]
    if ids is not None:
        wanted = folder / f"{side}-ids.json"
        wanted.write_text(json.dumps(ids), encoding="utf-8")
        base += ["--ids", str(wanted)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with contextlib.ExitStack() as stack:
        running = []
        for number, out in enumerate(outs, start=1):
            log = stack.enter_context(out.with_suffix(".log").open("wb"))
            command = [*base, "--out", str(out), "--part", f"{number}/{len(outs)}"]
            running.append(stack.enter_context(_worker(command, environment, log)))
        for process in running:
            process.wait(timeout=_SHARD_SECONDS)
    for process, out in zip(running, outs, strict=True):
        if process.returncode != 0 or not out.exists():
            tail = out.with_suffix(".log").read_text(encoding="utf-8", errors="replace")[-3000:]
            raise WorkerFailedError(f"a {side} worker ended with {process.returncode}:\n{tail}")


@contextlib.contextmanager
def _worker(command: list[str], environment: dict[str, str], log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process that does not outlive the block, whatever ends the block."""
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@dataclass
class Session:
    """All sides of one test session.

    Attributes:
        reference: the old library.
        ours: this package, by its own name.
        installed: this package, by the old name, in processes started with ``python -m compat run``.
        mode: what the comparison rests on, in words; part of the terminal summary.
        exact: floats are compared bit for bit.
        why: why the reference did not run here, or nothing.
        judged: number of programs judged so far.
        corrected: by quirk ids, how many programs and values are expected otherwise than the reference gives them.
    """

    reference: Side
    ours: Side
    installed: Side
    mode: str
    exact: bool
    why: str = ""
    judged: int = 0
    corrected: dict[str, tuple[int, int]] = field(default_factory=dict)

    def judge(self, program: Program) -> list[Difference]:
        """Differences between what is expected of ``program`` and what our run of it gave."""
        plain = self.reference.programs[program.id]
        expected = expected_observation(program, plain, self.reference.programs.get(program.id + STAND_IN))
        self.judged += 1
        if program.corrected:
            name = "+".join(program.corrected)
            programs, values = self.corrected.get(name, (0, 0))
            self.corrected[name] = (programs + 1, values + corrected_values(plain, expected))
        return compare(expected, self.ours.programs[program.id], exact=self.exact)

    def judge_installed(self, program: Program) -> list[Difference]:
        """Differences between what is expected of ``program`` and what it gave under the old import paths."""
        plain = self.reference.programs[program.id]
        expected = expected_observation(program, plain, self.reference.programs.get(program.id + STAND_IN))
        return compare(expected, self.installed.programs[program.id], exact=self.exact)

    def judge_switched_back(self, program: Program) -> list[Difference]:
        """Differences to the unmodified reference when the program's corrections are switched back."""
        observed = self.ours.programs[program.id + SWITCHED_BACK]
        return compare(self.reference.programs[program.id], observed, exact=self.exact)


def open_session(folder: Path, ids: list[str], compat_python: str = sys.executable) -> Session:
    """Run ``ids`` on all sides, or on ours alone if the reference cannot run here and its record has to serve."""
    why = ""
    try:
        reference = run_side(REFERENCE, str(prepare()), folder, ids)
        source = "reference run here"
    except ReferenceUnavailableError as error:
        why = str(error)
        environment, programs = records.read()
        reference = Side(environment, programs, 0.0)
        source = "records"
    ours = run_side(COMPAT, compat_python, folder, ids)
    installed = run_side(INSTALLED, compat_python, folder, ids)
    exact = records.bitwise(reference.environment, ours.environment)
    return Session(reference, ours, installed, f"{source}, {'bit for bit' if exact else 'rtol 1e-5'}", exact, why)
