"""Packages of the usual tasks."""

import warnings
from typing import Any

import pytest

from compat import quirks
from compat.exceptions import QuirkWarning
from compat.experiment.basic_packages import (
    BinaryClassificationResultPackage,
    ClassificationResultPackage,
    GeneralResultPackage,
    RegressionResultPackage,
)
from compat.experiment.classification import AccuracyMetric, F1ScoreMetric, RecallMetric
from compat.experiment.metrics import AbstractBaseMetric


def test_binary_results_and_their_order() -> None:
    package = BinaryClassificationResultPackage(positive_class_thresh=0.4)
    package.prepare_result_package([0, 1, 1, 0], [0.2, 0.45, 0.8, 0.3])
    assert package.results_dict == {"F1_score": 1.0, "PrecisionRecall_AUC": 1.0, "Accuracy": 1.0, "ROC_AUC": 1.0}
    assert list(package.results_dict) == ["F1_score", "PrecisionRecall_AUC", "Accuracy", "ROC_AUC"]


def test_binary_package_has_two_thresholds_unless_corrected() -> None:
    package = BinaryClassificationResultPackage()
    with pytest.warns(QuirkWarning, match="Q121: 1 scores lie exactly on the threshold"):
        package.prepare_result_package([0, 1], [0.2, 0.5])
    assert (package["Accuracy"], package["F1_score"]) == (1.0, 0.0)
    quirks.set(Q121="fixed")
    package.prepare_result_package([0, 1], [0.2, 0.5])
    assert (package["Accuracy"], package["F1_score"]) == (1.0, 1.0)


def test_classes_are_compared_without_a_threshold() -> None:
    package = ClassificationResultPackage()
    package.prepare_result_package([0, 2, 1], [[0.1, 0.2, 0.7], [0.1, 0.2, 0.7], [0.3, 0.4, 0.3]])
    assert package.results_dict == {"Accuracy": 2 / 3}
    with pytest.raises(ValueError, match="is continuous"):
        package.prepare_result_package([0, 1], [0.2, 0.7])


def test_regression_results() -> None:
    package = RegressionResultPackage()
    package.prepare_result_package([1.0, 2.0], [1.0, 4.0])
    assert str(package) == "Mean_squared_error: 2.0\nMean_absolute_error: 1.0"


def test_general_package_needs_no_hyperparameters(capsys: pytest.CaptureFixture[str]) -> None:
    package = GeneralResultPackage([AccuracyMetric, F1ScoreMetric])
    package.prepare_result_package([0, 1], [0.2, 0.7])
    assert package.results_dict is not None
    assert list(package.results_dict) == ["F1_score", "Accuracy"]
    assert capsys.readouterr().out == "Warning: Hyperparameters missing\n"
    assert quirks.counts()["Q117"] == 1


def test_general_package_takes_functions_that_return_a_metric() -> None:
    def strict_recall(y_true: Any, y_predicted: Any) -> AbstractBaseMetric:
        return RecallMetric(y_true, y_predicted, positive_class_thresh=0.9)

    package = GeneralResultPackage([strict_recall])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        package.prepare_result_package([0, 1], [0.2, 0.7], {})
    assert package.results_dict == {"Recall": 0.0}


@pytest.mark.parametrize(
    ("metrics", "text"),
    [
        (None, "metrics_list=None is no list"),
        (AccuracyMetric, "metrics_list=<class .*AccuracyMetric'> is no list"),
        ([AccuracyMetric([0], [1])], "in metrics_list is a AccuracyMetric. Pass metric classes"),
        (["accuracy"], "'accuracy' in metrics_list is a str"),
        ([lambda y_true, y_predicted: {"x": 1}], "returned a dict. Functions in metrics_list return a metric"),
        ([lambda y_true, y_predicted: 5], "returned a int"),
    ],
    ids=["None", "a class", "a metric", "text", "a dict", "a number"],
)
def test_what_is_no_metric_is_named(metrics: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        GeneralResultPackage(metrics).prepare_result_package([0, 1], [0.2, 0.7], {})


@pytest.mark.parametrize(
    ("metrics", "line"),
    [
        ([AccuracyMetric], ""),
        ([AccuracyMetric([0], [1])], ""),
        ([], "Metrics list is empty\n"),
        ([int], "Metric is not inherited from AbstractBaseMetric class\n"),
    ],
    ids=["a class", "a metric", "nothing", "another class"],
)
def test_check_of_the_metrics(metrics: Any, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    GeneralResultPackage(metrics).qa_check_metrics_list()
    assert capsys.readouterr().out == line
    if line:
        with pytest.raises(ValueError, match=line.strip()):
            GeneralResultPackage(metrics, strict_content_check=True).qa_check_metrics_list()
