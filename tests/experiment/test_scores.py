"""The numbers behind the metrics against scikit-learn, bit for bit, and the warnings where they are undefined."""

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn import metrics as sklearn  # type: ignore[import-untyped]  # it ships no types

from compat.exceptions import UndefinedMetricWarning
from compat.experiment import _scores

Array = npt.NDArray[Any]
ROUNDS = 60


def sklearn_curve(y_true: Array, y_score: Array) -> float:
    precisions, recalls, _ = sklearn.precision_recall_curve(y_true, y_score)
    return float(sklearn.auc(recalls, precisions))


PAIRS: dict[str, tuple[Callable[[Array, Array], float], Callable[[Array, Array], Any]]] = {
    "accuracy": (_scores.accuracy, sklearn.accuracy_score),
    "precision": (_scores.precision, sklearn.precision_score),
    "recall": (_scores.recall, sklearn.recall_score),
    "f1": (_scores.f1, sklearn.f1_score),
    "roc": (_scores.area_under_roc, sklearn.roc_auc_score),
    "precision-recall": (_scores.area_under_precision_recall, sklearn_curve),
    "squared": (_scores.mean_squared_error, sklearn.mean_squared_error),
    "absolute": (_scores.mean_absolute_error, sklearn.mean_absolute_error),
}


def both(name: str, y_true: Array, y_predicted: Array) -> tuple[str, str]:
    """Our number and scikit-learn's, to the last bit."""
    ours, theirs = PAIRS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(ours(y_true, y_predicted)).hex(), float(theirs(y_true, y_predicted)).hex()


def binary(random: np.random.Generator, size: int) -> Array:
    """Two classes in any proportion, of each at least one sample."""
    y_true = (random.random(size) < random.random()).astype(int)
    y_true[:2] = 0, 1
    return random.permutation(y_true)


def scored(random: np.random.Generator, size: int) -> Array:
    """Scores with and without ties, in both floating types."""
    scores = random.random(size) if random.random() < 0.5 else np.round(random.random(size), random.integers(0, 3))
    return scores.astype(["float32", "float64"][int(random.integers(2))])


def any_size(random: np.random.Generator) -> int:
    return int(random.choice([2, 3, 9, 64, 129, 777, 4096]))


