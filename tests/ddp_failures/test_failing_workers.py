"""A process of a fit that raises, dies or leaves: the parent says which one and why, and is as it was before."""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import torch

from compat.exceptions import WorkerError
from tests.ddp_failures import faults
from tests.ddp_failures.watching import state_of_loop, within

pytestmark = pytest.mark.timeout(150)


def with_faulty_luggage() -> Any:
    loop = faults.make_loop()
    loop.of_the_user = faults.FaultyLuggage()
    return loop


@dataclass(frozen=True)
class Case:
    """A way to fail, and what is to be said of it."""

    make: Callable[[], Any] = faults.make_loop
    callback: Callable[[], Any] | None = None
    says: str = ""
    at: str = ""
    cause: type[BaseException] | None = None
    exitcode: int = 1
    signal: int | None = None


CASES = {
    "raises in get_loss": Case(
        lambda: faults.make_loop(faults.FaultyNet(faults.error)),
        says="rank 1 failed: ValueError: no good\n",
        at="faults.py",
        cause=ValueError,
    ),
    "raises an odd error in a hook": Case(
        callback=lambda: faults.FaultyHook("on_epoch_end", faults.odd_error),
        says="rank 1 failed: OddError: odd (7)\n",
        at="in execute_epoch_end",
        cause=faults.OddError,
    ),
    "cannot unpickle": Case(
        with_faulty_luggage,
        says="rank 1 failed: ValueError: no good luggage\n",
        at="in __setstate__",
        cause=ValueError,
    ),
    "raises when a callback is registered": Case(
        callback=lambda: faults.FaultyHook("on_train_loop_registration", faults.error),
        says="rank 1 failed: ValueError: no good\n",
        at="in register_callbacks",
        cause=ValueError,
    ),
    "is killed": Case(
        callback=lambda: faults.FaultyHook("on_batch_end", faults.killed),
        says="rank 1 was killed by SIGKILL: out of memory is the usual reason.",
        exitcode=-9,
        signal=9,
    ),
    "calls sys.exit": Case(
        callback=lambda: faults.FaultyHook("on_batch_end", faults.exits),
        says="rank 1 failed: it called sys.exit(2) before the training was over\n",
        at="in exits",
        cause=SystemExit,
    ),
    "calls os._exit": Case(
        lambda: faults.make_loop(faults.FaultyNet(faults.exits_hard)),
        says="rank 1 ended with exit code 3 before the training was over",
        exitcode=3,
    ),
}


def failed_fit(loop: Any, callback: Any = None) -> WorkerError:
    """Fit, and return the error; the loop must be as it was."""
    loop.prediction_store.insert_val_predictions(loop.predict_on_validation_set(), 3)
    before, of_callback = state_of_loop(loop), dict(vars(callback or loop))
    with pytest.raises(WorkerError) as caught:
        loop.fit(num_epochs=2, callbacks=[callback] if callback is not None else None, **faults.ON_TWO)
    assert state_of_loop(loop) == before
    assert vars(callback or loop) == of_callback
    assert caught.value.rank == 1
    return caught.value


@pytest.mark.parametrize("name", CASES)
def test_the_error_says_which_process_failed_and_why(name: str) -> None:
    case = CASES[name]
    error = failed_fit(case.make(), case.callback() if case.callback else None)
    assert str(error).startswith(case.says)
    assert case.at in str(error)
    assert (error.exitcode, error.signal) == (case.exitcode, case.signal)
    assert type(error.__cause__) is (case.cause or type(None))
    # The consequences for rank 0 are no news.
    assert "gloo" not in str(error)


def test_a_signal_from_outside(tmp_path: Path) -> None:
    mark = tmp_path / "rank-1.mark"

    over = Event()

    def end() -> None:
        assert within(100, lambda: mark.exists() or over.is_set())
        faults.end(int(mark.read_text().split()[1]))

    helper = Thread(target=end)
    helper.start()
    try:
        error = failed_fit(
            faults.make_loop(), faults.FaultyHook("on_batch_end", faults.Marked(tmp_path, faults.sleeps))
        )
    finally:
        over.set()
        helper.join()
    assert str(error).startswith("rank 1 was killed by SIGTERM: something outside the program ended it.")
    assert (error.exitcode, error.signal) == (-signal.SIGTERM, signal.SIGTERM)


def test_the_same_loop_trains_after_a_failed_fit(tmp_path: Path) -> None:
    in_the_way = tmp_path / "in the way"
    in_the_way.touch()
    loop = faults.make_loop(faults.FaultyNet(faults.FailsIf(in_the_way)))
    recorder = faults.Notes()
    failed_fit(loop, recorder)
    assert recorder.epochs == []
    in_the_way.unlink()
    started = time.monotonic()
    # Given again, as a notebook does: it must not be there twice.
    assert loop.fit(num_epochs=2, callbacks=[recorder], **faults.ON_TWO) is loop.model
    assert time.monotonic() - started < 60
    assert recorder.epochs == [0, 1]
    never_failed = faults.make_loop(faults.FaultyNet(faults.FailsIf(in_the_way)))
    never_failed.fit(num_epochs=2, **faults.ON_TWO)
    for name, value in never_failed.model.state_dict().items():
        assert torch.equal(loop.model.state_dict()[name], value), name
    assert loop.train_history.train_history == never_failed.train_history.train_history
    assert [len(values) for values in loop.train_history.train_history.values()] == [2, 2, 2]
    assert (loop.epoch, loop.total_iteration_idx) == (1, 11)
