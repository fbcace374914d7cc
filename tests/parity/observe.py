"""Observations as plain JSON values that lose no bit: floats by ``repr``, arrays as base64 of their bytes."""

from __future__ import annotations

import base64
import hashlib
import random
import re
from typing import Any

import numpy as np
import torch

from tests.parity.parts_optim import learning_rates

# The library's own classes are listed under their old paths, and not normalised; those of the programs live elsewhere.
_CLASS = re.compile(r"<class '(?!aitoolbox\.)(?:[\w.<>]+\.)?(\w+)'>")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")

# What else a registered callback remembers; scheduler callbacks answer through ``state_dict``.
_WATCHED = ("patience_count", "best_performance", "best_epoch")


def _array(kind: str, value: np.ndarray[Any, Any]) -> dict[str, Any]:
    data = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
    return {"$": kind, "dtype": value.dtype.str, "shape": list(value.shape), "data": data}


def decode_array(encoded: dict[str, Any]) -> np.ndarray[Any, Any]:
    """The numpy array behind an encoded tensor or array."""
    flat = np.frombuffer(base64.b64decode(encoded["data"]), dtype=np.dtype(encoded["dtype"]))
    return flat.reshape(encoded["shape"])


def encode(value: Any) -> Any:
    """``value`` as JSON; container types, dtypes and the order of mappings survive."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, torch.Tensor):
        return _array("tensor", value.detach().cpu().numpy())
    if isinstance(value, np.generic):
        return _array(f"numpy.{type(value).__name__}", np.asarray(value))
    if isinstance(value, np.ndarray):
        return {"$": "array", "items": value.tolist()} if value.dtype == object else _array("array", value)
    if isinstance(value, int | float):
        return value
    if isinstance(value, tuple):
        return {"$": "tuple", "items": [encode(item) for item in value]}
    if isinstance(value, list):
        return [encode(item) for item in value]
    if hasattr(value, "items"):
        kind = "dict" if isinstance(value, dict) else type(value).__name__
        return {"$": kind, "items": [[encode(key), encode(item)] for key, item in value.items()]}
    return {"$": "object", "type": type(value).__name__}


def encode_error(error: BaseException) -> dict[str, Any]:
    """Type, builtin bases and message; a replacement may raise a subclass of what the reference raises."""
    bases = [base.__name__ for base in type(error).__mro__ if base.__module__ == "builtins"]
    return {"$": "error", "type": type(error).__name__, "bases": bases, "message": str(error)}


def rng_state() -> dict[str, str]:
    """Digests of the three global generators; equal digests mean that equal draws follow."""
    numpy_state: Any = np.random.get_state(legacy=False)
    parts = {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": numpy_state["state"]["key"].tobytes() + str(numpy_state["state"]["pos"]).encode(),
        "python": str(random.getstate()).encode(),
    }
    return {name: hashlib.sha256(content).hexdigest()[:16] for name, content in parts.items()}


def _callback_state(callback: Any) -> list[Any]:
    watched: dict[str, Any] = {name: getattr(callback, name) for name in _WATCHED if hasattr(callback, name)}
    if getattr(callback, "scheduler", None) is not None:
        watched["scheduler"] = callback.state_dict()
    return [type(callback).__name__, callback.callback_name, callback.execution_order, encode(watched)]


def light_state(loop: Any) -> dict[str, Any]:
    """What may change between two calls that train nothing."""
    return {
        "counters": {
            "epoch": loop.epoch,
            "iteration": loop.iteration,
            "total_iteration_idx": loop.total_iteration_idx,
            "early_stop": loop.early_stop,
            "grad_cb_used": loop.grad_cb_used,
            "num_optimizers": loop.num_optimizers,
            "grad_accumulation": loop.grad_accumulation,
            "loss_batch_accum": len(loop.loss_batch_accum),
        },
        "training": loop.model.training,
        "stored": sorted(str(key) for key in loop.prediction_store.prediction_store),
        "rng": rng_state(),
    }


def full_state(loop: Any) -> dict[str, Any]:
    """Everything that a training leaves behind."""
    history = loop.train_history
    optimizer_state = loop.optimizer.state_dict() if hasattr(loop.optimizer, "state_dict") else None
    criterion = loop.criterion.state_dict() if isinstance(loop.criterion, torch.nn.Module) else {}
    return light_state(loop) | {
        "history": encode({key: history[key] for key in history.keys()}),  # noqa: SIM118 - the old one is no dict
        "weights": encode(dict(loop.model.named_parameters())),
        "buffers": encode(dict(loop.model.named_buffers())),
        "criterion": encode(dict(criterion)),
        "optimizer": encode(optimizer_state),
        "rates": learning_rates(loop.optimizer) if loop.optimizer is not None else [],
        "gradients": encode({name: weight.grad for name, weight in loop.model.named_parameters()}),
        "callbacks": [_callback_state(callback) for callback in loop.callbacks],
        "messages": sorted(str(key) for key in loop.message_service.message_store),
    }


def printed_lines(text: str) -> list[str]:
    """Printed lines, without what differs between any two runs: addresses, and the paths of the programs' classes."""
    return [_ADDRESS.sub("", _CLASS.sub(r"<class \1>", line)) for line in text.splitlines()]
