"""``migration_guide/native_parts.md``: what the runs of the matrix gave, as tables."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.both_worlds.matrix import CELLS, Cell, Outcome, missing, outcome
from tests.both_worlds.native_parts import NATIVE_PARTS, NativePart
from tests.both_worlds.old_parts import OLD_PARTS
from tests.guide.markdown import code, table

__all__ = ["PATH", "absent", "text"]

PATH = Path(__file__).parents[2] / "migration_guide" / "native_parts.md"

_BEGIN = """<!-- Written by `python -m tests.both_worlds` from its own runs: edit tests/both_worlds, not this page. -->

# Native parts, one by one

Which of Lightning's callbacks, loggers and flags work with old callbacks at their side, and which old callbacks work in
a plain `Trainer`. [Old and new side by side](both_worlds.md) says how to use them. The tables are written by tests:
every row was run with one optimizer and with a `MultiOptimizer`, with accumulation and without, with old callbacks in
between, and its effect was checked. Unless a part is there to change the training, the weights, the history and the
order of events were those without it, to the last bit.

* **since** is the first Lightning that has the part, of 2.4 and newer.
* **in a TrainLoop** is `TrainLoop.fit(callbacks=[...])`, or `TrainLoop(lightning_args={...})` for loggers and flags.
  **in your own Trainer** is a `Trainer` that fits what `compat.as_lightning_module(loop)` returns.
  *repaired* is what Lightning alone would leave undone, without a word, where the loop steps the optimizers itself.
* **step** is what one step of Lightning becomes: *whole epochs*, the fastest; *cut*, where the part acts and nowhere
  else; or *every batch*. `print(loop.lightning_module.cadence)` tells it for your loop:

```python
import torch
from lightning.pytorch import Callback
from torch import nn

from compat import TrainLoop, TTBasicModel


class Line(TTBasicModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, x):
        return self.layer(x)


class Watch(Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        assert trainer.global_step == batch_idx + 1


x = torch.linspace(-1, 1, 8).reshape(4, 2, 1)
data = list(zip(x, 3 * x + 1))
model = Line()
loop = TrainLoop(model, data, data, None, torch.optim.SGD(model.parameters(), lr=0.1), nn.MSELoss())
loop.fit(num_epochs=1, callbacks=[Watch()])

print(loop.lightning_module.cadence)
assert loop.lightning_module.cadence.reasons == ("Watch.on_train_batch_end",)
```
"""

_HEADINGS = {
    "callback": "## Lightning's callbacks",
    "logger": '## Loggers\n\nAs `lightning_args={"logger": ...}`, or `Trainer(logger=...)`.\n'
    '`pip install "trainloop-compat[loggers]"` installs the packages that they write through.',
    "flag": "## Flags\n\nAs `lightning_args={...}`, or `Trainer(...)`; an empty field is Lightning's own affair.",
}

_OLD = """## Old callbacks in a plain Trainer

As `Trainer(callbacks=[compat.as_lightning_callback(...)])`, with a LightningModule that knows nothing of them.
"""


def absent() -> list[str]:
    """List the parts that cannot run here, and why: without them there is no page."""
    return [f"{part.name} needs {lacking}" for part in NATIVE_PARTS if (lacking := missing(part))]


def text() -> str:
    """Run what has not been run yet, and write the page.

    Raises:
        AssertionError: A part does not do what is said of it.
    """
    lines = _BEGIN.splitlines()
    for kind, heading in _HEADINGS.items():
        lines += ["", *heading.splitlines(), ""]
        header = ["part", "since", "in a TrainLoop", "in your own Trainer", "step", "note"]
        lines += table(header, (_row(index) for index, part in enumerate(NATIVE_PARTS) if part.kind == kind))[:-1]
    lines += ["", *_OLD.splitlines(), ""]
    return "\n".join([*lines, *table(["callback", "in a plain Trainer", "note"], _old_rows())[:-1]]) + "\n"


def _row(index: int) -> list[str]:
    part = NATIVE_PARTS[index]
    runs = {cell: outcome(cell) for cell in CELLS if cell.part == index}
    words = [
        _told(part.verdict_in(world), {found.is_refused for cell, found in runs.items() if cell.world == world})
        for world in ("TrainLoop", "Trainer")
    ]
    return [_name(part), part.since, *words, _step(runs), part.note]


def _name(part: NativePart) -> str:
    if part.name.startswith(("a ", "any ")):
        return part.name
    call, found, rest = part.name.partition(") with")
    return f"{code(call + ')')} with{rest}" if found else code(part.name)


def _told(verdict: str, refused: set[bool]) -> str:
    if not refused:
        return ""
    (is_refused,) = refused
    return "refused" if is_refused else verdict


def _step(runs: Mapping[Cell, Outcome]) -> str:
    """Say what a step is, by the first cell of each world: the others differ in numbers only."""
    said = {}
    for world in ("Trainer", "TrainLoop"):
        found = next((each for cell, each in runs.items() if cell.world == world and each.cadence), None)
        if found is not None:
            said[found.kind] = found.cadence, world
    texts = [text if world == "TrainLoop" else f"in a Trainer: {text}" for text, world in reversed(said.values())]
    return "; ".join(texts)


def _old_rows() -> Iterator[list[str]]:
    for part in OLD_PARTS:
        for optimizers in (1, 2):
            for accumulation in (1, 3):
                part.check(optimizers, accumulation)
        yield [code(part.name), part.verdict, part.note]
