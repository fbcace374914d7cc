"""Predictions put together: what torch.cat would give, without a second copy of everything."""

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, WeightedRandomSampler

from compat._collection import Moved, collected, rows_of
from compat.data import append_predictions, torch_cat_transf
from compat.exceptions import EmptyLoaderError
from compat.utils import combine_prediction_metadata_batches


def outputs(*batches: Any) -> list[tuple[Any, Any, Any]]:
    return [(batch, batch, None) for batch in batches]


def put_together(batches: list[tuple[Any, Any, Any]], rows: int | None, **functions: Any) -> Any:
    collate = functions.get("collate", append_predictions)
    transform = functions.get("transform", torch_cat_transf)
    return collected(batches, collate, transform, pytest.fail, rows)


FITTING = {
    "even": [torch.arange(4.0).reshape(2, 2), torch.arange(4.0).reshape(2, 2) + 9],
    "a short last batch": [torch.arange(3), torch.arange(1)],
    "an empty batch": [torch.ones(2, 3), torch.ones(0, 3), torch.zeros(1, 3)],
    "more rows than samples": [torch.ones(4), torch.zeros(9)],
    "fewer rows than samples": [torch.ones(1), torch.zeros(1)],
    "another type": [torch.ones(2), torch.ones(2, dtype=torch.float64)],
    "another order in memory": [torch.arange(6.0).reshape(2, 3).t(), torch.arange(6.0).reshape(3, 2)],
    "bool": [torch.tensor([True, False]), torch.tensor([True])],
    "channels last": [torch.ones(2, 3, 4, 4).to(memory_format=torch.channels_last), torch.ones(2, 3, 4, 4)],
}


@pytest.mark.parametrize("rows", [None, 0, 1, 2, 3, 4, 100])
@pytest.mark.parametrize("batches", FITTING.values(), ids=FITTING)
def test_the_result_is_that_of_torch_cat_whatever_the_number_of_rows(
    batches: list[torch.Tensor], rows: int | None
) -> None:
    expected = torch.cat(batches)
    for result in put_together(outputs(*batches), rows)[:2]:
        assert torch.equal(result, expected)
        assert (result.dtype, result.shape, result.stride()) == (expected.dtype, expected.shape, expected.stride())


@pytest.mark.parametrize(
    "batches", [[torch.tensor(1.0), torch.tensor(2.0)], [torch.ones(2, 3), torch.ones(2, 4)], [[1], [2]], ["a"]]
)
def test_what_cannot_be_joined_is_refused_the_same_way(batches: list[Any]) -> None:
    with pytest.raises((RuntimeError, TypeError)) as theirs:
        torch_cat_transf(batches)
    with pytest.raises(theirs.type) as ours:
        put_together(outputs(*batches), 4)
    assert str(ours.value) == str(theirs.value)


def test_functions_of_the_programs_own_get_every_batch() -> None:
    seen = []

    def collate(values: Any, collection: list[Any]) -> list[Any]:
        seen.append(values)
        return [*collection, values]

    result = put_together(outputs(torch.ones(2), torch.zeros(1)), 3, collate=collate, transform=len)
    assert result[:2] == (2, 2)
    assert len(seen) == 4


def test_a_batch_may_be_changed_after_it_was_given() -> None:
    batch = torch.ones(2)

    def changing() -> Any:
        yield batch, batch.clone(), None
        batch.zero_()
        yield torch.ones(1), torch.ones(1), None

    # A row of a list would have changed with it.
    assert put_together(list(outputs(torch.ones(2), torch.ones(1))), 3)[0].tolist() == [1, 1, 1]
    assert collected(changing(), append_predictions, torch_cat_transf, pytest.fail, 3)[0].tolist() == [1, 1, 1]


def test_no_batch_is_an_error() -> None:
    with pytest.raises(EmptyLoaderError, match="no batch"):
        put_together([], 3)


def test_a_result_of_known_size_is_written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    joined, cat = [], torch.cat

    def counting(*args: Any, **named: Any) -> Any:
        joined.append(args)
        return cat(*args, **named)

    monkeypatch.setattr(torch, "cat", counting)
    batches = outputs(torch.ones(2), torch.ones(1))
    put_together(batches, None)
    assert len(joined) == 2
    put_together(batches, 3)
    assert len(joined) == 2


