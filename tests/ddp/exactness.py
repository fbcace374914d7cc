"""Evaluations inside a fit, of every number of rows and kind of loader, and the same by one process."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, TensorDataset, WeightedRandomSampler

from compat import AbstractCallback, TrainLoop
from tests.ddp.by_hand import weights_of
from tests.ddp.models import Informed, table

__all__ = ["LOADERS", "Collects", "by_one_process", "numbered", "same", "train"]

Result = dict[str, Any]


def numbered(rows: int) -> TensorDataset:
    """Make a data set whose rows say which they are: the first input is the row's number."""
    inputs, targets = table(rows)
    inputs[:, 0] = torch.arange(rows)
    return TensorDataset(inputs, targets)


def _batches(rows: int) -> list[Any]:
    data = numbered(rows)
    return [list(data[start : start + 2]) for start in range(0, rows, 2)]


class _NoLength:
    """An iterable of batches that does not know how many there are."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[Any]:
        return iter(_batches(self.rows))


class _Rows(IterableDataset[Any]):
    """A data set that can only be gone through."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[Any]:
        data = numbered(self.rows)
        return (data[index] for index in range(self.rows))


class _Keyed(Dataset[Any]):
    """A data set of dictionaries, as a collate function of the user's takes them apart."""

    def __init__(self, rows: int) -> None:
        self.data = numbered(rows)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        return dict(zip(("inputs", "targets"), self.data[index], strict=True))

    @staticmethod
    def collate(items: list[Any]) -> Any:
        """Put a batch together."""
        return [torch.stack([item[key] for item in items]) for key in ("inputs", "targets")]


def _loader(rows: int, **options: Any) -> DataLoader[Any]:
    return DataLoader(numbered(rows), batch_size=2, **options)


def _in_batches(rows: int) -> DataLoader[Any]:
    """Batches that a sampler makes, of uneven sizes."""
    sampler = [[0], *([index, index + 1, index + 2] for index in range(1, rows - 2, 3))]
    return DataLoader(numbered(rows), batch_sampler=sampler)


LOADERS: dict[str, Callable[[], Any]] = {
    **{f"{rows} rows": partial(_loader, rows, shuffle=False) for rows in range(1, 18)},
    **{f"{rows} rows, shuffled": partial(_loader, rows, shuffle=True) for rows in range(1, 18)},
    "a generator of its own": lambda: DataLoader(
        numbered(7), batch_size=2, shuffle=True, generator=torch.Generator().manual_seed(3)
    ),
    "a weighted sampler": lambda: DataLoader(
        numbered(7), batch_size=2, sampler=WeightedRandomSampler([1.0] * 7, 9, replacement=True)
    ),
    "batches of a sampler": lambda: _in_batches(10),
    "batches of torch's sampler": lambda: DataLoader(
        numbered(7), batch_sampler=BatchSampler(range(6, -1, -1), 3, drop_last=False)
    ),
    "a last batch that is dropped": lambda: DataLoader(numbered(7), batch_size=2, drop_last=True),
    "no batches": lambda: DataLoader(_batches(7), batch_size=None),  # type: ignore[arg-type]  # a list is a data set
    "a list": lambda: _batches(7),
    "a list of one": lambda: _batches(2),
    "no length": lambda: _NoLength(9),
    "no length, one batch": lambda: _NoLength(1),
    "rows to go through": lambda: DataLoader(_Rows(7), batch_size=2),
    "a collate function": lambda: DataLoader(_Keyed(5), batch_size=2, collate_fn=_Keyed.collate),
    "workers": partial(_loader, 7, shuffle=True, num_workers=1),
}
# In this order the rows come, where it is known.
UNSHUFFLED = tuple(name for name in LOADERS if name.endswith(" rows"))


