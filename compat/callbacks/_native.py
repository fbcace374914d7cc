"""Telling Lightning's callbacks from the old ones, without importing Lightning.

An object of a package that nobody has imported cannot be there, so it is enough to look among the loaded modules.
"""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from compat.callbacks.abstract import AbstractCallback
from compat.exceptions import InvalidTypeError

if TYPE_CHECKING:
    from lightning.pytorch import Callback  # noqa: TID251  # For type checkers, which import nothing.

    AnyCallback: TypeAlias = AbstractCallback | Callback
else:
    # Of use to annotations that somebody evaluates.
    AnyCallback = Any

__all__ = ["AnyCallback", "check_package", "is_native", "package_of", "package_of_class", "split"]

_HOMES = ("lightning.pytorch.callbacks.callback", "pytorch_lightning.callbacks.callback")


def package_of(callback: Any) -> str:
    """Name the package whose callback an object is.

    Args:
        callback: Anything.

    Returns:
        ``lightning``, ``pytorch_lightning``, or an empty string.
    """
    return package_of_class(type(callback))


def package_of_class(given: Any) -> str:
    """Name the package from whose callback a class derives.

    Args:
        given: Anything.

    Returns:
        ``lightning``, ``pytorch_lightning``, or an empty string, for what is no class too.
    """
    for home in _HOMES:
        base = getattr(sys.modules.get(home), "Callback", None)
        if isinstance(base, type) and isinstance(given, type) and issubclass(given, base):
            return home.partition(".")[0]
    return ""


def is_native(callback: Any) -> bool:
    """Tell whether an object is a callback of Lightning's.

    Args:
        callback: Anything.
    """
    return bool(package_of(callback))


def check_package(callback: Any) -> None:
    """Refuse a callback of the package that Lightning's Trainer takes without a word, and runs at the wrong moment.

    Args:
        callback: A native callback.

    Raises:
        InvalidTypeError: It is one of ``pytorch_lightning``.
    """
    if package_of(callback) == "pytorch_lightning":
        name = type(callback).__name__
        raise InvalidTypeError(
            f"{name} is a callback of the package pytorch_lightning, which the Trainer of the package lightning does"
            " not know as its own: it would read the metrics of the epoch before. Import it from the other one:"
            f" from lightning.pytorch.callbacks import {name}; your own ones derive from lightning.pytorch.Callback."
        )


def split(callbacks: Iterable[Any]) -> tuple[list[Any], list[Any]]:
    """Sort callbacks into those written for the old loop, or for nothing known, and Lightning's.

    Args:
        callbacks: Both, in any order.

    Returns:
        The old ones and the native ones, each in the order given.
    """
    old: list[Any] = []
    native: list[Any] = []
    for callback in callbacks:
        (native if is_native(callback) else old).append(callback)
    return old, native
