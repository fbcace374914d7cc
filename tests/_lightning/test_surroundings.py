"""The process around a fit: what a Trainer would take from it, and what it would leave in it."""

import logging
import os
import threading
import warnings
from collections.abc import Iterator
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


class Switches:
    """The switches of the process that a Trainer's flags are about."""

    NAMES = ("anomaly", "deterministic", "benchmark", "workspace")

    @staticmethod
    def now() -> tuple[Any, ...]:
        """Read them."""
        return (
            (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
            (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
            torch.backends.cudnn.benchmark,
            os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
        )

    @staticmethod
    def put(anomaly: Any, deterministic: Any, benchmark: Any, workspace: Any) -> None:
        """Set them."""
        torch.autograd.set_detect_anomaly(anomaly[0], check_nan=anomaly[1])
        torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])
        torch.backends.cudnn.benchmark = benchmark
        if workspace is None:
            os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
        else:
            os.environ["CUBLAS_WORKSPACE_CONFIG"] = workspace


OFF: tuple[Any, ...] = ((False, True), (False, False), False, None)
SET: tuple[Any, ...] = ((True, False), (True, True), True, ":16:8")


@pytest.fixture
def switches() -> Iterator[None]:
    """Put the switches back, whatever a test does to them."""
    before = Switches.now()
    yield
    Switches.put(*before)


WANTED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"detect_anomaly": False}, {}),
    ({"detect_anomaly": True}, {"anomaly": (True, True)}),
    ({"deterministic": True}, {"deterministic": (True, False), "benchmark": False, "workspace": ":4096:8"}),
    ({"deterministic": "warn"}, {"deterministic": (True, True), "benchmark": False, "workspace": ":4096:8"}),
    ({"deterministic": False}, {"deterministic": (False, False)}),
    ({"benchmark": True}, {"benchmark": True}),
    ({"benchmark": False}, {"benchmark": False}),
    (
        {"deterministic": "warn", "benchmark": True, "detect_anomaly": True},
        {"deterministic": (True, True), "benchmark": True, "workspace": ":4096:8", "anomaly": (True, True)},
    ),
]


@pytest.mark.filterwarnings("ignore:You passed `deterministic=True` and `benchmark=True`")
@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
@pytest.mark.usefixtures("switches")
@pytest.mark.parametrize("before", [OFF, SET], ids=["off before", "set before"])
@pytest.mark.parametrize(("asked", "wanted"), WANTED, ids=str)
def test_switches_that_were_asked_for_hold_in_every_hook_and_are_given_back(
    asked: dict[str, Any], wanted: dict[str, Any], before: tuple[Any, ...]
) -> None:
    Switches.put(*before)
    seen: list[tuple[Any, ...]] = []
    hooks = ("train_begin", "epoch_begin", "batch_begin", "batch_end", "epoch_end", "train_end")
    loop = make_loop(lightning_args={"accelerator": "cpu", **asked})
    loop.fit(num_epochs=1, callbacks=[on(hook, lambda loop: seen.append(Switches.now())) for hook in hooks])
    expected = tuple(wanted.get(name, value) for name, value in zip(Switches.NAMES, before, strict=True))
    assert seen == [expected] * (4 + 2 * 3)
    assert Switches.now() == before


@pytest.mark.usefixtures("switches")
@pytest.mark.parametrize("hook", ["train_begin", "batch_end"])
def test_switches_are_given_back_when_a_hook_fails(hook: str) -> None:
    def fail(loop: Any) -> None:
        raise ValueError(hook)

    Switches.put(*OFF)
    loop = make_loop(lightning_args={"accelerator": "cpu", "deterministic": True, "detect_anomaly": True})
    with pytest.raises(ValueError, match=hook):
        loop.fit(num_epochs=1, callbacks=[on(hook, fail)])
    assert Switches.now() == OFF


@pytest.mark.usefixtures("switches")
def test_what_a_hook_does_to_switches_that_were_asked_for_stays() -> None:
    changed = ((True, False), (True, True), True, ":16:8")
    Switches.put(*OFF)
    loop = make_loop(lightning_args={"accelerator": "cpu", "deterministic": True, "detect_anomaly": True})
    loop.fit(num_epochs=1, callbacks=[on("train_end", lambda loop: Switches.put(*changed))])
    assert Switches.now() == changed


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
