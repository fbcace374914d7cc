"""What the metrics are asked to compute, here and in the reference: by hand where it is odd, at random where it is not.

This module runs in both environments. It knows numpy and torch, and neither library.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

METRICS = (
    "AccuracyMetric",
    "ROCAUCMetric",
    "PrecisionRecallCurveAUCMetric",
    "F1ScoreMetric",
    "PrecisionMetric",
    "RecallMetric",
    "MeanSquaredErrorMetric",
    "MeanAbsoluteErrorMetric",
)
THRESHOLDED = ("AccuracyMetric", "F1ScoreMetric", "PrecisionMetric", "RecallMetric")
# What both say of an undefined metric, up to the first full stop that ends a sentence.
UNDEFINED = ("is ill-defined and being set to 0.0", "Only one class is present", "No positive class found")
NOT_SPECIFIC = {"Exception", "BaseException", "object", "LookupError", "OSError"}


@dataclass(frozen=True)
class Case:
    """One metric of one pair of targets and predictions."""

    name: str
    metric: str
    y_true: Any
    y_predicted: Any
    arguments: dict[str, Any] = field(default_factory=dict)


def pairs() -> dict[str, tuple[Any, Any]]:
    """Targets and predictions that are odd in one way each."""
    one_hot = np.eye(3)[[0, 1, 2]]
    scores = np.array([[0.1, 0.9, 0.0], [0.9, 0.1, 0.0], [0.2, 0.3, 0.5]])
    labels = np.array([[1, 0, 1], [0, 1, 1], [1, 1, 0]])
    label_scores = np.array([[0.7, 0.2, 0.6], [0.1, 0.8, 0.3], [0.9, 0.4, 0.1]])
    three = np.random.default_rng(0).integers(0, 2, (4, 2, 3))
    return {
        "lists": ([0, 1, 1, 0], [0.1, 0.9, 0.4, 0.5]),
        "tuples": ((0, 1, 1, 0), (0.1, 0.9, 0.4, 0.5)),
        "tensors": (torch.tensor([0, 1, 1, 0]), torch.tensor([0.1, 0.9, 0.4, 0.5])),
        "half tensors": (torch.tensor([0, 1, 1, 0]), torch.tensor([0.1, 0.9, 0.4, 0.5]).half()),
        "lists of tensors": ([torch.tensor(0), torch.tensor(1)], [torch.tensor(0.3), torch.tensor(0.8)]),
        "column": (np.array([[0], [1], [1]]), np.array([[0.1], [0.9], [0.7]])),
        "column of targets": (np.array([[0], [1], [1]]), np.array([0.1, 0.9, 0.7])),
        "column of predictions": (np.array([0, 1, 1]), np.array([[0.1], [0.9], [0.7]])),
        "two columns of predictions": (np.array([0, 1, 1]), np.array([[0.1, 0.9], [0.9, 0.1], [0.2, 0.8]])),
        "two columns, one class": (np.array([1, 1]), np.array([[0.1, 0.9], [0.9, 0.1]])),
        "three columns, two classes": (np.array([0, 1, 1]), scores),
        "one-hot of two": (np.array([[1, 0], [0, 1], [0, 1]]), np.array([[0.1, 0.9], [0.9, 0.1], [0.2, 0.8]])),
        "one-hot targets alone": (np.array([[1, 0], [0, 1], [0, 1]]), np.array([0.1, 0.9, 0.7])),
        "three classes": (np.array([0, 1, 2]), scores),
        "one-hot of three": (one_hot, scores),
        "whole labels": ([0, 1, 2, 1], [0, 2, 2, 1]),
        "whole labels as floats": ([0.0, 1.0, 2.0], [0.0, 1.0, 1.0]),
        "whole labels and numbers": ([0, 1, 2], [0.5, 2.5, 1.0]),
        "zeros and ones": ([0, 1, 1], [0, 1, 0]),
        "logits": ([0, 1, 1], [-2.0, 3.0, 0.5]),
        "whole logits": ([0, 1, 1], [0, 3, 1]),
        "text": (["a", "b", "a"], ["a", "b", "b"]),
        "text targets": (["a", "b", "a"], [0.1, 0.9, 0.2]),
        "text predictions": ([0, 1], ["0", "1"]),
        "truth values": ([True, False, True], [True, True, True]),
        "targets of truth values": ([True, False, True], [0.2, 0.6, 0.7]),
        "targets of -1 and 1": ([-1, 1, 1], [0.2, 0.6, 0.7]),
        "labels of -1 and 1": ([-1, 1, 1], [-1, 1, -1]),
        "targets of -1 and 1, all positive": ([-1, 1], [0.7, 0.9]),
        "targets of 1 and 2": ([1, 2, 2], [0.2, 0.6, 0.7]),
        "targets of 2 and 1, all positive": ([2, 1], [0.7, 0.9]),
        "targets of 2 and 3": ([2, 3, 2], [0.2, 0.6, 0.7]),
        "targets of 0 and 2, none positive": ([0, 2], [0.1, 0.2]),
        "targets of 2 alone, none positive": ([2, 2], [0.1, 0.2]),
        "class 0 alone": ([0, 0, 0], [0.2, 0.6, 0.7]),
        "class 0 alone, none positive": ([0, 0, 0], [0.2, 0.1, 0.2]),
        "class 1 alone": ([1, 1, 1], [0.2, 0.6, 0.7]),
        "class 2 alone": ([2, 2, 2], [0.2, 0.6, 0.7]),
        "class -1 alone": ([-1, -1], [0.2, 0.6]),
        "none positive": ([1, 0, 1], [0.2, 0.1, 0.3]),
        "on the threshold": ([1, 0, 1], [0.5, 0.5, 0.5]),
        "some on the threshold": ([1, 0, 1, 0, 1], [0.5, 0.4, 0.9, 0.5, 0.1]),
        "ties": ([1, 0, 1, 0, 0, 1], [0.3, 0.3, 0.3, 0.7, 0.1, 0.7]),
        "empty": ([], []),
        "empty with columns": (np.zeros((0,)), np.zeros((0, 2))),
        "no columns": (np.zeros((2, 0)), np.zeros((2, 0))),
        "other lengths": ([1, 0, 1], [0.5, 0.6]),
        "one class, other lengths": ([1, 1], [0.5, 0.6, 0.7]),
        "NaN predicted": ([1, 0, 1], [0.6, np.nan, 0.2]),
        "infinity predicted": ([1, 0, 1], [0.6, np.inf, 0.2]),
        "NaN as a target": ([1, 0, np.nan], [0.6, 0.3, 0.2]),
        "None as a target": ([1.0, None], [0.6, 0.3]),
        "targets as floats": ([1.0, 0.0, 1.0], [0.6, 0.3, 0.2]),
        "soft targets": ([0.8, 0.1, 0.9], [0.6, 0.3, 0.2]),
        "single values": (1, 0.7),
        "None": (None, None),
        "a dict": ({0: 1}, {0: 1}),
        "a string": ("abc", "abd"),
        "three dimensions of zeros": (np.zeros((2, 2, 2)), np.zeros((2, 2, 2))),
        "three dimensions": (three, three[:, ::-1]),
        "three dimensions predicted": (np.zeros(2), np.zeros((2, 2, 2))),
        "ragged": ([[1, 2], [3]], [[1, 2], [3]]),
        "complex": ([0, 1], [1j, 0.6]),
        "objects": (np.array([0, 1], dtype=object), np.array([0.2, 0.7], dtype=object)),
        "objects predicted": ([0, 1], np.array([0.2, 0.7], dtype=object)),
        "labels": (labels, label_scores),
        "labels predicted": (labels, np.array([[1, 0, 1], [0, 1, 1], [1, 1, 1]])),
        "labels, one of one class": (np.array([[1, 0], [0, 0], [1, 0]]), label_scores[:, :2]),
        "labels beyond one": (np.array([[0, 2], [1, 1]]), label_scores[:2, :2]),
        "small whole scores": ([1, 0, 1], np.array([3, 200, 100], dtype=np.uint8)),
        "large whole scores": ([1, 0], np.array([2**62, 2**62 + 1])),
        "float16 and float32": (np.array([1, 0], dtype=np.float16), np.array([0.3, 0.7], dtype=np.float32)),
        "bytes": ([b"a", b"b"], [b"a", b"c"]),
        "two outputs": ([[0.5, 1.0], [2.0, -1.0], [7.0, 6.0]], [[0.0, 2.0], [-1.0, 2.0], [8.0, -5.0]]),
        "outputs down the columns": (np.asfortranarray(label_scores), np.asfortranarray(label_scores[::-1])),
        "every other": (np.arange(40)[::2] % 2, np.linspace(0, 1, 60)[::3]),
    }


def cases() -> Iterator[Case]:
    """All cases by hand, each with every metric, then the random ones."""
    for name, (y_true, y_predicted) in pairs().items():
        for metric in METRICS:
            yield Case(f"{metric}: {name}", metric, y_true, y_predicted)
    yield from threshold_cases()
    yield from random_cases(15)
    yield from mixed_cases(400)


def threshold_cases() -> Iterator[Case]:
    """Thresholds other than the default, and what is no threshold."""
    y_true, scores, classes = [0, 1, 1, 0], [0.1, 0.9, 0.4, 0.5], [1, 0, 1, 0]
    thresholds: dict[str, Any] = {
        "None": None,
        "0.4": 0.4,
        "0": 0,
        "1": 1,
        "NaN": float("nan"),
        "text": "0.5",
        "one each": np.array([0.2, 0.3, 0.9, 0.1]),
        "a list": [0.2],
        "too many": [0.2, 0.3, 0.4],
    }
    for name, threshold in thresholds.items():
        for metric in THRESHOLDED:
            for kind, predicted in (("scores", scores), ("classes", classes)):
                yield Case(
                    f"{metric}: threshold {name} of {kind}",
                    metric,
                    y_true,
                    predicted,
                    {"positive_class_thresh": threshold},
                )
    labels: dict[str, tuple[Any, Any]] = {
        "text": (["a", "b", "c"], ["a", "c", "c"]),
        "text of objects": (np.array(["a", "b"], dtype=object), np.array(["a", "c"], dtype=object)),
        "text and numbers": (["1", "2"], [1, 2]),
        "floats and whole": ([1.0, 2.0, 3.0], [1, 2, 2]),
        "text and numbers in one": (np.array(["a", 1], dtype=object), np.array(["a", 1], dtype=object)),
        "large": (np.array([2**53 + 1, 5]), np.array([2**53 + 1, 4])),
        "one-hot and classes": ([[0, 0, 1], [0, 1, 0]], [2, 1]),
        "many": (np.arange(60), np.arange(60)[::-1]),
    }
    for name, (true, predicted) in labels.items():
        yield Case(
            f"AccuracyMetric: labels, {name}", "AccuracyMetric", true, predicted, {"positive_class_thresh": None}
        )


def random_cases(count: int) -> Iterator[Case]:
    """Random targets and predictions of many lengths, types and shapes, ``count`` for each metric and kind."""
    random = np.random.default_rng(20220101)
    for index in range(count):
        size = int(random.choice([2, 3, 7, 20, 127, 128, 129, 1000, 5000]))
        number: Any = (np.float32, np.float64)[index % 2]
        binary = random.permutation(np.arange(size) % 2) if index % 3 else (random.random(size) < 0.1).astype(int)
        scores = random.random(size).astype(number)
        if random.random() < 0.5:
            scores = np.round(scores, 1).astype(number)
        for metric in METRICS[:6]:
            yield Case(f"{metric}: random {index}, two classes of {size}", metric, binary, scores)
        width = int(random.integers(2, 9))
        classes, logits = random.integers(0, width, size), random.normal(size=(size, width)).astype(number)
        yield Case(f"AccuracyMetric: random {index}, {width} classes of {size}", "AccuracyMetric", classes, logits)
        labels = random.integers(0, 2, (size, width))
        yield Case(f"ROCAUCMetric: random {index}, {width} labels of {size}", "ROCAUCMetric", labels, logits)
        for metric in METRICS[6:]:
            y_true, noise = random.normal(size=size), random.normal(size=size).astype(number)
            yield Case(f"{metric}: random {index}, {size} numbers", metric, y_true.astype(number), noise)
            true, predicted = random.normal(size=(2, size, width)).astype(number)
            yield Case(f"{metric}: random {index}, {width} outputs of {size}", metric, true, predicted)


def mixed_cases(count: int) -> Iterator[Case]:
    """Targets and predictions of any type and shape, which mostly do not fit."""
    random = np.random.default_rng(20220102)
    for index in range(count):
        metric = METRICS[int(random.integers(len(METRICS)))]
        y_true, y_predicted = _anything(random), _anything(random)
        if random.random() < 0.8:
            shorter = min(len(y_true), len(y_predicted))
            y_true, y_predicted = y_true[:shorter], y_predicted[:shorter]
        if metric == "ROCAUCMetric" and y_true.ndim == 2 and y_true.shape[1] > 1 and y_true.shape != y_predicted.shape:
            # Labels and scores that do not fit are an error here, and were none always: see test_scores.py.
            y_predicted = y_true
        arguments: dict[str, Any] = {}
        if metric in THRESHOLDED and random.random() < 0.5:
            arguments["positive_class_thresh"] = [None, 0.5, 0.25, 0][int(random.integers(4))]
        yield Case(f"{metric}: anything {index}", metric, y_true, y_predicted, arguments)


def _anything(random: np.random.Generator) -> Any:
    size = int(random.choice([1, 2, 3, 5, 8, 30]))
    shape = [(size,), (size, 1), (size, 2), (size, 3), (1, size), (size,), (size,), (size,)][int(random.integers(8))]
    values: list[Any] = [
        random.integers(0, 2, shape),
        random.integers(-1, 2, shape),
        random.integers(0, 4, shape),
        random.integers(0, 2, shape).astype(bool),
        random.integers(0, 2, shape).astype(float),
        random.integers(0, 3, shape).astype(object),
        random.random(shape),
        np.round(random.random(shape), 1),
        random.random(shape).astype(np.float32),
        random.random(shape).astype(np.float16),
        random.normal(size=shape),
        np.where(random.random(shape) < 0.1, np.nan, random.random(shape)),
        np.full(shape, 0.5),
        np.array(["a", "b", "c"])[random.integers(0, 2, shape)],
        np.array(["0", "1"])[random.integers(0, 2, shape)],
        np.array(["x", "y"], dtype=object)[random.integers(0, 2, shape)],
    ]
    return values[int(random.integers(len(values)))]


def outcome(metric: Callable[..., Any], case: Case) -> dict[str, Any]:
    """What became of a case: its number to the last bit or the builtin errors it raised, its lines and warnings."""
    printed = io.StringIO()
    with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(printed):
        warnings.simplefilter("always")
        try:
            result = metric(case.y_true, case.y_predicted, **case.arguments).metric_result
            seen: dict[str, Any] = {"number": float(result).hex(), "type": type(result).__name__}
        except Exception as error:  # noqa: BLE001  # which error it is, is what is looked at
            seen = {"errors": builtin_errors(error)}
    texts = [str(warning.message) for warning in caught]
    undefined = [text.split(". ")[0].rstrip(".") for text in texts if any(part in text for part in UNDEFINED)]
    more = {"printed": printed.getvalue(), "undefined": undefined}
    return seen | {name: value for name, value in more.items() if value}


def builtin_errors(error: BaseException) -> list[str]:
    """The builtin types by which a program can catch an error."""
    types = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins"]
    return [name for name in types if name not in NOT_SPECIFIC]
