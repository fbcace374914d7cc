"""Several losses and several optimizers as one."""

from collections.abc import Mapping, MutableMapping
from typing import Any

import pytest
import torch

from compat import quirks
from compat.exceptions import CompatError
from compat.losses import MultiLoss, MultiOptimizer


class Scaler:
    """A gradient scaler that notes what it is asked, and doubles losses."""

    def __init__(self) -> None:
        self.stepped: list[Any] = []

    def scale(self, loss: torch.Tensor) -> torch.Tensor:
        return loss * 2

    def step(self, optimizer: Any) -> None:
        self.stepped.append(optimizer)


class Loss:
    """Stands for a tensor, and notes how it is back-propagated."""

    def __init__(self, name: str, calls: list[Any]) -> None:
        self.name, self.calls = name, calls

    def __mul__(self, other: int) -> "Loss":
        return self

    def backward(self, retain_graph: bool | None = None) -> None:
        self.calls.append((self.name, retain_graph))


def two(**values: float) -> MultiLoss:
    return MultiLoss(
        {name: torch.tensor(value, requires_grad=True) for name, value in (values or {"b": 2.0, "a": 3.0}).items()}
    )


def parameter_and_optimizer() -> tuple[torch.nn.Parameter, torch.optim.Optimizer]:
    parameter = torch.nn.Parameter(torch.ones(1))
    return parameter, torch.optim.SGD([parameter], lr=0.5)


def test_is_a_mapping_but_no_dict() -> None:
    losses = two()
    assert isinstance(losses, MutableMapping)
    assert not isinstance(losses, dict)
    assert list(losses) == ["b", "a"]
    assert len(losses) == 2
    assert losses["a"].item() == 3.0
    assert "a" in losses
    assert losses.get_loss_dict() is losses.loss_dict
    with pytest.raises(TypeError, match="unhashable"):
        hash(losses)


def test_changes_go_to_the_given_dict() -> None:
    given: dict[str, Any] = {"a": 1}
    losses = MultiLoss(given)
    losses["b"] = 2
    del losses["a"]
    assert given == {"b": 2}


def test_equality_compares_contents() -> None:
    assert two().item() == {"a": 3.0, "b": 2.0}
    assert two().item() == two().item()
    assert two().item() != {"a": 3.0}


def test_without_a_map_the_order_counts() -> None:
    losses = two()
    assert losses.loss_optimizer_map is None
    assert losses.optimizer_loss_map == {0: "b", 1: "a"}
    assert losses.loss_backward_remaining == 2
    assert losses.retain_graph_until_last is True


@pytest.mark.parametrize(
    ("names", "given", "expected"),
    [
        pytest.param("ba", {"a": 0, "b": 1}, {0: "a", 1: "b"}, id="by name"),
        pytest.param("ba", {"a": 0, "b": 1.0}, {0: "a", 1: "b"}, id="a float index"),
        pytest.param("b", {"b": "0"}, {0: "b"}, id="an index in digits"),
        pytest.param((1, 2), {1: 0, 2: 1}, {0: 1, 1: 2}, id="names that are numbers stay numbers"),
    ],
)
def test_map(names: Any, given: Mapping[Any, Any], expected: dict[int, Any]) -> None:
    assert MultiLoss(dict.fromkeys(names, 0), given).optimizer_loss_map == expected


def test_names_become_strings_when_kept() -> None:
    quirks.set(Q48="kept")
    losses = MultiLoss({1: torch.ones(()), 2: torch.ones(())}, {1: 0, 2: 1})
    assert losses.optimizer_loss_map == {0: "1", 1: "2"}
    with pytest.raises(KeyError, match=r"gives optimizer 0 the loss '1', and the losses are 1, 2\. Use the names"):
        losses.backward(0, 0, Scaler())


