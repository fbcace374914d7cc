"""All programs, the jobs that each side has to run for them, and the cut into shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from tests.parity.backend import COMPAT, REFERENCE
from tests.parity.generate import generated
from tests.parity.spec import Program
from tests.parity.specials_control import CONTROL
from tests.parity.specials_corrected import CORRECTED
from tests.parity.specials_data import DATA
from tests.parity.specials_evaluation import EVALUATION
from tests.parity.specials_hooks import HOOKS
from tests.parity.specials_loops import LOOP_PROGRAMS
from tests.parity.specials_losses import LOSSES
from tests.parity.specials_predictor import PREDICTOR
from tests.parity.specials_reports import REPORTS

T = TypeVar("T")

STAND_IN = "~stand-in"
SWITCHED_BACK = "~switched-back"


@dataclass(frozen=True)
class Job:
    """One run of one program on one side."""

    key: str
    program: Program
    quirks: dict[str, str] | None = None


def all_programs() -> tuple[Program, ...]:
    """Every program: the generated ones first, then the hand-written ones by theme."""
    return (
        *generated(),
        *CONTROL,
        *DATA,
        *HOOKS,
        *LOOP_PROGRAMS,
        *LOSSES,
        *EVALUATION,
        *REPORTS,
        *PREDICTOR,
        *CORRECTED,
    )


@dataclass(frozen=True)
class Selection:
    """Which programs to run; every condition given must hold.

    Attributes:
        smoke: only the small representative part.
        words: the id contains one of these.
        ids: the id is one of these.
    """

    smoke: bool = False
    words: tuple[str, ...] = ()
    ids: frozenset[str] | None = None

    def __contains__(self, program: Program) -> bool:
        return (
            (program.smoke or not self.smoke)
            and (not self.words or any(word in program.id for word in self.words))
            and (self.ids is None or program.id in self.ids)
        )


def jobs(side: str, wanted: Selection) -> list[Job]:
    """What ``side`` runs: stand-ins come on top on the reference, switched-back runs on ours."""
    made: list[Job] = []
    for program in all_programs():
        if program not in wanted:
            continue
        made.append(Job(program.id, program))
        if side == REFERENCE and program.stand_in is not None:
            made.append(Job(program.id + STAND_IN, program.stand_in))
        if side == COMPAT and program.switchable:
            made.append(Job(program.id + SWITCHED_BACK, program, dict.fromkeys(program.corrected, "kept")))
    return made


def share(work: Sequence[T], part: str) -> list[T]:
    """The N-th of M shares of ``work``, ``part`` being ``N/M``.

    Raises:
        ValueError: ``part`` is not of that form, or N is not between 1 and M.
    """
    number, _, count = part.partition("/")
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise ValueError(f"a part is N/M with 1 <= N <= M, for example 1/2; got {part!r}")
    return list(work[int(number) - 1 :: int(count)])
