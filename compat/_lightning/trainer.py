"""From the plan to a Trainer, and one fit from its start to its end."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Trainer

from compat._lightning.bridge import EpochEndBridge
from compat._lightning.module import CarriedError, LoopModule
from compat._lightning.plan import FitPlan
from compat._lightning.precision import FacadePrecision
from compat._lightning.quiet import quiet
from compat._lightning.strategies import StayOnDeviceStrategy

if TYPE_CHECKING:
    from compat.train_loop import TrainLoop

__all__ = ["Trainer", "build_trainer", "fit"]


def build_trainer(plan: FitPlan) -> Trainer:
    """Build the Trainer of one fit. Lightning's second fit on one Trainer would do nothing, so each gets its own.

    Args:
        plan: What was asked for.

    Returns:
        A Trainer that prints nothing, writes nothing and moves nothing back.
    """
    trainer = Trainer(
        accelerator=plan.accelerator,
        devices=1,
        strategy=StayOnDeviceStrategy(device=plan.device),
        # The cluster that this process may run in is of no concern to a loop on a single device.
        plugins=[FacadePrecision(plan.use_amp), LightningEnvironment()],
        max_epochs=plan.max_epochs,
        callbacks=[EpochEndBridge()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        # Left alone, the Trainer would switch the user's own anomaly detection off.
        detect_anomaly=torch.is_anomaly_enabled(),
    )
    # The old loop leaves the process's signal handlers alone.
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    return trainer


def fit(loop: "TrainLoop", plan: FitPlan) -> None:
    """Run one fit through Lightning's Trainer.

    Args:
        loop: The facade, with its callbacks registered and its model on the device.
        plan: What was asked for.

    Raises:
        BaseException: Whatever the user's code raised, as itself.
    """
    with quiet(), _unchanged_process():
        loop.trainer = build_trainer(plan)
        loop.lightning_module = LoopModule(loop)
        try:
            loop.trainer.fit(loop.lightning_module)
        except CarriedError as error:
            raise error.original from None
        except SystemExit as error:
            # An interrupt inside Lightning's own code: it would end the process in place of reaching the caller.
            if isinstance(error.__context__, KeyboardInterrupt):
                raise error.__context__ from None
            raise


@contextmanager
def _unchanged_process() -> Iterator[None]:
    """Put back what a Trainer changes in the process: grad mode, the interrupt handler, the current CUDA device."""
    grad = torch.is_grad_enabled()
    in_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if in_main_thread else None
    device = torch.cuda.current_device() if torch.cuda.is_available() else None
    try:
        yield
    finally:
        torch.set_grad_enabled(grad)
        if handler is not None:
            signal.signal(signal.SIGINT, handler)
        if device is not None:
            torch.cuda.set_device(device)
