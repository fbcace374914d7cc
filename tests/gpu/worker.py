"""One run, in a process of its own: ``python -m tests.gpu.worker TASK LIBRARY`` prints its figures as JSON."""

import gc
import importlib
import json
import statistics
import sys
import time
import warnings
from typing import Any

import torch
from torch import nn

from tests.gpu.tasks import ResNet18, SmallNet, by_hand, loader, make_deterministic, on, optimizer_of

__all__ = ["LIBRARIES", "main", "peaks", "steps", "trained"]

LIBRARIES = {
    "compat": ("compat.model", "compat.train_loop"),
    "aitoolbox": ("aitoolbox.torchtrain.model", "aitoolbox.torchtrain.train_loop"),
}
MIB = 1 << 20
# Rows of a batch in a prediction pass.
BATCH = 500


def _loop(library: str, network: nn.Module, train: Any, validation: Any = None, **options: Any) -> Any:
    """Make a ``TrainLoop`` of one of the libraries."""
    model_module, loop_module = map(importlib.import_module, LIBRARIES[library])
    model = model_module.MultiGPUModelWrap(network)
    criterion = nn.CrossEntropyLoss()
    return loop_module.TrainLoop(
        model, train, validation, None, optimizer_of(network), criterion, end_auto_eval=False, **options
    )


def trained(library: str, mode: str) -> dict[str, Any]:
    """Train a small network for two epochs.

    Args:
        library: ``by hand``, ``compat`` or ``aitoolbox``.
        mode: One of ``MODES``.

    Returns:
        Its ``weights``, and the state of the gradient ``scaler``, if one is used.
    """
    make_deterministic()
    network, batches = SmallNet(), loader(64)
    if library == "by hand":
        scaler = by_hand(network, batches, 2, mode)
        return {"weights": _numbers(network), "scaler": scaler}
    options: dict[str, Any] = {"gpu_mode": mode if mode in ("dp", "ddp") else "single"}
    settings: dict[str, Any] = {}
    if mode == "amp":
        options["use_amp"] = True
    elif mode == "bf16":
        options["lightning_args"] = {"precision": "bf16-mixed"}
    elif mode == "dp" and on().type == "cuda":
        settings = {"dp_model_args": {"device_ids": [0]}}
    elif mode == "ddp":
        on_gpu = on().type == "cuda"
        settings = {"num_gpus": 1, "on_gpu": on_gpu, "backend": "nccl" if on_gpu else "gloo"}
    loop = _loop(library, network, batches, **options)
    loop.fit(num_epochs=2, **settings)
    return {"weights": _numbers(network), "scaler": loop.amp_scaler.state_dict() if mode == "amp" else {}}


def _numbers(network: nn.Module) -> dict[str, Any]:
    return {name: value.double().flatten().tolist() for name, value in network.state_dict().items()}


def peaks(library: str, few: int = 2_000, many: int = 64_000) -> list[float]:
    """Return how much memory of the device a prediction pass takes, in MiB: over few rows, and over many.

    Args:
        library: ``compat`` or ``aitoolbox``.
        few: The rows of the first pass, each with 1,000 predictions.
        many: Those of the second.
    """
    found = []
    for rows in (few, many):
        network = nn.Sequential(nn.Flatten(), nn.Linear(192, 1000))
        loop = _loop(library, network, loader(BATCH), loader(rows, batch=BATCH))
        loop.model.to(on())
        loop.predict_with_model(loader(BATCH, batch=BATCH))
        gc.collect()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = loop.predict_on_validation_set()
        found.append((torch.cuda.max_memory_allocated() - before) / MIB)
        assert result[0].shape == (rows, 1000)
    return found


def steps(library: str, rounds: int = 5, batches: int = 40, size: int = 64, batch: int = 64) -> list[float]:
    """Return the times of a step of a ResNet-18, as ratios to those of the loop by hand, in turns.

    Args:
        library: ``compat`` or ``aitoolbox``.
        rounds: How often each has its turn, after one that does not count.
        batches: The batches of a turn.
        size: The edge of the images.
        batch: The images of a batch.

    Returns:
        The ratio of each turn, and last the median time of a step by hand in milliseconds.
    """
    given = list(loader(batches * batch, size, batch))
    hand, ratios = [], []
    for turn in range(rounds + 1):
        own = _timed(lambda network, epochs: by_hand(network, given, epochs))
        theirs = _timed(lambda network, epochs: _loop(library, network, given).fit(num_epochs=epochs))
        if turn:
            hand.append(own / batches * 1e3)
            ratios.append(theirs / own)
    return [*ratios, statistics.median(hand)]


def _timed(run: Any) -> float:
    """Return the seconds of one epoch: those of two less those of one, each from the start."""
    seconds = []
    for epochs in (1, 2):
        network = ResNet18()
        _wait()
        started = time.perf_counter()
        run(network, epochs)
        _wait()
        seconds.append(time.perf_counter() - started)
    return seconds[1] - seconds[0]


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def main(task: str, library: str, *sizes: str) -> None:
    """Run a task and print what it returns.

    Args:
        task: One of ``MODES``, ``memory`` or ``steps``.
        library: ``by hand``, ``compat`` or ``aitoolbox``.
        sizes: Further arguments of the task, whole numbers.
    """
    warnings.simplefilter("ignore")
    printed, sys.stdout = sys.stdout, sys.stderr
    numbers = map(int, sizes)
    result: Any
    if task == "memory":
        result = peaks(library, *numbers)
    elif task == "steps":
        result = steps(library, *numbers)
    else:
        result = trained(library, task)
    sys.stdout = printed
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
