"""The matrix: which cells there are, and what became of each."""

import atexit
import builtins
import functools
import importlib.util
import io
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import lightning
import torch
from packaging.version import Version

from compat import exceptions
from tests.both_worlds.cells import (
    EPOCHS,
    SEED,
    Attached,
    Fit,
    Setting,
    World,
    assert_same_training,
    captured,
    old_callbacks,
    run,
)
from tests.both_worlds.native_parts import NATIVE_PARTS
from tests.both_worlds.part import NativePart

__all__ = ["CELLS", "Cell", "Outcome", "missing", "outcome"]

# Optimizers, accumulation, and whether the old callbacks have hooks for single batches: the loop does less without.
SETTINGS = [(1, 1, False), (1, 3, False), (2, 1, False), (2, 3, False), (1, 1, True), (2, 3, True)]


@dataclass(frozen=True)
class Cell:
    """A part in a setting.

    Attributes:
        part: The part's place in the list.
        world: As in :class:`Setting`.
        optimizers: As in :class:`Setting`.
        accumulation: As in :class:`Setting`.
        is_lean: As in :class:`Setting`.
    """

    part: int
    world: World
    optimizers: int
    accumulation: int
    is_lean: bool = False

    @property
    def native(self) -> NativePart:
        """The part itself."""
        return NATIVE_PARTS[self.part]

    def __str__(self) -> str:
        old = "-lean" if self.is_lean else ""
        return f"{self.native.name}-{self.world}-{self.optimizers}-{self.accumulation}{old}"


CELLS = [
    Cell(index, world, *setting)  # type: ignore[arg-type]
    for index, part in enumerate(NATIVE_PARTS)
    for world, setting in product(part.worlds, SETTINGS)
]


@dataclass(frozen=True)
class Outcome:
    """What became of a cell whose checks held.

    Attributes:
        is_refused: Whether the training did not begin.
        cadence: What the step was, in the words of the engine; nothing if there was none.
        validation: Who made a validation loop necessary.
    """

    is_refused: bool
    cadence: str = ""
    validation: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The cadence in short."""
        return self.cadence.partition(".")[0].partition(",")[0]


def missing(part: NativePart) -> str:
    """Say what a part needs that is not here; nothing if all is here."""
    if Version(lightning.__version__) < Version(part.since):
        return f"Lightning {part.since}"
    return ", ".join(name for name in part.needs if importlib.util.find_spec(name) is None)


@functools.cache
def _root() -> Path:
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def outcome(cell: Cell) -> Outcome:
    """Run a cell and check all that is said of its part.

    Args:
        cell: The cell.

    Returns:
        What became of it; the same again for the same cell.
    """
    return examine(cell.native, cell)


def examine(part: NativePart, cell: Cell) -> Outcome:
    """Run a part in a cell's setting and check all that is said of it.

    Args:
        part: The part.
        cell: Where.
    """
    folder = _root() / f"{cell.part}-{cell.world}-{cell.optimizers}-{cell.accumulation}-{cell.is_lean}"
    folder.mkdir(exist_ok=True)
    with surroundings_kept():
        fit = run(part.make, Setting(cell.world, cell.optimizers, cell.accumulation, folder, cell.is_lean))
        if part.verdict_in(cell.world) == "refused":
            check_refusal(part, fit)
            return Outcome(is_refused=True)
        if part.same:
            fit.finished()
        part.examine(fit)
        cadence = fit.module.cadence
        found = Outcome(is_refused=False, cadence=str(cadence), validation=tuple(cadence.validation))
    expected = part.own_cadence if cell.world == "Trainer" and part.own_cadence else part.cadence
    assert found.kind == expected, found.cadence
    return found


def check_refusal(part: NativePart, fit: Fit) -> None:
    """Check that a refusal says why, and that nothing has happened by then.

    Args:
        part: The part.
        fit: Its run.
    """
    assert fit.error is not None, "not refused"
    kind = getattr(exceptions, part.error, None) or getattr(builtins, part.error)
    assert isinstance(fit.error, kind), repr(fit.error)
    assert re.search(part.reason, str(fit.error)), str(fit.error)
    if fit.loop is None:
        # The constructor refused it.
        return
    assert fit.witness.names() in ([], ["registration"])
    again = Fit(fit.setting, loop=fit.loop)
    old, again.witness = old_callbacks(fit.setting, Attached())
    again.witness.watch(fit.loop)
    torch.manual_seed(SEED)
    with captured(io.StringIO(), fit.setting.world):
        fit.loop.fit(EPOCHS, callbacks=old, grad_accumulation=fit.setting.accumulation)
    again.witness.finish(again.final)
    assert_same_training(again)


@contextmanager
def surroundings_kept() -> Iterator[None]:
    """Give back the environment variables that loggers' packages set, and end what they have started."""
    before: dict[str, Any] = dict(os.environ)
    # Nothing is sent anywhere.
    os.environ |= {"WANDB_ERROR_REPORTING": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    try:
        yield
    finally:
        wandb = importlib.import_module("wandb") if "WANDB_SERVICE" in os.environ else None
        if wandb is not None:
            wandb.teardown()
        os.environ.clear()
        os.environ |= before
