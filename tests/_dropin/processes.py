"""Runs programs in interpreters of their own: with plain python, and with ``python -m compat run``."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

PROGRAMS = Path(__file__).with_name("programs")
PLAIN = (sys.executable,)
SERVED = (sys.executable, "-m", "compat", "run")


def run(
    *command: str, folder: Path, stdin: str = "", seconds: float = 120, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder; what the caller's environment says of this package does not reach it."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("COMPAT_", "COV_"))}
    return subprocess.run(
        command,
        cwd=folder,
        env=clean | environment,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )


def has_package(path: str) -> bool:
    """Tell whether the package of a path is there; of one like ``google`` only a part of it may be.

    Args:
        path: A dotted path.
    """
    top, _, rest = path.partition(".")
    spec = find_spec(top)
    if spec is None or spec.origin is not None or not rest:
        return spec is not None
    return find_spec(f"{top}.{rest.partition('.')[0]}") is not None