def _result(loop: Any, loader: Any, states: dict[str, Any] | None = None) -> Result:
    """Evaluate and predict, one after the other, with the same loader.

    Args:
        loop: The loop.
        loader: The loader.
        states: The random numbers to go on from each time; without them the current ones, which are noted.
    """
    result: Result = {}
    noted: dict[str, Any] = {}
    for part, act in (("loss", loop.evaluate_model_loss), ("predictions", loop.predict_with_model)):
        if states is not None:
            torch.set_rng_state(states[part])
        noted[part] = torch.get_rng_state()
        result[part] = act(loader)
    return result if states is not None else result | {"states": noted}


def _stored(loop: Any) -> Result:
    """Everything that is stored for the loop's own loaders."""
    return {
        "loss": torch.stack(
            [
                loop.evaluate_loss_on_train_set(),
                loop.evaluate_loss_on_validation_set(),
                loop.evaluate_loss_on_test_set(),
            ]
        ),
        "train": loop.predict_on_train_set(),
        "validation": loop.predict_on_validation_set(),
        "test": loop.predict_on_test_set(),
    }


def _make_loop(**options: Any) -> Any:
    model = Informed()
    return TrainLoop(
        model,
        DataLoader(numbered(12), batch_size=2),
        DataLoader(numbered(9), batch_size=2),
        DataLoader(numbered(3), batch_size=2),
        torch.optim.SGD(model.parameters(), lr=0.01),
        nn.MSELoss(),
        **options,
    )


class Collects(AbstractCallback):
    """Evaluates every loader at the end of the epoch, in all processes."""

    def __init__(self) -> None:
        """Start with nothing collected."""
        super().__init__("collects")
        self.found: dict[str, Any] = {}

    def on_epoch_end(self) -> None:
        """Collect, with random numbers and statistics that are not the same in all processes."""
        loop: Any = self.train_loop_obj
        torch.rand(1 + loop.ddp_rank)
        next(loop.model.buffers()).add_(loop.ddp_rank)
        self.found["weights"] = weights_of(loop.model)
        self.found["stored"] = _stored(loop)
        for name, make in LOADERS.items():
            self.found[name] = _result(loop, make())
        self.found["mode"] = loop.model.training


def train(**settings: Any) -> dict[str, Any]:
    """Train for an epoch, and return what was collected in it.

    Args:
        settings: Arguments of the fit.
    """
    loop = _make_loop(gpu_mode="ddp", quirks={"Q19": "kept", "Q58": "kept"})
    collects = Collects()
    loop.fit(num_epochs=1, callbacks=[collects], **settings)
    return collects.found


def by_one_process(found: dict[str, Any]) -> dict[str, Any]:
    """Make the same evaluations here, from the weights and the random numbers that rank zero had.

    Args:
        found: What rank zero collected.
    """
    loop = _make_loop(quirks={"Q19": "kept", "Q58": "kept"})
    state = {name.removeprefix("module."): value for name, value in found["weights"].items()}
    loop.model.load_state_dict(state)
    results = {"stored": _stored(loop)}
    # Workers change nothing, and would leave threads that take their time to end.
    for name, make in (LOADERS | {"workers": partial(_loader, 7, shuffle=True)}).items():
        with torch.random.fork_rng(devices=[]):
            results[name] = _result(loop, make(), found[name]["states"])
    return results


def same(one: Any, two: Any) -> bool:
    """Tell whether two results are the same: types, shapes, and every bit.

    Args:
        one: Tensors, arrays or plain values, in tuples, lists and dicts.
        two: The same.
    """
    if type(one) is not type(two):
        return False
    if isinstance(one, torch.Tensor):
        return one.dtype == two.dtype and torch.equal(one, two)
    if isinstance(one, np.ndarray):
        return bool(one.dtype == two.dtype and np.array_equal(one, two))
    if isinstance(one, dict):
        return list(one) == list(two) and all(same(one[key], two[key]) for key in one)
    if isinstance(one, tuple | list):
        return len(one) == len(two) and all(map(same, one, two))
    return bool(one == two)
