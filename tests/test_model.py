"""Models that know their loss, and pairs of a module with a feed definition."""

from typing import Any

import pytest
import torch
from torch import nn

from compat.exceptions import CompatError
from compat.model import (
    AbstractModelFeedDefinition,
    ModelWrap,
    MultiGPUModelWrap,
    TTBasicModel,
    TTBasicMultiGPUModel,
    TTModel,
)

CPU = torch.device("cpu")


class Sum(TTBasicModel):
    """Adds its inputs, ``(N, 1)`` each."""

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return torch.stack(inputs).sum(0)


class Feed(AbstractModelFeedDefinition):
    def get_loss(self, model: Any, batch_data: Any, criterion: Any, device: Any) -> Any:
        return criterion(model(batch_data[0]), batch_data[1])

    def get_predictions(self, model: Any, batch_data: Any, device: Any) -> Any:
        return model(batch_data[0]), batch_data[1], {}


class Moved:
    """Stands for a tensor, and notes where it was moved."""

    def __init__(self) -> None:
        self.devices: list[Any] = []

    def to(self, device: Any) -> torch.Tensor:
        self.devices.append(device)
        return torch.ones(2, 1)


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values).unsqueeze(1)


@pytest.mark.parametrize("kind", [TTModel, AbstractModelFeedDefinition])
def test_abstract_methods(kind: Any) -> None:
    with pytest.raises(TypeError, match="abstract"):
        kind()


def test_nothing_is_transferred_by_default() -> None:
    assert Sum().transfer_model_attributes == []


@pytest.mark.parametrize("count", [1, 3])
def test_basic_model_takes_any_number_of_inputs(count: int) -> None:
    batch = [*[column(1.0, 2.0)] * count, column(0.0, 0.0)]
    loss = Sum().get_loss(batch, nn.MSELoss(), CPU)
    assert loss.item() == pytest.approx(count**2 * 2.5)
    predictions, targets, metadata = Sum().get_predictions(batch, CPU)
    assert predictions.tolist() == [[1.0 * count], [2.0 * count]]
    assert targets is batch[-1]
    assert metadata == {}


def test_loss_moves_everything_and_predictions_only_the_inputs() -> None:
    inputs, targets = Moved(), Moved()
    Sum().get_loss((inputs, targets), nn.MSELoss(), "there")
    assert (inputs.devices, targets.devices) == (["there"], ["there"])
    _, given_back, _ = Sum().get_predictions((inputs, targets), "elsewhere")
    assert inputs.devices == ["there", "elsewhere"]
    assert given_back is targets
    assert targets.devices == ["there"]


def test_evaluation_loss_is_the_training_loss_unless_overridden() -> None:
    batch = (column(1.0), column(3.0))
    assert Sum().get_loss_eval(batch, nn.MSELoss(), CPU).item() == 4.0
    assert Feed().get_loss_eval(Sum(), batch, nn.MSELoss(), CPU).item() == 4.0


def test_batch_of_something_else() -> None:
    with pytest.raises(AttributeError, match=r"holds 'text' of type str, which cannot be moved") as caught:
        Sum().get_loss((column(1.0), "text"), nn.MSELoss(), CPU)
    assert isinstance(caught.value, CompatError)
    assert "override get_loss and get_predictions" in str(caught.value)


def test_error_inside_a_batch_element_is_not_renamed() -> None:
    class Broken:
        def to(self, device: Any) -> Any:
            raise AttributeError("inner")

    with pytest.raises(AttributeError, match=r"^inner$"):
        Sum().get_loss((Broken(), column(1.0)), nn.MSELoss(), CPU)


def test_no_criterion() -> None:
    with pytest.raises(TypeError, match=r"Sum\.get_loss needs a criterion, and the loop has None\. Pass criterion="):
        Sum().get_loss((column(1.0), column(1.0)), None, CPU)


def test_multi_gpu_model_computes_its_loss_in_forward() -> None:
    class Inside(TTBasicMultiGPUModel):
        def forward(self, inputs: Any, targets: Any = None, criterion: Any = None) -> Any:
            return inputs if criterion is None else ("loss", criterion, targets.tolist())

    criterion = nn.MSELoss()
    batch = (column(1.0), column(2.0))
    assert Inside().get_loss(batch, criterion, CPU) == ("loss", criterion, [[2.0]])
    assert Inside().get_predictions(batch, CPU)[0] is batch[0]


def test_multi_gpu_wrap() -> None:
    inner = nn.Linear(1, 1)
    wrap = MultiGPUModelWrap(inner)
    batch = (column(1.0, 2.0), column(0.0, 0.0))
    assert wrap.model is inner
    assert isinstance(wrap, TTModel)
    assert sorted(wrap.state_dict()) == ["model.bias", "model.weight"]
    assert torch.equal(wrap.get_loss(batch, nn.MSELoss(), CPU), nn.MSELoss()(inner(batch[0]), batch[1]))
    assert torch.equal(wrap.get_predictions(batch, CPU)[0], inner(batch[0]))


def test_model_wrap_keeps_the_pair() -> None:
    model, feed = nn.Linear(1, 1), Feed()
    wrap = ModelWrap(model, feed)
    assert wrap.model is model
    assert wrap.batch_model_feed_def is feed
    assert not isinstance(wrap, nn.Module)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        pytest.param(
            lambda: ModelWrap(3, Feed()),  # type: ignore[arg-type]
            r"ModelWrap\(model=\) got 3 of type int\. Pass an instance of torch\.nn\.Module",
            id="no module",
        ),
        pytest.param(
            lambda: ModelWrap(nn.Linear, Feed()),  # type: ignore[arg-type]
            "got the class Linear itself, not an instance",
            id="a class",
        ),
        pytest.param(
            lambda: ModelWrap(nn.Linear(1, 1), None),  # type: ignore[arg-type]
            r"batch_model_feed_def=None of type NoneType\) is not a feed definition",
            id="no feed definition",
        ),
        pytest.param(
            lambda: MultiGPUModelWrap("x" * 100),  # type: ignore[arg-type]
            r"MultiGPUModelWrap\(model=\) got 'x{56}\.\.\. of type str",
            id="no module to wrap",
        ),
    ],
)
def test_wraps_refuse_other_things(make: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text) as caught:
        make()
    assert isinstance(caught.value, CompatError)
