"""Compares weights, and histories, value by value."""

from collections.abc import Mapping
from typing import Any

import torch

__all__ = ["differences"]


def differences(one: Mapping[str, Any], two: Mapping[str, Any], tolerance: float) -> list[str]:
    """List what differs, an entry each; a list without values counts as no entry.

    Args:
        one: Tensors or lists of floats by name.
        two: The same.
        tolerance: How much a value may differ, as part of it; 0 for not by a bit.

    Returns:
        Nothing if all is the same.
    """
    values = [
        {name: _values(value) for name, value in side.items() if isinstance(value, torch.Tensor) or len(value)}
        for side in (one, two)
    ]
    found = [f"{name}: only on one side" for name in sorted(values[0].keys() ^ values[1].keys())]
    for name in sorted(values[0].keys() & values[1].keys()):
        found += _differ(name, values[0][name], values[1][name], tolerance)
    return found


def _values(value: Any) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value.double()
    return torch.tensor([float(entry) for entry in value], dtype=torch.float64)


def _differ(name: str, one: torch.Tensor, two: torch.Tensor, tolerance: float) -> list[str]:
    if one.shape != two.shape:
        return [f"{name}: {tuple(one.shape)} and {tuple(two.shape)} values"]
    same = torch.isclose(one, two, rtol=tolerance, atol=tolerance / 10, equal_nan=True)
    if same.all():
        return []
    worst = (one - two).abs().nan_to_num(torch.inf).max().item()
    return [f"{name}: {int((~same).sum())} of {same.numel()} differ, by {worst:.3g} at most"]
