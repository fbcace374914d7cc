"""A module of AIToolbox: its names are ours, looked up when they are first asked for."""

from importlib import import_module
from types import ModuleType
from typing import Any, ClassVar

from compat._layout import Contents, nearest
from compat._placeholders import placeholder
from compat._surface import resolve, surface
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

    # What stood in our modules before the first write: (module, name) -> value.
    _originals: ClassVar[dict[tuple[str, str], Any]] = {}

    def __init__(self, path: str, holds: Contents) -> None:
        """Make a module that holds nothing yet."""
        super().__init__(path, f"{path} of AIToolbox, served by compat.")
        vars(self)["_compat_holds"] = holds

    def fill(self) -> None:
        """Look up the names that are in the table: whoever goes through ``vars`` of the module finds them."""
        holds: Contents = self._compat_holds
        for name, row in holds.names.items():
            vars(self)[name] = self._unwritten(row.ours) if row.ours else placeholder(row.old)

    def _unwritten(self, path: str) -> Any:
        """Find something of ours as it is while nobody has patched it: a patch is of one path, not of all."""
        home, _, name = path.rpartition(".")
        return self._originals[home, name] if (home, name) in self._originals else resolve(path)

    def __getattr__(self, name: str) -> Any:
        """Find what is not in the table: submodules, and what the old module had imported from elsewhere."""
        if name == "__all__":
            return self._exported()
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        holds: Contents = self._compat_holds
        try:
            if path := holds.foreign.get(name):
                return vars(self).setdefault(name, resolve(path))
            if name in holds.children:
                return import_module(f"{self.__name__}.{name}")
        except ImportError as missing:
            # Not an ImportError: whoever asks whether the module has it wants an answer.
            raise MissingAttributeError(f"{self.__name__}.{name} cannot be had: {missing}") from missing
        problem = f"module {self.__name__!r} has no attribute {name!r}"
        raise MissingAttributeError(unknown(problem, f"{self.__name__}.{name}"))

    def _exported(self) -> list[str]:
        """List what a star import brings: what it brought in the old library, but for packages that are not here."""
        holds: Contents = self._compat_holds
        modules = surface().modules
        said = modules.get(self.__name__)
        old = {child for child in holds.children if (row := modules.get(f"{self.__name__}.{child}")) and row.versions}
        came_along = holds.children - old - set(said.apart if said else ())
        return sorted({*holds.names, *(name for name in {*holds.foreign, *came_along} if hasattr(self, name))})

    def __setattr__(self, name: str, value: Any) -> None:
        """Write here, and where the code behind this module looks the name up."""
        for home in self._living(name):
            self._originals.setdefault((home.__name__, name), vars(home)[name])
            setattr(home, name, value)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        """Take a name out here; in the code behind, what stood there before comes back."""
        for home in self._living(name):
            setattr(home, name, self._originals.get((home.__name__, name), vars(home)[name]))
        super().__delattr__(name)

    @classmethod
    def undo_all(cls) -> None:
        """Put back whatever was written over in our modules."""
        for (home, name), value in cls._originals.items():
            setattr(import_module(home), name, value)
        cls._originals.clear()

    def _living(self, name: str) -> list[ModuleType]:
        """Find the modules of ours behind this one that have a name. Imports and Python's own names are left alone."""
        holds: Contents = self._compat_holds
        if name.startswith("__") or name in holds.children:
            return []
        # A home that nobody has imported yet is imported: code that runs later must see what is written now.
        return [home for home in map(import_module, sorted(holds.homes)) if name in vars(home)]

    def __dir__(self) -> list[str]:
        """List what can be asked for, found or not."""
        return sorted({*vars(self), *self._compat_holds.known()} - {"_compat_holds"})


def unknown(problem: str, path: str) -> str:
    """Add to the message of an unknown name which known ones are near to it.

    Args:
        problem: The beginning of the message.
        path: What was asked for.
    """
    near = nearest(path)
    return f"{problem}. {'Nearest: ' + ', '.join(near) if near else 'No AIToolbox had anything like it'}."
