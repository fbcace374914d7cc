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

__all__ = ["AnyCallback", "check_native", "is_native", "package_of", "package_of_class", "split", "superseded"]

_HOMES = ("lightning.pytorch.callbacks.callback", "pytorch_lightning.callbacks.callback")
_READY_MADE = "lightning.pytorch.callbacks."


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


def check_native(callback: Any) -> None:
    """Refuse a callback that Lightning's Trainer takes without a word, and cannot run as it is meant.

    Args:
        callback: A native callback.

    Raises:
        InvalidTypeError: It is one of ``pytorch_lightning``, which would run at the wrong moment, or one of the old
            loop too, whose hooks have other arguments.
    """
    name, package = type(callback).__name__, package_of(callback)
    if isinstance(callback, AbstractCallback):
        raise InvalidTypeError(
            f"{name} derives from AbstractCallback and from the Callback of {package}. Both have an on_train_end, with"
            " other arguments each, so that one object cannot be both. Make two classes, and pass an instance of each."
        )
    if package == "pytorch_lightning":
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


def superseded(earlier: Iterable[Any], given: Iterable[Any]) -> list[Any]:
    """List which native callbacks of earlier fits give way to those of a later one.

    A program that makes its callbacks anew for each fit means the newest. So a progress bar gives way to another one,
    and any other callback to one with its ``state_key``, if a Trainer could not tell the two apart or would do the same
    thing twice. What derives from ``Callback`` alone and keeps no state is not in the way, and stays.

    Args:
        earlier: Those of earlier fits.
        given: The later ones; one that was there before is no newer one.

    Returns:
        Some of the earlier ones.
    """
    known, later = list(earlier), list(given)
    kept = {id(each) for each in later}
    newer = [each for each in later if all(each is not one for one in known)]
    return [old for old in known if id(old) not in kept and any(_takes_the_place(new, old) for new in newer)]


def _takes_the_place(new: Any, old: Any) -> bool:
    if _is_progress_bar(new) and _is_progress_bar(old):
        return True
    return bool(new.state_key == old.state_key) and _is_one_of_a_kind(old)


def _is_progress_bar(callback: Any) -> bool:
    bar = getattr(sys.modules.get("lightning.pytorch.callbacks"), "ProgressBar", None)
    return isinstance(bar, type) and isinstance(callback, bar)


def _is_one_of_a_kind(callback: Any) -> bool:
    """Tell whether a callback keeps a state, or is a ready-made part of Lightning's."""
    plain: Any = getattr(sys.modules.get(_HOMES[0]), "Callback", None)
    if getattr(callback.state_dict, "__func__", None) is not plain.state_dict:
        return True
    # What a LambdaCallback does is its user's affair.
    return any(
        kind.__module__.startswith(_READY_MADE) and kind is not plain and kind.__name__ != "LambdaCallback"
        for kind in type(callback).__mro__
    )
