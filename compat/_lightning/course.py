"""The course of a fit: where it starts and stops, what earlier fits left behind, and the quirks along the way."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch

from compat import _evaluation
from compat._amp import LoopScaler
from compat._lightning import plan
from compat._loop_state import Target
from compat.exceptions import LossError, raise_problems
from compat.losses import MultiLoss, MultiOptimizer
from compat.quirks import QuirkSettings

if TYPE_CHECKING:
    from compat.train_loop import TrainLoop

__all__ = [
    "amp_is_on",
    "auto_eval",
    "begin",
    "check_single_loss",
    "divisor",
    "epochs_to_run",
    "note_skipped_step",
    "reached",
    "running",
    "settle_leaked_gradients",
    "settle_surplus_losses",
]


@contextmanager
def running(loop: "TrainLoop") -> Iterator[None]:
    """Hold the state of one fit, and give the outer one its own back where a callback fits inside a fit.

    Args:
        loop: The facade.
    """
    state = loop._compat
    outer = (state.after_fit, state.target, state.sample_counts)
    try:
        with ExitStack() as state.after_fit:
            yield
    finally:
        state.after_fit = outer[0]
        if state.after_fit is not None:
            state.target, state.sample_counts = outer[1:]


def begin(loop: "TrainLoop", num_epochs: int, num_iterations: int, grad_accumulation: int, nested: bool) -> None:
    """Take over what ``fit`` was asked for, and settle what earlier fits left behind.

    Args:
        loop: The facade.
        num_epochs: The epoch to stop before.
        num_iterations: The batches to stop after.
        grad_accumulation: The batches of one update.
        nested: Whether a callback asks for this fit inside another.
    """
    state, quirks = loop._compat, loop._compat.quirks
    loop.num_epochs, loop.num_iterations, loop.grad_accumulation = num_epochs, num_iterations, grad_accumulation
    trained = loop.total_iteration_idx + 1
    base = trained if quirks.fixed("Q02") else 0
    if num_iterations > 0 and trained and not quirks.fixed("Q02"):
        quirks.warn("Q02", f"num_iterations={num_iterations} includes the {trained} of earlier fits")
    state.target = Target(num_epochs, num_iterations, base)
    state.told.clear()
    if isinstance(loop.amp_scaler, LoopScaler) and not nested:
        loop.amp_scaler.forget_updates()
    state.last_window_by_its_own_size = quirks.fixed("Q11")
    state.backward_before_steps = quirks.fixed("Q45")
    state.own_loss_verbs = plan.is_own(loop, "_calculate_batch_loss", "_backward_pass")
    if state.epoch_ran and quirks.fixed("Q01"):
        loop.epoch += 1
        state.epoch_ran = False
    if num_iterations > 0:
        _retarget(loop)
    if not nested:
        state.sample_counts = [] if quirks.fixed("Q19") else None
        if quirks.fixed("Q16"):
            loop.loss_batch_accum = []
        _settle_earlier_fits(loop)


def _settle_earlier_fits(loop: "TrainLoop") -> None:
    quirks, left = loop._compat.quirks, epochs_left(loop)
    if quirks.fixed("Q05"):
        loop.early_stop = False
    elif loop.early_stop and left:
        quirks.warn("Q05", "early_stop is still set from an earlier fit, so this fit runs one epoch")
    if loop._compat.epoch_ran and left:
        quirks.warn("Q01", f"this fit runs epoch {loop.epoch} again, which an earlier fit ran")
    if loop.total_iteration_idx < 0:
        return
    if quirks.fixed("Q10"):
        _clear_gradients(loop)
    elif left and _have_gradient(loop.model.parameters()):
        quirks.warn("Q10")


def epochs_left(loop: "TrainLoop") -> bool:
    """Tell whether the fit has an epoch to run, as far as can be said before ``on_train_begin``.

    Args:
        loop: The facade.
    """
    stop = loop._compat.target.num_epochs
    return stop is None or loop.epoch < stop


def _retarget(loop: "TrainLoop") -> None:
    """Find the epoch that a target of iterations stops before; it stays open while the loader has no length."""
    state = loop._compat
    target, length = state.target, _evaluation.length_of(loop.train_loader)
    epochs = plan.epochs_for(target.num_iterations, length) if length else None
    if epochs is not None and state.quirks.fixed("Q02"):
        epochs += loop.epoch
    state.target = Target(epochs, target.num_iterations, target.base)
    loop.num_epochs = epochs


def epochs_to_run(loop: "TrainLoop") -> tuple[int, int]:
    """Read the range of epochs, after ``on_train_begin`` has had its chance to move it or to swap the loaders.

    Args:
        loop: The facade.

    Returns:
        The first epoch, and the one to stop before.

    Raises:
        CompatError: The loaders that are there by now cannot be trained on.
    """
    state = loop._compat
    if epochs_left(loop):
        raise_problems(plan.loader_problems(loop, state.target.num_iterations, loop.grad_accumulation))
    if state.target.num_iterations > 0 and (state.target.num_epochs is None or state.quirks.fixed("Q03")):
        _retarget(loop)
    stop = state.target.num_epochs or 0
    if loop.epoch < stop:
        _warn_of_averages(loop, stop - loop.epoch)
    else:
        ran = loop.epoch + state.epoch_ran
        asked = f"num_iterations={state.target.num_iterations}" if state.target.num_iterations else f"num_epochs={stop}"
        state.quirks.warn(
            "Q102",
            f"fit({asked}) trains nothing: {ran} epochs have been run, and num_epochs counts from the first of them."
            f" num_epochs={ran + 1} would train one more",
        )
    return loop.epoch, stop


def _warn_of_averages(loop: "TrainLoop", epochs: int) -> None:
    """Warn of the oddities that follow from the loaders and the window, where they change a number."""
    quirks, window = loop._compat.quirks, loop.grad_accumulation
    if window > 1 and not quirks.fixed("Q11"):
        batches = len(loop.train_loader)
        if batches % window and _reaches_the_end_of_an_epoch(loop, batches):
            rest = batches % window
            quirks.warn(
                "Q11",
                f"{batches} batches in windows of {window}: the last window has {rest}, and its losses are divided by"
                f" {window} all the same",
            )
    evaluated = auto_eval(loop) is not False
    if evaluated and epochs > 1 and _evaluation.is_shuffled(loop.train_loader) and not quirks.fixed("Q18"):
        quirks.warn("Q18")
    loaders = [loop.train_loader, *([loop.validation_loader, loop.test_loader] if evaluated else [])]
    if any(map(_evaluation.has_smaller_batch, loaders)) and not quirks.fixed("Q19"):
        quirks.warn("Q19")


def _reaches_the_end_of_an_epoch(loop: "TrainLoop", batches: int) -> bool:
    last = loop._compat.target.last_batch
    return last < 0 or last - loop.total_iteration_idx >= batches


def reached(loop: "TrainLoop") -> bool:
    """Tell whether the current batch is the one to stop after.

    Args:
        loop: The facade.
    """
    return loop.total_iteration_idx == loop._compat.target.last_batch


def auto_eval(loop: "TrainLoop") -> bool | int:
    """Tell whether the loop evaluates on its own, or every how many epochs.

    Args:
        loop: The facade.
    """
    quirks = loop._compat.quirks
    value = plan.auto_eval(loop.end_auto_eval, quirks.fixed("Q17"))
    if value is False and loop.end_auto_eval is not None and loop.end_auto_eval is not False:
        quirks.warn("Q17", f"end_auto_eval={loop.end_auto_eval!r} is neither a bool nor an int, so it is off")
    return False if value is None else value


def amp_is_on(quirks: QuirkSettings, use_amp: Any) -> bool:
    """Read ``TrainLoop(use_amp=)``.

    Args:
        quirks: The loop's switches.
        use_amp: ``True`` itself or a dict; quirk Q21 is about the rest.
    """
    on = use_amp is True or isinstance(use_amp, dict)
    if not on and use_amp:
        on = quirks.fixed("Q21")
        if not on:
            quirks.warn("Q21", f"use_amp={use_amp!r} is neither True nor a dict, so it is off")
    if on and not torch.cuda.is_available():
        quirks.warn("Q22", "there is no CUDA device, so use_amp trains in float32")
    return on


def divisor(loop: "TrainLoop") -> int:
    """Return what a batch's loss is divided by: the size of its accumulation window.

    Args:
        loop: The facade.
    """
    window = loop.grad_accumulation
    if window == 1 or not loop._compat.last_window_by_its_own_size:
        return window
    batches = len(loop.train_loader)
    rest = batches % window
    return rest if loop.iteration >= batches - rest else window


def check_single_loss(loop: "TrainLoop", loss: torch.Tensor) -> None:
    """Refuse a loss that cannot be back-propagated, before anything is.

    Args:
        loop: The facade.
        loss: A tensor that is no ``MultiLoss``.

    Raises:
        LossError: It is not a single number, or there are several optimizers.
    """
    if loss.numel() != 1:
        raise LossError(
            f"get_loss returned a tensor of shape {tuple(loss.shape)}. Return one number for the batch, such as its"
            " mean, or a MultiLoss of several."
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
    if "surplus" in state.told:
        return
    names = losses.optimizer_loss_map
    # A loss without a graph is kept only to be reported.
    surplus = [
        index
        for index, name in names.items()
        if index >= loop.num_optimizers and getattr(losses.loss_dict.get(name), "requires_grad", False)
    ]
    if state.quirks.fixed(quirk):
        for index in surplus:
            losses.backward(index, loop.iteration, loop.amp_scaler)
        return
    state.told.add("surplus")
    if surplus:
        listed = ", ".join(repr(names[index]) for index in surplus)
        state.quirks.warn(quirk, f"no optimizer back-propagates the losses {listed}")


def settle_leaked_gradients(loop: "TrainLoop") -> None:
    """Warn of, or with the switch clear, gradients that a later loss left on an earlier optimizer's parameters.

    Args:
        loop: The facade; all of its optimizers have just stepped.
    """
    state = loop._compat
    if state.quirks.fixed("Q46"):
        _clear_gradients(loop)
    elif "leak" not in state.told:
        state.told.add("leak")
        optimizers = getattr(loop.optimizer, "optimizer_list", [])
        groups = (group for optimizer in optimizers for group in getattr(optimizer, "param_groups", []))
        if _have_gradient(parameter for group in groups for parameter in group["params"]):
            state.quirks.warn("Q46")


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
    if skipped and not state.quirks.fixed("Q24"):
        state.quirks.warn("Q24")


def _clear_gradients(loop: "TrainLoop") -> None:
    if isinstance(loop.optimizer, MultiOptimizer):
        for index in range(len(loop.optimizer)):
            loop.optimizer.zero_grad(index, loop.iteration)
    elif loop.optimizer is not None:
        loop.optimizer.zero_grad()


def _have_gradient(parameters: Iterable[torch.nn.Parameter]) -> bool:
    return any(parameter.grad is not None and bool(parameter.grad.any()) for parameter in parameters)
