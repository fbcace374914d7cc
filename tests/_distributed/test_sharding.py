"""A model in shards trains as under DistributedDataParallel, and is whole whenever somebody looks at it.

Two workers do everything once and save what they saw; the tests look at that.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.multiprocessing.spawn import spawn

from compat import MultiOptimizer
from compat._distributed.sharding import ShardedDoor, made_whole, sharding_problems
from compat.exceptions import InvalidArgumentError, InvalidTypeError, RefusedError
from tests._distributed.sharding_cases import WORLD, equal, worker
from tests.toys import Linear


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Run two workers, and return what each of them saw."""
    folder = tmp_path_factory.mktemp("shards")
    spawn(worker, (str(folder),), WORLD)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(WORLD)]


def both_equal(both: list[Any], exactly: bool) -> bool:
    """Compare ours with theirs."""
    ours, theirs = both
    return equal(ours, theirs, exactly)


@pytest.mark.parametrize("case", ["sgd", "adamw", "clipped"])
def test_weights_optimizer_and_predictions_are_those_of_ddp_to_the_bit(seen: list[Any], case: str) -> None:
    """Rank zero's: its statistics of batch normalisation are those that DistributedDataParallel gives to all."""
    exactly = case != "clipped"
    result = seen[0][case]
    assert both_equal(result["gathered"], exactly)
    assert both_equal(result["predictions"], exactly)
    assert both_equal(result["optimizers"], exactly)
    assert both_equal(result["end"], exactly)
    assert not equal(result["gathered"][0], result["end"][0])
    assert equal(seen[1][case]["end"][0]["out.weight"], result["end"][0]["out.weight"])


def test_cut_gradients_have_the_norm_of_the_whole(seen: list[Any]) -> None:
    ours, theirs = seen[0]["clipped"]["norms"]
    assert len(ours) == 6
    assert ours == pytest.approx(theirs, rel=1e-5)
    assert min(theirs) > 0.1
    assert seen[1]["clipped"]["norms"][0] == ours


def test_accumulated_gradients_are_equal_up_to_rounding(seen: list[Any]) -> None:
    for result in (seen[0]["window"], seen[1]["window"]):
        ours, theirs = result["end"]
        weights = [name for name in ours if "norm.running" not in name]
        assert equal([ours[name] for name in weights], [theirs[name] for name in weights], exactly=False)


def test_in_a_batch_each_process_holds_its_part_alone(seen: list[Any]) -> None:
    results = [each["adamw"] for each in seen]
    assert results[0]["kinds"] == {"DTensor"}
    assert sum(result["local"] for result in results) == results[0]["whole"]
    assert sum(result["held"] for result in results) == results[0]["of the optimizer"]
    assert 0.3 < results[0]["held"] / results[0]["of the optimizer"] < 0.7


def test_whole_weights_are_in_the_users_own_parameters(seen: list[Any]) -> None:
    for result in (each[case] for each in seen for case in ("sgd", "adamw", "window")):
        assert result["own"]
        assert result["held by the optimizer"]
        assert result["same class"]
        assert result["pickled"]
        assert result["plain"] == {"Parameter"}


def test_the_full_state_in_the_middle_is_plain_and_whole(seen: list[Any]) -> None:
    model, optimizer = seen[0]["adamw"]["middle"]
    assert equal(model, seen[0]["adamw"]["gathered"][1])
    assert [len(group["params"]) for group in optimizer["param_groups"]] == [2, 7]
    shapes = {tuple(entries["exp_avg"].shape) for entries in optimizer["state"].values()}
    assert shapes == {(7, 5), (9, 5), (9,), (3, 9), (3,), (1,)}
    assert all(type(value) is torch.Tensor for entries in optimizer["state"].values() for value in entries.values())


def test_what_callbacks_change_between_epochs_counts(seen: list[Any]) -> None:
    for case in ("loaded", "frozen"):
        result = seen[0][case]
        assert both_equal(result["states"], exactly=True)
        assert result["still"] is (case == "frozen")
        assert not torch.equal(result["states"][0]["hidden.weight"], torch.full((9, 5), 0.25))


def test_gradients_of_an_open_window_come_along_and_go_back(seen: list[Any]) -> None:
    result = seen[0]["leftover"]
    assert both_equal(result["states"], exactly=False)
    assert both_equal(result["gradients"], exactly=False)
    assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in result["gradients"][0])


def test_mistakes_are_loud(seen: list[Any]) -> None:
    for errors in (each["mistakes"] for each in seen):
        assert "DTensor" in errors["bare"]
        assert "takes one loss" in errors["several"]
        assert "A callback of one process alone" in errors["alone"]
        assert errors["whole"]
        # A parameter that somebody kept holds no stale weights in a batch.
        assert errors["held"]
        assert errors["twin"]
        # Rank one had started from other weights.
        assert errors["first"] == [[[0.0, 0.0, 0.0]]] * 2


def test_a_plain_module_trains_through_any_function_and_through_its_forward(seen: list[Any]) -> None:
    torch.manual_seed(3)
    weight = nn.Linear(3, 2).weight.detach()
    # The mean of both ranks' inputs is 1.5, and there are four rows.
    expected = [weight - 0.1 * (2 * weight + 6.0), weight - 0.1 * 6.0]
    for ways in (each["feed"] for each in seen):
        for (name, trained), truth in zip(ways, expected, strict=True):
            assert name == "ShardedDoor"
            assert torch.allclose(torch.tensor(trained), truth)


class Scalar(nn.Module):
    """Has a parameter that cannot be cut."""

    def __init__(self) -> None:
        """Make one of each kind."""
        super().__init__()
        self.temperature, self.weight = nn.Parameter(torch.ones(())), nn.Parameter(torch.ones(2))


def test_what_cannot_be_sharded_is_said_before_a_process_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert sharding_problems(model, optimizer) == []
    scalar, foreign = Scalar(), nn.Parameter(torch.ones(2))
    cases: list[tuple[Any, Any, type[Exception], str]] = [
        (scalar, torch.optim.SGD(scalar.parameters(), lr=1), InvalidArgumentError, "without a dimension: temperature"),
        (model, torch.optim.SGD([foreign], lr=1), InvalidArgumentError, "has 1 parameters that are not the model's"),
        (model, MultiOptimizer([optimizer]), RefusedError, "takes one optimizer"),
        (model, object(), InvalidTypeError, "an optimizer of torch's, and this is a object"),
    ]
    for module, stepper, error, text in cases:
        (problem,) = sharding_problems(module, stepper)
        assert type(problem) is error
        assert text in str(problem)
    import torch.distributed.fsdp as fsdp

    monkeypatch.delattr(fsdp, "fully_shard")
    (problem,) = sharding_problems(model, optimizer)
    assert "needs torch 2.6" in str(problem)


def test_without_gradients_the_wrapper_is_the_bare_model_and_needs_no_other_process() -> None:
    model = Linear()
    door: Any = ShardedDoor.__new__(ShardedDoor)
    nn.Module.__init__(door)
    door.__dict__.update(_is_open=False, _sharding=None)
    door.module = model
    with torch.no_grad():
        assert torch.equal(door(torch.ones(1, 3)), model(torch.ones(1, 3)))
    assert made_whole(model, alone=True) is model
