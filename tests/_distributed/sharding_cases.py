"""What workers do with a model in shards and with one under ``DistributedDataParallel``, and what they see."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from compat import MultiLoss, TTModel
from compat._distributed.sharding import full_state, made_whole, shard
from compat.exceptions import LossError, RefusedError

WORLD = 2
Optimizers = Callable[[Any], torch.optim.Optimizer]


class Base(TTModel):
    """Computes its loss through submodules, and has every kind of parameter."""

    def __init__(self) -> None:
        """Start from a fixed seed. Three rows and one row are cut into unequal parts."""
        super().__init__()
        torch.manual_seed(1)
        self.words = nn.Embedding(7, 5)
        self.hidden = nn.Linear(5, 9, bias=False)
        self.norm = nn.BatchNorm1d(9)
        self.out = nn.Linear(9, 3)
        self.tied = nn.Linear(5, 7, bias=False)
        self.tied.weight = self.words.weight
        self.scale = nn.Parameter(torch.ones(1))
        self.frozen = nn.Linear(2, 2).requires_grad_(False)

    def forward(self, words: torch.Tensor) -> Any:
        """Map ``(N,)`` to ``(N, 3)``."""
        return self.out(torch.relu(self.norm(self.hidden(self.words(words))))) * self.scale

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        """Call the model itself, and touch a parameter beside it."""
        return criterion(self(batch_data[0]), batch_data[1]) + 1e-3 * self.tied.weight.square().mean()

    def get_predictions(self, batch_data: Any, device: Any) -> Any:
        """Return the outputs."""
        return self(batch_data[0]), batch_data[1], {}


class Net(Base):
    """Overrides the loss, and calls the one above."""

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        """Add a term of a submodule alone."""
        return super().get_loss(batch_data, criterion, device) + 1e-2 * self.out(torch.ones(1, 9)).square().mean()


class Through(nn.Module):
    """What a hand-written program does: the loss in the forward of ``DistributedDataParallel``."""

    def __init__(self, model: Any) -> None:
        """Take the model."""
        super().__init__()
        self.model = model

    def forward(self, *arguments: Any) -> Any:
        """Compute the loss."""
        return self.model.get_loss(*arguments)


def batches(rank: int) -> list[Any]:
    """Make batches that are other ones on every rank."""
    generator = torch.Generator().manual_seed(5 + rank)
    return [(torch.randint(0, 7, (6,), generator=generator), torch.randn(6, 3, generator=generator)) for _ in range(6)]


def adamw(model: Any) -> torch.optim.Optimizer:
    """Use two groups."""
    parameters = list(model.parameters())
    groups: list[dict[str, Any]] = [{"params": parameters[:2], "lr": 0.1}, {"params": parameters[2:]}]
    return torch.optim.AdamW(groups, lr=0.01)


def sgd(model: Any) -> torch.optim.Optimizer:
    """Use momentum."""
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


def train(model: Any, optimizer: Any, rank: int, window: int = 1, clip: bool = False) -> list[float]:
    """Train an epoch, and return the norms that the gradients were cut at."""
    norms = []
    for number, batch in enumerate(batches(rank)):
        loss = model.get_loss(batch, nn.MSELoss(), "cpu") / window
        loss.backward()
        if (number + 1) % window == 0:
            if clip:
                norm: Any = nn.utils.clip_grad_norm_(model.parameters(), 0.1)
                norms.append(float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm))
            optimizer.step()
            optimizer.zero_grad()
    return norms


class Reference:
    """``DistributedDataParallel`` with the interface of a model."""

    def __init__(self, model: Any) -> None:
        """Wrap it."""
        self.wrapper = DistributedDataParallel(Through(model))

    def get_loss(self, *arguments: Any) -> Any:
        """Compute the loss in the wrapper's forward."""
        return self.wrapper(*arguments)

    def parameters(self) -> Any:
        """Return the model's parameters."""
        return self.wrapper.parameters()


def copied(state: Any) -> Any:
    """Copy a state dict, so that further training does not change it."""
    return copy.deepcopy(state)


def pair(make: Optimizers) -> tuple[Any, Any, Any, Any]:
    """Return a model in shards and one under ``DistributedDataParallel``, each with its optimizer."""
    ours, theirs = Net(), Net()
    optimizer, other = make(ours), make(theirs)
    return shard(ours, optimizer), optimizer, Reference(theirs), other


def compare(rank: int, make: Optimizers, window: int = 1, clip: bool = False) -> dict[str, Any]:
    """Train both twice, with an end of the sharding in between."""
    door, optimizer, reference, other = pair(make)
    mine, model = door.module, reference.wrapper.module.model
    own = list(mine.parameters())
    norms = [train(door, optimizer, rank, window, clip), train(reference, other, rank, window, clip)]
    kinds = {type(parameter).__name__ for parameter in door.parameters()}
    local = sum(parameter.to_local().numel() for parameter in door.parameters())
    states = [value for entries in optimizer.state.values() for value in entries.values() if value.dim()]
    held = sum(value.to_local().numel() for value in states)
    middle = copied(full_state(door))
    gathered = [copied(mine.state_dict()), copied(model.state_dict())]
    is_own = all(a is b for a, b in zip(mine.parameters(), own, strict=True))
    door.eval(), model.eval()
    with torch.no_grad():
        predictions = [door.get_predictions(batches(0)[0], "cpu")[0], model.get_predictions(batches(0)[0], "cpu")[0]]
    door.train(), model.train()
    train(door, optimizer, rank, window)
    train(reference, other, rank, window)
    door.undo()
    optimizers = [copied(optimizer.state_dict()), copied(other.state_dict())]
    again = shard(mine, optimizer)
    train(again, optimizer, rank, window)
    train(reference, other, rank, window)
    again.undo()
    return {
        "norms": norms,
        "kinds": kinds,
        "local": local,
        "held": held,
        "whole": sum(parameter.numel() for parameter in model.parameters()),
        "of the optimizer": sum(v.numel() for e in other.state.values() for v in e.values() if v.dim()),
        "middle": middle,
        "gathered": gathered,
        "own": is_own,
        "same class": type(mine) is Net,
        "held by the optimizer": {id(p) for g in optimizer.param_groups for p in g["params"]} == set(map(id, own)),
        "predictions": predictions,
        "optimizers": optimizers,
        "end": [copied(mine.state_dict()), copied(model.state_dict())],
        "pickled": equal(pickle.loads(pickle.dumps(mine)).state_dict(), mine.state_dict()),
        "plain": {type(parameter).__name__ for parameter in mine.parameters()},
    }