@pytest.mark.parametrize("name", ["roc", "precision-recall"])
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_areas_of_random_scores(name: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    size = any_size(random)
    ours, theirs = both(name, binary(random, size), scored(random, size))
    assert ours == theirs


@pytest.mark.parametrize("name", ["accuracy", "precision", "recall", "f1"])
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_counts_of_random_classes(name: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    size = any_size(random)
    ours, theirs = both(name, binary(random, size), (scored(random, size) > random.random()).astype(int))
    assert ours == theirs


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_accuracy_of_random_labels(seed: int) -> None:
    random = np.random.default_rng(seed)
    size, labels = (
        any_size(random),
        np.array([["7", "-1", "x", "longer"], [3, -1, 100, 8], [0.0, 2.0, 5.0, 1.0]][seed % 3]),
    )
    ours, theirs = both("accuracy", random.choice(labels, size), random.choice(labels, size))
    assert ours == theirs


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_rows_of_random_labels(seed: int) -> None:
    random = np.random.default_rng(seed)
    size, width = any_size(random), int(random.integers(2, 10))
    y_true = random.integers(0, 2, (size, width))
    y_true[:2] = 0
    y_true[1] = 1
    assert len(set(both("accuracy", y_true, np.where(random.random((size, width)) < 0.2, 1 - y_true, y_true)))) == 1
    assert len(set(both("roc", y_true, scored(random, size * width).reshape(size, width)))) == 1


@pytest.mark.parametrize("name", ["squared", "absolute"])
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_errors_of_random_numbers(name: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    shape = (any_size(random), int(random.integers(1, 9)))[: 1 + seed % 2]
    y_true, y_predicted = random.normal(size=(2, *shape)) * 10.0 ** random.integers(-5, 5)
    if seed % 3 == 0:
        y_true, y_predicted = y_true.astype(np.float32), y_predicted.astype(np.float32)
    if seed % 5 == 0:
        y_true, y_predicted = np.asfortranarray(y_true), np.asfortranarray(y_predicted)
    ours, theirs = both(name, y_true, y_predicted)
    assert ours == theirs


def test_control_an_area_summed_in_another_order_is_seen() -> None:
    """The comparison is one of bits: the same area by ranks is equal but for rounding, and is told apart."""
    different = 0
    for seed in range(ROUNDS):
        random = np.random.default_rng(seed)
        size = any_size(random)
        y_true, y_score = binary(random, size), random.random(size)
        positive, negative = y_score[y_true == 1], y_score[y_true == 0]
        by_ranks = float(np.mean([(positive > score).mean() for score in negative]))
        ours = _scores.area_under_roc(y_true, y_score)
        assert ours == pytest.approx(by_ranks)
        different += ours != by_ranks
    assert different > ROUNDS / 4


@pytest.mark.parametrize(
    ("function", "y_true", "y_predicted", "value", "text"),
    [
        (_scores.precision, [1, 0], [0, 0], 0.0, "Precision is ill-defined and being set to 0.0 due to no predicted"),
        (_scores.recall, [0, 0], [1, 0], 0.0, "Recall is ill-defined and being set to 0.0 due to no true samples"),
        (_scores.f1, [0, 0], [0, 0], 0.0, "F-score is ill-defined and being set to 0.0 due to no true nor predicted"),
        (_scores.area_under_precision_recall, [0, 0], [0.1, 0.2], 0.5, "No positive class found in y_true"),
    ],
)
def test_undefined_metric_warns_at_the_users_line(
    function: Callable[[Array, Array], float], y_true: list[int], y_predicted: list[float], value: float, text: str
) -> None:
    targets, predicted = np.array(y_true), np.array(y_predicted)
    line = sys._getframe().f_lineno + 2
    with pytest.warns(UndefinedMetricWarning, match=text) as caught:
        result = function(targets, predicted)
    assert result == value
    assert [(warning.filename, warning.lineno) for warning in caught] == [(__file__, line)]


def test_area_of_one_class_is_nan_with_a_warning() -> None:
    with pytest.warns(UndefinedMetricWarning, match="Only one class is present in y_true"):
        assert np.isnan(_scores.area_under_roc(np.array([1, 1]), np.array([0.1, 0.2])))


def test_area_of_labels_warns_once_for_each_label_of_one_class() -> None:
    y_true = np.array([[1, 0, 1], [0, 0, 1]])
    with pytest.warns(UndefinedMetricWarning) as caught:
        assert np.isnan(_scores.area_under_roc(y_true, y_true * 0.5))
    assert len(caught) == 2


def test_no_sample_of_any_class_but_the_positive_is_no_problem() -> None:
    ones = np.array([1, 1])
    assert (_scores.precision(ones, ones), _scores.recall(ones, ones), _scores.f1(ones, ones)) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("width", [2, 4], ids=["too few", "too many"])
def test_labels_and_scores_of_other_widths_are_refused(width: int) -> None:
    """Too few were averaged silently, too many were an IndexError."""
    with pytest.raises(ValueError, match=rf"y_true has shape \(4, 3\), y_predicted \(4, {width}\).*one score"):
        _scores.area_under_roc(np.eye(4, 3), np.ones((4, width)))


def test_rows_of_labels_of_other_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="y_true has 2 labels a sample, y_predicted 3"):
        _scores.accuracy(np.ones((2, 2)), np.ones((2, 3)))


def test_large_numbers_become_infinite_with_numpys_own_warning() -> None:
    with pytest.warns(RuntimeWarning, match="overflow"):
        assert _scores.mean_squared_error(np.array([1e200]), np.array([-1e200])) == float("inf")
