"""The course of a fit: where it starts and stops, what earlier fits left behind, and the quirks along the way."""

import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from compat import _evaluation
from compat._amp import LoopScaler
from compat._distributed.gradients import (
    Door,
    check_drift,
    checksums,
    foreign_parameters,
    trained_parameters,
    unwrapped,
)
from compat._distributed.sharding import ShardedDoor, made_whole
from compat._lightning import plan, steps
from compat._lightning.counting import epochs_for
from compat._loop_state import Inherited, Target
from compat.exceptions import OutOfStepError, raise_problems
from compat.quirks import QuirkSettings

if TYPE_CHECKING:
    from compat.train_loop import TrainLoop

__all__ = [
    "agree",
    "among_others",
    "amp_is_on",
    "auto_eval",
    "batch_loss",
    "begin",
    "divisor",
    "epochs_to_run",
    "forget_predictions",
    "keep_step",
    "reached",
    "running",
]


@contextmanager
def running(loop: "TrainLoop") -> Iterator[None]:
    """Hold the state of one fit, and give the outer one its own back where a callback fits inside a fit.

    Args:
        loop: The facade.
    """
    state = loop._compat
    outer = (state.after_fit, state.target, state.sample_counts)
    outer_engine = state.trainer, state.lightning_module
    try:
        with ExitStack() as state.after_fit:
            yield
    finally:
        state.after_fit = outer[0]
        if state.after_fit is not None:
            state.target, state.sample_counts = outer[1:]
            state.trainer, state.lightning_module = outer_engine


def among_others(loop: "TrainLoop") -> AbstractContextManager[None]:
    """Return the context of a fit in this process: nothing to do, but for an override that has formed a group itself.

    Args:
        loop: The facade.
    """
    is_known = loop.gpu_mode != "ddp" or loop._compat.ranks is not None
    if is_known or not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return nullcontext()
    from compat._distributed.worker import joined_late

    return joined_late(loop)


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
    state.target = Target(num_epochs, num_iterations, base)
    state.inherited = Inherited(loop.epoch, state.epoch_ran and not nested, loop.early_stop and not nested, trained)
    state.told.clear()
    if isinstance(loop.amp_scaler, LoopScaler) and not nested:
        loop.amp_scaler.forget_updates()
    state.last_window_by_its_own_size = quirks.fixed("Q11")
    state.backward_before_steps = quirks.fixed("Q45")
    if loop.use_amp and not torch.cuda.is_available():
        quirks.met("Q22", _AMP_ON_CPU)
    state.own_loss_verbs = plan.is_own(loop, "_calculate_batch_loss", "_backward_pass")
    if state.epoch_ran and quirks.fixed("Q01"):
        loop.epoch += 1
        state.epoch_ran = False
    if num_iterations > 0:
        _retarget(loop)
    if not nested:
        state.sample_counts = [] if quirks.fixed("Q19") else None
        state.evaluation_drew = False
        _settle_earlier_fits(loop)


def _settle_earlier_fits(loop: "TrainLoop") -> None:
    quirks, left = loop._compat.quirks, epochs_left(loop)
    if quirks.fixed("Q05"):
        loop.early_stop = False
    if loop.loss_batch_accum and (left or quirks.fixed("Q16")):
        stale = len(loop.loss_batch_accum)
        if quirks.fixed("Q16"):
            loop.loss_batch_accum = []
        quirks.met("Q16", f"an earlier fit left the losses of {stale} batches")
    if loop.total_iteration_idx < 0:
        return
    leftover = left and steps.have_gradient(steps.stepped_parameters(loop))
    if quirks.fixed("Q10"):
        steps.clear_gradients(loop)
    if leftover:
        quirks.met("Q10")


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
    epochs = epochs_for(target.num_iterations, length) if length else None
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
    _retarget_to_swapped_loader(loop)
    stop = state.target.num_epochs or 0
    _note_auto_eval(loop)
    _note_inherited(loop, stop)
    if loop.epoch < stop:
        _warn_of_averages(loop, stop - loop.epoch)
    else:
        ran = loop.epoch + state.epoch_ran
        asked = f"num_iterations={state.target.num_iterations}" if state.target.num_iterations else f"num_epochs={stop}"
        state.quirks.met(
            "Q102",
            f"fit({asked}) trains nothing: {ran} epochs have been run, and num_epochs counts from the first of them."
            f" num_epochs={ran + 1} would train one more",
        )
    return loop.epoch, stop


