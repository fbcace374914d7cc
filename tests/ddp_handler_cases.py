"""What is given to ``DDPHandler.mp_sync`` in two processes, and what runs there."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from compat._distributed.ranks import Ranks
from compat._loop_state import LoopState
from compat.ddp import DDPHandler


@dataclass(frozen=True)
class Case:
    """One call, and what comes of it.

    Attributes:
        data: Makes a rank's data.
        expected: What every rank gets.
        options: Further arguments.
    """

    data: Callable[[int], Any]
    expected: Any
    options: dict[str, Any] = field(default_factory=dict)


def table(rank: int) -> torch.Tensor:
    """Make a tensor ``(2, 2)``."""
    return torch.arange(4.0).reshape(2, 2) + 10 * rank


BOTH = [[0.0, 1.0], [2.0, 3.0], [10.0, 11.0], [12.0, 13.0]]
AS_LIST = {"return_tensor": False}
DOUBLE = {"double_precision": True}
APART = {"concat_mp_data": False}
F32, F64, I64 = torch.float32, torch.float64, torch.int64

# Recorded from AIToolbox 1.8.0 in two processes.
RECORDED = {
    "a tensor": Case(table, torch.tensor(BOTH)),
    "integers": Case(lambda rank: torch.arange(2) + rank, torch.tensor([0, 1, 1, 2])),
    "a tensor keeps its type": Case(
        lambda rank: torch.arange(2, dtype=torch.int32) + rank, torch.tensor([0, 1, 1, 2], dtype=torch.int32), DOUBLE
    ),
    "booleans": Case(lambda rank: torch.tensor([True, bool(rank)]), torch.tensor([True, False, True, True])),
    "half": Case(lambda _: torch.tensor([1.5], dtype=torch.float16), torch.tensor([1.5, 1.5], dtype=torch.float16)),
    "complex": Case(lambda _: torch.tensor([1 + 2j]), torch.tensor([1 + 2j, 1 + 2j])),
    "a list": Case(lambda rank: [1.5 + rank, 2.5], torch.tensor([1.5, 2.5, 2.5, 2.5])),
    "a list as a list": Case(lambda rank: [1.5 + rank, 2.5], [1.5, 2.5, 2.5, 2.5], AS_LIST),
    "a list in double precision": Case(lambda rank: [1 + rank, 2], torch.tensor([1, 2, 2, 2], dtype=F64), DOUBLE),
    "a nested list": Case(lambda rank: [[1 + rank, 2], [3, 4]], [[1, 2], [3, 4], [2, 2], [3, 4]], AS_LIST),
    "a tuple": Case(lambda rank: (1 + rank, 2), torch.tensor([1, 2, 2, 2])),
    "an array": Case(lambda rank: np.array([1.0, 2.0]) + rank, torch.tensor([1, 2, 2, 3], dtype=F64)),
    "an array as an array": Case(lambda rank: np.array([1, 2]) + rank, np.array([1, 2, 2, 3]), AS_LIST),
    "an array in double precision": Case(
        lambda rank: np.ones((1, 2), dtype=np.float32) + rank, np.array([[1.0, 1.0], [2.0, 2.0]]), AS_LIST | DOUBLE
    ),
    "a tensor as a list": Case(table, BOTH, AS_LIST),
    "a number": Case(lambda rank: 1.5 + rank, torch.tensor([1.5, 2.5])),
    "a boolean as a list": Case(bool, [False, True], AS_LIST),
    "a number of numpy": Case(lambda rank: np.float64(1.5 + rank), torch.tensor([1.5, 2.5], dtype=F64)),
    "a list of tensors without dimensions": Case(
        lambda rank: [torch.tensor(1.0 + rank), torch.tensor(2.0)], torch.tensor([1.0, 2.0, 2.0, 2.0])
    ),
    "a list of arrays": Case(
        lambda rank: [np.array([1.0, 2.0]) + rank], torch.tensor([[1.0, 2.0], [2.0, 3.0]], dtype=F64)
    ),
    "an empty list": Case(lambda _: [], torch.zeros(0)),
    "an empty tensor": Case(lambda _: torch.zeros(0, 2), torch.zeros(0, 2)),
    "a tensor with a gradient": Case(lambda _: torch.ones(2, requires_grad=True), torch.ones(4)),
    "a transposed tensor": Case(
        lambda rank: table(rank).t(), torch.tensor([[0.0, 2.0], [1.0, 3.0], [10.0, 12.0], [11.0, 13.0]])
    ),
    "a range": Case(lambda _: range(2), torch.tensor([0, 1, 0, 1])),
}

# Where the old library ends in an error, in most cases one that says nothing: Q62 and Q63, and unequal lengths.
CORRECTED = {
    "a tensor without dimensions": Case(lambda rank: torch.tensor(1.5 + rank), torch.tensor([1.5, 2.5])),
    "an array without dimensions": Case(lambda rank: np.array(1.5 + rank), torch.tensor([1.5, 2.5], dtype=F64)),
    "apart": Case(table, [table(0), table(1)], APART),
    "numbers without dimensions apart": Case(torch.tensor, [torch.tensor(0), torch.tensor(1)], APART),
    "a list apart": Case(lambda rank: [1.5 + rank], [torch.tensor([1.5]), torch.tensor([2.5])], APART),
    "a list apart as lists": Case(lambda rank: [1 + rank], [[1], [2]], APART | AS_LIST),
    "shapes that differ apart": Case(lambda rank: torch.ones(2, 1 + rank), [torch.ones(2, 1), torch.ones(2, 2)], APART),
    "strings": Case(lambda rank: ["a", "b" * rank], ["a", "", "a", "b"]),
    "strings apart": Case(lambda rank: ["a" * rank], [[""], ["a"]], APART),
    "an array of strings": Case(lambda rank: np.array([f"{rank}"]), np.array(["0", "1"])),
    "ragged lists": Case(lambda rank: [[rank], [1, 2]], [[0], [1, 2], [1], [1, 2]]),
    "a list of tensors": Case(lambda rank: [torch.ones(1 + rank), torch.ones(3)], [1, 3, 2, 3]),
    "one string": Case(lambda rank: "ab" * rank, ["", "ab"]),
    "nothing": Case(lambda _: None, [None, None]),
    "a set": Case(lambda rank: {rank}, [{0}, {1}]),
    "unequal lengths": Case(lambda rank: torch.arange(2 + rank), torch.tensor([0, 1, 0, 1, 2])),
    "nothing on one rank": Case(lambda rank: [5, 6] * rank, torch.tensor([5, 6])),
    "types that differ": Case(lambda rank: [1.5] if rank else [1, 2], torch.tensor([1.0, 2.0, 1.5])),
    "strings on one rank": Case(lambda rank: ["a"] if rank else [1, 2], [1, 2, "a"]),
    "small integers": Case(
        lambda rank: torch.tensor([rank], dtype=torch.int16), torch.tensor([0, 1], dtype=torch.int16)
    ),
    "bfloat16": Case(lambda _: torch.ones(1, dtype=torch.bfloat16), torch.ones(2, dtype=torch.bfloat16)),
}

# Made of the rank; what comes of it stands in the test.
FAILING: dict[str, Callable[[DDPHandler, int], Any]] = {
    "shapes": lambda handler, rank: handler.mp_sync(torch.ones(1, 2 + rank)),
    "names": lambda handler, rank: handler.mp_sync_dict({f"a{rank}": [1]}),
    "no dict": lambda handler, _: handler.mp_sync_dict([1]),  # type: ignore[arg-type]
}


def run(rank: int, folder: str) -> None:
    """Run all cases in one of two processes, and leave the results in a file."""
    store = (Path(folder) / "meeting").as_uri()
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    loop: Any = SimpleNamespace(device=torch.device("cpu"), _compat=LoopState())
    handler = DDPHandler(loop)
    results: dict[str, Any] = {}
    for name, case in {**RECORDED, **CORRECTED}.items():
        results[name] = handler.mp_sync(case.data(rank), **case.options)
    results["a list of tensors"] = [len(tensor) for tensor in results["a list of tensors"]]
    values = {"a": [1 + rank], "b": np.ones(1), "c": ["x"]}
    results["dict"] = handler.mp_sync_dict(values if rank else dict(reversed(values.items())))
    for name, call in FAILING.items():
        results[name] = error_of(call, handler, rank)
    ranks = loop._compat.ranks = Ranks(timedelta(seconds=60))
    results["in a fit"] = handler.mp_sync([rank])
    with ranks.standing_alone():
        results["alone"] = error_of(lambda handler, rank: handler.mp_sync([rank]), handler, rank)
    results["order"] = handler._agree([rank])
    results["out of step"] = error_of(
        lambda handler, rank: handler.mp_sync([1]) if rank else ranks.meet("predict_on_test_set()"), handler, rank
    )
    ranks.close()
    dist.destroy_process_group()
    (Path(folder) / f"results_{rank}.pickle").write_bytes(pickle.dumps(results))


def error_of(call: Callable[[DDPHandler, int], Any], handler: DDPHandler, rank: int) -> str:
    """Return the error that a call ends in, as text."""
    try:
        call(handler, rank)
    except Exception as error:  # noqa: BLE001  # which one it is, is what the test looks at
        return f"{type(error).__name__}: {error}"
    return "no error"
