"""Values on their way from one rank to the others: pickles, with the bytes of the tensors beside them.

A pickle of a tensor copies it twice and remembers its device. Here a tensor leaves the pickle (protocol 5, persistent
ids) and travels as plain bytes: a large one straight from where it lies to where it will lie, the small ones of a
parcel together. What arrives lies on the CPU, is no part of a graph, and owns its memory.
"""

import importlib
import io
import math
import mmap
import pickle
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Parcel", "Sealed", "pack", "parcels", "unpack"]

# A tensor of this many bytes or more is a message of its own.
_LARGE = 1 << 20
# A sealed piece of this many bytes or more is a mapping of its own.
_MAPPED = 64 << 10
# So many items at most share a parcel: those who wait for a slow producer see something from time to time.
_ITEMS = 512


@dataclass
class Parcel:
    """Some items, and the form in which they are sent.

    Attributes:
        count: How many items.
        items: The items themselves, as they were given; none once the parcel is sealed.
        body: The pickles of the items, one behind the other, then the bytes of the small tensors; `(bytes,)`.
        pickled: How many bytes of the body are pickles.
        large: The bytes of the large tensors; each `(bytes,)`, where possible the tensor's own memory.
    """

    count: int
    items: list[Any]
    body: Tensor
    pickled: int
    large: list[Tensor]

    def sizes(self) -> list[int]:
        """Return what a receiver has to know first: the number of items, then the sizes of all parts."""
        return [self.count, self.pickled, len(self.body), *map(len, self.large)]

    def contents(self) -> list[Any]:
        """Return the items, as the others get them if the parcel is sealed."""
        return self.items or unpack(self.count, self.pickled, self.body, self.large)

    def to_bytes(self) -> bytes:
        """Return the parcel in one piece; meant for small ones."""
        pieces = [flat.numpy().tobytes() for flat in (self.body, *self.large)]
        return pickle.dumps((self.count, self.pickled, pieces), protocol=5)

    @staticmethod
    def from_bytes(data: bytes) -> list[Any]:
        """Return the items of a parcel of which :meth:`to_bytes` made one piece."""
        count, pickled, pieces = pickle.loads(data)
        body, *large = (_flat(bytearray(piece)) for piece in pieces)
        return unpack(count, pickled, body, large)


def parcels(items: Iterable[Any], limit: int) -> Iterator[Parcel]:
    """Pack items as they come, several into one parcel.

    Args:
        items: The items; taken one at a time, and forgotten together with their parcel.
        limit: A parcel that has reached this many bytes is closed. An item is never divided.

    Yields:
        The parcels, none of them empty.
    """
    packer = _Packer()
    for item in items:
        packer.add(item)
        if packer.size >= limit or len(packer.items) >= _ITEMS:
            full, packer = packer, _Packer()
            # The item is the packer's alone: what is large must not live on in a variable of ours.
            del item
            yield full.close()
            del full
    if packer.items:
        yield packer.close()


class Sealed:
    """Items that have been packed already, and not kept: a few large pieces of memory in place of many small ones.

    The pieces are mappings of their own, so that the system gets each back when it has been sent. What is freed on the
    heap stays with the process, and would add up to the whole share.

    Args:
        items: The items.
        limit: See :func:`parcels`.
    """

    def __init__(self, items: Iterable[Any], limit: int) -> None:
        self._parcels: list[Parcel] = []
        for parcel in parcels(items, limit):
            parcel.items = []
            parcel.body, parcel.large = _mapped(parcel.body), [_mapped(flat) for flat in parcel.large]
            self._parcels.append(parcel)

    def drained(self) -> Iterator[Parcel]:
        """Yield the parcels, and forget each."""
        self._parcels.reverse()
        while self._parcels:
            yield self._parcels.pop()


def pack(value: Any) -> Parcel:
    """Pack one value."""
    packer = _Packer()
    packer.add(value)
    return packer.close()


def unpack(count: int, pickled: int, body: Tensor, large: list[Tensor]) -> list[Any]:
    """Return the items of a parcel that arrived.

    Args:
        count: The number of items.
        pickled: How many bytes of the body are pickles.
        body: The body; `(bytes,)`.
        large: The bytes of the large tensors; each `(bytes,)`. They become the memory of the tensors.
    """
    stream = io.BytesIO(body[:pickled].numpy().tobytes())
    return [_Unpickler(stream, body[pickled:], large).load() for _ in range(count)]


