"""The set of programs is large, readable, stable, and covers what it says it covers."""

from __future__ import annotations

import itertools
import re

import pytest

from tests.parity import generate, records
from tests.parity.backend import COMPAT, REFERENCE, Backend
from tests.parity.callbacks import CALLBACKS
from tests.parity.catalogue import STAND_IN, SWITCHED_BACK, Selection, all_programs, jobs, share
from tests.parity.corrections import CORRECTIONS, corrected_values, expected_observation
from tests.parity.data import DATA_SETS
from tests.parity.models import MODELS
from tests.parity.parts_loops import LOOPS
from tests.parity.parts_optim import CRITERIA
from tests.parity.spec import Fit


def test_there_are_enough_programs() -> None:
    assert len(generate.generated()) >= 150
    assert len(all_programs()) >= 400


def test_ids_are_unique_and_fit_on_a_command_line() -> None:
    ids = [program.id for program in all_programs()]
    assert len(set(ids)) == len(ids)
    assert [one for one in ids if not re.fullmatch(r"[\w.-]+", one)] == []


def test_same_programs_every_time() -> None:
    assert generate.generated() == generate.generated()
    assert len({repr(program) for program in all_programs()}) == len(all_programs())


def test_every_pair_of_axis_values_that_can_meet_meets() -> None:
    seen = {frozenset(pair) for row in generate.rows() for pair in itertools.combinations(row.items(), 2)}
    missed = [pair for pair in generate.all_pairs() if frozenset(pair) not in seen]
    # A pair that is allowed on its own may have no row: what its other axes then need is excluded.
    assert len(missed) <= 5, missed


def test_every_part_is_used_by_some_program() -> None:
    programs = [made for program in all_programs() for made in (program, program.stand_in) if made is not None]
    fits = [action for program in programs for action in program.actions if isinstance(action, Fit)]
    assert {mention.name for fit in fits for mention in fit.callbacks} >= set(CALLBACKS)
    assert {program.loop for program in programs} >= set(LOOPS)
    assert {program.model for program in programs} >= set(MODELS)
    assert {program.criterion for program in programs} >= set(CRITERIA)
    assert {program.data.kind for program in programs} >= set(DATA_SETS)
    assert {program.correction for program in programs} - {""} == set(CORRECTIONS)


def test_corrections_are_declared_whole() -> None:
    for program in all_programs():
        changed = bool(program.correction) or program.stand_in is not None
        assert bool(program.corrected) is changed, program.id
        assert all(re.fullmatch(r"Q\d{2,3}", quirk) for quirk in program.corrected), program.id
        assert program.corrected or not program.switchable, program.id


def test_smoke_part_is_small_and_reaches_every_theme() -> None:
    smoke = [program for program in all_programs() if program.smoke]
    assert 20 <= len(smoke) <= 80
    assert any(program.corrected for program in smoke)
    assert any(program.model == "multi" for program in smoke)
    assert any(program.loop for program in smoke)


def test_shares_are_disjoint_and_complete() -> None:
    work = jobs(COMPAT, Selection())
    parts = [share(work, f"{number}/3") for number in (1, 2, 3)]
    assert sorted(job.key for part in parts for job in part) == sorted(job.key for job in work)


@pytest.mark.parametrize("part", ["0/2", "3/2", "1", "a/b", ""])
def test_bad_share_is_refused(part: str) -> None:
    with pytest.raises(ValueError, match="a part is N/M"):
        share([], part)


def test_each_side_has_its_own_extra_runs() -> None:
    reference = {job.key for job in jobs(REFERENCE, Selection())}
    ours = {job.key for job in jobs(COMPAT, Selection())}
    assert {key for key in reference - ours if not key.endswith(STAND_IN)} == set()
    assert {key for key in ours - reference if not key.endswith(SWITCHED_BACK)} == set()


def test_backend_knows_two_sides_and_only_its_names() -> None:
    with pytest.raises(ValueError, match="a backend is"):
        Backend("third")
    with pytest.raises(AttributeError, match="not among the names"):
        Backend(COMPAT).NoSuchName  # noqa: B018 - the lookup is the test


def test_record_holds_exactly_the_runs_of_the_reference() -> None:
    _, recorded = records.read()
    assert set(recorded) == {job.key for job in jobs(REFERENCE, Selection())}, "run python -m tests.parity.record"


def test_every_correction_expects_something_else_than_the_reference_gives() -> None:
    _, recorded = records.read()
    idle = []
    for program in all_programs():
        plain = recorded[program.id]
        expected = expected_observation(program, plain, recorded.get(program.id + STAND_IN))
        if (corrected_values(plain, expected) > 0) is not bool(program.corrected):
            idle.append(program.id)
    assert idle == []
