"""A training script that signals are sent to: ``python -m tests.ddp_failures.program FOLDER FITS``.

Each fit never ends by itself: both processes leave a mark in a folder of that fit, and sleep. Interrupted, the script
says what it finds, and fits again.
"""

import os
import signal
import sys
from pathlib import Path

from tests.conftest import OWN_VARIABLES
from tests.ddp_failures import faults
from tests.ddp_failures.watching import Traces, state_of_loop

__all__ = ["main"]


def main(folder: Path, fits: int) -> None:
    """Fit, and be interrupted.

    Args:
        folder: Where the marks go.
        fits: How often.
    """
    loop = faults.make_loop()
    before, known, state = Traces.now(), variables(), state_of_loop(loop)
    for number in range(fits):
        marks = folder / f"fit-{number}"
        marks.mkdir()
        both = [faults.FaultyHook("on_batch_end", faults.Marked(marks, faults.sleeps), on_rank) for on_rank in (0, 1)]
        try:
            loop.fit(num_epochs=2, callbacks=both, **faults.ON_TWO)
        except KeyboardInterrupt:
            print("interrupted", before.new_in(Traces.now()), variables() == known, state_of_loop(loop) == state)
        sys.stdout.flush()
    print("the end", signal.getsignal(signal.SIGINT) is signal.default_int_handler)


def variables() -> dict[str, str]:
    """Return the environment, but for what torch and Lightning write when they are imported."""
    return {name: value for name, value in os.environ.items() if name not in OWN_VARIABLES}


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
