"""``python -m compat check``: its arguments, and what becomes of them.

Exit codes: 0 no use of AIToolbox, 1 some, 2 something could not be read or written, whatever else was found.
"""

import argparse
import os
import sys
from pathlib import Path

from compat.migrate.html import as_html
from compat.migrate.report import as_json, as_text
from compat.migrate.runner import check

__all__ = ["configure", "execute"]

_ABOUT = """\
Reads programs, without running them, and lists every use of AIToolbox: where it is, whether it is the same here,
differs, is refused, comes later or is unknown, and how the same is said in Lightning alone.

Folders are read with everything in them: Python files, notebooks, scripts. Exit codes: 0 no use, 1 some, 2 something
could not be read.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Give a parser the arguments of ``check``."""
    parser.description = _ABOUT
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a script, a notebook or a folder")
    parser.add_argument("--json", action="store_true", help="print the report as JSON rather than as text")
    parser.add_argument(
        "--output", metavar="FILE", help="write the report to a file rather than to the terminal, which - means"
    )
    parser.add_argument("--html", metavar="FILE", help="write the report as one page that opens without a network, too")


def execute(options: argparse.Namespace) -> int:
    """Run a check.

    Args:
        options: What the parser of ``configure`` made of the command line.

    Returns:
        The exit code.
    """
    if problem := _conflict(options):
        sys.stderr.write(f"{problem}\n")
        return 2
    report = check(options.paths)
    text = as_json(report) if options.json else as_text(report)
    code = report.exit_code
    if options.html and not _write(options.html, as_html(report)):
        code = 2
    if options.output and options.output != "-":
        return code if _write(options.output, text) else 2
    _show(text)
    return code


def _conflict(options: argparse.Namespace) -> str:
    """Say what is wrong with the files to write, before anything is read."""
    if options.html == "-":
        return "--html - names no file. Name one, such as report.html; only --output takes -, for the terminal."
    if options.html and options.output and _place(options.html) == _place(options.output):
        return f"--output and --html both name {options.html!r}, and one would overwrite the other. Name two files."
    inputs = {_place(path): path for path in options.paths}
    for option, path in (("--output", options.output), ("--html", options.html)):
        if path and path != "-" and _place(path) in inputs:
            return f"{option} names {path!r}, which is to be read, and would be overwritten. Name another file."
    return ""


def _place(path: str) -> str:
    return os.path.normcase(os.path.realpath(path)) if "\0" not in path else path


def _write(path: str, text: str) -> bool:
    """Write a file: whole, or not at all."""
    partial = f"{path}.partial"
    try:
        Path(partial).write_bytes(text.encode("utf-8", "backslashreplace"))
        Path(partial).replace(path)
    except (OSError, ValueError) as problem:
        sys.stderr.write(f"{path!r} cannot be written: {problem}. Name a file in a folder that exists.\n")
        Path(partial).unlink(missing_ok=True)
        return False
    return True


def _show(text: str) -> None:
    """Write to the terminal, whatever it can show, until nobody reads on."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        # As in `check . | head`. Python would complain again when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
