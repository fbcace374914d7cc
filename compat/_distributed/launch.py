"""The workers: started by torch's elastic launcher, watched, and ended.

The launcher starts the processes and gives them the environment that torchrun gives, so nothing in a worker need know
who started it. This module adds what a library that is called from a program owes it: the signal handlers and the
environment as they were, nothing on its console, no port held, and no worker that outlives it.
"""

import gc
import logging
import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import RendezvousError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from compat._distributed import failures
from compat._distributed.luggage import is_interactive
from compat.exceptions import InvalidArgumentError, WorkerError

__all__ = ["launch"]

# The launcher's diary; made when the first entry is written.
_EVENTS = "torchelastic-events-null"
_SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")
_NOISY = ("torch.distributed.elastic", "torch.distributed.launcher", "torch.multiprocessing", _EVENTS)
# How long workers have to leave after the parent was told to, and to die when it is gone or they have failed.
_GRACE = 5


def launch(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    *,
    processes: int,
    nodes: int = 1,
    node_rank: int = 0,
    endpoint: str | None = None,
    timeout: timedelta,
) -> dict[int, Any]:
    """Run a function in worker processes, one for each rank of this machine, and wait for them.

    Args:
        function: A function at the top of a module.
        arguments: What it is called with, in every worker.
        processes: The workers on this machine.
        nodes: The machines; the program runs on each of them.
        node_rank: The number of this machine.
        endpoint: ``"host:port"`` where the processes meet, on the machine with number 0. Needed with several
            machines; without one a free port of this machine is used.
        timeout: How long to wait for the other machines.

    Returns:
        What the function returned, by the rank of the worker, for the workers of this machine.

    Raises:
        WorkerError: If a worker fails. The message has its rank and traceback; its error is the cause, where it can
            be pickled.
        KeyboardInterrupt: If the program is interrupted; the workers are gone by then.
    """
    failures.check_main_guard()
    with tempfile.TemporaryDirectory(prefix="compat-ddp-") as folder, _quiet(), _as_before(), _importable_program():
        os.environ[failures.FOLDER_VARIABLE] = folder
        config = _config(folder, processes, nodes, node_rank, _checked(endpoint, nodes), timeout)
        outcome = _run(config, function, arguments, folder)
    # The launcher's store, and with it the port, lives until its last reference is gone.
    gc.collect()
    if outcome.received is not None:
        _take_its_course(outcome.received)
    if nodes > 1 and node_rank > 0 and endpoint is not None:
        _wait_until_closed(endpoint)
    if outcome.error is not None:
        raise outcome.error from outcome.error.__cause__
    return {rank: _opened(result) for rank, result in sorted(outcome.results.items())}


@dataclass(frozen=True)
class _Outcome:
    results: Mapping[int, Any]
    error: WorkerError | None = None
    received: signal.Signals | None = None


def _checked(endpoint: str | None, nodes: int) -> str | None:
    if endpoint is None:
        if nodes > 1:
            raise InvalidArgumentError(
                f"With num_nodes={nodes} the machines must know where to meet. Set MASTER_ADDR and MASTER_PORT in the "
                "environment, or pass init_method='tcp://host:port', with a port of the machine whose node_rank is 0."
            )
        return None
    host, _, port = endpoint.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InvalidArgumentError(
            f"The processes cannot meet at {endpoint!r}: 'host:port' is needed, with a port from 1 to 65535."
        )
    return endpoint


def _config(
    folder: str, processes: int, nodes: int, node_rank: int, endpoint: str | None, timeout: timedelta
) -> LaunchConfig:
    seconds = max(1, int(timeout.total_seconds()))
    settings: dict[str, Any] = {
        "min_nodes": nodes,
        "max_nodes": nodes,
        "nproc_per_node": processes,
        "start_method": "spawn",
        "max_restarts": 0,
        "monitor_interval": 0.1,
        "role": "worker",
        "logs_specs": DefaultLogsSpecs(log_dir=folder),
    }
    if endpoint is None:
        settings |= {
            "rdzv_backend": "c10d",
            "rdzv_endpoint": "127.0.0.1:0",
            "local_addr": "127.0.0.1",
            "run_id": uuid.uuid4().hex,
        }
    else:
        # The same on all machines, and another one for each fit: they are made in the same order everywhere.
        settings |= {
            "rdzv_backend": "static",
            "rdzv_endpoint": endpoint,
            "rdzv_configs": {"rank": node_rank, "timeout": seconds},
            "run_id": f"compat-{next(_FITS)}",
        }
    # XXX: torch before 2.7 knows neither; it then waits 30 s for a worker that does not leave.
    optional: dict[str, Any] = {"shutdown_timeout": _GRACE, "signals_to_handle": ",".join(_handled())}
    known = {field.name for field in fields(LaunchConfig)}
    return LaunchConfig(**settings | {name: value for name, value in optional.items() if name in known})


def _count() -> Iterator[int]:
    number = 0
    while True:
        number += 1
        yield number


_FITS = _count()


