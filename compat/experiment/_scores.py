"""The numbers behind the metrics, equal bit for bit to those of the old library, which took them from scikit-learn.

torchmetrics counts what is right and wrong; the counts are divided here, in float64, since it divides in float32. What
is more than a count is computed here too: torchmetrics sums in another order, so that two of five squared errors and
nearly all areas differ from scikit-learn's in the last bits.
"""

import warnings

import numpy as np

from compat._ledger import user_frame
from compat.exceptions import InvalidArgumentError, InvalidTypeError, UndefinedMetricWarning
from compat.experiment._targets import (
    BINARY,
    MULTILABEL,
    Array,
    check_numbers,
    check_same_length,
    class_pair,
    kind_of,
    to_float,
)

__all__ = [
    "accuracy",
    "area_under_precision_recall",
    "area_under_roc",
    "f1",
    "mean_absolute_error",
    "mean_squared_error",
    "precision",
    "recall",
]


def accuracy(y_true: Array, y_predicted: Array) -> float:
    """Return the share of samples that are right; of rows of labels, those that are right in every label.

    Args:
        y_true: Classes ``(N,)``, or labels ``(N, C)`` of zeros and ones.
        y_predicted: The same.

    Raises:
        InvalidArgumentError: They are not classes of one kind.
    """
    import torch
    from torchmetrics.functional.classification import multiclass_stat_scores

    kind, y_true, y_predicted = class_pair(y_true, y_predicted)
    # Any labels become 0, 1, ...; a row of labels counts as one class.
    axis = 0 if kind == MULTILABEL else None
    if kind == MULTILABEL and y_true.shape[1] != y_predicted.shape[1]:
        raise InvalidArgumentError(
            f"y_true has {y_true.shape[1]} labels a sample, y_predicted {y_predicted.shape[1]}. Pass as many."
        )
    classes, index = np.unique(np.concatenate([y_true, y_predicted]), return_inverse=True, axis=axis)
    true, predicted = torch.from_numpy(index.reshape(2, -1))
    counts = multiclass_stat_scores(
        predicted, true, num_classes=max(len(classes), 2), average="micro", validate_args=False
    )
    return int(counts[0]) / len(true)


def precision(y_true: Array, y_predicted: Array) -> float:
    """Return the share of the samples predicted as class 1 that are of class 1, 0.0 if there is none.

    Args:
        y_true: Classes ``(N,)``, of which 1 is the positive one.
        y_predicted: Zeros and ones ``(N,)``.

    Raises:
        InvalidArgumentError: They are not binary classes.
    """
    right, predicted, _ = _positive_counts(y_true, y_predicted)
    return _share(right, predicted, "Precision", "no predicted samples")


def recall(y_true: Array, y_predicted: Array) -> float:
    """Return the share of the samples of class 1 that are predicted as such, 0.0 if there is none.

    Args:
        y_true: Classes ``(N,)``, of which 1 is the positive one.
        y_predicted: Zeros and ones ``(N,)``.

    Raises:
        InvalidArgumentError: They are not binary classes.
    """
    right, _, positive = _positive_counts(y_true, y_predicted)
    return _share(right, positive, "Recall", "no true samples")


def f1(y_true: Array, y_predicted: Array) -> float:
    """Return the harmonic mean of precision and recall, as ``2 TP / (TP + FN + TP + FP)``; 0.0 without positives.

    Args:
        y_true: Classes ``(N,)``, of which 1 is the positive one.
        y_predicted: Zeros and ones ``(N,)``.

    Raises:
        InvalidArgumentError: They are not binary classes.
    """
    right, predicted, positive = _positive_counts(y_true, y_predicted)
    return _share(2 * right, positive + predicted, "F-score", "no true nor predicted samples")


def _positive_counts(y_true: Array, y_predicted: Array) -> tuple[int, int, int]:
    """Count the true positives, the predicted ones and the positive targets."""
    import torch
    from torchmetrics.functional.classification import binary_stat_scores

    kind, y_true, y_predicted = class_pair(y_true, y_predicted)
    labels = np.unique(np.concatenate([y_true, y_predicted]))
    if kind != BINARY or len(labels) > 2 or (len(labels) == 2 and 1 not in labels):
        raise InvalidArgumentError(
            f"Precision, recall and F1 are those of class 1 against class 0: y_true of shape {y_true.shape} and the"
            f" thresholded predictions hold {labels[:5].tolist()}{' and more' if len(labels) > 5 else ''}. Pass targets"
            " (N,) of 0 and 1 and one score for each."
        )
    positive, predicted = (torch.from_numpy((values == 1).astype(np.int64)) for values in (y_true, y_predicted))
    counts = binary_stat_scores(predicted, positive, validate_args=False).tolist()
    right, wrongly_positive, _, _, support = (int(count) for count in counts)
    return right, right + wrongly_positive, support


