"""One cell of the matrix: a small training with old callbacks and a native part mixed in, and what can be seen of it.

A training has 3 epochs of 5 batches of 2 samples, in random order, with dropout: whoever draws a random number that the
loop alone would not have drawn changes every weight from there on. All weights are noted after every batch.
"""

import contextlib
import functools
import io
import logging
import random
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch.utils.data import DataLoader, TensorDataset

import compat
from compat import EarlyStopping, MultiOptimizer, StepLRScheduler, TrainLoop
from tests.both_worlds.witness import LeanWitness, Losses, Net, Weights, Witness, weights_of

EPOCHS, BATCHES = 3, 5
# Of the random numbers of a training.
SEED = 5
# How the entries of the history begin that are made when a training ends, and not in every epoch.
END_KEYS = "train_end_"
# The events that a callback without hooks for single batches hears of.
OF_EPOCHS = frozenset({"registration", "train_begin", "train_end", "epoch_begin", "epoch_end"})

World = Literal["TrainLoop", "Trainer"]


@dataclass(frozen=True)
class Setting:
    """Where a part is tried.

    Attributes:
        world: ``TrainLoop.fit``, or the user's own ``Trainer`` with ``compat.as_lightning_module``.
        optimizers: 1, or 2 in a ``MultiOptimizer``.
        accumulation: Batches in an accumulation window.
        folder: An empty folder for files.
        is_lean: Whether the old callbacks have no hooks for single batches either.
    """

    world: World
    optimizers: int
    accumulation: int
    folder: Path
    is_lean: bool = False

    @property
    def monitor(self) -> str:
        """The name of the (first) loss over the validation set in the history."""
        return "val_loss" if self.optimizers == 1 else "val_loss_first"


@dataclass
class Attached:
    """What a part brings into a cell.

    Attributes:
        callbacks: Native callbacks.
        args: Arguments of Lightning's Trainer.
        old: Further old callbacks.
        trained: ``"all"`` layers are in the optimizers, or all but the ``"backbone"``.
        epochs: How many epochs ``fit`` is asked for.
        prepare: Changes the loop before it is fitted.
    """

    callbacks: list[Any] = field(default_factory=list)
    args: dict[str, Any] = field(default_factory=dict)
    old: list[Any] = field(default_factory=list)
    trained: str = "all"
    epochs: int = EPOCHS
    prepare: Callable[[TrainLoop], None] = field(default=lambda loop: None)


@dataclass
class Fit:
    """What can be seen of a training that is over."""

    setting: Setting
    attached: Attached = field(default_factory=Attached)
    loop: Any = None
    witness: Witness = field(default_factory=Witness)
    trainer: Any = None
    module: Any = None
    output: str = ""
    error: BaseException | None = None

    @property
    def losses(self) -> list[float]:
        """The losses that were computed while something was trained, one after the other."""
        return list(self.loop.criterion.values)

    @property
    def history(self) -> dict[str, list[Any]]:
        """The history as plain lists."""
        return {key: list(values) for key, values in self.loop.train_history.train_history.items()}

    @property
    def final(self) -> Weights:
        """The weights after the training."""
        return weights_of(self.loop.model)

    @property
    def updates(self) -> list[int]:
        """How many updates there had been after each batch."""
        return [sum(self.witness.updated[: index + 1]) for index in range(len(self.witness.updated))]

    @property
    def folder(self) -> Path:
        """The folder of the cell's files."""
        return self.setting.folder

    def finished(self) -> None:
        """Raise the error that ended the training, if one has."""
        if self.error is not None:
            raise self.error

    def after_update(self, update: int) -> Weights:
        """Return the weights after an update, counted from 1."""
        return self.witness.weights[self.updates.index(update)]

    def after_epoch(self, epoch: int) -> Weights:
        """Return the weights at the end of an epoch, counted from 0."""
        return self.witness.weights[BATCHES * (epoch + 1) - 1]

    @property
    def reasons(self) -> tuple[str, ...]:
        """What made the step shorter than an epoch."""
        return tuple(self.module.cadence.reasons)


