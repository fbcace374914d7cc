"""The Trainer's flags in ``lightning_args``: what acts, and what is refused."""

import dataclasses
import io
import re
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.profilers import SimpleProfiler

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
    captured,
    loader,
)
from tests.both_worlds.part import NativePart, nothing_more, refused
from tests.both_worlds.parts_checkpoints import SHORT, stopped_after_one_batch
from tests.both_worlds.parts_monitors import Epochs, counted_parameters, saw_each_epoch
from tests.both_worlds.witness import Net, Weights


def flags(**args: Any) -> Callable[[Setting], Attached]:
    """Pass flags, with files in the cell's folder."""
    return lambda setting: Attached(args={"default_root_dir": setting.folder, **args})


class Look(AbstractCallback):
    """Notes once, in the middle of a training, what a function of no arguments returns."""

    def __init__(self, look: Callable[[], Any]) -> None:
        super().__init__("look")
        self.look = look
        self.seen: list[Any] = []

    def on_batch_end(self) -> None:
        self.seen.append(self.look())


def looked_at(look: Callable[[], Any], **args: Any) -> Callable[[Setting], Attached]:
    """Pass flags, and look at something while the training runs."""
    return lambda _: Attached(args=args, old=[Look(look)])


def on_while_training(fit: Fit) -> None:
    """A switch of the process was on while the training ran, and is off again."""
    (look,) = fit.attached.old
    assert look.seen == [True] * (EPOCHS * BATCHES)
    assert look.look() is False


def reported(*words: str) -> Callable[[Fit], None]:
    """Make a check that a report with these words came out."""

    def check(fit: Fit) -> None:
        fit.finished()
        for word in words:
            assert word in fit.output, fit.output

    return check


def timed_each_batch(fit: Fit) -> None:
    """It timed every single batch."""
    durations = fit.attached.args["profiler"].recorded_durations
    assert len(durations["run_training_batch"]) == EPOCHS * BATCHES


def wrote_trace(fit: Fit) -> None:
    """It recorded the operators of torch, of which the backward pass of a linear layer is one."""
    fit.finished()
    assert "AddmmBackward0" in fit.output, fit.output


def value_on(weights: Weights, setting: Setting, batches: list[Any]) -> float:
    """Compute the (first) loss over some batches by hand."""
    model = Net(setting.optimizers).eval()
    model.load_state_dict(weights)
    with torch.no_grad():
        return sum(torch.nn.functional.mse_loss(model(inputs), targets).item() for inputs, targets in batches) / len(
            batches
        )


def trained_on_two(fit: Fit) -> None:
    """Two batches an epoch, and the last of them ends its window."""
    fit.finished()
    assert len(fit.witness.weights) == 2 * EPOCHS
    assert fit.updates == ([1, 2, 3, 4, 5, 6] if fit.setting.accumulation == 1 else [0, 1, 1, 2, 2, 3])
    assert fit.trainer.global_step == fit.updates[-1]
    bare = baseline(fit.setting.optimizers, fit.setting.accumulation)
    assert_equal(fit.witness.weights[0], bare.witness.weights[0])


def validated_on_one(fit: Fit) -> None:
    """The loss over the validation set is that over its first batch; what is trained is the same."""
    fit.finished()
    bare = baseline(fit.setting.optimizers, fit.setting.accumulation)
    first = list(loader(6, 2))[:1]
    for epoch, value in enumerate(fit.history[fit.setting.monitor]):
        assert value == value_on(fit.after_epoch(epoch), fit.setting, first)
        assert value != bare.history[fit.setting.monitor][epoch]
    assert_equal(fit.final, bare.final)


def tested_on_one(fit: Fit) -> None:
    """The loss over the test set is that over its first batch."""
    fit.finished()
    key = "train_end_test_loss" if fit.setting.optimizers == 1 else "train_end_test_loss_first"
    assert fit.history[key] == [value_on(fit.final, fit.setting, list(loader(8, 2))[:1])]


