"""What comes home from a worker: state for objects that the caller may hold, and nothing that belongs to the worker."""

import threading
from typing import Any

import numpy as np
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
        model,
        data,
        data,
        None,
        torch.optim.Adam(model.parameters()),
        nn.MSELoss(),
        quirks={"Q01": "kept", "Q18": "kept"},
    )
    return loop, ({}, 2, 0, list(callbacks), 1, None)


class Worker:
    """The copies of a loop and its callbacks that a worker gets, and what it does with them."""

    def __init__(self, loop: TrainLoop, arguments: tuple[Any, ...]) -> None:
        """Send them, and note what there is."""
        self.loop, theirs = pack((loop, arguments)).unpack()
        self.callbacks = home.callbacks_of(self.loop, theirs)
        self.things = home.things_of(self.loop, self.callbacks)

    def parcel(self, rank: int = 0) -> bytes:
        """Pack what goes home from a rank."""
        return home.pack(self.loop, self.callbacks, self.things, rank, rank)


def sent(loop: TrainLoop, arguments: tuple[Any, ...]) -> Worker:
    """Return a worker that has trained."""
    worker = Worker(loop, arguments)
    train(worker.loop, worker.callbacks)
    return worker


def train(loop: TrainLoop, callbacks: list[Any]) -> None:
    """Train as a worker does, but alone."""
    loop._train(2, 0, callbacks)


def test_the_parents_own_objects_get_the_state_of_the_workers() -> None:
    keeper = Keeper()
    loop, arguments = make(keeper)
    model, optimizer, history, groups = loop.model, loop.optimizer, loop.train_history, loop.optimizer.param_groups
    group = groups[0]
    worker = sent(loop, arguments)
    home.take_home(loop, [keeper], {0: worker.parcel()})
    assert (loop.model, loop.optimizer, loop.train_history) == (model, optimizer, history)
    for name, value in worker.loop.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)
    assert optimizer.state_dict()["state"][0]["step"] == 6
    assert optimizer.param_groups is groups
    assert groups[0] is group
    assert group["params"][0] is model.layer.weight
    assert history["loss"] == worker.loop.train_history["loss"]
    assert len(history["loss"]) == 2
    assert (loop.epoch, loop.total_iteration_idx, loop.iteration) == (1, 5, 2)
    assert loop.callbacks == [keeper]
    assert keeper.train_loop_obj is loop
    assert keeper.count == 2


def test_what_the_caller_holds_is_filled_and_not_replaced() -> None:
    keeper = Keeper()
    seen, tool, results = keeper.seen, keeper.tool, keeper.tool.results
    loop, arguments = make(keeper)
    worker = sent(loop, arguments)
    (copied,) = worker.callbacks
    copied.seen += [1, 2]
    copied.tool.results["accuracy"] = [0.5]
    copied.tool.owner = copied
    home.take_home(loop, [keeper], {0: worker.parcel()})
    assert keeper.seen is seen
    assert seen == [1, 2]
    assert keeper.tool is tool
    assert tool.results is results
    assert results == {"accuracy": [0.5]}
    assert tool.owner is keeper


def test_who_is_who_stays_as_the_worker_has_it() -> None:
    keeper = Keeper()
    first, second, third = Tool(), Tool(), Tool()
    everyone = [first, second, third]
    same: list[int] = []
    keeper.part = {"all": everyone, "waiting": list(everyone), "now": first, "a": same, "b": same}
    loop, arguments = make(keeper)
    worker = sent(loop, arguments)
    part = worker.callbacks[0].part
    part["now"] = part["all"][1]
    part["waiting"].pop(0)
    part["b"] = [1, 2]
    part["all"].append(part["all"][0])
    part["new"] = [part["all"][2], new := Tool(), new]
    home.take_home(loop, [keeper], {0: worker.parcel()})
    assert keeper.part["all"] is everyone
    assert everyone == [first, second, third, first]
    assert keeper.part["now"] is second
    assert keeper.part["waiting"] == [second, third]
    assert (keeper.part["a"], keeper.part["b"]) == ([], [1, 2])
    assert keeper.part["new"][0] is third
    assert keeper.part["new"][1] is keeper.part["new"][2]
    assert keeper.part["new"][1] not in (first, second, third)


