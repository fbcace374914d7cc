"""Run programs on one library, one process at a time: ``python -m tests.parity.worker --side reference --out FILE``.

It runs in the interpreter of either library's environment, so it imports neither pytest nor anything beside torch,
numpy and the library under test. A failing program is a result, not a failure of the worker.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import traceback
from pathlib import Path
from typing import Any

from tests.parity.backend import SIDES
from tests.parity.catalogue import Selection, jobs, share

THREADS = 1


def environment() -> dict[str, Any]:
    """What decides whether two observations can be equal bit for bit."""
    import numpy as np
    import torch

    return {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }


def run_shard(side: str, part: str, wanted: Selection) -> dict[str, Any]:
    """Run this worker's share of the catalogue and return environment, seconds and observations."""
    import torch

    torch.set_num_threads(THREADS)
    from tests.parity.backend import Backend
    from tests.parity.data import preload
    from tests.parity.execute import run_program

    started = time.perf_counter()
    api = Backend(side)
    api.check()
    preload()
    observations: dict[str, Any] = {}
    for job in share(jobs(side, wanted), part):
        try:
            observations[job.key] = run_program(api, job.program, job.quirks)
        except Exception:  # noqa: BLE001 - one broken program must not hide the results of the others
            observations[job.key] = {"crashed": traceback.format_exc()}
    return {
        "side": side,
        "environment": environment(),
        "seconds": round(time.perf_counter() - started, 2),
        "programs": observations,
    }


def main(arguments: list[str] | None = None) -> None:
    """Entry point; see the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", required=True, choices=SIDES)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--part", default="1/1", help="N/M: the N-th of M shares of the programs")
    parser.add_argument("--smoke", action="store_true", help="only the small representative set")
    parser.add_argument("--program", action="append", default=[], help="only programs whose id contains this")
    parser.add_argument("--ids", type=Path, help="JSON file with a list of program ids: only these")
    given = parser.parse_args(arguments)
    # Lightning and joblib ask for the number of cores; a worker is one thread by design.
    os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))
    exact = frozenset(json.loads(given.ids.read_text(encoding="utf-8"))) if given.ids else None
    wanted = Selection(smoke=given.smoke, words=tuple(given.program), ids=exact)
    result = run_shard(given.side, given.part, wanted)
    unfinished = given.out.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(result), encoding="utf-8")
    unfinished.replace(given.out)


if __name__ == "__main__":
    main()
