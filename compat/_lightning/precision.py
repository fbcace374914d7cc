"""The precision plugin: it names the precision and wraps nothing, for the facade owns autocast and the scaler."""

from typing import Literal

from lightning.pytorch.plugins.precision import Precision

__all__ = ["FacadePrecision"]


class FacadePrecision(Precision):
    """Tells Lightning which precision the facade computes in.

    A plugin's own autocast would span a whole chunk of batches, and its weight cache would go stale after the first
    step in it.

    Args:
        precision: Lightning's name for it.
    """

    def __init__(self, precision: Literal["32-true", "16-mixed", "bf16-mixed"]) -> None:
        """Name the precision."""
        self.precision: Literal["32-true", "16-mixed", "bf16-mixed"] = precision
