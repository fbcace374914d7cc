"""The import of ``aitoolbox``: switched on and off, and handed on to child interpreters."""

import os
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from compat import _ledger
from compat._console import tell
from compat._dropin.served import Served, unknown
from compat._layout import PACKAGE, contents, gone
from compat.exceptions import CompatWarning, ConflictError, RefusedImportError, UnknownNameError

__all__ = ["hand_on", "install", "installed_elsewhere", "is_installed", "serve", "uninstall"]

# Whoever inherits this variable serves the import too, if it is the same environment: see children/sitecustomize.py.
_VARIABLE = "COMPAT_SERVES_AITOOLBOX"
_CHILDREN = str(Path(__file__).parent / "children")
_PATH = "PYTHONPATH"


class _Finder(MetaPathFinder, Loader):
    """Finds and makes the modules of AIToolbox."""

    # Whether to say at the first import that a library of that name is installed.
    loud = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Answer for everything below the package.

        Raises:
            RefusedImportError: The module is refused; the message says why.
            UnknownNameError: No AIToolbox had such a module, or such a name in that module.
        """
        if fullname.split(".")[0] != PACKAGE:
            return None
        if contents(fullname) is None:
            if module := gone(fullname):
                _ledger.refused(fullname, module.why)
                raise RefusedImportError(f"{fullname} is refused. {module.why} In Lightning alone: {module.native}.")
            parent, _, short = fullname.rpartition(".")
            holds = contents(parent)
            # `from module import name` comes here too, and drops an error that bears the name which it looked for;
            # whoever tries a path as a module first looks for that name, so it is there for what is none.
            is_name = holds is not None and short in holds.names
            message = unknown(f"cannot import {short!r} from {parent!r}", fullname)
            raise UnknownNameError(message, name=fullname if is_name else None)
        if fullname == PACKAGE and self.loud:
            self.loud = False
            if elsewhere := installed_elsewhere():
                tell(_instead(elsewhere))
        # Every module is a package, so that a name it lacks is asked for here, where the nearest ones are known.
        return ModuleSpec(fullname, self, origin="compat", is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Make a module that looks its names up."""
        holds = contents(spec.name)
        assert holds is not None, "find_spec has seen it"
        return Served(spec.name, holds)

    def exec_module(self, module: ModuleType) -> None:
        """Fill the module with its names; what it imported from elsewhere comes when it is asked for."""
        assert isinstance(module, Served), "create_module made it"
        module.fill()


_FINDER = _Finder()


def is_installed() -> bool:
    """Tell whether ``import aitoolbox`` is served in this process."""
    return _FINDER in sys.meta_path


def install() -> None:
    """Serve ``import aitoolbox``, all of its modules and names, in this process and in those that it starts.

    Nothing is imported by this. Calling it again does nothing.

    Raises:
        ConflictError: The real library is imported already.
    """
    if is_installed():
        return
    serve()
    if elsewhere := installed_elsewhere():
        warnings.warn(_instead(elsewhere), CompatWarning, 2)


def _instead(elsewhere: str) -> str:
    return f"{PACKAGE} is installed at {elsewhere}; compat serves the name instead."


def serve(*, loudly: bool = False) -> None:
    """Do what :func:`install` does, without its warning.

    Args:
        loudly: Tell at the first import, on stderr, if a library of that name is installed.
    """
    real = sys.modules.get(PACKAGE)
    if real is not None and not isinstance(real, Served):
        place = getattr(real, "__file__", None) or "an unknown place"
        raise ConflictError(
            f"{PACKAGE} is imported already, from {place}. Call compat.install() before anything imports it, or run the"
            " program with python -m compat run."
        )
    _FINDER.loud = loudly
    _stop_waiting()
    sys.meta_path.insert(0, _FINDER)
    hand_on()


def uninstall() -> None:
    """Undo :func:`install`. What was imported by then goes on working where it is held; nothing else is left behind."""
    _stop_waiting()
    if not is_installed():
        return
    sys.meta_path.remove(_FINDER)
    Served.undo_all()
    for name in [name for name, module in sys.modules.items() if isinstance(module, Served)]:
        del sys.modules[name]
    _take_back()


def installed_elsewhere() -> str:
    """Return where the real library is installed, or nothing if it is not."""
    spec = PathFinder.find_spec(PACKAGE)
    # A folder of that name alone, such as a clone of its repository, is no library.
    return str(spec.origin) if spec and spec.origin else ""


def _stop_waiting() -> None:
    """Take out the finder that an interpreter which inherits the import waits with."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not getattr(finder, "waits_for_compat", False)]


def hand_on() -> None:
    """Let child interpreters of this environment serve the import: their path holds a ``sitecustomize`` that does."""
    before = os.environ.get(_PATH)
    if _CHILDREN not in (before or "").split(os.pathsep):
        os.environ[_PATH] = _CHILDREN if not before else _CHILDREN + os.pathsep + before
    os.environ[_VARIABLE] = sys.prefix


def _take_back() -> None:
    os.environ.pop(_VARIABLE, None)
    left = [entry for entry in os.environ.get(_PATH, "").split(os.pathsep) if entry != _CHILDREN]
    if any(left):
        os.environ[_PATH] = os.pathsep.join(left)
    else:
        os.environ.pop(_PATH, None)
