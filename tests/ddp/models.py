"""Small networks that know their loss; the base classes are those of this package, or of the reference if asked."""

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from tests.parity.backend import COMPAT, REFERENCE, Backend

SIDE_VARIABLE = "TESTS_DDP_SIDE"

if TYPE_CHECKING or os.environ.get(SIDE_VARIABLE, COMPAT) == COMPAT:
    from compat import ModelWrap, MultiLoss, MultiOptimizer, TrainLoop, TTBasicModel, TTModel
    from compat.callbacks.debugging import DataSubsetTestRun
    from compat.callbacks.gradient import GradNormClip
    from compat.model import AbstractModelFeedDefinition
    from compat.schedulers.basic import StepLRScheduler
else:
    _reference = Backend(REFERENCE)
    AbstractModelFeedDefinition = _reference.AbstractModelFeedDefinition
    DataSubsetTestRun = _reference.DataSubsetTestRun
    GradNormClip, StepLRScheduler = _reference.GradNormClip, _reference.StepLRScheduler
    ModelWrap, TrainLoop = _reference.ModelWrap, _reference.TrainLoop
    MultiLoss, MultiOptimizer = _reference.MultiLoss, _reference.MultiOptimizer
    TTBasicModel, TTModel = _reference.TTBasicModel, _reference.TTModel

__all__ = [
    "FEATURES",
    "DataSubsetTestRun",
    "Disjoint",
    "Dropout",
    "Feed",
    "GradNormClip",
    "Informed",
    "ModelWrap",
    "MultiOptimizer",
    "Normed",
    "Parts",
    "SharedTrunk",
    "StepLRScheduler",
    "TrainLoop",
    "Unused",
    "plain",
    "table",
]

FEATURES = 3


def table(rows: int, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Make inputs ``(N, 3)`` and targets ``(N, 1)``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, FEATURES, generator=generator), torch.randn(rows, 1, generator=generator)


