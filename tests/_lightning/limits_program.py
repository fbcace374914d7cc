"""Fits on fewer batches in a process that torchrun has started; each leaves what it saw in a file.

``python -m tests._lightning.limits_program FOLDER``
"""

import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, IterableDataset, Sampler, TensorDataset
from torch.utils.data.distributed import DistributedSampler

import compat
from compat import AbstractCallback, InMultiProcessDataLoad
from compat.exceptions import CompatError
from tests.toys import Linear, make_loop

__all__ = ["CASES", "rows"]

QUIRKS = dict.fromkeys(("Q01", "Q11", "Q18", "Q19", "Q58"), "kept")


def rows(count: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the first rows ``(count, 3)`` with their numbers as targets ``(count, 1)``."""
    generator = torch.Generator().manual_seed(2)
    inputs, targets = torch.randn(24, 3, generator=generator), torch.arange(24.0)[:, None]
    return inputs[:count], targets[:count]


def loader(count: int = 24, **options: Any) -> DataLoader[Any]:
    """Return a loader of batches of two rows."""
    return DataLoader(TensorDataset(*rows(count)), **{"batch_size": 2, **options})


def parts(count: int = 24) -> list[Any]:
    """Return batches of two rows in a list."""
    inputs, targets = rows(count)
    return list(zip(inputs.chunk(count // 2), targets.chunk(count // 2), strict=True))


class Drawn(Sampler[int]):
    """Draws an order of its own in every process."""

    def __len__(self) -> int:
        return 24

    def __iter__(self) -> Iterator[int]:
        return iter(np.random.permutation(24).tolist())


class Passing:
    """Batches that can only be iterated."""

    def __iter__(self) -> Iterator[Any]:
        return iter(parts())


class Own(IterableDataset[Any]):
    """Every second row, in each of two processes others."""

    def __iter__(self) -> Iterator[Any]:
        return iter(list(zip(*rows(), strict=True))[dist.get_rank() :: 2])


def own_rows() -> DataLoader[Any]:
    """Build a loader of this process's own rows."""
    return DataLoader(Own(), batch_size=2)


def dealt_by_itself() -> DataLoader[Any]:
    """Build a loader whose own sampler deals it out."""
    data = TensorDataset(*rows())
    return DataLoader(data, batch_size=2, sampler=DistributedSampler(data, 2, dist.get_rank(), shuffle=False))


class Look(AbstractCallback):
    """Predicts at the end of an epoch, in all processes, and notes which rows came."""

    def __init__(self, alone: bool = False, swap: bool = False) -> None:
        """Say whether to run in rank one alone, and whether to bring other loaders."""
        super().__init__("look", device_idx_execution=1 if alone else None)
        self.swaps = swap
        self.seen: dict[str, list[list[float]]] = {"train": [], "validation": []}

    def on_epoch_begin(self) -> None:
        """Swap."""
        if self.swaps:
            self.train_loop_obj.validation_loader = loader(20)

    def on_epoch_end(self) -> None:
        """Predict."""
        loop: Any = self.train_loop_obj
        for data, seen in self.seen.items():
            if getattr(loop, f"{data}_loader") is not None:
                targets = getattr(loop, f"predict_on_{data}_set")(force_prediction=True)[1]
                seen.append(targets.flatten().tolist())


class Noting(Linear):
    """Notes the rows that this process trains on."""

    def __init__(self) -> None:
        """Start with none."""
        super().__init__()
        self.trained: list[list[float]] = []

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        """Note."""
        if self.training:
            self.trained.append(batch_data[1].flatten().tolist())
        return super().get_loss(batch_data, criterion, device)


TWO = {"limit_train_batches": 2, "limit_val_batches": 3, "limit_test_batches": 3}
# The limits, the three loaders, and what else a case has.
CASES: dict[str, tuple[dict[str, Any], Callable[[], tuple[Any, Any, Any]], dict[str, Any]]] = {
    "loaders": (TWO, lambda: (loader(), loader(), loader()), {}),
    "lists": (TWO, lambda: (parts(), parts(), parts()), {}),
    "iterables": (TWO, lambda: (loader(), Passing(), Passing()), {}),
    "shuffled": (TWO, lambda: (loader(shuffle=True), loader(shuffle=True), None), {}),
    "orders of their own": (TWO, lambda: (loader(), loader(sampler=Drawn()), None), {}),
    "shares": (
        {"limit_train_batches": 0.5, "limit_val_batches": 0.25},
        lambda: (loader(), loader(), None),
        {},
    ),
    "more than there are": (
        {"limit_train_batches": 50, "limit_val_batches": 50},
        lambda: (loader(), loader(7), None),
        {},
    ),
    "no validation": ({"limit_train_batches": 2, "limit_val_batches": 0}, lambda: (loader(), loader(), None), {}),
    "overfitting": ({"overfit_batches": 2}, lambda: (loader(shuffle=True), loader(shuffle=True), None), {}),
    "a trial": ({"fast_dev_run": True}, lambda: (loader(), loader(), loader()), {}),
    "accumulation": ({"limit_train_batches": 5}, lambda: (loader(), None, None), {"grad_accumulation": 3}),
    "rows of their own": (
        {"limit_train_batches": 2},
        lambda: (None, None, None),
        {"in_process_data_load": InMultiProcessDataLoad(own_rows)},
    ),
    "one process alone": (TWO, lambda: (loader(), loader(), None), {"alone": True}),
    "swapped": (TWO, lambda: (loader(), parts(), None), {"swap": True}),
    "dealt by itself": (TWO, lambda: (loader(), dealt_by_itself(), None), {}),
    "dealt by itself to train": ({"limit_train_batches": 2}, lambda: (dealt_by_itself(), None, None), {}),
}


def fitted(name: str) -> dict[str, Any]:
    """Fit a case.

    Args:
        name: Its name.

    Returns:
        What this process has then.
    """
    limits, make, further = CASES[name]
    loaders, model, given = make(), Noting(), dict(further)
    updates: list[int] = []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
    optimizer.register_step_post_hook(lambda *given: updates.append(1))
    loop = make_loop(
        model, loaders[0], optimizer, validation=loaders[1], test=loaders[2], gpu_mode="ddp", quirks=QUIRKS,
        lightning_args={"devices": 2, "accelerator": "cpu", **limits},
    )  # fmt: skip
    loop.train_loader = loaders[0]
    look = Look(given.pop("alone", False), given.pop("swap", False))
    try:
        loop.fit(num_epochs=2, callbacks=[look], **given)
    except CompatError as error:
        return {"error": str(error), "kind": type(error).__name__}
    kept = [loop.train_loader is loaders[0], loop.validation_loader is loaders[1], loop.test_loader is loaders[2]]
    return {
        "history": {key: list(values) for key, values in loop.train_history.train_history.items()},
        "weights": {key: value.clone() for key, value in loop.model.state_dict().items()},
        "trained": model.trained,
        "seen": look.seen,
        "kept": kept,
        "updates": len(updates),
    }


def main() -> None:
    """Fit all cases."""
    compat.verbose(False)
    torch.set_num_threads(1)
    outcomes = {name: fitted(name) for name in CASES}
    Path(sys.argv[1], f"outcome.{dist.get_rank()}.pickle").write_bytes(pickle.dumps(outcomes))


if __name__ == "__main__":
    main()
