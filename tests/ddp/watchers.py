"""Callbacks and loops that leave notes for the tests, in files, one for each process."""

import json
import os
import threading
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from compat import AbstractCallback, InMultiProcessDataLoad, TrainLoop
from tests.ddp.models import Dropout, Normed, table

__all__ = [
    "Alone",
    "Asks",
    "Counts",
    "Hooks",
    "Loads",
    "Marked",
    "Seeded",
    "Stops",
    "make_loop",
    "notes",
    "on_cpu",
]


def on_cpu(processes: int = 2) -> dict[str, Any]:
    """Return the arguments of a fit in so many processes on the CPU."""
    return {"num_gpus": processes, "on_gpu": False, "backend": "gloo"}


def make_loop(cls: Any = TrainLoop, model: Any = None, rows: int = 8, **options: Any) -> Any:
    """Make a loop over a few rows, with batches of two; it has batch norm and dropout unless it has another model."""
    model = model if model is not None else Normed()
    data = TensorDataset(*table(rows))
    given = {
        "train_loader": DataLoader(data, batch_size=2),
        "validation_loader": DataLoader(TensorDataset(*table(5, seed=2)), batch_size=2),
        "test_loader": None,
        "optimizer": torch.optim.Adam(model.parameters(), lr=0.05),
        "criterion": nn.MSELoss(),
        "gpu_mode": "ddp",
        "quirks": dict.fromkeys(("Q01", "Q18", "Q19", "Q58"), "kept"),
    }
    return cls(model, **given | options)


def note(folder: str, name: str, value: Any) -> None:
    """Add a line to the notes of this process."""
    rank = os.environ.get("RANK", "parent")
    with Path(folder, f"{name}.{rank}").open("a", encoding="utf-8") as file:
        file.write(json.dumps(value) + "\n")


