"""A rank's part of a loader to train on: as many batches as on every rank, in the order of the old library.

No process is started: the parts of all ranks are made in this one, each from a loader of its own.
"""

import copy
import gc
import math
import multiprocessing
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
)
from torch.utils.data.distributed import DistributedSampler

from compat._distributed.dealing import deal_out, lost_before, rebuilt, share_of, whole
from compat.exceptions import EmptyLoaderError, InvalidArgumentError, InvalidTypeError
from tests._distributed.loaders import (
    COUNTED,
    Marked,
    Numbers,
    Pairs,
    Sized,
    Stream,
    Uncounted,
    Walked,
    dealt,
    drawn,
    flat,
    in_one_process,
    numbers,
    plain,
    seeded,
    wait_for_feeders,
)

SIZES = (1, 2, 3, 4)
RANDOM_SAMPLERS = {"weighted", "with replacement"}


@pytest.fixture
def workers_end() -> Iterator[None]:
    """Wait for the worker processes' threads."""
    yield
    wait_for_feeders()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["in order", "shuffled", "shuffled by a generator", "drop_last", "single samples"])
def test_usual_loaders_are_dealt_out_as_by_the_old_library(name: str, size: int) -> None:
    """The old library put torch's ``DistributedSampler`` in, whose order is that of seed 0 and the epoch."""
    make = COUNTED[name]
    for count in range(2 * size if name == "drop_last" else 1, 18):
        for rank in range(size):
            part, sampler = deal_out(make(count), rank, size)
            reference: DistributedSampler[int] = DistributedSampler(
                Numbers(count), size, rank, shuffle="shuffled" in name
            )
            for epoch in (0, 3):
                sampler.set_epoch(epoch)
                reference.set_epoch(epoch)
                assert flat(drawn(part, seed=rank)) == list(reference)[: len(flat(drawn(part)))]
            assert len(flat(drawn(part))) >= len(reference) - (name == "drop_last")
            assert sampler.seed == 0
            assert not sampler.drop_last


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", [name for name in COUNTED if name != "drop_last"])
def test_all_ranks_train_on_everything_and_on_as_many_batches(name: str, size: int) -> None:
    make = COUNTED[name]
    for count in range(1, 18):
        parts = [part for part, _ in dealt(make, count, size)]
        read = [drawn(part) for part in parts]
        assert {len(batches) for batches in read} == {len(part) for part in parts}
        assert len({len(part) for part in parts}) == 1
        assert read[0], f"{count} rows"
        expected = in_one_process(make, count)[0]
        rows = {str(row) for row in flat(expected)}
        if name not in RANDOM_SAMPLERS and name != "a subclass":
            assert {str(row) for batches in read for row in flat(batches)} == rows, f"{count} rows"


@pytest.mark.parametrize("name", ["weighted", "with replacement", "a random subset", "a batch sampler of torch"])
def test_other_samplers_are_kept_and_strided(name: str) -> None:
    """Q61: the old library put sequential samples in their place, and single ones in that of whole batches."""
    make = COUNTED[name]
    for count in range(1, 18):
        expected = in_one_process(make, count)[0]
        parts = [drawn(part) for part, _ in dealt(make, count, 3)]
        if name == "a batch sampler of torch":
            turns: list[Any] = [part[turn] for turn in range(len(parts[0])) for part in parts]
        else:
            expected = flat(expected)
            rows = [flat(part) for part in parts]
            turns = [part[turn] for turn in range(len(rows[0])) for part in rows]
        assert len(turns) == 3 * math.ceil(len(expected) / 3)
        assert turns == [expected[place % len(expected)] for place in range(len(turns))]


def test_random_order_of_other_samplers_is_agreed_upon_each_epoch() -> None:
    calls = []

    def agree(items: list[Any]) -> list[Any]:
        calls.append(items)
        return [[0, 1], [2], [3]]

    part, _ = deal_out(COUNTED["a batch sampler of torch"](4), 1, 2, agree)
    assert list(part) == [[2], [0, 1]]
    assert list(part) == [[2], [0, 1]]
    assert len(calls) == 2


def test_batches_in_a_list_that_is_filled_again_are_kept_apart() -> None:
    part, sampler = deal_out(DataLoader(Numbers(8), batch_sampler=Pairs(8), collate_fn=plain), 0, 1)
    assert sorted(flat(drawn(part))) == list(range(8))
    sampler.set_epoch(4)
    assert part.batch_sampler.inner.epoch == 4


def test_loader_of_the_user_s_own_is_walked_by_every_rank() -> None:
    for count in range(1, 18):
        expected = in_one_process(Walked, count)[0]
        parts = [drawn(part) for part, _ in dealt(Walked, count, 3)]
        for rank, part in enumerate(parts):
            places = range(rank, 3 * math.ceil(count / 3), 3)
            assert part == [expected[place % count] for place in places]


