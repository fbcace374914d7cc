"""Metrics of classification."""

import operator
import warnings
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from compat import quirks
from compat._console import say
from compat.exceptions import InvalidArgumentError, InvalidTypeError
from compat.experiment import _scores
from compat.experiment._targets import Array
from compat.experiment.metrics import AbstractBaseMetric

__all__ = [
    "AccuracyMetric",
    "F1ScoreMetric",
    "PrecisionMetric",
    "PrecisionRecallCurveAUCMetric",
    "ROCAUCMetric",
    "RecallMetric",
]


class AccuracyMetric(AbstractBaseMetric):
    """The share of samples that are predicted right.

    Predictions with several columns are scores of classes: the largest is the predicted class. Others within [0, 1] are
    scores of class 1 and compared with the threshold. Targets with several columns are one-hot.

    Args:
        y_true: Classes ``(N,)`` or one-hot ``(N, C)``.
        y_predicted: Classes or scores of class 1 ``(N,)``, or scores ``(N, C)``.
        positive_class_thresh: A score of at least this much is class 1; None leaves predictions ``(N,)`` as they are.

    Attributes:
        y_true: The targets as classes.
        y_predicted: The predictions as classes.
        positive_class_thresh: The argument.

    Raises:
        InvalidArgumentError: Predictions that are no classes after this, such as logits, or other lengths.
        InvalidTypeError: Text where a threshold is to be compared with.
    """

    def __init__(self, y_true: Any, y_predicted: Any, positive_class_thresh: float | None = 0.5) -> None:
        """Compute the accuracy."""
        self.positive_class_thresh = positive_class_thresh
        super().__init__(y_true, y_predicted, metric_name="Accuracy")

    def calculate_metric(self) -> float:
        """Turn scores and one-hot targets into classes, and compare them.

        Returns:
            The share of samples that are right.
        """
        if _has_columns(self.y_predicted):
            self.y_predicted = self.y_predicted.argmax(axis=1)
        elif self.positive_class_thresh is not None:
            self.y_predicted = self._thresholded(self.y_predicted)
        if _has_columns(self.y_true):
            self.y_true = self.y_true.argmax(axis=1)
        return _scores.accuracy(self.y_true, self.y_predicted)

    def _thresholded(self, scores: Array) -> Array:
        if scores.size == 0:
            raise InvalidArgumentError("y_predicted is empty. Accuracy needs at least one sample.")
        reached = _compared(operator.ge, scores, self.positive_class_thresh, self.metric_name)
        if scores.min() >= 0 and scores.max() <= 1:
            return reached
        # NaN comes here too, and is refused by the comparison with the targets. The line is the old library's.
        say(
            "Thresholding the predicted probabilities as if they are binary. However, found"
            "predicted value above 1.0. Threshold has not been applied."
        )
        return scores


class ROCAUCMetric(AbstractBaseMetric):
    """The area under the curve of the true over the false positive rate.

    Args:
        y_true: Two classes ``(N,)``, of which the larger is the positive one, or labels ``(N, C)`` of zeros and ones.
        y_predicted: Scores ``(N,)``, or ``(N, C)``, of which the mean over the labels is reported.

    Raises:
        InvalidArgumentError: More classes than two, other shapes, NaN.
    """

    def __init__(self, y_true: Any, y_predicted: Any) -> None:
        """Compute the area."""
        super().__init__(y_true, y_predicted, metric_name="ROC_AUC")

    def calculate_metric(self) -> float:
        """Compute the area.

        Returns:
            The area; NaN, with a warning, where all targets are of one class.
        """
        return _scores.area_under_roc(self.y_true, self.y_predicted)


class PrecisionRecallCurveAUCMetric(AbstractBaseMetric):
    """The area under the curve of precision over recall, by trapezoids.

    Args:
        y_true: Classes 0 and 1, or -1 and 1 ``(N,)``.
        y_predicted: Scores of class 1 ``(N,)``.

    Raises:
        InvalidArgumentError: Other targets, other shapes, NaN.
        InvalidTypeError: Scores of text.
    """

    def __init__(self, y_true: Any, y_predicted: Any) -> None:
        """Compute the area."""
        super().__init__(y_true, y_predicted, metric_name="PrecisionRecall_AUC")

    def calculate_metric(self) -> float:
        """Compute the area.

        Returns:
            The area.
        """
        return _scores.area_under_precision_recall(self.y_true, self.y_predicted)


