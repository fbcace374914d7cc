"""Batches of questions about paragraphs."""

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from compat import ListDataset, qa_concat_ctx_span_collate_fn
from compat.exceptions import CompatError

Long = torch.LongTensor
EXPECTED = [[[1, 2, 3], [5, 0, 0]], [3, 1], [[4, 0], [6, 7]], [1, 2], [[0, 1], [2, 2]]]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param([(Long([1, 2, 3]), Long([4]), (0, 1)), (Long([5]), Long([6, 7]), (2, 2))], id="as in the old one"),
        pytest.param(
            [(Long([1, 2, 3]), Long([4]), Long([0, 1])), (Long([5]), Long([6, 7]), Long([2, 2]))], id="tensors"
        ),
        pytest.param([([1, 2, 3], [4], [0, 1]), ([5], [6, 7], [2, 2])], id="lists"),
    ],
)
def test_batch_is_padded_with_zeros_to_the_longest(data: Any) -> None:
    batch = qa_concat_ctx_span_collate_fn(data)
    assert type(batch) is tuple
    assert [part.tolist() for part in batch] == EXPECTED
    assert {part.dtype for part in batch} == {torch.int64}


def test_one_number_for_a_span() -> None:
    assert qa_concat_ctx_span_collate_fn([([1, 2], [3], 7)])[4].tolist() == [7]


def test_it_collates_for_a_loader() -> None:
    paragraphs, questions = [Long([1, 2, 3]), Long([5])], [Long([4]), Long([6, 7])]
    data = ListDataset(paragraphs, questions, [(0, 1), (2, 2)])
    (batch,) = DataLoader(data, batch_size=2, collate_fn=qa_concat_ctx_span_collate_fn)
    assert [part.tolist() for part in batch] == EXPECTED


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ([], "no sample"),
        ([([1], [2])], r"1 samples of \[2\] values"),
        ([([1], [2], [0, 1], 5)], r"1 samples of \[4\] values"),
        ([([1], [2], [0, 1]), ([1], [2], [0])], r"spans of different lengths: \[\[2\], \[1\]\]"),
    ],
)
def test_samples_that_are_no_triples_are_refused(data: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told) as caught:
        qa_concat_ctx_span_collate_fn(data)
    assert isinstance(caught.value, CompatError)


@pytest.mark.parametrize("data", [None, 3])
def test_what_is_no_list_is_refused_by_the_type_of_the_old_error(data: Any) -> None:
    with pytest.raises(TypeError, match="Pass a list of") as caught:
        qa_concat_ctx_span_collate_fn(data)
    assert isinstance(caught.value, CompatError)
