"""Programs that do what few do, each as one process trains it and as two do: ``python -m tests.ddp.odd FOLDER``.

Two processes get the halves of each batch, so that the average of their gradients is the gradient of the whole one.
"""

import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from compat import (
    AbstractCallback,
    AbstractModelFeedDefinition,
    DDPHandler,
    ModelWrap,
    MultiLoss,
    MultiOptimizer,
    TrainLoop,
    TTDistributedDataParallel,
    TTModel,
)
from compat._distributed.gradients import unwrapped

__all__ = ["CASES", "train"]

KEPT = {"Q58": "kept"}


class Net(TTModel):
    """Two layers, ``(N, 3) -> (N, 1)``, and a buffer."""

    def __init__(self) -> None:
        """Start from fixed weights."""
        super().__init__()
        torch.manual_seed(3)
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 1)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> Any:
        """Map ``(N, 3)`` to ``(N, 1)``."""
        return self.second(torch.tanh(self.first(x)))

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        """Count the batches in a buffer that is set anew each time."""
        counted: torch.Tensor = self._buffers["seen"]  # type: ignore[assignment]  # it is there
        self.seen = counted + 1
        return criterion(self(batch_data[0]), batch_data[1])

    def get_predictions(self, batch_data: Any, device: Any) -> Any:
        """Return the outputs."""
        return self(batch_data[0]), batch_data[1], {}


class TwoLosses(Net):
    """A second loss, over words whose gradients are sparse."""

    def __init__(self) -> None:
        """Add the words."""
        super().__init__()
        self.words = nn.Embedding(5, 1, sparse=True)

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        """Return both."""
        x, y = batch_data
        words = self.words((x[:, :1] > 0).long()).squeeze(-1)
        return MultiLoss({"a": criterion(self(x), y), "b": (words - y).square().mean()})


class Learned(nn.Module):
    """A criterion with a weight that the optimizer steps on."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Weigh the squared error."""
        return (predictions - targets).square().mean() * torch.exp(-self.scale) + self.scale


class Hook(AbstractCallback):
    """Does something to the loop at the start of an epoch.

    Args:
        number: The epoch.
        change: What it does.
        rank: Where it runs.
    """

    def __init__(self, number: int, change: Callable[[Any], None], rank: int | None = None) -> None:
        super().__init__("hook", device_idx_execution=rank)
        self.number, self.change = number, change

    def on_epoch_begin(self) -> None:
        """Do it."""
        if self.train_loop_obj.epoch == self.number:
            self.change(self.train_loop_obj)


def thaw(loop: Any) -> None:
    unwrapped(loop.model).first.requires_grad_(True)


def freeze(loop: Any) -> None:
    unwrapped(loop.model).first.requires_grad_(False)


def add(loop: Any) -> None:
    model = unwrapped(loop.model)
    model.second.bias = None
    model.second.register_parameter("bias", nn.Parameter(torch.full((1,), 0.5)))
    loop.optimizer.add_param_group({"params": [model.second.bias], "lr": 0.2})


def swap(loop: Any) -> None:
    loop.model = Net()
    loop.optimizer = torch.optim.SGD(loop.model.parameters(), lr=0.1)


def look(loop: Any) -> None:
    """Call the model with gradients, as a callback does that forgets ``no_grad``."""
    loop.model(torch.ones(2, 3))


class OwnLoss(TrainLoop):
    """Asks the feed definition itself, as the old loop does."""

    def _calculate_batch_loss(self, batch_data: Any) -> Any:
        loss = self.batch_model_feed_def.get_loss(self.model, batch_data, self.criterion, self.device)
        self.loss_batch_accum.append(loss.detach())
        return loss / self.grad_accumulation


class Feed(AbstractModelFeedDefinition):
    """Two losses of a plain module."""

    def get_loss(self, model: Any, batch_data: Any, criterion: Any, device: Any) -> Any:
        """Let the losses share the model."""
        output = model(batch_data[0])
        return MultiLoss({"a": criterion(output[:, :1], batch_data[1]), "b": output[:, 1:].square().mean()})

    def get_predictions(self, model: Any, batch_data: Any, device: Any) -> Any:
        """Return the outputs."""
        return model(batch_data[0]), batch_data[1], {}


class CopiedSpawn(TrainLoop):
    """Prepares each process by itself, as programs did that wanted another seed than 0."""

    def _spawn_fit(
        self,
        gpu: int,
        ddp_args: dict[str, Any],
        num_epochs: int,
        num_iterations: int,
        callbacks: Any,
        grad_accumulation: int,
        in_process_data_load: Any,
    ) -> None:
        self.ddp_rank = ddp_args["node_rank"] * ddp_args["num_gpus"] + gpu
        if not dist.is_initialized():
            dist.init_process_group(ddp_args["backend"], rank=self.ddp_rank, world_size=ddp_args["world_size"])
        torch.manual_seed(1234)
        self.callbacks_handler.mp_filter_callbacks()
        self.callbacks_handler.register_callbacks(callbacks)
        self.callbacks_handler.execute_multiprocess_start()
        self.ddp_handler = DDPHandler(self)
        self.ddp_handler.add_distributed_samplers(ddp_args["world_size"], self.ddp_rank)
        self.model = TTDistributedDataParallel(self.model, **ddp_args["ddp_model_args"])
        self._train(num_epochs, num_iterations, callbacks=None, grad_accumulation=grad_accumulation)


