"""What comes home from the workers: the parent's own objects get the state that those of the workers had at the end.

Nothing is replaced that the caller may hold: weights, history, callbacks and what they hold are filled where they are.
What cannot be pickled stays as it was before the fit.
"""

import io
import pickle
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from compat import _evaluation, _ledger
from compat._distributed.gradients import unwrapped
from compat._distributed.graph import Change, Path, Things, fill, follow, kind_of
from compat._distributed.luggage import pickler_class

__all__ = ["callbacks_of", "pack", "take_home", "things_of"]

# What of the loop belongs to the process, or comes home by another way.
_STAYS = frozenset(
    {
        "_compat", "callbacks", "callbacks_handler", "ddp_handler", "ddp_rank", "ddp_training_mode", "device",
        "prediction_store", "test_loader", "train_loader", "validation_loader",
    }
)  # fmt: skip
_OF_STATE = ("epoch_ran", "updates", "mean_losses", "last_update_skipped", "evaluation_drew")


class _StaysHereError(Exception):
    """Part of the value belongs to the worker's process."""


def callbacks_of(loop: Any, arguments: Sequence[Any]) -> list[Any]:
    """List the callbacks that the parent and its workers both know, in an order that is the same in both.

    Args:
        loop: The facade.
        arguments: The arguments of ``_spawn_fit`` after the first.
    """
    given = arguments[3]
    handler = loop.callbacks_handler
    native = [*loop._compat.flags.callbacks, *handler.native_callbacks]
    return [*loop.callbacks, *native, *handler.callbacks_cache, *(given or [])]


def _roots(loop: Any, callbacks: Sequence[Any]) -> dict[str, Any]:
    return {"loop": loop, **{f"callback {index}": each for index, each in enumerate(callbacks)}, **_generators(loop)}


def _generators(loop: Any) -> dict[str, Any]:
    """Find the generators from which the loaders draw: the only thing in a loader that training changes."""
    found: dict[str, Any] = {}
    for name in ("train_loader", "validation_loader", "test_loader"):
        loader = getattr(loop, name)
        batches = getattr(loader, "batch_sampler", None)
        for owner in (loader, getattr(loader, "sampler", None), batches, getattr(batches, "sampler", None)):
            generator = getattr(owner, "generator", None)
            if isinstance(generator, torch.Generator):
                found[f"generator {len(found)}"] = generator
    return found


def _staying(loop: Any) -> dict[str, Any]:
    """Name what belongs to the process that has it; the parent has one of its own for each."""
    loaders = {name: getattr(loop, name) for name in ("train_loader", "validation_loader", "test_loader")}
    parts = {
        f"{name}.{part}": getattr(loader, part, None)
        for name, loader in loaders.items()
        for part in ("dataset", "sampler", "batch_sampler")
    }
    others = {"handler": loop.callbacks_handler, "predictions": loop.prediction_store, "listed": loop.callbacks}
    return {**loaders, **parts, **others, "state": loop._compat}


def things_of(loop: Any, callbacks: Sequence[Any]) -> Things:
    """Note what a worker has got, before it changes any of it.

    Args:
        loop: The worker's facade.
        callbacks: What :func:`callbacks_of` listed.
    """
    return Things(_roots(loop, callbacks), {"loop": _STAYS}, _staying(loop))


def pack(loop: Any, callbacks: Sequence[Any], things: Things, rank: int, local_rank: int) -> bytes:
    """Pack what a worker has to bring home.

    The first worker of a machine brings everything, another only what became of the callbacks that ran in it alone.

    Args:
        loop: The worker's facade.
        callbacks: What :func:`callbacks_of` listed at its start.
        things: What it had then.
        rank: The worker's rank.
        local_rank: Its index on its machine.

    Returns:
        The bytes: tensors in them point into no process.
    """
    things.alias(loop.model, unwrapped(loop.model))
    ran_here = [
        f"callback {index}"
        for index, callback in enumerate(callbacks)
        if (wanted := getattr(callback, "device_idx_execution", None)) == rank or (wanted is None and local_rank == 0)
    ]
    of_all = [name for name in things.roots if not name.startswith("callback ")] if local_rank == 0 else []
    changes = things.changes([*of_all, *ran_here])
    parcel: dict[str, Any] = {"changes": changes}
    if local_rank == 0:
        parcel["state"] = {name: getattr(loop._compat, name) for name in _OF_STATE}
        parcel["registered"] = [
            each
            for each in (*loop.callbacks, *loop.callbacks_handler.native_callbacks)
            if all(each is not one for one in loop._compat.of_this_fit)
        ]
        parcel["ledger"] = _ledger.entries()
        parcel["is_whole"] = True
    return _written(parcel, things)


