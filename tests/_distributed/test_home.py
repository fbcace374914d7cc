"""What comes home from a worker: state for objects that the caller may hold, and nothing that belongs to the worker."""

import pickle
import threading
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from compat import AbstractCallback, TrainLoop
from compat._distributed import home
from compat._distributed.luggage import pack
from compat.schedulers.basic import StepLRScheduler
from tests.toys import Linear


class Tool:
    """What a callback keeps, and its user as well."""

    def __init__(self) -> None:
        """Start empty."""
        self.results: dict[str, list[float]] = {}
        self.owner: Any = None


class Keeper(AbstractCallback):
    """Keeps things of every kind."""

    def __init__(self, rank: int | None = None) -> None:
        """Start empty."""
        super().__init__("keeper", device_idx_execution=rank)
        self.seen: list[int] = []
        self.tool = Tool()
        self.weight: Any = None
        self.lock: Any = None
        self.part: Any = None
        self.count = 0

    def on_epoch_end(self) -> None:
        """Have a hook."""
        self.count += 1


def make(*callbacks: Keeper) -> tuple[TrainLoop, tuple[Any, ...]]:
    """Return a loop as a parent has it, and the arguments of its fit."""
    torch.manual_seed(0)
    model = Linear()
    data = DataLoader(TensorDataset(torch.randn(6, 3), torch.randn(6, 1)), batch_size=2)
    loop = TrainLoop(
        model, data, data, None, torch.optim.Adam(model.parameters()), nn.MSELoss(), quirks={"Q01": "kept"}
    )
    return loop, ({}, 2, 0, list(callbacks), 1, None)


def sent(loop: TrainLoop, arguments: tuple[Any, ...]) -> tuple[TrainLoop, list[Any]]:
    """Return the copies of a loop and its callbacks that a worker gets."""
    copied, theirs = pack((loop, arguments)).unpack()
    return copied, home.callbacks_of(copied, theirs)


def train(loop: TrainLoop, callbacks: list[Any]) -> None:
    """Train as a worker does, but alone."""
    loop._train(2, 0, callbacks)


def test_the_parents_own_objects_get_the_state_of_the_workers() -> None:
    keeper = Keeper()
    loop, arguments = make(keeper)
    model, optimizer, history = loop.model, loop.optimizer, loop.train_history
    worker, callbacks = sent(loop, arguments)
    train(worker, callbacks)
    home.take_home(loop, [keeper], {0: home.pack(worker, callbacks, 0, 0)})
    assert (loop.model, loop.optimizer, loop.train_history) == (model, optimizer, history)
    for name, value in worker.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)
    assert optimizer.state_dict()["state"][0]["step"] == 6
    assert history["loss"] == worker.train_history["loss"]
    assert len(history["loss"]) == 2
    assert (loop.epoch, loop.total_iteration_idx, loop.iteration) == (1, 5, 2)
    assert loop.callbacks == [keeper]
    assert keeper.train_loop_obj is loop
    assert keeper.count == 2


def test_what_the_caller_holds_is_filled_and_not_replaced() -> None:
    keeper = Keeper()
    seen, tool, results = keeper.seen, keeper.tool, keeper.tool.results
    loop, arguments = make(keeper)
    worker, (copied,) = sent(loop, arguments)
    train(worker, [copied])
    copied.seen += [1, 2]
    copied.tool.results["accuracy"] = [0.5]
    copied.tool.owner = copied
    home.take_home(loop, [keeper], {0: home.pack(worker, [copied], 0, 0)})
    assert keeper.seen is seen
    assert seen == [1, 2]
    assert keeper.tool is tool
    assert tool.results is results
    assert results == {"accuracy": [0.5]}
    assert tool.owner is keeper


def test_things_that_the_parent_has_come_home_as_the_parents() -> None:
    keeper = Keeper()
    loop, arguments = make(keeper)
    worker, (copied,) = sent(loop, arguments)
    train(worker, [copied])
    copied.weight = worker.model.layer.weight
    copied.part = [worker.optimizer, worker.model, worker.validation_loader, worker.train_history]
    home.take_home(loop, [keeper], {0: home.pack(worker, [copied], 0, 0)})
    assert keeper.weight is loop.model.layer.weight
    assert keeper.part == [loop.optimizer, loop.model, loop.validation_loader, loop.train_history]


def test_what_cannot_be_pickled_stays_as_it_was() -> None:
    keeper = Keeper()
    loop, arguments = make(keeper)
    worker, (copied,) = sent(loop, arguments)
    train(worker, [copied])
    copied.lock = threading.Lock()
    copied.part = DataLoader(TensorDataset(torch.zeros(1)))
    parcel = home.pack(worker, [copied], 0, 0)
    keeper.lock = "the parent's"
    home.take_home(loop, [keeper], {0: parcel})
    assert keeper.lock == "the parent's"
    assert keeper.part is None
    assert keeper.count == 2


def test_a_callback_of_one_rank_brings_the_state_that_it_has_there() -> None:
    keepers = [Keeper(), Keeper(rank=0), Keeper(rank=1)]
    loop, arguments = make(*keepers)
    parcels = {}
    for rank in (0, 1):
        worker, callbacks = sent(loop, arguments)
        train(worker, callbacks)
        for callback in callbacks:
            callback.seen.append(rank)
        parcels[rank] = home.pack(worker, callbacks, rank, rank)
    home.take_home(loop, keepers, parcels)
    assert [keeper.seen for keeper in keepers] == [[0], [0], [1]]
    assert loop.callbacks == keepers


def test_a_scheduler_goes_on_where_the_worker_left_it() -> None:
    scheduler = StepLRScheduler(step_size=1, gamma=0.5)
    loop, _ = make()
    arguments: tuple[Any, ...] = ({}, 2, 0, [scheduler], 1, None)
    rate = loop.optimizer.param_groups[0]["lr"]
    worker, callbacks = sent(loop, arguments)
    train(worker, callbacks)
    home.take_home(loop, [scheduler], {0: home.pack(worker, callbacks, 0, 0)})
    assert loop.optimizer.param_groups[0]["lr"] == pytest.approx(rate / 4)
    assert scheduler.scheduler.optimizer is loop.optimizer
    loop._train(3, 0)
    # Quirk Q01: the last epoch runs again.
    assert loop.optimizer.param_groups[0]["lr"] == pytest.approx(rate / 16)


def test_the_first_worker_of_a_machine_alone_brings_the_whole() -> None:
    loop, arguments = make(Keeper(), Keeper(rank=1))
    worker, callbacks = sent(loop, arguments)
    train(worker, callbacks)
    first, second = (pickle.loads(home.pack(worker, callbacks, rank, rank)) for rank in (0, 1))
    assert ("model" in first, "model" in second) == (True, False)
    assert (list(first["callbacks"]), list(second["callbacks"])) == ([0], [1])