def loader(samples: int, batch_size: int, **options: Any) -> DataLoader[Any]:
    """Make a loader of ``(N, 3)`` inputs and ``(N, 1)`` targets that are always the same."""
    generator = torch.Generator().manual_seed(samples)
    inputs = torch.randn(samples, 3, generator=generator)
    return DataLoader(TensorDataset(inputs, inputs.sum(dim=1, keepdim=True)), batch_size=batch_size, **options)


def make_loop(setting: Setting, attached: Attached, args: dict[str, Any] | None) -> TrainLoop:
    """Make the loop of a cell, always from the same weights."""
    torch.manual_seed(3)
    model = Net(setting.optimizers)
    trained = [*([] if attached.trained == "head" else model.backbone.parameters()), *model.head.parameters()]
    optimizers = [torch.optim.SGD(trained, lr=0.1, momentum=0.5)]
    if setting.optimizers == 2:
        optimizers.append(torch.optim.SGD(model.other.parameters(), lr=0.05))
    return TrainLoop(
        model,
        loader(2 * BATCHES, 2, shuffle=True),
        loader(6, 2),
        loader(8, 2),
        MultiOptimizer(optimizers) if setting.optimizers == 2 else optimizers[0],
        Losses(setting.optimizers),
        quirks={"Q01": "kept", "Q11": "kept", "Q18": "kept"},
        lightning_args=args or None,
    )


def old_callbacks(setting: Setting, attached: Attached) -> tuple[list[Any], Witness]:
    """Make the old callbacks of a cell: a schedule, an early stopping that never stops, and the witness."""
    witness = LeanWitness() if setting.is_lean else Witness()
    schedule = StepLRScheduler(step_size=1, gamma=0.5, **({"optimizer_idx": 0} if setting.optimizers == 2 else {}))
    return [EarlyStopping(monitor=setting.monitor, patience=99), schedule, witness, *attached.old], witness


def run(make: Callable[[Setting], Attached], setting: Setting) -> Fit:
    """Run one cell.

    Args:
        make: Makes what the part brings.
        setting: Where it is tried.

    Returns:
        What can be seen afterwards. An exception that ended the training is in ``error``.
    """
    fit, output = Fit(setting), io.StringIO()
    with captured(output, setting.world):
        try:
            _train(fit, make)
        except Exception as raised:  # noqa: BLE001 - the cell's check judges it
            fit.error = raised
    fit.output = output.getvalue()
    if fit.loop is not None:
        fit.witness.finish(fit.final)
    return fit


def _train(fit: Fit, make: Callable[[Setting], Attached]) -> None:
    setting = fit.setting
    attached = fit.attached = make(setting)
    loop = fit.loop = make_loop(setting, attached, attached.args if setting.world == "TrainLoop" else None)
    attached.prepare(loop)
    old, fit.witness = old_callbacks(setting, attached)
    fit.witness.watch(loop)
    if setting.world == "TrainLoop":
        mixed = [*old, *attached.callbacks]
        random.Random(len(mixed)).shuffle(mixed)
        torch.manual_seed(SEED)
        try:
            loop.fit(attached.epochs, callbacks=mixed, grad_accumulation=setting.accumulation)
        finally:
            fit.trainer, fit.module = loop.trainer, loop.lightning_module
    else:
        fit.module, data = compat.as_lightning_module(loop, callbacks=old, grad_accumulation=setting.accumulation)
        fit.trainer = own_trainer(setting, attached)
        torch.manual_seed(SEED)
        fit.trainer.fit(fit.module, datamodule=data)


def own_trainer(setting: Setting, attached: Attached) -> Trainer:
    """Make the user's own Trainer, quiet but for what the part asks for."""
    quiet = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": any(isinstance(callback, Checkpoint) for callback in attached.callbacks),
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": setting.folder,
    }
    return Trainer(max_epochs=attached.epochs, callbacks=attached.callbacks, **{**quiet, **attached.args})


