"""What the processes do whose outcomes test_ranks.py looks at. Modules of the tests are users' code to the package."""

import multiprocessing
import os
import pickle
import signal
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from compat._distributed.ranks import Ranks, drain
from compat.exceptions import OutOfStepError

MIB = 1 << 20
COUNTS = (3, 0, 1)
Worker = Callable[[int, int], Any]


def outcomes(folder: Path, worker: Worker, size: int, init_method: str, seconds: float = 120) -> list[Any]:
    """Run a worker in several processes.

    Args:
        folder: An empty one, for the outcomes.
        worker: Called with the rank and the number of ranks.
        size: The number of ranks.
        init_method: Where they find each other.
        seconds: How long they may take.

    Returns:
        What each returned, by rank; the exit code of one that returned nothing.
    """
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_run, args=(worker, rank, size, init_method, folder)) for rank in range(size)]
    deadline = time.monotonic() + seconds
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.join(max(deadline - time.monotonic(), 0))
    finally:
        for process in processes:
            if process.is_alive():
                process.kill()
                process.join()
    files = [folder / f"{rank}.pickle" for rank in range(size)]
    return [
        pickle.loads(file.read_bytes()) if file.exists() else process.exitcode
        for file, process in zip(files, processes, strict=True)
    ]


def _run(worker: Worker, rank: int, size: int, init_method: str, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=init_method, rank=rank, world_size=size, timeout=timedelta(seconds=60))
    outcome = worker(rank, size)
    (folder / f"{rank}.pickle").write_bytes(pickle.dumps(outcome))
    # Rank 0 keeps the store: it must not end before the others.
    dist.barrier()
    dist.destroy_process_group()


def in_step(rank: int, size: int) -> dict[str, Any]:
    """Do everything that works."""
    told: dict[str, Any] = {}
    for name, part in [("who", _who), ("trade", _trade), ("order", _order), ("kinds", _kinds), ("failing", _failing)]:
        # A new object each time: they follow each other in one process group, with nothing between them.
        ranks = Ranks(timedelta(seconds=30))
        told[name] = part(ranks)
        ranks.close()
        ranks.close()
    return told


def _who(ranks: Ranks) -> Any:
    refused = []
    with ranks.standing_alone(), ranks.standing_alone():
        for call in (
            ranks.meet,
            lambda name: ranks.exchange(name, 1),
            ranks.share,
            lambda name: ranks.stream(name, []),
        ):
            try:
                call("predict()")
            except OutOfStepError as error:
                refused.append(str(error))
    start = time.perf_counter()
    for number in range(100):
        ranks.at("the batch", number)
        ranks.meet("meet()")
    seconds = (time.perf_counter() - start) / 100
    return ranks.rank, ranks.size, ranks.local_rank, ranks.is_main, ranks.alone, refused, seconds


def _trade(ranks: Ranks) -> Any:
    # Only rank 1's is too large for the store.
    value = {"rank": ranks.rank, "values": torch.full((3 + MIB * (ranks.rank == 1),), ranks.rank)}
    got = ranks.exchange("exchange()", value)
    small, large = ranks.share("share()", ("from", ranks.rank)), ranks.share("share()", value)
    return (
        [(each["rank"], len(each["values"]), int(each["values"][-1])) for each in got],
        got[ranks.rank] is value,
        small,
        large["rank"],
        ranks.share("share()", torch.ones(MIB) if ranks.is_main else None).sum().item(),
    )


def _order(ranks: Ranks) -> Any:
    items = [(ranks.rank, number) for number in range(COUNTS[ranks.rank])]
    mine = list(items)
    one_after_another, turns = list(ranks.stream("a()", items)), list(ranks.stream("b()", items, turns=True))
    kept = items == mine
    drained = list(ranks.stream("c()", drain(items)))
    lazy = list(ranks.stream("d()", (item for item in mine), turns=True))
    nothing = list(ranks.stream("e()", []))
    many = list(ranks.stream("f()", range(ranks.rank * 10_000, (ranks.rank + 1) * 10_000)))
    return one_after_another, turns, kept, drained, items, lazy, nothing, many == list(range(10_000 * ranks.size))


def _kinds(ranks: Ranks) -> Any:
    # The large one does not fit into a message of its own either.
    item = {
        "text": ["a"] * 3,
        "large": torch.full((65 * MIB,), ranks.rank, dtype=torch.uint8),
        "small": torch.tensor(ranks.rank),
    }
    item["graph"] = torch.ones(2, requires_grad=True) * ranks.rank
    got = list(ranks.stream("kinds()", [item, "x"], turns=True))
    facts = [
        (
            each["text"],
            [each["large"].min().item(), each["large"].max().item()],
            each["small"].item(),
            each["graph"].requires_grad,
        )
        for each in got[: ranks.size]
    ]
    return facts, got[ranks.size :], got[ranks.rank] is item


