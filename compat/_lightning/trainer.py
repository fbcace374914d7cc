"""From the plan to a Trainer, and one fit from its start to its end."""

import inspect
import math
from typing import TYPE_CHECKING, Any

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.strategies import Strategy

from compat._lightning.bridge import companions
from compat._lightning.cadence import forget_max_steps, start_from_scratch
from compat._lightning.cluster import FitEnvironment
from compat._lightning.guest_checks import OneFitTrainer
from compat._lightning.module import CarriedError, LoopModule
from compat._lightning.plan import FitPlan, Processes
from compat._lightning.precision import FacadePrecision
from compat._lightning.quiet import quiet
from compat._lightning.strategies import DataParallelStrategy, ProcessStrategy, StayOnDeviceStrategy
from compat._lightning.surroundings import Surroundings

if TYPE_CHECKING:
    from compat.train_loop import TrainLoop

__all__ = ["Trainer", "build_trainer", "fit"]


class LoopTrainer(OneFitTrainer):
    """A Trainer that knows of the loop's windows when it is asked for the number of updates to come."""

    @property
    def estimated_stepping_batches(self) -> int | float:
        """The number of updates of all epochs; Lightning would count every batch, for it accumulates nothing here."""
        module, epochs = self.lightning_module, self.max_epochs
        batches = self.num_training_batches
        if not isinstance(module, LoopModule) or epochs is None or batches == float("inf"):
            return super().estimated_stepping_batches
        return math.ceil(batches / module.loop.grad_accumulation) * epochs


def build_trainer(plan: FitPlan) -> Trainer:
    """Build the Trainer of one fit. Lightning's second fit on one Trainer would do nothing, so each gets its own.

    Args:
        plan: What was asked for.

    Returns:
        A Trainer that prints nothing, writes nothing and moves nothing back, but for what its user asked of it.
    """
    # Every argument is named: for one that is not, the Trainer would look into the environment.
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(Trainer.__init__).parameters.items()
        if name != "self"
    }
    asked, callbacks = dict(plan.flags.trainer), plan.callbacks
    wanted: dict[str, Any] = {
        "accelerator": plan.accelerator,
        "devices": _devices(plan),
        "num_nodes": plan.processes.nodes if plan.processes else 1,
        "strategy": _strategy(plan),
        "max_epochs": plan.max_epochs,
        "logger": False,
        # Lightning refuses a callback where its kind is switched off.
        "enable_checkpointing": any(isinstance(each, Checkpoint) for each in callbacks),
        "enable_progress_bar": any(isinstance(each, ProgressBar) for each in callbacks),
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "use_distributed_sampler": False,
        "inference_mode": False,
        "detect_anomaly": torch.is_anomaly_enabled(),
        # Asked for the working directory the Trainer would fail where that is gone.
        "default_root_dir": ".",
    }
    ours = {
        "callbacks": [*companions(callbacks, asked.get("log_every_n_steps")), *callbacks],
        "plugins": [FacadePrecision(plan.precision), *_environment(plan), *plan.flags.plugins],
    }
    trainer = LoopTrainer(**{**defaults, **wanted, **asked, **ours})
    # The old loop leaves the process's signal handlers alone.
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    start_from_scratch(trainer)
    if trainer.fast_dev_run:  # type: ignore[attr-defined]  # set by one of its connectors
        # It would count the updates of earlier fits too.
        forget_max_steps(trainer)
    return trainer


def _devices(plan: FitPlan) -> list[int] | int:
    if plan.processes is not None:
        return plan.processes.local_size
    return [plan.device.index] if plan.device.type == "cuda" else 1


def _environment(plan: FitPlan) -> list[ClusterEnvironment]:
    # The cluster that this process may run in is of no concern to a loop that trains alone; a fit in several processes
    # brings its own, in its strategy.
    return [LightningEnvironment()] if plan.processes is None else []


def _strategy(plan: FitPlan) -> Strategy:
    if plan.processes is not None:
        return _process_strategy(plan.device, plan.processes)
    if plan.replicas is None:
        return StayOnDeviceStrategy(device=plan.device)
    return DataParallelStrategy(plan.device, plan.replicas)


def _process_strategy(device: torch.device, here: Processes) -> ProcessStrategy:
    on_gpu = device.type == "cuda"
    devices = [torch.device("cuda", index) if on_gpu else device for index in range(here.local_size)]
    environment = FitEnvironment(here.rank, here.size, here.rank % here.local_size, here.rank // here.local_size)
    return ProcessStrategy(devices, environment, here.backend)


def fit(loop: "TrainLoop", plan: FitPlan) -> None:
    """Run one fit through Lightning's Trainer.

    Args:
        loop: The facade, with its callbacks registered and its model on the device.
        plan: What was asked for.

    Raises:
        BaseException: Whatever the user's code raised, as itself.
    """
    surroundings, state = Surroundings(plan.flags.trainer), loop._compat
    raised: BaseException | None = None
    try:
        with quiet():
            state.trainer = build_trainer(plan)
            state.lightning_module = LoopModule(loop, surroundings)
            state.lightning_module.attach(state.trainer)
            state.trainer.fit(state.lightning_module)
    except CarriedError as error:
        raised = error.original
    except SystemExit as error:
        # An interrupt inside Lightning's own code: it would end the process in place of reaching the caller.
        raised = error.__context__ if isinstance(error.__context__, KeyboardInterrupt) else error
    finally:
        surroundings.restore()
        if state.lightning_module is not None:
            state.lightning_module.let_go()
    if raised is not None:
        # Out here, where no other exception is being handled: it keeps the cause and the context that it came with.
        raise raised
