"""The command line: ``python -m compat``.

Exit codes: ``run`` ends as the program ends; ``check`` is 0 for no use of the old library, 1 for some, 2 for something
that cannot be read; 2 stands for arguments that cannot be understood. Nothing here loads torch or Lightning.
"""

import sys
from collections.abc import Sequence

from compat import __version__
from compat.exceptions import InvalidArgumentError

_ABOUT = """\
AIToolbox's TrainLoop, running on PyTorch Lightning.

  python -m compat run train.py      run an old program as it is, and say how it was served
  python -m compat check src/        list every use of the old library, without running anything

From Python, either line makes old code work:
  import compat; compat.install()    every `import aitoolbox` is served from here on
  from compat import TrainLoop       the same names, from here

Switches of a run, read from the environment:
  COMPAT_QUIET=1             print no lines and show no progress bars
  COMPAT_QUIRKS=Q01=fixed    correct an oddity of the old loop; several are separated by commas
"""

_RUN_USAGE = """\
usage: python -m compat run [--strict] [--report FILE] (SCRIPT | -m MODULE | -c CODE | -) [ARGUMENT ...]

Run a program with plain python, with `import aitoolbox` served, and print at its end what was served and how.

  SCRIPT         a file, a folder or an archive with a __main__.py
  -m MODULE      a module or a package, such as pytest
  -c CODE        code
  -              code from stdin

  --strict       make it an error where the outcome is corrected, and so is not the old library's
  --report FILE  write what was served to FILE, as JSON

Worker processes and child interpreters get the import too, but what happens in them is neither watched nor reported.

  COMPAT_QUIET=1             print no lines, no progress bars and no table
  COMPAT_QUIRKS=Q01=fixed    correct an oddity of the old loop; several are separated by commas
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: The arguments after the program's name; those of this process if None.

    Returns:
        The exit code.

    """
    given = list(sys.argv[1:] if argv is None else argv)
    if given[:1] == ["run"]:
        # Not for argparse: whatever follows the program is the program's, options included.
        return _run(given[1:])
    # Imported for the other commands only: a program that is run should not pay for them.
    import argparse

    from compat.migrate.cli import configure, execute

    parser = argparse.ArgumentParser(
        prog="python -m compat", description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"trainloop-compat {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    commands.add_parser("run", help="run an old program as it is", add_help=False)
    configure(commands.add_parser("check", help="list every use of the old library in code"))
    try:
        options = parser.parse_args(given)
    except SystemExit as stop:
        # argparse leaves the process after --help, --version and errors; as a function this returns its code.
        return stop.code if isinstance(stop.code, int) else 2
    if options.command is None:
        parser.print_help(sys.stdout)
        return 0
    return execute(options)


def _run(argv: list[str]) -> int:
    """Run a program: the options before it are ours, it and what follows are python's."""
    from compat._dropin.runner import Run, start

    strict, report = False, ""
    rest = list(argv)
    while rest and rest[0].startswith("--") and rest[0] != "--":
        option, equals, value = rest.pop(0).partition("=")
        if option == "--help" and not equals:
            rest = ["-h"]
            break
        if option == "--strict" and not equals:
            strict = True
        elif option == "--report":
            value = value if equals else rest.pop(0) if rest else ""
            if not value:
                return _misunderstood("--report lacks its FILE")
            report = value
        else:
            return _misunderstood(f"{option!r} is no option of run")
    if rest[:1] == ["-h"]:
        sys.stdout.write(_RUN_USAGE)
        return 0
    if not rest:
        return _misunderstood("there is no program to run")
    if rest[0].endswith(".ipynb"):
        return _misunderstood(f"{rest[0]} is a notebook: open it, and put `%load_ext compat` into its first cell")
    try:
        return start(Run(strict, report, tuple(rest)))
    except InvalidArgumentError as error:
        return _misunderstood(str(error))


def _misunderstood(why: str) -> int:
    sys.stderr.write(f"{_RUN_USAGE.splitlines()[0]}\npython -m compat run: {why}\n")
    return 2
