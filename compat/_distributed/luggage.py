"""What goes to the worker processes: pickled by value, in memory that all of them read and nobody copies.

One pickle holds everything, so objects that know each other still do when they arrive: the optimizer's parameters are
the model's, the scheduler's optimizer is the optimizer, the validation set is a subset of the same data. The bytes of
tensors and arrays lie beside the pickle in an anonymous file that each worker maps copy-on-write: a data set exists
once more for all workers together, and yet what a worker changes, it alone sees. Weights, buffers and the state of an
optimizer are copied out of it, for they will be written and may be resized.

What multiprocessing itself must hand to a new process (locks, queues, a tensor that the user put in shared memory)
travels beside the pickle.
"""

import ctypes
import importlib
import io
import itertools
import mmap
import multiprocessing.connection
import multiprocessing.queues
import multiprocessing.reduction
import multiprocessing.sharedctypes
import multiprocessing.synchronize
import os
import pickle
import sys
import tempfile
import types
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import nn
from torch.storage import TypedStorage, UntypedStorage
from torch.utils.data import DataLoader

from compat._distributed.culprit import explained
from compat.exceptions import UnpicklableError

__all__ = ["Luggage", "is_interactive", "pack", "pickler_class"]

# Smaller arrays stay in the pickle, smaller storages are copied out of the map: less work than to keep them apart.
_SMALL_ARRAY = 1 << 16
_SMALL_STORAGE = 1 << 20
# Where the bytes of a tensor may begin; what torch itself allocates is aligned like this.
_ALIGNMENT = 64
_PROTOCOL = 5

# What can only be given to a process while it is started; values of ctypes only if they lie in shared memory.
_INHERITED = (
    multiprocessing.connection.Connection,
    multiprocessing.queues.Queue,
    multiprocessing.queues.SimpleQueue,
    multiprocessing.sharedctypes.SynchronizedBase,
    multiprocessing.synchronize.Barrier,
    multiprocessing.synchronize.Condition,
    multiprocessing.synchronize.SemLock,
)
_CTYPES = (ctypes.Array, ctypes.Structure, ctypes.Union, ctypes.c_int.__mro__[1])


class _Block:
    """An anonymous file in memory: written here, inherited by a worker, and mapped there copy-on-write."""

    def __init__(self, descriptor: int | None = None) -> None:
        if descriptor is None:
            descriptor = _anonymous_file()
        self._descriptor = descriptor
        self.close = weakref.finalize(self, os.close, descriptor)

    def writer(self) -> BinaryIO:
        """Open the file to fill it."""
        return os.fdopen(os.dup(self._descriptor), "wb", buffering=1 << 20)

    def mapped(self) -> mmap.mmap:
        """Map the file; what is written into the map stays in this process."""
        return mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_COPY)

    def __reduce__(self) -> tuple[Callable[..., "_Block"], tuple[Any]]:
        return _received, (multiprocessing.reduction.DupFd(self._descriptor),)


def _received(handle: Any) -> _Block:
    return _Block(handle.detach())


def _anonymous_file() -> int:
    if hasattr(os, "memfd_create"):
        # In memory, but not in /dev/shm, which is small in containers.
        return os.memfd_create("compat-luggage")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class Luggage:
    """A packed value. Given to a worker as an argument it costs nothing but two file descriptors.

    Args:
        stream: The pickle.
        values: The bytes of tensors and arrays.
        places: Where in ``values`` the arrays lie: first byte, size, and whether they are read-only.
        inherited: What multiprocessing hands over itself.
    """

    def __init__(
        self, stream: _Block, values: _Block, places: list[tuple[int, int, bool]], inherited: list[Any]
    ) -> None:
        self._stream, self._values, self._places, self._inherited = stream, values, places, inherited

    def unpack(self) -> Any:
        """Build the value anew; nothing of it is shared with the process that packed it.

        Raises:
            UnpicklableError: If a class or function of the program is not to be found in this process.
        """
        view = memoryview(self._values.mapped())
        with self._stream.mapped() as stream:
            return _Unpacker(stream, view, self._buffers(view), self._inherited).load()

    def _buffers(self, view: memoryview) -> list[memoryview]:
        buffers = [(view[start : start + size], read_only) for start, size, read_only in self._places]
        return [buffer.toreadonly() if read_only else buffer for buffer, read_only in buffers]

    def close(self) -> None:
        """Give the memory back; what was unpacked keeps what it uses."""
        self._stream.close()
        self._values.close()


