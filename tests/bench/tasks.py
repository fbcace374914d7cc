"""The same training task written four times: a bare loop, this package, the old library, and a Lightning module."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

__all__ = ["MODELS", "RUNNERS", "Task", "make_task", "old_style_loop", "timed"]


@dataclass
class Task:
    """A model, its data and its optimizer, made anew for each run.

    Attributes:
        network: Maps ``(N, F)`` or ``(N, 1, 8, 8)`` to ``(N, 10)``.
        loader: The training batches.
        optimizer: Over the network's parameters.
    """

    network: nn.Module
    loader: DataLoader[Any]
    optimizer: torch.optim.Optimizer


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def _cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 10),
    )


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "tiny MLP": (_mlp, (64,)),
    "small CNN": (_cnn, (1, 8, 8)),
}


def make_task(model: str, batches: int, batch_size: int = 16) -> Task:
    """Make a task from a fixed seed.

    Args:
        model: A key of ``MODELS``.
        batches: Batches of an epoch.
        batch_size: Samples of a batch.
    """
    torch.manual_seed(0)
    build, shape = MODELS[model]
    network = build()
    data = TensorDataset(torch.randn(batches * batch_size, *shape), torch.randint(10, (batches * batch_size,)))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    return Task(network, DataLoader(data, batch_size=batch_size), optimizer)


class Network(nn.Module):
    """The model as a user writes one: a module with a ``forward``."""

    def __init__(self, network: nn.Module) -> None:
        """Hold the layers."""
        super().__init__()
        self.network = network

    def forward(self, inputs: torch.Tensor) -> Any:
        """Return the logits, ``(N, 10)``."""
        return self.network(inputs)


def timed(run: Callable[[], Any]) -> float:
    """Return the seconds that a call takes.

    Args:
        run: What to call.
    """
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def bare(task: Task, epochs: int) -> float:
    """Train with a loop of five lines that forgets its losses; return seconds."""
    criterion, device = nn.CrossEntropyLoss(), torch.device("cpu")
    network = Network(task.network).train()

    def run() -> None:
        for _ in range(epochs):
            for inputs, targets in task.loader:
                loss = criterion(network(inputs.to(device)), targets.to(device))
                loss.backward()
                task.optimizer.step()
                task.optimizer.zero_grad()

    return timed(run)


def bare_with_losses(task: Task, epochs: int) -> float:
    """Train with the bare loop, and keep what a history needs: the mean loss of each epoch; return seconds."""
    criterion, device = nn.CrossEntropyLoss(), torch.device("cpu")
    network = Network(task.network).train()
    history = []

    def run() -> None:
        for _ in range(epochs):
            losses = []
            for inputs, targets in task.loader:
                loss = criterion(network(inputs.to(device)), targets.to(device))
                losses.append(loss.detach())
                loss.backward()
                task.optimizer.step()
                task.optimizer.zero_grad()
            history.append(torch.stack(losses).double().mean().item())

    return timed(run)


def old_style_loop(task: Task, basic_model: type, train_loop: type, **options: Any) -> Any:
    """Make a loop as a user of the old library writes it.

    Args:
        task: What to train.
        basic_model: ``TTBasicModel`` of one of the two libraries.
        train_loop: ``TrainLoop`` of the same one.
        options: Further arguments of the loop.
    """

    class Model(basic_model):  # type: ignore[misc]  # the base comes from one of two libraries
        def __init__(self) -> None:
            super().__init__()
            self.network = task.network

        def forward(self, inputs: torch.Tensor) -> Any:
            return self.network(inputs)

    criterion = nn.CrossEntropyLoss()
    return train_loop(Model(), task.loader, None, None, task.optimizer, criterion, end_auto_eval=False, **options)


def _old_style(task: Task, epochs: int, basic_model: type, train_loop: type) -> float:
    loop = old_style_loop(task, basic_model, train_loop)
    return timed(lambda: loop.fit(num_epochs=epochs))


def this_package(task: Task, epochs: int) -> float:
    """Train with ``compat.TrainLoop``; return seconds."""
    from compat import TrainLoop, TTBasicModel

    return _old_style(task, epochs, TTBasicModel, TrainLoop)


def old_library(task: Task, epochs: int) -> float:
    """Train with the old library's ``TrainLoop``; return seconds."""
    from aitoolbox.torchtrain.model import TTBasicModel  # type: ignore[import-not-found]  # only in its own environment
    from aitoolbox.torchtrain.train_loop import TrainLoop  # type: ignore[import-not-found]  # likewise

    return _old_style(task, epochs, TTBasicModel, TrainLoop)


def lightning(task: Task, epochs: int) -> float:
    """Train a plain LightningModule with everything that costs switched off; return seconds."""
    from lightning.pytorch import LightningModule, Trainer

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = Network(task.network)
            self.criterion = nn.CrossEntropyLoss()

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            inputs, targets = batch
            return self.criterion(self.network(inputs), targets)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return task.optimizer

    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    return timed(lambda: trainer.fit(Module(), task.loader))


RUNNERS: dict[str, Callable[[Task, int], float]] = {
    "bare loop": bare,
    "bare, mean loss": bare_with_losses,
    "this package": this_package,
    "old library": old_library,
    "plain Lightning": lightning,
}