@pytest.mark.parametrize(
    ("losses", "given", "kind", "text"),
    [
        pytest.param(
            {"a": 1, "b": 2},
            {"a": 0},
            ValueError,
            r"has 1 entries for 2 losses \('a', 'b'\)\. Give the index",
            id="short",
        ),
        pytest.param(
            {"a": 1}, {"a": "x"}, ValueError, r"the loss 'a' the optimizer 'x', which is not a number", id="text"
        ),
        pytest.param({"a": 1}, ["a"], AttributeError, r"loss_optimizer_map=\['a'\] is a list\. Pass a dict", id="list"),
        pytest.param([1], None, AttributeError, r"loss_dict=\[1\] is a list\. Pass a dict", id="losses in a list"),
        pytest.param(None, None, TypeError, r"loss_dict=None is a NoneType\. Pass a dict", id="no losses"),
    ],
)
def test_arguments_that_will_not_do(losses: Any, given: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text) as caught:
        MultiLoss(losses, given)
    assert isinstance(caught.value, CompatError)


def test_backward_scales_and_retains_until_the_last() -> None:
    calls: list[Any] = []
    losses = MultiLoss({name: Loss(name, calls) for name in "abc"})
    for index in range(3):
        losses.backward(index, 0, Scaler())
    assert calls == [("a", True), ("b", True), ("c", None)]
    assert losses.loss_backward_remaining == 0


def test_backward_without_retaining() -> None:
    calls: list[Any] = []
    losses = MultiLoss({name: Loss(name, calls) for name in "ab"}, retain_graph_until_last=False)
    losses.backward(0, 0, Scaler())
    assert calls == [("a", None)]


def test_backward_reaches_only_its_own_loss() -> None:
    losses = two()
    losses.backward(1, 0, Scaler())
    assert losses["a"].grad.item() == 2.0
    assert losses["b"].grad is None


def test_two_losses_of_one_optimizer_are_both_back_propagated() -> None:
    calls: list[Any] = []
    losses = MultiLoss({name: Loss(name, calls) for name in "abc"}, {"a": 0, "b": 1, "c": 0})
    losses.backward(0, 0, Scaler())
    losses.backward(1, 0, Scaler())
    assert calls == [("a", True), ("c", True), ("b", None)]
    assert losses.loss_backward_remaining == 0
    assert losses.optimizer_loss_map == {0: "c", 1: "b"}


def test_the_last_of_two_losses_of_one_optimizer_wins_when_kept() -> None:
    quirks.set(Q48="kept")
    calls: list[Any] = []
    losses = MultiLoss({name: Loss(name, calls) for name in "ab"}, {"a": 0, "b": 0})
    losses.backward(0, 0, Scaler())
    assert [name for name, _ in calls] == ["b"]


def test_backward_for_an_optimizer_without_a_loss() -> None:
    losses = two()
    with pytest.raises(KeyError) as caught:
        losses.backward(7, 0, Scaler())
    assert str(caught.value).startswith(
        "No loss belongs to optimizer 7: the losses 'b', 'a' belong to the optimizers 0, 1."
    )
    assert isinstance(caught.value, CompatError)
    assert losses.loss_backward_remaining == 2


def test_key_error_inside_backward_is_not_renamed() -> None:
    class Broken(Loss):
        def backward(self, retain_graph: bool | None = None) -> None:
            raise KeyError("inner")

    with pytest.raises(KeyError, match=r"^'inner'$"):
        MultiLoss({"a": Broken("a", [])}).backward(0, 0, Scaler())


@pytest.mark.parametrize(
    ("derive", "value"),
    [
        pytest.param(lambda losses: losses.detach() / 2, 1.5, id="division"),
        pytest.param(lambda losses: losses.detach(), 3.0, id="detach"),
        pytest.param(lambda losses: losses.item(), 3.0, id="item"),
        pytest.param(lambda losses: losses.detach().numpy(), 3.0, id="numpy"),
        pytest.param(lambda losses: losses.detach().cpu(), 3.0, id="cpu"),
        pytest.param(lambda losses: losses.detach().to("cpu", dtype=torch.float64), 3.0, id="to"),
    ],
)
def test_derived_copies(derive: Any, value: float) -> None:
    losses = MultiLoss(dict(two()), {"a": 0, "b": 1}, retain_graph_until_last=False)
    losses.backward(0, 0, Scaler())
    derived = derive(losses)
    assert type(derived) is MultiLoss
    assert list(derived) == ["b", "a"]
    assert float(derived["a"]) == value
    assert derived.loss_optimizer_map == {"a": 0, "b": 1}
    assert derived.optimizer_loss_map == {0: "a", 1: "b"}
    assert derived.retain_graph_until_last is False
    assert derived.loss_backward_remaining == 1


