"""Runs a program as plain python would, with the import of ``aitoolbox`` served, and reports at its end.

``python -m compat run PROGRAM`` is to the program what ``python PROGRAM`` is: arguments, ``__main__``, the path, exit
codes, errors and tracebacks. What is ours alone goes to stderr, after the program.
"""

import atexit
import builtins
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType, TracebackType

from compat import _ledger
from compat._console import tell
from compat._dropin import report
from compat._dropin.importing import installed_elsewhere, serve
from compat._layout import PACKAGE
from compat.exceptions import InvalidArgumentError

__all__ = ["KINDS", "Program", "execute"]

KINDS = ("script", "module", "code", "stdin")
_RUNNERS = ("compat._dropin.", "importlib.", "runpy")
_mains: list[ModuleType] = []


@dataclass(frozen=True)
class Program:
    """What to run.

    Attributes:
        kind: One of ``KINDS``.
        what: The file, folder or archive, the module's name, or the code itself; ``-`` for stdin.
        arguments: Its own command line.
        strict: Whether a correction of the outcome is an error.
        report: Where to write the report as JSON; nowhere if empty.
    """

    kind: str
    what: str
    arguments: tuple[str, ...] = ()
    strict: bool = False
    report: str = ""


@dataclass(frozen=True)
class _Loaded:
    """A program ready to run: its code, and what its ``__main__`` says of itself."""

    code: CodeType
    attributes: dict[str, object]


class _CannotStartError(Exception):
    """There is no program to run."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def execute(program: Program) -> int:
    """Run a program in this process and report at its end.

    Args:
        program: What to run.

    Returns:
        The exit code: 0, 1 after an uncaught error, 2 if there is no such file.

    Raises:
        SystemExit: The program's own.
        KeyboardInterrupt: The program was interrupted and did not catch it.
        InvalidArgumentError: The report could not be written there.
    """
    ending = _Ending(program)
    serve()
    _ledger.watch(strict=program.strict)
    if elsewhere := installed_elsewhere():
        tell(f"compat: {PACKAGE} is installed at {elsewhere}; compat serves the name instead.")
    atexit.register(ending.report)
    try:
        ending.code = _run(program)
    except SystemExit as stop:
        ending.code = stop.code
        raise
    return ending.code


def _run(program: Program) -> int:
    sys.argv[:] = [program.what if program.kind != "code" else "-c", *program.arguments]
    try:
        loaded = _LOADERS[program.kind](program.what)
    except _CannotStartError as problem:
        sys.stderr.write(f"{sys.executable}: {problem}\n")
        return problem.code
    except (SyntaxError, ValueError) as error:
        # ValueError: null bytes in the source.
        return _uncaught(error)
    main = ModuleType("__main__")
    vars(main).update({"__builtins__": builtins, "__annotations__": {}, **loaded.attributes})
    # Kept alive: its functions are still on the stack.
    _mains.append(sys.modules["__main__"])
    sys.modules["__main__"] = main
    try:
        exec(loaded.code, vars(main))
    except SystemExit:
        raise
    except KeyboardInterrupt as error:
        _uncaught(error)
        # Python ends such a process by the signal itself; its own traceback would begin with our frames.
        sys.excepthook = lambda *_: None
        raise
    except BaseException as error:  # noqa: BLE001 - whatever ends a program is shown as Python shows it
        return _uncaught(error)
    return 0


def _uncaught(error: BaseException) -> int:
    """Show an uncaught error as Python does, from the user's first frame on."""
    trace = error.__traceback__
    while trace is not None and _is_ours(trace):
        trace = trace.tb_next
    sys.excepthook(type(error), error.with_traceback(trace), trace)
    return 1


def _is_ours(trace: TracebackType) -> bool:
    name = str(trace.tb_frame.f_globals.get("__name__", ""))
    return name.startswith(_RUNNERS) or name == "importlib"


