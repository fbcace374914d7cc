"""Several losses as one, and several optimizers as one."""

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

from compat.exceptions import InvalidArgumentError, InvalidTypeError, MissingAttributeError, MissingLossError
from compat.quirks import is_fixed

__all__ = ["MultiLoss", "MultiOptimizer"]


class MultiLoss(MutableMapping[Any, Any]):
    """Losses by name that go through the training loop as one.

    Args:
        loss_dict: The losses. Kept, not copied.
        loss_optimizer_map: The index of the optimizer that each loss belongs to, by the loss's name. Without it the
            first loss belongs to optimizer 0, the second to optimizer 1, and so on.
        retain_graph_until_last: Keep the graph for the other losses until the last one is back-propagated.

    Raises:
        InvalidArgumentError: The map has another length than the losses, or an index that is not a number.

    Attributes:
        loss_backward_remaining: How many losses are still to be back-propagated. Counted down by :meth:`backward`,
            and handed on to copies.
        optimizer_loss_map: The name of the loss by optimizer index, of several the last one.
    """

    def __init__(
        self,
        loss_dict: dict[Any, Any],
        loss_optimizer_map: Mapping[Any, Any] | None = None,
        retain_graph_until_last: bool = True,
    ) -> None:
        """Pair losses with optimizers."""
        if loss_dict.__class__ is not dict:
            _check_mapping("loss_dict", loss_dict)
        self.loss_dict = loss_dict
        self.loss_backward_remaining = len(loss_dict)
        self.loss_optimizer_map = loss_optimizer_map
        self.retain_graph_until_last = retain_graph_until_last
        self._shared_optimizers: dict[int, list[Any]] | None = None
        self.optimizer_loss_map: dict[int, Any]
        # One object is built for each batch, and one more for each `/` and `detach()`: the usual case does no more
        # than it has to.
        if loss_optimizer_map is None:
            self.optimizer_loss_map = dict(enumerate(loss_dict))
        else:
            self._apply_map(loss_optimizer_map)

    def _apply_map(self, loss_optimizer_map: Mapping[Any, Any]) -> None:
        _check_mapping("loss_optimizer_map", loss_optimizer_map)
        if len(loss_optimizer_map) != len(self.loss_dict):
            raise InvalidArgumentError(
                f"loss_optimizer_map={dict(loss_optimizer_map)!r} has {len(loss_optimizer_map)} entries for "
                f"{len(self.loss_dict)} losses ({', '.join(map(repr, self.loss_dict))}). "
                "Give the index of an optimizer for each loss."
            )
        fixed = is_fixed("Q48")
        by_optimizer: dict[int, list[Any]] = {}
        for name, index in loss_optimizer_map.items():
            by_optimizer.setdefault(_optimizer_index(name, index), []).append(name if fixed else str(name))
        self.optimizer_loss_map = {index: names[-1] for index, names in by_optimizer.items()}
        if fixed and len(by_optimizer) < len(loss_optimizer_map):
            self._shared_optimizers = by_optimizer

    def backward(self, optimizer_idx: int, iteration: int, amp_grad_scaler: Any) -> None:
        """Back-propagate the loss, or the losses, that belong to an optimizer.

        Args:
            optimizer_idx: The index of the optimizer.
            iteration: The index of the batch in its epoch, for subclasses that go by it.
            amp_grad_scaler: Scales the loss; one that is switched off leaves it as it is.

        Raises:
            MissingLossError: No loss belongs to this optimizer.
        """
        try:
            if self._shared_optimizers is None:
                losses = (self.loss_dict[self.optimizer_loss_map[optimizer_idx]],)
            else:
                losses = tuple(self.loss_dict[name] for name in self._shared_optimizers[optimizer_idx])
        except KeyError as error:
            raise self._missing(optimizer_idx) from error
        for loss in losses:
            scaled = amp_grad_scaler.scale(loss)
            if self.retain_graph_until_last and self.loss_backward_remaining > 1:
                scaled.backward(retain_graph=True)
            else:
                scaled.backward()
            self.loss_backward_remaining -= 1

    def _missing(self, optimizer_idx: int) -> MissingLossError:
        name = self.optimizer_loss_map.get(optimizer_idx)
        names = ", ".join(map(repr, self.loss_dict))
        if name is None:
            known = ", ".join(map(str, sorted(self.optimizer_loss_map)))
            return MissingLossError(
                f"No loss belongs to optimizer {optimizer_idx}: the losses {names} belong to the optimizers {known}. "
                "Return as many losses as there are optimizers, or name the optimizer of each in loss_optimizer_map."
            )
        return MissingLossError(
            f"loss_optimizer_map gives optimizer {optimizer_idx} the loss {name!r}, and the losses are {names}. "
            "Use the names of the losses as keys of the map."
        )

    def item(self) -> "MultiLoss":
        """Return the losses as Python numbers."""
        return self._new_multi_loss_object_from_self({name: loss.item() for name, loss in self.loss_dict.items()})

    def numpy(self) -> "MultiLoss":
        """Return the losses as numpy arrays."""
        return self._new_multi_loss_object_from_self({name: loss.numpy() for name, loss in self.loss_dict.items()})

    def detach(self) -> "MultiLoss":
        """Return the losses without their graph."""
        return self._new_multi_loss_object_from_self({name: loss.detach() for name, loss in self.loss_dict.items()})

    def __truediv__(self, grad_accumulation: Any) -> "MultiLoss":
        return self._new_multi_loss_object_from_self(
            {name: loss / grad_accumulation for name, loss in self.loss_dict.items()}
        )

    def cpu(self, *args: Any, **kwargs: Any) -> "MultiLoss":
        """Return the losses on the CPU."""
        return self._each(lambda loss: loss.cpu(*args, **kwargs))

    def cuda(self, *args: Any, **kwargs: Any) -> "MultiLoss":
        """Return the losses on a CUDA device."""
        return self._each(lambda loss: loss.cuda(*args, **kwargs))

    def to(self, *args: Any, **kwargs: Any) -> "MultiLoss":
        """Return the losses moved or converted as ``torch.Tensor.to`` does."""
        return self._each(lambda loss: loss.to(*args, **kwargs))

    def _each(self, function: Callable[[Any], Any]) -> "MultiLoss":
        return self._new_multi_loss_object_from_self({name: function(loss) for name, loss in self.loss_dict.items()})

    def _new_multi_loss_object_from_self(self, loss_dict: dict[Any, Any]) -> "MultiLoss":
        """Make a copy with other values, and the same map, flag and count.

        Note:
            The copy is a plain ``MultiLoss`` also where this is a subclass, as in the old library: the loop divides and
            detaches every loss, and back-propagates the copy. A subclass that overrides :meth:`backward` overrides
            this method too, to have its own come through.
        """
        copy = MultiLoss(loss_dict, None, self.retain_graph_until_last)
        copy.loss_backward_remaining = self.loss_backward_remaining
        if self.loss_optimizer_map is not None:
            copy.loss_optimizer_map = self.loss_optimizer_map
            if len(loss_dict) == len(self.loss_optimizer_map):
                copy.optimizer_loss_map = self.optimizer_loss_map
                copy._shared_optimizers = self._shared_optimizers
            else:
                # A loss was added or removed after the map was made: this raises, and says so.
                copy._apply_map(self.loss_optimizer_map)
        return copy

    @property
    def device(self) -> dict[Any, Any]:
        """The device of each loss, by name."""
        return {name: loss.device for name, loss in self.loss_dict.items()}

    def get_loss_dict(self) -> dict[Any, Any]:
        """Return the losses by name, not a copy."""
        return self.loss_dict

    def __getitem__(self, key: Any) -> Any:
        return self.loss_dict[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self.loss_dict[key] = value

    def __delitem__(self, key: Any) -> None:
        del self.loss_dict[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.loss_dict)

    def __len__(self) -> int:
        return len(self.loss_dict)


class MultiOptimizer:
    """Optimizers that go through the training loop as one; each steps on its own loss of a :class:`MultiLoss`.

    It is not a ``torch.optim.Optimizer``: a scheduler has to be told which one it is for, with ``optimizer_idx``.

    Args:
        optimizer_list: The optimizers, by index.
    """

    def __init__(self, optimizer_list: list[Any]) -> None:
        """Keep the optimizers."""
        self.optimizer_list = optimizer_list

    def step(self, optimizer_idx: int, iteration: int, amp_grad_scaler: Any) -> None:
        """Step one optimizer.

        Args:
            optimizer_idx: Its index.
            iteration: The index of the batch in its epoch, for subclasses that go by it.
            amp_grad_scaler: Steps the optimizer; one that is switched off does nothing else.
        """
        amp_grad_scaler.step(self.optimizer_list[optimizer_idx])

    def zero_grad(self, optimizer_idx: int, iteration: int) -> None:
        """Clear the gradients of one optimizer's parameters.

        Args:
            optimizer_idx: Its index.
            iteration: The index of the batch in its epoch, for subclasses that go by it.
        """
        self.optimizer_list[optimizer_idx].zero_grad()

    def state_dict(self) -> list[Any]:
        """Return the states of the optimizers, by index."""
        return [optimizer.state_dict() for optimizer in self.optimizer_list]

    def load_state_dict(self, state_dict_list: list[Any]) -> None:
        """Restore the states of the optimizers.

        Args:
            state_dict_list: What :meth:`state_dict` returned.

        Raises:
            InvalidTypeError: Not a list.
            InvalidArgumentError: Another number of states than of optimizers.
        """
        given: Any = state_dict_list
        if not isinstance(given, list):
            raise InvalidTypeError(
                f"state_dict_list is a {type(given).__name__}. Pass what MultiOptimizer.state_dict() returned: "
                "one state for each optimizer."
            )
        if len(given) != len(self.optimizer_list):
            raise InvalidArgumentError(
                f"state_dict_list holds {len(given)} states for {len(self.optimizer_list)} optimizers. "
                "Load it into a MultiOptimizer with as many optimizers as the one that was saved."
            )
        for optimizer, state_dict in zip(self.optimizer_list, given, strict=True):
            optimizer.load_state_dict(state_dict)

    def __len__(self) -> int:
        return len(self.optimizer_list)

    def __getitem__(self, idx: int) -> Any:
        return self.optimizer_list[idx]


def _check_mapping(argument: str, value: Any) -> None:
    if isinstance(value, Mapping):
        return
    message = f"{argument}={value!r} is a {type(value).__name__}. Pass a dict by the names of the losses."
    if hasattr(value, "__len__"):
        raise MissingAttributeError(message)
    raise InvalidTypeError(message)


def _optimizer_index(name: Any, index: Any) -> int:
    try:
        return int(index)
    except ValueError as error:
        raise InvalidArgumentError(
            f"loss_optimizer_map gives the loss {name!r} the optimizer {index!r}, which is not a number. "
            "Give the index of the optimizer in the MultiOptimizer: 0, 1 and so on."
        ) from error
