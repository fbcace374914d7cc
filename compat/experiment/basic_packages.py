"""Result packages of the usual tasks: classification, regression, or any list of metrics."""

from collections.abc import Callable, Iterable
from typing import Any

from compat import quirks
from compat.exceptions import InvalidTypeError
from compat.experiment.classification import (
    AccuracyMetric,
    F1ScoreMetric,
    PrecisionRecallCurveAUCMetric,
    ROCAUCMetric,
)
from compat.experiment.metrics import AbstractBaseMetric, MeanAbsoluteErrorMetric, MeanSquaredErrorMetric
from compat.experiment.packages import AbstractResultPackage

__all__ = [
    "BinaryClassificationResultPackage",
    "ClassificationResultPackage",
    "GeneralResultPackage",
    "RegressionResultPackage",
]

_MetricClass = Callable[[Any, Any], AbstractBaseMetric]


class GeneralResultPackage(AbstractResultPackage):
    """The results of any metrics.

    Args:
        metrics_list: Metric classes, or functions of targets and predictions that return a metric.
        strict_content_check: Raise where content looks wrong, instead of printing a line.
        kwargs: ``np_array``; the rest is kept as ``package_metadata``.

    Attributes:
        metrics_list: The argument.
    """

    def __init__(self, metrics_list: Iterable[_MetricClass], strict_content_check: bool = False, **kwargs: Any) -> None:
        """Take the metrics."""
        super().__init__("GeneralResultPackage", strict_content_check, **kwargs)
        self.metrics_list = metrics_list

    def prepare_results_dict(self) -> dict[str, Any]:
        """Compute each metric.

        Returns:
            Results by the metric's name, the last metric's first.

        Raises:
            InvalidTypeError: Something in the list is no metric class, or made no metric.
        """
        # The metrics do not get the hyperparameters, but they are checked.
        self.qa_check_hyperparameters_dict()
        results: dict[str, Any] = {}
        for metric_class in self._checked_metrics():
            metric = metric_class(self.y_true, self.y_predicted)
            try:
                results = results + metric
            except TypeError as error:
                raise InvalidTypeError(
                    f"{metric_class!r} returned a {type(metric).__name__}. Functions in metrics_list return a metric."
                ) from error
        return results

    def _checked_metrics(self) -> list[_MetricClass]:
        if not isinstance(self.metrics_list, Iterable):
            raise InvalidTypeError(f"metrics_list={self.metrics_list!r} is no list. Pass metric classes in a list.")
        metrics = list(self.metrics_list)
        for metric in metrics:
            if not callable(metric):
                raise InvalidTypeError(
                    f"{metric!r} in metrics_list is a {type(metric).__name__}. Pass metric classes, such as"
                    " AccuracyMetric: they are made anew for each set of predictions."
                )
        return metrics

    def qa_check_metrics_list(self) -> None:
        """Check that the list holds metrics.

        Raises:
            InvalidArgumentError: It is empty or holds something else, and the content check is strict. Otherwise a line
                is printed.
            InvalidTypeError: It is no list.
        """
        if not isinstance(self.metrics_list, list | tuple):
            raise InvalidTypeError(f"metrics_list={self.metrics_list!r} is no list. Pass metric classes in a list.")
        if len(self.metrics_list) == 0:
            self.warn_about_result_data_problem("Metrics list is empty")
        for metric in self.metrics_list:
            if isinstance(metric, type) and issubclass(metric, AbstractBaseMetric):
                quirks.met("Q117", f"the check of the metrics accepts the class {metric.__name__}")
            elif not isinstance(metric, AbstractBaseMetric):
                self.warn_about_result_data_problem("Metric is not inherited from AbstractBaseMetric class")


class BinaryClassificationResultPackage(AbstractResultPackage):
    """F1, the areas under both curves, and accuracy of scores of class 1.

    Args:
        positive_class_thresh: Where class 1 begins.
        strict_content_check: Raise where content looks wrong, instead of printing a line.
        kwargs: ``np_array``; the rest is kept as ``package_metadata``.

    Attributes:
        positive_class_thresh: The argument.
    """

    def __init__(self, positive_class_thresh: float = 0.5, strict_content_check: bool = False, **kwargs: Any) -> None:
        """Take the threshold."""
        super().__init__("BinaryClassificationResult", strict_content_check, **kwargs)
        self.positive_class_thresh = positive_class_thresh

    def prepare_results_dict(self) -> dict[str, Any]:
        """Compute the metrics from targets ``(N,)`` of 0 and 1 and scores ``(N,)``.

        Returns:
            ``F1_score``, ``PrecisionRecall_AUC``, ``Accuracy`` and ``ROC_AUC``.
        """
        accuracy = AccuracyMetric(self.y_true, self.y_predicted, self.positive_class_thresh)
        roc = ROCAUCMetric(self.y_true, self.y_predicted)
        curve = PrecisionRecallCurveAUCMetric(self.y_true, self.y_predicted)
        f1 = F1ScoreMetric(self.y_true, self.y_predicted, self.positive_class_thresh)
        # A sum has its latest metric first, hence the order above (Q123).
        return accuracy + roc + curve + f1


class ClassificationResultPackage(AbstractResultPackage):
    """Accuracy of predicted classes ``(N,)`` or of scores of classes ``(N, C)``.

    Args:
        strict_content_check: Raise where content looks wrong, instead of printing a line.
        kwargs: ``np_array``; the rest is kept as ``package_metadata``.
    """

    def __init__(self, strict_content_check: bool = False, **kwargs: Any) -> None:
        """Name the package."""
        super().__init__("ClassificationResult", strict_content_check, **kwargs)

    def prepare_results_dict(self) -> dict[str, Any]:
        """Compute the accuracy, without a threshold.

        Returns:
            ``Accuracy``.
        """
        return AccuracyMetric(self.y_true, self.y_predicted, positive_class_thresh=None).get_metric_dict()


class RegressionResultPackage(AbstractResultPackage):
    """Mean squared and mean absolute error.

    Args:
        strict_content_check: Raise where content looks wrong, instead of printing a line.
        kwargs: ``np_array``; the rest is kept as ``package_metadata``.
    """

    def __init__(self, strict_content_check: bool = False, **kwargs: Any) -> None:
        """Name the package."""
        super().__init__("RegressionResult", strict_content_check, **kwargs)

    def prepare_results_dict(self) -> dict[str, Any]:
        """Compute the errors.

        Returns:
            ``Mean_squared_error`` and ``Mean_absolute_error``.
        """
        squared = MeanSquaredErrorMetric(self.y_true, self.y_predicted)
        return squared + MeanAbsoluteErrorMetric(self.y_true, self.y_predicted)
