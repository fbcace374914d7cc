"""How ``gpu_mode='dp'`` wraps a model: in which wrapper, with which arguments, and on which device."""

from collections.abc import Mapping
from inspect import signature
from typing import Any

import torch
from torch import nn

from compat._compiled import compiled_parts
from compat.exceptions import CompatError, InvalidTypeError, MissingAttributeError, RefusedError, raise_problems
from compat.model import TTModel
from compat.parallel import TTDataParallel, _check_model

__all__ = ["data_parallel", "root_device", "wrap_problems"]


def data_parallel(model: nn.Module, dp_model_args: Mapping[str, Any] | None) -> Any:
    """Wrap a model for ``gpu_mode='dp'``, unless it is wrapped already.

    Args:
        model: A ``TTModel``, or another module, whose losses a feed definition computes.
        dp_model_args: Arguments of the wrapper.

    Returns:
        A :class:`compat.parallel.TTDataParallel` or a ``torch.nn.DataParallel``.

    Raises:
        InvalidTypeError: ``dp_model_args`` is no dict, or has a key that the wrapper does not take.
        MissingAttributeError: The model lacks an attribute that it lists for transfer.
    """
    raise_problems(wrap_problems(model, dp_model_args))
    if isinstance(model, nn.DataParallel):
        return model
    arguments = dict(dp_model_args or {})
    return TTDataParallel(model, **arguments) if isinstance(model, TTModel) else nn.DataParallel(model, **arguments)


def wrap_problems(model: Any, dp_model_args: Any) -> list[CompatError]:
    """List what speaks against :func:`data_parallel`.

    Args:
        model: The model.
        dp_model_args: Arguments of the wrapper; nobody reads those of a model that is wrapped already.
    """
    if isinstance(model, nn.DataParallel):
        return []
    if not isinstance(dp_model_args, Mapping | None):
        kind = type(dp_model_args).__name__
        return [InvalidTypeError(f"dp_model_args is a {kind}. Pass a dict such as {{'device_ids': [0, 1]}}.")]
    owner = TTDataParallel if isinstance(model, TTModel) else nn.DataParallel
    parameters = [*signature(nn.DataParallel).parameters, *(signature(owner).parameters)]
    allowed = [name for name in dict.fromkeys(parameters) if name not in ("module", "kwargs")]
    unknown = [key for key in dp_model_args or {} if key not in allowed]
    problems: list[CompatError] = []
    if unknown:
        told = ", ".join(map(repr, unknown))
        problems.append(InvalidTypeError(f"dp_model_args has unknown keys: {told}. Allowed are {', '.join(allowed)}."))
    problems += _compiled_problems(model, dp_model_args or {})
    if owner is TTDataParallel:
        try:
            _check_model("gpu_mode='dp'", model)
        except MissingAttributeError as problem:
            problems.append(problem)
    return problems


def _compiled_problems(model: nn.Module, arguments: Mapping[str, Any]) -> list[CompatError]:
    devices = arguments.get("device_ids")
    compiled = compiled_parts(model)
    if not compiled or (torch.cuda.device_count() if devices is None else len(devices)) < 2:
        return []
    name = f"its part {compiled[0]!r}" if compiled[0] else type(model).__name__
    return [
        RefusedError(
            f"gpu_mode='dp' cannot train a compiled model on several devices, and {name} is compiled: the replicas"
            " would run the code that was compiled for the first, on its weights. Use gpu_mode='ddp', or leave"
            " torch.compile out."
        )
    ]


def root_device(wrapper: Any, device: torch.device) -> torch.device:
    """Return where the parameters of a wrapped model belong: on the first of its devices.

    Args:
        wrapper: The wrapped model.
        device: The loop's device. One with an index is what the user asked for, and stays.
    """
    first = next(iter(getattr(wrapper, "device_ids", None) or []), None)
    if device != torch.device("cuda") or first is None or first == torch.cuda.current_device():
        return device
    return torch.device("cuda", first)
