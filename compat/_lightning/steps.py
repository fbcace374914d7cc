"""The losses and optimizers of one batch: what is refused, and the quirks that show between backward and step."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch

from compat.exceptions import LossError
from compat.losses import MultiLoss, MultiOptimizer
from compat.quirks import met

if TYPE_CHECKING:
    from compat.train_loop import TrainLoop

__all__ = [
    "check_single_loss",
    "clear_gradients",
    "have_gradient",
    "note_loss_map",
    "note_order_of_steps",
    "note_skipped_step",
    "owned_gradients",
    "settle_leaked_gradients",
    "settle_surplus_losses",
    "stepped_parameters",
]


def check_single_loss(loop: "TrainLoop", loss: torch.Tensor) -> None:
    """Refuse a loss that cannot be back-propagated, before anything is.

    Args:
        loop: The facade.
        loss: A tensor that is no ``MultiLoss``.

    Raises:
        LossError: It is not a single number, or there are several optimizers.
    """
    if loss.numel() != 1:
        replicas = len(getattr(loop.model, "device_ids", None) or [])
        why = f" A forward that computes the loss returns one for each of {replicas} devices." if replicas > 1 else ""
        raise LossError(
            f"get_loss returned a tensor of shape {tuple(loss.shape)}. Return one number for the batch, such as its"
            f" mean, or a MultiLoss of several.{why}"
        )
    if loop.num_optimizers > 1:
        raise LossError(
            f"get_loss returned a single loss, and there are {loop.num_optimizers} optimizers: each would"
            " back-propagate it again. Return a MultiLoss with one loss for each, or pass a single optimizer."
        )


def settle_surplus_losses(loop: "TrainLoop", losses: MultiLoss) -> None:
    """Warn of, or with the switch back-propagate, the losses that no optimizer asks for.

    Args:
        loop: The facade; its last optimizer's loss has just been back-propagated.
        losses: The losses of the batch.
    """
    state, quirk = loop._compat, "Q42" if loop.num_optimizers == 1 else "Q43"
    fixed, is_first = state.quirks.fixed(quirk), "surplus" not in state.told
    if not (fixed or is_first):
        return
    state.told.add("surplus")
    names = losses.optimizer_loss_map
    # A loss without a graph is kept only to be reported.
    surplus = [
        index
        for index, name in names.items()
        if index >= loop.num_optimizers and getattr(losses.loss_dict.get(name), "requires_grad", False)
    ]
    if fixed:
        for index in surplus:
            losses.backward(index, loop.iteration, loop.amp_scaler)
    if surplus and is_first:
        listed = ", ".join(repr(names[index]) for index in surplus)
        who = "the last optimizer" if fixed else "no optimizer"
        state.quirks.met(quirk, f"{who} back-propagates the losses {listed}")


def note_loss_map(loop: "TrainLoop", losses: MultiLoss) -> None:
    """Count a map of losses to optimizers that the old loop reads in another way (Q48), once a fit.

    Args:
        loop: The facade; a loss of the batch has just been back-propagated.
        losses: The losses of the batch.
    """
    state, given = loop._compat, losses.loss_optimizer_map
    if given is None or "map" in state.told:
        return
    state.told.add("map")
    if len(losses.optimizer_loss_map) < len(given) or not all(isinstance(name, str) for name in given):
        # A MultiLoss is made without a loop, so it is the switch of the process that holds.
        met("Q48", f"loss_optimizer_map={dict(given)!r}")


def owned_gradients(loop: "TrainLoop") -> list[torch.Tensor] | None:
    """Copy the gradients of the first optimizer's parameters, in the first batch of a fit (Q45).

    Args:
        loop: The facade; its first loss has just been back-propagated.

    Returns:
        The copies; ``None`` once they have been asked for.
    """
    if "order" in loop._compat.told:
        return None
    loop._compat.told.add("order")
    return [_gradient_of(parameter).clone() for parameter in _parameters_of(loop.optimizer[0])]


def note_order_of_steps(loop: "TrainLoop", before: list[torch.Tensor] | None) -> None:
    """Count that later losses reach the first optimizer's parameters before it steps (Q45).

    Args:
        loop: The facade; all of its losses have just been back-propagated.
        before: What :func:`owned_gradients` gave.
    """
    if before is None:
        return
    now = map(_gradient_of, _parameters_of(loop.optimizer[0]))
    if not all(torch.equal(old, new) for old, new in zip(before, now, strict=True)):
        loop._compat.quirks.met("Q45")


def settle_leaked_gradients(loop: "TrainLoop") -> None:
    """Warn of, or with the switch clear, gradients that a later loss left on an earlier optimizer's parameters.

    Args:
        loop: The facade; all of its optimizers have just stepped.
    """
    state = loop._compat
    if "leaked" in state.told:
        # Only now that there is a next step.
        state.told.remove("leaked")
        state.quirks.met("Q46")
    if "leak" not in state.told:
        state.told.add("leak")
        optimizers = getattr(loop.optimizer, "optimizer_list", [])
        if have_gradient(parameter for optimizer in optimizers for parameter in _parameters_of(optimizer)):
            state.told.add("leaked")
    if state.quirks.fixed("Q46"):
        clear_gradients(loop)


def note_skipped_step(loop: "TrainLoop", optimizer_idx: int) -> None:
    """Note whether the gradient scaler skipped the step of an optimizer.

    Args:
        loop: The facade.
        optimizer_idx: The optimizer that has just been stepped.
    """
    state = loop._compat
    # A scaler that the user put in place does not say.
    skipped = getattr(loop.amp_scaler, "last_step_skipped", False)
    state.last_update_skipped = skipped or (optimizer_idx > 0 and state.last_update_skipped)
    if skipped and loop.grad_cb_used and loop.callbacks_handler.cbs_on_after_optimizer_step:
        state.quirks.met("Q24")


def clear_gradients(loop: "TrainLoop") -> None:
    """Clear the gradients of all optimizers.

    Args:
        loop: The facade.
    """
    if isinstance(loop.optimizer, MultiOptimizer):
        for index in range(len(loop.optimizer)):
            loop.optimizer.zero_grad(index, loop.iteration)
    elif loop.optimizer is not None:
        loop.optimizer.zero_grad()


def _parameters_of(optimizer: Any) -> list[torch.nn.Parameter]:
    return [parameter for group in getattr(optimizer, "param_groups", ()) for parameter in group["params"]]


def stepped_parameters(loop: "TrainLoop") -> list[torch.nn.Parameter]:
    """Return what the optimizers step on; all parameters of the model if they do not say.

    Args:
        loop: The facade.
    """
    optimizers = getattr(loop.optimizer, "optimizer_list", [loop.optimizer])
    owned = [parameter for optimizer in optimizers for parameter in _parameters_of(optimizer)]
    return owned or list(loop.model.parameters())


def _gradient_of(parameter: torch.nn.Parameter) -> torch.Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def have_gradient(parameters: Iterable[torch.nn.Parameter]) -> bool:
    """Tell whether a parameter has a gradient other than 0.

    Args:
        parameters: The parameters.
    """
    return any(parameter.grad is not None and bool(parameter.grad.any()) for parameter in parameters)
