"""Run by Python at the start of an interpreter that inherits the import of ``aitoolbox``.

It puts a finder in place that waits for the first ``import aitoolbox`` and costs nothing until then, takes this folder
from the path, and runs the ``sitecustomize`` that this one stood in front of. An interpreter of another environment
is left alone: it may hold the real library.
"""

import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - pathlib would make every start slower


class _Waiting:
    """Stands in for the finder of this package until it is needed."""

    def find_spec(self, fullname, path=None, target=None):  # type: ignore[no-untyped-def]  # noqa: ANN
        if fullname.split(".")[0] != "aitoolbox":
            return None
        sys.meta_path.remove(self)  # type: ignore[arg-type]
        _serve()
        return sys.meta_path[0].find_spec(fullname, path, target)


def _serve():  # type: ignore[no-untyped-def]  # noqa: ANN
    root = os.path.dirname(os.path.dirname(os.path.dirname(_HERE)))  # noqa: PTH120
    # The parent may have found the package in its working folder, which is not this interpreter's.
    sys.path.append(root)
    try:
        from compat._dropin.importing import serve
    finally:
        sys.path.remove(root)
    serve()


def _run_the_next():  # type: ignore[no-untyped-def]  # noqa: ANN
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is not None and spec.loader is not None:
        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


sys.path[:] = [entry for entry in sys.path if entry != _HERE]
if sys.prefix == os.environ.get("COMPAT_SERVES_AITOOLBOX"):
    sys.meta_path.insert(0, _Waiting())  # type: ignore[arg-type]
_run_the_next()
