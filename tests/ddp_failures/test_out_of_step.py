"""Processes that wait for each other in vain: a hang, and calls that only one of them makes."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compat import TrainLoop
from compat.exceptions import DriftError, OutOfStepError, WorkerError
from tests.ddp_failures import faults
from tests.ddp_failures.watching import is_alive

pytestmark = pytest.mark.timeout(150)

TIMEOUT = 8


def error_of(loop: Any, callback: Any = None) -> WorkerError:
    with pytest.raises(WorkerError) as caught:
        loop.fit(num_epochs=2, callbacks=[callback] if callback is not None else None, **faults.ON_TWO)
    return caught.value


@pytest.mark.parametrize(
    ("make", "place"),
    [
        (lambda fault: (faults.make_loop(), faults.FaultyHook("on_epoch_end", fault)), "in sleeps"),
        (lambda fault: (faults.make_loop(), faults.FaultyHook("on_batch_end", fault)), "in sleeps"),
        (lambda fault: (faults.make_loop(faults.FaultyNet(fault)), None), "in loops"),
    ],
    ids=["asleep when an epoch ends", "asleep between two batches", "an endless loop in get_loss"],
)
def test_a_hang_ends_with_the_rank_its_place_and_its_stack(
    make: Callable[[Any], Any], place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPAT_DDP_TIMEOUT", str(TIMEOUT))
    loop, callback = make(faults.Marked(tmp_path, faults.loops if place == "in loops" else faults.sleeps))
    error = error_of(loop, callback)
    since, pid = (tmp_path / "rank-1.mark").read_text().split()
    # The timeout, the looking round for who is to blame, and the ending of the process that hangs.
    assert TIMEOUT <= time.time() - float(since) < TIMEOUT + 12
    assert not is_alive(int(pid))
    assert error.rank == 1
    headline = str(error).splitlines()[0]
    assert headline.startswith("rank 1 ")
    assert "faults.py" in headline
    assert place in headline
    stack = str(error)[str(error).index("innermost last") :]
    assert f"tests/ddp_failures/faults.py:{_line(headline)} {place}" in stack
    assert isinstance(error.__cause__, OutOfStepError)


def _line(headline: str) -> str:
    return headline.split("faults.py:")[1].split()[0]


@pytest.mark.parametrize("hook", ["epoch_begin", "batch_end", "epoch_end", "train_end"])
def test_a_call_of_the_main_process_alone_ends_with_both_ranks_and_calls(hook: str, tmp_path: Path) -> None:
    # The timeout of these tests is half a minute; it takes seconds to see that nobody will come.
    error = error_of(faults.make_loop(), faults.alone(hook, tmp_path))
    assert time.time() - float((tmp_path / "rank-0.mark").read_text().split()[0]) < 10
    said = str(error.__cause__)
    assert isinstance(error.__cause__, OutOfStepError)
    assert "rank 0 called predict_on_validation_set() (" in said
    assert "faults.py:" in said
    assert "rank 1 went on to " in said
    assert "All processes have to make the same calls" in said
    assert said.splitlines()[0] in str(error)


@pytest.mark.parametrize(
    ("cls", "callbacks"),
    [(TrainLoop, [faults.ChangesWeight()]), (faults.PastTheWrapperLoop, [])],
    ids=["a callback changes a weight in one process", "an override passes by the wrapper"],
)
def test_weights_that_drift_apart_end_the_fit(cls: Any, callbacks: list[Any]) -> None:
    error = error_of(faults.make_loop(cls=cls), *callbacks)
    assert isinstance(error.__cause__, DriftError)
    assert "'first.weight' of rank 1 is not that of rank 0" in str(error).splitlines()[0]
