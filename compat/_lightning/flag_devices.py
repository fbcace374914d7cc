"""``lightning_args``: the accelerator, the devices and the number of machines."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from compat import _ledger
from compat.exceptions import CompatError, InvalidArgumentError, InvalidTypeError, RefusedError

if TYPE_CHECKING:
    from compat._lightning.flags import Flags

__all__ = ["device_problems", "read_accelerator", "read_devices", "read_nodes"]

_KINDS = {"cpu": "cpu", "gpu": "cuda", "cuda": "cuda", "CPUAccelerator": "cpu", "CUDAAccelerator": "cuda"}
_UNTESTED = ("mps", "tpu", "hpu", "xla", "ipu")


def read_accelerator(value: Any) -> dict[str, Any]:
    """Read ``accelerator``.

    Args:
        value: A name, or one of Lightning's accelerators.

    Returns:
        The field of the settings.

    Raises:
        RefusedError: A kind of device that the loop does not train on.
        InvalidArgumentError: No such kind, or no device of it.
        InvalidTypeError: Neither a name nor an accelerator.
    """
    shown, allowed = f"lightning_args={{'accelerator': {_named(value)}}}", "Use 'cpu', 'gpu', 'cuda' or 'auto'."
    if not isinstance(value, str) and not type(value).__module__.startswith(("lightning.", "pytorch_lightning.")):
        raise InvalidTypeError(f"{shown} is a {type(value).__name__}. {allowed}")
    name = value.lower() if isinstance(value, str) else type(value).__name__
    if name.removesuffix("Accelerator").lower() in _UNTESTED:
        why = "The old loop knew the CPU and CUDA, and what it did is not tested on any other device."
        _ledger.refused(f"TrainLoop({shown})", why)
        raise RefusedError(
            f"{shown} is not served. {why} {allowed} In Lightning alone: Trainer(accelerator={_named(value)})."
        )
    if name not in _KINDS:
        raise InvalidArgumentError(f"{shown} is no accelerator. {allowed}")
    if _KINDS[name] == "cuda" and not torch.cuda.is_available():
        raise InvalidArgumentError(
            f"{shown}, but this machine has no CUDA device. Use 'cpu', or 'auto' for what there is."
        )
    return {"accelerator": _KINDS[name]}


def _named(value: Any) -> str:
    return repr(value) if isinstance(value, str) else f"{type(value).__name__}(...)"


def read_devices(value: Any, gpu_mode: Any) -> dict[str, Any]:
    """Read ``devices``.

    Args:
        value: A number, a list of CUDA devices, or one of them as text, such as ``"2"`` or ``"0,1"``.
        gpu_mode: ``TrainLoop(gpu_mode=)``. With ``ddp`` a list is as many processes as it has devices.

    Returns:
        The fields of the settings.

    Raises:
        InvalidTypeError: Neither a number nor a list of numbers.
        InvalidArgumentError: No such devices.
    """
    shown = f"lightning_args={{'devices': {value!r}}}"
    allowed = "Use a number of devices, or a list of CUDA devices, such as [0]."
    parsed = _parsed(value)
    if parsed is None:
        raise InvalidTypeError(f"{shown} is a {type(value).__name__} that names no devices. {allowed}")
    if parsed == -1:
        # All there are, which is what is left open.
        parsed = torch.cuda.device_count() or None
        if parsed is None:
            raise InvalidArgumentError(f"{shown} stands for all CUDA devices, and this machine has none. {allowed}")
    if isinstance(parsed, int):
        if parsed < 1:
            raise InvalidArgumentError(f"{shown} leaves no device to train on. {allowed}")
        return {"devices": parsed}
    return _from_list(parsed, shown, gpu_mode)


def _parsed(value: Any) -> int | list[int] | None:
    if isinstance(value, str) and re.fullmatch(r"\s*-?\d+\s*(,\s*(\d+\s*(,\s*\d+\s*)*,?)?)?", value):
        numbers = [int(part) for part in value.split(",") if part.strip()]
        return numbers if "," in value else numbers[0]
    if isinstance(value, list | tuple | range):
        numbers = list(value)
        return numbers if numbers and all(type(number) is int for number in numbers) else None
    return value if type(value) is int else None


def _from_list(devices: list[int], shown: str, gpu_mode: Any) -> dict[str, Any]:
    there = torch.cuda.device_count()
    if not there:
        raise InvalidArgumentError(
            f"{shown} names CUDA devices, and this machine has none. Use a number of processes for the CPU, or leave it"
            " out."
        )
    if len(set(devices)) != len(devices) or min(devices) < 0 or max(devices) >= there:
        raise InvalidArgumentError(
            f"{shown}, but this machine has the CUDA devices 0 to {there - 1}. Name each at most once."
        )
    if gpu_mode != "ddp" and len(devices) == 1:
        return {"devices": 1, "device_index": devices[0]}
    if gpu_mode == "ddp" and devices != list(range(len(devices))):
        visible = ",".join(map(str, devices))
        raise InvalidArgumentError(
            f"{shown}: with gpu_mode='ddp' the processes use the first devices that torch sees. Use"
            f" {{'devices': {len(devices)}}}, and start the program with CUDA_VISIBLE_DEVICES={visible}."
        )
    return {"devices": len(devices)}


def read_nodes(value: Any) -> dict[str, Any]:
    """Read ``num_nodes``.

    Args:
        value: The number of machines.

    Returns:
        The field of the settings.

    Raises:
        InvalidTypeError: No whole number.
        InvalidArgumentError: Less than one machine.
    """
    shown, allowed = f"lightning_args={{'num_nodes': {value!r}}}", "Use a whole number of machines, 1 or more."
    if type(value) is not int:
        raise InvalidTypeError(f"{shown} is a {type(value).__name__}. {allowed}")
    if value < 1:
        raise InvalidArgumentError(f"{shown} leaves no machine to train on. {allowed}")
    return {"num_nodes": value}


def device_problems(given: Mapping[str, Any], flags: "Flags", gpu_mode: Any, cuda_device_idx: Any) -> list[CompatError]:
    """List what the devices contradict.

    Args:
        given: ``lightning_args`` without what asks for nothing.
        flags: What was read of it.
        gpu_mode: ``TrainLoop(gpu_mode=)``.
        cuda_device_idx: ``TrainLoop(cuda_device_idx=)``.
    """
    problems: list[CompatError] = []
    if gpu_mode == "dp" and (flags.devices or 1) > 1:
        problems.append(
            InvalidArgumentError(
                f"lightning_args={{'devices': {given['devices']!r}}} contradicts gpu_mode='dp', whose devices fit"
                " takes: fit(..., dp_model_args={'device_ids': [...]}). Leave 'devices' out."
            )
        )
    if flags.accelerator == "cpu" and flags.device_index is not None:
        problems.append(
            InvalidArgumentError(
                f"lightning_args={{'devices': {given['devices']!r}}} names a CUDA device, and 'accelerator': 'cpu' is"
                " none. Leave one of them out."
            )
        )
    if cuda_device_idx is None:
        return problems
    other = "" if flags.accelerator != "cpu" else f"'accelerator': {_named(given['accelerator'])}"
    if flags.device_index is not None and flags.device_index != cuda_device_idx:
        other = f"'devices': {given['devices']!r}"
    if other:
        problems.append(
            InvalidArgumentError(
                f"lightning_args={{{other}}} contradicts cuda_device_idx={cuda_device_idx!r}. Leave one of them out."
            )
        )
    return problems
