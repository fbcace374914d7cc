"""Small helpers."""

from functools import partial
from typing import Any
from unittest.mock import Mock

import pytest

from compat.utils import is_empty_function


def passes() -> None:
    pass


def documented() -> None:
    """Nothing but this."""


def dots() -> None: ...


def returns() -> None:
    return


def returns_none() -> None:
    return None


def raises() -> None:
    raise NotImplementedError


def returns_five() -> int:
    return 5


def assigns() -> None:
    unused = 1  # noqa: F841


def calls() -> None:
    passes()


class Holder:
    def empty(self, argument: int) -> None:
        """Nothing but this."""

    def full(self) -> "Holder":
        return self


EMPTY = {
    "pass": passes,
    "docstring": documented,
    "dots": dots,
    "bare return": returns,
    "return None": returns_none,
    "lambda": lambda: None,
    "bound method": Holder().empty,
    "function of a class": Holder.empty,
}
FULL = {
    "raise": raises,
    "return of a value": returns_five,
    "assignment": assigns,
    "call": calls,
    "bound method": Holder().full,
    "partial of an empty function": partial(passes),
    "mock": Mock(),
    "builtin": print,
    "lambda with a value": lambda: 0,
}


@pytest.mark.parametrize("function", EMPTY.values(), ids=EMPTY.keys())
def test_empty(function: Any) -> None:
    assert is_empty_function(function) is True


@pytest.mark.parametrize("function", FULL.values(), ids=FULL.keys())
def test_not_empty(function: Any) -> None:
    assert is_empty_function(function) is False