def changed_in_between(rank: int, freezes: bool) -> dict[str, Any]:
    """Load weights, set a learning rate and perhaps freeze a layer between two epochs, as callbacks do."""
    door, optimizer, reference, other = pair(sgd)
    schedulers = [torch.optim.lr_scheduler.StepLR(each, 1, 0.1) for each in (optimizer, other)]
    model = reference.wrapper.module.model
    train(door, optimizer, rank)
    train(reference, other, rank)
    for each in (door, model):
        # A loss that is looked at and not trained on.
        each.get_loss(batches(rank)[0], nn.MSELoss(), "cpu")
    door.gather()
    for each in (door.module, model):
        each.load_state_dict({**each.state_dict(), "hidden.weight": torch.full((9, 5), 0.25)})
        each.words.requires_grad_(not freezes)
    before = copied(door.module.words.weight)
    for scheduler in schedulers:
        scheduler.step()
    train(door, optimizer, rank)
    # It looks at what is to be trained once, as fully_shard does.
    train(Reference(model), other, rank)
    door.gather()
    return {
        "states": [copied(door.module.state_dict()), copied(model.state_dict())],
        "still": torch.equal(before, door.module.words.weight),
    }


def leftover(rank: int) -> dict[str, Any]:
    """Start with the gradients of an accumulation window that was left open, and leave one open."""
    door, optimizer, reference, other = pair(sgd)
    models = [door.module, reference.wrapper.module.model]
    for model in models:
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, 0.5) if parameter.requires_grad else None
    train(door, optimizer, rank, window=4)
    train(reference, other, rank, window=4)
    door.undo()
    gradients = [[parameter.grad for parameter in model.parameters()] for model in models]
    return {"states": [copied(model.state_dict()) for model in models], "gradients": copied(gradients)}


def mistakes(rank: int) -> dict[str, Any]:
    """Note the errors of what is not to be done."""
    errors: dict[str, Any] = {}
    door, optimizer, _, _ = pair(sgd)
    train(door, optimizer, rank)
    try:
        # Not through the wrapper.
        door.module.get_loss(batches(rank)[0], nn.MSELoss(), "cpu")
    except RuntimeError as error:
        errors["bare"] = str(error)
    plain = nn.Linear(3, 1)
    plain.weight.data.fill_(float(rank))
    held = plain.weight
    other = shard(plain, torch.optim.SGD(plain.parameters(), lr=0.1))
    first = plain.weight.tolist()
    try:
        other.through(lambda: MultiLoss({"a": plain(torch.ones(1, 3)).sum()}))
    except LossError as error:
        errors["several"] = str(error)
    try:
        made_whole(other, alone=True)
    except RefusedError as error:
        errors["alone"] = str(error)
    errors["held"] = bool(held.isnan().all()) and held.shape == (1, 3)
    made_whole(other)
    errors["whole"] = made_whole(other, alone=True) is plain and other.is_whole
    errors["first"] = [first, held.tolist()]
    twin = pickle.loads(pickle.dumps(other))
    errors["twin"] = torch.equal(twin.module.weight, plain.weight)
    return errors


def by_feed(rank: int) -> list[Any]:
    """Train a plain module through a feed definition's function, and by its own forward."""
    ways = []
    for call in ("through", "forward"):
        torch.manual_seed(3)
        model = nn.Linear(3, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        door = shard(model, optimizer)
        inputs = torch.full((4, 3), rank + 1.0)
        loss = (
            door.through(lambda m, x: m.weight.square().sum() + m(x).sum(), model, inputs)
            if (call == "through")
            else door(inputs).sum()
        )
        loss.backward()
        optimizer.step()
        door.undo()
        ways.append((type(door).__name__, model.weight.tolist()))
    return ways


def worker(rank: int, folder: str) -> None:
    """Do it all, and save what was seen."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD)
    seen = {
        "sgd": compare(rank, sgd),
        "adamw": compare(rank, adamw),
        "clipped": compare(rank, sgd, clip=True),
        "window": compare(rank, sgd, window=2),
        "loaded": changed_in_between(rank, freezes=False),
        "frozen": changed_in_between(rank, freezes=True),
        "leftover": leftover(rank),
        "mistakes": mistakes(rank),
        "feed": by_feed(rank),
    }
    torch.save(seen, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def equal(first: Any, second: Any, exactly: bool = True) -> bool:
    """Compare nested values, tensors among them; without buffers, which are each rank's own."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second) if exactly else torch.allclose(first, second, rtol=1e-5, atol=1e-6)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key], exactly) for key in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(equal(a, b, exactly) for a, b in zip(first, second, strict=True))
    return bool(first == second)
