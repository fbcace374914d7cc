"""The ranks of a fit in real processes: what they exchange, and what they say when one of them goes astray."""

import signal
import socket
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from compat._distributed.ranks import Ranks, drain
from tests._distributed import rank_workers
from tests._distributed.rank_workers import COUNTS, MIB, outcomes

pytestmark = pytest.mark.timeout(150)


@pytest.fixture(scope="module")
def in_step(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What three ranks had that did everything right."""
    folder: Path = tmp_path_factory.mktemp("in_step")
    return outcomes(folder, rank_workers.in_step, 3, f"file://{folder}/store")


@pytest.fixture(scope="module")
def out_of_step(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What rank 0 saw of rank 1's mistakes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("out_of_step")
    told = outcomes(folder, rank_workers.out_of_step, 2, f"tcp://127.0.0.1:{port}")
    assert isinstance(told[0], dict), told
    return told[0]


def test_the_ranks_know_themselves(in_step: list[Any]) -> None:
    for rank, told in enumerate(in_step):
        assert told["who"][:5] == (rank, 3, rank, rank == 0, False)


def test_a_rank_that_runs_alone_is_refused_what_needs_all(in_step: list[Any]) -> None:
    for rank, told in enumerate(in_step):
        refused = told["who"][5]
        assert len(refused) == 4
        assert set(refused) == {refused[0]}
        assert refused[0].startswith(
            f"predict() needs all processes, but runs on rank {rank} alone, in a callback with"
        )


def test_a_meeting_is_cheap(in_step: list[Any]) -> None:
    # Half a millisecond on a quiet machine.
    assert max(told["who"][6] for told in in_step) < 0.05


def test_values_large_and_small_reach_every_rank(in_step: list[Any]) -> None:
    for told in in_step:
        everybody, is_own, small, large, total = told["trade"]
        assert everybody == [(0, 3, 0), (1, 3 + MIB, 1), (2, 3, 2)]
        assert is_own
        assert (small, large, total) == (("from", 0), 0, MIB)


def test_items_come_in_the_order_of_the_ranks_or_in_turns(in_step: list[Any]) -> None:
    in_order = [(rank, number) for rank, count in enumerate(COUNTS) for number in range(count)]
    turns = sorted(in_order, key=lambda item: (item[1], item[0]))
    assert turns != in_order
    for told in in_step:
        one_after_another, in_turns, kept, drained, rest, lazy, nothing, many = told["order"]
        assert one_after_another == drained == in_order
        assert in_turns == lazy == turns
        assert kept
        assert rest == nothing == []
        assert many


def test_items_of_any_kind_and_size_arrive(in_step: list[Any]) -> None:
    for rank, told in enumerate(in_step):
        facts, texts, is_own = told["kinds"]
        assert facts == [(["a"] * 3, [source, source], source, source == rank) for source in range(3)]
        assert texts == ["x"] * 3
        assert is_own


def test_a_rank_that_cannot_make_its_items_stops_all_of_them(in_step: list[Any]) -> None:
    (first, second, third) = (told["failing"] for told in in_step)
    why = "rank 1 failed while it made its part of predict(): KeyError: 'no such row'"
    # All of rank 0's, and what rank 1 had made of its own up to then.
    assert first[0] == third[0] == ("OutOfStepError", why, 1, 600 + 512)
    assert second[0] == ("KeyError", "'no such row'", None, 600 + 512)
    assert first[1] == second[1] == third[1] == [0, 1, 2]


def test_a_rank_in_the_next_batch_is_named_within_seconds(out_of_step: dict[str, Any]) -> None:
    (kind, message, culprit), seconds = out_of_step["_goes_on"]
    assert (kind, culprit) == ("OutOfStepError", None)
    assert message.startswith("rank 0 called predict_on_test_set() (batch 5, rank_workers.py:")
    assert " while rank 1 went on to batch 6 (the batch, rank_workers.py:" in message
    assert "in dawdle). All processes have to make the same calls" in message
    assert seconds < 20


def test_the_rank_behind_is_blamed_with_its_place(out_of_step: dict[str, Any]) -> None:
    told, seconds = out_of_step["_lags"]
    assert told.startswith("rank 1 is behind the others; rank 1 was in batch 5 (the batch), at rank_workers.py:")
    assert " in dawdle. Its stack, innermost last:\n" in told
    assert seconds < 20


def test_a_stopped_rank_is_blamed(out_of_step: dict[str, Any]) -> None:
    assert out_of_step["_is_stopped"][0].startswith("rank 1 has given no sign of life")


def test_a_rank_that_failed_says_so_to_who_waits(out_of_step: dict[str, Any]) -> None:
    (kind, message, culprit), seconds = out_of_step["_fails"]
    assert (kind, culprit) == ("OutOfStepError", 1)
    assert message.endswith("while rank 1 failed: ValueError: no rows")
    assert seconds < 20


def test_a_rank_that_tells_of_its_failure_need_not_leave_for_that(out_of_step: dict[str, Any]) -> None:
    ((kind, message, culprit), blame), seconds = out_of_step["_tells"]
    assert (kind, culprit) == ("OutOfStepError", 1)
    assert message.endswith("while rank 1 failed: KeyError: 'no column'")
    assert blame == "rank 1 failed: KeyError: 'no column'"
    assert seconds < 20


def test_a_stream_that_breaks_off_does_not_hang(out_of_step: dict[str, Any]) -> None:
    (kind, message, _), seconds = out_of_step["_breaks_off"]
    assert kind != "nothing"
    assert "losed by peer" in message
    assert seconds < 20


def test_a_rank_that_does_not_come_in_time_is_named_with_its_stack(out_of_step: dict[str, Any]) -> None:
    (kind, message, culprit), seconds = out_of_step["_is_late"]
    assert (kind, culprit) == ("OutOfStepError", 1)
    assert "while rank 1 did not come within 4 seconds. Last, rank 1 was in batch 5 (the batch), at" in message
    assert ". Its stack, innermost last:\n" in message
    assert message.endswith(" in dawdle")
    assert 4 <= seconds < 8


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads the memory's peak from Linux")
def test_a_stream_holds_no_more_than_a_few_messages(out_of_step: dict[str, Any]) -> None:
    streamed, kept = out_of_step["_keeps_memory"][0]
    assert streamed < 40
    # The measure itself: who keeps the items holds the other rank's 100 MB.
    assert kept > 80


def test_a_rank_that_is_killed_is_named_within_seconds(tmp_path: Path) -> None:
    told, exit_code = outcomes(tmp_path, rank_workers.one_dies, 2, f"file://{tmp_path}/store")
    assert exit_code == -signal.SIGKILL
    (kind, message, culprit), seconds, blame = told
    assert (kind, culprit) == ("OutOfStepError", 1)
    assert "while rank 1 is gone: its process has ended. Last, rank 1 was before the first batch" in message
    assert blame.startswith("rank 1 is gone: its process has ended; rank 1 was before the first batch")
    assert seconds < 20


def test_a_single_process_waits_for_nobody(tmp_path: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        ranks = Ranks(timedelta(seconds=5))
        ranks.at("the batch", 1)
        ranks.meet("a()")
        value = object()
        assert ranks.exchange("b()", value) == [value]
        assert ranks.share("c()", value) is value
        assert list(ranks.stream("d()", [value])) == list(ranks.stream("d()", [value], turns=True)) == [value]
        assert (ranks.rank, ranks.size, ranks.local_rank, ranks.is_main) == (0, 1, 0, True)
        assert ranks.blame() is None
        assert "compat-position" not in {thread.name for thread in threading.enumerate()}
        ranks.close()
        ranks.close()
    finally:
        dist.destroy_process_group()


def test_ranks_need_a_process_group() -> None:
    with pytest.raises(ValueError, match="process group"):
        Ranks(timedelta(seconds=5))


def test_the_way_to_the_store_of_the_process_group_is_still_there() -> None:
    assert callable(dist.distributed_c10d._get_default_store)


def test_a_drained_list_is_empty_item_by_item() -> None:
    items = [1, 2, 3]
    draining = drain(items)
    assert next(draining) == 1
    assert len(items) == 2
    assert list(draining) == [2, 3]
    assert items == []
