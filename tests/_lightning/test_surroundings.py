"""The process around a fit: what a Trainer would take from it, and what it would leave in it."""

import logging
import os
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.toys import make_loop, on


@pytest.mark.parametrize(
    "variable",
    ["MAX_STEPS=2", "FAST_DEV_RUN=1", "MAX_TIME=00:00:00:00", "ACCUMULATE_GRAD_BATCHES=2", "GRADIENT_CLIP_VAL=0.1"],
)
def test_trainer_is_not_steered_by_the_environment(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, _, value = variable.partition("=")
    monkeypatch.setenv(f"PL_TRAINER_{name}", value)
    loop = make_loop()
    loop.fit(num_epochs=3)
    assert loop.total_iteration_idx == 8


@pytest.mark.parametrize(
    "variables",
    [
        {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"},
        {
            "SLURM_NTASKS": "4",
            "SLURM_PROCID": "2",
            "SLURM_LOCALID": "2",
            "SLURM_JOB_NAME": "job",
            "SLURM_NODELIST": "n",
        },
    ],
    ids=["torchrun", "SLURM"],
)
def test_loop_on_one_device_ignores_the_cluster(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    loop = make_loop()
    loop.fit(num_epochs=1)
    assert loop.total_iteration_idx == 2
    assert loop.trainer is not None
    assert loop.trainer.world_size == 1


def test_working_directory_may_be_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    try:
        make_loop().fit(num_epochs=1)
    finally:
        os.chdir(tmp_path)


def test_what_a_hook_does_to_the_warnings_and_flags_stays() -> None:
    def change(loop: Any) -> None:
        warnings.filterwarnings("ignore", message="a filter of a hook")
        torch.set_grad_enabled(False)
        torch.autograd.set_detect_anomaly(True, check_nan=False)

    with warnings.catch_warnings():
        try:
            make_loop().fit(num_epochs=1, callbacks=[on("train_end", change)])
            kept = [entry for entry in warnings.filters if "a filter of a hook" in str(entry[1])]
            flags = (torch.is_grad_enabled(), torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled())
        finally:
            torch.set_grad_enabled(True)
            torch.autograd.set_detect_anomaly(False, check_nan=True)
    assert len(kept) == 1
    assert flags == (False, True, False)


def test_overlapping_fits_in_threads_leave_no_filter() -> None:
    before = list(warnings.filters)
    handlers = [list(logging.getLogger(name).filters) for name in ("lightning.pytorch", "lightning.fabric")]
    barrier = threading.Barrier(2)

    def work() -> None:
        make_loop().fit(num_epochs=1, callbacks=[on("train_begin", lambda loop: barrier.wait(30))])

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert warnings.filters == before
    assert [list(logging.getLogger(name).filters) for name in ("lightning.pytorch", "lightning.fabric")] == handlers


def test_exit_after_a_handled_interrupt_is_still_an_exit() -> None:
    def leave(loop: Any) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise SystemExit(3)  # noqa: B904  # as `sys.exit` in a handler does

    with pytest.raises(SystemExit) as caught:
        make_loop().fit(num_epochs=1, callbacks=[on("batch_end", leave)])
    assert caught.value.code == 3


def test_cause_of_an_interrupt_is_kept() -> None:
    cause = ValueError("why")

    def interrupt(loop: Any) -> None:
        raise KeyboardInterrupt from cause

    with pytest.raises(KeyboardInterrupt) as caught:
        make_loop().fit(num_epochs=1, callbacks=[on("batch_end", interrupt)])
    assert caught.value.__cause__ is cause
