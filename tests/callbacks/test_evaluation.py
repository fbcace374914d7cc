"""The callback that evaluates result packages."""

from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from compat import (
    AbstractResultPackage,
    ModelPerformanceEvaluation,
    MultiLoss,
    MultiOptimizer,
    RegressionResultPackage,
    TrainLoop,
    TTModel,
    quirks,
)
from compat.exceptions import CompatError
from tests.toys import Linear, TwoHeads, batches, make_loop, on

EXPERIMENT = ("project_name", "experiment_name", "local_model_result_folder_path")


class Told(AbstractResultPackage):
    """Keeps what it is given, in a list that its copies share."""

    given: list[Any]

    def __init__(self, wants_loss: bool = False) -> None:
        super().__init__("told")
        self.requires_loss = wants_loss

    def prepare_results_dict(self) -> dict[str, Any]:
        self.given.append((self.y_true, self.y_predicted, self.hyperparameters, self.additional_results))
        return {"gap": float(np.abs(self.y_true - self.y_predicted).mean())}

    def set_experiment_dir_path_for_additional_results(
        self, project_name: str, experiment_name: str, experiment_timestamp: str, local_model_result_folder_path: str
    ) -> None:
        self.given.append((project_name, experiment_name, experiment_timestamp, local_model_result_folder_path))


