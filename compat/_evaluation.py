"""One pass over a loader for losses, one for predictions: pure functions, never a Trainer entry point.

A Trainer that is asked to validate or predict while it fits ends the running fit, so the loop evaluates on its own.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, RandomSampler

from compat import _compiled, _console
from compat._loop_state import state_of
from compat.exceptions import EmptyLoaderError, InvalidArgumentError, InvalidTypeError, MissingAttributeError
from compat.parallel import TTParallelBase
from compat.quirks import QuirkSettings

__all__ = [
    "Predictions",
    "batch_size",
    "batch_sizes",
    "check_loader",
    "checked_loss",
    "evaluating",
    "has_smaller_batch",
    "is_shuffled",
    "length_of",
    "loss_pass",
    "means_differ",
    "prediction_pass",
    "random_state",
    "to_cpu",
    "to_device",
    "untouched_rng",
    "weighted_by_samples",
]

Predictions = tuple[Any, Any, dict[str, Any]]


@contextmanager
def evaluating(model: nn.Module, quirks: QuirkSettings) -> Iterator[None]:
    """Hold a model in ``eval()`` without gradients, and leave it in ``train()``, whatever happens in between.

    Args:
        model: The model.
        quirks: The switches to go by; under ``Q20="kept"`` an exception leaves the model in ``eval()``.
    """
    model.eval()
    try:
        with torch.no_grad():
            yield
    except BaseException:
        mode = "eval()"
        if quirks.fixed("Q20"):
            model.train()
            mode = "train()"
        quirks.met("Q20", f"an evaluation or prediction failed, and the model is in {mode}")
        raise
    model.train()


@contextmanager
def untouched_rng(loader: Any) -> Iterator[None]:
    """Leave the random number generators as they are: those of torch, numpy and Python, and the loader's own.

    Args:
        loader: A loader that may have a ``generator``.
    """
    import random

    import numpy as np

    generator = getattr(loader, "generator", None)
    own = generator.get_state() if generator is not None else None
    python, numpy_state = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=_used_devices()):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy_state)
        if generator is not None and own is not None:
            generator.set_state(own)


def random_state(loader: Any) -> tuple[bytes, bytes]:
    """Return the states of torch's generator on the CPU and of a loader's own, to be compared.

    Args:
        loader: A loader that may have a ``generator``.
    """
    generator = getattr(loader, "generator", None)
    own = generator.get_state().numpy().tobytes() if generator is not None else b""
    return torch.get_rng_state().numpy().tobytes(), own


def _used_devices() -> list[int]:
    """Return the CUDA device of this process, if it has used one: torch asks for a choice among several."""
    in_use = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return [torch.cuda.current_device()] if in_use else []


def to_device(loop: Any, with_criterion: bool = True) -> None:
    """Move the model of a loop to its device, and the criterion if that can be moved.

    Args:
        loop: The loop.
        with_criterion: Whether the criterion is used at all.
    """
    loop.device = torch.device(loop.device)
    # Somebody may have compiled the loop's model since.
    loop.model = _compiled.in_place(loop.model).to(loop.device)
    if with_criterion and hasattr(loop.criterion, "to"):
        loop.criterion = loop.criterion.to(loop.device)
    elif with_criterion and loop.criterion is not None and "Q27" not in state_of(loop).told:
        # Every evaluation comes here.
        state_of(loop).told.add("Q27")
        state_of(loop).quirks.met("Q27")


def check_loader(loader: Any, purpose: str) -> None:
    """Refuse a loader that no pass can run over, before anything is changed.

    Args:
        loader: What is to be iterated.
        purpose: What for, as in ``"evaluate the loss on the validation set"``.

    Raises:
        InvalidTypeError: It is ``None`` or cannot be iterated.
        EmptyLoaderError: It says that it holds no batch.
    """
    if loader is None:
        raise InvalidTypeError(
            f"Cannot {purpose}: its loader is None, which is not iterable. Give TrainLoop that loader, or leave"
            " this call out."
        )
    if not isinstance(loader, Iterable) and not hasattr(loader, "__getitem__"):
        raise InvalidTypeError(
            f"Cannot {purpose}: its loader is a {type(loader).__name__}, which is not iterable. Pass a DataLoader, a"
            " list of batches or another iterable."
        )
    if length_of(loader) == 0:
        raise EmptyLoaderError(
            f"Cannot {purpose}: its loader holds no batch. At least one is needed; look at the data set's length, the"
            " batch size and drop_last."
        )


def length_of(loader: Any) -> int | None:
    """Return the number of batches of a loader, ``None`` if it does not know.

    Args:
        loader: A loader.
    """
    if isinstance(loader, list | tuple):
        return len(loader)
    try:
        # The old loop does not ask as often, and a sampler may draw a random number to answer.
        with untouched_rng(None):
            return len(loader)
    except (TypeError, NotImplementedError, AttributeError):
        return None


def is_shuffled(loader: Any) -> bool:
    """Tell whether a loader draws the order of its samples at random.

    Args:
        loader: A loader.
    """
    return isinstance(getattr(loader, "sampler", None), RandomSampler)


def has_smaller_batch(loader: Any) -> bool:
    """Tell whether the last batch of a ``DataLoader`` has fewer samples than the others.

    Args:
        loader: A loader; of any other kind the sizes are not known.
    """
    if not isinstance(loader, DataLoader) or loader.drop_last or not loader.batch_size:
        return False
    samples = length_of(loader.sampler)
    return samples is not None and samples > loader.batch_size and samples % loader.batch_size != 0


def batch_sizes(loader: Any) -> list[int]:
    """Return the sizes of a loader's batches without drawing them; nothing if they are equal or not known.

    Args:
        loader: A ``DataLoader`` with a ``batch_size``, or a list of batches.
    """
    if isinstance(loader, list | tuple):
        return [batch_size(batch) for batch in loader]
    if not has_smaller_batch(loader):
        return []
    batches, rest = divmod(length_of(loader.sampler) or 0, loader.batch_size)
    return [loader.batch_size] * batches + [rest]


def checked_loss(loss: Any, owner: Any) -> Any:
    """Refuse what ``get_loss`` must not return.

    Args:
        loss: What it returned.
        owner: Whose ``get_loss`` it was.

    Returns:
        The loss.

    Raises:
        InvalidTypeError: A container of losses that is no ``MultiLoss``.
        MissingAttributeError: A number without a graph.
    """
    allowed = "Return a scalar tensor, or a MultiLoss for several losses."
    owner = owner.module if isinstance(owner, nn.DataParallel | TTParallelBase) else owner
    if isinstance(loss, dict | tuple | list) or loss is None:
        raise InvalidTypeError(f"{type(owner).__name__}.get_loss returned a {type(loss).__name__}. {allowed}")
    if not hasattr(loss, "detach"):
        raise MissingAttributeError(
            f"{type(owner).__name__}.get_loss returned {loss!r}, a {type(loss).__name__} without `detach`. {allowed}"
            " Leave out `.item()`."
        )
    return loss


def loss_pass(
    batch_loss: Callable[[Any], Any],
    loader: Iterable[Any],
    precision: AbstractContextManager[Any],
    description: str | None,
) -> Iterator[tuple[Any, int]]:
    """Compute the loss of each batch of a loader.

    Args:
        batch_loss: Returns the loss of a batch.
        loader: The batches.
        precision: The context that each batch is computed in; entered anew for each.
        description: The text before the progress bar; without it there is none.

    Yields:
        The detached loss of a batch, and its number of samples.
    """
    for batch in _shown(loader, description):
        with precision:
            loss = batch_loss(batch)
        yield loss.detach(), batch_size(batch)


def _shown(loader: Iterable[Any], description: str | None) -> Iterable[Any]:
    return loader if description is None else _console.progress(loader, description)


def prediction_pass(
    batch_predictions: Callable[[Any], Any],
    loader: Iterable[Any],
    precision: AbstractContextManager[Any],
    description: str | None,
    after_batch: Callable[[Any, Any, Any], None] | None,
) -> Iterator[tuple[Any, Any, Any]]:
    """Predict each batch of a loader.

    Args:
        batch_predictions: Returns predictions, targets and metadata of a batch.
        loader: The batches.
        precision: The context that each batch is computed in; entered anew for each.
        description: The text before the progress bar; without it there is none.
        after_batch: Called with each batch's values before they are yielded.

    Yields:
        Predictions, targets and metadata of one batch.
    """
    for batch in _shown(loader, description):
        with precision:
            output = batch_predictions(batch)
        values = _three(output)
        if after_batch is not None:
            after_batch(*values)
        yield values


def _three(output: Any) -> tuple[Any, Any, Any]:
    allowed = "Return (predictions, targets, metadata), with {} or None where there is no metadata."
    if not isinstance(output, Iterable):
        raise InvalidTypeError(f"get_predictions returned a {type(output).__name__}. {allowed}")
    values = tuple(output)
    if len(values) != 3:
        raise InvalidArgumentError(f"get_predictions returned {len(values)} values. {allowed}")
    return values


def to_cpu(value: Any) -> Any:
    """Move tensors, and whatever else can be moved, to the CPU; leave the rest.

    Args:
        value: A tensor, a loss, a dict of metadata, or anything else.
    """
    if isinstance(value, dict):
        return {key: to_cpu(entry) for key, entry in value.items()}
    return value.cpu() if hasattr(value, "cpu") else value


def batch_size(batch: Any) -> int:
    """Count the samples of a batch: the length of the first tensor or sequence of values in it.

    Args:
        batch: A batch as a loader yields it.
    """
    if isinstance(batch, torch.Tensor):
        return batch.size(0) if batch.dim() else 1
    if isinstance(batch, dict):
        return batch_size(next(iter(batch.values()))) if batch else 1
    if isinstance(batch, list | tuple) and batch:
        first = batch[0]
        return batch_size(first) if isinstance(first, torch.Tensor | dict | list | tuple) else len(batch)
    return len(batch) if hasattr(batch, "__len__") else 1


def weighted_by_samples(losses: Sequence[Any], samples: Sequence[int]) -> list[Any]:
    """Scale the losses of batches so that their plain mean is the mean over samples.

    With ``n`` batches of ``s_i`` samples, ``S`` in all: ``mean_i(l_i * s_i * n / S) = sum_i(l_i * s_i) / S``.

    Args:
        losses: One loss a batch.
        samples: The number of samples of each batch.

    Returns:
        The scaled losses, in float64.
    """
    total, count = sum(samples), len(samples)
    if len(losses) != count or not total:
        return list(losses)
    return [
        loss.to(torch.float64) / (total / (size * count)) for loss, size in zip(losses, samples, strict=True) if size
    ]


def means_differ(losses: Sequence[Any], samples: Sequence[int]) -> bool:
    """Tell whether the mean over batches is another number than the mean over samples.

    Args:
        losses: One loss a batch: tensors without dimensions, or mappings of such.
        samples: The number of samples of each batch.
    """
    if len(set(samples)) < 2 or len(losses) != len(samples):
        return False
    if isinstance(losses[0], Mapping):
        return any(means_differ([loss[name] for loss in losses], samples) for name in losses[0])
    values = torch.stack(list(losses)).detach().double().reshape(len(losses), -1)
    weights = torch.tensor(samples, dtype=torch.float64, device=values.device)[:, None]
    weighted = (values * weights).sum(dim=0) / weights.sum()
    # Rounding alone is no difference.
    return not torch.allclose(values.mean(dim=0), weighted, rtol=1e-9, atol=0, equal_nan=True)