def test_copies_keep_two_losses_of_one_optimizer() -> None:
    losses = MultiLoss(dict(two()), {"a": 0, "b": 0}) / 2
    losses.backward(0, 0, Scaler())
    assert losses.loss_backward_remaining == 0


def test_loss_added_to_mapped_ones() -> None:
    losses = MultiLoss(dict(two()), {"a": 0, "b": 1})
    losses["c"] = torch.ones(())
    with pytest.raises(ValueError, match="has 2 entries for 3 losses"):
        losses.detach()


def test_kinds_of_derived_values() -> None:
    losses = two()
    assert losses.detach()["a"].requires_grad is False
    assert (losses / 2)["a"].requires_grad is True
    assert type(losses.item()["a"]) is float
    assert losses.to(torch.float64)["a"].dtype is torch.float64
    assert losses.device == {"b": torch.device("cpu"), "a": torch.device("cpu")}


def test_arithmetic_that_was_never_there() -> None:
    with pytest.raises(TypeError, match="unsupported operand"):
        two() * 2  # type: ignore[operator]
    with pytest.raises(TypeError, match="missing 3 required positional arguments"):
        two().backward()  # type: ignore[call-arg]


def test_multi_optimizer_steps_one_through_the_scaler() -> None:
    first, second = object(), object()
    scaler = Scaler()
    MultiOptimizer([first, second]).step(1, 0, scaler)
    assert scaler.stepped == [second]


def test_multi_optimizer_clears_one() -> None:
    pairs = [parameter_and_optimizer() for _ in range(2)]
    for parameter, _ in pairs:
        parameter.grad = torch.ones(1)
    MultiOptimizer([optimizer for _, optimizer in pairs]).zero_grad(0, 0)
    assert pairs[0][0].grad is None
    assert pairs[1][0].grad is not None


def test_multi_optimizer_is_indexed_and_no_optimizer() -> None:
    optimizers = [parameter_and_optimizer()[1] for _ in range(2)]
    multi: Any = MultiOptimizer(optimizers)
    assert len(multi) == 2
    assert multi[-1] is optimizers[1]
    assert multi.optimizer_list is optimizers
    assert not isinstance(multi, torch.optim.Optimizer)
    with pytest.raises(IndexError):
        multi.step(5, 0, Scaler())


def test_multi_optimizer_state_round_trip() -> None:
    source = MultiOptimizer([parameter_and_optimizer()[1] for _ in range(2)])
    source[1].param_groups[0]["lr"] = 0.125
    target = MultiOptimizer([parameter_and_optimizer()[1] for _ in range(2)])
    state = source.state_dict()
    assert isinstance(state, list)
    target.load_state_dict(state)
    assert [optimizer.param_groups[0]["lr"] for optimizer in target.optimizer_list] == [0.5, 0.125]


@pytest.mark.parametrize(
    ("state", "kind", "text"),
    [
        pytest.param({}, TypeError, r"state_dict_list is a dict\. Pass what MultiOptimizer\.state_dict", id="dict"),
        pytest.param(({}, {}), TypeError, "state_dict_list is a tuple", id="tuple"),
        pytest.param([{}], ValueError, "holds 1 states for 2 optimizers", id="too few"),
    ],
)
def test_multi_optimizer_refuses_other_states(state: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text) as caught:
        MultiOptimizer([parameter_and_optimizer()[1] for _ in range(2)]).load_state_dict(state)
    assert isinstance(caught.value, CompatError)
