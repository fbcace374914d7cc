"""What comes home from the workers: the parent's own objects get the state that those of the workers had at the end.

Nothing is replaced that the caller may hold: weights and optimizer state are loaded, the history and the callbacks are
filled, lists and dicts are filled in place. What cannot be pickled stays as it was before the fit.
"""

import io
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from compat import _evaluation, _ledger
from compat._distributed import dealing
from compat._distributed.gradients import unwrapped
from compat._distributed.luggage import pickler_class

__all__ = ["callbacks_of", "pack", "take_home"]

# What belongs to the process, or comes home by another way.
_STAYS = frozenset(
    {
        "_compat", "amp_scaler", "batch_model_feed_def", "callbacks", "callbacks_handler", "criterion", "ddp_handler",
        "ddp_rank", "ddp_training_mode", "device", "message_service", "model", "optimizer", "prediction_store",
        "test_loader", "train_history", "train_loader", "validation_loader",
    }
)  # fmt: skip
_OF_STATE = ("epoch_ran", "mean_losses", "last_update_skipped", "evaluation_drew")
_PLAIN = (bool, int, float, str, type(None))


class _StaysHereError(Exception):
    """Part of the value belongs to the worker's process."""


def callbacks_of(loop: Any, arguments: Sequence[Any]) -> list[Any]:
    """List the callbacks that the parent and its workers both know, in an order that is the same in both.

    Args:
        loop: The facade.
        arguments: The arguments of ``_spawn_fit`` after the first.
    """
    given = arguments[3]
    return [*loop.callbacks, *loop.callbacks_handler.callbacks_cache, *(given or [])]


def _owned(loop: Any, callbacks: Sequence[Any]) -> dict[str, Any]:
    """Name the objects that the parent has as well, so that they need not travel."""
    model = unwrapped(loop.model)
    owned = {
        "loop": loop,
        "model": model,
        **{
            name: getattr(loop, name)
            for name in ("optimizer", "criterion", "batch_model_feed_def", "validation_loader", "test_loader")
        },
        **{name: getattr(loop, name) for name in ("train_history", "message_service", "prediction_store")},
        **{name: getattr(loop, name) for name in ("callbacks_handler", "amp_scaler")},
        **{f"callback {index}": callback for index, callback in enumerate(callbacks)},
    }
    owned["train_loader"] = dealing.whole(loop.train_loader)
    for index, optimizer in enumerate(getattr(loop.optimizer, "optimizer_list", ())):
        owned[f"optimizer {index}"] = optimizer
    if isinstance(model, nn.Module):
        owned.update({f"module {name}": module for name, module in model.named_modules()})
        owned.update({f"parameter {name}": parameter for name, parameter in model.named_parameters()})
    return {name: thing for name, thing in owned.items() if thing is not None}


def _writer(loop: Any, callbacks: Sequence[Any]) -> Callable[[Any], bytes | None]:
    names = {id(thing): name for name, thing in _owned(loop, callbacks).items()}
    names[id(loop.model)] = "model"
    names[id(loop.train_loader)] = "train_loader"

    class Writer(pickler_class()):  # type: ignore[misc]  # pickle's, or cloudpickle's where that is installed
        def persistent_id(self, thing: Any) -> str | None:
            name = names.get(id(thing))
            if name is None and isinstance(thing, Dataset | DataLoader):
                raise _StaysHereError
            return name

    def written(value: Any) -> bytes | None:
        buffer = io.BytesIO()
        try:
            Writer(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(_on_cpu(value))
        # Whatever a user's `__reduce__` raises: what cannot be pickled stays behind.
        except Exception:  # noqa: BLE001
            return None
        return buffer.getvalue()

    return written


def _on_cpu(value: Any) -> Any:
    """Copy tensors on other devices to the CPU: the parent has them on devices of its own."""
    if isinstance(value, torch.Tensor) and value.device.type != "cpu":
        return value.cpu()
    if type(value) is dict:
        return {key: _on_cpu(entry) for key, entry in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_on_cpu, value))
    return value


def pack(loop: Any, callbacks: Sequence[Any], rank: int, local_rank: int) -> bytes:
    """Pack what a worker has to bring home.

    The first worker of a machine brings everything, another only the state of the callbacks that ran in it alone.

    Args:
        loop: The worker's facade.
        callbacks: What :func:`callbacks_of` listed at its start.
        rank: The worker's rank.
        local_rank: Its index on its machine.

    Returns:
        The bytes: tensors in them point into no process.
    """
    written = _writer(loop, callbacks)
    brings = {
        index: callback
        for index, callback in enumerate(callbacks)
        if callback.device_idx_execution == rank or (callback.device_idx_execution is None and local_rank == 0)
    }
    parcel: dict[str, Any] = {
        "callbacks": {index: _attributes(callback, written) for index, callback in brings.items()}
    }
    if local_rank == 0:
        parcel.update(_everything(loop, written))
    return pickle.dumps(parcel, protocol=pickle.HIGHEST_PROTOCOL)


