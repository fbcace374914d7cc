"""What a program passes for callbacks: made a list, and named in errors and listings."""

from collections.abc import Iterable, Mapping
from typing import Any

from compat.callbacks._native import is_native, package_of_class
from compat.callbacks.abstract import AbstractCallback
from compat.exceptions import InvalidTypeError

__all__ = ["advice", "as_list", "shown_class"]


def as_list(callbacks: Any) -> list[Any]:
    """Return callbacks as a list.

    Args:
        callbacks: An iterable of callbacks, a single one, or ``None``.

    Raises:
        InvalidTypeError: It is neither.
    """
    if callbacks is None:
        return []
    if isinstance(callbacks, AbstractCallback) or is_native(callbacks):
        return [callbacks]
    if isinstance(callbacks, Iterable) and not isinstance(callbacks, str | bytes | Mapping | type):
        return list(callbacks)
    raise InvalidTypeError(
        f"callbacks={callbacks!r} is a {type(callbacks).__name__}. "
        f"Pass a list of callbacks, a single one, or None. {advice(callbacks)}"
    )


def advice(given: Any) -> str:
    """Say what a callback is, or that a class is not one yet.

    Args:
        given: What was passed for a callback.
    """
    if isinstance(given, type) and (issubclass(given, AbstractCallback) or package_of_class(given)):
        return f"This is the class: pass an instance, {given.__name__}(...)."
    return "A callback is an instance of a subclass of AbstractCallback, or one of Lightning's own callbacks."


def shown_class(callback: AbstractCallback) -> str:
    """Show the class of a callback, one of ours under the path that it has in the old library."""
    # Here and not above: a program that prints no listing should not pay for reading the table.
    from compat._surface import surface

    kind = type(callback)
    ours = f"{kind.__module__}.{kind.__qualname__}"
    served = (row.old for row in surface().names.values() if row.ours == ours and not (row.versions or row.is_alias))
    old = next(served, "")
    return f"<class '{old}'>" if old else str(kind)
