"""Metrics of classification: thresholds, and input that has no classes."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from compat import quirks
from compat.exceptions import CompatError, QuirkWarning
from compat.experiment.classification import (
    AccuracyMetric,
    F1ScoreMetric,
    PrecisionMetric,
    PrecisionRecallCurveAUCMetric,
    RecallMetric,
    ROCAUCMetric,
)

ON_IT = ([1, 0, 1, 0], [0.5, 0.4, 0.9, 0.5])
STRICT = [(F1ScoreMetric, 2 / 3, 0.8), (PrecisionMetric, 1.0, 2 / 3), (RecallMetric, 0.5, 1.0)]


@pytest.mark.parametrize(("metric", "kept", "fixed"), STRICT)
def test_scores_on_the_threshold_are_negative_and_warned_of(metric: Any, kept: float, fixed: float) -> None:
    with pytest.warns(QuirkWarning, match=r"Q121: 2 scores lie exactly on the threshold 0\.5.*Q121=fixed") as caught:
        assert metric(*ON_IT).get_metric() == kept
    assert caught[0].filename == __file__
    assert quirks.counts()["Q121"] == 1


@pytest.mark.parametrize(("metric", "kept", "fixed"), STRICT)
def test_scores_on_the_threshold_are_positive_once_corrected(metric: Any, kept: float, fixed: float) -> None:
    quirks.set(Q121="fixed")
    assert metric(*ON_IT).get_metric() == fixed


@pytest.mark.parametrize(("metric", "kept", "fixed"), STRICT)
def test_saying_kept_ends_the_warning(metric: Any, kept: float, fixed: float) -> None:
    quirks.set(Q121="kept")
    assert metric(*ON_IT).get_metric() == kept


@pytest.mark.parametrize("metric", [F1ScoreMetric, PrecisionMetric, RecallMetric])
def test_no_score_on_the_threshold_is_no_oddity(metric: Any) -> None:
    metric(ON_IT[0], [0.6, 0.4, 0.9, 0.3])
    assert "Q121" not in quirks.counts()


@pytest.mark.parametrize("mode", ["kept", "fixed"])
def test_accuracy_takes_a_score_on_the_threshold_for_class_1(mode: str) -> None:
    quirks.set(Q121=mode)
    assert AccuracyMetric(*ON_IT).get_metric() == 0.75
    assert "Q121" not in quirks.counts()


def test_accuracy_keeps_the_classes_and_the_others_the_scores() -> None:
    accuracy, f1 = AccuracyMetric([0, 1], [0.25, 0.75]), F1ScoreMetric([0, 1], [0.25, 0.75])
    assert accuracy.y_predicted.tolist() == [False, True]
    assert f1.y_predicted.tolist() == [0.25, 0.75]


def test_logits_are_told_from_probabilities(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=r"y_predicted of shape \(2,\) is continuous.*must lie in \[0, 1\]"):
        AccuracyMetric([0, 1], [-1.0, 2.5])
    assert "Threshold has not been applied" in capsys.readouterr().out


def test_labels_of_text_need_no_threshold() -> None:
    assert AccuracyMetric(["cat", "dog"], ["cat", "cow"], positive_class_thresh=None).get_metric() == 0.5
    with pytest.raises(
        TypeError, match=r"compares y_predicted \(<U3\) .* labels of text with positive_class_thresh=None"
    ):
        AccuracyMetric(["cat", "dog"], ["cat", "cow"])


@pytest.mark.parametrize(
    ("metric", "y_true", "y_predicted", "text"),
    [
        (AccuracyMetric, [], [], "y_predicted is empty"),
        (AccuracyMetric, [0.5, 0.2], [0, 1], "y_true of shape .* is continuous"),
        (F1ScoreMetric, [0, 1, 2], [0.1, 0.6, 0.7], r"class 1 against class 0: .* hold \[0, 1, 2\]"),
        (F1ScoreMetric, list(range(9)), [0.1] * 9, r"hold \[0, 1, 2, 3, 4\] and more"),
        (PrecisionMetric, [0, 2], [0.1, 0.2], r"hold \[0, 2\]"),
        (RecallMetric, [0, 1], [[0.1, 0.9], [0.8, 0.2]], "is binary, .* is multilabel-indicator"),
        (ROCAUCMetric, [0, 1, 2], [0.1, 0.2, 0.3], r"is multiclass, .*pass one-hot targets"),
        (ROCAUCMetric, [0, 1], [[0.1, 0.9], [0.8, 0.2]], r"that of the positive class, such as y_predicted\[:, 1\]"),
        (ROCAUCMetric, [0, 1], [0.1, float("nan")], "y_predicted contains 1 NaN"),
        (PrecisionRecallCurveAUCMetric, [1, 2], [0.1, 0.2], r"is binary and holds \[1, 2\]. Encode the positive class"),
        (PrecisionRecallCurveAUCMetric, [0, 1], [0.1], "inconsistent numbers of samples: 2 and 1"),
    ],
)
def test_bad_input_is_one_clear_error(metric: Any, y_true: Any, y_predicted: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        metric(y_true, y_predicted)
    assert isinstance(caught.value, CompatError)


@pytest.mark.parametrize("threshold", [None, "0.5"])
@pytest.mark.parametrize("metric", [F1ScoreMetric, PrecisionMetric, RecallMetric])
def test_a_threshold_that_is_no_number_is_named(metric: Any, threshold: Any) -> None:
    with pytest.raises(TypeError, match=f"with positive_class_thresh={threshold!r}, and they are not both numbers"):
        metric([0, 1], [0.2, 0.7], threshold)


def test_several_thresholds_must_fit() -> None:
    with pytest.raises(ValueError, match=r"y_predicted of shape \(2,\) with positive_class_thresh=\[0.1, 0.2, 0.3\]"):
        F1ScoreMetric([0, 1], [0.2, 0.7], [0.1, 0.2, 0.3])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "metric",
    [AccuracyMetric, F1ScoreMetric, PrecisionMetric, RecallMetric, ROCAUCMetric, PrecisionRecallCurveAUCMetric],
)
def test_scores_of_reduced_precision_and_with_gradients_work(metric: Any) -> None:
    scores = torch.tensor([0.25, 0.75, 0.125, 1.0], dtype=torch.bfloat16, requires_grad=True)
    expected = metric([0, 1, 1, 1], [0.25, 0.75, 0.125, 1.0]).get_metric()
    assert metric(torch.tensor([0, 1, 1, 1]), scores).get_metric() == expected


def test_what_was_passed_is_left_alone() -> None:
    y_true, scores = np.eye(3), np.array([[0.1, 0.2, 0.7]] * 3)
    AccuracyMetric(y_true, scores)
    assert y_true.tolist() == np.eye(3).tolist()
    assert scores.shape == (3, 3)


def test_torchmetrics_is_loaded_when_something_is_counted() -> None:
    code = (
        "import sys; import compat; compat.MeanSquaredErrorMetric([1.0], [2.0]);"
        " compat.ROCAUCMetric([0, 1], [0.1, 0.2]);"
        " before = 'torchmetrics' in sys.modules; compat.AccuracyMetric([0], [1]);"
        " print(before, 'torchmetrics' in sys.modules, 'sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["False", "True", "False"]