def _retarget_to_swapped_loader(loop: "TrainLoop") -> None:
    """Find the epoch to stop before anew where ``on_train_begin`` may have brought another loader (Q03)."""
    state, length = loop._compat, _evaluation.length_of(loop.train_loader)
    before, iterations = state.target.num_epochs, state.target.num_iterations
    if iterations <= 0:
        return
    if before is None:
        _retarget(loop)
        return
    # More epochs than needed do no harm: the iterations end the fit.
    base = loop.epoch if state.quirks.fixed("Q02") else 0
    falls_short = bool(length) and before < base + epochs_for(iterations, length or 1)
    if state.quirks.fixed("Q03"):
        _retarget(loop)
    if falls_short:
        state.quirks.met("Q03", f"num_iterations={iterations} takes more epochs of the loader that is there now")


def _note_auto_eval(loop: "TrainLoop") -> None:
    """Count an ``end_auto_eval`` that is off only for its type, or on in spite of it (Q17)."""
    given, quirks = loop.end_auto_eval, loop._compat.quirks
    if type(given) in (bool, int) or plan.auto_eval(given, lenient=True) is False:
        return
    state = "on all the same" if quirks.fixed("Q17") else "off"
    quirks.met("Q17", f"end_auto_eval={given!r} is neither a bool nor an int, so it is {state}")


def _note_inherited(loop: "TrainLoop", stop: int) -> None:
    """Count what earlier fits change in this one (Q01, Q02, Q05), now that the epochs to run are known."""
    quirks, was, epoch = loop._compat.quirks, loop._compat.inherited, loop.epoch
    skipped = int(quirks.fixed("Q01"))
    if was.epoch_ran and epoch == was.epoch + skipped and epoch < stop + skipped:
        done = f"leaves out epoch {was.epoch}" if skipped else f"runs epoch {epoch} again"
        quirks.met("Q01", f"this fit {done}, which an earlier fit ran")
    length, target = _evaluation.length_of(loop.train_loader), loop._compat.target
    if target.num_iterations > 0 and was.batches and _batches_in_all(loop, length) != target.num_iterations:
        counted = "leaves out" if quirks.fixed("Q02") else "includes"
        quirks.met("Q02", f"num_iterations={target.num_iterations} {counted} the {was.batches} of earlier fits")
    reached_at_once = target.num_iterations > 0 and target.last_batch - loop.total_iteration_idx <= (length or 0)
    if was.stopped and stop - epoch > 1 and not reached_at_once and (quirks.fixed("Q05") or loop.early_stop):
        done = (
            "early_stop of an earlier fit is cleared"
            if quirks.fixed("Q05")
            else ("early_stop is still set from an earlier fit, so this fit runs one epoch")
        )
        quirks.met("Q05", done)


def _batches_in_all(loop: "TrainLoop", length: int | None) -> int | None:
    """Count the batches of this fit if ``num_iterations`` counts those of all fits; ``None`` if it is open."""
    iterations, trained = loop._compat.target.num_iterations, loop._compat.inherited.batches
    if not length:
        return iterations - trained if iterations > trained else None
    in_epochs = max(epochs_for(iterations, length) - loop.epoch, 0) * length
    return min(iterations - trained, in_epochs) if iterations > trained else in_epochs


def _warn_of_averages(loop: "TrainLoop", epochs: int) -> None:
    """Warn of the oddities that follow from the loaders and the window, where they change a number."""
    quirks, window = loop._compat.quirks, loop.grad_accumulation
    if window > 1 and not quirks.fixed("Q11"):
        batches = len(loop.train_loader)
        if batches % window and _reaches_the_end_of_an_epoch(loop, batches):
            rest = batches % window
            quirks.foretell(
                "Q11",
                f"{batches} batches in windows of {window}: the last window has {rest}, and its losses are divided by"
                f" {window} all the same",
            )
    evaluated = auto_eval(loop) is not False
    if evaluated and epochs > 1 and _evaluation.is_shuffled(loop.train_loader) and not quirks.fixed("Q18"):
        quirks.foretell("Q18")
    loaders = [loop.train_loader, *([loop.validation_loader, loop.test_loader] if evaluated else [])]
    if any(map(_evaluation.has_smaller_batch, loaders)) and not quirks.fixed("Q19"):
        quirks.foretell("Q19")


