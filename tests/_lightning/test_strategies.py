"""Nothing is moved when the Trainer is torn down: a test of that needs no GPU."""

from typing import Any

import pytest
import torch

from compat._lightning.plan import FitPlan
from compat._lightning.precision import FacadePrecision
from compat._lightning.strategies import DataParallelStrategy
from compat._lightning.trainer import build_trainer
from tests.toys import Linear, make_loop


class Stays(Linear):
    """Notes every move."""

    def __init__(self) -> None:
        """Start unmoved."""
        super().__init__()
        self.moves: list[str] = []

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self.moves.append("moved")
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch leaves it untyped


@pytest.mark.parametrize("fails", [False, True], ids=["done", "raised"])
def test_trainer_moves_neither_model_nor_optimizer(fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning.pytorch.accelerators import CPUAccelerator
    from lightning.pytorch.strategies import strategy

    monkeypatch.setattr(strategy, "_optimizers_to_device", lambda optimizers, device: pytest.fail("moved an optimizer"))
    monkeypatch.setattr(torch.nn.Module, "cpu", lambda self: pytest.fail("moved a module"))
    monkeypatch.setattr(CPUAccelerator, "setup", lambda self, trainer: pytest.fail("set the accelerator up"))
    model = Stays()
    loop = make_loop(model, end_auto_eval=False)
    model.moves.clear()
    if fails:
        loop.criterion = None
        with pytest.raises(TypeError, match="get_loss needs a criterion"):
            loop.fit(num_epochs=1)
    else:
        loop.fit(num_epochs=1)
    # By the facade, which puts the model on its device; and the layer in it.
    assert model.moves == ["moved"]


def test_trainer_is_told_the_precision_and_wraps_nothing() -> None:
    plugin = FacadePrecision("16-mixed")
    assert plugin.precision == "16-mixed"
    with plugin.train_step_context():
        assert not torch.is_autocast_enabled("cpu")
    assert FacadePrecision("32-true").precision == "32-true"


def test_trainer_of_a_plan() -> None:
    trainer = build_trainer(FitPlan(device=torch.device("cpu"), precision="16-mixed", max_epochs=3))
    assert trainer.precision == "16-mixed"
    assert trainer.max_epochs == 3
    assert trainer.strategy.root_device == torch.device("cpu")
    assert trainer.loggers == []
    assert not trainer.checkpoint_callbacks


def test_trainer_of_a_data_parallel_plan_has_one_device_and_knows_all() -> None:
    """The devices are named and not used: no GPU is needed."""
    cpu, both = torch.device("cpu"), (torch.device("cuda", 0), torch.device("cuda", 1))
    trainer = build_trainer(FitPlan(device=cpu, precision="32-true", max_epochs=1, replicas=both))
    assert isinstance(trainer.strategy, DataParallelStrategy)
    assert trainer.strategy.strategy_name == "data_parallel"
    assert trainer.strategy.root_device == cpu
    assert trainer.strategy.replica_devices == both
    assert trainer.world_size == 1
    plain = build_trainer(FitPlan(device=cpu, precision="32-true", max_epochs=1))
    assert not isinstance(plain.strategy, DataParallelStrategy)