def test_loader_that_gives_fewer_batches_than_it_says_is_an_error() -> None:
    part, _ = deal_out(Walked(3, claimed=4), 0, 2)
    with pytest.raises(InvalidArgumentError, match="says that it has 4 batches, and gave 3"):
        list(part)


def test_more_batches_than_a_loader_says_are_left_out_on_every_rank() -> None:
    assert [len(drawn(part)) for part, _ in dealt(lambda n: Walked(n, claimed=4), 6, 2)] == [2, 2]


def test_dealt_list_follows_the_list_and_lends_what_it_has() -> None:
    batches = [[0], [1], [2]]
    part, sampler = deal_out(batches, 1, 2)
    assert sampler is None
    assert (part[0], part[1], part[-1], len(part)) == ([1], [0], [0], 2)
    assert whole(part) is batches
    loader = Walked(3)
    assert deal_out(loader, 0, 2)[0].claimed is None
    for same in (copy.copy(part), pickle.loads(pickle.dumps(part))):
        assert list(same) == [[1], [0]]
    with pytest.raises(AttributeError):
        _ = part.claimed


def test_epoch_reaches_a_loader_that_wants_to_know_it() -> None:
    class Told(Walked):
        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

    loader = Told(3)
    _, sampler = deal_out(loader, 0, 2)
    sampler.set_epoch(6)
    assert loader.epoch == 6


def test_everything_else_of_a_loader_is_kept_and_the_loader_itself_untouched() -> None:
    def seed_worker(worker: int) -> None:
        torch.manual_seed(worker)

    loader = Marked(
        Numbers(8),
        mark=7,
        batch_size=2,
        shuffle=True,
        num_workers=2,
        collate_fn=plain,
        pin_memory=False,
        drop_last=True,
        timeout=5,
        worker_init_fn=seed_worker,
        multiprocessing_context="fork",
        generator=seeded(),
        prefetch_factor=4,
        persistent_workers=True,
    )
    before = dict(loader.__dict__)
    for part in (deal_out(loader, 0, 2)[0], share_of(loader, 0, 2).batches):
        kept: Any = part
        assert type(kept) is Marked
        differs = {name for name in before if kept.__dict__[name] is not before[name]}
        assert differs <= {"sampler", "batch_sampler"}
        assert kept.multiprocessing_context is loader.multiprocessing_context
        assert (kept.mark, kept.prefetch_factor, kept.persistent_workers) == (7, 4, True)
    assert all(loader.__dict__[name] is value for name, value in before.items())
    assert loader.__dict__.keys() == before.keys()


@pytest.mark.usefixtures("workers_end")
def test_running_workers_of_a_loader_are_not_those_of_its_part() -> None:
    loader = numbers(4, num_workers=1, persistent_workers=True)
    assert list(loader) == [[0, 1], [2, 3]]
    part, _ = deal_out(loader, 1, 2)
    assert part._iterator is None
    assert list(part) == [[1, 3]]
    assert list(loader) == [[0, 1], [2, 3]]
    del loader, part
    gc.collect()
    assert multiprocessing.active_children() == []


def test_part_is_dealt_out_again_from_the_whole() -> None:
    loader = numbers(9)
    part, _ = deal_out(loader, 0, 3)
    again, _ = deal_out(part, 1, 2)
    assert list(again) == list(deal_out(loader, 1, 2)[0])
    assert whole(again) is loader
    assert whole(loader) is loader


def test_shuffle_can_be_asked_for_or_forbidden() -> None:
    assert deal_out(numbers(4), 0, 2, shuffle=True)[1].shuffle
    assert not deal_out(numbers(4, shuffle=True), 0, 2, shuffle=False)[1].shuffle


@pytest.mark.parametrize("batched", [False, True], ids=["samples", "batches"])
def test_distributed_sampler_for_these_ranks_is_kept(batched: bool) -> None:
    """Built in the process, or in another one: then it deals out for that one's rank, and here for this one's."""
    for origin in range(2):
        sampler: DistributedSampler[int] = DistributedSampler(Numbers(6), 2, origin, shuffle=False, seed=4)
        loader = (
            DataLoader(Numbers(6), batch_sampler=BatchSampler(sampler, 2, drop_last=False), collate_fn=plain)
            if batched
            else numbers(6, sampler=sampler)
        )
        part, told = deal_out(loader, 1, 2)
        assert list(part) == [[1, 3], [5]]
        assert told.seed == 4
        assert (part is loader) == (told is sampler) == (origin == 1)
        assert sampler.rank == origin


