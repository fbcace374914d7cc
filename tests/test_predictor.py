"""Predictions, losses and metrics without a training."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from compat import (
    AbstractResultPackage,
    FunctionOnTrainLoop,
    MeanAbsoluteErrorMetric,
    MeanSquaredErrorMetric,
    MultiLoss,
    PyTorchModelPredictor,
    RegressionResultPackage,
    TTModel,
    quirks,
)
from compat.exceptions import CompatError, CompatWarning, RefusedError
from compat.predictor import _digest
from compat.quirks import QuirkSettings
from tests.toys import Linear, TwoHeads, batches, data_loader


class Counting(Linear):
    """Counts the batches it is asked for, and gives metadata."""

    def __init__(self) -> None:
        super().__init__()
        # In a list: a plain number would be a change of the model.
        self.predicted = [0]
        self.evaluated = [0]

    def get_predictions(self, batch_data: Any, device: Any) -> Any:
        self.predicted[0] += 1
        inputs, targets = batch_data
        return self(inputs), targets, {"names": ["row"] * len(inputs)}

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        self.evaluated[0] += 1
        return super().get_loss(batch_data, criterion, device)


class Told(AbstractResultPackage):
    """Returns what it is given."""

    def __init__(self, wants_loss: bool = False) -> None:
        super().__init__("told")
        self.requires_loss = wants_loss

    def prepare_results_dict(self) -> dict[str, Any]:
        assert self.additional_results is not None
        return {
            "kind": type(self.y_true).__name__,
            "hyperparameters": self.hyperparameters,
            "metadata": self.additional_results["additional_results"],
        }


def predictor_of(model: Any = None, kind: type[PyTorchModelPredictor] = PyTorchModelPredictor) -> Any:
    torch.manual_seed(0)
    return kind(model or Counting(), batches(3))


def by_hand(predictor: PyTorchModelPredictor, criterion: Any) -> float:
    model = predictor.model
    with torch.no_grad():
        losses = [criterion(model.layer(inputs), targets) for inputs, targets in predictor.data_loader]
    return float(torch.stack(losses).double().mean())


def test_predictions() -> None:
    predictor = predictor_of()
    y_pred, y_true, metadata = predictor.model_predict()
    assert y_pred.shape == y_true.shape == (6, 1)
    assert metadata == {"names": ["row"] * 6}
    expected = torch.cat([predictor.model.layer(inputs) for inputs, _ in batches(3)])
    assert torch.equal(y_pred, expected)
    assert predictor.model.training


def test_attributes_are_those_of_the_old_one() -> None:
    model, loader = Linear(), data_loader()
    predictor = PyTorchModelPredictor(model, loader)
    assert predictor.model is model
    assert predictor.data_loader is predictor.train_loop.test_loader is loader
    assert predictor.train_loop.train_loader is None
    assert model.training


def test_loss_of_several() -> None:
    loss = PyTorchModelPredictor(TwoHeads(), batches(2)).model_get_loss(nn.MSELoss())
    assert isinstance(loss, MultiLoss)
    assert sorted(loss.keys()) == ["a", "b"]


def test_everything_is_computed_once_while_nothing_changes(capsys: pytest.CaptureFixture[str]) -> None:
    predictor, criterion = predictor_of(), nn.MSELoss()
    for _ in range(3):
        predictor.model_predict()
        predictor.model_get_loss(criterion)
    predictor.evaluate_metric(MeanSquaredErrorMetric)
    predictor.evaluate_result_package(RegressionResultPackage())
    assert (predictor.model.predicted, predictor.model.evaluated) == ([3], [3])
    assert capsys.readouterr().out.count("Getting test_pred predictions/loss from store") == 4
    assert "Q33" not in quirks.counts()


def test_loss_of_another_criterion_is_its_own() -> None:
    predictor = predictor_of()
    for criterion in (nn.MSELoss(), nn.L1Loss(), nn.MSELoss()):
        assert float(predictor.model_get_loss(criterion)) == pytest.approx(by_hand(predictor, criterion))
    assert quirks.counts()["Q33"] == 2
    assert predictor.model.predicted == [0]


def test_another_criterion_leaves_the_predictions_in_the_store() -> None:
    predictor = predictor_of()
    predictor.model_predict()
    predictor.model_get_loss(nn.MSELoss())
    predictor.model_get_loss(nn.L1Loss())
    predictor.model_predict()
    assert predictor.model.predicted == [3]


def in_place(predictor: PyTorchModelPredictor) -> None:
    with torch.no_grad():
        predictor.model.layer.weight.add_(1.0)


def through_data(predictor: PyTorchModelPredictor) -> None:
    predictor.model.layer.weight.data.add_(1.0)


def loaded(predictor: PyTorchModelPredictor) -> None:
    state = {key: value + 1.0 for key, value in predictor.model.state_dict().items()}
    predictor.model.load_state_dict(state)


def another_model(predictor: PyTorchModelPredictor) -> None:
    predictor.train_loop.model = predictor.model = Counting()
    through_data(predictor)


def another_loader(predictor: PyTorchModelPredictor) -> None:
    predictor.train_loop.test_loader = predictor.data_loader = batches(4)


CHANGES = [in_place, through_data, loaded, another_model, another_loader]


@pytest.mark.parametrize("change", CHANGES)
def test_after_a_change_all_is_computed_anew(change: Any) -> None:
    predictor, criterion = predictor_of(), nn.MSELoss()
    stale, stale_loss = predictor.model_predict()[0], float(predictor.model_get_loss(criterion))
    change(predictor)
    fresh = predictor.model_predict()[0]
    assert fresh.shape != stale.shape or not torch.equal(fresh, stale)
    loss = float(predictor.model_get_loss(criterion))
    assert loss == pytest.approx(by_hand(predictor, criterion))
    assert loss != stale_loss
    # The predictions and the loss.
    assert quirks.counts()["Q33"] == 2


class SameMSE(nn.MSELoss):
    """The same numbers by another class."""


class Listed(nn.Module):
    """Holds what no digest tells."""

    def __init__(self, weights: list[float]) -> None:
        super().__init__()
        self.weights = weights

    def forward(self, predicted: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.weights[0] * (predicted - targets).abs().mean()


def test_an_equal_criterion_is_served_from_the_store(capsys: pytest.CaptureFixture[str]) -> None:
    predictor = predictor_of()
    first = predictor.model_get_loss(nn.SmoothL1Loss(beta=0.5))
    assert predictor.model_get_loss(nn.SmoothL1Loss(beta=0.5)) is first
    assert "Getting test_loss predictions/loss from store" in capsys.readouterr().out
    assert predictor.model_get_loss(nn.SmoothL1Loss(beta=0.25)) is not first
    assert quirks.counts()["Q33"] == 1


def test_a_criterion_that_no_digest_tells_from_another_is_computed_anew() -> None:
    predictor = predictor_of()
    first = predictor.model_get_loss(Listed([1.0]))
    assert float(predictor.model_get_loss(Listed([2.0]))) == pytest.approx(2 * float(first))
    assert quirks.counts()["Q33"] == 1


def test_an_equal_loss_of_another_criterion_is_not_counted() -> None:
    predictor = predictor_of()
    first = predictor.model_get_loss(nn.MSELoss())
    second = predictor.model_get_loss(SameMSE())
    assert second is not first
    assert second == first
    assert "Q33" not in quirks.counts()


class Shifted(PyTorchModelPredictor):
    """Changes what its callers see, and counts who asks for several metrics."""

    asked = 0

    def model_predict(self) -> Any:
        predictions, targets, metadata = super().model_predict()
        return predictions + 100.0, targets, metadata

    def evaluate_metric_list(self, metrics_class_list: Any, return_metric_list: bool = True) -> Any:
        self.asked += 1
        return super().evaluate_metric_list(metrics_class_list, return_metric_list)


def test_evaluations_do_not_go_by_an_override_of_model_predict() -> None:
    plain, shifted = predictor_of(), predictor_of(kind=Shifted)
    expected = plain.evaluate_metric(MeanSquaredErrorMetric, return_metric=False)
    assert shifted.evaluate_metric(MeanSquaredErrorMetric, return_metric=False) == expected
    assert shifted.asked == 0
    assert shifted.evaluate_metric_list([MeanSquaredErrorMetric], return_metric_list=False) == expected
    package = shifted.evaluate_result_package(RegressionResultPackage())
    assert package["Mean_squared_error"] == expected["Mean_squared_error"]
    assert not torch.equal(shifted.model_predict()[0], plain.model_predict()[0])


def test_a_change_of_the_criterion_itself_counts_as_another() -> None:
    predictor, criterion = predictor_of(), nn.SmoothL1Loss(beta=0.1)
    predictor.model_get_loss(criterion)
    criterion.beta = 2.0
    assert float(predictor.model_get_loss(criterion)) == pytest.approx(by_hand(predictor, criterion))


def test_as_in_the_old_library_the_first_loss_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QuirkSettings, "fixed", lambda self, quirk: quirk != "Q33")
    predictor = predictor_of()
    first = predictor.model_get_loss(nn.MSELoss())
    assert predictor.model_get_loss(nn.L1Loss()) is first
    through_data(predictor)
    assert predictor.model_get_loss(nn.MSELoss()) is first


class Parts(nn.Module):
    """Tensors of every kind that a model may hold."""

    def __init__(self) -> None:
        super().__init__()
        self.scalar = nn.Parameter(torch.tensor(0.5))
        self.rough = nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
        self.lazy = nn.LazyLinear(2)
        self.flag: torch.Tensor
        self.register_buffer("flag", torch.tensor([True, False]))
        self.complex: torch.Tensor
        self.register_buffer("complex", torch.ones(2, dtype=torch.complex64))
        self.sparse: torch.Tensor
        self.register_buffer("sparse", torch.eye(2).to_sparse())
        self.empty: torch.Tensor
        self.register_buffer("empty", torch.empty(0, 3), persistent=False)
        self.turned: torch.Tensor
        self.register_buffer("turned", torch.arange(6.0).reshape(2, 3).T)
        self.temperature = 1.0


def test_digest_is_that_of_an_equal_module() -> None:
    assert _digest(Parts()) == _digest(Parts())
    module = Parts()
    assert _digest(module) == _digest(module.eval())


@pytest.mark.parametrize(
    "change",
    [
        lambda module: module.scalar.data.fill_(0.25),
        lambda module: module.rough.data[0].fill_(2.0),
        lambda module: module.flag.logical_not_(),
        lambda module: module.complex.mul_(1j),
        lambda module: setattr(module, "sparse", torch.eye(2).mul(2).to_sparse()),
        lambda module: setattr(module, "empty", torch.empty(0, 4)),
        lambda module: setattr(module, "turned", module.turned.flip(0)),
        lambda module: module.lazy(torch.ones(1, 3)),
        lambda module: setattr(module, "temperature", 2.0),
    ],
)
def test_digest_sees_a_change(change: Any) -> None:
    module = Parts()
    before = _digest(module)
    change(module)
    assert _digest(module) != before


def test_result_package() -> None:
    predictor = predictor_of()
    package = Told()
    assert predictor.evaluate_result_package(package) is package
    expected = {"kind": "ndarray", "hyperparameters": {}, "metadata": {"names": ["row"] * 6}}
    assert predictor.evaluate_result_package(Told(), return_result_package=False) == expected


def test_package_gets_the_loss_of_the_predictors_criterion() -> None:
    predictor = predictor_of()
    loss = predictor.model_get_loss(nn.L1Loss())
    results = predictor.evaluate_result_package(Told(wants_loss=True), return_result_package=False)
    assert results["metadata"]["loss"] == float(loss)
    assert type(results["metadata"]["loss"]) is float
    assert set(predictor.model_predict()[2]) == {"names"}, "stored metadata stay as the model gave them"
    assert quirks.counts()["Q126"] == 1


def test_package_gets_a_loss_that_fits_the_weights() -> None:
    predictor = predictor_of()
    predictor.model_get_loss(nn.L1Loss())
    through_data(predictor)
    results = predictor.evaluate_result_package(Told(wants_loss=True), return_result_package=False)
    assert results["metadata"]["loss"] == pytest.approx(by_hand(predictor, nn.L1Loss()))


def test_package_that_wants_the_loss_of_no_criterion_goes_without_and_warns() -> None:
    with pytest.warns(
        CompatWarning, match=r"Told asks for the loss.* Call model_get_loss\(criterion\) before"
    ) as caught:
        results = predictor_of().evaluate_result_package(Told(wants_loss=True), return_result_package=False)
    assert set(results["metadata"]) == {"names"}
    assert caught[0].filename == __file__


def test_metrics_get_targets_first() -> None:
    predictor = predictor_of()
    y_pred, y_true, _ = predictor.model_predict()
    metric = predictor.evaluate_metric(MeanAbsoluteErrorMetric)
    assert isinstance(metric, MeanAbsoluteErrorMetric)
    assert np.array_equal(metric.y_true, y_true.numpy())
    assert np.array_equal(metric.y_predicted, y_pred.numpy())
    assert predictor.evaluate_metric(MeanAbsoluteErrorMetric, return_metric=False) == metric.get_metric_dict()


def test_metrics_as_list_and_as_dict() -> None:
    predictor = predictor_of()
    classes = [MeanSquaredErrorMetric, MeanAbsoluteErrorMetric]
    metrics = predictor.evaluate_metric_list(iter(classes))
    assert [type(metric) for metric in metrics] == classes
    results = predictor.evaluate_metric_list(classes, return_metric_list=False)
    assert list(results) == ["Mean_absolute_error", "Mean_squared_error"], "the last comes first"
    assert results == {metric.metric_name: metric.metric_result for metric in metrics}
    assert predictor.evaluate_metric_list([]) == []
    assert predictor.evaluate_metric_list([], return_metric_list=False) == {}


@pytest.mark.parametrize("metric", ["accuracy", None])
def test_what_is_no_metric_class_is_refused_before_anything_is_predicted(metric: Any) -> None:
    predictor = predictor_of()
    with pytest.raises(TypeError, match="Pass the class of a metric") as caught:
        predictor.evaluate_metric_list([MeanSquaredErrorMetric, metric])
    assert isinstance(caught.value, CompatError)
    assert predictor.model.predicted == [0]


@pytest.mark.parametrize(
    ("package", "error"), [(RegressionResultPackage, TypeError), (int, AttributeError), ("package", AttributeError)]
)
def test_what_is_no_package_is_refused_before_anything_is_predicted(package: Any, error: type[Exception]) -> None:
    predictor = predictor_of()
    with pytest.raises(error, match="result_package") as caught:
        predictor.evaluate_result_package(package)
    assert isinstance(caught.value, CompatError)
    assert predictor.model.predicted == [0]


def test_saving_is_refused_with_what_to_do_instead() -> None:
    predictor = predictor_of()
    with pytest.raises(RefusedError, match="Use evaluate_result_package"):
        predictor.evaluate_model(RegressionResultPackage(), "project", "experiment", "~/results")
    assert predictor.model.predicted == [0]


@pytest.mark.parametrize("container", [list, tuple, lambda callbacks: callbacks[0]], ids=["list", "tuple", "single"])
def test_hooks_of_callbacks(container: Any) -> None:
    events: list[str] = []
    callback = FunctionOnTrainLoop(lambda loop: events.append("called"), batch_end=True, epoch_end=True)
    predictor = PyTorchModelPredictor(Linear(), batches(1), container([callback]))
    predictor.execute_batch_end_callbacks()
    assert len(events) == 1
    predictor.execute_epoch_end_callbacks()
    assert len(events) == 2


def test_hooks_without_callbacks_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    predictor = predictor_of()
    predictor.execute_batch_end_callbacks()
    predictor.execute_epoch_end_callbacks()
    assert capsys.readouterr().out.splitlines() == [
        "execute_batch_end_callbacks has no effect as there are no registered callbacks",
        "execute_epoch_end_callbacks has no effect as there are no registered callbacks",
    ]


@pytest.mark.parametrize(
    ("model", "loader", "callbacks"), [(5, batches(1), None), (nn.Linear(3, 1), batches(1), None), (Linear(), [], [5])]
)
def test_wrong_kinds_are_refused(model: Any, loader: Any, callbacks: Any) -> None:
    with pytest.raises(TypeError) as caught:
        PyTorchModelPredictor(model, loader, callbacks)
    assert isinstance(caught.value, CompatError)


def test_missing_loader_is_named() -> None:
    predictor = PyTorchModelPredictor(Linear(), None)
    for call in (predictor.model_predict, lambda: predictor.model_get_loss(nn.MSELoss())):
        with pytest.raises(TypeError, match="its loader is None") as caught:
            call()
        assert isinstance(caught.value, CompatError)


class OwnLoss(TTModel):
    """Needs no criterion."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Linear().layer

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        assert criterion is None
        return self.layer(batch_data[0]).mean()

    def get_predictions(self, batch_data: Any, device: Any) -> Any:
        return self.layer(batch_data[0]), batch_data[1], {}


def test_model_with_a_loss_of_its_own() -> None:
    predictor = PyTorchModelPredictor(OwnLoss(), batches(2))
    loss = predictor.model_get_loss(None)
    results = predictor.evaluate_result_package(Told(wants_loss=True), return_result_package=False)
    assert results["metadata"] == {"loss": float(loss)}
