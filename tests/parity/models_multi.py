"""Models whose loss is a ``MultiLoss``: several branches, with or without a trunk that they share."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from tests.parity.backend import Backend
from tests.parity.data import DataSet


class Branches(nn.Module):
    """One loss per branch; branch ``i`` has its own scale, so that no two losses are alike.

    Attributes:
        names: the loss names, in the order in which the loss dictionary is filled.
        mapping: pairs of name and optimizer index for ``loss_optimizer_map``, or nothing for the default order.
        retain: the argument ``retain_graph_until_last``.
        tidy: insert the losses in alphabetical order and say by a map which optimizer is meant; the same training as
            with ``names`` in any other order, except that the reference labels the losses rightly.
        single: return a plain sum instead, to see what several optimizers make of it.
    """

    api: Backend
    branches: nn.ModuleList
    trunk: nn.Module
    names: tuple[Any, ...]
    mapping: tuple[tuple[Any, int], ...]
    retain: bool
    single: bool
    tidy: bool

    def forward(self, inputs: torch.Tensor) -> list[torch.Tensor]:
        hidden = self.trunk(inputs)
        return [branch(hidden) for branch in self.branches]

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        scores = self(batch_data[0].to(device))
        targets = batch_data[1].to(device)
        measure = functional.mse_loss if criterion is None else criterion
        losses = {
            name: measure(score, targets) * (1.0 + 0.5 * index)
            for index, (name, score) in enumerate(zip(self.names, scores, strict=True))
        }
        if self.single:
            return torch.stack(list(losses.values())).sum()
        mapping = dict(self.mapping) if self.mapping else None
        if self.tidy:
            mapping = mapping or {name: index for index, name in enumerate(losses)}
            losses = dict(sorted(losses.items()))
        return self.api.MultiLoss(losses, loss_optimizer_map=mapping, retain_graph_until_last=self.retain)

    def get_predictions(self, batch_data: Any, device: Any) -> Any:
        return torch.cat(self(batch_data[0].to(device)), dim=1), batch_data[1], {}


def build_multi(
    api: Backend,
    shape: DataSet,
    *,
    names: tuple[Any, ...] = ("first", "second"),
    mapping: tuple[tuple[Any, int], ...] = (),
    retain: bool = True,
    trunk: bool = False,
    single: bool = False,
    tidy: bool = False,
    listed: bool = False,
) -> Any:
    """A model with one branch per name; ``trunk`` puts one shared linear layer in front of them.

    The reference's parallel wrappers need what the loss reads to be ``listed``.
    """
    model = api.mixed(Branches, "TTModel")()
    model.api, model.names, model.mapping = api, names, mapping
    model.retain, model.single, model.tidy = retain, single, tidy
    if listed:
        model.transfer_model_attributes = ["api", "names", "mapping", "retain", "single", "tidy"]
    width = 5 if trunk else shape.features
    model.trunk = nn.Linear(shape.features, width) if trunk else nn.Identity()
    model.branches = nn.ModuleList(
        nn.Sequential(nn.Linear(width, 3), nn.Tanh(), nn.Linear(3, shape.outputs)) for _ in names
    )
    return model