def test_things_that_the_parent_has_come_home_as_the_parents() -> None:
    keeper = Keeper()
    loop, arguments = make(keeper)
    worker = sent(loop, arguments)
    (copied,) = worker.callbacks
    copied.weight = worker.loop.model.layer.weight
    copied.part = [
        worker.loop.optimizer, worker.loop.model, worker.loop.validation_loader, worker.loop.train_history,
        worker.loop.validation_loader.dataset, worker.loop.optimizer.param_groups, worker.loop.prediction_store,
    ]  # fmt: skip
    home.take_home(loop, [keeper], {0: worker.parcel()})
    assert keeper.weight is loop.model.layer.weight
    mine = [
        loop.optimizer, loop.model, loop.validation_loader, loop.train_history,
        loop.validation_loader.dataset, loop.optimizer.param_groups, loop.prediction_store,
    ]  # fmt: skip
    assert all(got is own for got, own in zip(keeper.part, mine, strict=True))


def test_arrays_and_tensors_are_filled_where_they_are() -> None:
    keeper = Keeper()
    array, tensor, grown = np.zeros(3), torch.zeros(2), torch.zeros(1)
    keeper.part = [array, tensor, grown]
    loop, arguments = make(keeper)
    worker = sent(loop, arguments)
    theirs = worker.callbacks[0].part
    theirs[0][1] = 5
    theirs[1].add_(1)
    theirs[2].data = torch.ones(4)
    home.take_home(loop, [keeper], {0: worker.parcel()})
    assert keeper.part[0] is array
    assert array.tolist() == [0, 5, 0]
    assert tensor.tolist() == [1, 1]
    assert grown.tolist() == [1, 1, 1, 1]


def test_what_has_not_changed_does_not_travel() -> None:
    keeper = Keeper()
    keeper.part = np.zeros(1 << 20)
    loop, arguments = make(keeper)
    worker = sent(loop, arguments)
    size = len(worker.parcel())
    worker.callbacks[0].part[0] = 1
    assert size < 1 << 20 < len(worker.parcel())


def test_what_cannot_be_pickled_stays_as_it_was_and_is_registered_anew() -> None:
    keeper = Keeper()
    loop, arguments = make(keeper)
    worker = sent(loop, arguments)
    (copied,) = worker.callbacks
    copied.lock = threading.Lock()
    copied.part = DataLoader(TensorDataset(torch.zeros(1)))
    parcel = worker.parcel()
    keeper.lock = "the parent's"
    home.take_home(loop, [keeper], {0: parcel})
    assert keeper.lock == "the parent's"
    assert keeper.part is None
    assert keeper.count == 2
    assert loop._compat.incomplete == [keeper]


def test_the_model_brings_all_that_it_has() -> None:
    loop, arguments = make()
    model: Any = loop.model
    model.register_buffer("fleeting", torch.zeros(1), persistent=False)
    model.log, model.count = [], 0
    log = model.log
    worker = sent(loop, arguments)
    theirs: Any = worker.loop.model
    theirs.fleeting += 3
    theirs.log.append("seen")
    theirs.count = 7
    theirs.extra = nn.Linear(1, 1)
    home.take_home(loop, [], {0: worker.parcel()})
    assert model.fleeting.tolist() == [3]
    assert log == ["seen"]
    assert model.count == 7
    assert torch.equal(model.extra.weight, theirs.extra.weight)


def test_added_groups_and_other_optimizers_come_home() -> None:
    loop, arguments = make()
    worker = sent(loop, arguments)
    extra = nn.Parameter(torch.ones(1))
    worker.loop.optimizer.add_param_group({"params": [extra], "lr": 0.5})
    home.take_home(loop, [], {0: worker.parcel()})
    assert [group["lr"] for group in loop.optimizer.param_groups] == [0.001, 0.5]
    again = Worker(loop, arguments)
    again.loop.optimizer = torch.optim.SGD(again.loop.model.parameters(), lr=0.1)
    home.take_home(loop, [], {0: again.parcel()})
    assert type(loop.optimizer) is torch.optim.SGD
    assert loop.optimizer.param_groups[0]["params"][0] is loop.model.layer.weight


