"""Networks and data that all runs share, and the loop that a careful hand would write."""

from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

__all__ = ["MODES", "ResNet18", "SmallNet", "by_hand", "loader", "make_deterministic", "on", "optimizer_of"]

# How a network is trained; the last two are compared with plain float32.
MODES = ("fp32", "amp", "bf16", "dp", "ddp")


def on() -> torch.device:
    """Return the device that runs are made on."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def make_deterministic() -> None:
    """Let two runs give the same bits. The environment has to say ``CUBLAS_WORKSPACE_CONFIG=:4096:8``."""
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False


class SmallNet(nn.Module):
    """Two convolutions and a linear layer: ``(N, 3, 8, 8) -> (N, 10)``."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(512, 10),
        )

    def forward(self, inputs: torch.Tensor) -> Any:
        return self.layers(inputs)


class _Block(nn.Module):
    """Two convolutions beside a shortcut (He et al., "Deep Residual Learning for Image Recognition", 2015, fig. 2)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        stride = 1 if before == after else 2
        self.main = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, 1, 1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, inputs: torch.Tensor) -> Any:
        return torch.relu(self.main(inputs) + self.shortcut(inputs))


class ResNet18(nn.Module):
    """A ResNet of 18 layers and 11 million weights (table 1 of the same paper): ``(N, 3, H, W) -> (N, 10)``."""

    def __init__(self) -> None:
        super().__init__()
        widths = (64, 64, 64, 128, 128, 256, 256, 512, 512)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
            *map(_Block, widths[:-1], widths[1:]),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(512, 10),
        )

    def forward(self, inputs: torch.Tensor) -> Any:
        return self.layers(inputs)


def loader(rows: int, size: int = 8, batch: int = 8) -> DataLoader[Any]:
    """Make a loader of images ``(N, 3, size, size)`` with labels ``(N,)``, on the CPU."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(rows, 3, size, size, generator=generator)
    return DataLoader(TensorDataset(images, torch.randint(10, (rows,), generator=generator)), batch_size=batch)


def optimizer_of(network: nn.Module) -> torch.optim.Optimizer:
    """Make the optimizer of all runs."""
    return torch.optim.Adam(network.parameters(), lr=1e-3)


def by_hand(network: nn.Module, batches: Any, epochs: int, mode: str = "fp32") -> dict[str, Any]:
    """Train a network, as the examples of torch do.

    Args:
        network: The network; moved to the device.
        batches: The loader.
        epochs: How long.
        mode: ``fp32``, ``amp`` for float16 with a gradient scaler, or ``bf16``.

    Returns:
        The state of the gradient scaler, empty if there is none.
    """
    device = on()
    network.to(device).train()
    optimizer, criterion = optimizer_of(network), nn.CrossEntropyLoss()
    scaling = mode == "amp" and device.type == "cuda"
    scaler = torch.amp.GradScaler(device.type, enabled=scaling)
    dtype = torch.bfloat16 if mode == "bf16" else torch.float16
    for _ in range(epochs):
        for images, labels in batches:
            with torch.autocast(device.type, dtype, enabled=scaling or mode == "bf16"):
                loss = criterion(network(images.to(device)), labels.to(device))
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
    return scaler.state_dict()
