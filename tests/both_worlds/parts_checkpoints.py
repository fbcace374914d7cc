"""Native callbacks that write files or end the training."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import (
    Checkpoint,
    EarlyStopping,
    ModelCheckpoint,
    OnExceptionCheckpoint,
    Timer,
)

from compat import AbstractCallback
from tests.both_worlds.cells import (
    BATCHES,
    EPOCHS,
    Attached,
    Fit,
    Setting,
    assert_equal,
    assert_same_training,
    baseline,
)
from tests.both_worlds.part import NativePart, callback
from tests.both_worlds.witness import Weights

SHORT = timedelta(microseconds=1)


class BoomError(RuntimeError):
    """What a training ends with, on purpose."""


class Bomb(AbstractCallback):
    """Ends a training with an error in its ninth batch, when each setting has had an update in the second epoch."""

    BATCH = 8

    def __init__(self) -> None:
        super().__init__("bomb")

    def on_batch_begin(self) -> None:
        loop: Any = self.train_loop_obj
        if loop.total_iteration_idx == self.BATCH:
            raise BoomError


def checkpoint(**options: Any) -> Callable[[Setting], Attached]:
    """Attach a ModelCheckpoint that writes into the cell's folder; a monitor of ``True`` is the loss of the setting."""

    def make(setting: Setting) -> Attached:
        monitor = {"monitor": setting.monitor} if options.get("monitor") else {}
        return Attached([ModelCheckpoint(dirpath=setting.folder / "files", **{**options, **monitor})])

    return make


def files(fit: Fit) -> dict[str, dict[str, Any]]:
    """Read the checkpoints of a cell with ``weights_only=True``, by name."""
    folder = fit.folder / "files"
    return {path.name: torch.load(path, weights_only=True) for path in sorted(folder.glob("*.ckpt"))}


def model_in(saved: dict[str, Any]) -> Weights:
    """Return the user's weights that a checkpoint holds."""
    return {name.removeprefix("model."): value for name, value in saved["state_dict"].items()}


def holds_epoch(fit: Fit, saved: dict[str, Any], epoch: int) -> None:
    """Check that a checkpoint holds the end of an epoch."""
    assert saved["epoch"] == epoch
    assert saved["global_step"] == fit.updates[BATCHES * (epoch + 1) - 1]
    assert_equal(model_in(saved), fit.after_epoch(epoch))


def saved_last_epoch(fit: Fit) -> None:
    """The default: one file, of the last epoch."""
    ((name, saved),) = files(fit).items()
    assert name == f"epoch={EPOCHS - 1}-step={fit.updates[-1]}.ckpt"
    holds_epoch(fit, saved, EPOCHS - 1)


def saved_best(fit: Fit) -> None:
    """One file, of the epoch with the best value, and the score is that of the history."""
    values = fit.history[fit.setting.monitor]
    choose = {"min": min, "max": max}[fit.attached.callbacks[0].mode]
    ((name, saved),) = files(fit).items()
    best = values.index(choose(values))
    assert fit.attached.callbacks[0].best_model_score.item() == values[best]
    assert Path(fit.attached.callbacks[0].best_model_path).name == name
    holds_epoch(fit, saved, best)


def saved_with_value_in_name(fit: Fit) -> None:
    """The value of this epoch, and not of the last one, is in the name."""
    values = fit.history["loss" if fit.setting.optimizers == 1 else "loss_first"]
    assert sorted(files(fit)) == sorted(f"{epoch}-{value:.12f}.ckpt" for epoch, value in enumerate(values))


def named_by_loss(setting: Setting) -> Attached:
    """Attach a ModelCheckpoint with the value of a metric in the files' names."""
    key = "loss" if setting.optimizers == 1 else "loss_first"
    name = f"{{epoch}}-{{{key}:.12f}}"
    return Attached(
        [ModelCheckpoint(setting.folder / "files", filename=name, save_top_k=-1, auto_insert_metric_name=False)]
    )


def saved_all_epochs(fit: Fit) -> None:
    """A file for each epoch, and the last one once more."""
    found = files(fit)
    last = found.pop("last.ckpt")
    assert len(found) == EPOCHS
    for epoch, saved in enumerate(sorted(found.values(), key=lambda saved: saved["epoch"])):
        holds_epoch(fit, saved, epoch)
    holds_epoch(fit, last, EPOCHS - 1)


def saved_second_epoch(fit: Fit) -> None:
    """Of three epochs every second: one."""
    (saved,) = files(fit).values()
    holds_epoch(fit, saved, 1)


EVERY = 4


