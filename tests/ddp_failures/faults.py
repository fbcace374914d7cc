"""What goes wrong in the tests: in rank 1, unless something else is said. Rank 0 does nothing wrong."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from compat import AbstractCallback, FunctionOnTrainLoop, TrainLoop, TTModel

ON_TWO = {"num_gpus": 2, "on_gpu": False, "backend": "gloo"}
# Longer than any test waits: whoever sleeps this long must be ended by somebody.
LONG = 120


class OddError(Exception):
    """Its constructor cannot be called with ``args``, and it holds what cannot be pickled."""

    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(f"{reason} ({code})")
        self.code = code
        self.lock = threading.Lock()


def rank() -> int:
    """Return the rank of this process; 0 in the parent."""
    return int(os.environ.get("RANK", "0"))


class Net(TTModel):
    """Two linear layers, ``(N, 3) -> (N, 1)``."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 1)

    def forward(self, inputs: torch.Tensor) -> Any:
        return self.second(torch.relu(self.first(inputs)))

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        inputs, targets = batch_data
        return criterion(self(inputs), targets)

    def get_predictions(self, batch_data: Any, device: Any) -> Any:
        inputs, targets = batch_data
        return self(inputs), targets, {}


class FaultyNet(Net):
    """Rank 1 does something else in the third batch."""

    def __init__(self, fault: Callable[[], None]) -> None:
        super().__init__()
        self.fault, self.batches = fault, 0

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        self.batches += 1
        if rank() == 1 and self.batches == 3:
            self.fault()
        return super().get_loss(batch_data, criterion, device)


class FaultyHook(AbstractCallback):
    """Rank 1 does something else in one hook.

    Args:
        hook: The name of the hook.
        fault: What it does there.
        on_rank: The rank, if it is not 1.
    """

    def __init__(self, hook: str, fault: Callable[[], None], on_rank: int = 1) -> None:
        super().__init__(f"a faulty {hook}")
        self.fault, self.on_rank = fault, on_rank
        setattr(self, hook, self.run)

    def run(self) -> None:
        if rank() == self.on_rank:
            self.fault()


class FaultyLuggage:
    """Raises where it is unpickled, in rank 1."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if rank() == 1:
            raise ValueError("no good luggage")

    def __init__(self) -> None:
        self.something = 1


def error() -> None:
    """Raise."""
    raise ValueError("no good")


def odd_error() -> None:
    """Raise what is hard to pickle."""
    raise OddError(7, reason="odd")


def killed() -> None:
    """End as by the kernel when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def exits() -> None:
    """End as a program does."""
    sys.exit(2)


def exits_hard() -> None:
    """End as a library in native code does."""
    os._exit(3)


def sleeps() -> None:
    """Hang without using the processor."""
    time.sleep(LONG)


def loops() -> None:
    """Hang in an endless loop."""
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        pass


def end(pid: int) -> None:
    """Send SIGTERM to a process, as a user or the scheduler of a cluster does."""
    os.kill(pid, signal.SIGTERM)


class Marked:
    """Notes when it came to a fault, and by which process.

    Args:
        folder: Where to.
        fault: What follows.
    """

    def __init__(self, folder: Path, fault: Callable[[], None]) -> None:
        self.folder, self.fault = folder, fault

    def __call__(self) -> None:
        draft = self.folder / f"rank-{rank()}.draft"
        draft.write_text(f"{time.time()} {os.getpid()}")
        draft.replace(draft.with_suffix(".mark"))
        self.fault()


class FailsIf:
    """Fails as long as a file exists.

    Args:
        file: The file.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def __call__(self) -> None:
        if self.file.exists():
            raise ValueError("no good")


class Notes(AbstractCallback):
    """Notes the epochs that have ended."""

    def __init__(self) -> None:
        super().__init__("notes")
        self.epochs: list[int] = []

    def on_epoch_end(self) -> None:
        loop: Any = self.train_loop_obj
        self.epochs.append(loop.epoch)


class Alone:
    """Predicts in the main process only, as old programs do.

    Args:
        mark: Called before.
    """

    def __init__(self, mark: Callable[[], None]) -> None:
        self.mark = mark

    def __call__(self, loop: Any) -> None:
        if loop.is_main_process():
            self.mark()
            loop.predict_on_validation_set()


def nothing() -> None:
    """Do nothing wrong."""


def alone(hook: str, folder: Path) -> FunctionOnTrainLoop:
    """Make a callback that predicts in the main process only, and notes when it does."""
    return FunctionOnTrainLoop(Alone(Marked(folder, nothing)), **{hook: True})


class ChangesWeight(AbstractCallback):
    """Rank 1 changes a weight after an epoch."""

    def __init__(self) -> None:
        super().__init__("changes a weight")

    def on_epoch_begin(self) -> None:
        loop: Any = self.train_loop_obj
        if rank() == 1:
            with torch.no_grad():
                next(loop.model.parameters())[0, 0] += 0.5


class PastTheWrapperLoop(TrainLoop):
    """Computes the loss with the model inside the wrapper, so that nobody averages its gradients."""

    def _calculate_batch_loss(self, batch_data: Any) -> Any:
        inner = getattr(self.model, "module", self.model)
        loss = inner.get_loss(batch_data, self.criterion, self.device)
        self.loss_batch_accum.append(loss.detach())
        return loss


def rows(count: int = 24) -> Dataset[Any]:
    """Make rows ``(3,)`` and targets ``(1,)``."""
    generator = torch.Generator().manual_seed(1)
    return TensorDataset(torch.randn(count, 3, generator=generator), torch.randn(count, 1, generator=generator))


def make_loop(model: Any = None, cls: Any = TrainLoop, **options: Any) -> Any:
    """Make a loop with a validation set, on the CPU."""
    model = Net() if model is None else model
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    train, validation = DataLoader(rows(), batch_size=2), DataLoader(rows(6), batch_size=2)
    return cls(
        model, train, validation, None, optimizer, nn.MSELoss(), gpu_mode="ddp", quirks={"Q58": "kept"}, **options
    )


@contextlib.contextmanager
def hidden(module: str) -> Iterator[None]:
    """Let nobody import a module."""
    missing = object()
    before = sys.modules.get(module, missing)
    sys.modules[module] = None  # type: ignore[assignment]  # what makes an import of it fail
    try:
        yield
    finally:
        if before is missing:
            del sys.modules[module]
        else:
            sys.modules[module] = before  # type: ignore[assignment]
