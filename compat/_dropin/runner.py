"""``python -m compat run PROGRAM``: plain python runs the program, with the import of ``aitoolbox`` served.

This process becomes that python, so nothing of ours stands between it and the program: arguments, ``__main__``, the
path, signals, exit codes and tracebacks are python's own. What the new interpreter is to do travels in one variable,
which the ``sitecustomize`` in ``children/`` takes out again before the program begins: its children inherit the import
and nothing else.
"""

import atexit
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from compat import _ledger, quirks
from compat._dropin import report
from compat._dropin.importing import hand_on, serve
from compat.exceptions import InvalidArgumentError

__all__ = ["RUN", "Run", "begin", "start"]

# The variable that tells the new interpreter what to do.
RUN = "COMPAT_RUN"


@dataclass(frozen=True)
class Run:
    """What is asked for beside the program.

    Attributes:
        strict: Whether a correction of the outcome is an error.
        report: The file to write the report to as JSON; none if empty.
        program: The command line of python that runs the program.
    """

    strict: bool = False
    report: str = ""
    program: tuple[str, ...] = ()


def start(run: Run) -> int:
    """Become the python that runs a program.

    Args:
        run: What is asked for.

    Returns:
        The program's exit code, on Windows; elsewhere this does not return.

    Raises:
        InvalidArgumentError: The report cannot be written there, a switch in the environment is none, or this python
            was told to ignore its environment.
    """
    if sys.flags.ignore_environment or sys.flags.no_site:
        raise InvalidArgumentError(
            "python was started with -I, -E or -S, and so would not take over the import. Start it without, or call"
            " compat.install() in the program."
        )
    quirks.check_environment()
    if run.report:
        report.check_writable(Path(run.report))
    hand_on()
    os.environ[RUN] = json.dumps(asdict(run) | {"report": run.report and os.path.abspath(run.report)})  # noqa: PTH100
    command = [sys.executable, *_options_of_python(), *run.program]
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name != "nt":
        os.execv(sys.executable, command)
    # There, the shell would take the end of this process for that of the program.
    return subprocess.call(command)


def _options_of_python() -> Sequence[str]:
    """Return the options that python itself was started with, such as ``-W error``."""
    given = sys.orig_argv[1:]
    end = next((at for at, option in enumerate(given) if option in ("-m", "-mcompat")), 0)
    return given[:end]


def begin(text: str) -> None:
    """Take up what :func:`start` asked for, in the interpreter that it became.

    Args:
        text: The value of the variable.
    """
    told = json.loads(text)
    run = Run(told["strict"], told["report"], tuple(told["program"]))
    serve(loudly=True)
    _ledger.watch(strict=run.strict)
    # First in, last out: what the program registers itself runs before.
    atexit.register(_end, run, os.getpid())


def _end(run: Run, process: int) -> None:
    """Show the table and write the report; a fork of the program is not the program."""
    if os.getpid() != process:
        return
    rows = report.rows(_ledger.entries())
    if rows:
        report.show(report.table(rows))
    if run.report:
        try:
            report.write(Path(run.report), rows, run.program, strict=run.strict)
        except OSError as error:
            report.show(f"compat: the report could not be written: {error}")