class _Seeded:
    """Builds a network from a fixed seed, whatever the global generator holds, which stays as it is."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.build()

    def build(self) -> None:
        raise NotImplementedError


class Dropout(_Seeded, TTBasicModel):
    """Two layers with dropout: the random numbers of a run show in its weights."""

    def build(self) -> None:
        self.net = nn.Sequential(nn.Linear(FEATURES, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 1))

    def forward(self, inputs: torch.Tensor) -> Any:
        """Map ``(N, 3)`` to ``(N, 1)``."""
        return self.net(inputs)


class Unused(Dropout):
    """Has a part that no loss depends on."""

    def build(self) -> None:
        super().build()
        self.never = nn.Linear(2, 2)


class Normed(_Seeded, TTBasicModel):
    """A network with batch norm, whose buffers differ from rank to rank."""

    def build(self) -> None:
        self.net = nn.Sequential(nn.Linear(FEATURES, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))

    def forward(self, inputs: torch.Tensor) -> Any:
        """Map ``(N, 3)`` to ``(N, 1)``."""
        return self.net(inputs)


class _Informing:
    """Adds metadata of every kind to the predictions; the first input of a row is its number."""

    def get_predictions(self: Any, batch_data: Any, device: Any) -> Any:
        inputs, targets = batch_data
        numbers = [round(float(row[0])) for row in inputs]
        counts = [number % 3 for number in numbers]
        metadata = {
            "names": [f"row {number}" for number in numbers],
            "array": np.array(numbers) * 10,
            "tensor": torch.tensor(numbers)[:, None].repeat(1, 2),
            # As many as nothing for some batches.
            "uneven": torch.tensor([float(number) for number, count in zip(numbers, counts, strict=True)] * counts[0]),
        }
        return self(inputs.to(device)), targets, metadata


class Informed(_Informing, Normed):
    """Batch norm, and dropout after it; predictions come with metadata."""

    def build(self) -> None:
        super().build()
        self.drop = nn.Dropout(0.5)

    def forward(self, inputs: torch.Tensor) -> Any:
        """Map ``(N, 3)`` to ``(N, 1)``."""
        return self.drop(super().forward(inputs / 10))


class _Encoding(_Seeded, TTBasicModel):
    """Half of :class:`Parts`, so that there is something to call with ``super()``."""

    def build(self) -> None:
        self.encoder, self.drop, self.head = nn.Linear(FEATURES, 4), nn.Dropout(0.25), nn.Linear(4, 1)

    def forward(self, inputs: torch.Tensor) -> Any:
        """Map ``(N, 3)`` to ``(N, 1)``."""
        return self.head(self.drop(self.encoder(inputs)))

    @staticmethod
    def size(values: torch.Tensor) -> Any:
        """Return the mean square."""
        return values.pow(2).mean()

    def penalty(self, inputs: torch.Tensor) -> Any:
        """Go by a submodule: the old wrapper, which was ``self`` here, had none."""
        return 0.1 * self.size(self.encoder(inputs))


class Parts(_Encoding):
    """Its loss calls ``super()``, a submodule, a static method, and ``self.module`` as code for the old wrapper did."""

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        """Return the loss of the predictions, of the encoder, and of the head."""
        loss = super().get_loss(batch_data, criterion, device) + self.penalty(batch_data[0])
        module: Any = self.module
        return loss + 0.01 * self.size(module.head.weight)

    def get_loss_eval(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        """Return the loss of the predictions alone."""
        return super().get_loss(batch_data, criterion, device)


class _TwoLosses(_Seeded, TTModel):
    """A loss for each of two optimizers."""

    first: nn.Module
    second: nn.Module

    def losses(self, inputs: torch.Tensor, targets: torch.Tensor, criterion: Any) -> dict[str, Any]:
        """Return the losses by name."""
        return {"a": criterion(self.first(inputs), targets), "b": criterion(self.second(inputs), 2 * targets)}

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        """Return both."""
        inputs, targets = batch_data
        return MultiLoss(self.losses(inputs, targets, criterion))

    def get_predictions(self, batch_data: Any, device: Any) -> Any:
        """Return the first network's predictions."""
        return self.first(batch_data[0]), batch_data[1], {}


class Disjoint(_TwoLosses):
    """Two networks that share nothing, one with dropout."""

    def build(self) -> None:
        self.first = nn.Linear(FEATURES, 1)
        self.second = nn.Sequential(nn.Linear(FEATURES, 4), nn.Dropout(0.5), nn.Linear(4, 1))


class SharedTrunk(_TwoLosses):
    """Two heads; the trunk belongs to the second optimizer."""

    def build(self) -> None:
        self.trunk, self.first, self.second = nn.Linear(FEATURES, 2), nn.Linear(2, 1), nn.Linear(2, 1)

    def losses(self, inputs: torch.Tensor, targets: torch.Tensor, criterion: Any) -> dict[str, Any]:
        """Return the losses by name."""
        hidden = torch.tanh(self.trunk(inputs))
        return super().losses(hidden, targets, criterion)

    def get_predictions(self, batch_data: Any, device: Any) -> Any:
        """Return the first head's predictions."""
        return self.first(torch.tanh(self.trunk(batch_data[0]))), batch_data[1], {}


def plain() -> nn.Module:
    """Make a module that knows nothing of losses."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(FEATURES, 4), nn.Dropout(0.5), nn.Linear(4, 1))


class Feed(AbstractModelFeedDefinition):
    """Feeds such a module."""

    def get_loss(self, model: Any, batch_data: Any, criterion: Any, device: Any) -> Any:
        """Return the loss."""
        return criterion(model(batch_data[0].to(device)), batch_data[1].to(device))

    def get_predictions(self, model: Any, batch_data: Any, device: Any) -> Any:
        """Return the predictions."""
        return model(batch_data[0].to(device)), batch_data[1], {}
