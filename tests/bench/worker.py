"""One process of the benchmark: alternates the runners that its interpreter has, and prints its figures as JSON."""

import argparse
import json
import logging
import resource
import sys
import time
import warnings
from typing import Any

__all__ = ["main"]


def steps(names: list[str], model: str, rounds: int, batches: int, epochs: int) -> dict[str, list[list[float]]]:
    """Measure seconds a step and seconds of set-up: the runners take turns, after one turn each that does not count.

    A turn trains one epoch and then several, each from the start; the difference is the time of the steps alone, and
    what the single epoch takes beyond its steps is what a ``fit`` costs before it trains.

    Args:
        names: Keys of ``RUNNERS`` of the tasks and of the cadences.
        model: A key of ``MODELS``.
        rounds: Turns of each.
        batches: Batches of an epoch.
        epochs: Epochs of a turn, beyond the one.

    Returns:
        ``[seconds a step, seconds of set-up]`` of each turn, by runner.
    """
    import torch

    from tests.bench import cadences
    from tests.bench.tasks import RUNNERS, make_task

    torch.set_num_threads(1)
    runners = RUNNERS | cadences.RUNNERS
    measured: dict[str, list[list[float]]] = {name: [] for name in names}
    for turn in range(rounds + 1):
        for name in names:
            one = runners[name](make_task(model, batches), 1)
            several = runners[name](make_task(model, batches), 1 + epochs)
            step = (several - one) / (batches * epochs)
            if turn:
                measured[name].append([step, one - step * batches])
    return measured


def prediction_memory(library: str, samples: int) -> float:
    """Return how much the peak memory of this process grows in one prediction pass, in MiB.

    Args:
        library: ``compat`` or ``aitoolbox``.
        samples: Rows ``(N, 256)`` to predict.
    """
    import importlib

    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    torch.set_num_threads(1)
    model_module, loop_module = {
        "compat": ("compat.model", "compat.train_loop"),
        "aitoolbox": ("aitoolbox.torchtrain.model", "aitoolbox.torchtrain.train_loop"),
    }[library]
    model: Any = importlib.import_module(model_module).MultiGPUModelWrap(nn.Linear(16, 256))
    loader: DataLoader[Any] = DataLoader(TensorDataset(torch.zeros(samples, 16), torch.zeros(samples)), batch_size=500)
    loop = importlib.import_module(loop_module).TrainLoop(model, loader, None, loader, None, None)
    loop.predict_with_model([next(iter(loader))])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    loop.predict_on_test_set()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def import_seconds(module: str) -> float:
    """Return how long the first import of a module takes in this process.

    Args:
        module: The module's name.
    """
    begin = time.perf_counter()
    __import__(module)
    return time.perf_counter() - begin


def main() -> None:
    """Measure what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["steps", "memory", "import"])
    parser.add_argument("names", nargs="+")
    parser.add_argument("--model", default="tiny MLP")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--samples", type=int, default=200_000)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    printed, sys.stdout = sys.stdout, sys.stderr
    result: Any
    if options.what == "steps":
        result = steps(options.names, options.model, options.rounds, options.batches, options.epochs)
    elif options.what == "memory":
        result = prediction_memory(options.names[0], options.samples)
    else:
        result = import_seconds(options.names[0])
    sys.stdout = printed
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