@contextlib.contextmanager
def captured(output: io.StringIO, world: World) -> Iterator[None]:
    """Take what is printed and what Lightning logs, and leave hints about a training as small as this unsaid."""
    handler = logging.StreamHandler(output)
    logger = logging.getLogger("lightning.pytorch")
    logger.addHandler(handler)
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output), warnings.catch_warnings():
        for hint in (*HINTS, *(OWN_HINTS if world == "Trainer" else ())):
            warnings.filterwarnings("ignore", message=hint)
        try:
            yield
        finally:
            logger.removeHandler(handler)


# What packages say about themselves, and torch about a fit that ends before its first update.
HINTS = (
    ".*flops_per_batch.*",
    "Detected call of `lr_scheduler.step",
    # Lightning's own of a checkpoint in the first epoch, and of `logger=True` where there is no TensorBoard.
    ".*could not find the monitored key",
    ".*`tensorboardX` has been removed",
    # XXX: said by MLflow's store with SQLAlchemy 2.1 (mlflow 3.17).
    "The ``noload`` loader strategy",
)
# What Lightning says of loaders and modules as small as these in a user's own Trainer.
OWN_HINTS = (
    ".*dataloader_iter.*",
    ".*does not have many workers.*",
    ".*smaller than the logging interval.*",
    ".*LeafSpec.*",
    # XXX: said of every fit with an OnExceptionCheckpoint (lightning 2.6).
    ".*fit.ckpt_path=None.*was called without a model",
    ".*there is no last checkpoint available",
)


@functools.cache
def baseline(optimizers: int, accumulation: int, trained: str = "all") -> Fit:
    """Run the same training in a TrainLoop with no native part.

    Args:
        optimizers: As in :class:`Setting`.
        accumulation: As in :class:`Setting`.
        trained: As in :class:`Attached`.
    """
    with tempfile.TemporaryDirectory() as folder:
        fit = run(lambda _: Attached(trained=trained), Setting("TrainLoop", optimizers, accumulation, Path(folder)))
    fit.finished()
    return fit


def assert_equal(left: Weights, right: Weights) -> None:
    """Compare weights bit for bit."""
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


def assert_same_training(fit: Fit, *, batches: int = EPOCHS * BATCHES) -> None:
    """Compare a training with the one without a native part, bit for bit.

    Args:
        fit: What is compared.
        batches: How many batches it had; a training that was ended early is compared as far as it went.
    """
    bare = baseline(fit.setting.optimizers, fit.setting.accumulation, fit.attached.trained)
    assert len(fit.witness.weights) == batches
    assert_equal(fit.witness.start, bare.witness.start)
    for ours, theirs in zip(fit.witness.weights, bare.witness.weights, strict=False):
        assert_equal(ours, theirs)
    assert fit.witness.rates[:batches] == bare.witness.rates[:batches]
    # Of an epoch that an error ended there is no history.
    epochs = (batches - (fit.error is not None)) // BATCHES
    for key, values in bare.history.items():
        # What is written when a training ends comes from other weights where it ended early.
        if epochs == EPOCHS or not key.startswith(END_KEYS):
            assert fit.history.get(key, [])[:epochs] == values[:epochs], key
    events = [event for event in bare.witness.events if not fit.setting.is_lean or event[0] in OF_EPOCHS]
    if epochs == EPOCHS:
        assert fit.witness.events == events
        assert_equal(fit.final, bare.final)
    elif fit.setting.is_lean:
        # Registration, the beginning of the training, and a beginning and an end for each epoch.
        assert fit.witness.events[: 2 + 2 * epochs] == events[: 2 + 2 * epochs]
    else:
        begun = fit.witness.events
        length = [index for index, event in enumerate(events) if event[0] == "batch_end"][batches - 1] + 1
        assert begun[:length] == events[:length]