class _Packer:
    """A parcel that is being filled."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.size = 0
        self._pickles: list[bytes] = []
        self._small: list[Tensor] = []
        self._small_size = 0
        self._large: list[Tensor] = []

    def add(self, item: Any) -> None:
        before = len(self._small), self._small_size, len(self._large)
        try:
            data = self._dump(_Pickler, item)
        except (pickle.PicklingError, AttributeError, TypeError):
            by_value = _pickler_by_value()
            if by_value is None:
                raise
            # What the attempt that failed put aside is no part of the parcel.
            del self._small[before[0] :], self._large[before[2] :]
            self._small_size = before[1]
            data = self._dump(by_value, item)
        self._pickles.append(data)
        self.items.append(item)
        self.size += len(data) + self._small_size - before[1] + sum(map(len, self._large[before[2] :]))

    def put_aside(self, flat: Tensor) -> tuple[bool, int, int]:
        """Take the bytes of a tensor into the parcel, and tell where they are in it."""
        size = len(flat)
        if size >= _LARGE:
            self._large.append(flat)
            return True, len(self._large) - 1, size
        self._small.append(flat)
        self._small_size += size
        return False, self._small_size - size, size

    def close(self) -> Parcel:
        pickles = bytearray().join(self._pickles)
        return Parcel(len(self.items), self.items, torch.cat([_flat(pickles), *self._small]), len(pickles), self._large)

    def _dump(self, kind: Any, item: Any) -> bytes:
        stream = io.BytesIO()
        pickler = kind(stream, protocol=5)
        pickler.packer = self
        pickler.dump(item)
        return stream.getvalue()


class _TensorsAside:
    """What a pickler does with tensors."""

    packer: _Packer

    def persistent_id(self, thing: Any) -> Any:
        if type(thing) is Tensor:
            if thing.layout is torch.strided and not thing.is_nested and not thing.is_quantized and not thing.is_meta:
                plain = thing.detach().cpu().resolve_conj().resolve_neg()
                flat = plain.contiguous().reshape(-1).view(torch.uint8)
                return "tensor", thing.dtype, tuple(thing.shape), *self.packer.put_aside(flat)
        elif type(thing) is np.ndarray and thing.nbytes >= _LARGE and not thing.dtype.hasobject:
            # torch takes no memory that must not be written.
            ordered = np.require(thing, requirements=["C", "W"])
            flat = torch.from_numpy(ordered.reshape(-1).view(np.uint8))
            return "array", thing.dtype, thing.shape, *self.packer.put_aside(flat)
        if isinstance(thing, Tensor) and thing.device.type not in ("cpu", "meta"):
            return "moved", thing.detach().cpu()
        return None


class _Pickler(_TensorsAside, pickle.Pickler):
    pass


def _pickler_by_value() -> Any:
    """Return a pickler that also takes instances of classes from a notebook, if cloudpickle is installed.

    Such a class reached all ranks in one and the same pickle, so they agree on what it is.
    """
    try:
        cloudpickle = importlib.import_module("cloudpickle")
    except ImportError:
        return None
    return type("_PicklerByValue", (_TensorsAside, cloudpickle.Pickler), {})


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, small: Tensor, large: list[Tensor]) -> None:
        super().__init__(stream)
        self._small, self._large = small, large

    def persistent_load(self, pid: Any) -> Any:
        kind, *told = pid
        if kind == "moved":
            return told[0]
        dtype, shape, is_large, at, size = told
        # A clone: one small tensor must not keep the whole message in memory.
        flat = self._large[at] if is_large else self._small[at : at + size].clone()
        if kind == "array":
            return flat.numpy().view(dtype).reshape(shape)
        # The number of elements is told as well: -1 is ambiguous where there are none.
        return flat.view(dtype).reshape(math.prod(shape)).reshape(shape)


def _mapped(flat: Tensor) -> Tensor:
    """Copy bytes into a mapping of their own, if they are enough to fill a few pages."""
    if len(flat) < _MAPPED:
        return flat
    copied = torch.frombuffer(mmap.mmap(-1, len(flat)), dtype=torch.uint8)
    return copied.copy_(flat)


def _flat(data: bytearray) -> Tensor:
    return torch.frombuffer(data, dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)