def pack(value: Any) -> Luggage:
    """Pack a value for the workers.

    Plain pickle is tried first. Where it fails, or where parts of an interactive session are in the value (a notebook's
    classes are in no file that a worker could import), cloudpickle is used.

    Args:
        value: Any object. A dict with names as its keys makes the best error messages.

    Raises:
        UnpicklableError: If something in it cannot be pickled. The message says where it is, what it is, and what
            to do.
    """
    try:
        return _packed(value, _Packer)
    # Whatever a user's `__reduce__` or `__getstate__` raises.
    except Exception as plain:
        stronger = _cloud_packer()
        if stronger is None:
            raise explained(value, plain, _pickles_with(_Packer), cloudpickle=False) from plain
    try:
        return _packed(value, stronger)
    except Exception as error:
        raise explained(value, error, _pickles_with(stronger), cloudpickle=True) from error


def pickler_class() -> type[pickle.Pickler]:
    """Return the pickler that gets furthest here, to derive from: cloudpickle's if it is installed, or pickle's."""
    return _cloud_pickler() or pickle.Pickler


def _packed(value: Any, packer: "type[_Hooks]") -> Luggage:
    stream, values = _Block(), _Block()
    with stream.writer() as pickled, values.writer() as beside:
        # An empty file cannot be mapped.
        beside.write(bytes(_ALIGNMENT))
        writer = packer(pickled, beside)
        writer.dump(value)
    return Luggage(stream, values, writer.places, writer.inherited)


def _pickles_with(packer: "type[_Hooks]") -> Callable[[Any], Exception | None]:
    """Return a trial: the error that packing something ends in, ``None`` if there is none."""

    def trial(value: Any) -> Exception | None:
        with _Nowhere() as nowhere:
            try:
                packer(nowhere, nowhere).dump(value)
            except Exception as error:  # noqa: BLE001 - the error is the answer
                return error
        return None

    return trial


class _Nowhere(io.BytesIO):
    """A file that forgets what is written to it."""

    def write(self, data: Any) -> int:
        return memoryview(data).nbytes


