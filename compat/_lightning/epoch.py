"""An epoch of the facade: how it begins, what is evaluated when it is over, and how it ends."""

from typing import TYPE_CHECKING

from compat import _console
from compat._distributed.gradients import share_buffers
from compat._distributed.sharding import made_whole
from compat._evaluation import length_of
from compat._lightning import course, limits, tally

if TYPE_CHECKING:
    from compat.train_loop import TrainLoop

__all__ = ["begin_epoch", "end_epoch", "evaluate_epoch", "is_watched"]


def is_watched(loop: "TrainLoop") -> bool:
    """Tell whether code of the user's runs inside the step, and so may read the Trainer's counters there.

    Writing them costs about as much as the rest of a small step's bookkeeping.

    Args:
        loop: The facade.
    """
    handler = loop.callbacks_handler
    hooks = (handler.cbs_on_batch_begin, handler.cbs_on_batch_end, handler.cbs_on_after_gradient_update)
    return any(hooks) or bool(handler.cbs_on_after_optimizer_step) or type(loop).__module__ != "compat.train_loop"


def begin_epoch(loop: "TrainLoop", epoch: int) -> None:
    """Announce an epoch to the user and to the old callbacks.

    Args:
        loop: The facade.
        epoch: The epoch's index.
    """
    loop.epoch = epoch
    loop._compat.epoch_ran = False
    if loop.is_main_process():
        rule = "=" * 80
        _console.say(f"\n\n{rule}\n{rule}\nEpoch: {epoch}")
    loop.callbacks_handler.execute_epoch_begin()
    limits.renew(loop)
    course.keep_step(loop, f"the batches of epoch {epoch}")
    tally.epoch_began(loop)


def evaluate_epoch(loop: "TrainLoop") -> None:
    """Evaluate what the facade evaluates by itself when an epoch has been trained.

    Args:
        loop: The facade.
    """
    tally.epoch_trained(loop)
    if loop._compat.ranks is not None:
        loop._compat.ranks.at(f"the end of epoch {loop.epoch}", loop.total_iteration_idx)
        # A callback that runs in one process alone evaluates the model that all have.
        made_whole(loop.model)
        share_buffers(loop.model)
    loop.auto_execute_end_of_epoch()


def end_epoch(loop: "TrainLoop", is_whole: bool) -> bool:
    """End an epoch whose losses are in the history: old callbacks, messages.

    Args:
        loop: The facade.
        is_whole: Whether its loader came to an end, or the number of iterations was reached.

    Returns:
        Whether the number of iterations is reached.
    """
    loop.callbacks_handler.execute_epoch_end()
    loop.message_service.end_of_epoch_trigger()
    course.agree(loop)
    reached = course.reached(loop)
    is_last_batch = loop.iteration == (length_of(loop.train_loader) or 0) - 1
    loop._compat.epoch_ran = is_last_batch if reached else is_whole
    if reached and not loop.early_stop:
        _console.say(
            f"Stopping training after {loop._compat.target.num_iterations} training iterations. "
            f"Current iteration index: {loop.total_iteration_idx}"
        )
    return reached