METADATA = {
    "tensors": [{"a": torch.ones(2), "b": torch.ones(2, 3)}, {"a": torch.zeros(1), "b": torch.zeros(1, 3)}],
    "every kind": [
        {"l": ["x", "y"], "t": torch.ones(2), "n": np.ones(2)},
        {"l": ["z"], "t": torch.ones(1), "n": np.ones(1)},
    ],
    "no dict": [OrderedDict(t=torch.ones(2)), {"t": torch.ones(1), "l": [1]}],
    "a tensor later": [{"t": torch.ones(2)}, {"t": torch.ones(1), "u": torch.ones(1)}],
    "more rows than samples": [{"t": torch.ones(5)}, {"t": torch.ones(5)}],
    "nothing": [{}, {}],
}


@pytest.mark.parametrize("rows", [None, 1, 3, 10])
@pytest.mark.parametrize("batches", METADATA.values(), ids=METADATA)
def test_metadata_are_joined_as_a_list_of_them_would_be(batches: list[Any], rows: int | None) -> None:
    expected = combine_prediction_metadata_batches(batches)
    given = [(torch.ones(1), torch.ones(1), entries) for entries in batches]
    result = collected(given, append_predictions, torch_cat_transf, lambda reason: None, rows)[2]
    assert list(result) == list(expected)
    for key, values in expected.items():
        assert type(result[key]) is type(values)
        if isinstance(values, list):
            assert result[key] == values
        else:
            assert np.array_equal(result[key], values)


@pytest.mark.parametrize("rows", [None, 3])
@pytest.mark.parametrize("later", [[1], np.ones(1), "x"])
def test_metadata_of_mixed_kinds_are_refused_the_same_way(later: Any, rows: int | None) -> None:
    batches = [{"t": torch.ones(2)}, {"t": later}]
    with pytest.raises(TypeError) as theirs:
        combine_prediction_metadata_batches(batches)
    given = [(torch.ones(1), torch.ones(1), entries) for entries in batches]
    with pytest.raises(TypeError) as ours:
        collected(given, append_predictions, torch_cat_transf, pytest.fail, rows)
    assert str(ours.value) == str(theirs.value)


class Stream(IterableDataset[int]):
    def __iter__(self) -> Any:
        return iter(range(3))


@pytest.mark.parametrize(
    ("loader", "rows"),
    [
        (DataLoader(TensorDataset(torch.ones(5)), batch_size=2), 5),
        (DataLoader(TensorDataset(torch.ones(5)), batch_size=2, drop_last=True), 4),
        (DataLoader(TensorDataset(torch.ones(5)), batch_size=2, sampler=WeightedRandomSampler([1.0] * 5, 3)), 3),
        (DataLoader(TensorDataset(torch.ones(5)), batch_size=None), None),
        (DataLoader(Stream(), batch_size=2), None),
        ([torch.ones(2)], None),
        (None, None),
    ],
)
def test_rows_are_counted_where_they_are_known(loader: Any, rows: int | None) -> None:
    assert rows_of(loader) == rows


def test_what_was_on_the_cpu_stays_there() -> None:
    moved = Moved(is_on=True)
    batches = outputs(torch.ones(2), torch.ones(1))
    assert [each[0].tolist() for each in moved.back(moved.away(batches))] == [[1, 1], [1]]
    results: Any = (torch.ones(1), torch.ones(1), {})
    assert moved.restored(results, torch.device("meta"))[0].device.type == "cpu"


def test_what_was_elsewhere_goes_back_there() -> None:
    moved = Moved(is_on=True)
    # Another process says where its predictions were.
    told: list[Any] = [((torch.ones(2), torch.ones(2), {}), (True, False))]
    assert len(list(moved.back(told))) == 1
    y_pred, y_true, _ = moved.restored((torch.ones(2), torch.ones(2), {}), torch.device("meta"))
    assert (y_pred.device.type, y_true.device.type) == ("meta", "cpu")


def test_nothing_is_touched_where_nothing_is_to_be_moved() -> None:
    moved = Moved(is_on=False)
    batches = outputs(torch.ones(2))
    assert moved.away(batches) is batches
    assert list(moved.back(batches)) == batches
