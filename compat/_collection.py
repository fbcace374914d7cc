"""The predictions of batches, on their way to one result: moved to the CPU, and put together."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch

from compat._evaluation import Predictions, length_of, to_cpu
from compat.data import append_predictions, torch_cat_transf
from compat.exceptions import EmptyLoaderError
from compat.utils import combine_prediction_metadata_batches

__all__ = ["Moved", "collected", "rows_of"]


def collected(
    outputs: Iterable[tuple[Any, Any, Any]],
    collate: Callable[[Any, Any], Any],
    transform: Callable[[Any], Any],
    warn: Callable[[str], None],
    rows: int | None = None,
) -> Predictions:
    """Put the predictions of batches together.

    Args:
        outputs: Predictions, targets and metadata of each batch.
        collate: Adds a batch's values to what was collected, and returns that.
        transform: Turns what was collected into the result.
        warn: Called with the reason when metadata does not line up.
        rows: How many rows the result will have, if that is known.

    Returns:
        Predictions ``(N, ...)``, targets ``(N, ...)`` and metadata of all samples.

    Raises:
        EmptyLoaderError: There was no batch.
    """
    predictions, targets = (_collector(collate, transform, rows) for _ in range(2))
    metadata = _Metadata(rows)
    batches = 0
    for y_pred, y_true, batch_metadata in outputs:
        predictions.add(y_pred)
        targets.add(y_true)
        if batch_metadata is not None:
            metadata.add(batch_metadata)
        batches += 1
    if not batches:
        raise EmptyLoaderError("Cannot predict: the loader held no batch. At least one is needed.")
    reason = _misaligned(metadata.keys, batches)
    if reason:
        warn(reason)
    return predictions.result(), targets.result(), metadata.result()


def rows_of(loader: Any) -> int | None:
    """Count the samples that a loader will yield, as far as that is known without drawing any.

    Args:
        loader: A loader.
    """
    size, batches = getattr(loader, "batch_size", None), length_of(loader)
    samples = length_of(getattr(loader, "sampler", None))
    if not isinstance(size, int) or batches is None or samples is None:
        return None
    return min(samples, batches * size)


class _Collector:
    """Collects by the loop's own functions.

    Args:
        collate: Adds a batch's values to what was collected, and returns that.
        transform: Turns what was collected into the result.
    """

    def __init__(self, collate: Callable[[Any, Any], Any], transform: Callable[[Any], Any]) -> None:
        self._collate, self._transform = collate, transform
        self._collected: Any = []

    def add(self, values: Any) -> None:
        """Add a batch's values."""
        self._collected = self._collate(values, self._collected)

    def result(self) -> Any:
        """Return the result. What was collected is forgotten with it."""
        collected, self._collected = self._collected, None
        return self._transform(collected)


class _Rows(_Collector):
    """Does what collecting a list and joining it would do, without a second copy of everything at the end.

    The rows are written to where they belong as they come. Batches that do not fit together that way are collected in a
    list, and then it is torch's part to join them or to refuse.

    Args:
        rows: How many rows there will be.
        join: Joins the batches that do not fit.
    """

    def __init__(self, rows: int, join: Callable[[Any], Any] = torch_cat_transf) -> None:
        super().__init__(append_predictions, join)
        self._rows, self._filled = rows, 0
        self._table: torch.Tensor | None = None

    def add(self, values: Any) -> None:
        """Write a batch's rows to their place."""
        if self._table is None and not self._filled and _is_plain(values) and len(values) <= self._rows:
            self._table = values.new_empty((self._rows, *values.shape[1:]))
        end = self._filled + (len(values) if self._fits(values) else self._rows + 1)
        if self._table is not None and end <= self._rows:
            self._table[self._filled : end] = values
            self._filled = end
            return
        self._give_up()
        super().add(values)

    def result(self) -> Any:
        """Return all rows."""
        if self._table is not None and self._filled == self._rows:
            table, self._table = self._table, None
            return table
        self._give_up()
        return super().result()

    def _fits(self, values: Any) -> bool:
        table = self._table
        if table is None or not _is_plain(values):
            return False
        same_place = values.dtype == table.dtype and values.device == table.device
        return bool(same_place and values.shape[1:] == table.shape[1:])

    def _give_up(self) -> None:
        if self._table is not None:
            super().add(self._table[: self._filled])
            self._table = None
        # Also where there was no table: there is to be none from now on.
        self._filled = self._rows + 1


