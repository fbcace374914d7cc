"""Parts of samplers and lists, without loaders round them."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import BatchSampler, SequentialSampler
from torch.utils.data.distributed import DistributedSampler

from compat._distributed.parts import Block, Slice, Strided, StridedBatches, Turns, bounds, is_indexed, length_of
from tests._distributed.loaders import Indexed, Pairs, Uncounted, Walked


class Lazy:
    """A sampler that draws when it is asked for its first index."""

    def __iter__(self) -> Iterator[int]:
        yield from torch.randperm(4).tolist()

    def __len__(self) -> int:
        return 4


@pytest.mark.parametrize("kind", [Strided, Block, Turns])
def test_part_draws_when_its_first_item_is_asked_for(kind: type[Strided | Block | Turns]) -> None:
    """A loader draws a seed for its workers in between, and the old loop's numbers come in that order."""
    iterator = iter(kind(Lazy(), 0, 2))
    before = torch.get_rng_state()
    next(iterator)
    assert not torch.equal(before, torch.get_rng_state())
    fresh = torch.get_rng_state()
    iter(kind(Lazy(), 0, 2))
    assert torch.equal(fresh, torch.get_rng_state())


def test_strides_are_equally_long_and_begin_anew() -> None:
    assert [list(Strided(range(5), rank, 3)) for rank in range(3)] == [[0, 3], [1, 4], [2, 0]]
    assert [list(Strided(range(1), rank, 3)) for rank in range(3)] == [[0], [0], [0]]
    assert list(Strided(range(0), 1, 3)) == []
    assert [len(Strided(range(count), 0, 3)) for count in (0, 1, 3, 4)] == [0, 1, 1, 2]


def test_blocks_follow_each_other() -> None:
    for count in range(18):
        for size in range(1, 5):
            ends = [bounds(count, rank, size) for rank in range(size)]
            assert [start for start, _ in ends] == [0, *(end for _, end in ends[:-1])]
            assert ends[-1][1] == count
    assert [list(Block(range(5), rank, 3)) for rank in range(3)] == [[0, 1], [2, 3], [4]]


def test_block_goes_by_what_there_is_and_not_by_an_estimate() -> None:
    parts = [Block(Pairs(6), rank, 2) for rank in range(2)]
    assert [len(part) for part in parts] == [2, 2]
    read = []
    for part in parts:
        torch.manual_seed(0)
        read.append([tuple(batch) for batch in part])
    assert [len(batches) for batches in read] == [2, 1]
    assert {*read[0], *read[1]} == {(0, 1), (2, 3), (4, 5)}


def test_turns_have_a_length_only_if_the_whole_has_one() -> None:
    assert [len(Turns(range(5), rank, 3)) for rank in range(3)] == [2, 2, 1]
    assert [list(Turns(Uncounted(5), rank, 3)) for rank in range(3)] == [[4, 1], [3, 0], [2]]
    with pytest.raises(TypeError):
        len(Turns(Uncounted(5), 0, 3))


@pytest.mark.parametrize(
    ("inner", "asks"),
    [
        (SequentialSampler(range(4)), False),
        (BatchSampler(SequentialSampler(range(4)), 2, drop_last=False), False),
        (Lazy(), True),
        (BatchSampler(DistributedSampler(range(4), 1, 0), 2, drop_last=False), True),  # type: ignore[arg-type]
    ],
    ids=["in order", "batches in order", "another", "batches of another"],
)
def test_ranks_agree_on_what_may_be_drawn_at_random(inner: Any, asks: bool) -> None:
    asked = []

    def agree(items: list[Any]) -> list[Any]:
        asked.append(list(items))
        return items

    assert list(Block(inner, 0, 1, agree))
    assert list(Strided(inner, 0, 1, agree))
    assert (len(asked) == 2) == asks
    assert bool(asked) == asks


def test_epoch_goes_through_a_part_to_the_sampler_inside() -> None:
    inner: DistributedSampler[int] = DistributedSampler(range(4), 1, 0)  # type: ignore[arg-type]
    Strided(BatchSampler(inner, 2, drop_last=False), 0, 2).set_epoch(5)
    assert inner.epoch == 5
    # Nobody inside who wants to know: nothing happens.
    Strided(range(4), 0, 2).set_epoch(6)
    StridedBatches([1, 2], 0, 2).set_epoch(6)


def test_slice_reads_its_batches_alone() -> None:
    part = Slice(Indexed(5), 1, 3)
    assert (list(part), list(part), len(part)) == ([[1], [2]], [[1], [2]], 2)


def test_batches_are_asked_for_by_number_only_where_that_is_how_they_are_read() -> None:
    assert is_indexed([1])
    assert is_indexed((1,))
    assert is_indexed(Indexed(2))
    assert not is_indexed(Walked(2))
    # A mapping by name, not by number.
    assert not is_indexed({0: 1})
    assert not is_indexed(iter([1]))


def test_length_of_what_has_none() -> None:
    assert (length_of([1]), length_of(Uncounted(3)), length_of(iter([])), length_of(None)) == (1, None, None, None)


def test_strided_batches_of_a_walked_loader_repeat_the_first_ones() -> None:
    torch.manual_seed(0)
    whole = list(Walked(4))
    parts = []
    for rank in range(3):
        torch.manual_seed(0)
        parts.append(list(StridedBatches(Walked(4), rank, 3)))
    assert parts == [[whole[0], whole[3]], [whole[1], whole[0]], [whole[2], whole[1]]]