def overfitted(fit: Fit) -> None:
    """One batch an epoch, always the first in order, and the first of the validation set."""
    fit.finished()
    assert len(fit.witness.weights) == EPOCHS
    _, targets = next(iter(loader(2 * BATCHES, 2)))
    trained = fit.loop.criterion.targets[:: fit.setting.optimizers]
    assert [each.tolist() for each in trained] == [targets.tolist()] * EPOCHS
    first = list(loader(6, 2))[:1]
    for epoch, value in enumerate(fit.history[fit.setting.monitor]):
        assert value == value_on(fit.witness.weights[epoch], fit.setting, first)


def tried(batches: int) -> Callable[[Fit], None]:
    """Make a check of a trial run: so many batches, one epoch, and a loop that can be fitted again."""

    def check(fit: Fit) -> None:
        fit.finished()
        assert len(fit.witness.weights) == batches
        (value,) = fit.history[fit.setting.monitor]
        assert value == value_on(fit.witness.weights[-1], fit.setting, list(loader(6, 2))[:batches])
        if fit.setting.world == "TrainLoop":
            with captured(io.StringIO(), fit.setting.world):
                fit.loop.fit(EPOCHS, grad_accumulation=fit.setting.accumulation)
            assert len(fit.history[fit.setting.monitor]) == 2

    return check


def stopping_at_once(**args: Any) -> Callable[[Setting], Attached]:
    """Attach an early stopping that would stop after the first epoch, and flags against it."""
    return lambda setting: Attached([EarlyStopping(setting.monitor, stopping_threshold=1e9)], args)


def stopped_after_two_epochs(fit: Fit) -> None:
    """It was kept from stopping until the second epoch was over."""
    fit.finished()
    assert_same_training(fit, batches=2 * BATCHES)


# By accumulation: a number of updates, and the batches until then. Both lie in the second epoch.
LEAST = {1: (6, 6), 3: (3, 8)}


def stopped_after_least_steps(fit: Fit) -> None:
    """It was kept from stopping until there were so many updates, and stopped there."""
    fit.finished()
    updates, batches = LEAST[fit.setting.accumulation]
    assert len(fit.witness.weights) == batches
    assert fit.trainer.global_step == fit.updates[-1] == updates
    assert_same_training(fit, batches=batches)


def saved_by_default(fit: Fit) -> None:
    """Lightning's own ModelCheckpoint wrote a file below ``default_root_dir``."""
    fit.finished()
    (path,) = fit.folder.rglob("*.ckpt")
    assert torch.load(path, weights_only=True)["global_step"] == fit.updates[-1]


class OwnIO(TorchCheckpointIO):
    """A CheckpointIO of the user's own, which notes what it writes."""

    def __init__(self) -> None:
        super().__init__()
        self.paths: list[str] = []

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        self.paths.append(str(path))
        super().save_checkpoint(checkpoint, path, storage_options)


def wrote_through_own(fit: Fit) -> None:
    """The files went through it."""
    saved_by_default(fit)
    (own,) = fit.attached.args["plugins"]
    assert len(own.paths) == EPOCHS


def half_precision(fit: Fit) -> None:
    """The losses were computed in bfloat16: near those of float32, and not equal."""
    fit.finished()
    assert fit.trainer.precision == "bf16-mixed"
    bare = baseline(fit.setting.optimizers, fit.setting.accumulation)
    ours, theirs = fit.losses[0], bare.losses[0]
    assert ours != theirs
    assert abs(ours - theirs) < 0.05 * theirs