class _Hooks(pickle.Pickler):
    """What is pickled otherwise than pickle does it, whichever pickler is below."""

    def __init__(self, pickled: Any, beside: Any) -> None:
        super().__init__(pickled, protocol=_PROTOCOL, buffer_callback=self._beside)
        self.places: list[tuple[int, int, bool]] = []
        self.inherited: list[Any] = []
        self._file = beside
        self._end = _ALIGNMENT
        self._numbers = itertools.count()
        # By the address of the storage, with the storage itself, so that no other one gets that address meanwhile.
        self._storages: dict[int, tuple[tuple[Any, ...], UntypedStorage]] = {}
        self._owned: set[int] = set()
        self._kinds: dict[type, Callable[[Any], Any] | None] = {}

    def persistent_id(self, thing: Any) -> Any:
        kind = type(thing)
        try:
            handle = self._kinds[kind]
        except KeyError:
            handle = self._kinds[kind] = self._handler(kind)
        return None if handle is None else handle(thing)

    def _handler(self, kind: type) -> Callable[[Any], Any] | None:
        if issubclass(kind, TypedStorage | UntypedStorage):
            return self._storage
        if issubclass(kind, _INHERITED):
            return self._inherit
        if issubclass(kind, nn.Parameter):
            return self._own_parameter
        if issubclass(kind, nn.Module):
            return self._own_module
        if issubclass(kind, torch.optim.Optimizer):
            return self._own_optimizer
        return self._ctype if issubclass(kind, _CTYPES) else None

    def _storage(self, storage: Any) -> tuple[Any, ...]:
        dtype = storage.dtype if isinstance(storage, TypedStorage) else None
        untyped = storage._untyped_storage if isinstance(storage, TypedStorage) else storage
        address = untyped._cdata
        if address not in self._storages:
            self._storages[address] = (self._carried(untyped), untyped)
        return ("storage", dtype, *self._storages[address][0])

    def _carried(self, storage: UntypedStorage) -> tuple[Any, ...]:
        """Return a number, the place of the bytes, the device, and whether they are to be copied out of the map."""
        number, on_cpu = next(self._numbers), storage.device.type == "cpu"
        owned = storage._cdata in self._owned
        if on_cpu and storage.is_shared() and not owned:
            return (number, *self._inherit(storage))
        here = storage if on_cpu else storage.cpu()  # type: ignore[no-untyped-call]
        size = here.nbytes()
        start = self._write(torch.empty(0, dtype=torch.uint8).set_(here).numpy()) if size else 0
        return number, start, size, str(storage.device), owned or size < _SMALL_STORAGE

    def _beside(self, buffer: pickle.PickleBuffer) -> bool:
        """Take a buffer that pickle offers to leave out; ``True`` gives it back."""
        raw = buffer.raw()
        if raw.nbytes < _SMALL_ARRAY:
            return True
        self.places.append((self._write(raw), raw.nbytes, raw.readonly))
        return False

    def _write(self, data: Any) -> int:
        start = self._end
        size = memoryview(data).nbytes
        self._file.write(data)
        padding = -size % _ALIGNMENT
        self._file.write(bytes(padding))
        self._end += size + padding
        return start

    def _inherit(self, thing: Any) -> tuple[str, int]:
        for index, known in enumerate(self.inherited):
            if known is thing:
                return "inherited", index
        self.inherited.append(thing)
        return "inherited", len(self.inherited) - 1

    def _ctype(self, thing: Any) -> tuple[str, int] | None:
        # What `multiprocessing.RawValue` and its like make knows the shared memory that it lies in.
        return self._inherit(thing) if hasattr(thing, "_wrapper") else None

    def _own_parameter(self, parameter: nn.Parameter) -> None:
        self._own([parameter])

    def _own_module(self, module: nn.Module) -> None:
        self._own(itertools.chain(module.parameters(recurse=False), module.buffers(recurse=False)))

    def _own_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        for state in optimizer.state.values():
            self._own(value for value in state.values() if isinstance(value, torch.Tensor))

    def _own(self, tensors: Iterable[torch.Tensor]) -> None:
        for tensor in tensors:
            if tensor.layout is torch.strided and tensor.device.type != "meta":
                self._owned.add(tensor.untyped_storage()._cdata)

    def reducer_override(self, thing: Any) -> Any:
        if isinstance(thing, DataLoader) and thing.__dict__.get("_iterator") is not None:
            return _without_iterator(thing)
        if isinstance(thing, torch.Generator):
            return _generator, (str(thing.device), thing.get_state())
        return NotImplemented


class _Packer(_Hooks):
    """Plain pickle. It refuses what a worker could not import."""

    def reducer_override(self, thing: Any) -> Any:
        if isinstance(thing, type | types.FunctionType) and thing.__module__ == "__main__" and is_interactive():
            raise pickle.PicklingError(f"{thing.__qualname__} is defined in an interactive session, not in a file")
        return super().reducer_override(thing)