class Warming:
    """An optimizer without a state dict, round one of torch's."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        """Start cold."""
        self.optimizer, self.steps = inner, 0

    def step(self) -> None:
        """Warm up."""
        self.steps += 1
        self.optimizer.step()

    def zero_grad(self) -> None:
        """Clear the gradients."""
        self.optimizer.zero_grad()


def test_an_optimizer_without_a_state_dict_comes_home_too() -> None:
    loop, arguments = make()
    loop.optimizer = Warming(loop.optimizer)
    worker = sent(loop, arguments)
    home.take_home(loop, [], {0: worker.parcel()})
    assert loop.optimizer.steps == 6
    assert loop.optimizer.optimizer.state[loop.model.layer.weight]["step"] == 6


def test_a_generator_goes_on_where_the_worker_left_it() -> None:
    loop, arguments = make()
    generator = torch.Generator()
    loop.train_loader = DataLoader(loop.train_loader.dataset, batch_size=2, shuffle=True, generator=generator)
    worker = sent(loop, arguments)
    before = generator.get_state()
    home.take_home(loop, [], {0: worker.parcel()})
    assert not torch.equal(generator.get_state(), before)
    assert torch.equal(generator.get_state(), worker.loop.train_loader.generator.get_state())


def test_a_callback_of_one_rank_brings_the_state_that_it_has_there() -> None:
    keepers = [Keeper(), Keeper(rank=0), Keeper(rank=1)]
    loop, arguments = make(*keepers)
    parcels = {}
    for rank in (0, 1):
        worker = sent(loop, arguments)
        for callback in worker.callbacks:
            callback.seen.append(rank)
        worker.loop.callbacks.remove(worker.callbacks[2 - rank])
        parcels[rank] = worker.parcel(rank)
    home.take_home(loop, keepers, parcels)
    assert [keeper.seen for keeper in keepers] == [[0], [0], [1]]
    assert loop.callbacks == keepers


def test_callbacks_that_a_callback_has_registered_come_home() -> None:
    keeper = Keeper()
    loop, arguments = make(keeper)
    worker = sent(loop, arguments)
    inner, passing = Keeper(), Keeper()
    worker.loop.callbacks_handler.register_callbacks([inner, passing])
    worker.loop._compat.of_this_fit = [passing]
    home.take_home(loop, [keeper], {0: worker.parcel()})
    assert [type(each) for each in loop.callbacks] == [Keeper, Keeper]
    assert loop.callbacks[0] is keeper
    assert loop.callbacks[1].train_loop_obj is loop
    assert loop.callbacks_handler.cbs_on_epoch_end == loop.callbacks


def test_a_scheduler_goes_on_where_the_worker_left_it() -> None:
    scheduler = StepLRScheduler(step_size=1, gamma=0.5)
    loop, _ = make()
    arguments: tuple[Any, ...] = ({}, 2, 0, [scheduler], 1, None)
    rate = loop.optimizer.param_groups[0]["lr"]
    worker = sent(loop, arguments)
    home.take_home(loop, [scheduler], {0: worker.parcel()})
    assert loop.optimizer.param_groups[0]["lr"] == pytest.approx(rate / 4)
    assert scheduler.scheduler.optimizer is loop.optimizer
    loop._train(3, 0)
    # Quirk Q01: the last epoch runs again.
    assert loop.optimizer.param_groups[0]["lr"] == pytest.approx(rate / 16)


def test_the_first_worker_of_a_machine_alone_brings_the_whole() -> None:
    loop, arguments = make(Keeper(), Keeper(rank=1))
    worker = sent(loop, arguments)
    whole, part = (worker.parcel(rank) for rank in (0, 1))
    weight = loop.model.layer.weight.clone()
    changes = home._Reader(part, {**home._staying(loop), **home._roots(loop, arguments[3])}).load()["changes"]
    assert {change.path[0][1] for change in changes} >= {"callback 1"}
    assert "callback 0" not in {change.path[0][1] for change in changes if len(change.path) == 1}
    home.take_home(loop, arguments[3], {0: whole, 1: part})
    assert not torch.equal(loop.model.layer.weight, weight)


def test_what_only_the_worker_had_is_passed_over() -> None:
    keeper = Keeper()
    loop, arguments = make(keeper)
    keeper.part = {"there": [1]}
    worker = sent(loop, arguments)
    worker.callbacks[0].part["there"].append(2)
    # As if unpacking had made it: the parent has something else in its place.
    keeper.part = None
    home.take_home(loop, [keeper], {0: worker.parcel()})
    assert keeper.count == 2
    assert loop.epoch == 1
