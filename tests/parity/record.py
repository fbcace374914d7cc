"""Record the reference's observations anew: ``python -m tests.parity.record``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.parity import records
from tests.parity.backend import REFERENCE
from tests.parity.reference import prepare
from tests.parity.session import run_side


def main() -> None:
    """Run every program on the reference and write the record."""
    with tempfile.TemporaryDirectory() as folder:
        side = run_side(REFERENCE, str(prepare()), Path(folder))
    records.write(side.environment, dict(sorted(side.programs.items())))
    size = records.PATH.stat().st_size
    sys.stdout.write(f"{len(side.programs)} runs in {side.seconds} s, {size} bytes in {records.PATH.name}\n")


if __name__ == "__main__":
    main()