def _cloud_pickler() -> type[pickle.Pickler] | None:
    """Derive from cloudpickle's pickler one that leaves to plain pickle what a worker finds in the program's file."""
    try:
        # An extra, and without annotations.
        base: Any = importlib.import_module("cloudpickle").Pickler
    except ModuleNotFoundError:
        return None

    class CloudPickler(base):  # type: ignore[misc]
        def reducer_override(self, thing: Any) -> Any:
            # Else it would send all of `__main__` by value, and a worker would hold two classes of one name.
            if isinstance(thing, type | types.FunctionType) and _is_in_the_program(thing):
                return NotImplemented
            return super().reducer_override(thing)

    return CloudPickler


def _cloud_packer() -> type[_Hooks] | None:
    below: Any = _cloud_pickler()
    if below is None:
        return None

    class CloudPacker(_Hooks, below):  # type: ignore[misc]
        def reducer_override(self, thing: Any) -> Any:
            reduced = _Hooks.reducer_override(self, thing)
            return below.reducer_override(self, thing) if reduced is NotImplemented else reduced

    return CloudPacker


def is_interactive() -> bool:
    """Tell whether a worker cannot import the program: a notebook, a prompt, ``python -c``, a program on stdin."""
    main = sys.modules["__main__"]
    if getattr(main, "__spec__", None) is not None:
        return False
    file = getattr(main, "__file__", None)
    # The file of a program that is read from stdin is called `<stdin>`.
    return file is None or not Path(file).exists()


def _is_in_the_program(thing: Any) -> bool:
    if thing.__module__ != "__main__" or is_interactive():
        return False
    found: Any = sys.modules["__main__"]
    for name in thing.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is thing


def _without_iterator(loader: DataLoader[Any]) -> tuple[Any, ...]:
    """Reduce a loader whose worker processes run; they stay with this process."""
    reduced = loader.__reduce_ex__(_PROTOCOL)
    if not isinstance(reduced, tuple) or len(reduced) < 3 or not isinstance(reduced[2], dict):
        return reduced  # type: ignore[return-value]  # the user's own way
    return *reduced[:2], {**reduced[2], "_iterator": None}, *reduced[3:]


def _generator(device: str, state: torch.Tensor) -> torch.Generator:
    generator = torch.Generator(device)
    generator.set_state(state)
    return generator


class _Unpacker(pickle.Unpickler):
    """The other end of the packers."""

    def __init__(self, stream: Any, view: memoryview, buffers: list[memoryview], inherited: list[Any]) -> None:
        super().__init__(stream, buffers=buffers)
        self._view, self._inherited = view, inherited
        self._storages: dict[int, UntypedStorage] = {}

    def persistent_load(self, pid: Any) -> Any:
        if pid[0] == "inherited":
            return self._inherited[pid[1]]
        _, dtype, number, *place = pid
        if number not in self._storages:
            self._storages[number] = self._inherited[place[1]] if place[0] == "inherited" else self._storage(*place)
        untyped = self._storages[number]
        if dtype is None:
            return untyped
        return TypedStorage(wrap_storage=untyped, dtype=dtype, _internal=True)  # type: ignore[no-untyped-call]

    def _storage(self, start: int, size: int, device: str, copied: bool) -> UntypedStorage:
        if not size:
            storage = UntypedStorage(0)  # type: ignore[no-untyped-call]
        else:
            array = np.frombuffer(self._view, dtype=np.uint8, count=size, offset=start)
            flat = torch.from_numpy(array)
            storage = (flat.clone() if copied and device == "cpu" else flat).untyped_storage()
        return storage if device == "cpu" else storage.to(device=torch.device(device))

    def find_class(self, module: str, name: str) -> Any:
        try:
            return super().find_class(module, name)
        except AttributeError as error:
            if module != "__main__":
                raise
            raise UnpicklableError(
                f"The worker process imported the program and found no {name!r} in it. What the workers are to know "
                f"must be defined at the top of the program or in a module, not under `if __name__ == '__main__':` "
                f"or by running other code."
            ) from error
