"""``lightning_args``: how many batches of each set a fit uses."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from compat.exceptions import CompatError, InvalidArgumentError, InvalidTypeError

__all__ = ["LIMITS", "Limits", "limit_problems", "read_limits"]

_FIELDS = {
    "fast_dev_run": "fast_dev_run",
    "limit_test_batches": "test",
    "limit_train_batches": "train",
    "limit_val_batches": "val",
    "overfit_batches": "overfit",
}
LIMITS = tuple(_FIELDS)


@dataclass(frozen=True)
class Limits:
    """How many batches of each set a fit uses: an int for a number, a float for a share of them.

    Attributes:
        train: Of the training set; ``None`` for all.
        val: Of the validation set, likewise.
        test: Of the test set, likewise.
        overfit: Of the training set and of the validation set, both in their own order; 0 for neither.
        fast_dev_run: Of each set, in one epoch; 0 if this is no trial run. It goes before all others.
    """

    train: int | float | None = None
    val: int | float | None = None
    test: int | float | None = None
    overfit: int | float = 0
    fast_dev_run: int = 0

    def __bool__(self) -> bool:
        """Tell whether anything is limited."""
        return self != Limits()


def read_limits(given: Mapping[str, Any]) -> tuple[Limits, list[CompatError]]:
    """Read how many batches a fit uses.

    Args:
        given: ``lightning_args`` without what asks for nothing.

    Returns:
        The limits, and all that is wrong with them.
    """
    limits, problems = Limits(), []
    for name in given.keys() & _FIELDS.keys():
        read: Callable[[str, Any], Any] = _trial if name == "fast_dev_run" else _limit
        try:
            limits = replace(limits, **{_FIELDS[name]: read(name, given[name])})
        except CompatError as problem:
            problems.append(problem)
    return limits, problems


def _limit(name: str, value: Any) -> int | float | None:
    shown = f"lightning_args={{{name!r}: {value!r}}}"
    allowed = "Use a whole number of batches, or a float from 0.0 to 1.0 for a share of them."
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidTypeError(f"{shown} is a {type(value).__name__}. {allowed}")
    if isinstance(value, float) and 0 < value <= 1:
        is_all = value == 1 and name != "overfit_batches"
        return None if is_all else value
    # Not a number is not whole either.
    if value < 0 or not float(value).is_integer():
        raise InvalidArgumentError(f"{shown} is no number of batches. {allowed}")
    return int(value)


def _trial(name: str, value: Any) -> int:
    shown = f"lightning_args={{{name!r}: {value!r}}}"
    allowed = "Use True for one batch of each set, a number of batches, or False."
    if not isinstance(value, int):
        raise InvalidTypeError(f"{shown} is a {type(value).__name__}. {allowed}")
    if value < 0:
        raise InvalidArgumentError(f"{shown} is below 0. {allowed}")
    return int(value)


def limit_problems(given: Mapping[str, Any], limits: Limits) -> list[CompatError]:
    """List which limits contradict each other.

    Args:
        given: ``lightning_args`` without what asks for nothing.
        limits: What was read of it.
    """
    if not limits.overfit:
        return []
    others = [name for name in ("limit_train_batches", "limit_val_batches", "fast_dev_run") if given.get(name)]
    return [
        InvalidArgumentError(
            f"lightning_args={{'overfit_batches': {given['overfit_batches']!r}}} contradicts"
            f" {{{name!r}: {given[name]!r}}}: both say how many batches to train and validate on. Leave one of them"
            " out."
        )
        for name in others
    ]
