"""Metrics and result packages against the reference: numbers to the last bit, builtin errors, printed lines.

What the reference said is recorded in ``record_1_8_0.json``. Where ``COMPAT_REFERENCE_ENV`` names an environment that
holds it, it is asked again.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import compat
from tests.experiment import worker
from tests.experiment.cases import Case, cases, outcome
from tests.experiment.programs import run
from tests.experiment.worker import PROGRAMS

OURS = SimpleNamespace(
    **{name: value for name in compat.__all__ if isinstance(value := getattr(compat, name), type)},
)
CASES = {case.name: case for case in cases()}
RECORD = worker.recorded()
WITHOUT_HYPERPARAMETERS = "packages without hyperparameters"
NAMES_LOST = "names that the old library lost"

# Programs whose outcome is corrected: what they do here, and the oddity, if it has an id.
CORRECTED: dict[str, tuple[str, Any]] = {
    WITHOUT_HYPERPARAMETERS: ("Q117", [None, ["ValueError"]]),
    "general package without hyperparameters": ("Q117", ["Accuracy"]),
    "check of metric classes": ("Q117", None),
    "precalculated package in a loop": ("Q119", {"a": 1}),
    NAMES_LOST: ("", [["ResultPackage1", "ResultPackage11"], ["a2", "a", "a22"]]),
}


def differences(ours: dict[str, Any], old: dict[str, Any]) -> list[str]:
    """What is not as it was. Of the builtin errors that one can be caught by, one must be left."""
    both = {*ours, *old}
    found = [key for key in both - {"errors"} if ours.get(key) != old.get(key)]
    if ("errors" in both) and not {*ours.get("errors", ())} & {*old.get("errors", ())}:
        found.append("errors")
    return [f"{key}: {ours.get(key)} was {old.get(key)}" for key in sorted(found)]


def metric_differences(case: Case) -> list[str]:
    return differences(outcome(getattr(OURS, case.metric), case), RECORD["metrics"][case.name])


@pytest.mark.parametrize("metric", sorted({case.metric for case in CASES.values()}))
def test_metric_is_the_same_in_every_case(metric: str) -> None:
    of_it = [case for case in CASES.values() if case.metric == metric]
    assert len(of_it) > 80
    assert {case.name: found for case in of_it if (found := metric_differences(case))} == {}


@pytest.mark.parametrize("name", [name for name in PROGRAMS if name not in CORRECTED])
def test_program_is_the_same(name: str) -> None:
    ours = worker.as_read(run(PROGRAMS[name], OURS))
    assert with_builtin_errors(ours, RECORD["programs"][name]) == RECORD["programs"][name]


@pytest.mark.parametrize("name", CORRECTED)
def test_corrected_program(name: str) -> None:
    quirk, expected = CORRECTED[name]
    ours, old = worker.as_read(run(PROGRAMS[name], OURS)), RECORD["programs"][name]
    assert ours != old
    assert "errors" not in ours
    returned = ours["returned"]
    if name == "general package without hyperparameters":
        returned = returned[1]
    elif name == "precalculated package in a loop":
        returned = returned["results_dict"]
    assert returned == expected
    assert not quirk or compat.quirks.counts()[quirk] > 0


def with_builtin_errors(ours: Any, old: Any) -> Any:
    """Ours, with the old errors wherever ours can be caught as one of them."""
    if isinstance(ours, dict) and isinstance(old, dict):
        return {key: with_builtin_errors(value, old.get(key)) for key, value in ours.items()}
    if isinstance(ours, list) and isinstance(old, list):
        if {*map(str, ours)} & {*map(str, old)} & {"ValueError", "TypeError", "IndexError", "KeyError"}:
            return old if all(isinstance(part, str) for part in [*ours, *old]) else ours
        return [with_builtin_errors(*pair) for pair in zip(ours, old, strict=True)] if len(ours) == len(old) else ours
    return ours


def test_record_is_of_these_cases_and_programs() -> None:
    assert list(RECORD["metrics"]) == list(CASES)
    assert list(RECORD["programs"]) == list(PROGRAMS)


@pytest.mark.timeout(3600)
def test_record_is_what_the_reference_says(reference_python: Path) -> None:
    assert worker.asked(reference_python) == RECORD


# The same checks must see what is wrong.


@pytest.mark.parametrize(
    ("ours", "old", "found"),
    [
        ({"number": "0x1.0p+0"}, {"number": "0x1.0p+0"}, 0),
        ({"number": "0x1.0000000000001p+0"}, {"number": "0x1.0p+0"}, 1),
        ({"number": "0x1.0p+0", "type": "float64"}, {"number": "0x1.0p+0", "type": "float"}, 1),
        ({"number": "0x1.0p+0", "undefined": ["x"]}, {"number": "0x1.0p+0"}, 1),
        ({"errors": ["ValueError"]}, {"errors": ["ValueError", "TypeError"]}, 0),
        ({"errors": ["ValueError"]}, {"errors": ["TypeError"]}, 1),
        ({"number": "0x1.0p+0"}, {"errors": ["TypeError"]}, 2),
        ({"errors": ["TypeError"]}, {"errors": ["TypeError"], "printed": "x"}, 1),
    ],
    ids=[
        "equal",
        "the last bit",
        "another type",
        "a warning",
        "one of two errors",
        "another error",
        "no error",
        "a line",
    ],
)
def test_control_a_difference_is_seen(ours: dict[str, Any], old: dict[str, Any], found: int) -> None:
    assert len(differences(ours, old)) == found


def test_control_another_metric_is_seen() -> None:
    name = "MeanSquaredErrorMetric: lists"
    wrong = Case(name, "MeanAbsoluteErrorMetric", CASES[name].y_true, CASES[name].y_predicted)
    assert len(metric_differences(wrong)) == 1


def test_control_another_program_is_seen() -> None:
    name = "add packages"
    ours = worker.as_read(run(PROGRAMS["add metrics"], OURS))
    assert with_builtin_errors(ours, RECORD["programs"][name]) != RECORD["programs"][name]
    assert with_builtin_errors({"returned": [["KeyError"]]}, {"returned": [["ValueError"]]}) == {
        "returned": [["KeyError"]]
    }
