"""Meetings: all come for the same, or each is told who did what. The ranks are threads here, with a store in memory."""

import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from torch.distributed import HashStore  # type: ignore[attr-defined]  # public, but not re-exported for checkers

from compat._distributed import lockstep
from compat._distributed.lockstep import Arrival, Lockstep
from compat._distributed.positions import Board, Position, machine
from compat.exceptions import OutOfStepError

PREDICT, EPOCH_END = "predict_on_test_set()", "the end of epoch 2"


def coming(call: str = PREDICT, step: int = 5, batch: int | None = None, load: bytes = b"") -> Arrival:
    return Arrival(call, step, step if batch is None else batch, "train.py:33 in on_batch_end", load)


def outcomes(size: int, does: Callable[[Lockstep, int], Any], seconds: float = 20, store: Any = None) -> list[Any]:
    """Let each rank do something in a thread; return what it gave or raised, by rank."""
    store = HashStore() if store is None else store

    def run(rank: int) -> Any:
        try:
            return does(Lockstep(store, rank, size, timedelta(seconds=seconds)), rank)
        except OutOfStepError as error:
            return error

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(run, range(size)))


def messages(size: int, arrivals: list[Arrival], **other: Any) -> list[str]:
    """Let each rank come for something; return what it was told."""
    told = outcomes(size, lambda steps, rank: steps.meet(arrivals[rank]), **other)
    assert all(isinstance(each, OutOfStepError) for each in told)
    return [str(each) for each in told]


@contextmanager
def posting(store: Any, changes: Callable[[], dict[str, Any]] = dict, every: float = 0.02) -> Iterator[None]:
    """Post positions of rank 1, which never comes to a meeting."""
    ended, numbers = threading.Event(), iter(range(10**6))

    def run() -> None:
        told: dict[str, Any] = {"batch": 5, "step": 5, "meets": 0, "place": "the batch", "state": "", "detail": ""}
        seen: dict[str, Any] = {"where": "train.py:40 in wait", "waits": True, "stack": ("train.py:40 in wait",)}
        while not ended.wait(every):
            who = {"rank": 1, "number": next(numbers), "machine": machine(), "pid": os.getpid()}
            Board(store).post(Position(**{**who, **told, **seen, **changes()}))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lockstep, "_LOOK", 0.1)


def alone(store: Any, mine: Arrival, seconds: float = 20) -> OutOfStepError:
    """Let rank 0 of two come to a meeting, where the other never does; return what it raised."""
    with pytest.raises(OutOfStepError) as caught:
        Lockstep(store, 0, 2, timedelta(seconds=seconds)).meet(mine)
    return caught.value


def test_all_get_what_each_brought_and_old_keys_go() -> None:
    store = HashStore()

    def does(steps: Lockstep, rank: int) -> Any:
        for number in range(50):
            last = steps.meet(coming(step=number, load=bytes([rank, number])))
        return [each.load for each in last], steps.passed

    assert outcomes(3, does, store=store) == [([bytes([rank, 49]) for rank in range(3)], 50)] * 3
    assert store.num_keys() <= 2 * 3


def test_nobody_goes_on_before_all_have_come() -> None:
    came = []

    def does(steps: Lockstep, rank: int) -> Any:
        time.sleep(0.3 * rank)
        came.append(rank)
        steps.meet(coming())
        return len(came)

    assert outcomes(3, does) == [3, 3, 3]


def test_other_calls_are_told_to_every_rank() -> None:
    told = messages(3, [coming(EPOCH_END), coming(PREDICT), coming(EPOCH_END)])
    assert told[0] == told[1] == told[2]
    assert told[0].startswith(
        "rank 1 called predict_on_test_set() (batch 5, train.py:33 in on_batch_end) "
        "while ranks 0, 2 went on to the end of epoch 2 (batch 5, train.py:33 in on_batch_end). All processes"
    )
    assert "`if is_main_process():`" in told[0]
    assert "device_idx_execution=0" in told[0]


def test_the_same_call_in_another_batch_is_another_call() -> None:
    told = messages(2, [coming(step=5), coming(step=6)])
    assert "rank 0 called predict_on_test_set() (batch 5, " in told[0]
    assert "while rank 1 called predict_on_test_set() (batch 6, " in told[1]