@pytest.fixture(autouse=True)
def fresh_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a list of its own."""
    monkeypatch.setattr(Told, "given", [], raising=False)


class Named(Linear):
    """Gives metadata with its predictions."""

    def get_predictions(self, batch_data: Any, device: Any) -> Any:
        inputs, targets = batch_data
        return self(inputs), targets, {"names": ["row"] * len(inputs)}


def loop_of(model: TTModel | None = None, **options: Any) -> TrainLoop:
    return make_loop(model or Named(), validation=batches(2), **options)


def keys(loop: TrainLoop) -> list[str]:
    return [key for key in loop.train_history if "loss" not in key]


def test_history_keys_and_values() -> None:
    loop = loop_of()
    loop.fit(2, callbacks=[ModelPerformanceEvaluation(RegressionResultPackage(), {}, on_train_data=True)])
    names = ["Mean_squared_error", "Mean_absolute_error"]
    per_epoch = [f"{data}_{name}" for name in names for data in ("train", "val")]
    assert keys(loop) == [*per_epoch, *(f"train_end_{key}" for key in per_epoch)]
    assert [len(loop.train_history[key]) for key in keys(loop)] == [2] * 4 + [1] * 4
    y_pred, y_true, _ = loop.predict_on_validation_set()
    error = float((y_pred - y_true).abs().mean())
    assert loop.train_history["val_Mean_absolute_error"][-1] == pytest.approx(error)
    assert loop.train_history["train_end_val_Mean_absolute_error"] == loop.train_history["val_Mean_absolute_error"][-1:]


def test_package_is_given_arrays_hyperparameters_and_metadata() -> None:
    loop_of().fit(1, callbacks=[ModelPerformanceEvaluation(Told(), {"rate": 0.1})])
    y_true, y_pred, hyperparameters, additional = Told.given[0]
    assert isinstance(y_true, np.ndarray)
    assert y_true.shape == y_pred.shape == (4, 1)
    assert hyperparameters == {"rate": 0.1}
    assert additional == {"additional_results": {"names": ["row"] * 4}}


@pytest.mark.parametrize(
    ("options", "epochs"),
    [
        ({}, [0, 1, 2, 3]),
        ({"eval_frequency": 1}, [0, 1, 2, 3]),
        ({"eval_frequency": 2}, [0, 2]),
        ({"eval_frequency": 5}, [0]),
        ({"on_each_epoch": False}, []),
        ({"on_each_epoch": False, "eval_frequency": 0}, []),
    ],
)
def test_epochs_that_are_evaluated(options: Any, epochs: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    loop = loop_of()
    loop.fit(4, callbacks=[ModelPerformanceEvaluation(Told(), {}, **options)])
    recorded = loop.train_history["val_gap"] if epochs else []
    assert len(recorded) == len(epochs)
    assert len(loop.train_history["train_end_val_gap"]) == 1, "the end of the training is evaluated in any case"
    skipped = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Skipping")]
    left_out = [epoch for epoch in range(4) if epoch not in epochs] if epochs else []
    assert skipped == [
        f"Skipping performance evaluation on this epoch ({epoch}). Evaluating every {options['eval_frequency']} epochs."
        for epoch in left_out
    ]


def test_training_data_alone() -> None:
    loop = make_loop()
    loop.fit(1, callbacks=[ModelPerformanceEvaluation(Told(), {}, on_train_data=True, on_val_data=False)])
    assert keys(loop) == ["train_gap", "train_end_train_gap"]


def test_training_data_have_a_copy_of_the_package() -> None:
    package = Told()
    callback = ModelPerformanceEvaluation(package, {}, on_train_data=True)
    assert callback.result_package is package
    assert callback.train_result_package is not package
    assert not hasattr(ModelPerformanceEvaluation(package, {}), "train_result_package")


@pytest.mark.parametrize("data", ["train", "validation"])
def test_loss_is_a_number_for_all_data(data: str) -> None:
    loop = loop_of()
    loop.fit(1, callbacks=[ModelPerformanceEvaluation(Told(wants_loss=True), {}, on_train_data=True)])
    loss = Told.given[0 if data == "train" else 1][3]["additional_results"]["loss"]
    assert type(loss) is float
    assert loss == loop.train_history["loss" if data == "train" else "val_loss"][0]


def test_several_losses_are_a_dict_of_numbers_for_all_data() -> None:
    model = TwoHeads()
    optimizer = MultiOptimizer([torch.optim.SGD(head.parameters(), lr=0.1) for head in (model.b, model.a)])
    loop = loop_of(model, optimizer=optimizer)
    loop.fit(1, callbacks=[ModelPerformanceEvaluation(Told(wants_loss=True), {}, on_train_data=True)])
    for given, key in zip(Told.given, ("loss", "val_loss"), strict=False):
        loss = given[3]["additional_results"]["loss"]
        assert type(loss) is dict
        assert loss == {name: loop.train_history[f"{key}_{name}"][0] for name in "ab"}
        assert not isinstance(loss, MultiLoss)


def test_stored_metadata_stay_as_the_model_gave_them() -> None:
    loop = loop_of()
    loop.fit(1, callbacks=[ModelPerformanceEvaluation(Told(wants_loss=True), {}, on_train_data=True)])
    for predict in (loop.predict_on_train_set, loop.predict_on_validation_set):
        assert set(predict()[2]) == {"names"}


@pytest.mark.parametrize(
    ("options", "counted"),
    [
        ({"wants_loss": True, "on_train_data": True}, {"Q36": 2}),
        ({"wants_loss": True}, {}),
        ({"on_train_data": True}, {}),
    ],
)
def test_corrections_are_counted_where_they_change_something(options: dict[str, bool], counted: dict[str, int]) -> None:
    package = Told(wants_loss=options.pop("wants_loss", False))
    loop_of().fit(1, callbacks=[ModelPerformanceEvaluation(package, {}, **options)])
    assert {quirk: count for quirk, count in quirks.counts().items() if quirk in {"Q35", "Q36", "Q74"}} == counted


def test_metadata_without_the_loss_are_counted_when_somebody_else_reads_them() -> None:
    loop, package = loop_of(), Told(wants_loss=True)
    loop.fit(1, callbacks=[ModelPerformanceEvaluation(package, {}), ModelPerformanceEvaluation(Told(), {})])
    # The second callback, at the end of the epoch and of the training.
    assert quirks.counts()["Q35"] == 2
    loop.predict_on_train_set()
    assert quirks.counts()["Q35"] == 2
    loop.predict_on_validation_set()
    assert quirks.counts()["Q35"] == 3
    loop.predict_on_validation_set(force_prediction=True)
    assert quirks.counts()["Q35"] == 3


def in_experiment(loop: TrainLoop) -> TrainLoop:
    for name in EXPERIMENT:
        setattr(loop, name, name)
    return loop


def test_both_packages_are_told_the_folder_of_the_experiment() -> None:
    loop = in_experiment(loop_of())
    ModelPerformanceEvaluation(Told(), {}, on_train_data=True).register_train_loop_object(loop)
    told = ("project_name", "experiment_name", loop.experiment_timestamp, "local_model_result_folder_path")
    assert Told.given == [told, told]
    assert quirks.counts()["Q74"] == 1


@pytest.mark.parametrize(
    ("named", "options", "told"),
    [
        (EXPERIMENT, {}, 1),
        (EXPERIMENT, {"if_available_output_to_project_dir": False}, 0),
        (EXPERIMENT, {"on_train_data": True, "on_val_data": False}, 1),
        (EXPERIMENT[:2], {"on_train_data": True}, 0),
        ((), {}, 0),
    ],
)
def test_packages_are_told_the_folder_where_there_is_one(named: tuple[str, ...], options: Any, told: int) -> None:
    loop = loop_of()
    for name in named:
        setattr(loop, name, name)
    ModelPerformanceEvaluation(Told(), {}, **options).register_train_loop_object(loop)
    assert len(Told.given) == told


def test_a_package_that_writes_nothing_is_told_without_a_count() -> None:
    callback = ModelPerformanceEvaluation(RegressionResultPackage(), {}, on_train_data=True)
    callback.register_train_loop_object(in_experiment(loop_of()))
    assert "Q74" not in quirks.counts()


class Metric:
    """Counts the calls since its last reset, as a metric of torchmetrics keeps a state."""

    def __init__(self) -> None:
        self.calls, self.device = 0, ""

    def to(self, device: Any) -> "Metric":
        moved = deepcopy(self)
        moved.device = str(device)
        return moved


class Stateful(Told):
    """Holds such a metric."""

    def __init__(self) -> None:
        super().__init__()
        self.metric = Metric()

    def prepare_results_dict(self) -> dict[str, Any]:
        self.metric.calls += 1
        return {"calls": self.metric.calls, "device": self.metric.device}

    def metric_reset(self) -> None:
        self.metric.calls = 0


def test_a_metric_of_the_users_is_neither_moved_nor_reset() -> None:
    loop = loop_of()
    loop.fit(3, callbacks=[ModelPerformanceEvaluation(Stateful(), {}, on_train_data=True, eval_frequency=2)])
    for data in ("train", "val"):
        assert loop.train_history[f"{data}_calls"] == [1, 2]
        assert loop.train_history[f"train_end_{data}_calls"] == [3]
        assert loop.train_history[f"{data}_device"] == ["", ""]


class Skipping(ModelPerformanceEvaluation):
    """Evaluates nothing."""

    def evaluate_model_performance(self, prefix: str = "") -> None:
        self.skipped = [*getattr(self, "skipped", []), prefix]


def test_evaluating_is_what_puts_metrics_into_the_history() -> None:
    loop, callback = loop_of(), Skipping(Told(), {})
    loop.fit(2, callbacks=[callback])
    assert callback.skipped == ["", "", "train_end_"]
    assert not any("val_" in name and name != "val_loss" for name in loop.train_history)


def test_evaluating_between_epochs_is_recorded_under_its_prefix() -> None:
    loop = loop_of()
    callback = ModelPerformanceEvaluation(RegressionResultPackage(), {})
    evaluate = on("batch_end", lambda loop: callback.evaluate_model_performance("it_"))
    loop.fit(1, callbacks=[callback, evaluate])
    assert len(loop.train_history["it_val_Mean_squared_error"]) == len(loop.train_loader)


class Counted(Told):
    """Counts who asks for its results."""

    asked = 0

    def prepare_results_dict(self) -> dict[str, Any]:
        return {"a": 1.0, "b": 2.0}

    def get_results(self) -> Any:
        self.asked += 1
        return super().get_results()


def test_results_are_asked_for_once_for_the_names_and_once_a_metric() -> None:
    callback = ModelPerformanceEvaluation(Counted(), {}, on_train_data=True, on_each_epoch=False)
    loop_of().fit(1, callbacks=[callback])
    assert (callback.result_package.asked, callback.train_result_package.asked) == (3, 2)


def test_names_are_those_of_the_validation_package() -> None:
    callback = ModelPerformanceEvaluation(Told(), {}, on_train_data=True)
    callback.register_train_loop_object(loop_of())
    callback.result_package.results_dict = {"shared": 1.0}
    callback.train_result_package.results_dict = {"own": 2.0, "shared": 3.0}
    callback.store_evaluated_metrics_to_history("a_")
    history = callback.train_loop_obj.train_history
    assert (history["a_train_shared"], history["a_val_shared"]) == ([3.0], [1.0])
    assert "a_train_own" not in history


@pytest.mark.parametrize(
    ("package", "options", "kind", "told"),
    [
        (Told, {}, AttributeError, r"is the class Told. Pass an object of it: Told\(\)"),
        ("told", {}, AttributeError, "a str without prepare_result_package and get_results"),
        (None, {}, AttributeError, "a NoneType without"),
        (..., {"on_val_data": False}, ValueError, "Both on_train_data and on_val_data are set to False"),
        (..., {"eval_frequency": 0}, ZeroDivisionError, "eval_frequency=0: no epoch is every 0th one"),
        (..., {"eval_frequency": "2"}, TypeError, "eval_frequency='2' is a str"),
    ],
)
def test_bad_arguments_are_refused_at_once(package: Any, options: Any, kind: type[Exception], told: str) -> None:
    with pytest.raises(kind, match=told) as caught:
        ModelPerformanceEvaluation(Told() if package is ... else package, {}, **options)
    assert isinstance(caught.value, CompatError)


def test_package_without_its_attributes_is_refused_before_the_training() -> None:
    package = SimpleNamespace(prepare_result_package=None, get_results=None)
    loop = loop_of()
    with pytest.raises(AttributeError, match="SimpleNamespace has no attribute requires_loss") as caught:
        loop.fit(1, callbacks=[ModelPerformanceEvaluation(package, {})])
    assert isinstance(caught.value, CompatError)
    assert loop.total_iteration_idx == -1


class Forgetful(Told):
    """Returns nothing."""

    def prepare_results_dict(self) -> Any:
        return None


def test_package_without_results_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AttributeError, match=r"Forgetful\.prepare_results_dict returned a NoneType") as caught:
        loop_of().fit(1, callbacks=[ModelPerformanceEvaluation(Forgetful(), {})])
    assert isinstance(caught.value, CompatError)


def test_missing_validation_data_are_named() -> None:
    with pytest.raises(TypeError, match="validation"):
        make_loop().fit(1, callbacks=[ModelPerformanceEvaluation(Told(), {})])
