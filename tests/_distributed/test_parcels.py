"""What is packed on one rank is unpacked on another as it was, wherever its bytes travelled."""

import pickle
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compat._distributed.parcels import Parcel, pack, parcels, unpack

MIB = 1 << 20


@dataclass
class Labelled:
    label: str
    scores: Tensor


def delivered(parcel: Parcel) -> list[Any]:
    """Unpack a parcel as its receiver does: from copies of its bytes."""
    count, pickled, _, *_ = parcel.sizes()
    return unpack(count, pickled, parcel.body.clone(), [flat.clone() for flat in parcel.large])


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor(1.5),
        torch.arange(6).reshape(2, 3),
        torch.tensor([True, False]),
        torch.tensor([1.0, float("nan")], dtype=torch.bfloat16),
        torch.tensor([1 + 2j, 3 - 1j]).conj(),
        torch.empty(0, 3),
        torch.empty(2, 0, dtype=torch.int16),
        torch.arange(12.0).reshape(3, 4).T,
        torch.arange(12.0)[::5],
        torch.zeros(()).expand(4),
        torch.arange(400_000.0).reshape(2, -1),
        torch.eye(3).to_sparse(),
    ],
    ids=lambda tensor: f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)} {tensor.layout}",
)
def test_a_tensor_arrives_as_it_was(tensor: Tensor) -> None:
    (arrived,) = delivered(pack(tensor))
    assert arrived.dtype == tensor.dtype
    assert arrived.shape == tensor.shape
    assert arrived.layout == tensor.layout
    assert torch.equal(arrived.to_dense().resolve_conj().nan_to_num(7), tensor.to_dense().resolve_conj().nan_to_num(7))


@pytest.mark.parametrize(
    "array",
    [
        np.arange(5),
        np.arange(300_000.0).reshape(2, -1),
        np.asfortranarray(np.arange(300_000.0).reshape(2, -1)),
        np.broadcast_to(np.arange(300_000.0), (2, 300_000)),
        np.zeros(200_000, dtype=[("a", "i4"), ("b", "f8")]),
        np.full(200_000, np.datetime64("2020-02-03")),
        np.array(["x", None, [1]], dtype=object),
        np.array(["word"] * 100_000),
    ],
    ids=lambda array: f"{array.dtype} {array.shape}",
)
def test_an_array_arrives_as_it_was(array: Any) -> None:
    (arrived,) = delivered(pack(array))
    assert arrived.dtype == array.dtype
    assert arrived.shape == array.shape
    assert np.array_equal(arrived, array)
    assert arrived.flags.writeable


def test_other_things_arrive_with_the_tensors_inside_them() -> None:
    item = {"a": [Labelled("cat", torch.ones(3)), None], "b": (b"raw", torch.arange(300_000))}
    (arrived,) = delivered(pack(item))
    assert arrived["a"][0].label == "cat"
    assert torch.equal(arrived["a"][0].scores, torch.ones(3))
    assert arrived["b"][0] == b"raw"
    assert torch.equal(arrived["b"][1], torch.arange(300_000))


def test_a_parameter_stays_one_and_a_graph_stays_behind() -> None:
    weight = nn.Parameter(torch.ones(2))
    parameter, product = delivered(pack([weight, weight * 2]))[0]
    assert isinstance(parameter, nn.Parameter)
    assert product.tolist() == [2, 2]
    assert not product.requires_grad


def test_what_arrives_owns_its_memory() -> None:
    parcel = next(parcels([torch.arange(3.0), torch.arange(3.0), torch.zeros(MIB)], limit=100 * MIB))
    first, second, large = delivered(parcel)
    assert first.untyped_storage().nbytes() == 12
    first += 1
    assert second.tolist() == [0, 1, 2]
    assert large.untyped_storage().nbytes() == 4 * MIB


def test_a_large_tensor_is_sent_from_where_it_lies() -> None:
    large, array = torch.zeros(MIB), np.zeros(MIB)
    sent = pack((large, array)).large
    assert [flat.data_ptr() for flat in sent] == [large.data_ptr(), array.ctypes.data]


def test_one_piece_of_a_parcel_holds_all_of_it() -> None:
    item = [torch.tensor(2.0), torch.ones(MIB), "x", np.ones(MIB)]
    ((small, large, text, array),) = Parcel.from_bytes(pack(item).to_bytes())
    assert (small.item(), large.sum().item(), text, array.sum()) == (2.0, MIB, "x", MIB)


def test_items_share_parcels_up_to_the_limit_and_are_never_divided() -> None:
    items = [torch.zeros(250), torch.zeros(250), torch.zeros(5000), torch.zeros(1), "x"]
    packed = list(parcels(items, limit=2000))
    assert [len(parcel.items) for parcel in packed] == [2, 1, 2]
    assert [type(item).__name__ for parcel in packed for item in delivered(parcel)] == ["Tensor"] * 4 + ["str"]


def test_tiny_items_do_not_wait_for_ever() -> None:
    assert [len(parcel.items) for parcel in parcels(range(1100), limit=MIB)] == [512, 512, 76]
    assert list(parcels([], limit=MIB)) == []


def test_items_are_taken_when_they_are_needed_and_then_forgotten() -> None:
    made = []

    def source() -> Iterator[Tensor]:
        for number in range(4):
            made.append(number)
            yield torch.zeros(1000)

    packed = parcels(source(), limit=100)
    next(packed)
    assert made == [0]
    next(packed)
    assert made == [0, 1]


def from_a_notebook() -> Any:
    """Make an instance of a class that no module holds."""
    module = types.ModuleType("__main__")
    exec("class Cell:\n    def __init__(self, tensor): self.tensor = tensor", module.__dict__)
    return module.__dict__["Cell"](torch.ones(2))


def test_an_instance_of_a_class_from_a_notebook_arrives() -> None:
    pytest.importorskip("cloudpickle", reason="the extra is not installed")
    before, cell, after = (
        item
        for parcel in parcels([torch.zeros(1), from_a_notebook(), torch.ones(1)], MIB)
        for item in delivered(parcel)
    )
    assert type(cell).__name__ == "Cell"
    assert (before.tolist(), cell.tensor.tolist(), after.tolist()) == ([0], [1, 1], [1])


def test_without_cloudpickle_the_error_is_that_of_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    # What Python makes of a module that cannot be imported.
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises((pickle.PicklingError, AttributeError), match="Cell"):
        pack(from_a_notebook())
