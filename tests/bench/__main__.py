"""Print the table: ``python -m tests.bench [--reference PYTHON]``."""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.bench.cadences import available
from tests.bench.tasks import MODELS

ROOT = Path(__file__).parents[2]
TARGETS = {
    "bare loop": "at most 1.10",
    "bare, mean loss": "at most 1.10",
    "old library": "below 0.90",
    "plain Lightning": "below 0.60",
}


def ask(python: str, *arguments: str) -> Any:
    """Run one worker process and return what it measured.

    Args:
        python: The interpreter.
        arguments: The worker's arguments.
    """
    command = [python, "-m", "tests.bench.worker", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def steps(model: str, reference: str | None, size: list[str]) -> None:
    """Print the median time of a step, and its ratio to that of the bare loop in the same turn of the same process.

    Args:
        model: A key of ``MODELS``.
        reference: The interpreter of the old library's environment.
        size: Further arguments of the worker.
    """
    names = ("bare loop", "bare, mean loss", "this package", "plain Lightning")
    here = ask(sys.executable, "steps", *names, "--model", model, *size)
    ratios, set_up = _medians(here)
    if reference is not None:
        there = ask(reference, "steps", "bare loop", "old library", "--model", model, *size)
        ratios["old library"] = _ratio(there["old library"], there["bare loop"])
        set_up["old library"] = statistics.median(turn[1] for turn in there["old library"])
    bare = statistics.median(turn[0] for turn in here["bare loop"]) * 1e6
    ours = ratios["this package"]
    print(f"\n{model:<18} {'us a step':>10} {'over bare':>10} {'ours over it':>13} {'ms of set-up':>13}   target")
    for name, ratio in ratios.items():
        target = TARGETS.get(name, "") if model == "tiny MLP" else ""
        row = f"  {name:<16} {bare * ratio:>10.1f} {ratio:>10.2f} {ours / ratio:>13.2f} {set_up[name] * 1e3:>13.1f}"
        print(f"{row}   {target}".rstrip())


def cadences(model: str, size: list[str]) -> None:
    """Print the median time of a step with native parts attached, and its ratio to that of the bare loop.

    Args:
        model: A key of ``MODELS``.
        size: Further arguments of the worker.
    """
    here = ask(sys.executable, "steps", "bare loop", *available(), "plain Lightning", "--model", model, *size)
    ratios, set_up = _medians(here)
    bare = statistics.median(turn[0] for turn in here["bare loop"]) * 1e6
    lean = ratios["whole epochs"]
    print(f"\n{model:<20} {'us a step':>10} {'over bare':>10} {'us more than whole epochs':>27} {'ms of set-up':>13}")
    for name, ratio in ratios.items():
        print(
            f"  {name:<18} {bare * ratio:>10.1f} {ratio:>10.2f} {bare * (ratio - lean):>27.1f}"
            f" {set_up[name] * 1e3:>13.1f}"
        )


def _medians(measured: dict[str, list[list[float]]]) -> tuple[dict[str, float], dict[str, float]]:
    """Return by runner the median ratio to the bare loop, and the median seconds of set-up."""
    ratios = {name: _ratio(turns, measured["bare loop"]) for name, turns in measured.items()}
    return ratios, {name: statistics.median(turn[1] for turn in turns) for name, turns in measured.items()}


def _ratio(turns: list[list[float]], bare: list[list[float]]) -> float:
    return statistics.median(mine[0] / other[0] for mine, other in zip(turns, bare, strict=True))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--reference", metavar="PYTHON", help="interpreter of an environment with aitoolbox==1.8.0")
    parser.add_argument("--rounds", default="7", help="turns of each runner (7)")
    parser.add_argument("--batches", default="1000", help="batches of an epoch (1000)")
    parser.add_argument("--epochs", default="2", help="epochs of a turn (2)")
    options = parser.parse_args()
    size = ["--rounds", options.rounds, "--batches", options.batches, "--epochs", options.epochs]
    print("Time of a training step on the CPU, one thread; medians over alternating runs, ratios pair by pair.")
    print("The bare loop keeps no losses; `bare, mean loss` keeps the mean of an epoch, as a history needs it.")
    for model in MODELS:
        steps(model, options.reference, size)
    print("\nWith native parts attached, which cut the epoch into shorter steps of Lightning")
    for model in MODELS:
        cadences(model, size)
    print("\nPeak memory that a prediction pass adds: 200,000 rows of 256 numbers, 195 MiB")
    print(f"  this package {statistics.median(ask(sys.executable, 'memory', 'compat') for _ in range(3)):7.0f} MiB")
    if options.reference:
        peak = statistics.median(ask(options.reference, "memory", "aitoolbox") for _ in range(3))
        print(f"  old library  {peak:7.0f} MiB")
    print("\nImport in a fresh process")
    modules = [(sys.executable, "compat"), (sys.executable, "torch")]
    if options.reference:
        modules.append((options.reference, "aitoolbox"))
    times: dict[str, list[float]] = {name: [] for _, name in modules}
    for _ in range(3):
        for python, name in modules:
            times[name].append(ask(python, "import", name))
    for name, seconds in times.items():
        print(f"  import {name:<10} {statistics.median(seconds) * 1000:8.1f} ms")


if __name__ == "__main__":
    main()
