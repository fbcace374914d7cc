"""How many epochs and updates a fit makes."""

import math
from typing import TYPE_CHECKING

from compat._evaluation import length_of
from compat.exceptions import InvalidTypeError

if TYPE_CHECKING:
    from compat.train_loop import TrainLoop

__all__ = ["epochs_for", "training_steps"]


def epochs_for(num_iterations: int, batches: int) -> int:
    """Return the number of epochs that hold a number of batches: ``ceil(num_iterations / batches)``.

    Args:
        num_iterations: Batches to train on.
        batches: Batches of one epoch.
    """
    return math.ceil(num_iterations / batches)


def training_steps(loop: "TrainLoop", num_epochs: int, num_iterations: int) -> int:
    """Count the updates of a fit.

    Args:
        loop: The facade; its quirk Q13 decides whether partial accumulation windows count.
        num_epochs: The epochs of the fit.
        num_iterations: The batches of the fit, 0 if it counts epochs.

    Returns:
        The number of updates.

    Raises:
        InvalidTypeError: The count needs the length of a loader that has none.
    """
    batches, window = length_of(loop.train_loader), loop.grad_accumulation
    if num_iterations > 0:
        full = num_iterations // window
        real = _updates(num_iterations, batches, window) if batches else full
    elif batches is None:
        raise InvalidTypeError(
            f"The train loader, a {type(loop.train_loader).__name__}, has no length, so its updates cannot be counted."
            " Give it a __len__, or train by num_iterations."
        )
    else:
        full = batches // window * num_epochs
        real = _updates(batches * num_epochs, batches, window) if batches else full
    returned = real if loop._compat.quirks.fixed("Q13") else full
    if full != real:
        told = f"get_num_training_steps() returns {returned}"
        loop._compat.quirks.met("Q13", f"{told}, and the fit makes {real} updates, {full} of them with full windows")
    return returned


def _updates(batches: int, epoch_batches: int, window: int) -> int:
    """Count updates: each epoch ends with one, also where its last window is partial."""
    epochs, rest = divmod(batches, epoch_batches)
    return epochs * math.ceil(epoch_batches / window) + rest // window
