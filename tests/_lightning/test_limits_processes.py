"""Fits on fewer batches in two processes: every process trains on as many, and all agree on what is evaluated."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from tests._lightning.limits_program import CASES, rows
from tests.ddp.processes import checked, run, torchrun
from tests.toys import Linear, data_loader, make_loop

Outcome = dict[str, Any]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Outcome], dict[str, Outcome]]:
    """Return what two processes saw in all cases."""
    folder = tmp_path_factory.mktemp("limits")
    command = torchrun(2, "-m", "tests._lightning.limits_program", str(folder))
    checked([run(*command, folder=folder, seconds=170, variables={"OMP_NUM_THREADS": "1"})])
    first, second = (pickle.loads((folder / f"outcome.{rank}.pickle").read_bytes()) for rank in range(2))
    assert first.keys() == second.keys() == CASES.keys()
    return first, second


def numbers(count: int) -> list[float]:
    """Return the numbers of the first rows."""
    return [float(number) for number in range(count)]


def loss_of(weights: dict[str, torch.Tensor], count: int) -> float:
    """Compute the mean loss of the first rows, in batches of two, by hand."""
    inputs, targets = (part[:count].chunk(-(-count // 2)) for part in rows())
    outputs = [torch.nn.functional.linear(part, weights["layer.weight"], weights["layer.bias"]) for part in inputs]
    losses = [torch.nn.functional.mse_loss(*pair) for pair in zip(outputs, targets, strict=True)]
    return float(torch.stack(losses).double().mean())


# The rows that each process trains on in an epoch, those that the training loss is of, and those of the validation.
EXPECTED: dict[str, tuple[tuple[list[float], list[float]], int, int]] = {
    "loaders": (([0, 2, 4, 6], [1, 3, 5, 7]), 8, 6),
    "lists": (([0, 1, 4, 5], [2, 3, 6, 7]), 8, 6),
    "iterables": (([0, 2, 4, 6], [1, 3, 5, 7]), 8, 6),
    "shares": (([0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11]), 12, 6),
    "more than there are": (([*range(0, 24, 2)], [*range(1, 24, 2)]), 24, 7),
    "no validation": (([0, 2, 4, 6], [1, 3, 5, 7]), 8, 0),
    "overfitting": (([0, 2, 4, 6], [1, 3, 5, 7]), 8, 4),
    "accumulation": (([*range(0, 20, 2)], [*range(1, 20, 2)]), 20, 0),
    "swapped": (([0, 2, 4, 6], [1, 3, 5, 7]), 8, 6),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_limited_sets_are_trained_in_parts_and_evaluated_as_wholes(name: str, outcomes: Any) -> None:
    parts, trained, validated = EXPECTED[name]
    for outcome, part in zip((both[name] for both in outcomes), parts, strict=True):
        seen = [row for batch in outcome["trained"] for row in batch]
        assert seen == [*part, *part]
        assert outcome["seen"]["train"] == [numbers(trained)] * 2
        assert outcome["seen"]["validation"] == ([numbers(validated)] * 2 if validated else [])
        history, weights = outcome["history"], outcome["weights"]
        assert history["loss"][-1] == pytest.approx(loss_of(weights, trained), rel=1e-6)
        if validated:
            assert history["val_loss"][-1] == pytest.approx(loss_of(weights, validated), rel=1e-6)
        assert outcome["kept"] == [True, True, True]
    assert outcomes[0][name]["history"] == outcomes[1][name]["history"]


def test_a_shuffled_set_is_cut_to_the_same_rows_in_all_processes(outcomes: Any) -> None:
    for name, validated in (("shuffled", 6), ("orders of their own", 6)):
        first, second = (both[name] for both in outcomes)
        assert first["history"] == second["history"]
        assert first["seen"] == second["seen"]
        for rows_seen in first["seen"]["validation"]:
            assert len(set(rows_seen)) == validated
        assert first["seen"]["validation"][0] != first["seen"]["validation"][1]
    first, second = (both["shuffled"]["trained"] for both in outcomes)
    # Of one epoch no row twice.
    assert len({row for batch in (*first[:2], *second[:2]) for row in batch}) == 8


def test_test_sets_are_cut_too(outcomes: Any) -> None:
    for outcome in (both["loaders"] for both in outcomes):
        assert outcome["history"]["train_end_test_loss"] == [pytest.approx(loss_of(outcome["weights"], 6), rel=1e-6)]


def test_the_last_window_of_a_limited_epoch_is_an_update_in_every_process(outcomes: Any) -> None:
    assert [both["accumulation"]["updates"] for both in outcomes] == [4, 4]


def test_a_trial_run_is_one_batch_of_each_set(outcomes: Any) -> None:
    for outcome, trained in zip((both["a trial"] for both in outcomes), ([0, 2], [1, 3]), strict=True):
        assert outcome["trained"] == [trained]
        assert {key: len(values) for key, values in outcome["history"].items()} == {
            "loss": 1,
            "accumulated_loss": 1,
            "val_loss": 1,
            "train_end_test_loss": 1,
        }


@pytest.mark.parametrize("name", ["rows of their own", "dealt by itself to train"])
def test_a_part_that_a_process_has_of_its_own_is_cut_and_evaluated_by_it(name: str, outcomes: Any) -> None:
    for outcome, part in zip((both[name] for both in outcomes), ([0, 2, 4, 6], [1, 3, 5, 7]), strict=True):
        assert [row for batch in outcome["trained"] for row in batch] == [*part, *part]
        assert outcome["seen"]["train"] == [[0, 2, 4, 6, 1, 3, 5, 7]] * 2


def test_a_process_alone_evaluates_the_limited_whole(outcomes: Any) -> None:
    first, second = (both["one process alone"]["seen"] for both in outcomes)
    assert first == {"train": [], "validation": []}
    assert second == {"train": [numbers(8)] * 2, "validation": [numbers(6)] * 2}


def test_a_validation_loader_that_deals_itself_out_is_refused(outcomes: Any) -> None:
    for outcome in (both["dealt by itself"] for both in outcomes):
        assert outcome["kind"] == "RefusedError"
        assert outcome["error"].startswith("limit_val_batches is not served for loop.validation_loader in 2 processes:")
        assert "its DistributedSampler gives each of them other batches" in outcome["error"]


def test_settings_reach_workers_that_the_fit_starts(tmp_path: Path) -> None:
    from lightning.pytorch.loggers import CSVLogger

    args = {
        "devices": 2, "accelerator": "cpu", "limit_train_batches": 2, "limit_val_batches": 1,
        "logger": CSVLogger(tmp_path, name="", version="run"),
    }  # fmt: skip
    quirks = dict.fromkeys(("Q18", "Q19", "Q58"), "kept")
    train, validation = data_loader(16), data_loader(6)
    loop = make_loop(Linear(), train, validation=validation, gpu_mode="ddp", lightning_args=args, quirks=quirks)
    loop.fit(num_epochs=2)
    assert loop.total_iteration_idx == 3
    assert loop.train_loader is train
    assert loop.validation_loader is validation
    header, *lines = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    column = header.split(",").index("val_loss")
    assert [float(line.split(",")[column]) for line in lines] == loop.train_history["val_loss"]
