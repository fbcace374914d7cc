"""Native callbacks that look on: monitors, bars, summaries, and the user's own."""

import csv
import re
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import (
    BasePredictionWriter,
    DeviceStatsMonitor,
    LambdaCallback,
    LearningRateMonitor,
    ModelSummary,
    ProgressBar,
    RichModelSummary,
    RichProgressBar,
    SpikeDetection,
    ThroughputMonitor,
    TQDMProgressBar,
)
from lightning.pytorch.loggers import CSVLogger

from tests.both_worlds.cells import (
    BATCHES,
    EPOCHS,
    Attached,
    Fit,
    Setting,
    assert_same_training,
    baseline,
)
from tests.both_worlds.part import NativePart, callback, nothing_more
from tests.both_worlds.witness import optimizers_of

LOG_EVERY = 2
# The batches, counted from 0 over all epochs, where Lightning logs.
LOGGED = range(LOG_EVERY - 1, EPOCHS * BATCHES, LOG_EVERY)


def logged(*made: Callable[[Setting], Any], **args: Any) -> Callable[[Setting], Attached]:
    """Attach callbacks and a CSVLogger."""
    return lambda setting: Attached([make(setting) for make in made], {"logger": csv_logger(setting), **args})


def csv_logger(setting: Setting) -> CSVLogger:
    """Make a logger that writes into the cell's folder."""
    return CSVLogger(setting.folder, name="csv", version=0)