def _share(part: int, whole: int, name: str, lacking: str) -> float:
    if whole == 0:
        _warn(f"{name} is ill-defined and being set to 0.0 due to {lacking}.")
        return 0.0
    return part / whole


def area_under_roc(y_true: Array, y_score: Array) -> float:
    """Return the area under the curve of the true over the false positive rate.

    Trapezoids between the corners of the curve (T. Fawcett, An introduction to ROC analysis, 2006, algorithms 1 and 2;
    tied scores are one corner). Of several labels, the unweighted mean over them.

    Args:
        y_true: Two classes ``(N,)``, of which the larger is the positive one, or labels ``(N, C)`` of zeros and ones.
        y_score: ``(N,)``, or ``(N, C)``.

    Returns:
        The area; NaN, with a warning, where all targets are of one class.

    Raises:
        InvalidArgumentError: More classes than two, targets that are no classes, shapes that do not fit, NaN.
        InvalidTypeError: A single value.
    """
    if y_true.ndim == 0:
        check_same_length(y_true, y_score)
    kind = kind_of(y_true, "y_true")
    y_score = check_numbers(y_score, "y_predicted")
    if kind == MULTILABEL:
        if y_score.shape != y_true.shape:
            raise InvalidArgumentError(
                f"y_true has shape {y_true.shape}, y_predicted {y_score.shape}. Targets of several labels need one"
                " score for each label of each sample."
            )
        areas = [_binary_area_under_roc(y_true[:, label], y_score[:, label]) for label in range(y_true.shape[1])]
        return float(np.mean(areas))
    if kind != BINARY or (y_score.ndim == 2 and y_score.shape[1] > 2):
        raise InvalidArgumentError(
            f"ROC_AUC takes two classes with one score each, or labels (N, C) of zeros and ones with scores (N, C):"
            f" y_true of shape {y_true.shape} is {kind}, y_predicted has shape {y_score.shape}. For more classes, pass"
            " one-hot targets (N, C), or use torchmetrics.functional.auroc(task='multiclass')."
        )
    return _binary_area_under_roc(y_true.reshape(-1), y_score)


def _binary_area_under_roc(y_true: Array, y_score: Array) -> float:
    classes = np.unique(y_true)
    if len(classes) != 2:
        _warn("Only one class is present in y_true. ROC AUC score is not defined in that case.")
        return float("nan")
    false, true = _positives_by_threshold(y_true == classes[-1], y_score)
    # Points on a straight line are left out, as scikit-learn does: fewer terms are rounded differently.
    if len(false) > 2:
        corner = np.logical_or(np.diff(false, 2), np.diff(true, 2))
        kept = np.concatenate([[True], corner, [True]])
        false, true = false[kept], true[kept]
    false, true = np.concatenate([[0.0], false]), np.concatenate([[0.0], true])
    return _trapezoids(false / false[-1], true / true[-1])


def area_under_precision_recall(y_true: Array, y_score: Array) -> float:
    """Return the area under the curve of precision over recall, by trapezoids between its points.

    Each distinct score is a threshold and so a point (J. Davis, M. Goadrich, The relationship between Precision-Recall
    and ROC curves, 2006); the curve ends at recall 0 with precision 1. The trapezoids are optimistic between points,
    which that paper says; they are kept for the sake of equal numbers.

    Args:
        y_true: Classes 0 and 1, or -1 and 1 ``(N,)``.
        y_score: ``(N,)``.

    Returns:
        The area. Without a positive target recall counts as 1 everywhere, with a warning.

    Raises:
        InvalidArgumentError: Other targets, shapes that do not fit, NaN.
        InvalidTypeError: Scores of text, or that are a single value.
    """
    kind = kind_of(y_true, "y_true")
    classes = np.unique(y_true).tolist() if kind == BINARY else []
    if kind != BINARY or y_true.dtype.kind in "UO" or not ({*classes} <= {0, 1} or {*classes} <= {-1, 1}):
        raise InvalidArgumentError(
            f"PrecisionRecall_AUC takes targets (N,) of 0 and 1, or of -1 and 1: y_true of shape {y_true.shape} is"
            f" {kind} and holds {classes}. Encode the positive class as 1 and the other as 0."
        )
    check_same_length(y_true, y_score)
    _check_one_column(y_score)
    if y_score.dtype.kind in "US" or (
        y_score.dtype.kind == "O" and any(isinstance(value, str) for value in y_score.flat)
    ):
        raise InvalidTypeError("y_predicted holds text. Pass scores as numbers.")
    y_score = check_numbers(y_score, "y_predicted")
    false, true = _positives_by_threshold(y_true.reshape(-1) == 1, y_score)
    precisions = true / (true + false)
    if true[-1] == 0:
        _warn("No positive class found in y_true, recall is set to one for all thresholds.")
        recalls = np.ones_like(true)
    else:
        recalls = true / true[-1]
    # From high recall to low, in the order in which scikit-learn adds them.
    return -_trapezoids(np.append(recalls[::-1], 0.0), np.append(precisions[::-1], 1.0))


