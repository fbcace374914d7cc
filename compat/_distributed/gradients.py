"""The gradients of a model that trains in several processes: averaged over them, and watched for drift.

The old wrapper reduced gradients only where ``get_loss`` called the model itself, and only for one backward pass a
batch. Here the whole of ``get_loss`` runs inside the forward of ``DistributedDataParallel``, so that it may use the
model in any way, and several losses are averaged by hand after each backward pass.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parallel.scatter_gather import scatter_kwargs

from compat._distributed.sharding import ShardedDoor
from compat.exceptions import DriftError, LossError
from compat.losses import MultiLoss
from compat.model import TTModel
from compat.parallel import TTDistributedDataParallel

__all__ = ["Door", "after_backward", "check_drift", "checksums", "share_buffers", "unwrapped", "wrapped"]


# How torch's message begins.
_UNFINISHED = "Expected to have finished reduction in the prior iteration"


class _Call:
    """A function on its way through the forward of ``DistributedDataParallel``."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.function, self.arguments = function, arguments


class Door(DistributedDataParallel):
    """``DistributedDataParallel`` whose forward takes any call that computes a loss of the model.

    Without gradients it is the bare model: nothing is exchanged, so that the processes may evaluate different numbers
    of batches, or one of them alone.

    Args:
        module: The model.
        kwargs: Arguments of ``DistributedDataParallel``. ``device_ids`` is not among them: with it every tensor of a
            batch would be moved before ``get_loss`` sees it.

    Attributes:
        has_several_losses: Whether the last call returned a ``MultiLoss``, whose gradients are averaged by hand.
    """

    def __init__(self, module: nn.Module, **kwargs: Any) -> None:
        """Wrap the model; the process group is there before."""
        # Into the dict, and first: a wrapper that lends a model's methods tells its own attributes by then.
        self.__dict__.update(_is_open=False, has_several_losses=False)
        super().__init__(module, **kwargs)

    def through(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function that computes a loss, with the gradients of its result averaged over the processes.

        Args:
            function: What to call.
            arguments: Its arguments, which reach it as they are.

        Returns:
            What it returns.
        """
        if self._is_open or not torch.is_grad_enabled():
            return function(*arguments)
        return self(_Call(function, arguments))

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """Run the model, or the call that is on its way through.

        Args:
            inputs: Arguments of the model.
            kwargs: Further arguments of the model.
        """
        if self._is_open or not torch.is_grad_enabled():
            return self._bare(*inputs, **kwargs)
        # A MultiLoss before this batch has switched it off.
        self.require_backward_grad_sync = True
        self.has_several_losses = False
        try:
            output = super().forward(*inputs, **kwargs)  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            if not str(error).startswith(_UNFINISHED):
                raise
            raise LossError(
                "Parameters of the model had no part in the loss of a batch, so their gradients were never averaged."
                " Let the wrapper look for such ones: fit(..., ddp_model_args={'find_unused_parameters': True}). Or"
                f" freeze them with requires_grad_(False). torch says: {error}"
            ) from error
        if self.has_several_losses:
            # What was switched off is the averaging alone: rank zero's buffers go on being shared.
            self.require_forward_param_sync = True
        return output

    # XXX: torch has no public place between the preparation of a forward and what it wraps; this one has been there
    # since 1.11, and tests/_distributed/test_gradients.py notices when it goes.
    def _run_ddp_forward(self, *inputs: Any, **kwargs: Any) -> Any:
        self._is_open = True
        try:
            call = inputs[0] if inputs and isinstance(inputs[0], _Call) else None
            output = self._bare(*inputs, **kwargs) if call is None else call.function(*call.arguments)
        finally:
            self._is_open = False
        if isinstance(output, MultiLoss):
            self.has_several_losses = True
            self.require_backward_grad_sync = False
        return output

    def _bare(self, *inputs: Any, **kwargs: Any) -> Any:
        first = next(self.module.parameters(), None)
        if first is not None and first.device.type == "cuda":
            # The old wrapper moved what the model itself is called with.
            (inputs, *_), (kwargs, *_) = scatter_kwargs(inputs, kwargs, [first.device.index])
        return self.module(*inputs, **kwargs)


class _TTDoor(Door, TTDistributedDataParallel):
    """The door round a model that knows its loss."""

    def __init__(self, module: Any, **kwargs: Any) -> None:
        """Wrap the model."""
        Door.__init__(self, module, **kwargs)

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        """Compute the training loss of a batch by the model's method, whatever that calls."""
        return self.through(super().get_loss, batch_data, criterion, device)


def wrapped(model: nn.Module, ddp_model_args: Mapping[str, Any]) -> Door:
    """Wrap a model for training in several processes. Rank zero's weights and buffers become those of all.

    Args:
        model: A ``TTModel``, or another module, whose losses a feed definition computes.
        ddp_model_args: Arguments of ``DistributedDataParallel``.
    """
    arguments = {name: value for name, value in ddp_model_args.items() if name != "device_ids"}
    return _TTDoor(model, **arguments) if isinstance(model, TTModel) else Door(model, **arguments)


def unwrapped(model: Any) -> Any:
    """Return the model inside a wrapper, or the model itself."""
    return model.module if isinstance(model, Door | ShardedDoor) else model


def after_backward(model: Any, size: int) -> None:
    """Average the gradients of one loss among several; those of a single loss have been averaged on the way.

    Args:
        model: The loop's model, after the backward pass.
        size: The number of processes.
    """
    if isinstance(model, Door) and model.has_several_losses:
        _average([parameter for parameter in model.module.parameters() if parameter.requires_grad], size)


def _average(parameters: Sequence[nn.Parameter], size: int) -> None:
    """Average gradients over the processes; one that is missing in some of them counts as 0 there."""
    if not parameters:
        return
    device = parameters[0].device
    there = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.int32, device=device)
    # A branch of the model may have been taken in one process only.
    dist.all_reduce(there, dist.ReduceOp.MAX)
    by_kind: dict[tuple[torch.dtype, torch.device], list[torch.Tensor]] = {}
    for parameter, is_there in zip(parameters, there.tolist(), strict=True):
        if not is_there:
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        by_kind.setdefault((parameter.grad.dtype, parameter.grad.device), []).append(parameter.grad)
    for gradients in by_kind.values():
        flat = _flatten_dense_tensors(gradients).div_(size)  # type: ignore[no-untyped-call]
        dist.all_reduce(flat)
        averages = _unflatten_dense_tensors(flat, gradients)  # type: ignore[no-untyped-call]
        for gradient, average in zip(gradients, averages, strict=True):
            gradient.copy_(average)