def column(fit: Fit, name: str) -> dict[int, float]:
    """Read a column of the CSV file, by step."""
    with (fit.folder / "csv" / "version_0" / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return {int(row["step"]): float(row[name]) for row in csv.DictReader(file) if row.get(name)}


def logged_rates(fit: Fit, steps: set[int]) -> None:
    """The learning rates in the file are those that the batches were trained with, at these steps and no other."""
    for index, name in enumerate(("lr-SGD",) if fit.setting.optimizers == 1 else ("lr-SGD", "lr-SGD-1")):
        assert column(fit, name) == {step: fit.witness.rates[step][index] for step in steps}


def rates_by_epoch(fit: Fit) -> None:
    """One row an epoch."""
    logged_rates(fit, set(range(0, EPOCHS * BATCHES, BATCHES)))


def rates_by_step(fit: Fit) -> None:
    """One row each time that Lightning logs."""
    logged_rates(fit, set(LOGGED))


def rates_by_both(fit: Fit) -> None:
    """Without an interval: both."""
    logged_rates(fit, {*range(0, EPOCHS * BATCHES, BATCHES), *LOGGED})


def logged_stats(fit: Fit) -> None:
    """The load of the processor before and after every second batch."""
    for moment in ("start", "end"):
        found = column(fit, f"DeviceStatsMonitor.on_train_batch_{moment}/cpu_percent")
        assert sorted(found) == list(LOGGED)
        assert all(value >= 0 for value in found.values())


def logged_throughput(fit: Fit) -> None:
    """The counts of batches and samples are those of the training."""
    assert column(fit, "train/batches") == {step: step + 1 for step in LOGGED}
    assert column(fit, "train/samples") == {step: 2 * (step + 1) for step in LOGGED}


def tqdm_went_to_its_end(fit: Fit) -> None:
    """It counted all batches, and shows this epoch's value."""
    bar = fit.attached.callbacks[0].train_progress_bar
    assert (bar.n, bar.total) == (BATCHES, BATCHES)
    shown = re.search(rf"\b{fit.setting.monitor}=([\d.]+)", bar.postfix)
    assert shown is not None, bar.postfix
    assert abs(float(shown[1]) - fit.history[fit.setting.monitor][-1]) < 0.01


def rich_went_to_its_end(fit: Fit) -> None:
    """It shows all batches, and this epoch's value."""
    # A terminal would show colours and wrap the line.
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", fit.output).replace("\n", " ")
    assert f"{BATCHES}/{BATCHES}" in text
    shown = re.findall(rf"{fit.setting.monitor}:\s+([\d.]+)", text)
    assert shown, text
    assert abs(float(shown[-1]) - fit.history[fit.setting.monitor][-1]) < 0.01


def counted_parameters(fit: Fit) -> None:
    """It counts the parameters of the user's model: 16 and 5, and 4 more for the second loss."""
    count = 16 + 5 + (4 if fit.setting.optimizers == 2 else 0)
    plain = rf"\b{count}\s+Trainable params"
    rich = rf"Trainable params:\s+{count}\b"
    assert re.search(f"{plain}|{rich}", fit.output), fit.output


class OwnBar(ProgressBar):
    """A bar of the user's own: notes what it would draw."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[tuple[int, Any]] = []
        self.metrics: list[dict[str, Any]] = []

    def disable(self) -> None:
        """Draw nothing."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.drawn.append((batch_idx, self.total_train_batches))

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.metrics.append(dict(self.get_metrics(trainer, pl_module)))


def drew_each_batch(fit: Fit) -> None:
    """It drew every batch, and had each epoch's value when the epoch was over."""
    bar = fit.attached.callbacks[0]
    assert bar.drawn == [(batch, BATCHES) for batch in range(BATCHES)] * EPOCHS
    assert [float(metrics[fit.setting.monitor]) for metrics in bar.metrics] == fit.history[fit.setting.monitor]


class Epochs(Callback):
    """A callback of the user's own that does nothing per batch."""

    def __init__(self) -> None:
        self.began: list[int] = []
        self.values: list[dict[str, float]] = []
        self.steps: list[int] = []

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.began.append(trainer.current_epoch)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.values.append({name: value.item() for name, value in trainer.callback_metrics.items()})
        self.steps.append(trainer.global_step)


def saw_each_epoch(fit: Fit, native: Any = None) -> None:
    """It saw each epoch's own metrics, all of them, and the count of updates."""
    native = native or fit.attached.callbacks[0]
    assert native.began == list(range(EPOCHS))
    for epoch, seen in enumerate(native.values):
        history = {key: values[epoch] for key, values in fit.history.items() if len(values) == EPOCHS}
        assert seen == history
    assert native.steps == fit.updates[BATCHES - 1 :: BATCHES]


class Batches(Callback):
    """A callback of the user's own that wants every batch."""

    def __init__(self) -> None:
        self.began: list[int] = []
        self.ended: list[tuple[int, int]] = []
        self.shapes: set[Any] = set()

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.began.append(batch_idx)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.ended.append((batch_idx, trainer.global_step))
        self.shapes.add(tuple(batch[0].shape))


def saw_each_batch(fit: Fit) -> None:
    """It saw each batch, with the count of updates of that moment."""
    native = fit.attached.callbacks[0]
    assert native.began == [*range(BATCHES)] * EPOCHS
    assert native.ended == list(zip([*range(BATCHES)] * EPOCHS, fit.updates, strict=True))
    assert native.shapes == {(2, 3)}


class Gradients(Callback):
    """A callback of the user's own round the backward pass and the update."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.after: list[bool] = []
        self.stepped: list[Any] = []
        self.cleared: list[Any] = []

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: torch.Tensor) -> None:
        self.losses.append(float(loss.detach()))

    def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
        self.after.append(any(parameter.grad is not None for parameter in pl_module.parameters()))

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.stepped.append(optimizer)

    def on_before_zero_grad(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.cleared.append(optimizer)


def saw_each_gradient(fit: Fit) -> None:
    """It saw each loss as it was back-propagated, and each optimizer before its step and before it is cleared."""
    native, optimizers = fit.attached.callbacks[0], optimizers_of(fit.loop)
    trained = fit.losses[: EPOCHS * BATCHES * len(optimizers)]
    divided = [(torch.tensor(loss) / fit.setting.accumulation).item() for loss in trained]
    assert native.losses == divided
    assert native.after == [True] * len(divided)
    in_turn = optimizers * fit.updates[-1]
    assert [id(optimizer) for optimizer in native.stepped] == [id(optimizer) for optimizer in in_turn]
    assert [id(optimizer) for optimizer in native.cleared] == [id(optimizer) for optimizer in in_turn]


class Validation(Callback):
    """A callback of the user's own that waits for validation."""

    def __init__(self) -> None:
        self.epochs: list[int] = []

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        # In the user's own Trainer there is a trial of the validation loop first, as always.
        if not trainer.sanity_checking:
            self.epochs.append(trainer.current_epoch)


def saw_each_validation(fit: Fit) -> None:
    """It was told of each epoch's evaluation."""
    assert fit.attached.callbacks[0].epochs == list(range(EPOCHS))


class Writer(BasePredictionWriter):
    """Writes predictions, of which a training has none."""

    def write_on_epoch_end(self, *args: Any) -> None:
        raise AssertionError(args)


RATIO = 0.5


def spikes(setting: Setting) -> Attached:
    """Attach a SpikeDetection that takes half as much again for a spike."""
    return Attached([SpikeDetection(rtol=RATIO, exclude_batches_path=setting.folder / "skip.json")])


def spike_in(losses: list[float]) -> int | None:
    """Find the first spike by hand: worse than the last loss, and half as much above the mean of the last ten."""
    seen: list[float] = []
    for index, loss in enumerate(losses):
        mean = sum(seen[-10:]) / len(seen[-10:]) if seen else 0.0
        if index % BATCHES >= 1 and loss > seen[-1] and abs(loss - mean) >= RATIO * mean:
            return index
        seen.append(loss)
    return None


def noticed_spike(fit: Fit) -> None:
    """It ended the training at the first spike, and wrote the two batches to leave out."""
    bare = baseline(fit.setting.optimizers, fit.setting.accumulation)
    losses, several = bare.losses, fit.setting.optimizers
    sums = [sum(losses[index : index + several]) for index in range(0, EPOCHS * BATCHES * several, several)]
    expected = spike_in(sums)
    assert expected is not None
    assert type(fit.error).__name__ == "TrainingSpikeException"
    batch = expected % BATCHES
    assert re.findall(r"\d+", (fit.folder / "skip.json").read_text(encoding="utf-8")) == [str(batch - 1), str(batch)]
    assert_same_training(fit, batches=expected + 1)


def noted(hook: str) -> Callable[[Setting], Attached]:
    """Attach a LambdaCallback that notes its calls in a list of its own."""

    def make(_: Setting) -> Attached:
        calls: list[int] = []
        native = LambdaCallback(**{hook: lambda trainer, *others: calls.append(trainer.global_step)})
        native.calls = calls  # type: ignore[attr-defined]
        return Attached([native])

    return make


def called_each_epoch(fit: Fit) -> None:
    """It was called at each epoch's end, with the count of updates."""
    assert fit.attached.callbacks[0].calls == fit.updates[BATCHES - 1 :: BATCHES]


def called_each_batch(fit: Fit) -> None:
    """It was called at each batch's end, with the count of updates."""
    assert fit.attached.callbacks[0].calls == fit.updates


PARTS = [
    NativePart(
        'LearningRateMonitor("epoch")', "callback", "2.4", logged(lambda _: LearningRateMonitor("epoch")),
        rates_by_epoch, "With a logger. Schedules are old callbacks, so the names are those of the optimizers.",
    ),
    NativePart(
        'LearningRateMonitor("step")', "callback", "2.4",
        logged(lambda _: LearningRateMonitor("step"), log_every_n_steps=LOG_EVERY), rates_by_step,
        "With a logger and `log_every_n_steps=n`.", cadence="cut",
    ),
    NativePart(
        "LearningRateMonitor()", "callback", "2.4",
        logged(lambda _: LearningRateMonitor(), log_every_n_steps=LOG_EVERY), rates_by_both,
        "With a logger; both of the above.", cadence="cut",
    ),
    NativePart(
        "DeviceStatsMonitor()", "callback", "2.4",
        logged(lambda _: DeviceStatsMonitor(), log_every_n_steps=LOG_EVERY), logged_stats,
        "With a logger and, on the CPU, psutil.", cadence="cut", needs=("psutil",),
    ),
    NativePart(
        "ThroughputMonitor(...)", "callback", "2.4",
        logged(lambda _: ThroughputMonitor(lambda batch: len(batch[0])), log_every_n_steps=LOG_EVERY),
        logged_throughput, "With a logger.", cadence="every batch",
    ),
    NativePart(
        "TQDMProgressBar()", "callback", "2.4", callback(lambda _: TQDMProgressBar(), enable_progress_bar=True),
        tqdm_went_to_its_end, "It moves every tenth of a second.", cadence="cut",
    ),
    NativePart(
        "RichProgressBar()", "callback", "2.4", callback(lambda _: RichProgressBar(), enable_progress_bar=True),
        rich_went_to_its_end, "It moves every tenth of a second.", cadence="cut", needs=("rich",),
    ),
    NativePart(
        "a ProgressBar of your own", "callback", "2.4", callback(lambda _: OwnBar(), enable_progress_bar=True),
        drew_each_batch, "", cadence="every batch",
    ),
    NativePart(
        "ModelSummary()", "callback", "2.4", callback(lambda _: ModelSummary(2), enable_model_summary=True),
        counted_parameters, "",
    ),
    NativePart(
        "RichModelSummary()", "callback", "2.4",
        callback(lambda _: RichModelSummary(2), enable_model_summary=True), counted_parameters, "", needs=("rich",),
    ),
    NativePart(
        "SpikeDetection()", "callback", "2.4", spikes, noticed_spike, "It gets the loss of each batch.",
        cadence="every batch", same=False,
    ),
    NativePart(
        "a BasePredictionWriter", "callback", "2.4", callback(lambda _: Writer("epoch")), nothing_more,
        "It acts in `Trainer.predict`, which a loop does not use.",
    ),
    NativePart(
        "LambdaCallback(on_train_epoch_end=...)", "callback", "2.4", noted("on_train_epoch_end"), called_each_epoch, "",
    ),
    NativePart(
        "LambdaCallback(on_train_batch_end=...)", "callback", "2.4", noted("on_train_batch_end"), called_each_batch, "",
        cadence="every batch",
    ),
    NativePart(
        "a Callback of your own, per epoch", "callback", "2.4", callback(lambda _: Epochs()), saw_each_epoch,
        "The history's entries are in `trainer.callback_metrics` when `on_train_epoch_end` runs.",
    ),
    NativePart(
        "a Callback of your own, per batch", "callback", "2.4", callback(lambda _: Batches()), saw_each_batch,
        "`trainer.global_step` counts updates, once each, with several optimizers too.", cadence="every batch",
    ),
    NativePart(
        "a Callback of your own, gradient hooks", "callback", "2.4", callback(lambda _: Gradients()),
        saw_each_gradient, "Alone, Lightning would not call them: the loop steps its optimizers itself.",
        verdict="repaired",
    ),
    NativePart(
        "a Callback of your own, on_validation_end", "callback", "2.4", callback(lambda _: Validation()),
        saw_each_validation, "It gets a validation loop, which is the automatic evaluation.", verdict="repaired",
    ),
]  # fmt: skip
