"""What a metric is. What the old library does in the same place is in ``test_reference.py``."""

from typing import Any

import numpy as np
import pytest
import torch

from compat import quirks
from compat.exceptions import CompatError
from compat.experiment.metrics import AbstractBaseMetric, MeanAbsoluteErrorMetric, MeanSquaredErrorMetric


class Given(AbstractBaseMetric):
    """A metric whose result is given."""

    def __init__(self, result: Any, name: str = "given") -> None:
        self.result = result
        super().__init__([1], [2], name)

    def calculate_metric(self) -> Any:
        return self.result


NUMPY_NUMBERS = [np.float64(2), np.float32(2), np.float16(2), np.int64(2), np.uint8(2)]


@pytest.mark.parametrize("number", NUMPY_NUMBERS, ids=lambda number: type(number).__name__)
def test_numbers_of_numpy_are_numbers(number: Any) -> None:
    metric = Given(number)
    assert len(metric) == 1
    assert metric < 3
    assert metric <= Given(number)
    assert Given(3.0) > metric
    assert Given(3.0) >= number
    assert isinstance(metric < 3, bool)
    assert quirks.counts()["Q122"] > 0


def test_numbers_of_python_are_not_counted_as_a_correction() -> None:
    assert Given(1) < Given(2.0)
    assert len(Given(1.0)) == 1
    assert "Q122" not in quirks.counts()


@pytest.mark.parametrize("result", [True, np.bool_(True), np.array([1, 2]), torch.tensor(1.0), "1", (1, 2)], ids=repr)
def test_what_is_no_number_has_no_order_and_no_length(result: Any) -> None:
    with pytest.raises(ValueError, match=r"given is .* and is compared with 1\.0\. Only results that are numbers"):
        _ = Given(result) < 1.0
    with pytest.raises(ValueError, match=r"given is 1\.0 and is compared with"):
        _ = Given(1.0) < Given(result)
    with pytest.raises(TypeError, match=f"The result of given is a {type(result).__name__}, which has no length"):
        len(Given(result))


def test_a_metric_is_equal_to_itself_alone() -> None:
    first, second = Given(np.float64(1)), Given(np.float64(1))
    assert first != second
    assert first not in [second, 1.0]
    assert first == first  # the comparison is what is looked at
    metrics = [first, second]
    assert (metrics.index(second), metrics.count(second)) == (1, 1)
    metrics.remove(second)
    assert metrics[0] is first
    assert "Q122" not in quirks.counts()


@pytest.mark.parametrize("other", ["a", None, [1.0]])
def test_an_error_in_both_libraries_is_not_counted(other: Any) -> None:
    with pytest.raises(ValueError, match="can be compared"):
        _ = Given(np.float64(1)) < other
    assert "Q122" not in quirks.counts()


def test_a_length_of_a_numpy_number_is_counted() -> None:
    assert len(Given(np.float32(1))) == 1
    assert quirks.counts()["Q122"] == 1


def test_metrics_of_one_value_are_different_keys() -> None:
    accuracy, recall = Given(1.0, "Accuracy"), Given(1.0, "Recall")
    assert {accuracy: "a", recall: "b"} == {accuracy: "a", recall: "b"}
    assert len({accuracy, recall}) == 2


def test_missing_key_names_what_is_there() -> None:
    with pytest.raises(KeyError, match=r"Key 'c' not found. Present: \['given', 'a', 'b'\]") as caught:
        Given({"a": 1, "b": 2})["c"]
    assert isinstance(caught.value, CompatError)


def test_what_cannot_be_added_is_named() -> None:
    with pytest.raises(TypeError, match=r"given cannot be added to a int.*sum\(metrics, \{\}\)"):
        sum([Given(1.0)])


def test_a_metric_without_a_computation_cannot_be_made() -> None:
    class Unfinished(AbstractBaseMetric):
        pass

    with pytest.raises(TypeError, match="calculate_metric"):
        Unfinished([1], [2], "name")  # type: ignore[abstract]


@pytest.mark.parametrize(
    ("y_true", "y_predicted", "error", "text"),
    [
        ([1.0, 2.0], [1.0], ValueError, "inconsistent numbers of samples: 2 and 1"),
        ([1.0], [[1.0, 2.0]], ValueError, "different number of outputs: 1 and 2"),
        ([1.0, float("nan")], [1.0, 2.0], ValueError, "y_true contains 1 NaN"),
        ([1.0], ["a"], ValueError, "y_predicted holds values that are no numbers"),
        ([1.0], [1j], ValueError, "y_predicted holds complex numbers"),
        (1.0, 2.0, TypeError, r"y_true=1\.0 is a single value"),
    ],
)
@pytest.mark.parametrize("metric", [MeanSquaredErrorMetric, MeanAbsoluteErrorMetric])
def test_bad_input_of_an_error_is_one_clear_error(
    metric: Any, y_true: Any, y_predicted: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text) as caught:
        metric(y_true, y_predicted)
    assert isinstance(caught.value, CompatError)


def test_errors_of_tensors_with_gradients_are_numbers() -> None:
    predicted = torch.tensor([1.0, 3.0], requires_grad=True)
    assert MeanSquaredErrorMetric(torch.tensor([1.0, 2.0]), predicted).get_metric() == 0.5
    assert MeanAbsoluteErrorMetric([1.0, 2.0], predicted).get_metric_dict() == {"Mean_absolute_error": 0.5}