def share_buffers(model: nn.Module) -> None:
    """Give all processes rank zero's buffers, such as the statistics of batch normalisation.

    Args:
        model: The model; ``DistributedDataParallel`` does the same at the next training batch.
    """
    for buffer in model.buffers():
        # Some backends take no bool.
        shared = buffer.to(torch.uint8) if buffer.dtype == torch.bool else buffer.contiguous()
        dist.broadcast(shared, 0)
        if shared is not buffer:
            buffer.copy_(shared)


def checksums(model: nn.Module) -> list[int]:
    """Return a number for each parameter that is the same in two processes if its values are, to the last bit.

    Args:
        model: The model.
    """
    with torch.no_grad():
        sums = [_checksum(parameter) for parameter in model.parameters()]
    return torch.stack(sums).tolist() if sums else []


def _checksum(parameter: torch.Tensor) -> torch.Tensor:
    detached = parameter.detach()
    values = (torch.view_as_real(detached) if detached.is_complex() else detached).double()
    # The bits, since a NaN is not equal to itself.
    return torch.stack([values.sum(), values.abs().sum()]).view(torch.int64).cpu().sum()


def check_drift(names: Iterable[str], by_rank: Sequence[Sequence[int]]) -> None:
    """Compare the weights of all processes.

    Args:
        names: The names of the parameters.
        by_rank: What :func:`checksums` returned in each process.

    Raises:
        DriftError: They differ.
    """
    for index, name in enumerate(names):
        values = [sums[index] for sums in by_rank]
        for rank, value in enumerate(values):
            if value != values[0]:
                raise DriftError(
                    f"The weights of the processes have drifted apart: {name!r} of rank {rank} is not that of rank 0."
                    " Either its gradients were not averaged: compute the loss in get_loss, or call self.model itself"
                    " and not a part of it. Or something changed weights in one process and not in the others."
                )
