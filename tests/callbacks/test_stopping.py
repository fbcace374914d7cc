"""Callbacks that end the training early."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch

from compat import AllPredictionsSame, EarlyStopping, TerminateOnNaN, ThresholdEarlyStopping, TrainLoop
from compat.callbacks.stopping import _watched_values
from compat.exceptions import CompatError, QuirkWarning
from tests.toys import TwoHeads, batches, make_loop

NAN, INF = float("nan"), float("inf")


def run(callback: Any, values: list[Any], loop: TrainLoop | None = None) -> int | None:
    """Let the callback see one value an epoch.

    Returns:
        The epoch at which it stopped the training, if it did.
    """
    loop = loop or make_loop()
    callback.register_train_loop_object(loop)
    for epoch, value in enumerate(values):
        loop.epoch = epoch
        if value is not ...:
            loop.train_history[callback.monitor] = value
        callback.on_epoch_end()
        if loop.early_stop:
            return epoch
    return None


@pytest.mark.parametrize(
    ("monitor", "options", "values", "stopped", "best"),
    [
        pytest.param("acc", {}, [0.5, 0.4, 0.6], 1, 0, id="maximised"),
        pytest.param("val_LOSS", {}, [0.5, 0.4, 0.6], 2, 1, id="loss minimised"),
        pytest.param("Error_rate", {}, [0.5, 0.4, 0.6], 2, 1, id="error minimised"),
        pytest.param("acc", {"patience": 2}, [0.5, 0.5, 0.6, 0.7], None, 3, id="one bad epoch let pass"),
        pytest.param("acc", {}, [0.5, 0.5], 1, 0, id="equal is not better"),
        pytest.param("acc", {"min_delta": 0.15}, [0.5, 0.6], 1, 0, id="not better by enough"),
        pytest.param("acc", {"min_delta": 0.1}, [0.3, 0.4], 1, 0, id="better by exactly enough is not better"),
        pytest.param("acc", {"min_delta": -0.15}, [0.5, 0.4, 0.3], None, 2, id="negative delta"),
        pytest.param("acc", {"patience": -1}, [0.5, 0.6], 1, 1, id="patience -1 stops though better"),
        pytest.param("acc", {}, [torch.tensor(0.5), torch.tensor(0.4)], 1, 0, id="tensors"),
        pytest.param("acc", {}, [None, None, None], None, 2, id="None is passed over"),
    ],
)
def test_early_stopping(
    monitor: str, options: Any, values: list[Any], stopped: int | None, best: int, capsys: pytest.CaptureFixture[str]
) -> None:
    callback = EarlyStopping(monitor, **options)
    assert run(callback, values, make_loop(quirks={"Q69": "kept"})) == stopped
    assert callback.best_epoch == best
    printed = f"Early stopping at epoch: {stopped}. Best recorded epoch: {best}.\n" if stopped is not None else ""
    assert capsys.readouterr().out == printed


def test_patience_plus_one_stops_and_warns() -> None:
    with pytest.warns(QuirkWarning, match=r"Q69: EarlyStopping\(patience=2\) has met 2 in a row without improvement"):
        assert run(EarlyStopping("acc", patience=2), [0.5, 0.4, 0.4, 0.4]) == 3


def test_early_stopping_counts_down_and_recovers() -> None:
    callback = EarlyStopping("acc", patience=2)
    run(callback, [0.5, 0.4])
    assert (callback.patience_count, callback.best_performance) == (1, 0.5)
    run(callback, [0.6])
    assert (callback.patience_count, callback.best_performance) == (2, 0.6)


@pytest.mark.parametrize("nan", [NAN, torch.tensor(NAN), np.float32(NAN)], ids=["float", "tensor", "numpy"])
def test_first_value_nan_blocks_and_warns(nan: Any) -> None:
    with pytest.warns(QuirkWarning, match="Q69: the first value of 'acc' is NaN, and no later value is better"):
        assert run(EarlyStopping("acc", patience=1), [nan, 0.5, 0.6, 0.7]) == 2


def test_later_nan_is_a_bad_epoch() -> None:
    assert run(EarlyStopping("acc"), [0.5, NAN]) == 1


@pytest.mark.parametrize("monitor", ["val_perplexity", "mse", "val_RMSE", "wer", "Brier_score", "something"])
def test_unknown_direction_is_maximised_and_warns(monitor: str) -> None:
    with pytest.warns(QuirkWarning, match=f"Q69: EarlyStopping maximises '{monitor}'"):
        assert run(EarlyStopping(monitor), [1.0, 2.0, 1.5]) == 2


@pytest.mark.parametrize("monitor", ["val_loss", "Mean_squared_error", "val_Accuracy", "f1", "ROC_AUC", "val_bleu"])
def test_clear_direction_does_not_warn(monitor: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(EarlyStopping(monitor), [1.0])


@pytest.mark.parametrize(
    ("monitor", "patience", "values", "stopped"),
    [
        pytest.param("mse", 0, [3.0, 2.0, 1.0, 2.0], 3, id="usual name of an error"),
        pytest.param("acc", 0, [0.5, 0.4], 1, id="at least one epoch"),
        pytest.param("acc", 2, [0.5, 0.4, 0.4], 2, id="patience epochs"),
        pytest.param("acc", 1, [NAN, 0.5], 0, id="NaN is a bad epoch"),
        pytest.param("acc", 2, [NAN, 0.5, 0.6, NAN, 0.7], None, id="NaN is never the best"),
        pytest.param("acc", -1, [0.5, 0.6, 0.7], None, id="better never stops"),
        pytest.param("something", 1, [1.0, 2.0, 1.0], 2, id="unknown names are maximised"),
    ],
)
def test_early_stopping_when_fixed(monitor: str, patience: int, values: list[float], stopped: int | None) -> None:
    loop = make_loop(quirks={"Q69": "fixed"})
    assert run(EarlyStopping(monitor, patience=patience), values, loop) == stopped


def test_epoch_without_a_new_value_counts_and_warns() -> None:
    with pytest.warns(QuirkWarning, match="Q70: epoch 1 has no new value of 'acc', and EarlyStopping counts it as an"):
        assert run(EarlyStopping("acc"), [0.5, ...]) == 1


def test_epoch_without_a_new_value_is_let_pass_when_fixed() -> None:
    loop = make_loop(quirks={"Q70": "fixed"})
    assert run(EarlyStopping("acc"), [0.5, ..., ..., 0.6, ..., 0.5], loop) == 5


def test_defaults() -> None:
    callback = EarlyStopping()
    assert (callback.monitor, callback.min_delta, callback.patience) == ("val_loss", 0.0, 0)
    assert (callback.execution_order, callback.callback_name) == (99, "EarlyStopping")
    assert TerminateOnNaN().monitor == "loss"


@pytest.mark.parametrize(
    ("monitor", "threshold", "patience", "values", "stopped"),
    [
        pytest.param("acc", 0.45, 0, [0.5, 0.4], 1, id="below"),
        pytest.param("acc", 0.5, 0, [0.5, 0.5], None, id="equal is good enough"),
        pytest.param("acc", 0.5, 0, [0.4], 0, id="at the first epoch"),
        pytest.param("my_loss", 0.45, 1, [0.5, 0.4, 0.6, 0.7], 3, id="loss above, with patience"),
        pytest.param("error", 0.5, 0, [0.4, 0.6], 1, id="error above"),
        pytest.param("acc", 0.5, 0, [NAN, NAN], None, id="NaN counts as fine"),
        pytest.param("acc", 0.5, -1, [0.9], 0, id="patience -1 stops though fine"),
    ],
)
def test_threshold(
    monitor: str,
    threshold: float,
    patience: int,
    values: list[float],
    stopped: int | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(ThresholdEarlyStopping(monitor, threshold, patience), values) == stopped
    printed = f"Threshold performance not reached. Early stopping at epoch: {stopped}.\n" if stopped is not None else ""
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize(
    ("values", "line"),
    [
        pytest.param([0.5, NAN], "Terminating on acc = nan at epoch: 1.", id="nan"),
        pytest.param([-INF], "Terminating on acc = -inf at epoch: 0.", id="minus infinity"),
        pytest.param([torch.tensor(NAN)], "Terminating on acc = nan at epoch: 0.", id="tensor"),
        pytest.param([np.float32("inf")], "Terminating on acc = inf at epoch: 0.", id="numpy"),
        pytest.param([None, 0.5, 0], None, id="None and numbers"),
    ],
)
def test_terminate_on_nan(values: list[Any], line: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    assert (run(TerminateOnNaN("acc"), values) is not None) == (line is not None)
    assert capsys.readouterr().out == (f"{line}\n" if line else "")


each_watcher = pytest.mark.parametrize(
    "make",
    [
        pytest.param(EarlyStopping, id="EarlyStopping"),
        pytest.param(lambda monitor: ThresholdEarlyStopping(monitor, 0.5), id="ThresholdEarlyStopping"),
        pytest.param(TerminateOnNaN, id="TerminateOnNaN"),
    ],
)


@each_watcher
def test_metric_that_is_not_there(make: Any) -> None:
    with pytest.raises(KeyError) as caught:
        run(make("acc"), [...])
    text = str(caught.value)
    assert isinstance(caught.value, CompatError)
    assert text.startswith("The training history holds no metric 'acc'. It holds: loss, accumulated_loss. Watch one of")


@each_watcher
def test_metric_without_a_value(make: Any) -> None:
    loop = make_loop()
    loop.train_history["accumulated_loss"] = 1.0
    with pytest.raises(
        IndexError, match=r"no value of 'loss' yet, but of: accumulated_loss\. .*end_auto_eval"
    ) as caught:
        run(make("loss"), [...], loop)
    assert isinstance(caught.value, CompatError)


@each_watcher
def test_metric_that_is_no_number(make: Any) -> None:
    with pytest.raises(
        TypeError, match=r"watches 'acc', whose latest value is \{'a': 1\}, a dict\. It needs one number"
    ):
        run(make("acc"), [{"a": 1}, {"a": 1}])


def test_mean_of_several_losses_is_watched() -> None:
    """Q47: with a MultiLoss the history's lists under these names stay empty."""
    loop = make_loop(TwoHeads(), validation=batches(1), quirks={"Q42": "kept"})
    callback = EarlyStopping("val_loss", patience=5)
    loop.fit(num_epochs=2, callbacks=[callback, TerminateOnNaN()])
    history = loop.train_history
    assert history["val_loss"] == []
    means = [(a + b) / 2 for a, b in zip(history["val_loss_a"], history["val_loss_b"], strict=True)]
    assert _watched_values(loop, "val_loss") == pytest.approx(means)
    assert callback.best_performance == pytest.approx(min(means))


