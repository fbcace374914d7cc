"""What a fit counts once an epoch: the served names that it used, and the quirks that show when an epoch is over."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from compat import _evaluation, _ledger
from compat._lightning import plan
from compat.data import append_predictions, torch_cat_transf
from compat.losses import MultiLoss
from compat.model import ModelWrap

if TYPE_CHECKING:
    from compat.train_loop import TrainLoop

__all__ = ["constructed", "epoch_began", "epoch_trained", "losses_averaged", "started", "train_set_evaluation"]


def constructed(loop: "TrainLoop", model: Any) -> None:
    """Note what a loop was made of.

    Args:
        loop: The facade.
        model: What its constructor was given as the model.
    """
    _ledger.used(loop)
    if isinstance(model, ModelWrap):
        _ledger.used(model)
        if type(model) is not ModelWrap:
            loop._compat.quirks.met("Q26", f"{type(model).__name__} is a subclass of ModelWrap")
    for function in (loop.collate_batch_pred_fn, loop.pred_transform_fn):
        if function not in (append_predictions, torch_cat_transf):
            _ledger.used(function)


def started(loop: "TrainLoop") -> None:
    """Note what a fit is about to train with.

    Args:
        loop: The facade.
    """
    _ledger.used("compat.train_loop.TrainLoop.fit")
    inside = getattr(loop.model, "module", None) if loop.gpu_mode != "single" else None
    for part in (loop.model, inside, loop.batch_model_feed_def, loop.optimizer, loop.criterion):
        if part is not None:
            _ledger.used(part)
    loop._compat.batch_sizes = None
    loop._compat.loader_used(loop.train_loader)


def epoch_began(loop: "TrainLoop") -> None:
    """Count an epoch whose random numbers follow from an evaluation of the training set before it (Q18).

    Args:
        loop: The facade.
    """
    state = loop._compat
    if state.evaluation_drew:
        state.evaluation_drew = False
        state.quirks.met("Q18")


@contextmanager
def train_set_evaluation(loop: "TrainLoop") -> Iterator[None]:
    """Hold the automatic evaluation of the training set, and note whether it drew what the next epoch will draw from.

    Args:
        loop: The facade.
    """
    state, loader = loop._compat, loop.train_loader
    before = _evaluation.random_state(loader)
    with _evaluation.untouched_rng(loader) if state.quirks.fixed("Q18") else nullcontext():
        yield
        of_torch, of_loader = (old != new for old, new in zip(before, _evaluation.random_state(loader), strict=True))
    orders = of_loader if getattr(loader, "generator", None) is not None else of_torch
    state.evaluation_drew = (orders and _evaluation.is_shuffled(loader)) or (of_torch and _has_dropout(loop))


def _has_dropout(loop: "TrainLoop") -> bool:
    """Tell whether the model draws from the CPU's generator while it trains."""
    if loop.device.type != "cpu" or not isinstance(loop.model, nn.Module):
        return False
    return any(isinstance(module, _DropoutNd) and module.p > 0 for module in loop.model.modules())


def epoch_trained(loop: "TrainLoop") -> None:
    """Count what became of an epoch's windows and gradients (Q11, Q25).

    Args:
        loop: The facade; the last batch of its epoch has been trained.
    """
    quirks, window, batches = loop._compat.quirks, loop.grad_accumulation, loop.iteration + 1
    # Another verb need not divide at all.
    rest = batches % window if plan.is_own(loop, "_calculate_batch_loss") else 0
    if rest and batches == _evaluation.length_of(loop.train_loader):
        used = rest if loop._compat.last_window_by_its_own_size else window
        quirks.met("Q11", f"the last window of an epoch has {rest} batches, and its losses are divided by {used}")
    if getattr(loop.amp_scaler, "repeated_unscales", 0):
        loop.amp_scaler.repeated_unscales = 0  # type: ignore[attr-defined]
        quirks.met("Q25")


def losses_averaged(loop: "TrainLoop", losses: list[Any]) -> None:
    """Count an epoch whose mean over batches is another than that over samples (Q19).

    Args:
        loop: The facade.
        losses: The losses of the epoch's batches.
    """
    state = loop._compat
    if losses and isinstance(losses[0], MultiLoss):
        _ledger.used(losses[0])
    samples = state.sample_counts if state.sample_counts is not None else _batch_sizes(loop)
    if state.sample_counts is not None:
        state.sample_counts = []
    # Iterations may have ended the epoch before its last batch.
    if _evaluation.means_differ(losses, samples[: len(losses)]):
        state.quirks.met("Q19")


def _batch_sizes(loop: "TrainLoop") -> list[int]:
    """Look through a list of batches once a fit: to do it every epoch would be felt in every step."""
    state, loader = loop._compat, loop.train_loader
    if state.batch_sizes is None or state.batch_sizes[0] is not loader:
        state.batch_sizes = (loader, _evaluation.batch_sizes(loader))
    return state.batch_sizes[1]
