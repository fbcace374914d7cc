"""A rank's part of a loader to evaluate: the parts of all ranks are the batches of one process, each once.

No process is started: the parts of all ranks are made in this one, each from a loader of its own.
"""

import gc
import multiprocessing
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, RandomSampler
from torch.utils.data.distributed import DistributedSampler

from compat._distributed.dealing import deal_out, share_of
from tests._distributed.loaders import (
    COUNTED,
    LOOSE,
    Numbers,
    Sized,
    Stream,
    drawn,
    flat,
    in_one_process,
    joined,
    numbers,
    plain,
    wait_for_feeders,
)

SIZES = (1, 2, 3, 4)
ROWS = range(18)
RANDOM_SAMPLERS = {"weighted", "with replacement"}
NEEDS_A_ROW = RANDOM_SAMPLERS | {
    "shuffled",
    "shuffled by a generator",
    "single shuffled samples",
    "a batch sampler of torch",
}


@pytest.fixture
def workers_end() -> Iterator[None]:
    """Wait for the worker processes' threads."""
    yield
    wait_for_feeders()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", [*COUNTED, *LOOSE])
def test_shares_of_all_ranks_are_the_batches_of_one_process(name: str, size: int) -> None:
    make = {**COUNTED, **LOOSE}[name]
    for count in ROWS:
        if count == 0 and name in NEEDS_A_ROW:
            continue
        expected, state = in_one_process(make, count)
        shares = [share_of(make(count), rank, size) for rank in range(size)]
        batches, states = joined(shares)
        assert batches == expected, f"{count} rows"
        # Every rank draws what one process draws, so that what comes after is the same too.
        assert states == {state.numpy().tobytes()}, f"{count} rows"


@pytest.mark.parametrize("name", COUNTED)
def test_share_that_can_be_counted_is_a_block_and_knows_its_length(name: str) -> None:
    for rank in range(3):
        share = share_of(COUNTED[name](11), rank, 3)
        assert not share.turns
        batches: Any = share.batches
        assert len(batches) == len(drawn(batches))


@pytest.mark.parametrize("name", sorted(set(LOOSE) - {"a batch sampler of an estimated length"}))
def test_share_that_cannot_be_counted_takes_turns(name: str) -> None:
    assert share_of(LOOSE[name](11), 0, 3).turns


def test_blocks_differ_by_one_batch_at_most() -> None:
    for count in ROWS:
        lengths = [len(list(share_of([[0]] * count, rank, 4).batches)) for rank in range(4)]
        assert max(lengths) - min(lengths) <= 1
        assert sum(lengths) == count


def test_share_loads_no_other_rank_s_samples() -> None:
    seen = []

    class Watched(Numbers):
        def __getitem__(self, index: int) -> int:
            seen.append(index)
            return index

    list(share_of(DataLoader(Watched(8), batch_size=2), 1, 2).batches)
    assert seen == [4, 5, 6, 7]


def test_samples_drawn_elsewhere_are_agreed_upon() -> None:
    """Random samplers of two ranks whose generators have drifted apart."""
    orders: list[list[Any]] = []

    def agree(items: list[Any]) -> list[Any]:
        orders.append(items)
        return orders[0]

    def shuffled(rank: int) -> Any:
        return numbers(9, sampler=RandomSampler(range(9), generator=torch.Generator().manual_seed(rank)))

    shares = [share_of(shuffled(rank), rank, 2, agree) for rank in range(2)]
    rows = flat([batch for rank, share in enumerate(shares) for batch in drawn(share.batches, seed=rank)])
    assert sorted(rows) == list(range(9))
    assert orders[0] != orders[1]
    # A control: as they are drawn the two do not fit together.
    apart = [share_of(shuffled(rank), rank, 2) for rank in range(2)]
    assert sorted(flat([b for rank, share in enumerate(apart) for b in drawn(share.batches, seed=rank)])) != list(
        range(9)
    )


def test_reading_in_order_needs_no_agreement() -> None:
    def agree(items: list[Any]) -> list[Any]:
        raise AssertionError(items)

    # The shuffled one draws from the global state, which the ranks share while they evaluate.
    for name in ("in order", "single samples", "batches in order", "a list", "shuffled"):
        assert joined([share_of(COUNTED[name](5), rank, 2, agree) for rank in range(2)])[0]
    with pytest.raises(AssertionError):
        list(share_of(COUNTED["weighted"](5), 0, 2, agree).batches)


def test_part_that_was_dealt_out_for_training_is_evaluated_whole() -> None:
    parts = [deal_out(numbers(7), rank, 2)[0] for rank in range(2)]
    assert joined([share_of(part, rank, 2) for rank, part in enumerate(parts)])[0] == list(numbers(7))
    assert list(parts[0]) != list(numbers(7))


def test_stream_built_in_each_process_is_each_rank_s_own() -> None:
    for stream in (DataLoader(Stream(4)), DataLoader(Sized(4)), iter([[1]])):
        share = share_of(stream, 1, 2, own=True)
        assert share.batches is stream
        assert not share.turns
    # With a length that counts it is the whole, built anew in each process.
    assert len(list(share_of(numbers(8), 1, 2, own=True).batches)) == 2


@pytest.mark.parametrize("rank_of_origin", [0, 1])
def test_distributed_sampler_of_the_user_is_kept_for_evaluation(rank_of_origin: int) -> None:
    """It may have come from another process: all ranks get the sampler for themselves, or none does."""

    def make() -> DataLoader[Any]:
        return numbers(5, sampler=DistributedSampler(Numbers(5), 2, rank_of_origin, shuffle=False))

    batches, _ = joined([share_of(make(), rank, 2) for rank in range(2)])
    assert flat(batches) == [0, 2, 4, 1, 3, 0]


# Worker processes.


@pytest.mark.usefixtures("workers_end")
def test_workers_of_a_share_are_started_once_if_they_persist_and_end_with_the_loader() -> None:
    loader = numbers(6, num_workers=1, persistent_workers=True)
    first: Any = share_of(loader, 1, 2).batches
    assert list(first) == [[4, 5]]
    workers = [child.pid for child in multiprocessing.active_children()]
    second = share_of(loader, 1, 2).batches
    assert second is first
    assert list(second) == [[4, 5]]
    assert [child.pid for child in multiprocessing.active_children()] == workers
    assert len(workers) == 1
    other = share_of(loader, 0, 2).batches
    assert other is not first
    assert loader._iterator is None
    gone = weakref.ref(first)
    del loader, first, second, other
    gc.collect()
    assert gone() is None
    assert multiprocessing.active_children() == []


@pytest.mark.usefixtures("workers_end")
def test_workers_that_do_not_persist_end_with_each_pass() -> None:
    loader = numbers(6, num_workers=1)
    for _ in range(2):
        assert list(share_of(loader, 0, 2).batches) == [[0, 1], [2, 3]]
        assert multiprocessing.active_children() == []
    stream = DataLoader(Stream(5), batch_size=2, num_workers=1, collate_fn=plain)
    assert list(share_of(stream, 1, 2).batches) == [[2, 3]]
    assert multiprocessing.active_children() == []


@pytest.mark.usefixtures("workers_end")
def test_agreement_of_a_kept_share_is_the_newest() -> None:
    sampler = RandomSampler(range(6), generator=torch.Generator())
    loader = numbers(6, sampler=sampler, num_workers=1, persistent_workers=True)
    share_of(loader, 0, 2)

    def agree(items: list[Any]) -> list[Any]:
        return [[0], [1]]

    assert list(share_of(loader, 0, 2, agree).batches) == [[0]]
