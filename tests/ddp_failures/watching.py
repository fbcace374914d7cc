"""What a fit leaves behind, and programs that are watched from outside."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

__all__ = ["Program", "Traces", "is_alive", "state_of_loop", "within"]

ROOT = Path(__file__).parents[2]
SHARED_MEMORY = Path("/dev/shm")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@dataclass(frozen=True)
class Traces:
    """What a process must have after a fit as it had it before."""

    handlers: Sequence[Any]
    processes: Sequence[str]
    ports: Sequence[str]
    shared_memory: Sequence[str]

    @classmethod
    def now(cls) -> "Traces":
        """Look at this process."""
        return cls(
            handlers=[signal.getsignal(number) for number in SIGNALS],
            processes=_children(),
            ports=_ports(),
            # Not the semaphores: their names tell no owner, and multiprocessing removes those of a program that ended.
            shared_memory=[entry.name for entry in SHARED_MEMORY.glob("*") if not entry.name.startswith("sem.")],
        )

    def new_in(self, after: "Traces") -> list[str]:
        """List what is there afterwards and was not before.

        Args:
            after: The traces afterwards.
        """
        found = [] if self.handlers == after.handlers else [f"signal handlers: {after.handlers}"]
        for name in ("processes", "ports", "shared_memory"):
            new = [one for one in getattr(after, name) if one not in getattr(self, name)]
            # Other programs of this machine have files there too, in use.
            found += [f"{name}: {one}" for one in new if name != "shared_memory" or not _is_mapped(one)]
        return found


def _children() -> list[str]:
    """Find the processes of this one, but for the tracker of multiprocessing, which every program keeps."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            command = (folder / "cmdline").read_text().replace("\0", " ")
            if parent == os.getpid() and "resource_tracker" not in command:
                found.append(f"{folder.name} {command}")
    return found


def _is_mapped(name: str) -> bool:
    """Tell whether a process uses a file in shared memory, or has taken it away by now."""
    if not (SHARED_MEMORY / name).exists():
        return True
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):
            if name in maps.read_text():
                return True
    return False


def _ports() -> list[str]:
    """Find the ports that this process listens at; the kernel lists them by the number of the socket."""
    sockets = set()
    for descriptor in Path("/proc/self/fd").glob("*"):
        with suppress(OSError):
            sockets.add(os.readlink(descriptor))  # noqa: PTH115 - a Path would read `socket:[1]` as a relative file
    found = []
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                    found.append(str(int(fields[1].rpartition(":")[2], 16)))
    return found


def is_alive(pid: int) -> bool:
    """Tell whether a process runs: one that has ended, and that nobody has waited for, does not.

    Args:
        pid: Its id.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def within(seconds: float, what: Callable[[], Any]) -> Any:
    """Wait until something is true, and return it.

    Args:
        seconds: How long to wait at most; then it is returned as it is.
        what: Looks.
    """
    until = time.monotonic() + seconds
    while not (found := what()) and time.monotonic() < until:
        time.sleep(0.05)
    return found


def state_of_loop(loop: Any) -> dict[str, Any]:
    """Describe a loop so that two descriptions are equal if nothing that a user sees has changed.

    Args:
        loop: A ``TrainLoop``.
    """
    counters = ("epoch", "iteration", "total_iteration_idx", "early_stop", "grad_cb_used", "ddp_training_mode")
    objects = ("model", "optimizer", "criterion", "train_loader", "validation_loader", "test_loader", "ddp_handler")
    return {
        **{name: getattr(loop, name) for name in (*counters, "ddp_rank", "device")},
        **{name: id(getattr(loop, name)) for name in objects},
        "weights": _plain(loop.model.state_dict()),
        "optimizer state": _plain(loop.optimizer.state_dict()),
        "mode": loop.model.training,
        "history": {name: list(values) for name, values in loop.train_history.train_history.items()},
        "callbacks": [id(callback) for callback in loop.callbacks],
        "waiting callbacks": [id(callback) for callback in loop.callbacks_handler.callbacks_cache],
        "callbacks by hook": {
            name: [id(callback) for callback in value]
            for name, value in vars(loop.callbacks_handler).items()
            if isinstance(value, list)
        },
        "losses": _plain(loop.loss_batch_accum),
        "predictions": _plain(loop.prediction_store.prediction_store),
        "messages": _plain(vars(loop.message_service)),
    }


def _plain(value: Any) -> Any:
    """Turn tensors into lists, at any depth."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value if isinstance(value, int | float | str | bool | None) else repr(value)


class Program:
    """A program in a process group of its own, as a terminal starts it.

    Args:
        arguments: What follows ``python``.
        folder: Where it runs; its outputs and its temporary files are kept there.
        given: What it reads from its standard input.
    """

    def __init__(self, *arguments: str, folder: Path, given: str = "") -> None:
        self._out, self._err = folder / "program.out", folder / "program.err"
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        (folder / "program.in").write_text(given)
        own = ("COMPAT_", "MASTER_", "RANK", "LOCAL_", "WORLD_", "SLURM", "TORCHELASTIC")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        environment |= {"PYTHONPATH": str(ROOT), "TMPDIR": str(self.temporary), "COMPAT_QUIET": "1"}
        with self._out.open("w") as out, self._err.open("w") as err, (folder / "program.in").open() as read:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=folder,
                env=environment,
                stdin=read,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def __enter__(self) -> "Program":
        """Hold it."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it with all that it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @property
    def out(self) -> str:
        """What it has printed."""
        return self._out.read_text()

    @property
    def err(self) -> str:
        """What it has printed to the error stream."""
        return self._err.read_text()

    def ended(self, seconds: float = 120) -> int:
        """Wait for its end and return its exit code.

        Args:
            seconds: How long to wait at most.
        """
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"It still runs after {seconds} s. It printed:\n{self.out}\n{self.err}") from None

    def others(self) -> list[str]:
        """List the processes of its group that still run, other than itself."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(fields[2]) == self.process.pid and fields[0] != "Z" and int(folder.name) != self.process.pid:
                    found.append(f"{folder.name} {(folder / 'cmdline').read_text()}".replace("\0", " "))
        return found
