"""Callbacks of training in several processes, called by hand: no process is needed to see what they do."""

from typing import Any

import pytest
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler
from torch.utils.data.distributed import DistributedSampler

from compat.callbacks.ddp import DistributedSamplerSetEpoch, InMultiProcessDataLoad, _epoch_taker
from compat.exceptions import InvalidTypeError, MissingAttributeError
from tests.toys import batches, make_loop


class Told:
    """A sampler that notes the epochs it is told."""

    def __init__(self) -> None:
        self.epochs: list[int] = []

    def set_epoch(self, epoch: int) -> None:
        """Note the epoch."""
        self.epochs.append(epoch)


class Around:
    """A sampler that takes its samples from another one."""

    def __init__(self, sampler: Any) -> None:
        self.sampler = sampler


def registered(callback: InMultiProcessDataLoad, **loaders: Any) -> Any:
    """Give a callback a loop, and start it as in a process of its own."""
    loop: Any = make_loop(**loaders)
    callback.register_train_loop_object(loop)
    callback.on_multiprocess_start()
    return loop


def test_samplers_are_told_every_epoch_before_other_callbacks() -> None:
    train, test = Told(), Told()
    callback = DistributedSamplerSetEpoch(train, None, test)
    assert callback.execution_order == -100
    assert callback.callback_name == "set_epoch for DistributedSamplers at the start of each epoch"
    make_loop().fit(num_epochs=3, callbacks=[callback])
    assert train.epochs == test.epochs == [0, 1, 2]


def test_epoch_reaches_a_sampler_inside_others() -> None:
    inner = Told()
    callback = DistributedSamplerSetEpoch(Around(Around(inner)), None, None)
    callback.register_train_loop_object(make_loop())
    callback.train_loop_obj.epoch = 7
    callback.on_epoch_begin()
    assert inner.epochs == [7]


def test_epoch_is_told_to_the_sampler_of_a_loader() -> None:
    data: Any = range(4)
    sampler: DistributedSampler[int] = DistributedSampler(data, 2, 0)
    assert _epoch_taker(DataLoader(data, sampler=sampler)) is sampler
    assert _epoch_taker(DataLoader(data, batch_sampler=BatchSampler(sampler, 2, drop_last=False))) is sampler
    assert _epoch_taker(DataLoader(data, batch_size=None, sampler=sampler)) is sampler
    assert _epoch_taker(DataLoader(data)) is None
    assert _epoch_taker(None) is None


def test_sampler_that_takes_no_epoch_is_an_error_at_once() -> None:
    with pytest.raises(MissingAttributeError, match=r"\(validation_sampler=\) got a SequentialSampler object"):
        DistributedSamplerSetEpoch(None, SequentialSampler(range(3)), None)
    with pytest.raises(AttributeError, match="2 problems"):
        DistributedSamplerSetEpoch(1, 2, None)


def test_loaders_are_built_in_the_process() -> None:
    train, test = batches(2), batches(1)
    loop = registered(InMultiProcessDataLoad(lambda: train, None, lambda: test), validation=batches(3))
    assert loop.train_loader is train
    assert len(loop.validation_loader) == 3
    assert loop.test_loader is test


@pytest.mark.parametrize("nothing", [None, False])
def test_loaders_without_a_function_stay(nothing: Any) -> None:
    given = batches(2)
    loop = registered(InMultiProcessDataLoad(nothing, nothing, nothing), train=given, validation=given, test=given)
    assert loop.train_loader is loop.validation_loader is loop.test_loader is given


def test_validation_loader_of_the_process_adds_no_key_to_the_history() -> None:
    """Q67: the history's first keys are those of the constructor's loaders."""
    loop = registered(InMultiProcessDataLoad(val_loader_build_fn=batches))
    assert loop.validation_loader is not None
    assert "val_loss" not in loop.train_history.train_history


def test_build_methods_call_their_functions() -> None:
    callback = InMultiProcessDataLoad(lambda: 1, lambda: 2, lambda: 3)
    assert callback.callback_name == "Multiprocess in-process data loading logic infuser"
    built = [callback.build_train_dataloader(), callback.build_val_dataloader(), callback.build_test_dataloader()]
    assert built == [1, 2, 3]


class Building(InMultiProcessDataLoad):
    """Builds the training loader in a method."""

    def build_train_dataloader(self) -> Any:
        return "built"


def test_overridden_method_is_called_where_the_loader_is_asked_for() -> None:
    assert registered(Building(True)).train_loader == "built"
    assert registered(Building(), train=[1]).train_loader == [1]


def test_what_is_no_function_is_an_error_at_once() -> None:
    with pytest.raises(InvalidTypeError, match=r"val_loader_build_fn=\[1\]\) is a list object, which is not callable"):
        InMultiProcessDataLoad(None, [1], None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="test_loader_build_fn=True"):
        Building(True, None, True)


def test_function_that_returns_no_training_loader_is_an_error() -> None:
    with pytest.raises(InvalidTypeError, match="build_train_dataloader returned None"):
        registered(InMultiProcessDataLoad(lambda: None))
    assert registered(InMultiProcessDataLoad(None, lambda: None), validation=batches()).validation_loader is None
