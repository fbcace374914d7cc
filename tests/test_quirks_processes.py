"""The oddities of training in several processes: counted where they change the outcome, and their two switches."""

import inspect
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from compat import TrainLoop, _ledger, quirks
from compat.exceptions import QuirkWarning
from tests.quirk_processes import TRIED, Gathering, Predicting, Seed, trained
from tests.toys import data_loader, make_loop

SEED = 5
# The rows of the validation set, and how two processes with a DistributedSampler have them.
ROWS = data_loader(5).dataset.tensors[1].flatten().tolist()  # type: ignore[attr-defined]
BY_RANK = [ROWS[row] for row in (0, 2, 4, 1, 3, 0)]


@dataclass
class Fit:
    """A fit and what was said of it.

    Attributes:
        loop: The loop.
        callbacks: Its callbacks.
        counted: The quirks that were counted: mode and number by id.
        warned: The first words of each warning, with its file and line.
    """

    loop: TrainLoop
    callbacks: list[Any]
    counted: dict[str, tuple[str, int]]
    warned: list[tuple[str, str, int]]


def fitted(processes: int, *callbacks: Any, **options: Any) -> Fit:
    quirks.reset()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loop = trained(processes, *callbacks, **options)
    counted = {entry.feature: (entry.mode, entry.count) for entry in _ledger.entries() if entry.kind == "quirk"}
    quirks.reset()
    told = [(str(each.message)[:3], each.filename, each.lineno) for each in caught if each.category is QuirkWarning]
    return Fit(loop, list(callbacks), counted, told)


def with_generator() -> Any:
    return data_loader(12, shuffle=True, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def odd() -> Fit:
    """Two processes, as the switches come, with something in it for each quirk."""
    gathering = Gathering((["a", "bc"], True), (torch.tensor(1.5), True), ([1, 2], False), (np.arange(2), True))
    return fitted(2, gathering, Seed(0), Seed(1), Predicting(), train=with_generator())


@pytest.fixture(scope="module")
def switched() -> Fit:
    """Two processes, the other way of both switches, and nothing for the other quirks."""
    gathering = Gathering((torch.ones(2), True), ([1, 2], True))
    return fitted(2, gathering, Seed(0), Seed(1), Predicting(), Q58="fixed", Q60="kept")


@pytest.fixture(scope="module")
def single() -> Fit:
    """A worker alone, with a loader as the old library made it anew."""
    return fitted(1, Predicting(), train=with_generator(), Q61="kept")


def test_all_are_counted_where_they_change_the_outcome(odd: Fit) -> None:
    # Two losses and the predictions are of all processes together, and two calls of mp_sync were errors.
    expected = {"Q58": ("kept", 1), "Q60": ("fixed", 3), "Q61": ("fixed", 1), "Q62": ("fixed", 1), "Q63": ("fixed", 2)}
    assert {quirk: odd.counted.get(quirk) for quirk in TRIED} == expected


def test_switches_decide_the_mode_and_the_others_rest(switched: Fit) -> None:
    assert {quirk: switched.counted[quirk] for quirk in TRIED if quirk in switched.counted} == {
        "Q58": ("fixed", 1),
        "Q60": ("kept", 3),
    }


def test_one_process_gathers_nothing(single: Fit) -> None:
    assert {quirk: single.counted[quirk] for quirk in TRIED if quirk in single.counted} == {
        "Q58": ("kept", 1),
        "Q61": ("kept", 1),
    }


def test_a_loop_without_processes_meets_none_of_them() -> None:
    loop = make_loop(train=data_loader(12), validation=data_loader(4))
    loop.fit(num_epochs=1, callbacks=[Predicting()])
    assert [quirk for quirk in TRIED if quirk in quirks.counts()] == []


def test_the_seed_warns_once_at_the_line_of_the_fit(odd: Fit, switched: Fit) -> None:
    import tests.quirk_processes as module

    lines = inspect.getsource(module).splitlines()
    (seed,) = [told for told in odd.warned if told[0] == "Q58"]
    assert seed[1] == module.__file__
    assert "loop.fit(" in lines[seed[2] - 1]
    assert {told[0] for told in odd.warned} & set(TRIED) == {"Q58"}
    assert {told[0] for told in switched.warned} & set(TRIED) == set()


def test_the_seed_is_0_or_that_of_the_program_plus_the_rank(odd: Fit, switched: Fit) -> None:
    assert [callback.seed for callback in odd.callbacks if isinstance(callback, Seed)] == [0, 0]
    assert [callback.seed for callback in switched.callbacks if isinstance(callback, Seed)] == [SEED, SEED + 1]


def test_predictions_are_in_the_order_of_the_data_or_of_the_processes(odd: Fit, switched: Fit, single: Fit) -> None:
    for fit, expected in ((odd, ROWS), (switched, BY_RANK), (single, ROWS)):
        (predicting,) = [callback for callback in fit.callbacks if isinstance(callback, Predicting)]
        assert predicting.true == expected


def test_what_mp_sync_gathers(odd: Fit, switched: Fit) -> None:
    strings, numbers, parts, array = odd.callbacks[0].gathered
    assert strings == ["a", "bc", "a", "bc"]
    assert numbers.tolist() == [1.5, 1.5]
    assert [part.tolist() for part in parts] == [[1, 2], [1, 2]]
    assert array.tolist() == [0, 1, 0, 1]
    ones, listed = switched.callbacks[0].gathered
    assert (ones.tolist(), listed.tolist()) == ([1.0] * 4, [1, 2, 1, 2])
