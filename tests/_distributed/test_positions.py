"""Where the ranks are, and which one the others wait for."""

import gc
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch.distributed as dist
from torch.distributed import HashStore  # type: ignore[attr-defined]  # public, but not re-exported for checkers

from compat._distributed import positions
from compat._distributed.positions import Board, Position, Reporter, blamed, machine, sight

NOBODY = "no such machine"


def position(rank: int, step: int = 5, **other: Any) -> Position:
    told: dict[str, Any] = {
        "number": 3,
        "batch": step,
        "meets": 2,
        "place": "the batch",
        "state": "",
        "detail": "",
        "where": "train.py:33 in on_batch_end",
        "waits": True,
        "stack": ("outer.py:1 in main", "train.py:33 in on_batch_end"),
        "machine": NOBODY,
        "pid": 1,
    }
    return Position(rank=rank, step=step, **{**told, **other})


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positions, "_PAUSE", 0)


def judged(own: Position, *others: Position, later: list[Position] | None = None) -> str | None:
    """Blame with what the others posted first, and what they posted after the pause; a new post each, unless told."""
    again = [replace(other, number=other.number + 2) for other in others] if later is None else later
    readings: Iterator[list[Position]] = iter([list(others), again])
    error = blamed(lambda: next(readings), own)
    return None if error is None else str(error)


def test_a_rank_that_is_a_batch_behind_is_blamed_with_its_stack() -> None:
    told = judged(position(0), position(1, step=4), position(2))
    assert told is not None
    assert told.startswith("rank 1 is behind the others; rank 1 was in batch 4 (the batch), at train.py:33")
    assert told.endswith("    outer.py:1 in main\n    train.py:33 in on_batch_end")


def test_fewer_meetings_in_the_same_batch_are_behind_too() -> None:
    assert "rank 2 is behind" in (judged(position(0), position(1), position(2, meets=1)) or "")


def test_this_rank_may_be_the_one_behind() -> None:
    assert "rank 0 is behind" in (judged(position(0, step=4), position(1)) or "")


def test_at_the_same_point_it_is_the_busy_one() -> None:
    assert "rank 1 is behind" in (judged(position(0), position(1, waits=False), position(2)) or "")


def test_several_behind_are_all_named() -> None:
    told = judged(position(0), position(1, step=4), position(2, step=4), position(3, step=4))
    assert "rank 1 is behind the others, as are ranks 2, 3; rank 1 was" in (told or "")


def test_nobody_is_blamed_where_none_stands_out() -> None:
    assert judged(position(0), position(1), position(2)) is None
    assert judged(position(0, waits=False), position(1, waits=False)) is None
    assert judged(position(0)) is None


def test_a_rank_that_stopped_posting_comes_before_one_that_is_behind() -> None:
    told = judged(position(0), position(1, step=4), position(2), later=[position(1, step=4, number=5), position(2)])
    assert "rank 2 has given no sign of life" in (told or "")


def test_a_failure_comes_before_all_and_needs_no_pause() -> None:
    told = judged(position(0), position(1, step=4), position(2, state="failed", detail="ValueError: no"), later=[])
    assert told == "rank 2 failed: ValueError: no"


def test_a_failure_that_another_rank_caused_comes_last() -> None:
    lost = position(1, state="failed", detail="RuntimeError: [gloo/pair.cc:5] Connection closed by peer")
    assert (
        judged(position(0), lost, position(2, state="failed", detail="ValueError: no"))
        == "rank 2 failed: ValueError: no"
    )
    assert "rank 1 failed: RuntimeError" in (judged(position(0), lost, position(2)) or "")
    # No process has this number: it is above the most that Linux hands out.
    ended = position(2, machine=machine(), pid=1 << 23)
    assert "rank 2 is gone" in (judged(position(0), lost, ended) or "")


def test_a_rank_that_left_is_not_behind() -> None:
    gone = position(1, step=1, state="left")
    assert judged(position(0), gone, position(2), later=[gone, position(2, number=9)]) is None


def test_a_process_that_has_ended_is_gone_whether_waited_for_or_not() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        there = position(1, machine=machine(), pid=child.pid)
        assert not there.is_gone()
        child.kill()
        deadline = time.monotonic() + 20
        while not there.is_gone():
            assert time.monotonic() < deadline
        assert "rank 1 is gone: its process has ended;" in (judged(position(0), there, later=[]) or "")
    assert there.is_gone()
    assert not replace(there, machine=NOBODY).is_gone()


def test_a_board_returns_what_was_posted_last() -> None:
    board = Board(HashStore())
    assert board.read(1) is None
    board.post(position(1))
    board.post(position(1, step=6))
    assert board.read(1) == position(1, step=6)


def test_a_reporter_posts_at_once_and_ends_when_told() -> None:
    board = Board(HashStore())
    reporter = Reporter(board, lambda: position(0))
    deadline = time.monotonic() + 20
    while board.read(0) is None:
        assert time.monotonic() < deadline
    reporter.stop()
    assert "compat-position" not in {thread.name for thread in threading.enumerate()}


def test_a_reporter_ends_when_the_store_is_gone() -> None:
    def look() -> Position:
        raise dist.DistNetworkError("gone")

    reporter = Reporter(Board(HashStore()), look)
    reporter._thread.join(20)
    assert not reporter._thread.is_alive()


def test_sight_names_the_innermost_line_of_the_user() -> None:
    seen = sight(threading.get_ident())
    assert seen.where.startswith("test_positions.py:")
    assert seen.where.endswith("in test_sight_names_the_innermost_line_of_the_user")
    assert seen.stack[-1].endswith("in sight")
    assert any("test_positions.py" in line for line in seen.stack)


def test_sight_holds_nobodys_work() -> None:
    class Work:
        pass

    def look() -> weakref.ref[Work]:
        work = Work()
        sight(threading.get_ident())
        return weakref.ref(work)

    gc.disable()
    try:
        assert look()() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("in_torch", [True, False])
def test_sight_tells_waiting_from_being_busy(in_torch: bool) -> None:
    ended, store = threading.Event(), HashStore()

    def wait_for_ranks() -> None:
        # A function of this name in a module of torch: all that can be seen of a collective operation.
        place: dict[str, Any] = {
            "__name__": "torch.distributed.distributed_c10d" if in_torch else "users_own",
            "ended": ended,
        }
        exec("def barrier(): ended.wait()", place)
        place["barrier"]()
        store.set("done", "")

    thread = threading.Thread(target=wait_for_ranks)
    thread.start()
    try:
        seen = sight(thread.ident or 0)
        while "in barrier" not in "".join(seen.stack):
            seen = sight(thread.ident or 0)
        assert seen.waits is in_torch
    finally:
        ended.set()
        thread.join()
    assert store.check(["done"])
    assert sight(thread.ident or 0).where == "its end"


def test_a_position_without_a_stack_ends_its_sentence() -> None:
    assert position(0, stack=()).traceback() == "."


def test_a_rank_that_failed_for_waiting_in_vain_blames_the_one_that_did_not_come() -> None:
    own = position(0, step=5, state="failed", detail="RuntimeError: Timed out waiting")
    told = judged(own, position(1, step=4))
    assert told is not None
    assert told.startswith("rank 1 is behind the others")