def test_distributed_sampler_for_other_ranks_is_made_anew() -> None:
    sampler: DistributedSampler[int] = DistributedSampler(Numbers(6), 3, 0, shuffle=True, seed=4)
    part, told = deal_out(numbers(6, sampler=sampler), 1, 2)
    assert flat(list(part)) == list(DistributedSampler(Numbers(6), 2, 1, shuffle=True, seed=4))
    assert told.num_replicas == 2


def test_distributed_sampler_of_the_user_s_own_for_other_ranks_is_refused() -> None:
    class Own(DistributedSampler[int]):
        pass

    with pytest.raises(InvalidArgumentError, match=r"Own is for num_replicas=3 processes, and there are 2\."):
        deal_out(numbers(6, sampler=Own(Numbers(6), 3, 0)), 1, 2)
    with pytest.raises(ValueError, match="Own is for"):
        share_of(numbers(6, sampler=Own(Numbers(6), 3, 0)), 1, 2)


@pytest.mark.parametrize(
    ("loader", "reason"),
    [
        (
            DataLoader(Stream(4)),
            "A DataLoader over a Stream cannot be dealt out to the processes of a fit: an IterableDataset",
        ),
        (DataLoader(Sized(4)), "an IterableDataset decides itself"),
        (numbers(4, sampler=Uncounted(4)), "A DataLoader over a Numbers .* it has no length"),
        (iter([[1]]), "A list_iterator .* it has no length"),
        (None, "A NoneType .* it is no loader"),
    ],
    ids=["stream", "stream of known length", "sampler without a length", "iterator", "None"],
)
def test_loader_that_cannot_be_dealt_out_is_refused(loader: Any, reason: str) -> None:
    with pytest.raises(InvalidTypeError, match=reason):
        deal_out(loader, 0, 2)


def test_stream_built_in_each_process_is_trained_on_as_it_is() -> None:
    class Told(Stream):
        epoch = 0

        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

    loader = DataLoader(Stream(4))
    assert deal_out(loader, 0, 2, own=True) == (loader, None)
    told = Told(4)
    _, sampler = deal_out(DataLoader(told), 0, 2, own=True)
    sampler.set_epoch(3)
    assert told.epoch == 3
    # With a length that counts it is the whole, built anew in each process.
    assert len(deal_out(numbers(8), 0, 2, own=True)[0]) == 2


def test_parts_without_a_batch_are_an_error_unless_the_whole_has_none() -> None:
    with pytest.raises(EmptyLoaderError, match="has 1 batches, and none of its 2 parts has any: drop_last=True"):
        deal_out(numbers(2, drop_last=True), 0, 2)
    assert len(deal_out(numbers(1, drop_last=True), 0, 2)[0]) == 0
    assert len(deal_out([], 0, 2)[0]) == 0
    assert list(deal_out(numbers(0), 1, 2)[0]) == []


def test_fewer_rows_than_ranks_are_repeated() -> None:
    assert [flat(drawn(part)) for part, _ in dealt(numbers, 1, 3)] == [[0], [0], [0]]
    assert [drawn(part) for part, _ in dealt(COUNTED["a list"], 2, 4)] == [[[0]], [[1]], [[0]], [[1]]]


def test_what_the_old_library_lost_of_a_loader() -> None:
    assert lost_before(numbers(4)) == lost_before(numbers(4, shuffle=True)) == lost_before([[1]]) == []
    assert lost_before(DataLoader(Stream(3))) == []
    assert lost_before(numbers(4, num_workers=1)) == []
    assert lost_before(
        numbers(
            4,
            num_workers=1,
            generator=seeded(),
            persistent_workers=True,
            prefetch_factor=4,
            multiprocessing_context="fork",
        )
    ) == ["generator", "persistent_workers", "prefetch_factor", "multiprocessing_context"]
    assert lost_before(COUNTED["weighted"](4)) == ["sampler"]
    assert lost_before(COUNTED["batches in order"](4)) == ["batch_sampler"]
    # A sampler over a part of the data set.
    assert lost_before(numbers(4, sampler=SequentialSampler(Subset(Numbers(4), [0, 1])))) == ["sampler"]


def test_a_loader_is_rebuilt_as_the_old_library_did() -> None:
    data = TensorDataset(torch.arange(6.0))
    generator = torch.Generator()
    loader = DataLoader(data, batch_size=2, shuffle=True, generator=generator, drop_last=True)
    again = rebuilt(loader)
    assert (again.batch_size, again.drop_last, again.generator) == (2, True, None)
    assert isinstance(again.sampler, RandomSampler)
    weighted = rebuilt(DataLoader(data, batch_size=2, sampler=WeightedRandomSampler([1.0] * 6, 4)))
    assert isinstance(weighted.sampler, SequentialSampler)
    assert len(weighted) == 3
    one_by_one = rebuilt(DataLoader(data, batch_sampler=BatchSampler(SequentialSampler(data), 3, False)))
    assert one_by_one.batch_size is None
    assert len(one_by_one) == 6
