"""``DDPHandler``: what it gathers in two processes, and the loaders that it makes."""

import multiprocessing
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, WeightedRandomSampler
from torch.utils.data.distributed import DistributedSampler

from compat import _ledger, quirks
from compat._distributed.dealing import share_of
from compat.callbacks.ddp import DistributedSamplerSetEpoch
from compat.ddp import DDPHandler
from compat.exceptions import InvalidArgumentError, InvalidTypeError
from tests import ddp_handler_cases as cases
from tests._distributed.loaders import Numbers, Stream, numbers, plain
from tests.toys import batches, make_loop

PATIENCE = 120


@pytest.fixture(scope="module")
def gathered(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Run all cases in two processes; the results of each."""
    folder = tmp_path_factory.mktemp("gathered")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=cases.run, args=(rank, str(folder))) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE)
        process.kill()
        process.join()
    # One that had to be killed has another code.
    assert [process.exitcode for process in processes] == [0, 0]
    return [pickle.loads((Path(folder) / f"results_{rank}.pickle").read_bytes()) for rank in range(2)]


def same(got: Any, expected: Any) -> bool:
    """Compare values, their types, and those of tensors and arrays inside lists."""
    if type(got) is not type(expected):
        return False
    if isinstance(expected, torch.Tensor):
        return got.dtype == expected.dtype and not got.requires_grad and torch.equal(got, expected)
    if isinstance(expected, np.ndarray):
        return got.dtype == expected.dtype and np.array_equal(got, expected)
    if isinstance(expected, list):
        return len(got) == len(expected) and all(map(same, got, expected))
    return bool(got == expected)


def test_comparison_sees_types_and_values() -> None:
    assert same([torch.ones(2)], [torch.ones(2)])
    for got in (np.ones(2), [1.0, 1.0], torch.ones(3), torch.zeros(2), torch.ones(2, dtype=torch.float64)):
        assert not same(got, torch.ones(2))
    assert not same([1.0], [1])


@pytest.mark.parametrize("name", cases.RECORDED)
def test_gathers_as_the_old_library_did(name: str, gathered: list[dict[str, Any]]) -> None:
    for results in gathered:
        assert same(results[name], cases.RECORDED[name].expected), results[name]


@pytest.mark.parametrize("name", cases.CORRECTED)
def test_gathers_what_the_old_library_could_not(name: str, gathered: list[dict[str, Any]]) -> None:
    for results in gathered:
        assert same(results[name], cases.CORRECTED[name].expected), results[name]


def test_dict_is_gathered_by_name_whatever_its_order(gathered: list[dict[str, Any]]) -> None:
    for results, order in zip(gathered, ("cba", "abc"), strict=True):
        assert "".join(results["dict"]) == order
        assert same(results["dict"]["a"], torch.tensor([1, 2]))
        assert same(results["dict"]["b"], torch.ones(2, dtype=torch.float64))
        assert results["dict"]["c"] == ["x", "x"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("shapes", "InvalidArgumentError: mp_sync cannot join .* rank 0: \\(1, 2\\); rank 1: \\(1, 3\\)"),
        ("names", "InvalidArgumentError: .* rank 0: \\['a0'\\]; rank 1: \\['a1'\\]"),
        ("no dict", "MissingAttributeError: mp_sync_dict got a list object, which has no attribute 'items'"),
        ("alone", "OutOfStepError: mp_sync\\(\\) needs all processes, but runs on rank . alone"),
        ("out of step", "OutOfStepError: (?s:.*)predict_on_test_set\\(\\)"),
    ],
)
def test_errors_are_those_of_all_processes(name: str, text: str, gathered: list[dict[str, Any]]) -> None:
    for results in gathered:
        assert re.match(text, results[name]), results[name]


def test_order_of_a_random_sampler_is_that_of_rank_zero(gathered: list[dict[str, Any]]) -> None:
    for results in gathered:
        assert same(results["in a fit"], torch.tensor([0, 1]))
        assert results["order"] == [0]


def test_gathering_without_other_processes_is_an_error() -> None:
    for call in (DDPHandler(make_loop()).mp_sync, lambda _: DDPHandler(make_loop()).mp_sync_dict({"a": [1]})):
        with pytest.raises(InvalidArgumentError, match="the default process group has not been initialized"):
            call([1])


def test_loaders_get_their_part_and_samplers_their_epoch() -> None:
    shuffled = numbers(7, shuffle=True)
    loop: Any = make_loop(train=shuffled, validation=numbers(5))
    DDPHandler(loop).add_distributed_samplers(2, 1)
    assert loop.train_loader.sampler.shuffle
    assert not loop.validation_loader.sampler.shuffle
    assert loop.test_loader is None
    assert list(loop.validation_loader) == [[1, 3], [0]]
    (callback,) = loop.callbacks
    assert isinstance(callback, DistributedSamplerSetEpoch)
    assert (callback.train_sampler, callback.validation_sampler, callback.test_sampler) == (
        loop.train_loader.sampler,
        loop.validation_loader.sampler,
        None,
    )
    # What the loop evaluates is the whole, each row once.
    assert [list(share_of(loop.validation_loader, rank, 2).batches) for rank in (0, 1)] == [[[0, 1], [2, 3]], [[4]]]


def test_lists_and_loops_without_loaders_are_no_error() -> None:
    loop: Any = make_loop(train=batches(3))
    loop.train_loader = None
    loop.test_loader = batches(3)
    DDPHandler(loop).add_distributed_samplers(2, 0)
    assert loop.train_loader is None
    assert len(loop.test_loader) == 2


@pytest.mark.parametrize("shuffle", [True, False])
def test_part_is_shuffled_as_asked(shuffle: bool) -> None:
    for loader in (numbers(9), numbers(9, shuffle=True)):
        part, sampler = DDPHandler.build_loader_sampler(loader, shuffle, 2, 0)
        assert type(sampler) is DistributedSampler
        assert sampler.shuffle is shuffle
        reference: DistributedSampler[int] = DistributedSampler(Numbers(9), 2, 0, shuffle=shuffle)
        assert [row for batch in part for row in batch] == list(reference)


def test_samplers_of_other_kinds_are_kept() -> None:
    """Q61."""
    weighted = numbers(4, sampler=WeightedRandomSampler([0.0, 0.0, 1.0, 0.0], 4))
    assert list(DDPHandler.build_loader_sampler(weighted, True, 2, 0)[0]) == [[2, 2]]
    batched = DataLoader(
        Numbers(4), batch_sampler=BatchSampler(RandomSampler(range(4)), 2, drop_last=False), collate_fn=plain
    )
    part, _ = DDPHandler.build_loader_sampler(batched, False, 2, 1)
    assert [len(batch) for batch in part] == [2]


def test_kept_samplers_are_counted_where_they_decide_the_batches() -> None:
    DDPHandler(make_loop(train=numbers(4, generator=torch.Generator(), shuffle=True))).add_distributed_samplers(2, 0)
    assert "Q61" not in quirks.counts()
    weighted = numbers(4, sampler=WeightedRandomSampler([1.0] * 4, 4))
    DDPHandler(make_loop(train=weighted)).add_distributed_samplers(2, 0)
    assert quirks.counts()["Q61"] == 1


def test_bad_arguments_are_clear_errors() -> None:
    with pytest.raises(InvalidArgumentError, match="rank=2 is none of world_size=2 processes"):
        DDPHandler.build_loader_sampler(numbers(4), False, 2, 2)
    loop: Any = make_loop()
    with pytest.raises(InvalidArgumentError, match="rank=-1"):
        DDPHandler(loop).add_distributed_samplers(2, -1)
    loop.train_loader = DataLoader(Stream(3))
    with pytest.raises(InvalidTypeError, match="IterableDataset"):
        DDPHandler(loop).add_distributed_samplers(2, 0)


def test_program_that_makes_a_handler_is_noted() -> None:
    _ledger.watch()
    try:
        DDPHandler(make_loop())
        noted = [entry.feature for entry in _ledger.entries() if entry.kind == "name"]
    finally:
        _ledger.unwatch()
        _ledger.clear()
    assert "compat.ddp.DDPHandler" in noted
