"""A model whose weights, gradients and optimizer state are spread over the processes: the strategy ``fsdp``.

torch's ``fully_shard`` does the work, round the whole of ``get_loss``, so that it may use the model in any way. Between
the batches the model is made whole where somebody looks at it, so that evaluations, callbacks and state dicts see plain
weights:

- before the first batch nothing is sharded, so that ``on_train_begin`` may load weights and optimizer;
- in a batch the parameters are shards, ``DTensor`` of torch, and so are the optimizer's;
- ``gather`` puts whole weights into the user's own parameters, and the next batch spreads them again, changed or not;
- ``undo`` ends it: parameters, gradients and optimizer state are whole and plain, as after any other fit.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from compat._distributed.calls import Call, broadcast
from compat.exceptions import CompatError, InvalidArgumentError, InvalidTypeError, LossError, RefusedError
from compat.losses import MultiLoss, MultiOptimizer
from compat.model import TTModel
from compat.parallel import TTParallelBase

__all__ = ["ShardedDoor", "full_state", "made_whole", "shard", "sharding_problems"]


def sharding_problems(model: nn.Module, optimizer: Any) -> list[CompatError]:
    """List what keeps a model from being sharded, before any process is started.

    Args:
        model: The model.
        optimizer: The loop's optimizer.
    """
    asked = "lightning_args={'strategy': 'fsdp'}"
    from torch.distributed import fsdp

    if not hasattr(fsdp, "fully_shard"):
        return [RefusedError(f"{asked} needs torch 2.6 or later, and this is {torch.__version__}. Use 'ddp'.")]
    if isinstance(optimizer, MultiOptimizer):
        return [
            RefusedError(
                f"{asked} takes one optimizer, and this is a MultiOptimizer: the first backward pass gives away the"
                " weights that the next one needs. Use 'ddp'."
            )
        ]
    if not isinstance(getattr(optimizer, "param_groups", None), list) or not hasattr(optimizer, "state"):
        return [InvalidTypeError(f"{asked} needs an optimizer of torch's, and this is a {type(optimizer).__name__}.")]
    problems: list[CompatError] = []
    scalars = [name for name, parameter in model.named_parameters() if not parameter.dim()]
    if scalars:
        problems.append(
            InvalidArgumentError(
                f"{asked} cannot spread parameters without a dimension: {', '.join(scalars)}. Give them one, as in"
                " nn.Parameter(torch.ones(1)), or use 'ddp'."
            )
        )
    known = {id(parameter) for parameter in model.parameters()}
    foreign = sum(id(parameter) not in known for group in optimizer.param_groups for parameter in group["params"])
    if foreign:
        problems.append(
            InvalidArgumentError(
                f"The optimizer has {foreign} parameters that are not the model's. {asked} averages the gradients of"
                " the model alone: make them a part of it."
            )
        )
    return problems


class _Root(nn.Module):
    """What ``fully_shard`` is applied to: it changes the class, and the user's model keeps its own."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, call: Call) -> Any:
        return call.function(*call.arguments)


