"""Tiny models, loaders and callbacks that several tests share."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from compat import AbstractCallback, FunctionOnTrainLoop, MultiLoss, TrainLoop, TTBasicModel, TTModel

FEATURES = 3


class Linear(TTBasicModel):
    """One linear layer, ``(N, 3) -> (N, 1)``."""

    def __init__(self) -> None:
        """Start from a fixed seed, whatever the global generator holds."""
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layer = nn.Linear(FEATURES, 1)

    def forward(self, inputs: torch.Tensor) -> Any:
        """Map ``(N, 3)`` to ``(N, 1)``."""
        return self.layer(inputs)


class TwoHeads(TTModel):
    """Two linear heads over a shared trunk of one layer; the losses are named ``b`` and ``a``, in that order."""

    def __init__(self) -> None:
        """Start from a fixed seed."""
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.trunk, self.a, self.b = nn.Linear(FEATURES, 2), nn.Linear(2, 1), nn.Linear(2, 1)

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> MultiLoss:
        """Return one loss a head."""
        inputs, targets = batch_data
        hidden = self.trunk(inputs)
        return MultiLoss({"b": criterion(self.b(hidden), 2 * targets), "a": criterion(self.a(hidden), targets)})

    def get_predictions(self, batch_data: Any, device: Any) -> tuple[Any, Any, dict[str, Any]]:
        """Return the first head's predictions."""
        inputs, targets = batch_data
        return self.a(self.trunk(inputs)), targets, {}


def batches(count: int = 3, size: int = 2) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Make batches ``(size, 3)`` and ``(size, 1)`` from a fixed seed."""
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(size, FEATURES, generator=generator), torch.randn(size, 1, generator=generator))
        for _ in range(count)
    ]


def data_loader(samples: int = 6, size: int = 2, **options: Any) -> DataLoader[Any]:
    """Make a loader over the samples of :func:`batches`."""
    inputs, targets = batches(1, samples)[0]
    return DataLoader(TensorDataset(inputs, targets), batch_size=size, **options)


def make_loop(model: Any = None, train: Any = None, optimizer: Any = None, **options: Any) -> TrainLoop:
    """Make a loop over :func:`batches` with SGD and a mean squared error."""
    model = model if model is not None else Linear()
    train = train if train is not None else batches()
    if optimizer is None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    validation, test = options.pop("validation", None), options.pop("test", None)
    return TrainLoop(model, train, validation, test, optimizer, options.pop("criterion", nn.MSELoss()), **options)


class Recorder(AbstractCallback):
    """Notes every hook with the loop's counters."""

    def __init__(self) -> None:
        """Start with nothing noted."""
        super().__init__("recorder")
        self.events: list[tuple[str, int, int, int]] = []

    def note(self, event: str) -> None:
        """Note an event."""
        loop: Any = self.train_loop_obj
        self.events.append((event, loop.epoch, loop.iteration, loop.total_iteration_idx))

    def names(self) -> list[str]:
        """Return the events' names."""
        return [event[0] for event in self.events]

    def on_train_loop_registration(self) -> None:
        """Note."""
        self.note("registration")

    def on_train_begin(self) -> None:
        """Note."""
        self.note("train_begin")

    def on_train_end(self) -> None:
        """Note."""
        self.note("train_end")

    def on_epoch_begin(self) -> None:
        """Note."""
        self.note("epoch_begin")

    def on_epoch_end(self) -> None:
        """Note."""
        self.note("epoch_end")

    def on_batch_begin(self) -> None:
        """Note."""
        self.note("batch_begin")

    def on_batch_end(self) -> None:
        """Note."""
        self.note("batch_end")


class GradientRecorder(Recorder):
    """Notes the gradient hooks too."""

    def on_train_loop_registration(self) -> None:
        """Note, and ask for the gradient hooks."""
        loop: Any = self.train_loop_obj
        loop.grad_cb_used = True
        super().on_train_loop_registration()

    def on_after_gradient_update(self, optimizer_idx: int) -> None:
        """Note with the optimizer's index."""
        self.note(f"gradient_{optimizer_idx}")

    def on_after_optimizer_step(self) -> None:
        """Note."""
        self.note("step")


def on(hook: str, act: Callable[[Any], Any]) -> FunctionOnTrainLoop:
    """Make a callback that acts on the loop in one hook."""
    return FunctionOnTrainLoop(act, **{hook: True})