class OldArguments(TrainLoop):
    """Calls ``_spawn_fit`` with what the old library gave it."""

    def _spawn_fit(self, gpu: int, ddp_args: dict[str, Any], *others: Any) -> None:
        old = {name: value for name, value in ddp_args.items() if name not in ("timeout", "seed")}
        super()._spawn_fit(gpu, old, *others)


def sgd(model: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1)


def batches(halves: bool) -> list[Any]:
    torch.manual_seed(9)
    whole = [(torch.randn(4, 3), torch.randn(4, 1)) for _ in range(3)]
    if not halves:
        return whole
    return [(x[part], y[part]) for x, y in whole for part in (slice(0, 2), slice(2, 4))]


class Case:
    """A program.

    Args:
        change: What a hook does at the start of the second epoch.
        rank: Where that hook runs under ddp.
        model: Makes the model.
        optimizer: Makes the optimizer of model and criterion.
        criterion: Makes the criterion.
        loop: The class of the loop.
        frozen: Whether the first layer is frozen at the start.
    """

    def __init__(
        self,
        change: Callable[[Any], None] | None = None,
        *,
        rank: int | None = None,
        model: Callable[[], Any] = Net,
        optimizer: Callable[[Any, Any], Any] = lambda model, criterion: sgd(model),
        criterion: Callable[[], Any] = nn.MSELoss,
        loop: type[TrainLoop] = TrainLoop,
        frozen: bool = False,
    ) -> None:
        self.change, self.rank, self.model, self.optimizer = change, rank, model, optimizer
        self.criterion, self.loop, self.frozen = criterion, loop, frozen


def _by_layer(model: Any, _: Any) -> MultiOptimizer:
    return MultiOptimizer([sgd(nn.ModuleList([model.first, model.second])), sgd(model.words)])


def _by_output(model: Any, _: Any) -> MultiOptimizer:
    return MultiOptimizer([torch.optim.SGD([model[0].bias], lr=0.1), torch.optim.SGD([model[0].weight], lr=0.1)])


def _wrap() -> ModelWrap:
    torch.manual_seed(4)
    return ModelWrap(nn.Sequential(nn.Linear(3, 2)), Feed())


def _both(model: Any, criterion: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD([*model.parameters(), *criterion.parameters()], lr=0.1)


CASES = {
    "thawed": Case(thaw, frozen=True),
    "frozen": Case(freeze),
    "a parameter added": Case(add),
    "another model": Case(swap),
    "a criterion that learns": Case(criterion=Learned, optimizer=_both),
    "sparse gradients of several losses": Case(model=TwoLosses, optimizer=_by_layer),
    "several losses of an own verb": Case(model=_wrap, optimizer=_by_output, loop=OwnLoss),
    "one rank looks": Case(look, rank=0),
    "other threads on one rank": Case(lambda loop: torch.set_num_threads(2), rank=1),
    "a copy of _spawn_fit": Case(loop=CopiedSpawn),
    "the old arguments of _spawn_fit": Case(loop=OldArguments),
}


def train(name: str, alone: bool) -> dict[str, Any]:
    """Train a program for two epochs.

    Args:
        name: The program.
        alone: In this process alone.

    Returns:
        The weights, the buffer that counts, the losses, and whether this is the main process.
    """
    torch.set_num_threads(1)
    case = CASES[name]
    given, criterion = case.model(), case.criterion()
    inner: Any = given.model if isinstance(given, ModelWrap) else given
    if case.frozen:
        inner.first.requires_grad_(False)
    data = batches(halves=not alone)
    mode = "single" if alone else "ddp"
    optimizer = case.optimizer(inner, criterion)
    loop = case.loop(given, data, data, None, optimizer, criterion, gpu_mode=mode, quirks=KEPT)
    here = alone and case.rank == 1
    hooks = [] if case.change is None or here else [Hook(1, case.change, None if alone else case.rank)]
    settings: dict[str, Any] = {} if alone else {"on_gpu": False, "backend": "gloo"}
    model: Any = loop.fit(num_epochs=2, callbacks=hooks, **settings)
    torch.set_num_threads(1)
    weights = {key: value.clone() for key, value in model.state_dict().items() if key != "seen"}
    weights.update({f"criterion.{key}": value.clone() for key, value in criterion.state_dict().items()})
    return {"weights": weights, "history": dict(loop.train_history.train_history), "is_main": loop.is_main_process()}


def main(folder: Path) -> None:
    """Train all of them, one after the other in the same processes."""
    seen = {name: train(name, alone=False) for name in CASES}
    (folder / f"odd.{os.environ['RANK']}.pickle").write_bytes(pickle.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
