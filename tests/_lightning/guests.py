"""Trainers of a user's own, and loops to run in them."""

from typing import Any

import torch
from lightning.pytorch import Trainer

from compat import MultiOptimizer, TrainLoop
from tests.toys import TwoHeads, batches, data_loader, make_loop


def own_trainer(**options: Any) -> Trainer:
    """Make a Trainer that writes and prints as little as it can."""
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    return Trainer(**{"enable_model_summary": False, **quiet, **options})


def several() -> TrainLoop:
    """Make a loop with two optimizers."""
    model = TwoHeads()
    one = torch.optim.SGD([*model.trunk.parameters(), *model.b.parameters()], lr=0.1)
    two = torch.optim.Adam(model.a.parameters(), lr=0.1)
    return make_loop(model, batches(5), MultiOptimizer([one, two]), validation=batches(2), test=batches(2))


def single() -> TrainLoop:
    """Make a loop with one optimizer and a shuffled loader."""
    torch.manual_seed(3)
    return make_loop(train=data_loader(10, shuffle=True), validation=batches(2), test=batches(2))
