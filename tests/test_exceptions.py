"""The errors and warnings of this package."""

import re

import pytest

from compat import exceptions
from compat.exceptions import (
    CompatError,
    CompatWarning,
    EmptyLoaderError,
    InvalidArgumentError,
    InvalidTypeError,
    MissingMetricError,
    ZeroArgumentError,
    raise_problems,
)

CLASSES = {
    name: getattr(exceptions, name) for name in exceptions.__all__ if isinstance(getattr(exceptions, name), type)
}


@pytest.mark.parametrize(("name", "kind"), CLASSES.items(), ids=list(CLASSES))
def test_the_drawn_tree_is_the_real_one(name: str, kind: type[Exception]) -> None:
    drawn = re.search(rf"^(.*?)\b{name}\b(?: \((\w+)\))?", exceptions.__doc__ or "", re.MULTILINE)
    assert drawn is not None
    if drawn[2]:
        assert any(base.__name__ == drawn[2] for base in kind.__mro__)
    if name not in {"CompatError", "CompatWarning"}:
        assert issubclass(kind, CompatWarning if "Warning" in name else CompatError)


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (InvalidArgumentError, ValueError),
        (ZeroArgumentError, ZeroDivisionError),
        (ZeroArgumentError, ValueError),
        (EmptyLoaderError, IndexError),
        (InvalidTypeError, TypeError),
        (exceptions.MissingAttributeError, AttributeError),
        (MissingMetricError, KeyError),
        (exceptions.EmptyMetricError, IndexError),
        (exceptions.LossError, RuntimeError),
        (exceptions.RefusedError, RuntimeError),
    ],
)
def test_old_code_catches_the_builtin(kind: type[Exception], builtin: type[Exception]) -> None:
    with pytest.raises(builtin, match="why"):
        raise kind("why")


def test_missing_metric_is_not_quoted() -> None:
    assert str(MissingMetricError("it's gone")) == "it's gone"
    assert str(MissingMetricError()) == ""


def test_no_problem_raises_nothing() -> None:
    raise_problems([])


def test_one_problem_is_raised_itself() -> None:
    problem = InvalidTypeError("one")
    with pytest.raises(InvalidTypeError) as caught:
        raise_problems([problem])
    assert caught.value is problem


def test_several_problems_are_one_error_of_the_first_kind() -> None:
    with pytest.raises(InvalidTypeError) as caught:
        raise_problems(iter([InvalidTypeError("first"), InvalidArgumentError("second")]))
    assert str(caught.value) == "2 problems:\n  1. first\n  2. second"
