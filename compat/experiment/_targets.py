"""Targets and predictions as arrays: what they hold, and whether a classification metric can compare them.

The kinds are scikit-learn's, which the old library computed with
(https://scikit-learn.org/stable/modules/generated/sklearn.utils.multiclass.type_of_target.html). They are told from the
values alone: targets ``[0.0, 1.0]`` are classes, predictions ``[0.2, 0.9]`` are ``continuous``.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from compat.exceptions import InvalidArgumentError, InvalidTypeError, SingleValueError

__all__ = ["Array", "as_array", "check_finite", "check_numbers", "check_same_length", "class_pair", "kind_of"]

Array = npt.NDArray[Any]

BINARY = "binary"
MULTICLASS = "multiclass"
MULTILABEL = "multilabel-indicator"
CONTINUOUS = "continuous"
UNKNOWN = "unknown"

_TWO_COLUMNS = "-multioutput"
_LARGEST_INTEGER = 2.0**63


def as_array(values: Any) -> Array:
    """Copy what a user or a training loop passes into an array.

    Args:
        values: A list, an array or a tensor, on any device and with or without gradients. Numpy has no bfloat16, so a
            tensor of that type becomes float32, which holds each of its values.

    Raises:
        InvalidArgumentError: The rows have different lengths.
    """
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = (values.float() if str(values.dtype) == "torch.bfloat16" else values).numpy()
    try:
        return np.array(values)
    except ValueError as error:
        raise InvalidArgumentError(
            f"Targets and predictions must have rows of one length to become an array: {error} Pad them to one length,"
            " or use a result package with np_array='auto' or np_array=False and a metric that takes lists."
        ) from error


def kind_of(values: Array, name: str) -> str:
    """Tell what an array of targets holds.

    Args:
        values: ``(N,)`` or ``(N, C)``; anything else is ``unknown``.
        name: What to call it in an error.

    Raises:
        InvalidArgumentError: NaN or infinite values, or complex ones.
        InvalidTypeError: Labels of bytes.
    """
    if values.dtype.kind == "c":
        raise InvalidArgumentError(f"{name} holds complex numbers, which are no classes. Pass real ones.")
    if values.dtype.kind == "S":
        raise InvalidTypeError(f"{name} holds labels of bytes. Convert them to text or whole numbers.")
    columns = values.shape[1] if values.ndim == 2 else 1
    whole = values.dtype.kind != "f" or _is_whole(values)
    if columns > 1 and values.dtype.kind in "biuf" and whole and len(np.unique(values)) < 3:
        return MULTILABEL
    if values.ndim not in (1, 2) or (values.ndim == 2 and values.size == 0) or _holds_objects(values):
        return UNKNOWN
    suffix = _TWO_COLUMNS if columns > 1 else ""
    if not whole:
        check_finite(values, name)
        return CONTINUOUS + suffix
    return MULTICLASS + suffix if suffix or len(np.unique(values)) > 2 else BINARY


def _is_whole(values: Array) -> bool:
    return bool(np.all((values == np.trunc(values)) & (np.abs(values) < _LARGEST_INTEGER)))


def _holds_objects(values: Array) -> bool:
    return values.dtype.kind == "O" and values.size > 0 and not isinstance(values.flat[0], str)


def _holds_text(values: Array) -> bool:
    return values.dtype.kind in "UO"


def check_finite(values: Array, name: str) -> None:
    """Refuse NaN and infinite values.

    Args:
        values: Of any shape.
        name: What to call it in the error.

    Raises:
        InvalidArgumentError: There is one; the message says which, how many and where the first is.
    """
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return
    nan = int(np.isnan(values).sum())
    infinite = int(np.isinf(values).sum())
    first = tuple(int(index) for index in np.argwhere(~np.isfinite(values))[0])
    raise InvalidArgumentError(
        f"{name} contains {nan} NaN and {infinite} infinite values (or values too large for {values.dtype}), the first"
        f" at {first}. Metrics take finite numbers: look for a loss that diverged, or filter these rows."
    )


def check_same_length(y_true: Array, y_predicted: Array) -> None:
    """Refuse targets and predictions of different lengths.

    Args:
        y_true: ``(N, ...)``.
        y_predicted: ``(N, ...)``.

    Raises:
        SingleValueError: One is a single value.
        InvalidArgumentError: The lengths differ.
    """
    for name, values in (("y_true", y_true), ("y_predicted", y_predicted)):
        if values.ndim == 0:
            raise SingleValueError(f"{name}={values.item()!r} is a single value. Pass a list, an array or a tensor.")
    if len(y_true) != len(y_predicted):
        raise InvalidArgumentError(
            f"y_true and y_predicted have inconsistent numbers of samples: {len(y_true)} and {len(y_predicted)}. Pass"
            " one prediction for each target."
        )


def check_numbers(values: Array, name: str) -> Array:
    """Return scores as numbers of at most two dimensions.

    Args:
        values: ``(N,)`` or ``(N, C)``.
        name: What to call it in an error.

    Raises:
        InvalidTypeError: A single value.
        InvalidArgumentError: Text, complex, NaN or infinite values, more dimensions, or no value at all.
    """
    if values.ndim == 0:
        raise InvalidTypeError(f"{name}={values.item()!r} is a single value. Pass a list, an array or a tensor.")
    if values.dtype.kind in "USc":
        raise InvalidArgumentError(f"{name} holds {values.dtype} values. Convert them to real numbers.")
    if values.dtype.kind == "O":
        values = to_float(values, np.dtype(np.float64), name)
    if values.ndim > 2 or values.size == 0:
        raise InvalidArgumentError(f"{name} has shape {values.shape}. Pass (N,) or (N, C) with at least one value.")
    check_finite(values, name)
    return values


def to_float(values: Array, dtype: np.dtype[Any], name: str) -> Array:
    """Convert to floating point; an array of that type already is returned as it is.

    Args:
        values: Of any shape.
        dtype: The type.
        name: What to call it in an error.

    Raises:
        InvalidArgumentError: Text that is no number.
        InvalidTypeError: Objects that are no numbers.
    """
    advice = f"Pass {name} as numbers."
    try:
        return np.asarray(values, dtype=dtype)
    except ValueError as error:
        raise InvalidArgumentError(f"{name} holds values that are no numbers: {error}. {advice}") from error
    except TypeError as error:
        raise InvalidTypeError(f"{name} holds objects that are no numbers: {error}. {advice}") from error


def class_pair(y_true: Array, y_predicted: Array) -> tuple[str, Array, Array]:
    """Check that targets and predictions are classes of one kind.

    Args:
        y_true: ``(N,)``, ``(N, 1)`` or ``(N, C)`` of zeros and ones.
        y_predicted: The same.

    Returns:
        The common kind (of ``binary`` and ``multiclass`` the latter), and both as ``(N,)``, or as ``(N, C)`` for
        ``multilabel-indicator``.

    Raises:
        InvalidTypeError: One is a single value, or holds bytes or objects that cannot be sorted.
        InvalidArgumentError: No value, different lengths or kinds, a kind that cannot be compared, text beside numbers.
    """
    check_same_length(y_true, y_predicted)
    _check_sortable(y_true, "y_true")
    _check_sortable(y_predicted, "y_predicted")
    kinds = (kind_of(y_true, "y_true"), kind_of(y_predicted, "y_predicted"))
    if len(y_true) == 0:
        raise InvalidArgumentError("y_true and y_predicted are empty. A metric needs at least one sample.")
    single = set(kinds) <= {BINARY, MULTICLASS}
    kind = MULTICLASS if single and MULTICLASS in kinds else kinds[0]
    if not single and kinds != (MULTILABEL, MULTILABEL):
        raise InvalidArgumentError(_cannot_compare(y_true, y_predicted, kinds))
    if kind == MULTILABEL:
        return kind, y_true, y_predicted
    if _holds_text(y_true) != _holds_text(y_predicted):
        raise InvalidArgumentError(
            f"Text and numbers are mixed: y_true holds {np.unique(y_true)}, y_predicted {np.unique(y_predicted)}."
            " Encode the labels of both in the same way."
        )
    return kind, y_true.reshape(-1), y_predicted.reshape(-1)


def _check_sortable(values: Array, name: str) -> None:
    if values.dtype.kind != "O":
        return
    try:
        np.unique(values)
    except TypeError as error:
        raise InvalidTypeError(
            f"{name} holds objects of types that are no classes together: {error}. Pass numbers alone, or text alone."
        ) from error


def _cannot_compare(y_true: Array, y_predicted: Array, kinds: tuple[str, str]) -> str:
    return (
        f"Classification metrics compare classes with classes: y_true of shape {y_true.shape} is {kinds[0]},"
        f" y_predicted of shape {y_predicted.shape} is {kinds[1]}. Pass class labels (N,) as targets, and labels (N,)"
        " or scores of each class (N, C) as predictions; scores of one class need positive_class_thresh and must lie in"
        " [0, 1] for AccuracyMetric."
    )
