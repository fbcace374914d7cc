"""``lightning_args``: what a loop cannot take from Lightning's Trainer, why, and what to do in its place."""

from collections.abc import Callable
from typing import Any

from compat import _ledger
from compat.exceptions import RefusedError

__all__ = ["REFUSED", "refusal"]

_UNITS = "evaluates the losses where an epoch ends"

# The reason, and the way to do it.
REFUSED: dict[str, tuple[str, str]] = {
    "max_epochs": ("The loop sets it.", "Use fit(num_epochs=)."),
    "max_steps": ("The loop sets when to stop.", "Use fit(num_iterations=), which counts batches."),
    "accumulate_grad_batches": (
        "Lightning accumulates in automatic optimization only, and the loop has its own windows.",
        "Use fit(grad_accumulation=).",
    ),
    "gradient_clip_val": (
        "Lightning clips in automatic optimization only.",
        "Use fit(callbacks=[GradNormClip(max_grad_norm)]), or GradValueClip(max_grad_value) for values.",
    ),
    "gradient_clip_algorithm": (
        "Lightning clips in automatic optimization only.",
        "Use fit(callbacks=[GradNormClip(max_grad_norm)]), or GradValueClip(max_grad_value) for values.",
    ),
    "val_check_interval": (
        f"The loop {_UNITS}.",
        "Evaluate more often in an old callback: evaluate_loss_on_validation_set() in its on_batch_end.",
    ),
    "check_val_every_n_epoch": (
        f"The loop {_UNITS}, and Lightning's callbacks would wait for another validation, silently.",
        "Use TrainLoop(end_auto_eval=n): it evaluates when epoch % n == 0, Lightning when (epoch + 1) % n == 0.",
    ),
    "num_sanity_val_steps": (
        "The old loop trains without a trial of the validation set, which would draw random numbers.",
        "Call evaluate_loss_on_validation_set() before fit, or try all with {'fast_dev_run': True}.",
    ),
    "reload_dataloaders_every_n_epochs": (
        "The loop opens its own loaders.",
        "Put a new one into loop.train_loader in an old callback's on_epoch_begin.",
    ),
    "sync_batchnorm": (
        "It would replace layers of a model whose optimizer is made already.",
        "Convert the model first: model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model), then the TrainLoop.",
    ),
    "use_distributed_sampler": (
        "The loop deals out the data to the processes of a fit itself.",
        "Give a loader a DistributedSampler of your own for as many processes, and it stays as it is.",
    ),
    "limit_predict_batches": (
        "fit predicts nothing on its own.",
        "Pass a shorter loader: loop.predict_with_model(loader).",
    ),
    "model_registry": (
        "It picks the class of a default checkpoint callback, and the loop has no such callback.",
        "Make that callback yourself: fit(callbacks=[LightningModelCheckpoint(model_registry=...)]) of litmodels.",
    ),
}

# Values other than Lightning's default that ask for what the loop does in any case.
_NEUTRAL: dict[str, Callable[[Any], bool]] = {
    "gradient_clip_val": lambda value: value == 0,
    "val_check_interval": lambda value: type(value) is float and value == 1,
    "num_sanity_val_steps": lambda value: value == 0,
    "limit_predict_batches": lambda value: type(value) is float and value == 1,
}


def refusal(name: str, value: Any) -> RefusedError | None:
    """Return why a setting is refused.

    Args:
        name: One of :data:`REFUSED`.
        value: What was given, other than Lightning's default.

    Returns:
        The error; ``None`` for a value that changes nothing.
    """
    if name in _NEUTRAL and not isinstance(value, bool) and _NEUTRAL[name](value):
        return None
    why, way = REFUSED[name]
    shown = f"lightning_args={{{name!r}: {value!r}}}"
    _ledger.refused(f"TrainLoop({shown})", why)
    return RefusedError(f"{shown} is not served. {why} {way}")