def _from_script(what: str) -> _Loaded:
    path = Path(os.path.abspath(what))  # noqa: PTH100 - resolve() would follow links, and plain python does not
    if path.is_dir() or (path.is_file() and _is_archive(path)):
        _go_first(str(path))
        spec = PathFinder.find_spec("__main__", [str(path)])
        if spec is None:
            raise _CannotStartError(f"can't find '__main__' module in {str(path)!r}", 1)
        return _from_spec(spec, "__main__", package="")
    try:
        source = path.read_bytes()
    except OSError as error:
        raise _CannotStartError(f"can't open file {str(path)!r}: [Errno {error.errno}] {error.strerror}", 2) from error
    # Modules beside the script are found beside the file that a link leads to.
    _go_first(str(path.resolve().parent))
    return _Loaded(
        compile(source, str(path), "exec", dont_inherit=True),
        {"__file__": str(path), "__cached__": None, "__loader__": SourceFileLoader("__main__", str(path))},
    )


def _is_archive(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _from_module(what: str) -> _Loaded:
    _go_first(str(Path.cwd()))
    spec = _spec_of(what)
    if spec.submodule_search_locations is not None:
        # Imported first, as python does: its __main__ may need what it sets up.
        importlib.import_module(what)
        inner = importlib.util.find_spec(f"{what}.__main__")
        if inner is None:
            raise _CannotStartError(
                f"No module named {what}.__main__; {what!r} is a package and cannot be directly executed", 1
            )
        spec = inner
    loaded = _from_spec(spec, what, package=spec.parent or "")
    sys.argv[0] = spec.origin or what
    return loaded


def _spec_of(name: str) -> ModuleSpec:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError) as error:
        # Of a dotted name, the packages on the way are imported; one of them is missing or fails.
        said = f"{type(error).__name__}: {error}"
        raise _CannotStartError(f"Error while finding module specification for {name!r} ({said})", 1) from error
    if spec is None:
        raise _CannotStartError(f"No module named {name}", 1)
    return spec


def _from_spec(spec: ModuleSpec, name: str, package: str) -> _Loaded:
    get_code = getattr(spec.loader, "get_code", None)
    code = get_code(spec.name) if get_code else None
    if code is None:
        raise _CannotStartError(f"No code object available for {name}", 1)
    attributes = {"__file__": spec.origin, "__cached__": spec.cached, "__loader__": spec.loader, "__package__": package}
    return _Loaded(code, attributes | {"__spec__": spec})


def _from_code(what: str) -> _Loaded:
    _go_first("")
    return _Loaded(compile(what, "<string>", "exec", dont_inherit=True), {"__package__": None})


def _from_stdin(what: str) -> _Loaded:
    _go_first("")
    return _Loaded(compile(sys.stdin.buffer.read(), "<stdin>", "exec", dont_inherit=True), {"__package__": None})


_LOADERS: dict[str, Callable[[str], _Loaded]] = dict(
    zip(KINDS, (_from_script, _from_module, _from_code, _from_stdin), strict=True)
)


def _go_first(folder: str) -> None:
    """Put the program's folder where plain python puts it; that of ``python -m compat`` stands there now."""
    if not sys.flags.safe_path:
        sys.path[0] = folder


class _Ending:
    """What is left to do when a program has ended, however it ended.

    Args:
        program: What runs.

    Raises:
        InvalidArgumentError: The report could not be written.
    """

    def __init__(self, program: Program) -> None:
        """Look now whether the report can be written: the program may take days."""
        self._program = program
        self._process = os.getpid()
        self._started_as: Sequence[str] = (program.what, *program.arguments)
        self._file = Path(program.report).absolute() if program.report else None
        if self._file is not None and (self._file.is_dir() or not os.access(self._file.parent, os.W_OK)):
            raise InvalidArgumentError(
                f"--report {program.report}: no file can be written there. Name a file in a folder that exists."
            )
        self.code: object = 1

    def report(self) -> None:
        """Write the report and show the table; a fork of the program is not the program."""
        if os.getpid() != self._process:
            return
        rows = report.rows(_ledger.entries())
        if self._file is not None:
            report.write(self._file, rows, self._started_as, self.code, strict=self._program.strict)
        if rows:
            tell(report.table(rows))
