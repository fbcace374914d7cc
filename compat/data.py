"""Data sets over plain sequences, and the functions that join batches of predictions."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

from compat._ledger import used
from compat.exceptions import InvalidTypeError

__all__ = [
    "BasicDataset",
    "ListDataset",
    "append_concat_predictions",
    "append_predictions",
    "keep_list_transf",
    "torch_cat_transf",
]


class BasicDataset(Dataset[Any]):
    """A data set over one sequence.

    Args:
        data: Anything with a length and an index.
    """

    def __init__(self, data: Any) -> None:
        """Keep the sequence, not a copy."""
        used(self)
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, idx: int) -> Any:
        return self.data[idx]


class ListDataset(Dataset[tuple[Any, ...]]):
    """A data set over several sequences of one length; a sample is the tuple of their elements.

    Args:
        data_lists: Anything with a length and an index, all of one length.

    Raises:
        AssertionError: The lengths differ.
    """

    def __init__(self, *data_lists: Any) -> None:
        """Keep the sequences, not copies."""
        used(self)
        lengths = [len(data_list) for data_list in data_lists]
        if len(set(lengths)) > 1:
            # Not an `assert`: the check has to hold under `python -O` too.
            raise AssertionError(
                f"ListDataset got {len(lengths)} lists of lengths {', '.join(map(str, lengths))}. "
                "All lists have to be of one length: the i-th sample is made of the i-th element of each."
            )
        self.data_lists = data_lists

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return tuple(data_list[index] for data_list in self.data_lists)

    def __len__(self) -> int:
        return len(self.data_lists[0])


def append_predictions(y_batch: Any, predictions: list[Any]) -> list[Any]:
    """Append a batch to the list of batches.

    Args:
        y_batch: Predictions or targets of one batch.
        predictions: What was collected before; changed in place.

    Returns:
        The same list.
    """
    predictions.append(y_batch)
    return predictions


def append_concat_predictions(y_batch: Any, predictions: list[Any]) -> list[Any]:
    """Append a batch to the list, a batch that is itself a list element by element.

    Args:
        y_batch: Predictions or targets of one batch.
        predictions: What was collected before; changed in place.

    Returns:
        The same list.
    """
    if isinstance(y_batch, list):
        predictions.extend(y_batch)
    else:
        predictions.append(y_batch)
    return predictions


def torch_cat_transf(predictions: Sequence[Any]) -> torch.Tensor:
    """Join batches along the first dimension.

    Args:
        predictions: Tensors ``(N_i, ...)`` with equal trailing dimensions.

    Returns:
        A tensor ``(sum of N_i, ...)``.

    Raises:
        InvalidTypeError: The batches are no tensors, or no list.
    """
    if isinstance(predictions, torch.Tensor | Mapping):
        raise InvalidTypeError(
            f"torch_cat_transf got one {type(predictions).__name__}. It joins batches: pass a list of them."
        )
    other = next((type(batch).__name__ for batch in predictions if not isinstance(batch, torch.Tensor)), None)
    if other is not None:
        raise InvalidTypeError(
            f"get_predictions returned a {other} for the predictions or the targets of a batch, and torch_cat_transf"
            " joins tensors. Return tensors, or give TrainLoop functions for them: pred_transform_fn=keep_list_transf,"
            " and collate_batch_pred_fn=append_concat_predictions to chain lists."
        )
    return torch.cat(tuple(predictions))


def keep_list_transf(predictions: Any) -> Any:
    """Leave the collected batches as they are."""
    return predictions
