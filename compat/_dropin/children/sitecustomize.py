"""Run by Python at the start of an interpreter that inherits the import of ``aitoolbox``.

It puts a finder in place that waits for the first ``import aitoolbox`` and costs nothing until then, takes this folder
from the path, and runs the ``sitecustomize`` that this one stood in front of. An interpreter of another environment
is left alone: it may hold the real library. The interpreter of a program that ``python -m compat run`` runs is told so
in a variable of its own, and begins to watch.
"""

import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - pathlib would make every start slower


class _Waiting:
    """Stands in for the finder of this package until it is needed."""

    waits_for_compat = True

    def find_spec(self, fullname, path=None, target=None):
        if fullname.split(".")[0] != "aitoolbox":
            return None
        sys.meta_path.remove(self)
        _load("compat._dropin.importing").serve()
        return sys.meta_path[0].find_spec(fullname, path, target)


def _load(name):
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        if getattr(error, "name", None) != "compat":
            raise
    # The parent found the package in its working folder, which is not this interpreter's.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(_HERE))))  # noqa: PTH120
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop()


def _run_the_next():
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is not None and spec.loader is not None:
        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


sys.path[:] = [entry for entry in sys.path if entry != _HERE]
_TOLD = os.environ.pop("COMPAT_RUN", None)
if sys.prefix == os.environ.get("COMPAT_SERVES_AITOOLBOX"):
    if _TOLD is None:
        sys.meta_path.insert(0, _Waiting())
    else:
        _load("compat._dropin.runner").begin(_TOLD)
_run_the_next()
