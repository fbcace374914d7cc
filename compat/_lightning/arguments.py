"""The arguments of ``fit``: how long and in which windows, what ``gpu_mode='dp'`` takes, and what nobody does."""

import operator
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

import torch

from compat._data_parallel import wrap_problems
from compat.exceptions import CompatError, InvalidArgumentError, InvalidTypeError, RefusedError, ZeroArgumentError

if TYPE_CHECKING:
    from compat.train_loop import TrainLoop

__all__ = [
    "accumulation_problems",
    "data_parallel_problems",
    "duration_problems",
    "replicas",
    "trainer_arguments",
    "unknown_arguments",
    "whole",
]


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


def trainer_arguments(further: Mapping[str, Any]) -> list[CompatError]:
    """List the arguments of ``fit`` that are those of Lightning's ``Trainer.fit``: nobody means them to be ignored.

    Args:
        further: The arguments that not every fit has, by name.
    """
    return [
        RefusedError(f"fit({name}=...) is an argument of Lightning's Trainer.fit, and no fit of a TrainLoop. {instead}")
        for name, instead in _OF_TRAINER_FIT.items()
        if further.get(name) is not None
    ]


def whole(value: Any) -> int | None:
    """Return a whole number as an int; ``None`` for anything else.

    Args:
        value: What was passed.
    """
    try:
        return operator.index(value)
    except TypeError:
        return int(value) if isinstance(value, float) and value.is_integer() else None


def duration_problems(num_epochs: Any, num_iterations: Any) -> list[CompatError]:
    """List what is wrong with how long a fit is to be.

    Args:
        num_epochs: ``fit(num_epochs=)``.
        num_iterations: ``fit(num_iterations=)``.
    """
    asked = f"num_epochs={num_epochs!r} and num_iterations={num_iterations!r}"
    allowed = "Set one of them to a whole number above 0 and leave the other out."
    try:
        epochs = operator.index(num_epochs)
    except TypeError:
        return [InvalidTypeError(f"num_epochs={num_epochs!r} is no whole number. {allowed}")]
    iterations = whole(num_iterations)
    if iterations is None:
        if isinstance(num_iterations, list):
            allowed = "Callbacks came second until AIToolbox 1.3. Pass them by name: fit(n, callbacks=[...])."
        return [InvalidTypeError(f"num_iterations={num_iterations!r} is no whole number. {allowed}")]
    if epochs > 0 and iterations > 0:
        return [InvalidArgumentError(f"Both {asked} are set, and they exclude each other. {allowed}")]
    if max(epochs, iterations) <= 0 or min(epochs, iterations) < 0:
        return [InvalidArgumentError(f"{asked}: nothing would be trained. {allowed}")]
    return []


def accumulation_problems(grad_accumulation: Any) -> list[CompatError]:
    """List what is wrong with the size of a window.

    Args:
        grad_accumulation: ``fit(grad_accumulation=)``.
    """
    window = whole(grad_accumulation)
    allowed = "Use a whole number of batches, 1 or more."
    if window is None:
        if isinstance(grad_accumulation, float):
            return [InvalidArgumentError(f"grad_accumulation={grad_accumulation!r} is not whole. {allowed}")]
        kind = type(grad_accumulation).__name__
        return [InvalidTypeError(f"grad_accumulation={grad_accumulation!r} is a {kind}. {allowed}")]
    if window == 0:
        return [ZeroArgumentError(f"grad_accumulation=0 would divide each loss by zero. {allowed}")]
    if window < 0:
        return [InvalidArgumentError(f"grad_accumulation={window} would train uphill. {allowed}")]
    return []


_LOADERS = "Pass the loaders to TrainLoop(...), or set loop.train_loader, loop.validation_loader and loop.test_loader."
_FILE = (
    "A file of Lightning holds neither the history nor old callbacks. To start from its weights, load them first,"
    " without the prefix 'model.' of their names, and the optimizer's state from its 'optimizer_states'."
)
_OF_TRAINER_FIT = {
    "ckpt_path": _FILE,
    "datamodule": _LOADERS,
    "train_dataloaders": _LOADERS,
    "val_dataloaders": _LOADERS,
    "weights_only": _FILE,
}
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
