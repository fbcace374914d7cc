"""What the package does on a CUDA device; and that the programs which look at it run without one."""

import functools
import sys
from typing import Any

import pytest
import torch

from compat import _console
from tests.gpu import worker
from tests.gpu.__main__ import difference, run
from tests.gpu.tasks import MODES

pytestmark = pytest.mark.timeout(200)
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


@functools.cache
def outcome(mode: str, library: str) -> Any:
    return run(sys.executable, mode, library)


def judge(mode: str) -> Any:
    return outcome(mode if mode in ("amp", "bf16") else "fp32", "by hand")


@needs_cuda
@pytest.mark.parametrize("mode", MODES)
def test_weights_on_the_device_are_those_of_a_loop_by_hand(mode: str) -> None:
    assert difference(outcome(mode, "compat"), judge(mode)) <= 1e-6
    assert bool(outcome(mode, "compat")["scaler"]) is (mode == "amp")


@needs_cuda
def test_device_memory_of_a_prediction_pass_does_not_grow_with_the_data() -> None:
    few, many = run(sys.executable, "memory", "compat")
    # The predictions of the larger pass are 244 MiB.
    assert many - few < 5


@pytest.mark.parametrize("mode", ["fp32", "bf16"])
def test_the_programs_run_without_a_device_too(mode: str) -> None:
    assert difference(outcome(mode, "compat"), judge(mode)) <= 1e-6


def test_a_difference_is_seen() -> None:
    one = {"weights": {"layer.bias": [0.0, 1.0]}, "scaler": {}}
    assert difference(one, {"weights": {"module.layer.bias": [0.0, 1.0]}, "scaler": {}}) == 0
    assert difference(one, {"weights": {"layer.bias": [0.5, 1.0]}, "scaler": {}}) == 0.5
    assert difference(one, {"weights": {"layer.bias": [0.0, 1.0]}, "scaler": {"scale": 2.0}}) == float("inf")


def test_the_memory_program_measures_the_pass_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    _console.verbose(False)
    figures = iter([10 << 20, 30 << 20])
    # Stand-ins for a device: 10 MiB before each pass, then a peak of 12 and of 35.
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: next(figures))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", iter([12 << 20, 35 << 20]).__next__)
    assert worker.peaks("compat", 500, 1000) == [2, 5]