def test_training_is_stopped_at_the_end_of_the_epoch() -> None:
    frozen = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    loop = make_loop(validation=batches(1), optimizer=frozen, quirks={"Q69": "kept"})
    loop.fit(num_epochs=5, callbacks=[EarlyStopping(patience=1)])
    assert loop.epoch == 2
    assert len(loop.train_history["val_loss"]) == 3


def same_value_run(callback: AllPredictionsSame, predictions: Any) -> TrainLoop:
    loop = make_loop()
    loop.predict_on_validation_set = lambda *args, **kwargs: (predictions, None, {})  # type: ignore[method-assign]
    callback.register_train_loop_object(loop)
    callback.on_epoch_end()
    return loop


SAME = "All the predicted values are of the same value: 0.0\n"
STOP = "Executing early stopping\n"


@pytest.mark.parametrize(
    ("options", "predictions", "printed", "stopped"),
    [
        pytest.param({}, torch.zeros(3), SAME, False, id="all the same"),
        pytest.param({}, torch.zeros(3, 1), SAME, False, id="a column"),
        pytest.param({}, torch.zeros(3, 1, 1), SAME, False, id="more dimensions of one"),
        pytest.param({}, torch.zeros(0), SAME, False, id="no predictions"),
        pytest.param({}, torch.tensor([0, 0]), SAME, False, id="whole numbers"),
        pytest.param({}, torch.tensor([0.0, 1e-9]), "", False, id="nearly the same"),
        pytest.param({"value": NAN}, torch.tensor([NAN]), "", False, id="NaN equals nothing"),
        pytest.param({"stop_training": True}, torch.zeros(3), SAME + STOP, True, id="stops"),
        pytest.param({"stop_training": True, "verbose": False}, torch.zeros(3), STOP, True, id="stops quietly"),
        pytest.param({"stop_training": True}, torch.ones(3), "", False, id="no reason to stop"),
        pytest.param({}, [0, 0.0, torch.zeros(1)], SAME, False, id="a list"),
        pytest.param({}, [1, torch.zeros(2)], "", False, id="a list that differs at once"),
    ],
)
def test_all_predictions_same(
    options: Any, predictions: Any, printed: str, stopped: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    loop = same_value_run(AllPredictionsSame(**options), predictions)
    assert capsys.readouterr().out == printed
    assert loop.early_stop is stopped


def test_predictions_of_several_numbers() -> None:
    with pytest.raises(
        RuntimeError, match=r"compares one number a sample with value=0\.0.*the shape \(6, 2\)"
    ) as caught:
        same_value_run(AllPredictionsSame(), torch.zeros(6, 2))
    assert isinstance(caught.value, CompatError)
