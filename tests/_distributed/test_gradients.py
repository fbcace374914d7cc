"""The gradients of several processes: equal to those of one that has all rows, however the loss is computed."""

from typing import Any

import pytest
import torch

from compat import MultiLoss
from compat._distributed.gradients import Door, checksums, unwrapped
from tests._distributed import gradient_cases
from tests._distributed.gradient_cases import Net, Odd, Twice
from tests._distributed.rank_workers import outcomes

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module", params=[2, 3])
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("gradients")
    found = outcomes(folder, gradient_cases.everything, request.param, f"file://{folder / 'meeting'}")
    assert [type(each) for each in found] == [dict] * request.param
    return found


def truth(model: Net, size: int) -> dict[str, torch.Tensor]:
    """Average by hand what each rank's rows give."""
    total = {name: torch.zeros_like(parameter) for name, parameter in model.named_parameters()}
    for rank in range(size):
        model.zero_grad()
        loss = model.get_loss(gradient_cases.data(rank, size), None, torch.device("cpu"))
        (sum(loss.values()) if isinstance(loss, MultiLoss) else loss).backward()
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                total[name] += parameter.grad / size
    return total


def assert_averaged(seen: list[dict[str, Any]], case: str, model: Net) -> None:
    expected = truth(model, len(seen))
    assert any(bool(value.any()) for value in expected.values())
    for batch in range(3):
        for each in seen:
            got = each[case][batch]
            for name, value in expected.items():
                torch.testing.assert_close(got[name], value)
                assert torch.equal(got[name], seen[0][case][batch][name]), "the ranks have drifted apart"


def test_a_loss_that_calls_submodules_alone_is_averaged(seen: list[dict[str, Any]]) -> None:
    assert_averaged(seen, "one loss", Net())


@pytest.mark.parametrize("case", ["several losses", "several losses, unused found"])
def test_losses_that_share_layers_are_averaged_one_by_one(seen: list[dict[str, Any]], case: str) -> None:
    assert_averaged(seen, case, Twice())


def test_a_branch_that_one_rank_leaves_out_counts_as_zero_there(
    seen: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {name: torch.zeros_like(parameter) for name, parameter in Odd().named_parameters()}
    size = len(seen)
    for rank in range(size):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        model = Odd()
        sum(model.get_loss(gradient_cases.data(rank, size), None, torch.device("cpu")).values()).backward()
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                expected[name] += parameter.grad / size
    for each in seen:
        for name, value in expected.items():
            torch.testing.assert_close(each["a branch of one rank"][2][name], value)


def test_a_call_of_the_wrapper_is_what_torch_makes_of_it(seen: list[dict[str, Any]]) -> None:
    for each in seen:
        theirs, ours = each["plain"]
        assert all(torch.equal(theirs[name], ours[name]) for name in theirs)


def test_weights_that_differ_in_the_last_bit_are_an_error_that_names_the_first(seen: list[dict[str, Any]]) -> None:
    for each in seen:
        assert "'branch.bias' of rank 1 is not that of rank 0" in each["drift"]
        assert each["no drift"]


def test_all_ranks_have_the_buffers_of_rank_zero(seen: list[dict[str, Any]]) -> None:
    assert [each["buffers"] for each in seen] == [seen[0]["buffers"]] * len(seen)
    assert seen[0]["buffers"]["0.running_mean"] == pytest.approx([0.1, 0.1])
    assert seen[0]["buffers"]["mask"] == [True, False]


def test_without_gradients_a_rank_computes_alone(seen: list[dict[str, Any]]) -> None:
    assert all(each["alone"] for each in seen)


def test_any_function_can_go_through_the_door(seen: list[dict[str, Any]]) -> None:
    assert all(each["through"] == pytest.approx(Net().second.bias.sum().item()) for each in seen)


def test_the_state_dict_has_the_keys_of_the_old_wrapper(seen: list[dict[str, Any]]) -> None:
    assert all(each["keys"] for each in seen)


def test_what_the_door_overrides_is_still_there_in_torch() -> None:
    """It is private: without it losses would silently not be averaged."""
    assert callable(getattr(torch.nn.parallel.DistributedDataParallel, "_run_ddp_forward", None))
    assert Door._run_ddp_forward is not torch.nn.parallel.DistributedDataParallel._run_ddp_forward


def test_a_model_without_a_wrapper_is_its_own_inside() -> None:
    model = Net()
    assert unwrapped(model) is model


def test_a_checksum_does_not_depend_on_the_number_of_threads() -> None:
    torch.manual_seed(0)
    values = torch.randn(1 << 18)
    threads = torch.get_num_threads()
    try:
        seen = set()
        for number in (1, 2):
            torch.set_num_threads(number)
            seen.add(tuple(checksums([values])))
    finally:
        torch.set_num_threads(threads)
    assert len(seen) == 1


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float64, torch.complex64, torch.int8, torch.bool]
)
def test_a_checksum_tells_one_bit_and_a_change_of_places(dtype: torch.dtype) -> None:
    values = torch.arange(6).to(dtype)
    other = values.clone()
    other[4] = 1 - other[4].to(torch.int64).item() % 2 if dtype == torch.bool else 7
    assert checksums([values]) == checksums([values.clone()])
    assert checksums([values]) != checksums([other])
    assert checksums([torch.tensor([1, 0, 0, 0])]) != checksums([torch.tensor([0, 0, 1, 0])])


def test_a_model_of_a_model_may_set_its_buffers_anew(seen: list[dict[str, Any]]) -> None:
    for each in seen:
        assert each["buffer set anew"] == 1.0
