"""``%load_ext compat``: what ``python -m compat run`` does for a program, for a notebook."""

from pathlib import Path
from typing import Any

from compat import _ledger
from compat._console import say
from compat._dropin import report
from compat._dropin.importing import install, uninstall
from compat.exceptions import InvalidArgumentError

__all__ = ["load_ipython_extension", "unload_ipython_extension"]

_REPORT, _STRICT = "compat_report", "compat_strict"


def load_ipython_extension(ipython: Any) -> None:
    """Serve ``import aitoolbox`` in a notebook and note what it uses.

    ``%compat_report [FILE]`` tells what that was; after ``%compat_strict on`` a correction of the outcome is an error.

    Args:
        ipython: The shell; ``%load_ext compat`` passes it.

    Raises:
        ConflictError: The real library is imported already: restart the kernel.
    """
    install()
    _ledger.clear()
    _ledger.watch()

    def compat_report(line: str) -> None:
        """Show what was served so far, or write it to a file as JSON."""
        rows = [_in_cells(row, ipython) for row in report.rows(_ledger.entries())]
        if file := line.strip().strip("'\""):
            report.check_writable(Path(file).expanduser())
            report.write(Path(file).expanduser(), rows, ["notebook"], strict=False)
        else:
            say(report.table(rows) if rows else "compat: nothing of AIToolbox was used yet")

    def compat_strict(line: str) -> None:
        """Make it an error where the outcome is corrected, or no longer: ``on`` or ``off``."""
        if line.strip() not in ("on", "off"):
            raise InvalidArgumentError(f"%{_STRICT} {line}: say `on` or `off`.")
        _ledger.watch(strict=line.strip() == "on")

    ipython.register_magic_function(compat_report, magic_kind="line", magic_name=_REPORT)
    ipython.register_magic_function(compat_strict, magic_kind="line", magic_name=_STRICT)


def unload_ipython_extension(ipython: Any) -> None:
    """Undo :func:`load_ipython_extension`.

    Args:
        ipython: The shell; ``%unload_ext compat`` passes it.
    """
    _ledger.unwatch()
    uninstall()
    for magic in (_REPORT, _STRICT):
        ipython.magics_manager.magics["line"].pop(magic, None)


def _in_cells(row: report.Row, ipython: Any) -> report.Row:
    """Name cells as the notebook does, ``Cell In[3]``, instead of by the files that their code is kept in."""
    return row.renamed(lambda file: " ".join(ipython.compile.format_code_name(file) or (file,)))