class _Sharding:
    """The shards of a model and its optimizer, once the first batch has made them."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.model, self.optimizer = model, optimizer
        self.is_whole = True
        self.root: Any = None
        # The module, the name in it, the user's own parameter, and what stands in its place in a batch.
        self._slots: list[tuple[nn.Module, str, nn.Parameter, Any]] = []

    def scatter(self) -> None:
        """Spread the weights, as they are by now, if they are whole. Nothing is exchanged after the first time."""
        if not self.is_whole:
            return
        if any(_current(slot).requires_grad != slot[3].requires_grad for slot in self._slots):
            # What was frozen or thawed in between is sharded anew: torch looks at it but once.
            self.undo()
        if self.root is None:
            self._start()
        with torch.no_grad():
            for slot in self._slots:
                module, name, parameter, shards = slot
                current = module._parameters[name]
                if current is not shards:
                    shards.to_local().copy_(_part(current, shards))
                    module._parameters[name] = shards
        for _, _, parameter, _ in self._slots:
            # Of the right shape and without memory. Who still computes with it shall see that it is not the weights.
            nothing = torch.full((), float("nan"), dtype=parameter.dtype, device=parameter.device)
            parameter.data = nothing.expand(parameter.shape)
        self.is_whole = False

    def gather(self) -> None:
        """Put the whole weights into the user's own parameters, and those into the model."""
        if self.is_whole:
            return
        self.root.reshard()
        seen = set()
        with torch.no_grad():
            for module, name, parameter, shards in self._slots:
                # Tied weights stand in several places.
                if id(shards) not in seen:
                    parameter.data = shards.full_tensor()
                    seen.add(id(shards))
                module._parameters[name] = parameter
        _forget_hooks(self.model)
        self.is_whole = True

    def undo(self) -> None:
        """Make weights, gradients and optimizer state whole, and forget the shards."""
        self.gather()
        own = {}
        for _, _, parameter, shards in self._slots:
            if id(shards) not in own:
                parameter.grad = None if shards.grad is None else _whole(shards.grad)
                own[id(shards)] = parameter
        _swap(self.optimizer, own, lambda value, _: _whole(value))
        self.root, self._slots = None, []

    def _start(self) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        slots = [
            (module, name, parameter)
            for module in self.model.modules()
            for name, parameter in module._parameters.items()
            if parameter is not None
        ]
        gradients = {id(parameter): parameter.grad for _, _, parameter in slots}
        self.root = _Root(self.model)
        device = slots[0][2].device.type
        # Named, since torch would take a GPU that is there and not used.
        fully_shard(self.root, mesh=init_device_mesh(device, (dist.get_world_size(),)))
        self._slots = [(module, name, parameter, module._parameters[name]) for module, name, parameter in slots]
        sharded = {id(parameter): shards for _, _, parameter, shards in self._slots}
        for _, _, parameter, shards in self._slots:
            gradient = gradients.pop(id(parameter), None)
            if gradient is not None:
                # Of an accumulation window that an earlier fit has left open.
                shards.grad, parameter.grad = _spread(gradient, shards), None
        _swap(self.optimizer, sharded, _spread)


def _forget_hooks(model: nn.Module) -> None:
    """Take torch's hooks off the user's modules: those would put shards into a whole model's state dict.

    They can also not be pickled, and the model would keep them after the fit.
    """
    # XXX: torch 2.13 has no public way to undo fully_shard; tests/_distributed/test_sharding.py notices what is left.
    for module in model.modules():
        for hooks in (
            module._state_dict_pre_hooks,
            module._load_state_dict_pre_hooks,
            module._load_state_dict_post_hooks,
        ):
            for key, hook in list(hooks.items()):
                # Some are wrapped in an object that holds the module.
                if getattr(getattr(hook, "hook", hook), "__module__", "").startswith("torch.distributed.fsdp"):
                    del hooks[key]


def _current(slot: tuple[nn.Module, str, nn.Parameter, Any]) -> Any:
    return slot[0]._parameters[slot[1]]


