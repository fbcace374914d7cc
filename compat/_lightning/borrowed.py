"""What the view of a plain Trainer borrows of it: attributes, its loaders, and the old model in its module."""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn

from compat import _compiled, _evaluation
from compat.exceptions import MissingAttributeError, RefusedAttributeError

__all__ = ["Feed", "OfTrainer", "old_model_in", "one_of", "steps_on_nothing_else"]

_OLD_METHODS = ("get_loss", "get_predictions")


class OfTrainer:
    """An attribute that the Trainer owns: it can be read; to set it is an error that says what to do.

    Args:
        read: Returns the value, given the view.
        instead: What to do in place of setting it.
    """

    def __init__(self, read: Callable[[Any], Any], instead: str) -> None:
        """Keep both; the class in which it stands gives the name."""
        self._read = read
        self._instead = instead

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, view: Any, owner: type | None = None) -> Any:
        return self if view is None else self._read(view)

    def __set__(self, view: Any, value: Any) -> None:
        current = self._read(view)
        # An evaluation moves the model to where it is, and puts it back.
        if value is not current and not (isinstance(value, torch.device) and value == current):
            raise RefusedAttributeError(
                f"train_loop_obj.{self._name} cannot be set in a plain Trainer, which would not take it up."
                f" {self._instead}"
            )


class Feed:
    """The old model inside a module with more parts than it: its own methods, whatever the model of the view is."""

    def __init__(self, model: Any) -> None:
        """Keep the old model."""
        self._model = model

    def get_loss_eval(self, model: Any, batch_data: Any, criterion: Any, device: Any) -> Any:
        """Return the loss of a batch; ``model`` is the whole module, and not asked."""
        return getattr(self._model, "get_loss_eval", self._model.get_loss)(batch_data, criterion, device)

    def get_predictions(self, model: Any, batch_data: Any, device: Any) -> Any:
        """Return predictions, targets and metadata of a batch."""
        return self._model.get_predictions(batch_data, device)


class _FirstBatches:
    """The batches of a loader that the Trainer was limited to."""

    def __init__(self, loader: Any, count: int) -> None:
        self._loader, self._count = loader, count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        return islice(iter(self._loader), self._count)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._loader, name)


def one_of(loaders: Any, counts: Any, data: str) -> Any:
    """Return the one loader of a data set, cut to the batches that the Trainer takes of it.

    Args:
        loaders: A loader, or the Trainer's list of loaders; ``None`` for none.
        counts: The number of batches of it, or a list of one.
        data: The data set, for the message.

    Raises:
        MissingAttributeError: There are several loaders.
    """
    if isinstance(loaders, list | tuple) and len(loaders) == 1:
        loaders = loaders[0]
    if isinstance(loaders, list | tuple | Mapping) and len(loaders):
        raise MissingAttributeError(
            f"train_loop_obj.{data}_loader is not there: the Trainer has {len(loaders)} loaders for this data set, and"
            " the old loop has one. Read them from train_loop_obj.trainer."
        )
    if loaders is None or isinstance(loaders, list | tuple | Mapping):
        return None
    count = counts[0] if isinstance(counts, list) and counts else counts
    length = _evaluation.length_of(loaders)
    is_cut = isinstance(count, int) and (length is None or count < length)
    return _FirstBatches(loaders, count) if is_cut else loaders


def old_model_in(module: LightningModule) -> Any:
    """Find the module, or its attribute ``model``, that predicts and computes losses as an old model does.

    Args:
        module: The user's module.

    Returns:
        The old model; ``None`` if there is none.
    """
    for candidate in (module, getattr(module, "model", None)):
        inner = _compiled.inside(candidate)
        if isinstance(inner, nn.Module) and all(callable(getattr(inner, name, None)) for name in _OLD_METHODS):
            return inner
    return None


def steps_on_nothing_else(trainer: Trainer, model: nn.Module) -> bool:
    """Tell whether all that the optimizers step on belongs to a model.

    Args:
        trainer: The Trainer.
        model: A part of its module, or the module itself.
    """
    own = {id(parameter) for parameter in model.parameters()}
    groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
    return all(id(parameter) in own for group in groups for parameter in group["params"])