def _written(parcel: dict[str, Any], things: Things) -> bytes:
    class Writer(pickler_class()):  # type: ignore[misc]  # pickle's, or cloudpickle's where that is installed
        def persistent_id(self, thing: Any) -> Path | None:
            path = things.path(thing)
            is_foreign = isinstance(thing, Dataset | DataLoader) or type(thing).__module__.startswith(_OF_PROCESS)
            if path is None and is_foreign and not isinstance(thing, type | Enum):
                raise _StaysHereError
            return path

        def reducer_override(self, thing: Any) -> Any:
            if isinstance(thing, torch.Tensor) and thing.device.type != "cpu":
                # The parent has it on a device of its own, or none at all.
                moved: Any = thing.detach().cpu()
                return moved.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
            other = getattr(super(), "reducer_override", None)
            return NotImplemented if other is None else other(thing)

    def written(value: Any) -> bytes | None:
        buffer = io.BytesIO()
        try:
            Writer(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
        # Whatever a user's `__reduce__` raises: what cannot be pickled stays behind.
        except Exception:  # noqa: BLE001
            return None
        return buffer.getvalue()

    whole = written(parcel)
    if whole is not None:
        return whole
    parcel["changes"] = [kept for change in parcel["changes"] if (kept := _without_unpicklable(change, written))]
    if "registered" in parcel:
        parcel["registered"] = [each for each in parcel["registered"] if written(each) is not None]
    rest = written(parcel)
    if rest is None:
        raise pickle.PicklingError("What the worker brings home cannot be pickled, though each part of it can.")
    return rest


# Where the classes are whose objects are of no use in another process.
_OF_PROCESS = ("lightning.", "multiprocessing.", "compat._lightning.", "compat._distributed.ranks")


def _without_unpicklable(change: Change, written: Any) -> Change | None:
    if written(change) is not None:
        return change
    if change.kind not in ("object", "dict"):
        return None
    values, gone = change.content if change.kind == "object" else (change.content, None)
    kept = {name: value for name, value in values.items() if written((name, value)) is not None}
    left = [name for name in values if name not in kept and written(name) is not None]
    return Change(change.path, change.kind, (kept, gone) if change.kind == "object" else kept, left)


class _Reader(pickle.Unpickler):
    def __init__(self, data: bytes, roots: Mapping[str, Any]) -> None:
        super().__init__(io.BytesIO(data))
        self._roots = roots

    def persistent_load(self, path: Any) -> Any:
        try:
            return follow(self._roots, path)
        except LookupError:
            # Something that only the copy had from its start, made when it was unpacked.
            return None


def take_home(loop: Any, callbacks: Sequence[Any], parcels: Mapping[int, bytes]) -> None:
    """Give the parent's objects the state that the workers bring. All is read before the first thing is changed.

    Args:
        loop: The parent's facade.
        callbacks: What :func:`callbacks_of` listed before the fit.
        parcels: What :func:`pack` returned in each worker of this machine, by rank.
    """
    roots = {**_staying(loop), **_roots(loop, callbacks)}
    opened = [_Reader(parcel, roots).load() for _, parcel in sorted(parcels.items())]
    # What both changed is as the first worker has it, so it comes last.
    opened.sort(key=lambda parcel: "is_whole" in parcel)
    every = [(_own(roots, change), change) for parcel in opened for change in parcel["changes"]]
    changes = [(thing, change) for thing, change in every if thing is not None]
    for thing, change in changes:
        fill(thing, change)
    whole = opened[-1]
    vars(loop._compat).update(whole["state"])
    _note_incomplete(loop, changes)
    elsewhere = [each for each in callbacks if getattr(each, "device_idx_execution", None) is not None]
    listed = {id(each) for each in whole["registered"]}
    loop.callbacks_handler.adopt([*whole["registered"], *(each for each in elsewhere if id(each) not in listed)])
    _evaluation.to_device(loop)
    loop.model.train()
    _ledger.absorb(whole["ledger"])
    # Last, since a program may have made errors of warnings.
    for entry in whole["ledger"]:
        if entry.kind == "quirk":
            loop._compat.quirks.foretell(entry.feature, entry.detail)


def _own(roots: Mapping[str, Any], change: Change) -> Any:
    """Return the parent's own of what has changed; ``None`` if it has none of that kind."""
    try:
        thing = follow(roots, change.path)
    except LookupError:
        return None
    return thing if kind_of(thing) == change.kind else None


def _note_incomplete(loop: Any, changes: Sequence[tuple[Any, Change]]) -> None:
    """Note the callbacks that lack something which could not come home: they are registered anew in the next fit."""
    lacking = [thing for thing, change in changes if change.kept]
    loop._compat.incomplete = [each for each in lacking if hasattr(each, "on_train_loop_registration")]