def _handled() -> list[str]:
    """Name the signals that end a fit: not those that the program ignores, such as SIGHUP under ``nohup``."""
    names = [name for name in _SIGNALS if hasattr(signal, name)]
    return [name for name in names if signal.getsignal(getattr(signal, name)) is not signal.SIG_IGN] or ["SIGTERM"]


def _run(config: LaunchConfig, function: Callable[..., Any], arguments: tuple[Any, ...], folder: str) -> _Outcome:
    """Start the workers and see how they end. No frame of the launcher outlives this function."""
    others = set(multiprocessing.active_children())
    try:
        return _Outcome(elastic_launch(config, _work)(function, arguments, folder))
    except SignalException as received:
        return _Outcome({}, received=received.sigval)
    except ChildFailedError as error:
        exitcodes = {rank: failure.exitcode for rank, failure in error.failures.items()}
        return _Outcome({}, error=failures.worker_error(folder, exitcodes))
    except (dist.DistError, RendezvousError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".?")
        return _Outcome(
            {},
            error=WorkerError(
                f"The processes cannot meet at {config.rdzv_endpoint}: {reason}. It is the host and port of "
                "MASTER_ADDR and MASTER_PORT or of init_method: the port must be free on the machine whose node_rank "
                "is 0, reachable from the others, and the program must run on all of them."
            ),
        )
    except BaseException:
        _end(set(multiprocessing.active_children()) - others)
        raise


def _end(workers: Iterable[Any]) -> None:
    """End the workers of a launcher that fell over itself: it knows only those that it has started to the last."""
    for worker in workers:
        worker.kill()
        worker.join()


def _take_its_course(received: signal.Signals) -> None:
    """Let a signal do what it would have done without workers; the caller's handler is back in its place."""
    signal.raise_signal(received)
    # The caller's handler let the program go on, but the fit is over.
    if received == signal.SIGINT:
        raise KeyboardInterrupt
    raise WorkerError(f"The training was ended by {received.name}, which this process received.", signal=received)


@contextmanager
def _as_before() -> Iterator[None]:
    """Put back the signal handlers and the environment."""
    variables = dict(os.environ)
    in_main = threading.current_thread() is threading.main_thread()
    handlers = {name: signal.getsignal(getattr(signal, name)) for name in _SIGNALS if hasattr(signal, name)}
    # Read by the workers when they load torch: a peer that is gone is no news to print, the parent reports it.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    try:
        yield
    finally:
        for name, handler in handlers.items():
            if in_main and handler is not None:
                signal.signal(getattr(signal, name), handler)
        for name in set(os.environ) - set(variables):
            del os.environ[name]
        os.environ.update(variables)


@contextmanager
def _importable_program() -> Iterator[None]:
    """Hide the file of a program that has none: ``<stdin>`` is what the workers would try to import."""
    main = sys.modules["__main__"]
    if not is_interactive() or not hasattr(main, "__file__"):
        yield
        return
    file = main.__file__
    del main.__file__
    try:
        yield
    finally:
        main.__file__ = file


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the launcher: the error that is raised says it all."""
    logging.getLogger(_EVENTS)
    noisy = [
        logger
        for name, logger in logging.root.manager.loggerDict.items()
        if isinstance(logger, logging.Logger) and name.startswith(_NOISY) and not logger.disabled
    ]
    for logger in noisy:
        logger.disabled = True
    try:
        yield
    finally:
        for logger in noisy:
            logger.disabled = False


def _wait_until_closed(endpoint: str) -> None:
    """Wait until the first machine has closed its port, lest the next fit meets at the end of this one."""
    import socket

    host, _, port = endpoint.rpartition(":")
    until = time.monotonic() + _GRACE
    while time.monotonic() < until:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=1):
                time.sleep(0.02)
        except OSError:
            return


def _work(function: Callable[..., Any], arguments: tuple[Any, ...], folder: str) -> tuple[bool, Any]:
    """Run the function in a worker; whatever it raises is left for the parent to find."""
    os.environ.pop(failures.FOLDER_VARIABLE, None)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _end_with_the_parent()
    try:
        return _closed(function(*arguments))
    # KeyboardInterrupt and SystemExit too: the launcher would take both for a good end.
    except BaseException as error:  # noqa: BLE001
        failures.leave(folder, int(os.environ["RANK"]), error)
    # Threads of the program, or a library, may keep a process that failed from leaving.
    _in_background(_leave_anyway)
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(1)


def _leave_anyway() -> None:
    time.sleep(_GRACE)
    os._exit(1)


def _closed(result: Any) -> tuple[bool, Any]:
    """Make bytes of a result: a tensor would point into the memory of a process that is gone."""
    return (False, result) if result is None or isinstance(result, bytes) else (True, pickle.dumps(result))


def _opened(result: tuple[bool, Any]) -> Any:
    pickled, value = result
    return pickle.loads(value) if pickled else value


def _end_with_the_parent() -> None:
    """See to it that this process ends soon after its parent, even if it hangs in native code."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        time.sleep(_GRACE)
        os.kill(os.getpid(), signal.SIGKILL)

    _in_background(watch)


def _in_background(task: Callable[[], Any]) -> None:
    threading.Thread(target=task, name="compat-ddp-end", daemon=True).start()
