"""What the reference makes of each case, recorded beside this file.

``COMPAT_REFERENCE_ENV=<environment> python -m tests.ddp.reference`` writes the record anew.

Its own start of several processes puts the weights in memory that all of them step on, so that nothing definite comes
out (quirk Q52). Here each process makes a loop of its own, and runs what the reference runs in a process: its
``_spawn_fit``.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from tests.ddp.cases import CASES, Case, callbacks, duration, make_loop
from tests.ddp.models import SIDE_VARIABLE
from tests.ddp.processes import ROOT
from tests.parity.backend import REFERENCE

RECORD = Path(__file__).with_name("record_1_8_0.json")
SIZES = (2, 3)
_SECONDS = 100


def environment() -> dict[str, Any]:
    """What a run must share with another to be equal to it in every bit."""
    return {"torch": torch.__version__.split("+")[0], "capability": torch.backends.cpu.get_cpu_capability()}


def recorded() -> dict[str, Any]:
    """The record: the environment, and by the number of processes what came out of each case."""
    read: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    return read


def asked(python: Path, folder: Path) -> dict[str, Any]:
    """What the reference makes of the cases, now."""
    return {str(size): _asked(python, size, folder / str(size)) for size in SIZES}


def _asked(python: Path, size: int, folder: Path) -> dict[str, Any]:
    folder.mkdir()
    variables = os.environ | {SIDE_VARIABLE: REFERENCE}
    command = [str(python), "-W", "ignore", "-m", __spec__.name, str(size)]
    processes = []
    for rank in range(size):
        with (folder / f"log.{rank}").open("w", encoding="utf-8") as log:
            processes.append(
                subprocess.Popen([*command, str(rank), str(folder)], cwd=ROOT, env=variables, stdout=log, stderr=log)
            )
    try:
        codes = [process.wait(_SECONDS) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    if any(codes):
        logs = "\n".join((folder / f"log.{rank}").read_text(encoding="utf-8")[-3000:] for rank in range(size))
        raise RuntimeError(f"The processes of the reference ended with {codes}:\n{logs}")
    answers = [json.loads((folder / f"answer.{rank}.json").read_text(encoding="utf-8")) for rank in range(size)]
    for name, answer in answers[0].items():
        for other in answers[1:]:
            if other[name]["history"] != answer["history"]:
                raise RuntimeError(f"{name}: the history of the reference differs from process to process")
    read: dict[str, Any] = answers[0]
    return read


def _trained(number: int, case: Case, size: int, rank: int, folder: Path) -> dict[str, Any]:
    loop = make_loop(case)
    # Its start sets it before there are processes; without it nothing is gathered.
    loop.ddp_training_mode = True
    ddp_args = {
        "node_rank": 0,
        "num_gpus": size,
        "world_size": size,
        "backend": "gloo",
        "on_gpu": False,
        "init_method": f"file://{folder / f'meeting.{number}'}",
        "ddp_model_args": dict(case.arguments),
    }
    how_long = {"num_epochs": 0, "num_iterations": 0} | duration(case, 0)
    loop._spawn_fit(rank, ddp_args, *how_long.values(), callbacks(case), case.window, None)
    state = loop.model.module.state_dict()
    seen = {
        "weights": {key: value.tolist() for key, value in state.items()},
        "history": dict(loop.train_history.train_history),
        "epoch": loop.epoch,
        "total_iteration_idx": loop.total_iteration_idx,
    }
    del loop, state
    gc.collect()
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    return seen


def _answer(size: int, rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    wanted = {name: case for name, case in CASES.items() if case.in_reference}
    seen = {name: _trained(number, case, size, rank, folder) for number, (name, case) in enumerate(wanted.items())}
    (folder / f"answer.{rank}.json").write_text(json.dumps(seen), encoding="utf-8")


def _main() -> None:
    """Answer as the reference, or record what it answers."""
    if len(sys.argv) > 1:
        size, rank, folder = sys.argv[1:]
        _answer(int(size), int(rank), Path(folder))
        return
    import tempfile

    from tests.parity.reference import prepare

    with tempfile.TemporaryDirectory() as temporary:
        found: dict[str, Any] = {"environment": environment()} | asked(prepare(), Path(temporary))
    # One line a case, so that a change can be read.
    parts = [
        f'"{part}": {{\n'
        + ",\n".join(f"{json.dumps(key)}: {json.dumps(seen)}" for key, seen in entries.items())
        + "\n}"
        for part, entries in found.items()
    ]
    RECORD.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    _main()
