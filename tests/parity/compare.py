"""Two observations in, differences out: bit for bit, or floats within a tolerance and everything else exactly.

What is compared: result or error of every call, history (keys, their order, lengths, values), weights, buffers, state
of criterion and optimizer, learning rates, gradients left behind, callbacks and their state, messages, the event
log, counters, the model's mode, keys of the prediction store, digests of the global generators, printed lines, files
made.

What is not: progress bars on stderr, the number of warnings, and the *text* of an error that the library words (its
type is compared: ours must be the reference's type or a subclass of it).
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.parity.observe import decode_array

RTOL = 1e-5
ATOL = 1e-6
ON_PURPOSE = "on purpose"
_NOT_COMPARED = frozenset({"warned"})
_NUMBER = re.compile(r"[-+]?(?:\d+\.\d*(?:e[-+]?\d+)?|\d+e[-+]?\d+|nan|inf)")
_Path = tuple[str, ...]


@dataclass(frozen=True)
class Difference:
    """One place where two observations differ; ``where`` is the way there, outermost first."""

    where: _Path
    expected: str
    observed: str

    def __str__(self) -> str:
        return f"{' / '.join(self.where)}: expected {self.expected}, observed {self.observed}"


def compare(expected: Any, observed: Any, *, exact: bool = True) -> list[Difference]:
    """All differences between two observations.

    Args:
        expected: what the reference gives, or what is expected in its place.
        observed: what is judged.
        exact: floats must be equal bit for bit; otherwise within ``RTOL`` and ``ATOL``.

    Returns:
        An empty list exactly if nothing differs.
    """
    return list(_walk((), expected, observed, exact))


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 160 else text[:150] + " ..."


def _float_equal(expected: float, observed: float, exact: bool) -> bool:
    if math.isnan(expected) or math.isnan(observed):
        return math.isnan(expected) and math.isnan(observed)
    if exact:
        return struct.pack("<d", expected) == struct.pack("<d", observed)
    return expected == observed or abs(expected - observed) <= ATOL + RTOL * abs(expected)


def _walk(where: _Path, expected: Any, observed: Any, exact: bool) -> Iterator[Difference]:
    if type(expected) is not type(observed):
        yield Difference(where, _brief(expected), _brief(observed))
    elif isinstance(expected, dict):
        yield from _walk_dict(where, expected, observed, exact)
    elif isinstance(expected, list):
        yield from _walk_list(where, expected, observed, exact)
    elif isinstance(expected, float):
        if not _float_equal(expected, observed, exact):
            yield Difference(where, repr(expected), repr(observed))
    elif expected != observed and not (_is_printed(where) and not exact and _lines_close(expected, observed)):
        yield Difference(where, _brief(expected), _brief(observed))


def _is_printed(where: _Path) -> bool:
    return where[:1] == ("stdout",)


def _lines_close(expected: str, observed: str) -> bool:
    """Printed lines agree if their words do, and their numbers within the tolerance."""
    if _NUMBER.sub("#", expected) != _NUMBER.sub("#", observed):
        return False
    pairs = zip(_NUMBER.findall(expected), _NUMBER.findall(observed), strict=True)
    return all(_float_equal(float(one), float(two), exact=False) for one, two in pairs)


def _walk_list(where: _Path, expected: list[Any], observed: list[Any], exact: bool) -> Iterator[Difference]:
    if len(expected) != len(observed):
        yield Difference((*where, "length"), str(len(expected)), str(len(observed)))
    for index, (one, two) in enumerate(zip(expected, observed, strict=False)):
        yield from _walk((*where, _label(index, one)), one, two, exact)


def _label(index: int, entry: Any) -> str:
    name = entry.get("action") if isinstance(entry, dict) else None
    return f"{index} {name}" if name else str(index)


def _walk_dict(where: _Path, expected: dict[str, Any], observed: dict[str, Any], exact: bool) -> Iterator[Difference]:
    kind = expected.get("$")
    if kind != observed.get("$"):
        yield Difference((*where, "type"), str(kind), str(observed.get("$")))
    elif kind == "error":
        yield from _walk_error(where, expected, observed)
    elif "data" in expected:
        yield from _walk_array(where, expected, observed, exact)
    elif kind is not None and kind not in ("tuple", "object", "array"):
        yield from _walk_mapping(where, expected["items"], observed["items"], exact)
    else:
        for key in dict.fromkeys((*expected, *observed)):
            if key in _NOT_COMPARED:
                continue
            if key not in expected or key not in observed:
                yield Difference((*where, key), _presence(key in expected), _presence(key in observed))
            else:
                yield from _walk((*where, key), expected[key], observed[key], exact)


def _presence(there: bool) -> str:
    return "present" if there else "missing"


def _walk_error(where: _Path, expected: dict[str, Any], observed: dict[str, Any]) -> Iterator[Difference]:
    # A correction may leave a choice: "IndexError or ValueError".
    if not set(expected["type"].split(" or ")) & {observed["type"], *observed["bases"]}:
        yield Difference((*where, "error type"), expected["type"], f"{observed['type']}: {observed['message']}")
    elif ON_PURPOSE in expected["message"] and expected["message"] != observed["message"]:
        yield Difference((*where, "error text"), expected["message"], observed["message"])


def _walk_mapping(where: _Path, expected: list[Any], observed: list[Any], exact: bool) -> Iterator[Difference]:
    """Encoded mappings: the keys in their order, then the values of the keys that both have."""
    keys = [str(key) for key, _ in expected]
    theirs = [str(key) for key, _ in observed]
    if keys != theirs:
        yield Difference((*where, "keys"), _brief(keys), _brief(theirs))
    values = {str(key): value for key, value in observed}
    for key, value in expected:
        if str(key) in values:
            yield from _walk((*where, str(key)), value, values[str(key)], exact)


def _arrays_close(one: np.ndarray[Any, Any], two: np.ndarray[Any, Any]) -> bool:
    """Close in relation to the largest element: a small element beside large ones carries their rounding."""
    finite = np.abs(one[np.isfinite(one)])
    room = ATOL + RTOL * float(finite.max(initial=0.0))
    return bool(np.allclose(two, one, rtol=RTOL, atol=room, equal_nan=True))


def _walk_array(where: _Path, expected: dict[str, Any], observed: dict[str, Any], exact: bool) -> Iterator[Difference]:
    forms = [f"{one['dtype']} {one['shape']}" for one in (expected, observed)]
    if forms[0] != forms[1]:
        yield Difference((*where, "dtype and shape"), *forms)
        return
    if expected["data"] == observed["data"]:
        return
    one, two = decode_array(expected), decode_array(observed)
    floats = one.dtype.kind == "f"
    if floats and not exact and _arrays_close(one, two):
        return
    unequal = ~((one == two) | (np.isnan(one) & np.isnan(two))) if floats else one != two
    if floats and not unequal.any() and not (np.signbit(one) != np.signbit(two)).any():
        return  # only the payloads of NaN differ, which no computation can see
    gap = np.nanmax(np.abs(one.astype(float) - two.astype(float))) if one.size else 0.0
    yield Difference(where, f"{one.size} values", f"{int(unequal.sum())} unequal, by up to {gap:.3g}")
