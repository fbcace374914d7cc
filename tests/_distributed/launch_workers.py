"""What the workers of the tests run; they import it by name."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from compat._distributed.luggage import Luggage

# Longer than any test waits: whoever sleeps this long must be ended by somebody.
LONG = 60


class RowsDataset(torch.utils.data.Dataset[torch.Tensor]):
    """Rows of a tensor, changed by a function."""

    def __init__(self, rows: torch.Tensor, transform: Any = None) -> None:
        self.rows, self.transform = rows, transform

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> torch.Tensor:
        row = self.rows[index]
        return row if self.transform is None else self.transform(row)


class AwkwardError(Exception):
    """Its constructor cannot be called with ``args``, and it holds what cannot be pickled."""

    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(f"{reason} ({code})")
        self.code = code
        self.lock = threading.Lock()


def rank() -> int:
    """Return the rank of this worker."""
    return int(os.environ["RANK"])


def surroundings() -> dict[str, Any]:
    """Report what the launcher gave this worker."""
    return {
        "world": (os.environ["WORLD_SIZE"], os.environ["LOCAL_WORLD_SIZE"], os.environ["LOCAL_RANK"]),
        "sigterm": signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
        "folder": os.environ.get("COMPAT_DDP_FOLDER"),
        "daemon": multiprocessing.current_process().daemon,
    }


def change_everything(luggage: Luggage) -> dict[str, Any]:
    """Unpack, write into all that was sent, and report what is seen."""
    value = luggage.unpack()
    model: nn.Module = value["model"]
    optimizer: torch.optim.Optimizer = value["optimizer"]
    seen: dict[str, Any] = {
        "same parameters": optimizer.param_groups[0]["params"][0] is next(model.parameters()),
        "steps": [int(state["step"]) for state in optimizer.state.values()],
        "rows": float(value["data"].rows.sum()),
        "transformed": float(value["data"][0].sum()),
        "small": len(value["small"].rows),
        "small sum": sum(float(row[0]) for row in value["small"].rows),
        "array": float(value["array"].sum()),
        "mapped": in_luggage(value["data"].rows),
    }
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(rank())
        for buffer in model.buffers():
            buffer.zero_()
    value["data"].rows.add_(1)
    value["array"] += 1
    seen["rows after"] = float(value["data"].rows.sum())
    with value["counter"].get_lock():
        value["counter"].value += 1
    value["queue"].put(rank())
    value["event"].set()
    value["marks"][rank()] = 1
    value["raw"][rank()] = 7
    return seen


def in_luggage(tensor: torch.Tensor) -> bool:
    """Tell whether a tensor lies in the file that the workers share."""
    address = tensor.data_ptr()
    with open("/proc/self/maps") as maps:  # noqa: PTH123 - no file that a Path could stat
        for line in maps:
            if "compat-luggage" in line:
                start, end = (int(part, 16) for part in line.split()[0].split("-"))
                if start <= address < end:
                    return True
    return False


def fail(how: str) -> None:
    """Let rank 1 fail; rank 0 waits to be ended."""
    if rank() == 1:
        fail_alone(how)
    time.sleep(LONG)


def fail_alone(how: str) -> None:
    """Fail."""
    if how == "error":
        raise ValueError("no good")
    if how == "awkward error":
        raise AwkwardError(7, reason="awkward")
    if how == "interrupt":
        raise KeyboardInterrupt
    if how == "exit":
        sys.exit(0)
    if how == "hard exit":
        os._exit(3)
    number = getattr(signal, how)
    if number == signal.SIGKILL:
        # A thread that would keep a living process from leaving.
        threading.Thread(target=time.sleep, args=(LONG,)).start()
    os.kill(os.getpid(), number)
    time.sleep(LONG)


def fail_in_company(how: str) -> None:
    """Let rank 1 fail while rank 0 waits for it in an exchange."""
    dist.init_process_group("gloo")
    if rank() == 1:
        fail_alone(how)
    dist.all_reduce(torch.ones(1))


def result(kind: str) -> Any:
    """Return something of a kind."""
    return {
        "bytes": b"x" * 5_000_000,
        "none": None,
        "tensor": torch.full((3,), float(rank())),
    }[kind]


def added_up() -> tuple[int, int, float]:
    """Meet the others and add up the ranks."""
    dist.init_process_group("gloo")
    total = torch.tensor(float(dist.get_rank()))
    dist.all_reduce(total)
    dist.barrier()
    found = (dist.get_rank(), dist.get_world_size(), float(total))
    dist.destroy_process_group()
    return found


def says_where_and_waits() -> None:
    """Print the process id and wait; rank 1 does not heed Ctrl-C, like a process that is stuck in native code."""
    sys.stdout.write(f"worker {os.getpid()}\n")
    sys.stdout.flush()
    if rank() == 1:
        signal.signal(signal.SIGINT, lambda *_: None)
    time.sleep(LONG)
