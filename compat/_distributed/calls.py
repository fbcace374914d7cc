"""What the wrappers round a model have in common: the call on its way through a forward, and rank zero's tensors."""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

__all__ = ["Call", "broadcast"]


class Call:
    """A function on its way through a forward, which would move or cast tensors that it sees.

    Args:
        function: The function.
        arguments: Its arguments.
    """

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        """Keep both."""
        self.function, self.arguments = function, arguments


def broadcast(tensor: torch.Tensor) -> None:
    """Give all processes rank zero's values, in place.

    Args:
        tensor: A parameter or a buffer; of the same shape in all processes.
    """
    # Some backends take no bool, and none a tensor with gaps.
    shared = tensor.detach().to(torch.uint8) if tensor.dtype == torch.bool else tensor.detach().contiguous()
    dist.broadcast(shared, 0)
    tensor.copy_(shared)