def _reaches_the_end_of_an_epoch(loop: "TrainLoop", batches: int) -> bool:
    last = loop._compat.target.last_batch
    return last < 0 or last - loop.total_iteration_idx >= batches


def keep_step(loop: "TrainLoop", point: str) -> None:
    """Let the processes of a fit meet where hooks are over, so that one that did something alone is noticed there.

    Hooks may also freeze, thaw or add parameters. The wrapper looks at them but once, so it is made anew then.

    Args:
        loop: The facade; a fit of one process meets nobody.
        point: What all of them go on to.

    Raises:
        OutOfStepError: One of them has not come for the same, or trains other parameters.
    """
    ranks = loop._compat.ranks
    if ranks is None:
        return
    if not isinstance(loop.model, Door | ShardedDoor):
        # A hook has put another model into the loop.
        from compat._distributed.worker import wrap

        wrap(loop, loop._compat.ddp_model_args)
    trained = trained_parameters(unwrapped(loop.model))
    everyone = ranks.exchange(point, zlib.crc32(" ".join(trained).encode()))
    other = next((rank for rank, theirs in enumerate(everyone) if theirs != everyone[0]), None)
    if other is not None:
        raise OutOfStepError(
            f"rank {other} trains other parameters than rank 0: a hook has frozen, thawed or added some in one of them"
            " only. Do so in all processes.",
            other,
        )
    if isinstance(loop.model, Door) and not loop.model.is_current():
        loop.model = loop.model.renewed()
    loop._compat.foreign_parameters = foreign_parameters(loop.model, loop.optimizer)


def agree(loop: "TrainLoop") -> None:
    """Let the processes of a fit agree at the end of an epoch: whether one of them stops, and that none has drifted.

    Args:
        loop: The facade; in a fit of one process there is nothing to agree on.

    Raises:
        DriftError: The processes hold different weights.
    """
    ranks = loop._compat.ranks
    if ranks is None:
        return
    model = unwrapped(made_whole(loop.model))
    foreign = loop._compat.foreign_parameters
    mine = (bool(loop.early_stop), checksums([*model.parameters(), *foreign]))
    stops, sums = zip(*ranks.exchange(f"the end of epoch {loop.epoch}", mine), strict=True)
    names = [name for name, _ in model.named_parameters()]
    check_drift([*names, *(f"parameter {index} of the optimizer alone" for index in range(len(foreign)))], sums)
    loop.early_stop = loop.early_stop or any(stops)


def forget_predictions(loop: "TrainLoop") -> None:
    """Forget what was predicted and evaluated at this iteration: a native part has put other weights into the model.

    Args:
        loop: The facade.
    """
    for data in ("train", "val", "test"):
        loop.prediction_store._forget(data)


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
    value = plan.auto_eval(loop.end_auto_eval, loop._compat.quirks.fixed("Q17"))
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
        # Without a CUDA device nothing is on in any case.
        tell = quirks.met if torch.cuda.is_available() else quirks.foretell
        tell("Q21", f"use_amp={use_amp!r} is neither True nor a dict, so it is {'on all the same' if on else 'off'}")
    if on and not torch.cuda.is_available():
        quirks.foretell("Q22", _AMP_ON_CPU)
    return on


_AMP_ON_CPU = "there is no CUDA device, so use_amp trains in float32"


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


def batch_loss(loop: "TrainLoop", batch_data: Any) -> tuple[Any, Any]:
    """Compute the loss of a training batch.

    Args:
        loop: The facade.
        batch_data: The batch as the loader yielded it.

    Returns:
        The loss as it is, and divided by the size of the accumulation window.
    """
    if loop.batch_model_feed_def is None:
        loss = loop.model.get_loss(batch_data, loop.criterion, loop.device)
    elif isinstance(loop.model, Door | ShardedDoor):
        feed = loop.batch_model_feed_def.get_loss
        loss = loop.model.through(feed, loop.model, batch_data, loop.criterion, loop.device)
    else:
        loss = loop.batch_model_feed_def.get_loss(loop.model, batch_data, loop.criterion, loop.device)
    if loop.grad_accumulation == 1 and type(loss) is torch.Tensor and loop._compat.own_loss_verbs:
        # Dividing by one changes no bit and costs two kernels a step. Somebody else's verb may work on the result in
        # place, and gets a tensor of its own.
        return loss, loss
    return loss, _evaluation.checked_loss(loss, loop.batch_model_feed_def or loop.model) / divisor(loop)
