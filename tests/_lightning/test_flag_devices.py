"""``lightning_args``: accelerators, devices and machines, on machines with and without GPUs."""

from typing import Any

import pytest
import torch
from lightning.pytorch.accelerators import CPUAccelerator, CUDAAccelerator, MPSAccelerator

from compat._lightning.flags import Flags, read_flags
from compat._lightning.plan import device_of
from compat.exceptions import InvalidArgumentError, InvalidTypeError, RefusedError
from tests.toys import make_loop


def gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Give this machine so many CUDA devices, by name."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize(
    ("args", "gpu_mode", "expected"),
    [
        ({"accelerator": "cpu"}, "single", Flags(accelerator="cpu")),
        ({"accelerator": "GPU"}, "single", Flags(accelerator="cuda")),
        ({"accelerator": CPUAccelerator()}, "single", Flags(accelerator="cpu")),
        ({"accelerator": CUDAAccelerator()}, "single", Flags(accelerator="cuda")),
        ({"devices": [1]}, "single", Flags(devices=1, device_index=1)),
        ({"devices": "1,"}, "single", Flags(devices=1, device_index=1)),
        ({"devices": "1"}, "single", Flags(devices=1)),
        ({"devices": "0, 1"}, "ddp", Flags(devices=2)),
        ({"devices": range(2)}, "ddp", Flags(devices=2)),
        ({"devices": -1}, "ddp", Flags(devices=4)),
        ({"devices": "-1"}, "ddp", Flags(devices=4)),
        ({"devices": 3, "num_nodes": 2}, "ddp", Flags(devices=3, num_nodes=2)),
    ],
)
def test_devices_are_read_as_lightning_reads_them(
    monkeypatch: pytest.MonkeyPatch, args: dict[str, Any], gpu_mode: str, expected: Flags
) -> None:
    gpus(monkeypatch, 4)
    assert read_flags(args, gpu_mode=gpu_mode) == (expected, [])


@pytest.mark.parametrize(
    ("count", "args", "gpu_mode", "error", "text"),
    [
        (4, {"accelerator": 3}, "single", InvalidTypeError, "3... is a int|is a int. Use 'cpu'"),
        (4, {"accelerator": "npu"}, "single", InvalidArgumentError, "'npu'} is no accelerator. Use 'cpu', 'gpu'"),
        (4, {"accelerator": "mps"}, "single", RefusedError, r"not tested on any other.*Trainer\(accelerator='mps'\)"),
        (4, {"accelerator": MPSAccelerator()}, "single", RefusedError, r"MPSAccelerator\(...\)} is not served"),
        (4, {"accelerator": "tpu"}, "single", RefusedError, "knew the CPU and CUDA"),
        (0, {"accelerator": "gpu"}, "single", InvalidArgumentError, "no CUDA device. Use 'cpu', or 'auto'"),
        (4, {"devices": "two"}, "single", InvalidTypeError, "'two'} is a str that names no devices"),
        (4, {"devices": True}, "single", InvalidTypeError, "True} is a bool"),
        (4, {"devices": []}, "single", InvalidTypeError, "names no devices"),
        (4, {"devices": [0.5]}, "single", InvalidTypeError, "names no devices"),
        (4, {"devices": 0}, "single", InvalidArgumentError, "0} leaves no device to train on"),
        (4, {"devices": -2}, "single", InvalidArgumentError, "-2} leaves no device"),
        (0, {"devices": -1}, "ddp", InvalidArgumentError, "stands for all CUDA devices, and this machine has none"),
        (0, {"devices": [0]}, "single", InvalidArgumentError, "names CUDA devices, and this machine has none"),
        (4, {"devices": [4]}, "single", InvalidArgumentError, "has the CUDA devices 0 to 3"),
        (4, {"devices": [1, 1]}, "ddp", InvalidArgumentError, "Name each at most once"),
        (4, {"devices": [2, 3]}, "ddp", InvalidArgumentError, "{'devices': 2}.*CUDA_VISIBLE_DEVICES=2,3"),
        (4, {"num_nodes": 0}, "ddp", InvalidArgumentError, "0} leaves no machine"),
        (4, {"num_nodes": "2"}, "ddp", InvalidTypeError, "'2'} is a str. Use a whole number of machines"),
        (4, {"accelerator": "cpu", "devices": [1]}, "single", InvalidArgumentError, "and 'accelerator': 'cpu' is none"),
    ],
)
def test_devices_that_are_none_are_named(
    monkeypatch: pytest.MonkeyPatch, count: int, args: dict[str, Any], gpu_mode: str, error: type[Exception], text: str
) -> None:
    gpus(monkeypatch, count)
    _, (found,) = read_flags(args, gpu_mode=gpu_mode)
    assert type(found) is error
    with pytest.raises(error, match=text):
        raise found


@pytest.mark.parametrize(
    ("args", "idx", "text"),
    [
        ({"accelerator": "cpu"}, 0, "{'accelerator': 'cpu'} contradicts cuda_device_idx=0"),
        ({"devices": [1]}, 0, r"{'devices': \[1\]} contradicts cuda_device_idx=0"),
        ({"devices": [1]}, 1, None),
        ({"devices": 1}, 1, None),
        ({"accelerator": "gpu"}, 1, None),
    ],
)
def test_a_contradiction_with_the_device_names_both(
    monkeypatch: pytest.MonkeyPatch, args: dict[str, Any], idx: int, text: str | None
) -> None:
    gpus(monkeypatch, 2)
    _, problems = read_flags(args, cuda_device_idx=idx)
    assert len(problems) == (text is not None)
    if text is not None:
        with pytest.raises(InvalidArgumentError, match=text):
            raise problems[0]


def test_the_device_of_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 2)
    assert device_of(None, Flags()) == torch.device("cuda")
    assert device_of(None, Flags(device_index=1)) == torch.device("cuda", 1)
    assert device_of(0, Flags(devices=1)) == torch.device("cuda", 0)
    assert device_of(None, Flags(accelerator="cpu")) == torch.device("cpu")
    gpus(monkeypatch, 0)
    assert device_of(None, Flags()) == torch.device("cpu")
    assert make_loop(lightning_args={"accelerator": "cpu"}).device == torch.device("cpu")
