"""The only place that prints: rank zero, and silenced by one switch.

``compat.verbose(False)`` or the environment variable ``COMPAT_QUIET=1`` silences the printed lines and the progress
bars of this package. Errors and warnings are not printed lines: they come through.
"""

import os
import sys
from collections.abc import Iterable
from typing import Any, TextIO, TypeVar

T = TypeVar("T")

_OFF = {"", "0", "false", "no", "off"}
_switch = {"verbose": True}


def verbose(on: bool = True) -> None:
    """Switch the printed lines and progress bars of this package on or off, for this process.

    Args:
        on: False silences them.
    """
    _switch["verbose"] = bool(on)


def is_verbose() -> bool:
    """Tell what :func:`verbose` was set to last."""
    return _switch["verbose"]


def is_quiet() -> bool:
    """Tell whether this process keeps silent: switched off, asked to by ``COMPAT_QUIET``, or not rank zero."""
    if not _switch["verbose"] or os.environ.get("COMPAT_QUIET", "").strip().lower() not in _OFF:
        return True
    return not _is_rank_zero()


def _is_rank_zero() -> bool:
    # Asked of torch only where somebody has loaded it: the console must not be what makes `import compat` slow.
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return bool(distributed.get_rank() == 0)
    return True


def say(*parts: Any, sep: str = " ") -> None:
    """Print one line to stdout.

    Args:
        parts: What to print.
        sep: What stands between two parts.
    """
    if not is_quiet():
        print(*parts, sep=sep)


def tell(text: str, to: TextIO | None = None) -> None:
    """Print to stderr what is ours and not the program's, such as a report.

    Args:
        text: One line or more.
        to: Another stream than today's ``sys.stderr``.
    """
    if not is_quiet():
        print(text, file=to or sys.stderr)


def progress(batches: Iterable[T], description: str) -> Iterable[T]:
    """Show a progress bar on stderr while the batches are consumed.

    Args:
        batches: Anything iterable; its length is used if it has one.
        description: The text before the bar.

    Returns:
        An iterable over the same batches; ``batches`` itself when quiet.
    """
    if is_quiet():
        return batches
    from tqdm import tqdm

    return tqdm(batches, desc=description)
