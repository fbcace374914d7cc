"""Print the table: ``python -m tests.gpu [--reference PYTHON]``."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from tests.gpu.tasks import MODES

__all__ = ["difference", "main", "run"]

ROOT = Path(__file__).parents[2]


def run(python: str, task: str, library: str, *sizes: int) -> Any:
    """Run one task in a process of its own.

    Args:
        python: The interpreter.
        task: See ``tests.gpu.worker``.
        library: Likewise.
        sizes: Likewise.

    Returns:
        What it printed.
    """
    command = [python, "-m", "tests.gpu.worker", task, library, *map(str, sizes)]
    environment = os.environ | {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "COMPAT_QUIET": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def difference(one: dict[str, Any], two: dict[str, Any]) -> float:
    """Return by how much two runs differ at most, in any weight or in the state of the gradient scaler.

    Args:
        one: What ``tests.gpu.worker.trained`` returned.
        two: Likewise. The reference's wrappers put ``module.`` before the names.
    """
    if one["scaler"] != two["scaler"]:
        return float("inf")
    own, other = ([value for _, value in sorted(run["weights"].items())] for run in (one, two))
    largest: float = max(
        abs(a - b) for mine, theirs in zip(own, other, strict=True) for a, b in zip(mine, theirs, strict=True)
    )
    return largest


def _told(value: float) -> str:
    return "equal, bit for bit" if value == 0 else f"differ by {value:.1e} at most"


def _weights(reference: str | None) -> Iterator[tuple[str, str, str]]:
    plain = run(sys.executable, "fp32", "by hand")
    for mode in MODES:
        ours = run(sys.executable, mode, "compat")
        by_hand = run(sys.executable, mode, "by hand") if mode in ("amp", "bf16") else plain
        yield f"weights, {mode}", "loop by hand", _told(difference(ours, by_hand))
        # The reference knows no bf16, and its ddp is compared by tests/ddp.
        if reference is not None and mode in ("fp32", "amp", "dp"):
            yield f"weights, {mode}", "AIToolbox", _told(difference(ours, run(reference, mode, "aitoolbox")))


def _rows(reference: str | None) -> Iterator[tuple[str, str, str]]:
    yield from _weights(reference)
    pythons = {"compat": sys.executable} | ({"aitoolbox": reference} if reference is not None else {})
    for library, python in pythons.items():
        name = "this package" if library == "compat" else "AIToolbox"
        if torch.cuda.is_available():
            few, many = run(python, "memory", library)
            told = f"{few:.1f} MiB for 2,000 rows, {many:.1f} MiB for 64,000"
            yield "device memory of a prediction pass", name, told
        # On the CPU it is only to be seen that it runs: rounds, batches, edge of the images, images of a batch.
        sizes = () if torch.cuda.is_available() else (2, 3, 32, 4)
        *ratios, milliseconds = run(python, "steps", library, *sizes)
        ratio = sorted(ratios)[len(ratios) // 2]
        yield "step of a ResNet-18 over the loop by hand", name, f"{ratio:.3f} ({milliseconds:.1f} ms by hand)"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description=__doc__)
    parser.add_argument("--reference", metavar="PYTHON", help="interpreter with aitoolbox==1.8.0 and torch for CUDA")
    options = parser.parse_args()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "the CPU, no CUDA device being there"
    print(f"On {device}, with torch {torch.__version__}.\n")
    print("| what | against, or of | result |")
    print("| --- | --- | --- |")
    for row in _rows(options.reference):
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
