"""An override is called when the old library called it, and is passed what it was passed there."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import compat
from tests import call_graph
from tests.call_graph import PROGRAMS, Log

OURS = call_graph.with_own(
    SimpleNamespace(**{name: value for name in compat.__all__ if isinstance(value := getattr(compat, name), type)})
)
RECORD = call_graph.recorded()


def calls_of(name: str) -> list[str]:
    log = Log()
    PROGRAMS[name](OURS, log)
    return log.calls


# What warns or prints otherwise is the subject of other tests.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PROGRAMS)
def test_calls_are_those_of_the_old_library(name: str) -> None:
    assert calls_of(name) == RECORD[name]


def test_record_is_of_these_programs() -> None:
    assert list(RECORD) == list(PROGRAMS)
    assert all(RECORD.values())


@pytest.mark.timeout(3600)
def test_record_is_what_the_reference_says(reference_python: Path) -> None:
    assert call_graph.asked(reference_python) == RECORD


def test_control_another_way_of_passing_and_another_order_are_seen() -> None:
    class Thing:
        def first(self, value: Any = 0) -> None:
            """Do nothing."""

        def second(self) -> None:
            """Do nothing."""

    def seen(*acts: Any) -> list[str]:
        log = Log()
        thing = log(Thing)()
        for act in acts:
            act(thing)
        return log.calls

    usual = seen(lambda thing: thing.first(1), lambda thing: thing.second())
    assert usual == ["Thing.first 1", "Thing.second 0"]
    assert seen(lambda thing: thing.first(value=1), lambda thing: thing.second()) != usual
    assert seen(lambda thing: thing.second(), lambda thing: thing.first(1)) != usual
    assert seen(lambda thing: thing.first(1)) != usual
