"""What a training loop trains: models that know their loss, and pairs of a plain module with a feed definition."""

from abc import ABC, abstractmethod
from typing import Any

from torch import nn

from compat import _compiled
from compat.exceptions import InvalidTypeError, MissingAttributeError

__all__ = [
    "AbstractModelFeedDefinition",
    "ModelWrap",
    "MultiGPUModelWrap",
    "TTBasicModel",
    "TTBasicMultiGPUModel",
    "TTModel",
]


class TTModel(nn.Module, ABC):
    """A module that computes its loss and its predictions from a batch.

    Batches come exactly as the loader yields them: moving them to the device is the model's part.

    Attributes:
        transfer_model_attributes: Names of plain attributes that a parallel wrapper copies to itself.
    """

    def __init__(self) -> None:
        """Set up the module."""
        super().__init__()
        self.transfer_model_attributes: list[str] | tuple[str, ...] = []

    @abstractmethod
    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        """Compute the training loss of a batch.

        Args:
            batch_data: What the loader yields.
            criterion: The loop's criterion, or ``None`` if it has none.
            device: Where the model is.

        Returns:
            A scalar tensor or a :class:`compat.losses.MultiLoss`, with its graph.
        """

    def get_loss_eval(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        """Compute the loss of a batch in an evaluation, without gradients and in evaluation mode."""
        return self.get_loss(batch_data, criterion, device)

    @abstractmethod
    def get_predictions(self, batch_data: Any, device: Any) -> Any:
        """Compute the predictions of a batch.

        Args:
            batch_data: What the loader yields.
            device: Where the model is.

        Returns:
            Predictions, targets, and a dict of lists, tensors or arrays with more about the batch (or ``None``).
        """


class TTBasicModel(TTModel):
    """A model whose batches are ``(*inputs, targets)``, all of them tensors."""

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        """Call the model on the inputs, and the criterion on its output and the targets."""
        *inputs, targets = _moved(batch_data, device)
        predictions = self(*inputs)
        if criterion is None:
            raise InvalidTypeError(
                f"{type(self).__name__}.get_loss needs a criterion, and the loop has None. Pass criterion= to the "
                "TrainLoop, or override get_loss with one that computes the loss itself."
            )
        return criterion(predictions, targets)

    def get_predictions(self, batch_data: Any, device: Any) -> Any:
        """Call the model on the inputs; the targets stay where they are."""
        *inputs, targets = batch_data
        return self(*_moved(inputs, device)), targets, {}


class TTBasicMultiGPUModel(TTBasicModel):
    """A basic model that computes its loss inside ``forward``, so that replicas compute theirs in parallel.

    ``forward`` takes keywords ``targets`` and ``criterion``, returns the loss if it gets a criterion, and predictions
    otherwise.
    """

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        """Call the model on the inputs, the targets and the criterion."""
        *inputs, targets = _moved(batch_data, device)
        return self(*inputs, targets=targets, criterion=criterion)


class MultiGPUModelWrap(TTBasicMultiGPUModel):
    """Any module as a :class:`TTBasicMultiGPUModel`.

    Args:
        model: The module to wrap. Its parameters are named ``model.<name>`` here.

    Raises:
        InvalidTypeError: Not a ``torch.nn.Module``.
    """

    def __init__(self, model: nn.Module) -> None:
        """Wrap the module."""
        super().__init__()
        _check_module(model, "MultiGPUModelWrap(model=)")
        self.model = _compiled.in_place(model)

    def forward(self, *input_data: Any, targets: Any = None, criterion: Any = None) -> Any:
        """Compute predictions, or the loss if there is a criterion.

        Args:
            input_data: The inputs of the wrapped module.
            targets: What the criterion compares with.
            criterion: The criterion, if the loss is wanted.

        Returns:
            The loss or the predictions.
        """
        predictions = self.model(*input_data)
        return predictions if criterion is None else criterion(predictions, targets)


class AbstractModelFeedDefinition(ABC):
    """How to compute loss and predictions of a module that does not know them itself.

    The methods are those of :class:`TTModel` with the module as first argument, which may have a parallel wrapper
    around it.
    """

    @abstractmethod
    def get_loss(self, model: Any, batch_data: Any, criterion: Any, device: Any) -> Any:
        """Compute the training loss of a batch.

        Args:
            model: The module.
            batch_data: What the loader yields.
            criterion: The loop's criterion, or ``None`` if it has none.
            device: Where the module is.

        Returns:
            A scalar tensor or a :class:`compat.losses.MultiLoss`, with its graph.
        """

    def get_loss_eval(self, model: Any, batch_data: Any, criterion: Any, device: Any) -> Any:
        """Compute the loss of a batch in an evaluation, without gradients and in evaluation mode."""
        return self.get_loss(model, batch_data, criterion, device)

    @abstractmethod
    def get_predictions(self, model: Any, batch_data: Any, device: Any) -> Any:
        """Compute the predictions of a batch.

        Args:
            model: The module.
            batch_data: What the loader yields.
            device: Where the module is.

        Returns:
            Predictions, targets, and a dict of lists, tensors or arrays with more about the batch (or ``None``).
        """


class ModelWrap:
    """A plain module together with the feed definition that computes its loss and predictions.

    Args:
        model: The module.
        batch_model_feed_def: How to compute its loss and predictions.

    Raises:
        InvalidTypeError: Not a module, or not a feed definition.
    """

    def __init__(self, model: nn.Module, batch_model_feed_def: AbstractModelFeedDefinition) -> None:
        """Keep the pair."""
        _check_module(model, "ModelWrap(model=)")
        definition: Any = batch_model_feed_def
        if not isinstance(definition, AbstractModelFeedDefinition):
            raise InvalidTypeError(
                f"ModelWrap(batch_model_feed_def={_shown(definition)}) is not a feed definition. Pass an instance of a "
                "subclass of AbstractModelFeedDefinition; a model that knows its loss is a TTModel and needs no wrap."
            )
        self.model = model
        self.batch_model_feed_def = batch_model_feed_def


def _moved(parts: Any, device: Any) -> list[Any]:
    try:
        return [part.to(device) for part in parts]
    except AttributeError as error:
        stuck = [part for part in parts if not hasattr(part, "to")]
        if not stuck:
            raise
        raise MissingAttributeError(
            f"A batch of TTBasicModel holds {_shown(stuck[0])}, which cannot be moved to a device. Its batches are "
            "sequences (*inputs, targets) of tensors; for anything else override get_loss and get_predictions."
        ) from error


def _check_module(model: Any, argument: str) -> None:
    if not isinstance(model, nn.Module):
        raise InvalidTypeError(f"{argument} got {_shown(model)}. Pass an instance of torch.nn.Module.")


def _shown(value: Any) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__} itself, not an instance"
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} of type {type(value).__name__}"