def _everything(loop: Any, written: Callable[[Any], bytes | None]) -> dict[str, Any]:
    model = unwrapped(loop.model)
    return {
        "model": written(model.state_dict()),
        "plain": {name: _plain(module) for name, module in model.named_modules()},
        "optimizer": written(_state_of(loop.optimizer)),
        "criterion": written(_state_of(loop.criterion)),
        "scaler": written(loop.amp_scaler.state_dict()),
        "history": _attributes(loop.train_history, written),
        "messages": _attributes(loop.message_service, written),
        "loop": _attributes(loop, written, _STAYS),
        "state": {name: getattr(loop._compat, name) for name in _OF_STATE},
        "ledger": _ledger.entries(),
    }


def _attributes(thing: Any, written: Callable[[Any], bytes | None], leave: Iterable[str] = ()) -> dict[str, bytes]:
    packed = {name: written(value) for name, value in getattr(thing, "__dict__", {}).items() if name not in leave}
    return {name: data for name, data in packed.items() if data is not None}


def _plain(module: nn.Module) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if type(value) in _PLAIN}


def _state_of(thing: Any) -> Any:
    return thing.state_dict() if hasattr(thing, "state_dict") and hasattr(thing, "load_state_dict") else None


def take_home(loop: Any, callbacks: Sequence[Any], parcels: Mapping[int, bytes]) -> None:
    """Give the parent's objects the state that the workers bring.

    Args:
        loop: The parent's facade.
        callbacks: What :func:`callbacks_of` listed before the fit.
        parcels: What :func:`pack` returned in each worker of this machine, by rank.
    """
    owned = _owned(loop, callbacks)
    opened = {rank: pickle.loads(parcel) for rank, parcel in sorted(parcels.items())}
    for parcel in opened.values():
        for index, attributes in parcel["callbacks"].items():
            _fill(callbacks[index], attributes, owned)
    whole = next(parcel for parcel in opened.values() if "model" in parcel)
    _take_weights(loop, whole, owned)
    _fill(loop.train_history, whole["history"], owned)
    _fill(loop.message_service, whole["messages"], owned)
    _fill(loop, whole["loop"], owned)
    vars(loop._compat).update(whole["state"])
    loop.callbacks_handler.adopt(callbacks)
    _evaluation.to_device(loop)
    loop.model.train()
    _ledger.absorb(whole["ledger"])
    # Last, since a program may have made errors of warnings.
    for entry in whole["ledger"]:
        if entry.kind == "quirk":
            loop._compat.quirks.foretell(entry.feature, entry.detail)


def _take_weights(loop: Any, parcel: Mapping[str, Any], owned: Mapping[str, Any]) -> None:
    loop.model.load_state_dict(_read(parcel["model"], owned))
    for name, module in loop.model.named_modules():
        vars(module).update(parcel["plain"].get(name, {}))
    for thing, key in ((loop.optimizer, "optimizer"), (loop.criterion, "criterion"), (loop.amp_scaler, "scaler")):
        state = _read(parcel[key], owned) if parcel[key] is not None else None
        if state is not None:
            thing.load_state_dict(state)


class _Reader(pickle.Unpickler):
    def __init__(self, data: bytes, owned: Mapping[str, Any]) -> None:
        super().__init__(io.BytesIO(data))
        self._owned = owned

    def persistent_load(self, name: Any) -> Any:
        return self._owned[name]


def _read(data: bytes, owned: Mapping[str, Any]) -> Any:
    return _Reader(data, owned).load()


def _fill(thing: Any, attributes: Mapping[str, bytes], owned: Mapping[str, Any]) -> None:
    """Set attributes, as far as that can be done without replacing what the caller may hold too."""
    for name, data in attributes.items():
        vars(thing)[name] = _merged(vars(thing).get(name), _read(data, owned), set())


def _merged(old: Any, new: Any, seen: set[int]) -> Any:
    """Give an object the state of its copy.

    Args:
        old: The object.
        new: The copy, or anything else, which takes its place then.
        seen: The objects that were given theirs.

    Returns:
        The object; what takes its place if it cannot be changed.
    """
    if old is new or type(old) is not type(new) or id(old) in seen:
        return old if id(old) in seen else new
    seen.add(id(old))
    if isinstance(old, list):
        old[:] = [_merged(*pair, seen) for pair in zip(old, new, strict=False)] + new[len(old) :]
    elif isinstance(old, set):
        old.clear()
        old.update(new)
    elif isinstance(old, dict):
        merged = {key: _merged(old.get(key), value, seen) for key, value in new.items()}
        old.clear()
        old.update(merged)
    elif _has_plain_state(old):
        vars(old).update({name: _merged(vars(old).get(name), value, seen) for name, value in vars(new).items()})
    else:
        return new
    return old


def _has_plain_state(thing: Any) -> bool:
    """Tell whether all that an object is are its attributes: a result package is, a tensor or a function is not."""
    if not hasattr(thing, "__dict__") or isinstance(thing, type | torch.Tensor | nn.Module):
        return False
    kind: Any = type(thing)
    # Functions and the like say themselves how they are pickled.
    return kind.__reduce_ex__ is object.__reduce_ex__ and kind.__reduce__ is object.__reduce__
