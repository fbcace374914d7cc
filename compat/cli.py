"""The command line: ``python -m compat``.

Exit codes: 0 when done, 2 when the arguments cannot be understood. Nothing here loads torch or Lightning.
"""

import argparse
import sys
from collections.abc import Sequence

from compat import __version__

_ABOUT = """\
AIToolbox's TrainLoop, running on PyTorch Lightning. It is used from Python:

  -from aitoolbox import TrainLoop
  +from compat import TrainLoop

Switches of a run, read from the environment:
  COMPAT_QUIET=1             print no lines and show no progress bars
  COMPAT_QUIRKS=Q01=fixed    correct an oddity of the old loop; several are separated by commas
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: The arguments after the program's name; those of this process if None.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(
        prog="python -m compat", description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"trainloop-compat {__version__}")
    try:
        parser.parse_args(argv)
    except SystemExit as stop:
        # argparse leaves the process after --help, --version and errors; as a function this returns its code.
        return stop.code if isinstance(stop.code, int) else 2
    parser.print_help(sys.stdout)
    return 0
