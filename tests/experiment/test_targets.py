"""Targets and predictions as arrays, and what they hold."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.multiclass import type_of_target  # type: ignore[import-untyped]  # it ships no types

from compat.experiment._targets import as_array, check_finite, check_numbers, class_pair, kind_of


@pytest.mark.parametrize(
    "values",
    [
        [0, 1],
        [1, 1],
        [0.0, 1.0],
        [0, 1, 2],
        [0.0, 2.0, 5.0],
        [0.5, 1.0],
        [[0], [1]],
        [[0, 1], [1, 1]],
        [[0.0, 1.0], [1.0, 1.0]],
        [[0, 2], [1, 1]],
        [[5, 5], [5, 5]],
        [[0.5, 1.0], [1.0, 1.0]],
        [True, False],
        [[True, False], [True, True]],
        ["a", "b"],
        ["a", "b", "c"],
        [["a", "b"], ["a", "a"]],
        [],
        [[]],
        [1e300, 1.0],
        [-1, 1],
        np.zeros((2, 2, 2)),
        np.zeros((0, 2)),
        np.array(["a", "b"], dtype=object),
        np.array([1, 2], dtype=object),
        np.array([1, 2], dtype=np.uint8),
        np.array([1, 0], dtype=np.float16),
        np.array(1),
    ],
    ids=repr,
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_kind_is_the_one_that_scikit_learn_sees(values: Any) -> None:
    array = np.array(values)
    assert kind_of(array, "y") == type_of_target(array)


@pytest.mark.parametrize(
    ("values", "error", "text"),
    [
        ([1.0, float("nan")], ValueError, r"y contains 1 NaN and 0 infinite values .* the first at \(1,\)"),
        ([[1.0, 2.0], [0.5, float("inf")]], ValueError, r"0 NaN and 1 infinite values .* the first at \(1, 1\)"),
        ([1j], ValueError, "y holds complex numbers"),
        ([b"a"], TypeError, "y holds labels of bytes"),
    ],
    ids=["NaN", "infinity", "complex", "bytes"],
)
def test_what_has_no_kind_is_refused(values: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        kind_of(np.array(values), "y")


@pytest.mark.parametrize(
    "values",
    [[[1.0], [2.0]], np.array([[1.0], [2.0]]), torch.tensor([[1.0], [2.0]]), ((1.0,), (2.0,))],
    ids=["lists", "array", "tensor", "tuples"],
)
def test_anything_becomes_an_array(values: Any) -> None:
    array = as_array(values)
    assert isinstance(array, np.ndarray)
    assert array.tolist() == [[1.0], [2.0]]


@pytest.mark.parametrize("values", [np.array([1.0, 2.0]), torch.tensor([1.0, 2.0])], ids=["array", "tensor"])
def test_the_array_is_a_copy(values: Any) -> None:
    as_array(values)[0] = 9
    assert values.tolist() == [1.0, 2.0]


def test_tensors_keep_their_type_where_numpy_has_it() -> None:
    assert [as_array(torch.ones(2, dtype=kind)).dtype for kind in (torch.float16, torch.float32, torch.int64)] == [
        np.float16,
        np.float32,
        np.int64,
    ]


def test_tensors_that_were_an_error_are_converted() -> None:
    with_gradients = torch.tensor([0.25, 0.5], requires_grad=True)
    brain = torch.tensor([0.25, 0.5], dtype=torch.bfloat16)
    assert as_array(with_gradients).tolist() == [0.25, 0.5]
    assert as_array(brain).dtype == np.float32
    assert as_array(brain).tolist() == [0.25, 0.5]


def test_rows_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"rows of one length.*np_array='auto'"):
        as_array([[1], [2, 3]])


@pytest.mark.parametrize(
    ("values", "error", "text"),
    [
        (np.array(1.0), TypeError, "y=1.0 is a single value"),
        (np.array(["a"]), ValueError, "y holds <U1 values"),
        (np.array([1j]), ValueError, "y holds complex128 values"),
        (np.array([object()]), TypeError, "y holds objects that are no numbers"),
        (np.array(["a", 1], dtype=object), ValueError, "y holds values that are no numbers"),
        (np.zeros((1, 1, 1)), ValueError, r"y has shape \(1, 1, 1\)"),
        (np.zeros((2, 0)), ValueError, r"y has shape \(2, 0\)"),
        (np.array([np.nan]), ValueError, "y contains 1 NaN"),
    ],
    ids=["single", "text", "complex", "objects", "text in objects", "dimensions", "empty", "NaN"],
)
def test_what_is_no_number_is_refused(values: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        check_numbers(values, "y")


def test_whole_numbers_are_finite_whatever_they_are() -> None:
    check_finite(np.array([2**63 - 1]), "y")


@pytest.mark.parametrize(
    ("y_true", "y_predicted", "error", "text"),
    [
        (
            [0, 1],
            [0.2, 0.7],
            ValueError,
            r"y_true of shape \(2,\) is binary, y_predicted of shape \(2,\) is continuous",
        ),
        ([0, 1], [[0, 1], [1, 0]], ValueError, "is binary, y_predicted .* is multilabel-indicator"),
        ([[0, 2], [1, 1]], [[0, 2], [1, 1]], ValueError, "is multiclass-multioutput"),
        ([0, 1], [0], ValueError, "inconsistent numbers of samples: 2 and 1"),
        ([], [], ValueError, "are empty"),
        (["a", "b"], [0, 1], ValueError, r"Text and numbers are mixed: y_true holds \['a' 'b'\], y_predicted \[0 1\]"),
        (1, 1, TypeError, "y_true=1 is a single value"),
        (np.array([1, None]), [0, 1], TypeError, "y_true holds objects of types that are no classes together"),
    ],
    ids=["scores", "one-hot", "two outputs", "lengths", "empty", "text and numbers", "single values", "None"],
)
def test_what_cannot_be_compared_is_refused(y_true: Any, y_predicted: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        class_pair(np.array(y_true), np.array(y_predicted))


def test_two_classes_and_more_are_compared_as_classes() -> None:
    kind, y_true, y_predicted = class_pair(np.array([[0], [1], [1]]), np.array([0, 1, 2]))
    assert (kind, y_true.tolist(), y_predicted.tolist()) == ("multiclass", [0, 1, 1], [0, 1, 2])
