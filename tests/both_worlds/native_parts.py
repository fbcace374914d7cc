"""Every native part, as data."""

from tests.both_worlds import (
    parts_checkpoints,
    parts_flags,
    parts_loggers,
    parts_monitors,
    parts_refused,
    parts_weights,
)
from tests.both_worlds.part import NativePart

__all__ = ["NATIVE_PARTS", "NativePart"]

NATIVE_PARTS: list[NativePart] = [
    *parts_checkpoints.PARTS,
    *parts_monitors.PARTS,
    *parts_weights.PARTS,
    *parts_refused.PARTS,
    *parts_loggers.PARTS,
    *parts_flags.PARTS,
]
