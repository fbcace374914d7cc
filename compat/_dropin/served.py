"""A module of AIToolbox: its names are ours, looked up when they are first asked for."""

from importlib import import_module
from types import ModuleType
from typing import Any

from compat import _ledger
from compat._layout import Contents, nearest
from compat._placeholders import placeholder
from compat._surface import resolve
from compat.exceptions import MissingAttributeError

__all__ = ["Served", "unknown"]


class Served(ModuleType):
    """A module of AIToolbox.

    Writing to it reaches the module of ours in which the name lives, so that ``unittest.mock.patch`` of an old path
    takes effect on the code behind it.

    Args:
        path: Its import path.
        holds: What it holds.
    """

    def __init__(self, path: str, holds: Contents) -> None:
        """Make a module that holds nothing yet, and knows what it can find."""
        super().__init__(path, f"{path} of AIToolbox, served by compat.")
        vars(self)["_compat_holds"] = holds
        vars(self)["_compat_written"] = {}

    def __getattr__(self, name: str) -> Any:
        """Find a name when it is first asked for, and keep it."""
        if name == "__all__":
            return self._exported()
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        value = self._kept(name)
        row = self._compat_holds.names.get(name)
        if row and row.ours:
            _ledger.used(row.ours)
        return value

    def _kept(self, name: str) -> Any:
        return vars(self).setdefault(name, self._find(name))

    def _find(self, name: str) -> Any:
        holds: Contents = self._compat_holds
        if row := holds.names.get(name):
            return resolve(row.ours) if row.ours else placeholder(row.old)
        if path := holds.foreign.get(name):
            return resolve(path)
        if name in holds.children:
            return import_module(f"{self.__name__}.{name}")
        problem = f"module {self.__name__!r} has no attribute {name!r}"
        raise MissingAttributeError(unknown(problem, f"{self.__name__}.{name}"))

    def _exported(self) -> list[str]:
        """List what a star import brings: what it brought in the old library, but for packages that are not here.

        The names are looked up now: a star asks for all of them, and that is not yet a use of any.
        """
        holds: Contents = self._compat_holds
        for name in {*holds.names, *holds.children}:
            self._kept(name)
        return sorted({*holds.names, *holds.children, *filter(self._is_here, holds.foreign)})

    def _is_here(self, name: str) -> bool:
        """Tell whether something foreign, such as ``np``, comes from a package that is installed."""
        try:
            self._kept(name)
        except ImportError:
            return False
        return True

    def __setattr__(self, name: str, value: Any) -> None:
        """Write here, and where the code behind this module looks the name up."""
        for home in self._living(name):
            self._compat_written.setdefault((home.__name__, name), vars(home)[name])
            setattr(home, name, value)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        """Undo a write: what was there before comes back."""
        for home in self._living(name):
            before = self._compat_written.pop((home.__name__, name), vars(home)[name])
            setattr(home, name, before)
        super().__delattr__(name)

    def _living(self, name: str) -> list[ModuleType]:
        """Find the modules of ours behind this one that have a name. Imports and Python's own names are left alone."""
        holds: Contents = self._compat_holds
        if name.startswith("__") or name in holds.children:
            return []
        # A home that nobody has imported yet is imported: code that runs later must see what is written now.
        return [home for home in map(import_module, sorted(holds.homes)) if name in vars(home)]

    def __dir__(self) -> list[str]:
        """List what can be asked for, found or not."""
        return sorted({*vars(self), *self._compat_holds.known()} - {"_compat_holds", "_compat_written"})


def unknown(problem: str, path: str) -> str:
    """Add to the message of an unknown name which known ones are near to it.

    Args:
        problem: The beginning of the message.
        path: What was asked for.
    """
    near = nearest(path)
    return f"{problem}. {'Nearest: ' + ', '.join(near) if near else 'No AIToolbox had anything like it'}."