def notes(folder: Path, name: str) -> dict[str, list[Any]]:
    """Read the notes of all processes, by the rank that the environment gave them."""
    return {
        file.suffix[1:]: [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        for file in sorted(folder.glob(f"{name}.*"))
    }


class _Watcher(AbstractCallback):
    """Has a folder for its notes."""

    def __init__(self, folder: Path, name: str, order: int = 0, device_idx_execution: int | None = None) -> None:
        super().__init__(name, order, device_idx_execution)
        self.folder = str(folder)

    @property
    def loop(self) -> Any:
        """The loop."""
        return self.train_loop_obj

    def note(self, value: Any) -> None:
        """Add a line to the notes."""
        note(self.folder, self.callback_name, value)


class Hooks(_Watcher):
    """Notes every hook, and where it runs."""

    def on_train_loop_registration(self) -> None:
        """Note, with the process."""
        self.note(["registration", os.getpid(), self.loop.ddp_rank, self.loop.ddp_training_mode])

    def on_multiprocess_start(self) -> None:
        """Note, with the seed; loaders that each process builds are not there yet."""
        self.note(["multiprocess_start", self.loop.train_loader is None, torch.initial_seed()])

    def on_train_begin(self) -> None:
        """Note, with the size of the loader, which is."""
        self.note(["train_begin", len(self.loop.train_loader), self.loop.is_main_process()])

    def on_epoch_begin(self) -> None:
        """Note."""
        self.note(["epoch_begin", self.loop.epoch])

    def on_batch_begin(self) -> None:
        """Note."""
        self.note(["batch_begin", self.loop.iteration])

    def on_batch_end(self) -> None:
        """Note."""
        self.note(["batch_end", self.loop.total_iteration_idx])

    def on_epoch_end(self) -> None:
        """Note, with the last validation loss."""
        self.note(["epoch_end", self.loop.train_history["val_loss"][-1]])

    def on_train_end(self) -> None:
        """Note."""
        self.note(["train_end", self.loop.early_stop])


class Alone(_Watcher):
    """Predicts and evaluates in one process, while the others go on."""

    def on_epoch_end(self) -> None:
        """Predict, first what nobody has predicted yet."""
        predictions = self.loop.predict_on_validation_set()[0]
        losses = [self.loop.evaluate_loss_on_train_set().item(), self.loop.evaluate_loss_on_validation_set().item()]
        trained = self.loop.predict_with_model(self.loop.train_loader)[0]
        self.note([predictions.tolist(), trained.tolist(), losses, self.loop.ddp_rank])


class Asks(_Watcher):
    """Predicts in all processes."""

    def on_epoch_end(self) -> None:
        """Predict what a callback of one process may have predicted before."""
        predictions = self.loop.predict_on_validation_set()[0]
        trained = self.loop.predict_on_train_set()[0]
        losses = [self.loop.evaluate_loss_on_train_set().item(), self.loop.evaluate_loss_on_validation_set().item()]
        self.note([predictions.tolist(), trained.tolist(), losses, self.loop.ddp_rank])


class Counts(AbstractCallback):
    """Holds what a callback may hold: numbers, lists, tensors, an object of its own, and something unpicklable."""

    def __init__(self) -> None:
        """Start with nothing counted."""
        super().__init__("counts")
        self.batches = 0
        self.losses: list[float] = []
        self.best: dict[str, Any] = {"epoch": None, "weights": None}
        self.ranks: set[int] = set()

    def on_train_begin(self) -> None:
        """Take something that no pickle holds."""
        self.generator = (number for number in range(3))

    def on_batch_end(self) -> None:
        """Count."""
        self.batches += 1

    def on_epoch_end(self) -> None:
        """Keep what the epoch came to."""
        loop: Any = self.train_loop_obj
        self.losses.append(loop.train_history["val_loss"][-1])
        self.best = {"epoch": loop.epoch, "weights": [value.clone() for value in loop.model.parameters()]}
        self.ranks.add(loop.ddp_rank)


class Locks(AbstractCallback):
    """Sets at its registration what cannot come home, and needs it in every epoch of its process.

    Args:
        folder: Where it notes the epochs.
    """

    def __init__(self, folder: str) -> None:
        """Run in the second process alone."""
        super().__init__("locks", device_idx_execution=1)
        self.folder = folder
        self.lock: Any = None

    def on_train_loop_registration(self) -> None:
        """Make the lock, and look at the data alone."""
        self.lock = threading.Lock()
        note(self.folder, "registered", len(self.train_loop_obj.predict_on_validation_set()[0]))

    def on_epoch_end(self) -> None:
        """Use it."""
        with self.lock:
            note(self.folder, "locked", self.train_loop_obj.epoch)


class Stops(AbstractCallback):
    """Asks for an early stop, in one process."""

    def __init__(self, rank: int) -> None:
        """Take the process."""
        super().__init__("stops", device_idx_execution=rank)
        self.asked: list[int] = []

    def on_epoch_end(self) -> None:
        """Ask."""
        self.asked.append(self.train_loop_obj.epoch)
        self.train_loop_obj.early_stop = True


class Seeded(TrainLoop):
    """Prepares each process, as old code does."""

    folder = ""

    def _spawn_fit(self, gpu: int, ddp_args: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        told = [ddp_args[name] for name in ("world_size", "num_gpus", "node_rank", "backend", "on_gpu")]
        note(self.folder, "spawned", [gpu, told, args[0]])
        super()._spawn_fit(gpu, ddp_args, *args, **kwargs)


class Marked(Dropout):
    """Counts the batches whose loss it computed, in a plain attribute."""

    def __init__(self) -> None:
        """Start at none."""
        super().__init__()
        self.seen = 0

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        """Count, and return the loss."""
        self.seen += 1
        return super().get_loss(batch_data, criterion, device)


def _train_loader() -> DataLoader[Any]:
    return DataLoader(TensorDataset(*table(8)), batch_size=2)


def _validation_loader() -> DataLoader[Any]:
    return DataLoader(TensorDataset(*table(5, seed=2)), batch_size=2)


class Loads(InMultiProcessDataLoad):
    """Loads data in each process, and notes that it did."""

    def __init__(self, folder: Path) -> None:
        """Take the folder."""
        super().__init__(_train_loader, _validation_loader)
        self.folder = str(folder)

    def on_multiprocess_start(self) -> None:
        """Note, with what is there before."""
        note(self.folder, "loads", [self.train_loop_obj.train_loader is None, self.train_loop_obj.ddp_rank])
        super().on_multiprocess_start()