class _ThresholdMetric(AbstractBaseMetric):
    """A metric of class 1 against class 0, with scores turned into classes by a threshold.

    Args:
        y_true: Classes 0 and 1 ``(N,)``.
        y_predicted: Scores of class 1 ``(N,)``.
        positive_class_thresh: Scores above it are class 1; with Q121 corrected, those equal to it too.

    Attributes:
        positive_class_thresh: The argument.

    Raises:
        InvalidArgumentError: Targets other than 0 and 1, other shapes.
        InvalidTypeError: Scores or a threshold that are no numbers.
    """

    _name: ClassVar[str]

    def __init__(self, y_true: Any, y_predicted: Any, positive_class_thresh: float = 0.5) -> None:
        """Compute the metric."""
        self.positive_class_thresh = positive_class_thresh
        super().__init__(y_true, y_predicted, metric_name=self._name)

    def calculate_metric(self) -> float:
        """Compute the metric; ``y_predicted`` keeps the scores.

        Returns:
            The result; 0.0, with a warning, where it would be a division by zero.
        """
        relation, other = (operator.ge, operator.gt) if quirks.is_fixed("Q121") else (operator.gt, operator.ge)
        score = self._score(self._predicted_classes(relation))
        on_it = int(np.count_nonzero(self.y_predicted == np.asarray(self.positive_class_thresh)))
        if on_it and self._quiet_score(other) != score:
            quirks.met(
                "Q121",
                f"{on_it} scores lie exactly on the threshold {self.positive_class_thresh}: {self.metric_name} takes"
                " them for class 0, Accuracy for class 1",
            )
        return score

    def _quiet_score(self, relation: Callable[[Any, Any], Any]) -> float | None:
        """Return what the other mode of Q121 would give; None if that is an error."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return self._score(self._predicted_classes(relation))
            except InvalidArgumentError:
                return None

    @abstractmethod
    def _score(self, predicted: Array) -> float:
        """Compare the targets with predicted classes of 0 and 1 ``(N,)``."""

    def _predicted_classes(self, relation: Callable[[Any, Any], Any]) -> Array:
        positive = _compared(relation, self.y_predicted, self.positive_class_thresh, self.metric_name)
        return positive.astype(np.int64)


class F1ScoreMetric(_ThresholdMetric):
    """The harmonic mean of precision and recall of class 1.

    Args:
        y_true: Classes 0 and 1 ``(N,)``.
        y_predicted: Scores of class 1 ``(N,)``.
        positive_class_thresh: Scores above it are class 1.
    """

    _name = "F1_score"

    def _score(self, predicted: Array) -> float:
        return _scores.f1(self.y_true, predicted)


class PrecisionMetric(_ThresholdMetric):
    """The share of the samples predicted as class 1 that are of class 1.

    Args:
        y_true: Classes 0 and 1 ``(N,)``.
        y_predicted: Scores of class 1 ``(N,)``.
        positive_class_thresh: Scores above it are class 1.
    """

    _name = "Precision"

    def _score(self, predicted: Array) -> float:
        return _scores.precision(self.y_true, predicted)


class RecallMetric(_ThresholdMetric):
    """The share of the samples of class 1 that are predicted as such.

    Args:
        y_true: Classes 0 and 1 ``(N,)``.
        y_predicted: Scores of class 1 ``(N,)``.
        positive_class_thresh: Scores above it are class 1.
    """

    _name = "Recall"

    def _score(self, predicted: Array) -> float:
        return _scores.recall(self.y_true, predicted)


def _has_columns(values: Array) -> bool:
    return values.ndim > 1 and values.shape[1] > 1


def _compared(relation: Callable[[Any, Any], Any], scores: Array, threshold: Any, metric: str) -> Array:
    """Compare scores with a threshold.

    Raises:
        InvalidTypeError: They are not numbers both.
        InvalidArgumentError: Several thresholds, of another number than the scores.
    """
    try:
        return np.asarray(relation(scores, threshold))
    except TypeError as error:
        raise InvalidTypeError(
            f"{metric} compares y_predicted ({scores.dtype}) with positive_class_thresh={threshold!r}, and they are not"
            " both numbers. Pass scores and a number; AccuracyMetric compares labels of text with"
            " positive_class_thresh=None."
        ) from error
    except ValueError as error:
        raise InvalidArgumentError(
            f"{metric} cannot compare y_predicted of shape {scores.shape} with positive_class_thresh={threshold!r}:"
            f" {error}. Pass one number."
        ) from error
