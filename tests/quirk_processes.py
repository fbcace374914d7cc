"""Fits in several processes, for the quirks that show only there: each fit tries as many of them as it can."""

from typing import Any

import torch

from compat import AbstractCallback, TrainLoop
from tests.toys import Linear, data_loader, make_loop

ON_THE_CPU: dict[str, Any] = {"on_gpu": False, "backend": "gloo"}
# Counted, and tried by the fits below.
TRIED = ("Q58", "Q60", "Q61", "Q62", "Q63")


class Gathering(AbstractCallback):
    """Gathers data from all processes when they are through."""

    def __init__(self, *given: tuple[Any, bool]) -> None:
        """Keep the data, and whether to join them."""
        super().__init__("gathering")
        self.given = given
        self.gathered: list[Any] = []

    def on_train_end(self) -> None:
        """Gather them."""
        handler = self.train_loop_obj.ddp_handler
        self.gathered = [handler.mp_sync(data, concat_mp_data=concat) for data, concat in self.given]


class Seed(AbstractCallback):
    """Notes what torch was seeded with in the process of one rank."""

    def __init__(self, rank: int) -> None:
        """Run there alone."""
        super().__init__(f"seed of rank {rank}", device_idx_execution=rank)
        self.seed: int | None = None

    def on_train_begin(self) -> None:
        """Note it."""
        self.seed = torch.initial_seed()


class Predicting(AbstractCallback):
    """Predicts the validation set when the training is over."""

    def __init__(self) -> None:
        """Nothing is predicted yet."""
        super().__init__("predicting")
        self.true: Any = None

    def on_train_end(self) -> None:
        """Predict."""
        self.true = self.train_loop_obj.predict_on_validation_set()[1].flatten().tolist()


def trained(processes: int, *callbacks: AbstractCallback, train: Any = None, **quirks: str) -> TrainLoop:
    """Train one epoch of 12 rows, and evaluate it and 5 rows of validation."""
    torch.manual_seed(5)
    model = Linear()
    loop = make_loop(
        model,
        train=data_loader(12) if train is None else train,
        validation=data_loader(5),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        gpu_mode="ddp",
        quirks=quirks,
    )
    loop.fit(num_epochs=1, callbacks=list(callbacks), num_gpus=processes, **ON_THE_CPU)
    return loop
