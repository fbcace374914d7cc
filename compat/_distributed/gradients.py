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

from compat._distributed.calls import Call, broadcast
from compat._distributed.sharding import ShardedDoor
from compat.exceptions import DriftError, LossError
from compat.losses import MultiLoss
from compat.model import TTModel
from compat.parallel import TTDistributedDataParallel

__all__ = [
    "Door",
    "after_backward",
    "check_drift",
    "checksums",
    "foreign_parameters",
    "share_buffers",
    "trained_parameters",
    "unwrapped",
    "wrapped",
]

# How torch's message begins.
_UNFINISHED = "Expected to have finished reduction in the prior iteration"


class Door(DistributedDataParallel):
    """``DistributedDataParallel`` whose forward takes any call that computes a loss of the model.

    Without gradients it is the bare model: nothing is exchanged, so that the processes may evaluate different numbers
    of batches, or one of them alone.

    Args:
        module: The model.
        kwargs: Arguments of ``DistributedDataParallel``. ``device_ids`` is not among them: with it every tensor of a
            batch would be moved before ``get_loss`` sees it.

    Attributes:
        averages_by_hand: Whether each batch has several losses, whose gradients are averaged by hand.
        has_several_losses: Whether the last call returned a ``MultiLoss``, for which the same is true.
        stands_alone: Tells whether this process does something without the others, and so has to be left alone.
    """

    averages_by_hand: bool
    has_several_losses: bool
    stands_alone: Callable[[], bool] | None
    _arguments: dict[str, Any]
    _averaged: list[nn.Parameter]

    def __init__(self, module: nn.Module, **kwargs: Any) -> None:
        """Wrap the model; the process group is there before."""
        # Into the dict, and first: a wrapper that lends a model's methods tells its own attributes by then.
        self.__dict__.update(_is_open=False, has_several_losses=False, averages_by_hand=False, stands_alone=None)
        self.__dict__.update(_arguments=kwargs, _averaged=[each for each in module.parameters() if each.requires_grad])
        super().__init__(module, **kwargs)

    def is_current(self) -> bool:
        """Tell whether it averages the gradients of all parameters that are trained, and of no others."""
        trained = [parameter for parameter in self.module.parameters() if parameter.requires_grad]
        same = (one is other for one, other in zip(trained, self._averaged, strict=False))
        return len(trained) == len(self._averaged) and all(same)

    def renewed(self) -> "Door":
        """Return another wrapper of the same model, for the parameters that are trained by now."""
        other = type(self)(self.module, **self._arguments)
        other.averages_by_hand, other.stands_alone = self.averages_by_hand, self.stands_alone
        return other

    def through(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function that computes a loss, with the gradients of its result averaged over the processes.

        Args:
            function: What to call.
            arguments: Its arguments, which reach it as they are.

        Returns:
            What it returns.
        """
        if self._is_bare():
            return function(*arguments)
        return self(Call(function, arguments))

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """Run the model, or the call that is on its way through.

        Args:
            inputs: Arguments of the model.
            kwargs: Further arguments of the model.
        """
        if self._is_bare():
            return self._bare(*inputs, **kwargs)
        # A MultiLoss before this batch has switched it off.
        self.require_backward_grad_sync = not self.averages_by_hand
        self.has_several_losses = False
        try:
            output = super().forward(*inputs, **kwargs)  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            if not str(error).startswith(_UNFINISHED):
                raise
            raise LossError(
                "Parameters of the model had no part in the loss of a batch, so their gradients were never averaged."
                " Let the wrapper look for such ones: fit(..., ddp_model_args={'find_unused_parameters': True}). Or"
                " freeze them with requires_grad_(False)."
            ) from error
        if not self.require_backward_grad_sync:
            # What was switched off is the averaging alone: rank zero's buffers go on being shared.
            self.require_forward_param_sync = True
        return output

    def _is_bare(self) -> bool:
        alone = self.stands_alone is not None and self.stands_alone()
        return self._is_open or alone or not torch.is_grad_enabled()

    # XXX: torch has no public place between the preparation of a forward and what it wraps; this one has been there
    # since 1.11, and tests/_distributed/test_gradients.py notices when it goes.
    def _run_ddp_forward(self, *inputs: Any, **kwargs: Any) -> Any:
        self._is_open = True
        try:
            call = inputs[0] if inputs and isinstance(inputs[0], Call) else None
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


def trained_parameters(model: nn.Module) -> list[str]:
    """Name the parameters of a model that get gradients.

    Args:
        model: The model.
    """
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def unwrapped(model: Any) -> Any:
    """Return the model inside a wrapper, or the model itself."""
    return model.module if isinstance(model, Door | ShardedDoor) else model


def after_backward(loop: Any) -> None:
    """Average the gradients that nobody has averaged on the way.

    Those are the ones of a single loss among several, and of parameters that are not the model's: of a criterion that
    learns.

    Args:
        loop: The facade, after a backward pass.
    """
    door, size = loop.model, loop._compat.ranks.size
    by_hand = list(loop._compat.foreign_parameters)
    if isinstance(door, Door) and (door.averages_by_hand or door.has_several_losses):
        by_hand += [parameter for parameter in door.module.parameters() if parameter.requires_grad]
    if by_hand:
        _average(by_hand, size)


def foreign_parameters(model: Any, optimizer: Any) -> list[nn.Parameter]:
    """Return the parameters that an optimizer steps on and the model does not have.

    Args:
        model: The loop's model. A sharded one has all of them, or was refused.
        optimizer: The loop's optimizer, or several of them.
    """
    if isinstance(model, ShardedDoor):
        return []
    own = {id(parameter) for parameter in unwrapped(model).parameters()}
    found = {}
    for each in getattr(optimizer, "optimizer_list", [optimizer]):
        for group in getattr(each, "param_groups", ()):
            found.update({id(parameter): parameter for parameter in group["params"] if id(parameter) not in own})
    return list(found.values())


_DENSE, _SPARSE = 1, 2


def _average(parameters: Sequence[nn.Parameter], size: int) -> None:
    """Average gradients over the processes; one that is missing in some of them counts as 0 there."""
    kinds = [0 if each.grad is None else _SPARSE if each.grad.is_sparse else _DENSE for each in parameters]
    there = torch.tensor(kinds, dtype=torch.int32, device=parameters[0].device)
    # A branch of the model may have been taken in one process only.
    dist.all_reduce(there, dist.ReduceOp.MAX)
    alike: dict[tuple[torch.dtype, torch.device], list[torch.Tensor]] = {}
    for parameter, kind in zip(parameters, there.tolist(), strict=True):
        if kind == _SPARSE:
            _average_sparse(parameter, size)
        elif kind == _DENSE:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            alike.setdefault((parameter.grad.dtype, parameter.grad.device), []).append(parameter.grad)
    for gradients in alike.values():
        flat = _flatten_dense_tensors(gradients).div_(size)  # type: ignore[no-untyped-call]
        dist.all_reduce(flat)
        averages = _unflatten_dense_tensors(flat, gradients)  # type: ignore[no-untyped-call]
        for gradient, average in zip(gradients, averages, strict=True):
            gradient.copy_(average)


def _average_sparse(parameter: nn.Parameter, size: int) -> None:
    """Average a gradient that says which rows it has, as embeddings may have it."""
    own = parameter.grad
    if own is None:
        own = torch.zeros_like(parameter).to_sparse(1)
    total = own.coalesce().div_(size)
    dist.all_reduce(total)
    parameter.grad = total


def share_buffers(model: Any) -> None:
    """Give all processes rank zero's buffers, such as the statistics of batch normalisation.

    Args:
        model: The loop's model. Its wrapper does the same at the next training batch; one that is told not to keeps the
            buffers of each process, and they stay as they are here.
    """
    if isinstance(model, Door) and not model.broadcast_buffers:
        return
    with torch.no_grad():
        for buffer in unwrapped(model).buffers():
            broadcast(buffer)


def checksums(parameters: Iterable[torch.Tensor]) -> list[int]:
    """Return a number for each parameter that is the same in two processes if its values are, to the last bit.

    Args:
        parameters: The parameters.
    """
    return [_checksum(parameter) for parameter in parameters]


# By the size of a number in bytes.
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def _checksum(parameter: torch.Tensor) -> int:
    detached = parameter.detach().contiguous()
    plain = torch.view_as_real(detached) if detached.is_complex() else detached
    bits = plain.reshape(-1).view(_BITS[plain.element_size()])
    # Whole numbers: their sum does not depend on the order, and so not on the number of threads or the kind of GPU. The
    # second sum tells apart halves that have changed places.
    sums = [int(part.sum(dtype=torch.int64)) for part in (bits, bits[: len(bits) // 2])]
    return hash(tuple(sums))


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
                    " and not a part of it, and leave the backward pass and the loop's model as they are. Or something"
                    " changed weights in one process and not in the others."
                )
