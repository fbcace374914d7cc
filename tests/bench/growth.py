"""How time and memory of a prediction pass grow with the data: ``python -m tests.bench.growth``.

Each row of the table is a program of its own, and the pass the first of its size in it. Memory is the highest resident
set during the pass, above what the process held before it; the result (predictions, targets and metadata, which every
process gets whole) is told apart, and what is left is what the pass needs besides. In one process that is the batches'
predictions, which ``torch.cat`` has beside the result it makes of them.
"""

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from compat import AbstractCallback, TrainLoop, TTBasicModel, quirks

__all__ = ["main", "measure"]

ROOT = Path(__file__).parents[2]
FEATURES, OUTPUTS, BATCH = 4, 10, 500
MIB = 1 << 20


class Rows(Dataset[Any]):
    """Rows ``(4,)``, fetched a batch at a time: what is measured is the pass, not the way to the data.

    Args:
        count: The number of rows, ``N``.
    """

    def __init__(self, count: int) -> None:
        self.inputs, self.numbers = torch.zeros(count, FEATURES), torch.arange(count)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitems__(self, indices: Sequence[int]) -> list[torch.Tensor]:
        chosen = torch.tensor(indices)
        return [self.inputs[chosen], self.numbers[chosen] % OUTPUTS, self.numbers[chosen]]


def as_it_is(batch: Any) -> Any:
    """Collate nothing: the rows come as a batch."""
    return batch


def loader(count: int) -> DataLoader[Any]:
    """Make a loader over so many rows."""
    return DataLoader(Rows(count), batch_size=BATCH, collate_fn=as_it_is)


class Network(TTBasicModel):
    """One layer, ``(N, 4) -> (N, 10)``."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(FEATURES, OUTPUTS)

    def forward(self, inputs: torch.Tensor) -> Any:
        return self.layer(inputs)

    def get_predictions(self, batch_data: Any, device: Any) -> Any:
        inputs, targets, numbers = batch_data
        return self(inputs), targets, {"row": numbers}

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        return super().get_loss(batch_data[:2], criterion, device)


class Measures(AbstractCallback):
    """Predicts the validation set when the epoch ends, and writes the figures of this process to a file.

    Args:
        folder: Where to.
    """

    def __init__(self, folder: str) -> None:
        super().__init__("measures")
        self.folder = folder

    def on_multiprocess_start(self) -> None:
        # As many threads as cores in each of the workers would fight for these.
        torch.set_num_threads(1)

    def on_epoch_end(self) -> None:
        loop: Any = self.train_loop_obj
        # What the first pass of all sets up is no growth.
        loop.predict_with_model(loader(2 * BATCH))
        # Nor are the rows, which a worker maps when it first reads them.
        rows = loop.validation_loader.dataset
        assert rows.inputs.sum() == 0
        assert rows.numbers.sum() == len(rows) * (len(rows) - 1) // 2
        gc.collect()
        _return_what_is_free()
        before = _resident("VmRSS")
        _forget_peak()
        started = time.perf_counter()
        result = loop.predict_on_validation_set()
        seconds = time.perf_counter() - started
        peak = _resident("VmHWM")
        tensors = (*result[:2], *result[2].values())
        held = sum(tensor.nbytes for tensor in tensors) / MIB
        assert torch.equal(result[2]["row"], torch.arange(len(result[0])))
        figures = {"rows": len(result[0]), "seconds": seconds, "result": held, "growth": peak - before}
        file = Path(self.folder) / f"{os.environ.get('RANK', '0')}.json"
        file.write_text(json.dumps(figures), encoding="utf-8")


def _return_what_is_free() -> None:
    # Holes that the imports have left would be filled first, and be no growth.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _forget_peak() -> None:
    # Linux: 5 sets the high-water mark back to what is resident now.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _resident(field: str) -> float:
    """Read a figure of this process, in MiB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(f"/proc/self/status has no {field}. This measurement needs Linux.")


def measure(rows: int, processes: int) -> list[dict[str, float]]:
    """Run a fit with one prediction pass in it.

    Args:
        rows: The rows to predict.
        processes: The processes of the fit; 1 for a plain fit, without workers.

    Returns:
        For each process the ``rows`` and ``seconds`` of the pass, and in MiB the ``result`` and the ``growth``, which
        includes it.
    """
    model = Network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    many = processes > 1
    loop = TrainLoop(
        model,
        loader(BATCH * processes),
        loader(rows),
        None,
        optimizer,
        nn.CrossEntropyLoss(),
        end_auto_eval=False,
        gpu_mode="ddp" if many else "single",
    )
    settings: dict[str, Any] = {"num_gpus": processes, "on_gpu": False, "backend": "gloo"} if many else {}
    with tempfile.TemporaryDirectory() as folder:
        loop.fit(num_epochs=1, callbacks=[Measures(folder)], **settings)
        files = [Path(folder) / f"{rank}.json" for rank in range(processes)]
        return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def _in_a_process_of_its_own(rows: int, processes: int) -> list[dict[str, float]]:
    command = [sys.executable, "-m", "tests.bench.growth", "--one", str(rows), str(processes)]
    environment = os.environ | {"COMPAT_QUIET": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-4000:]}")
    figures: list[dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.growth", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--processes", type=int, default=2, help="processes of the fit with gpu_mode='ddp' (2)")
    parser.add_argument("--one", type=int, nargs=2, metavar=("ROWS", "PROCESSES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        torch.set_num_threads(1)
        warnings.simplefilter("ignore")
        quirks.set(Q58="kept")
        print(json.dumps(measure(*options.one)))
        return
    print(f"One prediction pass, batches of {BATCH} rows, {OUTPUTS} float32 a row; memory in MiB")
    print(f"{'rows':>9} {'process':>8} {'seconds':>8} {'us a row':>9} {'growth':>8} {'result':>8} {'besides':>8}")
    for rows in options.rows:
        for processes in (1, options.processes):
            for rank, seen in enumerate(_in_a_process_of_its_own(rows, processes)):
                name = "alone" if processes == 1 else f"rank {rank}"
                besides = seen["growth"] - seen["result"]
                print(
                    f"{rows:>9} {name:>8} {seen['seconds']:>8.2f} {seen['seconds'] / rows * 1e6:>9.2f}"
                    f" {seen['growth']:>8.1f} {seen['result']:>8.1f} {besides:>8.1f}"
                )


if __name__ == "__main__":
    main()
