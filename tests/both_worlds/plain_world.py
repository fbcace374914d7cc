"""The same small training twice: in a TrainLoop, and in a plain Trainer with a plain LightningModule.

A training has some epochs of 5 batches of 2 samples. The weights are noted after every batch and the learning rates
before it, so that two trainings can be compared bit for bit. With one optimizer the module's optimization is automatic,
with two it is manual, in the order that the TrainLoop has.
"""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from compat import AbstractCallback, MultiLoss, MultiOptimizer, TrainLoop, TTModel
from compat._lightning.old_in_new import as_lightning_callback
from compat.exceptions import QuirkWarning
from tests.toys import FEATURES, Linear, data_loader

BATCHES = 5
RATES = (0.1, 0.05)


class Towers(TTModel):
    """Two linear models, ``(N, 3) -> (N, 1)``, that share nothing; each has a loss, and the first one predicts."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layer, self.other = nn.Linear(FEATURES, 1), nn.Linear(FEATURES, 1)

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> MultiLoss:
        inputs, targets = batch_data
        return MultiLoss({"a": criterion(self.layer(inputs), targets), "b": criterion(self.other(inputs), 2 * targets)})

    def get_predictions(self, batch_data: Any, device: Any) -> tuple[Any, Any, dict[str, Any]]:
        inputs, targets = batch_data
        return self.layer(inputs), targets, {}


class PlainModule(LightningModule):
    """A native module round an old model, with what old callbacks may ask of it."""

    def __init__(self, optimizers: int, accumulation: int) -> None:
        super().__init__()
        self.model: Any = Linear() if optimizers == 1 else Towers()
        self.criterion = nn.MSELoss()
        self.accumulation = accumulation
        self.automatic_optimization = optimizers == 1

    def losses(self, batch: Any) -> list[torch.Tensor]:
        loss = self.model.get_loss(batch, self.criterion, self.device)
        return list(loss.values()) if isinstance(loss, MultiLoss) else [loss]

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        losses = self.losses(batch)
        self.log("train_loss", losses[0], on_step=False, on_epoch=True)
        if self.automatic_optimization:
            return losses[0]
        is_update = (batch_idx + 1) % self.accumulation == 0 or self.trainer.is_last_batch
        for loss, optimizer in zip(losses, self._optimizers(), strict=True):
            self.manual_backward(loss / self.accumulation)
            if is_update:
                optimizer.step()
                optimizer.zero_grad()
        return None

    def _optimizers(self) -> list[Any]:
        found: Any = self.optimizers()
        return list(found) if isinstance(found, list) else [found]

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.losses(batch)[0])

    def configure_optimizers(self) -> Any:
        return optimizers_for(self.model, 1 if self.automatic_optimization else 2)


def optimizers_for(model: Any, optimizers: int) -> list[torch.optim.Optimizer]:
    """Make one optimizer for the whole model, or one for each tower."""
    parts = [model] if optimizers == 1 else [model.layer, model.other]
    return [torch.optim.SGD(part.parameters(), lr=rate) for part, rate in zip(parts, RATES, strict=False)]


class Trace(AbstractCallback):
    """Notes learning rates before each batch, and weights after it."""

    def __init__(self) -> None:
        super().__init__("trace", execution_order=1000)
        self.rates: list[list[float]] = []
        self.weights: list[list[torch.Tensor]] = []

    def on_batch_begin(self) -> None:
        optimizer: Any = self.train_loop_obj.optimizer
        optimizers = optimizer.optimizer_list if isinstance(optimizer, MultiOptimizer) else [optimizer]
        self.rates.append([one.param_groups[0]["lr"] for one in optimizers])

    def on_batch_end(self) -> None:
        model = self.train_loop_obj.model
        self.weights.append([parameter.detach().clone() for parameter in model.parameters()])


@dataclass
class Training:
    """What can be seen of a training that is over.

    Attributes:
        loop: The TrainLoop, or what stands for it.
        trace: Its weights and learning rates.
        lines: What was printed.
        epochs: The epochs that ran.
    """

    loop: Any
    trace: Trace
    lines: list[str]

    @property
    def epochs(self) -> int:
        return len(self.trace.weights) // BATCHES

    def assert_equals(self, other: "Training") -> None:
        """Compare the weights after every batch and the learning rates before it, bit for bit."""
        assert self.trace.rates == other.trace.rates
        assert len(self.trace.weights) == len(other.trace.weights) > 0
        for ours, theirs in zip(self.trace.weights, other.trace.weights, strict=True):
            assert all(torch.equal(one, another) for one, another in zip(ours, theirs, strict=True))

    def is_same_as(self, other: "Training") -> bool:
        """Tell whether two trainings end with the same weights."""
        return all(map(torch.equal, self.trace.weights[-1], other.trace.weights[-1]))


# What Lightning says of a Trainer's loaders and checkpoints as small as these.
HINTS = (
    ".*does not have many workers.*",
    ".*LeafSpec.*",
    ".*smaller than the logging interval.*",
    ".*your dataloader is not resumable.*",
    "Checkpoint directory .* exists and is not empty",
)


@contextmanager
def quietly() -> Iterator[io.StringIO]:
    """Take what is printed, and leave unsaid what Lightning and the quirks say of such small toys."""
    output = io.StringIO()
    with redirect_stdout(output), redirect_stderr(output), warnings.catch_warnings():
        warnings.simplefilter("ignore", QuirkWarning)
        for message in HINTS:
            warnings.filterwarnings("ignore", message=message)
        yield output


def trainer_with(callbacks: list[Any], **arguments: Any) -> Trainer:
    """Make a Trainer that writes and shows nothing unless it is asked to."""
    quiet: dict[str, Any] = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(callbacks=callbacks, **{**quiet, **arguments})


def loaders() -> tuple[Any, Any]:
    """Make the training and the validation loader."""
    return data_loader(2 * BATCHES), data_loader(4)


def in_trainer(
    callbacks: list[AbstractCallback], optimizers: int = 1, accumulation: int = 1, epochs: int = 3, **arguments: Any
) -> Training:
    """Train in a plain Trainer."""
    trace = Trace()
    adapters = [as_lightning_callback(callback) for callback in [*callbacks, trace]]
    if optimizers == 1:
        arguments["accumulate_grad_batches"] = accumulation
    with quietly() as output:
        trainer = trainer_with(adapters, max_epochs=epochs, **arguments)
        trainer.fit(PlainModule(optimizers, accumulation), *loaders())
    return Training(trace.train_loop_obj, trace, output.getvalue().splitlines())


def in_loop(callbacks: list[AbstractCallback], optimizers: int = 1, accumulation: int = 1, epochs: int = 3) -> Training:
    """Train in a TrainLoop."""
    trace, model = Trace(), Linear() if optimizers == 1 else Towers()
    several = optimizers_for(model, optimizers)
    train, validation = loaders()
    optimizer = several[0] if optimizers == 1 else MultiOptimizer(several)
    with quietly() as output:
        loop = TrainLoop(model, train, validation, None, optimizer, nn.MSELoss())
        loop.fit(epochs, callbacks=[*callbacks, trace], grad_accumulation=accumulation)
    return Training(loop, trace, output.getvalue().splitlines())


def both(
    make: Callable[[], list[AbstractCallback]], optimizers: int, accumulation: int, epochs: int = 3
) -> tuple[Training, Training]:
    """Train in a plain Trainer and in a TrainLoop, each with callbacks of its own."""
    return (
        in_trainer(make(), optimizers, accumulation, epochs),
        in_loop(make(), optimizers, accumulation, epochs),
    )


def fit_plain(module: Any, *callbacks: Any, epochs: int = 3, ckpt: Any = None, **arguments: Any) -> Any:
    """Train a module in a Trainer with callbacks of both kinds, the old ones adapted."""
    adapted = [as_lightning_callback(one) if isinstance(one, AbstractCallback) else one for one in callbacks]
    with quietly():
        trainer = trainer_with(adapted, max_epochs=epochs, **arguments)
        trainer.fit(module, *loaders(), ckpt_path=ckpt)
    return trainer


class At(Callback):
    """Calls a function with the Trainer in one hook of Lightning's."""

    def __init__(self, hook: str, act: Any) -> None:
        setattr(self, hook, lambda trainer, *_: act(trainer))
