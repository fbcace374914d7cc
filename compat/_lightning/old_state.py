"""What a Lightning checkpoint holds of an old callback: plain values and tensors, which can be loaded without trust."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from compat.callbacks.abstract import AbstractCallback

__all__ = ["attributes_of", "plain", "restore", "state_of_callback"]

_MISSING = object()


def plain(value: Any) -> Any:
    """Turn a value into plain ones.

    Args:
        value: Anything.

    Returns:
        Numbers, strings, ``None``, tensors, and lists, tuples and dicts of such.

    Raises:
        TypeError: There is something else in it.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if type(value) in (torch.Tensor, np.ndarray):
        return value.detach().clone() if isinstance(value, torch.Tensor) else value.tolist()
    if type(value) is dict:
        return {plain(key): plain(entry) for key, entry in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    raise TypeError(f"a {type(value).__name__} is no plain value")


def _plain_entries(values: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for name, value in values.items():
        try:
            found[name] = plain(value)
        except TypeError:
            # A function, a loader, a package: made anew by the program that goes on, as its callbacks are.
            continue
    return found


def attributes_of(callback: AbstractCallback) -> dict[str, Any]:
    """Copy the attributes of a callback that are plain values.

    Args:
        callback: An old callback.
    """
    return _plain_entries(vars(callback))


def state_of_callback(callback: AbstractCallback, at_start: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a callback has become since the training began.

    An argument such as a patience has not changed, so the program that goes on may pass another one.

    Args:
        callback: An old callback.
        at_start: What :func:`attributes_of` returned then.

    Returns:
        Its attributes that have changed, and what its own ``state_dict`` returns if it has one, as schedulers do.
    """
    now = attributes_of(callback)
    changed = {name: value for name, value in now.items() if not _equal(value, at_start.get(name, _MISSING))}
    state: dict[str, Any] = {"attributes": changed} if changed else {}
    if callable(getattr(callback, "state_dict", None)) and callable(getattr(callback, "load_state_dict", None)):
        state["own"] = callback.state_dict()  # type: ignore[attr-defined]
    return state


def restore(callback: AbstractCallback, state: Mapping[str, Any]) -> None:
    """Give a callback the state of a checkpoint.

    Args:
        callback: An old callback, registered.
        state: What :func:`state_of_callback` returned.
    """
    vars(callback).update(state.get("attributes", {}))
    if "own" in state:
        callback.load_state_dict(state["own"])  # type: ignore[attr-defined]


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) or isinstance(other, torch.Tensor):
        same_kind = isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)
        return same_kind and one.shape == other.shape and bool(torch.equal(one, other))
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)
