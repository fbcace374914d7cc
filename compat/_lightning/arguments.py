"""The arguments of ``fit`` that not every fit has: what ``gpu_mode='dp'`` takes, and what nobody does."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

import torch

from compat._data_parallel import wrap_problems
from compat.exceptions import CompatError, InvalidTypeError

if TYPE_CHECKING:
    from compat.train_loop import TrainLoop

__all__ = ["data_parallel_problems", "replicas", "unknown_arguments"]


def data_parallel_problems(loop: "TrainLoop", further: Mapping[str, Any], wraps: bool) -> list[CompatError]:
    """List what is wrong with the arguments that ``fit`` passes on to ``_train_dp``.

    Args:
        loop: The facade; a subclass may have given the method further parameters.
        further: The arguments that not every fit has, by name.
        wraps: Whether it is our own method, which wraps the model.
    """
    parameters = signature(loop._train_dp).parameters
    problems: list[CompatError] = []
    # The first ones are the arguments of every fit, which are passed in their places.
    taken = list(parameters)[4:]
    unknown = [name for name in further if name not in taken]
    if unknown and not any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters.values()):
        problems.append(
            InvalidTypeError(
                f"fit got {', '.join(sorted(unknown))}, which gpu_mode='dp' does not take. Beside the arguments of"
                f" every fit it takes {', '.join(taken) or 'none'}."
            )
        )
    if wraps:
        problems += wrap_problems(loop.model, further.get("dp_model_args"))
    return problems


def replicas(loop: "TrainLoop") -> tuple[torch.device, ...] | None:
    """Return the devices of a data parallel model, none without CUDA; ``None`` where the mode is another.

    Args:
        loop: The facade. What a subclass makes of the mode is its own affair, and so its model may be any.
    """
    if loop.gpu_mode != "dp":
        return None
    return tuple(torch.device("cuda", index) for index in getattr(loop.model, "device_ids", None) or ())


def unknown_arguments(names: Iterable[str]) -> str:
    """Say what is to be said of keyword arguments that ``fit`` does not know.

    Args:
        names: Their names.
    """
    parts = []
    for name in sorted(names):
        near = get_close_matches(name, _FIT_ARGUMENTS, n=1)
        if name in _LOOP_ARGUMENTS:
            parts.append(f"{name} belongs to TrainLoop(...)")
        elif near:
            parts.append(f"{name} is not one of its own: it has {near[0]}")
        else:
            parts.append(f"{name} is unknown")
    return f"fit ignores arguments that it does not have: {'; '.join(parts)}"


_FIT_ARGUMENTS = ("num_epochs", "num_iterations", "callbacks", "grad_accumulation")
_LOOP_ARGUMENTS = (
    "gpu_mode",
    "cuda_device_idx",
    "use_amp",
    "end_auto_eval",
    "print_callbacks",
    "quirks",
    "lightning_args",
)
