"""Every program gives here what it gives on AIToolbox 1.8.0, or what ``corrections`` says it must give instead."""

from __future__ import annotations

import pytest

from tests.parity.catalogue import all_programs
from tests.parity.compare import Difference
from tests.parity.session import Session
from tests.parity.spec import Program

# Building the reference's environment may be a large download.
pytestmark = pytest.mark.timeout(3600)

_SHOWN = 12


def _param(program: Program) -> object:
    marks = [pytest.mark.parity_smoke] if program.smoke else []
    if program.pending:
        marks.append(pytest.mark.xfail(reason=program.pending, strict=True))
    return pytest.param(program, id=program.id, marks=marks)


def _told(program: Program, differences: list[Difference]) -> str:
    lines = [f"{program.id}: {len(differences)} differences"]
    lines += [f"  {difference}" for difference in differences[:_SHOWN]]
    return "\n".join(lines)


@pytest.mark.parametrize("program", [_param(program) for program in all_programs()])
def test_same_as_reference(parity: Session, program: Program) -> None:
    differences = parity.judge(program)
    assert not differences, _told(program, differences)


@pytest.mark.parametrize("program", [_param(program) for program in all_programs()])
def test_same_through_the_runner(parity: Session, program: Program) -> None:
    """The same program with the old import paths, in a process that was started with ``python -m compat run``."""
    differences = parity.judge_installed(program)
    assert not differences, _told(program, differences)


@pytest.mark.parametrize("program", [_param(program) for program in all_programs() if program.switchable])
def test_switched_back(parity: Session, program: Program) -> None:
    differences = parity.judge_switched_back(program)
    assert not differences, _told(program, differences)
