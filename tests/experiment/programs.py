"""Small programs with metrics and result packages, as users wrote them, that run here and in the reference.

A program gets the classes and returns what JSON can hold. They are in ``programs_metrics.py``,
``programs_overrides.py`` and ``programs_packages.py``; none of these modules knows one of the two libraries.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tests.experiment.cases import builtin_errors

Api = Any
Program = Callable[[Api], Any]


def program_list(programs: dict[str, Program]) -> Callable[[Program], Program]:
    """A decorator that takes programs into a list, under the names of their functions."""

    def program(function: Program) -> Program:
        programs[function.__name__.strip("_").replace("_", " ")] = function
        return function

    return program


def run(function: Program, api: Api) -> dict[str, Any]:
    """What a program returned or the builtin errors it raised, and its lines."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            seen: dict[str, Any] = {"returned": plain(function(api))}
        except Exception as error:  # noqa: BLE001  # which error it is, is what is looked at
            seen = {"errors": builtin_errors(error)}
    return seen | ({"printed": printed.getvalue()} if printed.getvalue() else {})


def plain(value: Any) -> Any:
    """Turn a value into what JSON can hold, with the types that it cannot tell apart."""
    if value is None or isinstance(value, bool | int | float | str):
        return value if type(value).__module__ == "builtins" else [type(value).__name__, value]
    if isinstance(value, np.ndarray):
        return ["array", str(value.dtype), value.tolist()]
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return attempt(lambda: state(value)) if hasattr(value, "pkg_name") else type(value).__name__


def state(package: Any) -> dict[str, Any]:
    """The attributes of a package, in their order, without those that the old library does not have."""
    return {"class": type(package).__name__} | {name: plain(value) for name, value in vars(package).items()}


def attempt(call: Callable[[], Any]) -> Any:
    """The value of a call, or the builtin errors it raised."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001  # which error it is, is what is looked at
        return builtin_errors(error)


def each(values: list[Any], call: Callable[[Any], Any]) -> list[Any]:
    """What a call makes of each value."""
    return [attempt(partial(_plain_result, call, value)) for value in values]


def _plain_result(call: Callable[[Any], Any], value: Any) -> Any:
    return plain(call(value))


def table(rows: list[Any], columns: list[Any], call: Callable[[Any, Any], Any]) -> list[Any]:
    """What a call makes of each pair of values."""
    return [each(columns, partial(call, row)) for row in rows]
