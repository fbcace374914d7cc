"""Models whose gradients test_gradients.py averages, and what the processes do with them."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from compat import MultiLoss, TTModel
from compat._distributed.gradients import (
    Door,
    after_backward,
    check_drift,
    checksums,
    share_buffers,
    unwrapped,
    wrapped,
)
from compat.exceptions import DriftError

ROWS = 8


def data(rank: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return this rank's part of the data; all parts together make a whole batch."""
    x = torch.linspace(-1, 1, ROWS * 3).reshape(ROWS, 3)
    return x[rank::size], x.sum(dim=1, keepdim=True)[rank::size] ** 2


class Net(TTModel):
    """Takes its loss from submodules, so that its own forward is never called."""

    def __init__(self) -> None:
        """Start from fixed weights."""
        super().__init__()
        torch.manual_seed(5)
        self.first, self.second, self.branch = nn.Linear(3, 2), nn.Linear(2, 1), nn.Linear(3, 1)

    def forward(self, x: torch.Tensor) -> Any:
        """Map ``(N, 3)`` to ``(N, 1)``."""
        return self.second(torch.tanh(self.first(x)))

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        """Call no more than submodules."""
        x, y = batch_data
        return (self.second(torch.tanh(self.first(x))) + self.branch(x) - y).square().mean()

    def get_predictions(self, batch_data: Any, device: Any) -> Any:
        """Return the outputs."""
        return self(batch_data[0]), batch_data[1], {}


class Twice(Net):
    """Has two losses: over the same layers, and over layers of their own."""

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        """Share the first layer, and leave the branch to the second loss."""
        x, y = batch_data
        hidden = torch.tanh(self.first(x))
        return MultiLoss(
            {"a": (self.second(hidden) - y).square().mean(), "b": (hidden.sum() + self.branch(x) - y).abs().mean()}
        )


class Odd(Twice):
    """Takes its branch in one process only."""

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        """Leave the branch out on odd ranks."""
        x, y = batch_data
        losses = super().get_loss(batch_data, criterion, device)
        if torch.distributed.get_rank() % 2:
            losses.loss_dict["b"] = (torch.tanh(self.first(x)).sum() - y).abs().mean()
        return losses


def as_loop(model: Any, size: int) -> Any:
    """Return what of a loop is looked at after a backward pass."""
    return SimpleNamespace(
        model=model, _compat=SimpleNamespace(ranks=SimpleNamespace(size=size), foreign_parameters=[])
    )


def gradients(model: nn.Module) -> dict[str, torch.Tensor | None]:
    """Return copies of a model's gradients."""
    return {
        name: None if parameter.grad is None else parameter.grad.clone() for name, parameter in model.named_parameters()
    }


def backward(model: Any, batch: Any, size: int) -> None:
    """Do what a loop does with the loss of a batch."""
    loss = model.get_loss(batch, None, torch.device("cpu"))
    if not isinstance(loss, MultiLoss):
        loss.backward()
        after_backward(as_loop(model, size))
        return
    for index, name in enumerate(loss.keys()):
        loss[name].backward(retain_graph=index == 0)
        after_backward(as_loop(model, size))


def averaged(make: Callable[[], Net], rank: int, size: int, **ddp: Any) -> list[dict[str, torch.Tensor | None]]:
    """Return the gradients of three batches in a row, cleared in between."""
    model: Any = wrapped(make(), ddp)
    seen = []
    for _ in range(3):
        model.zero_grad()
        backward(model, data(rank, size), size)
        seen.append(gradients(unwrapped(model)))
    return seen


def _drift(rank: int) -> str:
    model = Net()
    with torch.no_grad():
        model.branch.bias.add_(rank * 1e-7)
    everyone: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(everyone, checksums(model.parameters()))
    names = [name for name, _ in model.named_parameters()]
    try:
        check_drift(names, everyone)
    except DriftError as error:
        return str(error)
    return ""


def _same() -> bool:
    model = Net()
    with torch.no_grad():
        model.first.bias[0] = float("nan")
    everyone: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(everyone, checksums(model.parameters()))
    check_drift([name for name, _ in model.named_parameters()], everyone)
    return True


def _buffers(rank: int) -> dict[str, Any]:
    model: Any = nn.Sequential(nn.BatchNorm1d(2))
    model.register_buffer("mask", torch.tensor([rank == 0, rank > 0]))
    model(torch.full((3, 2), float(rank + 1)))
    share_buffers(model)
    return {name: buffer.tolist() for name, buffer in model.named_buffers()}


def _alone_without_gradients(rank: int, size: int) -> bool:
    """Evaluate a different number of batches on each rank: exchanged buffers would pair up wrongly, or hang."""
    model: Any = wrapped(Net(), {})
    with torch.no_grad():
        for _ in range(rank):
            model(data(rank, size)[0])
            model.get_predictions(data(rank, size), None)
    backward(model, data(rank, size), size)
    return True


class Counting(Net):
    """Sets its buffer anew, as queues and running centers are."""

    def __init__(self) -> None:
        """Start at 0."""
        super().__init__()
        self.register_buffer("count", torch.zeros(()))

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        """Count."""
        self.count: Any = self.count + 1
        return super().get_loss(batch_data, criterion, device)


def _buffer(rank: int, size: int) -> float:
    model = wrapped(Counting(), {})
    backward(model, data(rank, size), size)
    count: Any = unwrapped(model).count
    return float(count)


def _plain(rank: int, size: int) -> list[dict[str, torch.Tensor | None]]:
    """Return the gradients under torch's own wrapper, of the loss that is computed outside of it."""
    x, y = data(rank, size)
    model = Net()
    parallel = DistributedDataParallel(model)
    ((parallel(x) + 0 * model.branch(x)) - y).square().mean().backward()
    theirs = gradients(model)
    model = Net()
    ours = wrapped(model, {})
    ((ours(x) + 0 * model.branch(x)) - y).square().mean().backward()
    return [theirs, gradients(model)]


def everything(rank: int, size: int) -> dict[str, Any]:
    """Do everything once."""
    door = Door(Net())
    module = Net()
    return {
        "one loss": averaged(Net, rank, size),
        "several losses": averaged(Twice, rank, size),
        "several losses, unused found": averaged(Twice, rank, size, find_unused_parameters=True),
        "a branch of one rank": averaged(Odd, rank, size),
        "drift": _drift(rank),
        "no drift": _same(),
        "buffers": _buffers(rank),
        "alone": _alone_without_gradients(rank, size),
        "buffer set anew": _buffer(rank, size),
        "plain": _plain(rank, size),
        "through": door.through(lambda model: model.second.bias.sum(), door.module).item(),
        "keys": list(wrapped(module, {"device_ids": None}).state_dict())
        == [f"module.{key}" for key in module.state_dict()],
    }
