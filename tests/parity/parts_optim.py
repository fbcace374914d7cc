"""Optimizers and criteria of the programs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn, optim
from torch.nn import functional

from tests.parity.backend import Backend

# Well-conditioned settings: where a processor rounds otherwise, the difference must stay a rounding difference.
_TORCH: dict[str, Callable[[Iterable[nn.Parameter]], Any]] = {
    "sgd": lambda weights: optim.SGD(weights, lr=0.05),
    "momentum": lambda weights: optim.SGD(weights, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "nesterov": lambda weights: optim.SGD(weights, lr=0.05, momentum=0.8, nesterov=True),
    "adam": lambda weights: optim.Adam(weights, lr=0.01, eps=1e-4),
    "adamw": lambda weights: optim.AdamW(weights, lr=0.01, eps=1e-4, weight_decay=0.1, amsgrad=True),
    "rmsprop": lambda weights: optim.RMSprop(weights, lr=0.01, eps=1e-3, momentum=0.5),
}


class BoundedOptimizer:
    """Not a ``torch.optim.Optimizer``, but it has what the loop asks for: ``step`` and ``zero_grad``."""

    def __init__(self, weights: Iterable[nn.Parameter], lr: float = 0.02) -> None:
        self.weights = list(weights)
        self.lr = lr
        self.steps = 0

    def step(self) -> None:
        self.steps += 1
        with torch.no_grad():
            for weight in self.weights:
                if weight.grad is not None:
                    weight.sub_(self.lr / self.steps * weight.grad / (1.0 + weight.grad.abs()))

    def zero_grad(self) -> None:
        for weight in self.weights:
            weight.grad = None

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "lr": self.lr}


def _groups(module: nn.Module) -> Any:
    """Two parameter groups with different rates: biases learn faster."""
    named = list(module.named_parameters())
    slow: dict[str, Any] = {"params": [weight for name, weight in named if not name.endswith("bias")]}
    fast: dict[str, Any] = {"params": [weight for name, weight in named if name.endswith("bias")], "lr": 0.1}
    return optim.SGD([slow, fast], lr=0.03, momentum=0.5)


def _multi(api: Backend, module: Any, kinds: tuple[str, ...], owner: int = -1, branches: tuple[int, ...] = ()) -> Any:
    """Optimizer ``branches[i]`` owns branch ``i`` (by default the i-th), optimizer ``owner`` the shared trunk."""
    weights: list[list[nn.Parameter]] = [[] for _ in kinds]
    for index, branch in enumerate(module.branches):
        holder = branches[index] if branches else min(index, len(kinds) - 1)
        weights[holder].extend(branch.parameters())
    weights[owner].extend(module.trunk.parameters())
    return api.MultiOptimizer([_TORCH[kind](own) for kind, own in zip(kinds, weights, strict=True)])


def build_optimizer(api: Backend, name: str, module: nn.Module, criterion: Any, settings: dict[str, Any]) -> Any:
    """The optimizer of a program over the parameters of its model, and of its criterion where that has some."""
    if name == "none":
        return None
    if name == "multi":
        return _multi(api, module, **settings)
    if name == "multi_of_one":
        return api.MultiOptimizer([_TORCH["momentum"](module.parameters())])
    if name == "groups":
        return _groups(module)
    weights = list(module.parameters())
    if isinstance(criterion, nn.Module):
        weights += list(criterion.parameters())
    if name == "duck":
        return BoundedOptimizer(weights)
    return _TORCH[name](weights)


def learning_rates(optimizer: Any) -> list[float]:
    """All learning rates of whatever the loop holds as optimizer, in order."""
    if isinstance(optimizer, BoundedOptimizer):
        return [optimizer.lr]
    if hasattr(optimizer, "optimizer_list"):
        return [rate for one in optimizer.optimizer_list for rate in learning_rates(one)]
    return [float(group["lr"]) for group in optimizer.param_groups]


class Weighted(nn.Module):
    """A criterion with a parameter and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.5))
        self.register_buffer("floor", torch.tensor(0.1))

    def forward(self, scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.scale.exp() * functional.mse_loss(scores, targets) - self.scale + self.get_buffer("floor")


class MovableCriterion:
    """Not a module; all it shares with one is ``to`` and the call."""

    def to(self, device: Any) -> MovableCriterion:
        del device
        return self

    def __call__(self, scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return functional.smooth_l1_loss(scores, targets)


def _absolute(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.l1_loss(scores, targets)


CRITERIA: dict[str, Callable[[], Any]] = {
    "mse": nn.MSELoss,
    "l1": nn.L1Loss,
    "cross_entropy": nn.CrossEntropyLoss,
    "vector": lambda: nn.MSELoss(reduction="none"),
    "nan": lambda: _NanAfter(7),
    "weighted": Weighted,
    "movable": MovableCriterion,
    "function": lambda: _absolute,
    "none": lambda: None,
}


class _NanAfter(nn.Module):
    """Turns to NaN at its n-th training call: what a diverging run looks like to the loop."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.left = calls

    def forward(self, scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        loss = functional.mse_loss(scores, targets)
        if scores.requires_grad:
            self.left -= 1
        return loss * float("nan") if self.left < 0 else loss