def test_two_that_disagree_do_not_wait_for_a_third() -> None:
    def does(steps: Lockstep, rank: int) -> Any:
        if rank < 2:
            steps.meet(coming([PREDICT, EPOCH_END][rank]))
        return "not there"

    started = time.monotonic()
    first, second, third = outcomes(3, does, seconds=60)
    assert str(first) == str(second)
    assert third == "not there"
    assert time.monotonic() - started < 20


def test_after_an_error_the_ranks_can_meet_again() -> None:
    def does(steps: Lockstep, rank: int) -> Any:
        with pytest.raises(OutOfStepError):
            steps.meet(coming([PREDICT, EPOCH_END][rank]))
        return [each.call for each in steps.meet(coming("next()"))]

    assert outcomes(2, does) == [["next()"] * 2] * 2


def test_a_rank_that_went_on_to_the_next_batch_is_not_waited_for() -> None:
    store = HashStore()
    with posting(store, lambda: {"batch": 6, "step": 6}):
        error = alone(store, coming(), seconds=60)
    assert str(error).startswith(
        "rank 0 called predict_on_test_set() (batch 5, train.py:33 in on_batch_end) while rank 1"
    )
    assert "rank 1 went on to batch 6 (the batch, train.py:40 in wait). All processes have to make" in str(error)
    assert error.culprit is None


@pytest.mark.parametrize(
    "ahead",
    [
        pytest.param({"batch": 5, "step": 5}, id="in the same batch"),
        pytest.param({"batch": 4, "step": 4}, id="a batch behind"),
        pytest.param({"batch": 9, "step": 2}, id="before a callback set the counter back"),
        pytest.param({"batch": 1, "step": 9}, id="with a counter of its own"),
    ],
)
def test_a_slow_rank_is_waited_for(ahead: dict[str, Any]) -> None:
    store = HashStore()
    with posting(store, lambda: ahead):
        error = alone(store, coming(), seconds=0.5)
    assert "rank 1 did not come within 0.5 seconds. Last, rank 1 was in batch" in str(error)
    assert str(error).endswith("at train.py:40 in wait. Its stack, innermost last:\n    train.py:40 in wait")
    assert error.culprit == 1


def test_a_post_from_before_the_meeting_says_nothing() -> None:
    store = HashStore()
    with posting(store, lambda: {"batch": 6, "step": 6}):
        time.sleep(0.2)
    assert "did not come within 0.5 seconds" in str(alone(store, coming(), seconds=0.5))


def test_a_rank_that_failed_is_not_waited_for() -> None:
    store = HashStore()
    with posting(store, lambda: {"state": "failed", "detail": "ValueError: no rows"}):
        error = alone(store, coming(), seconds=60)
    assert str(error).endswith("while rank 1 failed: ValueError: no rows")
    assert error.culprit == 1


def test_a_rank_that_left_is_not_waited_for() -> None:
    store = HashStore()
    with posting(store, lambda: {"state": "left"}):
        assert "while rank 1 had ended its fit. All processes" in str(alone(store, coming(), seconds=60))


def test_a_process_that_is_gone_is_not_waited_for() -> None:
    store = HashStore()
    # No process has this number: it is above the most that Linux hands out.
    with posting(store, lambda: {"pid": 1 << 23}):
        error = alone(store, coming(), seconds=60)
    assert "while rank 1 is gone: its process has ended. Last, rank 1 was in batch 5" in str(error)
    assert error.culprit == 1


def test_a_rank_that_never_posted_is_named_all_the_same() -> None:
    error = alone(HashStore(), coming(), seconds=0.5)
    assert "rank 1 did not come within 0.5 seconds. Last, rank 1 never said where it is" in str(error)


def test_a_rank_that_came_and_then_left_has_come() -> None:
    store = HashStore()

    def does(steps: Lockstep, rank: int) -> Any:
        time.sleep(0.5 if rank == 2 else 0)
        return len(steps.meet(coming()))

    with posting(store, lambda: {"state": "left"} if store.check(["1/1"]) else {}):
        assert outcomes(3, does, store=store) == [3, 3, 3]


def test_an_error_keeps_its_culprit_on_its_way_to_another_process() -> None:
    copy = pickle.loads(pickle.dumps(OutOfStepError("why", 3)))
    assert (str(copy), copy.culprit) == ("why", 3)