def _failing(ranks: Ranks) -> Any:
    def items() -> Iterator[int]:
        yield from range(600)
        if ranks.rank == 1:
            raise KeyError("no such row")

    got: list[int] = []
    try:
        for item in ranks.stream("predict()", items()):
            got.append(item)  # noqa: PERF402 - what came before the error counts
    except (OutOfStepError, KeyError) as error:
        told = type(error).__name__, str(error), getattr(error, "culprit", None), len(got)
    return told, ranks.exchange("after", ranks.rank)


def dawdle(seconds: float) -> None:
    """Be somewhere that the others can read."""
    time.sleep(seconds)


def out_of_step(rank: int, size: int) -> dict[str, Any]:
    """Do what goes wrong: rank 1 does it, rank 0 tells what it made of it, and how long that took."""
    told: dict[str, Any] = {}
    for part in (_goes_on, _lags, _is_stopped, _fails, _tells, _breaks_off, _is_late, _keeps_memory):
        ranks = Ranks(timedelta(seconds=4 if part is _is_late else 40))
        ranks.at("the batch", 5)
        ranks.meet("start()")
        start = time.monotonic()
        outcome = part(ranks)
        told[part.__name__] = outcome, time.monotonic() - start
        dist.barrier()
        ranks.close()
    return told


def _blame(ranks: Ranks) -> str | None:
    error = ranks.blame()
    return None if error is None else str(error)


def _error_of(call: Callable[[], Any]) -> tuple[str, str, int | None]:
    try:
        call()
    except RuntimeError as error:
        return type(error).__name__, str(error), getattr(error, "culprit", None)
    return "nothing", "", None


def _goes_on(ranks: Ranks) -> Any:
    if ranks.is_main:
        return _error_of(lambda: ranks.meet("predict_on_test_set()"))
    ranks.at("the batch", 6)
    return dawdle(5)


def _lags(ranks: Ranks) -> Any:
    if not ranks.is_main:
        return dawdle(5)
    ranks.at("the batch", 6)
    return _blame(ranks)


def _is_stopped(ranks: Ranks) -> Any:
    other = ranks.exchange("processes", os.getpid())[1]
    if not ranks.is_main:
        os.kill(os.getpid(), signal.SIGSTOP)
        return None
    time.sleep(0.5)
    try:
        return _blame(ranks)
    finally:
        os.kill(other, signal.SIGCONT)


def _fails(ranks: Ranks) -> Any:
    if ranks.is_main:
        return _error_of(lambda: ranks.meet("predict_on_test_set()"))
    return ranks.close(ValueError("no rows"))


def _tells(ranks: Ranks) -> Any:
    if ranks.is_main:
        return _error_of(lambda: ranks.meet("predict_on_test_set()")), _blame(ranks)
    ranks.failed(KeyError("no column"))
    return dawdle(4)


def _breaks_off(ranks: Ranks) -> Any:
    items = ranks.stream("predict()", ([number] * MIB for number in range(3)))
    if ranks.is_main:
        return _error_of(lambda: list(items))
    next(items)
    return ranks.close()


def _is_late(ranks: Ranks) -> Any:
    if ranks.is_main:
        return _error_of(lambda: ranks.meet("predict_on_test_set()"))
    return dawdle(6)


def _keeps_memory(ranks: Ranks) -> Any:
    """Stream 100 MB from each rank; return by how many MB the peak grew, without and with keeping all."""
    grown = []
    for keep in (False, True):
        items = [torch.ones(MIB // 4) for _ in range(100)]
        Path("/proc/self/clear_refs").write_text("5")
        before = _peak()
        kept = [item for item in ranks.stream("predict()", drain(items)) if keep]
        grown.append(_peak() - before)
        del kept
    return grown


def _peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) // 1024


def one_dies(rank: int, size: int) -> Any:
    """Rank 1 dies while rank 0 waits for it; rank 0 tells what it made of that, and leaves without the other."""
    ranks = Ranks(timedelta(seconds=60))
    ranks.meet("start()")
    if rank == 1:
        dawdle(0.5)
        os.kill(os.getpid(), signal.SIGKILL)
    start = time.monotonic()
    outcome = _error_of(lambda: ranks.meet("predict_on_test_set()")), time.monotonic() - start, _blame(ranks)
    ranks.close()
    return outcome
