"""The workers: what they are given and bring back, how their end is reported, and that nothing is left of them."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from compat._distributed import launch as launch_module
from compat._distributed.launch import launch
from compat._distributed.luggage import pack
from compat.exceptions import InvalidArgumentError, WorkerError
from tests._distributed import launch_workers as workers

ROOT = Path(__file__).parents[2]
A_MINUTE = timedelta(seconds=60)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def children() -> set[int]:
    """Find the processes of this one, but for the tracker of multiprocessing, which every program keeps."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            command = (folder / "cmdline").read_text()
        except OSError:
            continue
        if parent == os.getpid() and "resource_tracker" not in command:
            found.add(int(folder.name))
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(autouse=True)
def as_before(
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[None]:
    """Fail the test after which a handler, a process or a file is left, or something was printed or logged."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    before = ([signal.getsignal(number) for number in SIGNALS], children())
    yield
    assert ([signal.getsignal(number) for number in SIGNALS], children()) == before
    assert not [*temporary.glob("compat-*"), *temporary.glob("torchelastic*")]
    assert capfd.readouterr() == ("", "")
    assert caplog.text == ""


def run(function: Callable[..., Any], *arguments: Any, processes: int = 2, **settings: Any) -> dict[int, Any]:
    return launch(function, arguments, processes=processes, timeout=A_MINUTE, **settings)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_workers_get_copies_of_all_but_what_is_meant_to_be_shared() -> None:
    context = multiprocessing.get_context("spawn")
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(4, 4)).sum().backward()
    optimizer.step()
    counter, queue, event = context.Value("i", 0), context.SimpleQueue(), context.Event()
    marks: torch.Tensor = torch.zeros(2).share_memory_()  # type: ignore[no-untyped-call]
    raw = context.RawArray("d", 2)
    small = workers.RowsDataset(torch.zeros(0))
    small.rows = [torch.full((10,), float(number)) for number in range(5000)]  # type: ignore[assignment]
    value: dict[str, Any] = {
        "model": model,
        "optimizer": optimizer,
        "data": workers.RowsDataset(torch.ones(2, 1 << 19), lambda row: row * 2),
        "small": small,
        "array": np.ones(100_000),
        "counter": counter,
        "queue": queue,
        "event": event,
        "marks": marks,
        "raw": raw,
    }
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    found = run(workers.change_everything, pack(value))
    assert list(found) == [0, 1]
    for seen in found.values():
        assert seen == {
            "same parameters": True,
            "steps": [1, 1, 1, 1],
            "rows": 1 << 20,
            "transformed": 1 << 20,
            "small": 5000,
            "small sum": sum(range(5000)),
            "array": 100_000,
            "mapped": sys.platform == "linux",
            "rows after": 2 << 20,
        }
    # Nothing of it is the parent's ...
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    assert {int(state["step"]) for state in optimizer.state.values()} == {1}
    assert float(value["data"].rows.sum()) == 1 << 20
    assert value["array"].sum() == 100_000
    # ... but for what is made to be shared.
    assert counter.value == 2
    assert {queue.get(), queue.get()} == {0, 1}
    assert event.is_set()
    assert marks.tolist() == [1, 1]
    assert list(raw) == [7, 7]


def test_results_are_copies_and_the_surroundings_torchrun_s() -> None:
    found = run(workers.surroundings)
    expected = {"sigterm": True, "folder": None, "daemon": False}
    assert found == {rank: {"world": ("2", "2", str(rank)), **expected} for rank in (0, 1)}
    assert run(workers.result, "bytes", processes=1)[0] == b"x" * 5_000_000
    assert run(workers.result, "none", processes=1) == {0: None}
    tensor = run(workers.result, "tensor", processes=1)[0]
    assert tensor.tolist() == [0, 0, 0]
    assert not tensor.is_shared()


def test_a_thread_may_launch_too() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(run, workers.rank).result() == {0: 0, 1: 1}
        with pytest.raises(WorkerError, match="rank 1 failed"):
            pool.submit(run, workers.fail, "error").result()


def failed(function: Callable[..., Any], how: str) -> WorkerError:
    started = time.monotonic()
    with pytest.raises(WorkerError) as caught:
        run(function, how)
    # Rank 0 sleeps for a minute: it was ended.
    assert time.monotonic() - started < workers.LONG / 2
    assert caught.value.rank == 1
    return caught.value


@pytest.mark.parametrize("function", [workers.fail, workers.fail_in_company], ids=["sleeping", "exchanging"])
def test_an_error_has_rank_traceback_and_cause(function: Callable[..., Any]) -> None:
    error = failed(function, "error")
    assert str(error).startswith("rank 1 failed: ValueError: no good")
    assert "in fail_alone" in str(error)
    assert isinstance(error.__cause__, ValueError)
    assert error.__suppress_context__


def test_an_error_with_an_odd_constructor_comes_home() -> None:
    error = failed(workers.fail, "awkward error")
    assert isinstance(error.__cause__, workers.AwkwardError)
    assert error.__cause__.code == 7


@pytest.mark.parametrize(
    ("how", "text", "exitcode", "number"),
    [
        ("SIGKILL", "rank 1 was killed by SIGKILL: out of memory", -9, 9),
        ("SIGTERM", "rank 1 was killed by SIGTERM", -15, 15),
        ("hard exit", "rank 1 ended with exit code 3", 3, None),
        ("exit", "rank 1 failed: it called sys.exit(0) before the training was over", 1, None),
        ("interrupt", "rank 1 failed: it was interrupted", 1, None),
    ],
)
def test_every_other_end_is_named(how: str, text: str, exitcode: int, number: int | None) -> None:
    error = failed(workers.fail_in_company if how == "SIGKILL" else workers.fail, how)
    assert text in str(error)
    assert (error.exitcode, error.signal) == (exitcode, number)


def test_one_port_serves_five_launches_and_is_free_afterwards() -> None:
    port = free_port()
    for _ in range(5):
        assert run(workers.added_up, processes=1, endpoint=f"127.0.0.1:{port}") == {0: (0, 1, 0.0)}
    with pytest.raises(WorkerError, match="no good"):
        run(workers.fail_alone, "error", processes=1, endpoint=f"127.0.0.1:{port}")
    with socket.socket() as held:
        held.bind(("127.0.0.1", port))
        held.listen()
        with pytest.raises(WorkerError, match=rf"cannot meet at 127.0.0.1:{port}: .*already in use. It is the host"):
            run(workers.rank, processes=1, endpoint=f"127.0.0.1:{port}")


@pytest.mark.parametrize("endpoint", ["nowhere", "host:", ":29500", "host:0", "host:99999", "host:http"])
def test_an_endpoint_that_is_none_is_refused(endpoint: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"'{endpoint}': 'host:port' is needed"):
        run(workers.rank, endpoint=endpoint)


def test_machines_must_know_where_to_meet() -> None:
    with pytest.raises(InvalidArgumentError, match=r"num_nodes=2.*MASTER_ADDR and MASTER_PORT.*init_method"):
        run(workers.rank, nodes=2)


NODE = """
import sys
from datetime import timedelta
from compat._distributed.launch import launch
from tests._distributed.launch_workers import added_up, fail_in_company

if __name__ == "__main__":
    number, endpoint = int(sys.argv[1]), sys.argv[2]
    settings = dict(processes=1, nodes=2, node_rank=number, endpoint=endpoint, timeout=timedelta(seconds=60))
    print(launch(added_up, (), **settings))
    try:
        launch(fail_in_company, ("error",), **settings)
    except RuntimeError as error:
        print(str(error).splitlines()[0][:60])
    print(launch(added_up, (), **settings))
"""


def started(program: str, folder: Path, *arguments: str, **settings: Any) -> "subprocess.Popen[str]":
    file = folder / "program.py"
    file.write_text(program)
    return subprocess.Popen(
        [sys.executable, str(file), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        **settings,
    )


def test_two_machines_train_together_again_and_again(tmp_path: Path) -> None:
    endpoint = f"127.0.0.1:{free_port()}"
    nodes = [started(NODE, tmp_path, str(number), endpoint) for number in (0, 1)]
    try:
        outputs = [node.communicate(timeout=120) for node in nodes]
    finally:
        for node in nodes:
            node.kill()
    lost = "rank 0 failed in an exchange with the other processes: Runti"
    ends = [lost, "rank 1 failed: ValueError: no good"]
    for number, (printed, errors) in enumerate(outputs):
        assert errors == ""
        good = str({number: (number, 2, 1.0)})
        assert printed.splitlines() == [good, ends[number], good]


def test_a_program_without_its_guard_is_told_so_once(tmp_path: Path) -> None:
    program = NODE.split("if __name__")[0] + "launch(added_up, (), processes=2, timeout=timedelta(seconds=60))\n"
    process = started(program, tmp_path)
    printed, errors = process.communicate(timeout=60)
    assert (process.returncode, printed) == (1, "")
    assert errors.count("Traceback") == 1
    assert "WorkerError: The program started its training again in the worker processes. Put what starts" in errors


WAITING = """
import os, signal, sys
from datetime import timedelta
from compat._distributed.launch import launch
from tests._distributed.launch_workers import says_where_and_waits

def handler(number, frame):
    print("handled", number, flush=True)

if __name__ == "__main__":
    if sys.argv[1] == "own":
        signal.signal(signal.SIGTERM, handler)
    try:
        launch(says_where_and_waits, (), processes=2, timeout=timedelta(seconds=60))
    except (KeyboardInterrupt, RuntimeError) as error:
        print(type(error).__name__, str(error)[:40], flush=True)
"""


@pytest.mark.parametrize(
    ("number", "handler", "returncode", "said"),
    [
        (signal.SIGINT, "default", 0, ["KeyboardInterrupt "]),
        (signal.SIGTERM, "default", -signal.SIGTERM, []),
        (signal.SIGTERM, "own", 0, ["handled 15", "WorkerError The training was ended by SIGTERM, which"]),
        (signal.SIGKILL, "default", -signal.SIGKILL, []),
    ],
    ids=["Ctrl-C", "SIGTERM", "SIGTERM with a handler", "SIGKILL"],
)
def test_a_signal_to_the_program_ends_the_workers(
    tmp_path: Path, number: signal.Signals, handler: str, returncode: int, said: list[str]
) -> None:
    process = started(WAITING, tmp_path, handler)
    assert process.stdout is not None
    try:
        pids = [int(process.stdout.readline().split()[1]) for _ in range(2)]
        assert all(is_alive(pid) for pid in pids)
        process.send_signal(number)
        printed = process.communicate(timeout=30)[0]
    finally:
        process.kill()
    assert (process.returncode, printed.splitlines()) == (returncode, said)
    until = time.monotonic() + (10 if number == signal.SIGKILL else 0.2)
    while any(is_alive(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.05)
    assert not [pid for pid in pids if is_alive(pid)]


def test_a_signal_that_the_program_ignores_does_not_end_a_fit() -> None:
    assert launch_module._handled() == ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"]
    known = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert launch_module._handled() == ["SIGTERM", "SIGINT", "SIGQUIT"]
    finally:
        signal.signal(signal.SIGHUP, known)


def test_a_launcher_that_falls_over_leaves_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(threading.enumerate())
    lock = multiprocessing.get_context("fork").Lock()
    with pytest.raises(RuntimeError, match="spawn context"):
        run(workers.surroundings, pack(lock))

    def stumble(*_: Any, **__: Any) -> None:
        multiprocessing.get_context("spawn").Process(target=time.sleep, args=(workers.LONG,)).start()
        raise OSError("no more processes")

    monkeypatch.setattr(launch_module, "elastic_launch", lambda *_: stumble)
    with pytest.raises(OSError, match="no more processes"):
        run(workers.rank)
    assert set(threading.enumerate()) <= before