class _Metadata:
    """Does what ``combine_prediction_metadata_batches`` does with a list of all batches; tensors are rows here too.

    Args:
        rows: How many rows there will be, if that is known.

    Attributes:
        keys: The keys of each batch.
    """

    def __init__(self, rows: int | None) -> None:
        self.keys: list[tuple[Any, ...]] = []
        self._rows = rows
        self._batches: list[Any] = []
        self._tables: dict[Any, _Rows] = {}
        # Every key, in the order in which they came.
        self._order: dict[Any, None] = {}

    def add(self, entries: Any) -> None:
        """Add a batch's metadata."""
        self.keys.append(tuple(entries))
        if self._rows is None or type(entries) is not dict:
            self._order.update(dict.fromkeys(entries))
            self._batches.append(entries)
            return
        rest = {}
        for key, values in entries.items():
            if key not in self._order and _is_plain(values):
                self._tables[key] = _Rows(self._rows, torch.cat)
            self._order[key] = None
            if key in self._tables:
                self._tables[key].add(values)
            else:
                rest[key] = values
        if rest:
            self._batches.append(rest)

    def result(self) -> dict[str, Any]:
        """Return the metadata of all rows."""
        combined = combine_prediction_metadata_batches(self._batches)
        combined.update({key: table.result() for key, table in self._tables.items()})
        return {key: combined[key] for key in self._order}


def _is_plain(values: Any) -> bool:
    return type(values) is torch.Tensor and values.dim() > 0 and values.is_contiguous() and not values.is_sparse


def _collector(collate: Callable[[Any, Any], Any], transform: Callable[[Any], Any], rows: int | None) -> _Collector:
    if rows is not None and collate is append_predictions and transform is torch_cat_transf:
        return _Rows(rows)
    return _Collector(collate, transform)


def _misaligned(metadata: Sequence[Any], batches: int) -> str:
    """Say why the rows of the joined metadata do not line up with the predictions; nothing if they do."""
    keys = [tuple(sorted(map(str, entry))) for entry in metadata]
    if len(set(keys)) > 1:
        return "get_predictions returned metadata with different keys for different batches, so its rows do not line up"
    if 0 < len(metadata) < batches:
        return (
            f"get_predictions returned None for the metadata of {batches - len(metadata)} of {batches} batches, so the"
            " rows of the metadata do not line up with the predictions"
        )
    return ""


class Moved:
    """Predictions on their way over the CPU.

    Args:
        is_on: Whether they go there at all.
    """

    def __init__(self, is_on: bool) -> None:
        """Nothing has been on another device yet."""
        self._is_on = is_on
        self._came_from = (False, False)

    def away(self, outputs: Iterable[tuple[Any, Any, Any]]) -> Iterable[Any]:
        """Move each batch, and note where its predictions and targets were.

        Args:
            outputs: Predictions, targets and metadata of each batch.
        """
        if not self._is_on:
            return outputs
        return ((tuple(map(to_cpu, values)), tuple(map(_is_elsewhere, values[:2]))) for values in outputs)

    def back(self, outputs: Iterable[Any]) -> Iterator[tuple[Any, Any, Any]]:
        """Take the batches that :meth:`away` made, perhaps in other processes.

        Args:
            outputs: What it returned.
        """
        for output in outputs:
            if not self._is_on:
                yield output
                continue
            values, (predictions, targets) = output
            self._came_from = (self._came_from[0] or predictions, self._came_from[1] or targets)
            yield values

    def restored(self, results: Predictions, device: torch.device) -> Predictions:
        """Move what was on another device back there.

        Args:
            results: Predictions, targets and metadata of all batches.
            device: The loop's device.
        """
        moved = [
            value.to(device) if was_elsewhere and hasattr(value, "to") else value
            for value, was_elsewhere in zip(results, self._came_from, strict=False)
        ]
        return moved[0], moved[1], results[2]


def _is_elsewhere(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.device.type != "cpu"