def showed_bar(fit: Fit) -> None:
    """Lightning's own bar was there, and came to its end."""
    assert re.search(rf"Epoch {EPOCHS - 1}.*{BATCHES}/{BATCHES}", re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", fit.output))


PARTS = [
    NativePart(
        'profiler="simple"', "flag", "2.4", flags(profiler="simple"), reported("Profiler Report", "run_training_batch"),
        "The report comes when `fit` ends.", cadence="every batch",
    ),
    NativePart(
        "profiler=SimpleProfiler()", "flag", "2.4", lambda _: Attached(args={"profiler": SimpleProfiler()}),
        timed_each_batch, "", cadence="every batch",
    ),
    NativePart(
        'profiler="advanced"', "flag", "2.4", flags(profiler="advanced"),
        reported("Profiler Report", "run_training_batch"), "", cadence="every batch",
    ),
    NativePart(
        'profiler="pytorch"', "flag", "2.4", flags(profiler="pytorch"), wrote_trace, "", cadence="every batch",
    ),
    NativePart(
        "max_time", "flag", "2.4", flags(max_time=SHORT), stopped_after_one_batch,
        "The loop looks at the clock after each batch.", cadence="cut", same=False,
    ),
    NativePart(
        "limit_train_batches=2", "flag", "2.4", flags(limit_train_batches=2), trained_on_two,
        "An accumulation window ends with the last of them.", same=False,
    ),
    NativePart(
        "limit_train_batches=0.4", "flag", "2.4", flags(limit_train_batches=0.4), trained_on_two, "", same=False,
    ),
    NativePart(
        "limit_val_batches=1", "flag", "2.4", flags(limit_val_batches=1), validated_on_one, "", same=False,
    ),
    NativePart(
        "limit_test_batches=1", "flag", "2.4", flags(limit_test_batches=1), tested_on_one, "", same=False,
    ),
    NativePart(
        "overfit_batches=1", "flag", "2.4", flags(overfit_batches=1), overfitted,
        "Of the training and of the validation set the first batches, in order.", same=False,
        own_trainer="refused", reason="train_loader",
    ),
    NativePart(
        "fast_dev_run=True", "flag", "2.4", flags(fast_dev_run=True), tried(1), "One epoch of one batch of each set.",
        same=False, own_cadence="cut",
    ),
    NativePart(
        "fast_dev_run=2", "flag", "2.4", flags(fast_dev_run=2), tried(2), "", same=False,
        own_cadence="cut",
    ),
    NativePart(
        "min_epochs=2", "flag", "2.4", stopping_at_once(min_epochs=2), stopped_after_two_epochs,
        "Holds against callbacks that would stop.", same=False,
    ),
    NativePart(
        "min_steps=n", "flag", "2.4",
        lambda setting: stopping_at_once(min_steps=LEAST[setting.accumulation][0])(setting), stopped_after_least_steps,
        "Steps are updates of the weights. Holds against callbacks that would stop.", same=False, cadence="cut",
    ),
    NativePart(
        "detect_anomaly=True", "flag", "2.4", looked_at(torch.is_anomaly_enabled, detect_anomaly=True),
        on_while_training, "Switched back after `fit`. Not given, your own switch stays.",
    ),
    NativePart(
        "deterministic=True", "flag", "2.4",
        looked_at(torch.are_deterministic_algorithms_enabled, deterministic=True), on_while_training,
        "Switched back after `fit`.",
    ),
    NativePart(
        "benchmark=True", "flag", "2.4",
        looked_at(lambda: torch.backends.cudnn.benchmark, benchmark=True), on_while_training,
        "Switched back after `fit`.",
    ),
    NativePart(
        "enable_progress_bar=True", "flag", "2.4", flags(enable_progress_bar=True), showed_bar,
        "Lightning's own bar.", cadence="cut",
    ),
    NativePart(
        "enable_model_summary=True", "flag", "2.4", flags(enable_model_summary=True), counted_parameters,
        "Lightning's own summary.",
    ),
    NativePart(
        "enable_checkpointing=True", "flag", "2.4", flags(enable_checkpointing=True), saved_by_default,
        "Lightning's own ModelCheckpoint, below `default_root_dir`.",
    ),
    NativePart(
        "plugins=[a CheckpointIO]", "flag", "2.4",
        lambda setting: Attached(
            args={"plugins": [OwnIO()], "enable_checkpointing": True, "default_root_dir": setting.folder}
        ),
        wrote_through_own, "Other plugins are refused: the loop owns precision and processes.",
    ),
    NativePart(
        "callbacks=[...]", "flag", "2.4", lambda _: Attached(args={"callbacks": [Epochs()]}),
        lambda fit: saw_each_epoch(fit, fit.attached.args["callbacks"][0]), "As in `fit(callbacks=[...])`.",
    ),
    NativePart(
        "barebones=True", "flag", "2.4", flags(barebones=True), nothing_more, "Lightning then allows little else.",
    ),
    NativePart(
        'precision="bf16-mixed"', "flag", "2.4", flags(precision="bf16-mixed"), half_precision,
        "Also `16-mixed`, which is `use_amp=True`. For your own Trainer it is said to the loop as well.", same=False,
        own_trainer="refused", reason="lightning_args",
    ),
    NativePart(
        "accelerator, devices, num_nodes, strategy", "flag", "2.4",
        flags(accelerator="cpu", devices=1, num_nodes=1, strategy="auto"), nothing_more,
        "See [Training in several processes](processes.md); your own Trainer runs a TrainLoop on one device.",
    ),
    NativePart(
        "enable_autolog_hparams=False", "flag", "2.6", flags(enable_autolog_hparams=False), nothing_more, "",
    ),
    NativePart(
        "inference_mode=False", "flag", "2.4", flags(inference_mode=False), nothing_more,
        "What the loop does in any case.",
    ),
    *(
        refused(name, flags(**{name.partition("=")[0]: value}), reason, note, kind="flag", since=since)
        for name, value, reason, note, since in (
            ("accumulate_grad_batches=2", 2, "grad_accumulation", "`fit(grad_accumulation=2)`", "2.4"),
            ("gradient_clip_val=1.0", 1.0, "GradNormClip", "The callback `GradNormClip(1.0)`.", "2.4"),
            ('gradient_clip_algorithm="value"', "value", "GradValueClip", "The callback `GradValueClip`.", "2.4"),
            ("max_epochs=3", 3, "num_epochs", "`fit(num_epochs=3)`", "2.4"),
            ("max_steps=3", 3, "num_iterations", "`fit(num_iterations=3)`, which counts batches.", "2.4"),
            ("val_check_interval=0.5", 0.5, "on_batch_end", "An old callback that evaluates in `on_batch_end`.", "2.4"),
            ("check_val_every_n_epoch=2", 2, "end_auto_eval", "`TrainLoop(end_auto_eval=2)`", "2.4"),
            ("num_sanity_val_steps=2", 2, "fast_dev_run", "`fast_dev_run=True`", "2.4"),
            (
                "reload_dataloaders_every_n_epochs=1", 1, "train_loader",
                "An old callback that sets `train_loader` in `on_epoch_begin`.", "2.4",
            ),
            ("sync_batchnorm=True", True, "convert_sync_batchnorm", "Convert the model before the loop.", "2.4"),
            ("use_distributed_sampler=False", False, "DistributedSampler", "A sampler of your own stays.", "2.4"),
            ("limit_predict_batches=1", 1, "predict_with_model", "Predict on a shorter loader.", "2.4"),
            ('model_registry="name"', "name", "checkpoint callback", "Make that callback yourself.", "2.5.1"),
        )
    ),
]  # fmt: skip
# What only a loop is asked; in the user's own Trainer these are Lightning's alone, or the Trainer is made with them.
_OF_LOOP = (
    "benchmark", "callbacks", "deterministic", "gradient_clip_algorithm", "limit_predict_batches", "max_epochs",
    "max_steps", "model_registry", "num_sanity_val_steps",
    "sync_batchnorm", "use_distributed_sampler",
)  # fmt: skip
PARTS = [dataclasses.replace(part, worlds=("TrainLoop",)) if part.name.startswith(_OF_LOOP) else part for part in PARTS]