def saved_at_updates(fit: Fit) -> None:
    """A file after every fourth update, with the weights of that moment."""
    expected = range(EVERY, fit.updates[-1] + 1, EVERY)
    assert sorted(saved["global_step"] for saved in files(fit).values()) == list(expected)
    for saved in files(fit).values():
        assert_equal(model_in(saved), fit.after_update(saved["global_step"]))


def saved_at_updates_with_score(fit: Fit) -> None:
    """As above once there is a value, and the score of a file within an epoch is that of the epoch before."""
    values, ends = fit.history[fit.setting.monitor], fit.updates[BATCHES - 1 :: BATCHES]
    scores = {Path(path).name: score.item() for path, score in fit.attached.callbacks[0].best_k_models.items()}
    expected = {}
    for update in range(EVERY, fit.updates[-1] + 1, EVERY):
        over = sum(end < update for end in ends)
        if over:
            expected[f"step={update}.ckpt"] = values[over - 1]
    assert {name.partition("-")[2]: score for name, score in scores.items()} == expected


def saved_each_update(fit: Fit) -> None:
    """With a very short interval: a file after each update."""
    found = files(fit)
    assert sorted(saved["global_step"] for saved in found.values()) == list(range(1, fit.updates[-1] + 1))
    for saved in found.values():
        assert_equal(model_in(saved), fit.after_update(saved["global_step"]))


def exploding(make: Callable[[Setting], Attached]) -> Callable[[Setting], Attached]:
    """Add the bomb."""

    def with_bomb(setting: Setting) -> Attached:
        attached = make(setting)
        attached.old.append(Bomb())
        return attached

    return with_bomb


def saved_at_error(fit: Fit) -> None:
    """The error comes through, and the file holds the weights and the counters of that moment."""
    assert isinstance(fit.error, BoomError)
    assert_same_training(fit, batches=Bomb.BATCH)
    (saved,) = (saved for saved in files(fit).values() if saved["global_step"] == fit.updates[-1])
    assert saved["epoch"] == 1
    assert_equal(model_in(saved), fit.witness.weights[-1])


def at_exception(setting: Setting) -> Attached:
    """Attach an OnExceptionCheckpoint and the bomb."""
    return Attached([OnExceptionCheckpoint(setting.folder / "files", "at_error")], old=[Bomb()])


def stopping(**options: Any) -> Callable[[Setting], Attached]:
    """Attach an EarlyStopping on the loss over the validation set, and three epochs more than it can need."""
    return lambda setting: Attached([EarlyStopping(setting.monitor, **options)])


def stopping_epoch(values: list[float], *, patience: int, mode: str) -> int | None:
    """Find the epoch that early stopping stops after, from a history that nobody stopped."""
    best, waited = float("inf"), 0
    for epoch, value in enumerate(values):
        signed = value if mode == "min" else -value
        best, waited = (signed, 0) if signed < best else (best, waited + 1)
        if waited >= patience:
            return epoch
    return None


def stopped_in_time(fit: Fit) -> None:
    """It ended when the values of the uninterrupted training say so."""
    fit.finished()
    bare = baseline(fit.setting.optimizers, fit.setting.accumulation)
    native = fit.attached.callbacks[0]
    expected = stopping_epoch(bare.history[fit.setting.monitor], patience=native.patience, mode=native.mode)
    assert native.stopped_epoch == (expected or 0)
    assert_same_training(fit, batches=BATCHES * (EPOCHS if expected is None else expected + 1))


def knows_no_metric(fit: Fit) -> None:
    """Lightning's own error names the metrics that there are."""
    assert isinstance(fit.error, RuntimeError)
    assert fit.setting.monitor in str(fit.error)
    assert "no_such_metric" in str(fit.error)


def stopped_after_one_batch(fit: Fit) -> None:
    """The time is up when the first batch is over."""
    fit.finished()
    assert_same_training(fit, batches=1)


def stopped_after_one_epoch(fit: Fit) -> None:
    """The time is up in the first epoch, and looked at when it is over."""
    fit.finished()
    assert_same_training(fit, batches=BATCHES)


def measured_time(fit: Fit) -> None:
    """It measured the training."""
    assert 0 < fit.attached.callbacks[0].time_elapsed("train") < 60


