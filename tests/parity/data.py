"""Loaders of the programs. Their contents come from private generators, so building them draws from no global one."""

from __future__ import annotations

import contextlib
import importlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from tests.parity.spec import Data

Arrays = tuple[torch.Tensor, torch.Tensor]
_SPLIT_SEEDS = {"train": 11, "val": 22, "test": 33, "other": 44}


@dataclass(frozen=True)
class DataSet:
    """Shape of a data set: ``features`` in, ``outputs`` out.

    Attributes:
        classes: targets are class indices.
        binary: targets are 0.0 and 1.0.
        real: the scikit-learn function that loads it, or nothing.
    """

    features: int
    outputs: int
    classes: bool
    real: str = ""
    binary: bool = False


DATA_SETS: dict[str, DataSet] = {
    "regression": DataSet(4, 1, classes=False),
    "images": DataSet(36, 3, classes=True),
    "noisy": DataSet(4, 1, classes=False),
    "binary": DataSet(4, 1, classes=False, binary=True),
    "digits": DataSet(64, 10, classes=True, real="load_digits"),
    "wine": DataSet(13, 3, classes=True, real="load_wine"),
    "diabetes": DataSet(10, 1, classes=False, real="load_diabetes"),
}


def _synthetic(shape: DataSet, rows: int, seed: int) -> Arrays:
    draw = torch.Generator().manual_seed(seed)
    inputs = torch.randn(rows, shape.features, generator=draw)
    signal = inputs @ torch.linspace(-1.0, 1.0, shape.features * shape.outputs).reshape(shape.features, shape.outputs)
    signal = signal + 0.1 * torch.randn(rows, shape.outputs, generator=draw)
    if shape.binary:
        return inputs, (signal > 0.0).float()
    return inputs, signal.argmax(dim=1) if shape.classes else signal


def _real(shape: DataSet, rows: int, seed: int) -> Arrays:
    """``rows`` rows of one of the data sets that ship with scikit-learn, scaled column by column."""
    # Only the programs on real data need scikit-learn, which has no type stubs.
    bundle = getattr(importlib.import_module("sklearn.datasets"), shape.real)()
    order = np.random.RandomState(seed).permutation(len(bundle.data))[:rows]
    scale = np.abs(bundle.data).max(axis=0) + 1e-6
    inputs = torch.tensor((bundle.data / scale)[order], dtype=torch.float32)
    if shape.classes:
        return inputs, torch.tensor(bundle.target[order], dtype=torch.int64)
    return inputs, torch.tensor(bundle.target[order] / 100.0, dtype=torch.float32).reshape(-1, 1)


class Noisy(Dataset[Any]):
    """Augments with numpy's, Python's and torch's global generators, as image pipelines do."""

    def __init__(self, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        self.inputs = inputs
        self.targets = targets

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> Any:
        # The legacy numpy generator is the global one that old training scripts draw from.
        noise = 0.1 * float(np.random.rand()) + 0.1 * random.random()
        return self.inputs[index] + noise + 0.1 * torch.rand(1), self.targets[index]


class Stream(IterableDataset[Any]):
    """Rows without a length."""

    def __init__(self, inputs: torch.Tensor, targets: torch.Tensor) -> None:
        self.inputs = inputs
        self.targets = targets

    def __iter__(self) -> Iterator[Any]:
        return iter(zip(self.inputs, self.targets, strict=True))


def preload() -> None:
    """Import scikit-learn before anything is seeded: importing it may draw from Python's global generator.

    Where it is missing, the programs on real data fail one by one and say so.
    """
    with contextlib.suppress(ImportError):
        importlib.import_module("sklearn.datasets")


def _stacked(rows: list[Any]) -> list[torch.Tensor]:
    return [torch.stack([row[column] for row in rows]) for column in range(len(rows[0]))]


def _collate_reversed(rows: list[Any]) -> list[torch.Tensor]:
    return _stacked(rows[::-1])


def _collate_noise(rows: list[Any]) -> list[torch.Tensor]:
    inputs, targets = _stacked(rows)
    return [inputs + 0.05 * torch.randn_like(inputs), targets]


def _collate_mapping(rows: list[Any]) -> dict[str, Any]:
    inputs, targets = _stacked(rows)
    return {"inputs": inputs, "targets": targets, "names": [f"row {index}" for index in range(len(rows))]}


COLLATES: dict[str, Callable[[list[Any]], Any] | None] = {
    "": None,
    "reversed": _collate_reversed,
    "noise": _collate_noise,
    "mapping": _collate_mapping,
}


def build_loader(data: Data, split: str) -> Any:
    """The loader of one split; validation and test loaders neither shuffle nor drop, unless they are lists."""
    shape = DATA_SETS[data.kind]
    rows = data.rows if split == "train" else data.rows // 2 + 2
    make = _real if shape.real else _synthetic
    inputs, targets = make(shape, rows, _SPLIT_SEEDS[split])
    if data.kind == "images":
        inputs = inputs.reshape(-1, 1, 6, 6)
    train = split == "train"
    if data.form == "list":
        return list(DataLoader(TensorDataset(inputs, targets), data.batch, generator=torch.Generator()))
    if data.form == "stream" and train:
        return DataLoader(Stream(inputs, targets), data.batch, collate_fn=COLLATES[data.collate])
    dataset: Dataset[Any] = Noisy(inputs, targets) if data.kind == "noisy" else TensorDataset(inputs, targets)
    common: dict[str, Any] = {"collate_fn": COLLATES[data.collate]}
    if data.form == "generator" and train:
        common["generator"] = torch.Generator().manual_seed(77)
    if data.form == "worker" and train:
        common["num_workers"] = 1
    if data.form == "weighted" and train:
        weights = torch.linspace(0.1, 1.0, rows).tolist()
        return DataLoader(dataset, data.batch, sampler=WeightedRandomSampler(weights, rows), **common)
    if data.form == "batch_sampler" and train:
        cut = BatchSampler(RandomSampler(range(rows)), data.batch, data.drop_last)
        return DataLoader(dataset, batch_sampler=cut, **common)
    return DataLoader(dataset, data.batch, shuffle=data.shuffle and train, drop_last=data.drop_last and train, **common)
