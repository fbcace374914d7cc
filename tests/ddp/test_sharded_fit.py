"""A whole fit in shards, with its evaluations and callbacks, against the same fit under ddp."""

from typing import Any

import pytest
import torch

import compat
from compat import AbstractCallback, MultiOptimizer
from compat.exceptions import RefusedError
from tests.toys import Linear, TwoHeads, data_loader, make_loop


class Look(AbstractCallback):
    """Evaluates in a batch and at the end of an epoch, and notes what kind of parameters it meets."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        super().__init__("look")
        self.kinds: list[str] = []
        self.sums: list[float] = []

    def look(self) -> None:
        """Note the kind before, and the predictions."""
        loop = self.train_loop_obj
        self.kinds.append(type(next(loop.model.parameters())).__name__)
        self.sums.append(float(loop.predict_on_validation_set(force_prediction=True)[0].sum()))

    def on_batch_end(self) -> None:
        """Look."""
        self.look()

    def on_epoch_end(self) -> None:
        """Look."""
        self.look()


class Alone(Look):
    """Looks in one process alone, when the weights are whole."""

    def __init__(self) -> None:
        """Run in the second process."""
        super().__init__()
        self.device_idx_execution = 1

    def on_batch_end(self) -> None:
        """Do nothing."""


def fitted(strategy: str) -> dict[str, Any]:
    """Fit, and return what came home."""
    compat.verbose(False)
    model = Linear()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    args = {"devices": 2, "strategy": strategy, "precision": "bf16-mixed", "accelerator": "cpu"}
    loop = make_loop(model, data_loader(8), optimizer, validation=data_loader(5), gpu_mode="ddp", lightning_args=args)
    look, alone = Look(), Alone()
    assert loop.fit(num_epochs=2, callbacks=[look, alone]) is model
    return {
        "kinds": look.kinds,
        "history": loop.train_history.train_history,
        "weights": [parameter.tolist() for parameter in model.parameters()],
        "optimizer": [value.tolist() for value in optimizer.state[model.layer.weight].values()],
        "sums": [look.sums, alone.sums],
    }


@pytest.mark.filterwarnings("ignore::compat.exceptions.QuirkWarning")
def test_a_fit_in_shards_is_that_under_ddp_to_the_bit() -> None:
    shards, ddp = fitted("fsdp"), fitted("ddp")
    assert shards.pop("kinds") == ["DTensor", "DTensor", "Parameter"] * 2
    assert ddp.pop("kinds") == ["Parameter"] * 6
    assert shards == ddp
    assert len(shards["sums"][1]) == 2


def test_what_cannot_be_sharded_is_refused_before_a_process_is_started() -> None:
    model = TwoHeads()
    optimizer = MultiOptimizer([torch.optim.SGD(model.parameters(), lr=0.1)])
    args = {"strategy": "fsdp", "devices": 2, "accelerator": "cpu"}
    loop = make_loop(model, data_loader(), optimizer, gpu_mode="ddp", lightning_args=args)
    with pytest.raises(RefusedError, match="takes one optimizer"):
        loop.fit(num_epochs=1)