class OwnCheckpoint(Checkpoint):
    """A checkpoint of the user's own: notes at each epoch's end what it would save."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.seen.append(next(value.item() for key, value in trainer.callback_metrics.items() if "val_loss" in key))


def saw_this_epochs_value(fit: Fit) -> None:
    """It saw the value of the epoch that was over, as the history has it."""
    assert fit.attached.callbacks[0].seen == fit.history[fit.setting.monitor]


PARTS = [
    NativePart(
        "ModelCheckpoint()", "callback", "2.4", checkpoint(), saved_last_epoch,
        "Files hold the weights as `model.<your name>`, and open with `torch.load(weights_only=True)`.",
    ),
    NativePart(
        'ModelCheckpoint(monitor="val_loss")', "callback", "2.4", checkpoint(monitor=True), saved_best,
        "The score is the value of the history, to the last bit.",
    ),
    NativePart(
        'ModelCheckpoint(monitor="val_loss", mode="max")', "callback", "2.4",
        checkpoint(monitor=True, mode="max"), saved_best, "",
    ),
    NativePart(
        'ModelCheckpoint(filename="{epoch}-{loss:.3f}")', "callback", "2.4", named_by_loss, saved_with_value_in_name,
        "Any entry of the history can be in the name.",
    ),
    NativePart(
        "ModelCheckpoint(save_top_k=-1, save_last=True)", "callback", "2.4",
        checkpoint(save_top_k=-1, save_last=True), saved_all_epochs, "",
    ),
    NativePart(
        "ModelCheckpoint(every_n_epochs=2)", "callback", "2.4", checkpoint(every_n_epochs=2), saved_second_epoch, "",
    ),
    NativePart(
        "ModelCheckpoint(save_on_train_epoch_end=True)", "callback", "2.4",
        checkpoint(monitor=True, save_on_train_epoch_end=True), saved_best, "",
    ),
    NativePart(
        "ModelCheckpoint(save_on_train_epoch_end=False)", "callback", "2.4",
        checkpoint(monitor=True, save_on_train_epoch_end=False), saved_best,
        "Alone, Lightning would never save: it gets a validation loop, which is the automatic evaluation.",
        verdict="repaired",
    ),
    NativePart(
        f"ModelCheckpoint(every_n_train_steps={EVERY})", "callback", "2.4",
        checkpoint(every_n_train_steps=EVERY, save_top_k=-1), saved_at_updates,
        "Steps are updates of the weights: with accumulation, windows.", cadence="cut",
    ),
    NativePart(
        f'ModelCheckpoint(monitor="val_loss", every_n_train_steps={EVERY})', "callback", "2.4",
        checkpoint(monitor=True, every_n_train_steps=EVERY, save_top_k=-1), saved_at_updates_with_score,
        "Within an epoch the value is that of the epoch before, as in Lightning; in the first one nothing is saved.",
        cadence="cut",
    ),
    NativePart(
        "ModelCheckpoint(train_time_interval=...)", "callback", "2.4",
        checkpoint(train_time_interval=SHORT, save_top_k=-1), saved_each_update,
        "Alone, Lightning never saves with manual optimization, and says nothing.",
        verdict="repaired", cadence="cut",
    ),
    NativePart(
        "ModelCheckpoint(save_on_exception=True)", "callback", "2.5.3",
        exploding(checkpoint(save_on_exception=True)) , saved_at_error,
        "The counters in the file are those of the batch that failed.", same=False,
    ),
    NativePart(
        "OnExceptionCheckpoint()", "callback", "2.4", at_exception, saved_at_error,
        "The counters in the file are those of the batch that failed.", same=False,
    ),
    NativePart(
        "a Checkpoint of your own", "callback", "2.4", callback(lambda _: OwnCheckpoint()), saw_this_epochs_value,
        "Lightning runs it last: it sees what all others made of the epoch.",
    ),
    NativePart(
        'EarlyStopping("val_loss")', "callback", "2.4", stopping(patience=1), stopped_in_time,
        "AIToolbox's own of this name counts patience differently: this is Lightning's.", same=False,
    ),
    NativePart(
        'EarlyStopping("val_loss", mode="max")', "callback", "2.4", stopping(patience=1, mode="max"), stopped_in_time,
        "", same=False,
    ),
    NativePart(
        "EarlyStopping(check_on_train_epoch_end=False)", "callback", "2.4",
        stopping(patience=1, check_on_train_epoch_end=False), stopped_in_time,
        "Alone, Lightning would never look: it gets a validation loop, which is the automatic evaluation.",
        verdict="repaired", same=False,
    ),
    NativePart(
        'EarlyStopping("no_such_metric")', "callback", "2.4", callback(lambda _: EarlyStopping("no_such_metric")),
        knows_no_metric, "Lightning's error after the first epoch names the metrics that there are.", same=False,
    ),
    NativePart(
        "Timer()", "callback", "2.4", callback(lambda _: Timer()), measured_time, "",
    ),
    NativePart(
        "Timer(duration)", "callback", "2.4", callback(lambda _: Timer(SHORT)), stopped_after_one_batch,
        "The loop looks at the clock after each batch.", same=False, cadence="cut",
    ),
    NativePart(
        'Timer(duration, interval="epoch")', "callback", "2.4",
        callback(lambda _: Timer(SHORT, interval="epoch")), stopped_after_one_epoch, "", same=False,
    ),
]  # fmt: skip
