"""Small helpers that programs written for the old library import from ``aitoolbox.utils``."""

import dis
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

from compat.exceptions import InvalidTypeError

__all__ = ["combine_prediction_metadata_batches", "is_empty_function"]

_NO_EFFECT = {"RESUME", "NOP", "COPY_FREE_VARS", "CACHE", "MAKE_CELL"}


def is_empty_function(fn: Callable[..., Any]) -> bool:
    """Tell whether a function does nothing but return ``None``.

    Bodies of ``pass``, ``...``, a docstring, a bare ``return`` or ``return None`` are empty. A callable that is not
    written in Python, such as a ``functools.partial`` or a mock, is not: nobody can look inside.

    Args:
        fn: A function, a bound method or another callable.

    Returns:
        True if calling it has no effect.
    """
    code = getattr(fn, "__code__", None)
    if code is None:
        return False
    steps = [step for step in dis.get_instructions(code) if step.opname not in _NO_EFFECT]
    if not steps or steps[0].argval is not None:
        return False
    return [step.opname for step in steps] in (["LOAD_CONST", "RETURN_VALUE"], ["RETURN_CONST"])


def combine_prediction_metadata_batches(metadata_list: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Join the metadata of batches key by key.

    The type of a key's first value decides: lists are chained, tensors ``(N, ...)`` and arrays ``(N, ...)`` are
    concatenated along their first dimension.

    Args:
        metadata_list: One dict a batch.

    Returns:
        One dict with the values of all batches.

    Raises:
        InvalidTypeError: A value is neither a list, a tensor nor an array.
    """
    import numpy as np
    import torch

    by_key: dict[str, list[Any]] = {}
    for metadata in metadata_list:
        for key, value in metadata.items():
            by_key.setdefault(key, []).append(value)
    combined: dict[str, Any] = {}
    for key, values in by_key.items():
        if isinstance(values[0], list):
            combined[key] = list(chain.from_iterable(values))
        elif isinstance(values[0], torch.Tensor):
            combined[key] = torch.cat(values)
        elif isinstance(values[0], np.ndarray):
            combined[key] = np.concatenate(values)
        else:
            raise InvalidTypeError(
                f"Metadata {key!r} holds a {type(values[0]).__name__}. Values that can be joined over batches are"
                " lists, tensors and numpy arrays."
            )
    return combined
