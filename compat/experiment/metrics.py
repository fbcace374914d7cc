"""What a metric is, and the metrics of regression.

A metric computes its result when it is made. It can be compared, added to others and looked up by name.
"""

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from compat import quirks
from compat._ledger import used
from compat.exceptions import InvalidArgumentError, InvalidTypeError, MissingMetricError
from compat.experiment import _scores
from compat.experiment._targets import as_array

__all__ = [
    "AbstractBaseMetric",
    "MeanAbsoluteErrorMetric",
    "MeanSquaredErrorMetric",
]


class AbstractBaseMetric(ABC):
    """A metric: its name and its result.

    Args:
        y_true: Targets ``(N, ...)``.
        y_predicted: Predictions ``(N, ...)``.
        metric_name: The name under which the result is reported.
        np_array: Copy targets and predictions into arrays; they are kept as they are otherwise.

    Attributes:
        y_true: The targets.
        y_predicted: The predictions.
        metric_name: The argument.
        metric_result: What ``calculate_metric`` returned.

    Note:
        Metrics are ordered by results that are numbers. ``==`` asks whether two are the same object.
    """

    def __init__(self, y_true: Any, y_predicted: Any, metric_name: str, np_array: bool = True) -> None:
        """Compute the metric."""
        used(self)
        self.y_true = as_array(y_true) if np_array else y_true
        self.y_predicted = as_array(y_predicted) if np_array else y_predicted
        self.metric_name = metric_name
        self.metric_result: Any = None
        self.metric_result = self.calculate_metric()

    @abstractmethod
    def calculate_metric(self) -> Any:
        """Compute the metric from ``y_true`` and ``y_predicted``.

        Returns:
            The result: a number, or a dict or list of numbers.
        """

    def get_metric(self) -> Any:
        """Return the result."""
        return self.metric_result

    def get_metric_dict(self) -> dict[str, Any]:
        """Return the result by the metric's name."""
        return {self.metric_name: self.metric_result}

    def __str__(self) -> str:
        return f"{self.metric_name}: {self.metric_result}"

    def __len__(self) -> int:
        if self.metric_result is None:
            return 0
        if isinstance(self.metric_result, list | dict):
            return len(self.metric_result)
        if _is_number(self.metric_result):
            _note_numbers("has a length", self.metric_result)
            return 1
        raise InvalidTypeError(
            f"The result of {self.metric_name} is a {type(self.metric_result).__name__}, which has no length here. A"
            " list, a dict, a number or None has one."
        )

    def __lt__(self, other: Any) -> bool:
        return self._compare(operator.lt, other)

    def __le__(self, other: Any) -> bool:
        return self._compare(operator.le, other)

    def __gt__(self, other: Any) -> bool:
        return self._compare(operator.gt, other)

    def __ge__(self, other: Any) -> bool:
        return self._compare(operator.ge, other)

    def _compare(self, relation: Callable[[Any, Any], Any], other: Any) -> bool:
        own, others = self._get_metric_self_other_val(other)
        return bool(relation(own, others))

    def _get_metric_self_other_val(self, other: Any) -> tuple[Any, Any]:
        """Return the two numbers that a comparison is about.

        Args:
            other: A metric or a number.

        Returns:
            The own result, and that of the other.

        Raises:
            InvalidArgumentError: One of them is no number.
        """
        others = other.metric_result if isinstance(other, AbstractBaseMetric) else other
        if not (_is_number(self.metric_result) and _is_number(others)):
            raise InvalidArgumentError(
                f"{self.metric_name} is {self.metric_result!r} and is compared with {others!r}. Only results that are"
                " numbers can be compared, with one another or with a number."
            )
        _note_numbers("can be compared", self.metric_result, others)
        return self.metric_result, others

    def __contains__(self, item: object) -> bool:
        return item == self.metric_name or (isinstance(self.metric_result, dict) and item in self.metric_result)

    def __getitem__(self, item: str) -> Any:
        if item == self.metric_name:
            return self.metric_result
        if isinstance(self.metric_result, dict) and item in self.metric_result:
            return self.metric_result[item]
        keys = list(self.metric_result) if isinstance(self.metric_result, dict) else []
        raise MissingMetricError(f"Key {item!r} not found. Present: {[self.metric_name, *keys]}.")

    def __add__(self, other: Any) -> dict[str, Any]:
        return self.concat_metric(other)

    def __radd__(self, other: Any) -> dict[str, Any]:
        # The own result first here too, so that a chain of sums lists its latest metric first (Q123).
        return self.concat_metric(other)

    def concat_metric(self, other: Any) -> dict[str, Any]:
        """Join the result with others.

        Args:
            other: A metric, or a plain dict of results by name.

        Returns:
            All results by name, the own one first. Of two with one name, the other's counts.

        Raises:
            InvalidTypeError: Anything else.
        """
        if isinstance(other, AbstractBaseMetric):
            others = other.get_metric_dict()
            return self.get_metric_dict() | others
        if type(other) is dict:
            return self.get_metric_dict() | other
        raise InvalidTypeError(
            f"{self.metric_name} cannot be added to a {type(other).__name__}. Add another metric, or a plain dict of"
            " results by name. sum() needs a dict to start from: sum(metrics, {})."
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _note_numbers(what: str, *values: Any) -> None:
    other = [type(value).__name__ for value in values if type(value) not in (int, float)]
    if other:
        quirks.met("Q122", f"a number of type {other[0]} {what}")


class MeanSquaredErrorMetric(AbstractBaseMetric):
    """The mean of the squared differences.

    Args:
        y_true: ``(N,)`` or ``(N, C)``.
        y_predicted: The same.

    Raises:
        InvalidArgumentError: Other shapes, NaN, or values that are no numbers.
    """

    def __init__(self, y_true: Any, y_predicted: Any) -> None:
        """Compute the error."""
        super().__init__(y_true, y_predicted, metric_name="Mean_squared_error")

    def calculate_metric(self) -> float:
        """Compute the error.

        Returns:
            The mean over the samples, then over the outputs; in float32 where that is what came.
        """
        return _scores.mean_squared_error(self.y_true, self.y_predicted)


class MeanAbsoluteErrorMetric(AbstractBaseMetric):
    """The mean of the absolute differences.

    Args:
        y_true: ``(N,)`` or ``(N, C)``.
        y_predicted: The same.

    Raises:
        InvalidArgumentError: Other shapes, NaN, or values that are no numbers.
    """

    def __init__(self, y_true: Any, y_predicted: Any) -> None:
        """Compute the error."""
        super().__init__(y_true, y_predicted, metric_name="Mean_absolute_error")

    def calculate_metric(self) -> float:
        """Compute the error.

        Returns:
            The mean over the samples, then over the outputs; in float32 where that is what came.
        """
        return _scores.mean_absolute_error(self.y_true, self.y_predicted)
