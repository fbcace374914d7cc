"""Trained weights, optimizer states and histories are those of the hand-written loop, bit for bit, on every process."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.data import DistributedSampler

from tests.ddp.cases import CASES
from tests.ddp.compare import differences
from tests.ddp.fits import IN_OLD_ORDER

SIZES = (2, 3)
Outcomes = Callable[[int], Any]


@pytest.mark.parametrize("processes", SIZES)
@pytest.mark.parametrize("name", CASES)
def test_every_process_has_the_weights_of_the_hand_written_loop(
    by_hands: Outcomes, fits: Outcomes, name: str, processes: int
) -> None:
    wanted = by_hands(processes)[name]
    for outcome in (of_rank[name] for of_rank in fits(processes)):
        assert differences(outcome["weights"], wanted["weights"], 0) == []
        assert (outcome["epoch"], outcome["iterations"]) == (wanted["epoch"], wanted["iterations"])
        assert (outcome["returned"], outcome["mode"]) == (True, True)
        assert not any(key.startswith("module.") for key in outcome["keys"]), "the model is not left in a wrapper"


@pytest.mark.parametrize("processes", SIZES)
@pytest.mark.parametrize("name", CASES)
def test_optimizers_have_the_state_of_the_hand_written_loop(
    by_hands: Outcomes, fits: Outcomes, name: str, processes: int
) -> None:
    wanted = by_hands(processes)[name]["optimizers"]
    for outcome in (of_rank[name] for of_rank in fits(processes)):
        for ours, theirs in zip(outcome["optimizers"], wanted, strict=True):
            assert differences(flat(ours["state"]), flat(theirs["state"]), 0) == []
            assert [group["lr"] for group in ours["param_groups"]] == [group["lr"] for group in theirs["param_groups"]]


@pytest.mark.parametrize("processes", SIZES)
@pytest.mark.parametrize("name", CASES)
def test_losses_are_those_of_one_process(by_hands: Outcomes, fits: Outcomes, name: str, processes: int) -> None:
    """Those seen while training are of all batches of all processes; those evaluated count no row twice."""
    wanted = by_hands(processes)[name]
    seen = {key: values for key, values in wanted["history"].items() if key.startswith("accumulated")}
    for outcome in (of_rank[name] for of_rank in fits(processes)):
        history = {key: values for key, values in outcome["history"].items() if values}
        assert differences({key: history.pop(key) for key in seen}, seen, 0) == []
        evaluated = wanted["of one process"]
        if CASES[name].subset:
            # Each process has batches of its own then, and all of them are evaluated.
            evaluated = {**evaluated, "loss": wanted["history"]["loss"]}
        elif CASES[name].shuffle:
            # In another order the batches are others, with the same mean if all have the same size.
            keys = [key for key in history if key == "loss" or key.startswith("loss_")]
            close = 1e-6 if CASES[name].rows % CASES[name].batch == 0 else 0.5
            shuffled = {key: history.pop(key) for key in keys}
            assert differences(shuffled, {key: evaluated[key] for key in keys}, close) == []
            evaluated = {key: values for key, values in evaluated.items() if key not in keys}
        assert differences(history, evaluated, 0) == []


@pytest.mark.parametrize("processes", SIZES)
def test_what_is_predicted_after_the_fit_is_the_same_in_all_processes(fits: Outcomes, processes: int) -> None:
    first, *others = fits(processes)
    for name, case in CASES.items():
        if len(case.validation):
            assert first[name]["predictions"].shape == (len(case.validation), 1), name
            assert all(torch.equal(first[name]["predictions"], other[name]["predictions"]) for other in others), name


def test_padding_is_not_evaluated(by_hands: Outcomes) -> None:
    """The reference evaluates the rows that a sampler repeats, so that its loss is another where rows do not divide."""
    outcome = by_hands(2)["rows that do not divide"]
    assert differences({"a": outcome["history"]["loss"]}, {"a": outcome["of one process"]["loss"]}, 1e-3)
    outcome = by_hands(2)["momentum and dropout"]
    assert differences({"a": outcome["history"]["loss"]}, {"a": outcome["of one process"]["loss"]}, 1e-6) == []


def flat(state: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Return the tensors of an optimizer's state by one key."""
    return {
        f"{number} {name}": torch.as_tensor(value)
        for number, entries in state.items()
        for name, value in entries.items()
        if value is not None
    }


def test_control_another_case_has_other_weights(fits: Outcomes, by_hands: Outcomes) -> None:
    ours, wanted = fits(2)[0]["shuffled"], by_hands(2)["momentum and dropout"]
    assert len(differences(ours["weights"], wanted["weights"], 1e-4)) == len(wanted["weights"])
    assert flat(ours["optimizers"][0]["state"]), "there is a state to be compared"
    assert differences(flat(ours["optimizers"][0]["state"]), flat(wanted["optimizers"][0]["state"]), 1e-4)


@pytest.mark.parametrize("processes", SIZES)
@pytest.mark.parametrize("name", IN_OLD_ORDER)
def test_old_order_gives_the_losses_of_the_reference(
    by_hands: Outcomes, fits: Outcomes, name: str, processes: int
) -> None:
    """With Q60 kept: rank by rank, with the rows that a sampler repeats."""
    case, wanted = CASES[name], by_hands(processes)[name]
    parts = [
        DistributedSampler(rows, processes, rank, shuffle=shuffle)  # type: ignore[var-annotated]  # torch's own generic
        for rows, shuffle in ((case.train, case.shuffle), (case.validation, False))
        for rank in range(processes)
    ]
    for outcome in (of_rank[f"{name}, old order"] for of_rank in fits(processes)):
        assert differences(outcome["weights"], wanted["weights"], 0) == []
        assert differences(outcome["history"], wanted["history"], 0) == []
        for epoch, seen in enumerate(outcome["targets"]):
            for part in parts:
                part.set_epoch(epoch)
            order = [torch.tensor([*itertools.chain(*half)]) for half in (parts[:processes], parts[processes:])]
            assert torch.equal(seen[0], case.train.tensors[1][order[0]])
            assert torch.equal(seen[1], case.validation.tensors[1][order[1]])
