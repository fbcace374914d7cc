"""What the data say of Lightning is so in this Lightning, nothing of it is left out, and a broken effect is noticed."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch import callbacks as native
from lightning.pytorch import loggers as native_loggers
from lightning.pytorch.callbacks import EarlyStopping, LambdaCallback
from packaging.version import Version

from tests.both_worlds import since
from tests.both_worlds.matrix import Cell, examine, missing
from tests.both_worlds.native_parts import NATIVE_PARTS, NativePart
from tests.both_worlds.part import callback, nothing_more
from tests.both_worlds.parts_checkpoints import checkpoint
from tests.both_worlds.parts_loggers import logger
from tests.both_worlds.parts_monitors import csv_logger

HERE = Version(lightning.__version__)


def there(table: dict[str, str]) -> set[str]:
    """List what this Lightning has of a table."""
    gone = {name for name, version in since.GONE.items() if Version(version) <= HERE}
    return {name for name, version in table.items() if Version(version) <= HERE} - gone


def test_callbacks_of_this_lightning_are_those_of_the_data() -> None:
    assert set(native.__all__) == there(since.CALLBACKS)


def test_loggers_of_this_lightning_are_those_of_the_data() -> None:
    assert set(native_loggers.__all__) == there(since.LOGGERS)


@pytest.mark.parametrize("owner", since.ARGUMENTS)
def test_arguments_of_this_lightning_are_those_of_the_data(owner: str) -> None:
    made: Any = Trainer if owner == "Trainer" else getattr(native, owner)
    has = inspect.signature(made.__init__).parameters.keys() & since.ARGUMENTS[owner].keys()
    assert has == there(since.ARGUMENTS[owner])


@pytest.mark.parametrize("name", since.CALLBACKS)
def test_each_callback_is_a_part_since_the_release_that_brought_it(name: str) -> None:
    parts = [part for part in NATIVE_PARTS if part.kind == "callback" and named(part, name)]
    assert {part.since for part in parts if "save_on_exception" not in part.name} == {since.CALLBACKS[name]}


def named(part: NativePart, name: str) -> bool:
    """Tell whether a part is of a class: it begins with its name, or is one of the user's own."""
    return part.name.partition("(")[0] == name or f" {name} " in f"{part.name} "


@pytest.mark.parametrize("name", since.LOGGERS)
def test_each_logger_is_a_part_or_named_as_one_that_no_test_runs(name: str) -> None:
    texts = [f"{part.name} {part.note}" for part in NATIVE_PARTS if part.kind == "logger"]
    assert any(name in text for text in texts)


def test_each_flag_of_the_trainer_is_a_part() -> None:
    flags = {name for part in NATIVE_PARTS if part.kind == "flag" for name in part.name.partition("=")[0].split(", ")}
    # Those have tables of their own, and this one acts through them.
    flags |= {"logger", "log_every_n_steps", "default_root_dir"}
    later = {name for name, version in since.ARGUMENTS["Trainer"].items() if Version(version) > HERE}
    assert flags - later == inspect.signature(Trainer.__init__).parameters.keys() - {"self"}


def test_names_are_different() -> None:
    names = [(part.kind, part.name) for part in NATIVE_PARTS]
    assert len(set(names)) == len(names)


def part_of(name: str) -> NativePart:
    """Find a part."""
    return next(part for part in NATIVE_PARTS if part.name == name)


class Restless(Callback):
    """Draws a random number at each epoch's end, and so changes what is trained after it."""

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        torch.rand(1)


class Meddler(Callback):
    """Changes a weight when all is over."""

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        with torch.no_grad():
            next(pl_module.parameters()).add_(1e-7)


def rounded(fit: Any) -> None:
    """Round what was saved as the best score, as Lightning's own float32 does."""
    fit.attached.callbacks[0].best_model_score = fit.attached.callbacks[0].best_model_score.float()
    part_of('ModelCheckpoint(monitor="val_loss")').check(fit)


def plain(make: Callable[[Any], Any], **fields: Any) -> NativePart:
    """Describe a part of which nothing more is said than that it leaves the training alone."""
    return NativePart("a part", "callback", "2.4", make, nothing_more, "", **fields)


BROKEN = {
    "files at other updates": lambda: dataclasses.replace(
        part_of("ModelCheckpoint(every_n_train_steps=4)"), make=checkpoint(every_n_train_steps=3, save_top_k=-1)
    ),
    "a score in float32": lambda: dataclasses.replace(part_of('ModelCheckpoint(monitor="val_loss")'), check=rounded),
    "a stop in another epoch": lambda: dataclasses.replace(
        part_of('EarlyStopping("val_loss", mode="max")'),
        make=callback(lambda setting: Late(setting.monitor)),
    ),
    "a logger of nothing": lambda: dataclasses.replace(
        part_of('CSVLogger("logs")'), make=logger(csv_logger, limit_val_batches=1)
    ),
    "another moving average": lambda: dataclasses.replace(
        part_of("EMAWeightAveraging(decay=0.75)"),
        make=callback(lambda _: native.EMAWeightAveraging(decay=0.7)),
    ),
    "another cadence than is said": lambda: dataclasses.replace(
        part_of("a Callback of your own, per batch"), cadence="whole epochs"
    ),
    "a random number drawn": lambda: plain(callback(lambda _: Restless())),
    "a weight changed in its last bits": lambda: plain(callback(lambda _: Meddler())),
    "served, and said to be refused": lambda: plain(
        callback(lambda _: LambdaCallback()), verdict="refused", reason="because"
    ),
    "refused for another reason": lambda: dataclasses.replace(
        part_of("LearningRateFinder()"), reason="no reason at all"
    ),
    "refused by another error": lambda: dataclasses.replace(part_of("LearningRateFinder()"), error="InvalidTypeError"),
}


class Late(EarlyStopping):
    """Stops an epoch later than it says."""

    def __init__(self, monitor: str) -> None:
        super().__init__(monitor, patience=2, mode="max")

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        self.patience = 1 if trainer.should_stop or trainer.current_epoch == trainer.max_epochs - 1 else 2


@pytest.mark.parametrize("what", BROKEN)
def test_control_a_cell_with_a_broken_effect_fails(what: str) -> None:
    broken = BROKEN[what]()
    if lacking := missing(broken):
        pytest.skip(f"needs {lacking}")
    # A folder of its own, by a number that no part has.
    cell = Cell(len(NATIVE_PARTS) + list(BROKEN).index(what), "TrainLoop", 1, 1)
    with pytest.raises(AssertionError):
        examine(broken, cell)
