"""What stands in for a name that is not served: it can be imported and subclassed, and says why when it is used.

A program that imports more than it uses still runs, and one that uses such a name learns why not and what to do.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NoReturn, Protocol

from compat import _ledger
from compat._surface import Name, surface
from compat.exceptions import RefusedAttributeError, RefusedError

__all__ = ["placeholder", "reason"]


def reason(row: Name) -> str:
    """Say in one message what is not served, why, and what to do."""
    is_later = row.status == "later"
    return f"{row.old} is {'not served yet' if is_later else 'refused'}. {row.why} In Lightning alone: {row.native}."


@cache
def placeholder(old: str) -> Any:
    """Make what stands in for a name, the same object each time.

    Args:
        old: The import path of the name in AIToolbox; its row is ``refused`` or ``later``.

    Returns:
        A class for a name that begins with a capital letter, else a function.
    """
    row = surface().names[old]
    return _class(row) if row.short[0].isupper() else _function(row)


def _refuse(row: Name) -> NoReturn:
    _ledger.used(row.old)
    raise RefusedError(reason(row))


class _Refusing(type(Protocol)):  # type: ignore[misc]
    """Makes classes that cannot be used. As the class of protocols it mixes with them, and with abstract classes."""

    _compat_row: Name

    def __call__(cls, *_: Any, **__: Any) -> NoReturn:
        _refuse(cls._compat_row)

    def __getattr__(cls, name: str) -> Any:
        # The double underscores are Python's own questions, such as those of pickle, inspect and mock.
        if name.startswith("__"):
            raise AttributeError(f"type object {cls.__name__!r} has no attribute {name!r}")
        # Not noted as a use: tools ask for many names of whatever they look at.
        raise RefusedAttributeError(reason(cls._compat_row))


def _class(row: Name) -> type:
    def new(cls: type, *_: Any, **__: Any) -> NoReturn:
        _refuse(row)

    def setstate(self: object, state: Any) -> NoReturn:
        _refuse(row)

    # Both ways in which pickle makes an instance end here; calls of the class end in its metaclass.
    body = {
        "__doc__": reason(row),
        "__module__": row.module,
        "__new__": new,
        "__setstate__": setstate,
        "_compat_row": row,
        # What the metaclass of protocols asks of its classes.
        "_is_protocol": False,
    }
    return _Refusing(row.short, (), body)


def _function(row: Name) -> Callable[..., NoReturn]:
    def refused(*_: Any, **__: Any) -> NoReturn:
        _refuse(row)

    refused.__doc__, refused.__module__ = reason(row), row.module
    refused.__name__ = refused.__qualname__ = row.short
    return refused
