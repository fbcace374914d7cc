"""Starts programs in processes of their own, and looks for what they leave behind."""

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# What tells a process that it is one of several; a test that runs in such a process hands none of it on.
_OF_OTHERS = (
    "COMPAT_",
    "COV_",
    "MASTER_",
    "SLURM_",
    "TORCHELASTIC_",
    "RANK",
    "LOCAL_",
    "WORLD_SIZE",
    "GROUP_",
    "ROLE_",
)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def torchrun(processes: int, *program: str, options: Sequence[str] = ("--standalone",)) -> list[str]:
    """Return the command that starts a program so many times on this node."""
    launcher = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={processes}"]
    return [*launcher, *options, *program]


def start(
    *commands: Sequence[str], folder: Path, seconds: float, variables: Sequence[dict[str, str]] = ()
) -> list[subprocess.CompletedProcess[str]]:
    """Run commands at the same time, and wait for all of them; none outlives the call.

    Args:
        commands: The commands.
        folder: Where they run.
        seconds: How long to wait for all of them.
        variables: What to add to the environment of each.

    Returns:
        How each ended, with what it printed.

    Raises:
        TimeoutError: One of them took longer.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith(_OF_OTHERS)}
    added = variables or [{}] * len(commands)
    started: list[subprocess.Popen[bytes]] = []
    for command, own in zip(commands, added, strict=True):
        # Into files: a pipe that nobody reads holds up who writes.
        with (folder / f"out.{len(started)}").open("w") as out, (folder / f"err.{len(started)}").open("w") as err:
            where = clean | {"PYTHONPATH": str(ROOT)} | own
            started.append(
                subprocess.Popen(command, cwd=folder, env=where, stdout=out, stderr=err, start_new_session=True)
            )
    try:
        for process in started:
            process.wait(seconds)
    except subprocess.TimeoutExpired as error:
        texts = [(folder / f"err.{number}").read_text()[-3000:] for number in range(len(started))]
        raise TimeoutError(f"{commands} ran longer than {seconds} s. They wrote:\n" + "\n".join(texts)) from error
    finally:
        for process in started:
            # Its workers too, whatever became of it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return [
        subprocess.CompletedProcess(
            process.args,
            process.returncode,
            (folder / f"out.{number}").read_text(),
            (folder / f"err.{number}").read_text(),
        )
        for number, process in enumerate(started)
    ]


def run(
    *command: str, folder: Path, seconds: float = 120, variables: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one command; see :func:`start`."""
    return start(command, folder=folder, seconds=seconds, variables=[variables or {}])[0]


def checked(done: Sequence[subprocess.CompletedProcess[str]]) -> None:
    """Fail unless all ended well.

    Args:
        done: How they ended.
    """
    bad = [process for process in done if process.returncode]
    texts = [f"{process.args} ended with {process.returncode}:\n{process.stderr[-5000:]}" for process in bad]
    assert not bad, "\n".join(texts)


def run_fits(processes: int, group: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Train a group of cases under torchrun.

    Args:
        processes: How many processes train.
        group: The group; see ``tests.ddp.fits``.
        folder: Where they leave what came out.
    """
    command = torchrun(processes, "-m", "tests.ddp.fits", group, str(folder))
    return run(*command, folder=folder, seconds=170)


def outcomes(processes: int, group: str, folder: Path) -> list[Any]:
    """Return what came out of a group, rank by rank.

    Args:
        processes: How many processes train.
        group: The group.
        folder: An empty folder.
    """
    checked([run_fits(processes, group, folder)])
    return [pickle.loads((folder / f"outcome.{rank}.pickle").read_bytes()) for rank in range(processes)]


def left_in_shared_memory() -> set[str]:
    """Return the files in shared memory that torch made for processes that are gone."""
    folder = Path("/dev/shm")
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    # torch_<process>_<number>_<number>
    made_by = {name: name.split("_")[1] for name in names if name.startswith("torch_")}
    return {name for name, process in made_by.items() if not Path("/proc", process).exists()}


def descendants(process: int | None = None) -> set[int]:
    """Return the processes below one, other than those that Python keeps for itself.

    Args:
        process: The process; without it this one.
    """
    parents, names = {}, {}
    for entry in Path("/proc").iterdir() if Path("/proc").is_dir() else ():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            text = (entry / "stat").read_text()
            parents[int(entry.name)] = int(text.rpartition(")")[2].split()[1])
            names[int(entry.name)] = (entry / "cmdline").read_text()
    below: set[int] = set()
    grown = {process or os.getpid()}
    while grown:
        grown = {child for child, parent in parents.items() if parent in grown}
        below |= grown
    return {child for child in below if "resource_tracker" not in names[child]}