def _positives_by_threshold(positive: Array, y_score: Array) -> tuple[Array, Array]:
    """Count the false and the true positives above each distinct score, from the highest down.

    Args:
        positive: Truth values ``(N,)``.
        y_score: ``(N,)`` or ``(N, 1)``.

    Returns:
        Both counts ``(T,)`` for ``T`` distinct scores.
    """
    _check_one_column(y_score)
    check_same_length(positive, y_score)
    y_score = y_score.reshape(-1)
    order = np.argsort(y_score, kind="stable")[::-1]
    y_score = y_score[order]
    last_of_ties = np.append(np.nonzero(y_score[1:] != y_score[:-1])[0], len(y_score) - 1)
    true = np.cumsum(positive[order], dtype=np.float64)[last_of_ties]
    return 1.0 + last_of_ties - true, true


def _check_one_column(y_score: Array) -> None:
    if y_score.ndim == 2 and y_score.shape[1] > 1:
        raise InvalidArgumentError(
            f"y_predicted has shape {y_score.shape}. Two classes take one score a sample, (N,): pass that of the"
            " positive class, such as y_predicted[:, 1]."
        )


def _trapezoids(x: Array, y: Array) -> float:
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2.0).sum())


def mean_squared_error(y_true: Array, y_predicted: Array) -> float:
    """Return the mean of the squared differences: over the samples of each output, then over the outputs.

    Args:
        y_true: ``(N,)`` or ``(N, C)``.
        y_predicted: The same.

    Raises:
        InvalidArgumentError: Different lengths or widths, NaN, or values that are no numbers.
        InvalidTypeError: A single value.
    """
    y_true, y_predicted = _outputs(y_true, y_predicted)
    return float(((y_true - y_predicted) ** 2).mean(axis=0).mean())


def mean_absolute_error(y_true: Array, y_predicted: Array) -> float:
    """Return the mean of the absolute differences: over the samples of each output, then over the outputs.

    Args:
        y_true: ``(N,)`` or ``(N, C)``.
        y_predicted: The same.

    Raises:
        InvalidArgumentError: Different lengths or widths, NaN, or values that are no numbers.
        InvalidTypeError: A single value.
    """
    y_true, y_predicted = _outputs(y_true, y_predicted)
    return float(np.abs(y_predicted - y_true).mean(axis=0).mean())


def _outputs(y_true: Array, y_predicted: Array) -> tuple[Array, Array]:
    """Return both as ``(N, C)``, in the floating type of those that have one: float32 is not widened."""
    check_same_length(y_true, y_predicted)
    floating = [values.dtype for values in (y_true, y_predicted) if values.dtype.kind == "f"]
    dtype = np.result_type(*floating) if floating else np.dtype(np.float64)
    pair = []
    for name, values in (("y_true", y_true), ("y_predicted", y_predicted)):
        if values.dtype.kind == "c":
            raise InvalidArgumentError(f"{name} holds complex numbers. Pass their real and imaginary parts as outputs.")
        numbers = check_numbers(to_float(values, dtype, name), name)
        pair.append(numbers.reshape(-1, 1) if numbers.ndim == 1 else numbers)
    if pair[0].shape[1] != pair[1].shape[1]:
        raise InvalidArgumentError(
            f"y_true and y_predicted have a different number of outputs: {pair[0].shape[1]} and {pair[1].shape[1]}."
            " Pass arrays of one shape."
        )
    return pair[0], pair[1]


def _warn(text: str) -> None:
    # At the user's line, so that Python shows it once for each of them.
    warnings.warn(text, UndefinedMetricWarning, stacklevel=user_frame()[0])