class ShardedDoor(nn.Module):
    """A wrapper whose forward, and whose :meth:`through`, run with whole weights and average the gradients.

    Without gradients it is the bare model, which has to be gathered before.

    Args:
        module: The model, on its device; rank zero's weights and buffers become those of all processes.
        optimizer: Its optimizer, the state of which is spread, too.
    """

    _sharding: _Sharding
    _is_open: bool

    def __init__(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Wrap the model; the process group is there before. Nothing is sharded yet."""
        # Into the dict, and first: a wrapper that lends a model's methods tells its own attributes by then.
        self.__dict__.update(_sharding=_Sharding(module, optimizer), _is_open=False)
        super().__init__()
        self.module = module
        with torch.no_grad():
            for tensor in [*module.parameters(), *module.buffers()]:
                broadcast(tensor)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the shards out of copies: they belong to a fit of this process."""
        return {**self.__dict__, "_sharding": None}

    def through(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function that computes a loss, with the gradients of its result averaged over the processes.

        Args:
            function: What to call.
            arguments: Its arguments, which reach it as they are.

        Returns:
            What it returns.

        Raises:
            LossError: It returned a ``MultiLoss``.
        """
        if self._is_open or not torch.is_grad_enabled():
            return function(*arguments)
        self._sharding.scatter()
        self._is_open = True
        try:
            output = self._sharding.root(Call(function, arguments))
        finally:
            self._is_open = False
        if isinstance(output, MultiLoss):
            raise LossError(
                "get_loss returned a MultiLoss, and lightning_args={'strategy': 'fsdp'} takes one loss: the first"
                " backward pass gives away the weights that the next one needs. Return the sum of the losses, or use"
                " 'ddp'."
            )
        return output

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """Run the model.

        Args:
            inputs: Its arguments.
            kwargs: Further arguments.
        """
        return self.through(lambda: self.module(*inputs, **kwargs))

    @property
    def is_whole(self) -> bool:
        """Whether this process has the whole weights, as it does outside of the batches of an epoch."""
        return self._sharding.is_whole

    def gather(self) -> None:
        """Give every process the whole weights, in the user's own parameters. All processes call it."""
        self._sharding.gather()

    def undo(self) -> None:
        """End the sharding: weights, gradients and optimizer state are whole. All processes call it."""
        self._sharding.undo()


class _TTShardedDoor(TTParallelBase, ShardedDoor):
    """The door round a model that knows its loss."""

    def __init__(self, module: Any, optimizer: torch.optim.Optimizer) -> None:
        """Wrap the model."""
        ShardedDoor.__init__(self, module, optimizer)
        TTParallelBase.__init__(self, module)

    def __getattr__(self, name: str) -> Any:
        """Find what the wrapper lacks in the model; its methods have the wrapper's forward."""
        try:
            return nn.Module.__getattr__(self, name)
        except AttributeError:
            return TTParallelBase.__getattr__(self, name)

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        """Compute the training loss of a batch by the model's method, whatever that calls."""
        return self.through(super().get_loss, batch_data, criterion, device)


def shard(model: nn.Module, optimizer: torch.optim.Optimizer) -> ShardedDoor:
    """Wrap a model for training with shards of it in several processes.

    Args:
        model: A ``TTModel``, or another module, whose losses a feed definition computes.
        optimizer: Its optimizer.
    """
    return _TTShardedDoor(model, optimizer) if isinstance(model, TTModel) else ShardedDoor(model, optimizer)


def made_whole(model: Any, alone: bool = False) -> Any:
    """Return the model inside a wrapper with whole weights; any other as it is. All processes call it.

    Args:
        model: The loop's model.
        alone: Whether this process calls it without the others.

    Raises:
        RefusedError: The others would have to give their shards, and do not know of it.
    """
    if not isinstance(model, ShardedDoor):
        return model
    if alone and not model.is_whole:
        raise RefusedError(
            "A callback of one process alone evaluates the model between the batches of an epoch, and with"
            " lightning_args={'strategy': 'fsdp'} each process has a part of it. Evaluate in on_epoch_end, or let the"
            " callback run in all processes."
        )
    model.gather()
    return model.module


def full_state(door: ShardedDoor) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the state dicts of model and optimizer with whole tensors. All processes call it.

    Args:
        door: The wrapper; the model's keys are those of the bare model.
    """
    door.gather()
    state = door._sharding.optimizer.state_dict()
    whole = {key: {name: _whole(value) for name, value in entries.items()} for key, entries in state["state"].items()}
    return door.module.state_dict(), {**state, "state": whole}


def _swap(
    optimizer: torch.optim.Optimizer,
    others: dict[int, Any],
    convert: Callable[[torch.Tensor, Any], torch.Tensor],
) -> None:
    """Give an optimizer other parameters, and its state along with them.

    Args:
        optimizer: The optimizer. Groups and state stay the same objects, which schedulers may hold.
        others: The new parameter by the id of the old one.
        convert: Makes of a tensor of the old state that of the new parameter.
    """
    state: dict[Any, Any] = {}
    for parameter, entries in optimizer.state.items():
        other = others.get(id(parameter), parameter)
        state[other] = {
            name: convert(value, other) if isinstance(value, torch.Tensor) else value for name, value in entries.items()
        }
    optimizer.state.clear()
    optimizer.state.update(state)
    for group in optimizer.param_groups:
        group["params"][:] = [others.get(id(parameter), parameter) for parameter in group["params"]]


def _spread(value: torch.Tensor, shards: Any) -> torch.Tensor:
    """Cut a tensor of the optimizer's or a gradient as its parameter is cut; a counter of steps stays whole."""
    from torch.distributed.tensor import DTensor

    if value.shape != shards.shape:
        return value
    spread: torch.Tensor = DTensor.from_local(
        _part(value, shards).clone(),
        shards.device_mesh,
        shards.placements,
        run_check=False,
        shape=shards.size(),
        stride=shards.stride(),
    )
    return spread


def _part(value: Any, shards: Any) -> torch.Tensor:
    """Return this process's part of a whole tensor: rows, as many for each but the last ones."""
    whole: torch.Tensor = value.detach()
    parts, rank = torch.chunk(whole, shards.device_mesh.size(), dim=0), shards.device_mesh.get_local_rank()
    return parts[rank] if rank < len(parts) else whole[:0]


def _whole(value: Any) -> Any:
    return value.full_tensor() if hasattr(value, "full_tensor") else value
