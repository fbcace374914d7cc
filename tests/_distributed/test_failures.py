"""What a failing worker leaves, and whose fault the parent finds it to be."""

import multiprocessing
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from compat._distributed import failures
from compat.exceptions import CompatError, OutOfStepError, WorkerError
from tests._distributed.launch_workers import AwkwardError

PEER_GONE = "[/gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:52135"


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001
        return caught


def chained(first: BaseException, second: BaseException, *, explicit: bool = False) -> BaseException:
    try:
        try:
            raise first
        except BaseException as error:
            if explicit:
                raise second from error
            raise second  # noqa: B904 - the implicit chain is what is tried
    except BaseException as caught:  # noqa: BLE001
        return caught


def record(folder: Path, rank: int, error: BaseException, *, secondary: bool = False) -> None:
    failures.record(str(folder), rank, raised(error), secondary)


@pytest.mark.parametrize(
    ("error", "secondary"),
    [
        (RuntimeError(PEER_GONE), True),
        (RuntimeError("NCCL error: unhandled system error"), True),
        (RuntimeError("Timed out waiting 1800000ms for recv operation to complete"), True),
        (ConnectionResetError("Connection reset by peer"), False),
        (dist.DistNetworkError("whatever it says"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("the gloo of my data set"), False),
        (KeyboardInterrupt(), False),
        (chained(RuntimeError(PEER_GONE), ValueError("while cleaning up")), True),
        (chained(RuntimeError(PEER_GONE), ValueError("told my way"), explicit=True), True),
        (chained(ValueError("the cause"), RuntimeError(PEER_GONE)), False),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_consequences_are_told_from_causes(error: BaseException, secondary: bool) -> None:
    assert failures.is_secondary(error) is secondary


def test_a_chain_that_bites_its_tail_ends() -> None:
    first, second = ValueError("a"), RuntimeError("b")
    first.__cause__, second.__cause__ = second, first
    assert failures.is_secondary(first) is False


def test_the_parent_s_error_has_the_rank_the_traceback_and_the_error(tmp_path: Path) -> None:
    error = raised(ValueError("no good\nat all"))
    error.add_note("rank 0 was in epoch 3")
    failures.record(str(tmp_path), 1, error, False)
    found = failures.worker_error(str(tmp_path), {1: 1})
    assert str(found).startswith("rank 1 failed: ValueError: no good\n\nIn the worker process of rank 1:\n\nTraceback")
    assert "raise error" in str(found)
    assert str(found).endswith("rank 0 was in epoch 3")
    assert (found.rank, found.exitcode, found.signal) == (1, 1, None)
    assert isinstance(found, CompatError)
    assert isinstance(found, RuntimeError)
    assert isinstance(found.__cause__, ValueError)
    assert found.__cause__.args == ("no good\nat all",)
    assert found.__cause__.__traceback__ is None


def test_a_worker_error_can_be_pickled_itself() -> None:
    found = pickle.loads(pickle.dumps(WorkerError("text", rank=2, exitcode=-9, signal=9)))
    assert (str(found), found.rank, found.exitcode, found.signal) == ("text", 2, -9, 9)


def test_a_cause_beats_an_earlier_consequence(tmp_path: Path) -> None:
    record(tmp_path, 0, RuntimeError(PEER_GONE), secondary=True)
    record(tmp_path, 2, ValueError("the cause"))
    time.sleep(0.01)
    record(tmp_path, 1, ValueError("too late"))
    found = failures.worker_error(str(tmp_path), {0: 1})
    assert (found.rank, str(found.__cause__)) == (2, "the cause")


def test_a_silent_death_beats_a_consequence_and_not_a_cause(tmp_path: Path) -> None:
    record(tmp_path, 0, RuntimeError(PEER_GONE), secondary=True)
    found = failures.worker_error(str(tmp_path), {1: -signal.SIGKILL})
    assert (found.rank, found.exitcode, found.signal) == (1, -9, signal.SIGKILL)
    record(tmp_path, 0, ValueError("the cause"))
    assert failures.worker_error(str(tmp_path), {1: -signal.SIGTERM}).rank == 0


@pytest.mark.parametrize(
    ("exitcode", "text"),
    [
        (-9, "rank 3 was killed by SIGKILL: out of memory is the usual reason"),
        (-15, "rank 3 was killed by SIGTERM: something outside the program ended it"),
        (-7, "SIGBUS: no room left in shared memory"),
        (-11, "SIGSEGV: a fault in native code"),
        (-6, "rank 3 was killed by SIGABRT. It left"),
        (-33, "rank 3 was killed by signal 33. It left"),
        (3, "rank 3 ended with exit code 3 before the training was over"),
        (1, 'Is `if __name__ == "__main__":` missing?'),
    ],
)
def test_a_worker_without_last_words_is_described(tmp_path: Path, exitcode: int, text: str) -> None:
    found = failures.worker_error(str(tmp_path), {3: exitcode})
    assert text in str(found)
    assert (found.rank, found.exitcode, found.__cause__) == (3, exitcode, None)
    assert ("missing?" in str(found)) is (exitcode == 1)


def test_only_consequences_blame_nobody(tmp_path: Path) -> None:
    record(tmp_path, 1, RuntimeError(PEER_GONE), secondary=True)
    found = failures.worker_error(str(tmp_path), {1: 1})
    assert str(found).startswith("rank 1 failed in an exchange with the other processes: RuntimeError: [/gloo")
    assert "another machine" in str(found)
    assert isinstance(found.__cause__, RuntimeError)


def test_whom_a_worker_blames_is_the_cause(tmp_path: Path) -> None:
    started = time.monotonic()
    failures.leave(str(tmp_path), 0, raised(OutOfStepError("rank 2 did not come", culprit=2)))
    assert time.monotonic() - started > 0.9
    record(tmp_path, 1, RuntimeError(PEER_GONE), secondary=True)
    found = failures.worker_error(str(tmp_path), {0: 1})
    assert found.rank == 2
    assert str(found).startswith("rank 2 did not go on, says rank 0: rank 2 did not come")
    assert isinstance(found.__cause__, OutOfStepError)


def test_who_blames_itself_does_not_wait(tmp_path: Path) -> None:
    started = time.monotonic()
    failures.leave(str(tmp_path), 2, raised(OutOfStepError("I did not come", culprit=2)))
    assert time.monotonic() - started < 0.5
    assert failures.worker_error(str(tmp_path), {2: 1}).rank == 2


def test_nothing_known_is_said_so(tmp_path: Path) -> None:
    assert "none of them says why" in str(failures.worker_error(str(tmp_path), {}))


class OldError(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class ReducedError(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("not me")


def local_error() -> Exception:
    class LocalError(RuntimeError):
        pass

    return LocalError("nobody knows me")


@pytest.mark.parametrize(
    ("make", "holds"),
    [
        (lambda: OldError(7), lambda error: error.code == 7),
        (lambda: AwkwardError(7, reason="why"), lambda error: error.code == 7 and not hasattr(error, "lock")),
        (lambda: UnicodeDecodeError("utf8", b"x", 0, 1, "bad"), lambda error: error.object == b"x"),
        (lambda: FileNotFoundError(2, "No such file", "a.txt"), lambda error: error.filename == "a.txt"),
        (lambda: ReducedError("a", 1), lambda error: error.args == ("a", 1)),
        (lambda: KeyError("a"), lambda error: error.args == ("a",)),
        (lambda: ExceptionGroup("two", [ValueError("a")]), lambda error: len(error.exceptions) == 1),
    ],
    ids=["attribute", "awkward", "unicode", "file", "reduce", "key", "group"],
)
def test_errors_come_home_whatever_their_constructor(
    tmp_path: Path, make: Callable[[], Exception], holds: Callable[[Any], bool]
) -> None:
    record(tmp_path, 0, make())
    cause = failures.worker_error(str(tmp_path), {0: 1}).__cause__
    assert type(cause) is type(make())
    assert str(cause) == str(make())
    assert holds(cause)


def test_an_argument_that_cannot_be_pickled_is_told_in_words(tmp_path: Path) -> None:
    record(tmp_path, 0, ValueError(lambda: None))
    found = failures.worker_error(str(tmp_path), {0: 1})
    assert isinstance(found.__cause__, ValueError)
    assert "<lambda>" in str(found.__cause__)


def test_an_error_that_cannot_come_home_is_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    record(tmp_path, 0, local_error())
    found = failures.worker_error(str(tmp_path), {0: 1})
    assert found.__cause__ is None
    assert "LocalError: nobody knows me" in str(found)


def test_an_endless_traceback_is_cut(tmp_path: Path) -> None:
    record(tmp_path, 0, ValueError("x" * 100_000))
    text = str(failures.worker_error(str(tmp_path), {0: 1}))
    assert "... left out ..." in text
    assert text.endswith("xxx")
    assert len(text) < 22_000


def test_a_program_without_guard_is_refused_where_it_is_imported_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures.check_main_guard()
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(WorkerError, match=r'(?s)starts its training while.*if __name__ == "__main__":'):
        failures.check_main_guard()
    monkeypatch.setitem(os.environ, failures.FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(SystemExit):
        failures.check_main_guard()
    found = failures.worker_error(str(tmp_path), {0: 1})
    assert str(found).startswith("The program started its training again in the worker processes. Put what starts")
