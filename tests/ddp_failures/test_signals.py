"""Signals to the program that trains in workers: it does what it always does, and no worker outlives it."""

import functools
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ddp_failures.watching import Program, is_alive, within

pytestmark = pytest.mark.timeout(240)


def workers_of(program: Program, folder: Path, number: int) -> list[int]:
    """Wait until both workers of a fit are in their first batch, and return their process ids."""
    marks = [folder / f"fit-{number}" / f"rank-{rank}.mark" for rank in (0, 1)]
    assert within(120, lambda: all(mark.exists() for mark in marks) or program.process.poll() is not None)
    assert program.process.poll() is None, program.err
    return [int(mark.read_text().split()[1]) for mark in marks]


def has_said(program: Program, text: str) -> bool:
    return program.out == text


def gone_within(seconds: float, workers: list[int]) -> bool:
    return bool(within(seconds, lambda: not any(map(is_alive, workers))))


def test_ctrl_c_and_the_default_of_sigterm(tmp_path: Path) -> None:
    to_the_program: Callable[[int, int], None] = os.kill
    with Program("-m", "tests.ddp_failures.program", str(tmp_path), "3", folder=tmp_path) as program:
        # `kill -INT`, then Ctrl-C, which a terminal sends to the workers as well.
        for number, send in enumerate((to_the_program, os.killpg)):
            workers = workers_of(program, tmp_path, number)
            send(program.process.pid, signal.SIGINT)
            assert gone_within(15, workers)
            said = "interrupted [] True True\n" * (number + 1)
            assert within(10, functools.partial(has_said, program, said)), program.out
        workers = workers_of(program, tmp_path, 2)
        os.kill(program.process.pid, signal.SIGTERM)
        assert program.ended(20) == -signal.SIGTERM
        assert gone_within(1, workers)
        assert program.out == "interrupted [] True True\n" * 2
        assert program.err == ""
        assert within(5, lambda: not program.others()), program.others()
        assert [file.name for file in program.temporary.iterdir() if not file.name.startswith("torchinductor")] == []


def test_workers_end_soon_after_a_program_that_was_killed(tmp_path: Path) -> None:
    with Program("-m", "tests.ddp_failures.program", str(tmp_path), "1", folder=tmp_path) as program:
        workers = workers_of(program, tmp_path, 0)
        program.process.kill()
        started = time.monotonic()
        assert program.ended(5) == -signal.SIGKILL
        assert gone_within(15, workers), time.monotonic() - started
        assert within(5, lambda: not program.others()), program.others()
