"""What native parts need of the training step: whole epochs unless somebody acts inside them, and cuts just there."""

import datetime
import math
from pathlib import Path
from typing import Any

import lightning.pytorch.callbacks as native
import pytest
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger

from compat import _ledger
from tests.toys import Recorder, batches, make_loop

needs_averaging = pytest.mark.skipif(not hasattr(native, "EMAWeightAveraging"), reason="came with Lightning 2.6")


class Counts(Callback):
    """Counts the steps that Lightning makes, without a hook for batches that would change their number."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Count the calls of the module's step."""
        self.steps: list[int] = []
        self.updates: list[int] = []
        step = pl_module.training_step

        def counted(dataloader_iter: Any) -> Any:
            outputs = step(dataloader_iter)
            self.steps.append(pl_module.loop.iteration)
            self.updates.append(trainer.global_step)
            return outputs

        # Named as Lightning wants it: by that it knows that the step takes its batches itself.
        pl_module.training_step = counted


def steps_of(*callbacks: Any, epochs: int = 2, count: int = 7, fit: Any = None, **options: Any) -> tuple[Any, Counts]:
    """Train with callbacks, and count the steps."""
    counts = Counts()
    loop = make_loop(train=batches(count), validation=batches(1), **options)
    loop.fit(epochs, callbacks=[*callbacks, counts], **(fit or {}))
    return loop, counts


def ends_of_epochs(epochs: int = 2, count: int = 7) -> list[int]:
    return [count - 1] * epochs


def lean(folder: Path) -> dict[str, Any]:
    """List callbacks that need nothing of single batches."""
    return {
        "none": None,
        "checkpoint": native.ModelCheckpoint(folder / "a"),
        "best": native.ModelCheckpoint(folder / "b", monitor="val_loss", save_top_k=2, save_last=True),
        "stopping": native.EarlyStopping("val_loss", patience=9),
        "timer": native.Timer(),
        "summary": native.ModelSummary(),
        "pruning": native.ModelPruning("l1_unstructured", amount=0.1),
        "exception": native.OnExceptionCheckpoint(folder),
        "epochs": native.LambdaCallback(on_train_epoch_end=lambda *_: None, on_train_start=lambda *_: None),
        "finetuning": Finetuning(),
        "old": Recorder(),
    }


class Finetuning(native.BaseFinetuning):
    """Freezes nothing."""

    def freeze_before_training(self, pl_module: Any) -> None:
        """Freeze nothing."""

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: Any) -> None:
        """Thaw nothing."""


@pytest.mark.parametrize("name", lean(Path()))
@pytest.mark.filterwarnings("ignore:.*does not contain any modules|.*There are too many")
def test_parts_that_need_no_batch_leave_one_step_an_epoch(name: str, tmp_path: Path) -> None:
    part = lean(tmp_path)[name]
    loop, counts = steps_of(*([] if part is None else [part]))
    assert counts.steps == ends_of_epochs()
    assert loop.lightning_module.cadence.reasons == ()
    assert str(loop.lightning_module.cadence) == "whole epochs"
    assert loop.lightning_module.cadence.validation == ()


def test_a_logger_leaves_one_step_an_epoch(tmp_path: Path) -> None:
    _, counts = steps_of(lightning_args={"logger": CSVLogger(tmp_path)})
    assert counts.steps == ends_of_epochs()


@pytest.mark.parametrize("window", [1, 3])
def test_checkpoints_every_n_updates_cut_where_they_save(window: int, tmp_path: Path) -> None:
    checkpoint = native.ModelCheckpoint(tmp_path, every_n_train_steps=2, save_top_k=-1)
    loop, counts = steps_of(checkpoint, fit={"grad_accumulation": window}, quirks={"Q11": "kept"})
    updates = 2 * math.ceil(7 / window)
    saved = sorted(int(path.stem.rpartition("=")[2]) for path in tmp_path.iterdir())
    assert saved == list(range(2, updates + 1, 2))
    assert set(counts.updates) == {*saved, math.ceil(7 / window), updates}
    assert len(counts.steps) < 14
    assert loop.lightning_module.cadence.reasons == ("ModelCheckpoint(every_n_train_steps=2)",)


def test_learning_rates_are_read_where_lightning_would(tmp_path: Path) -> None:
    args = {"logger": CSVLogger(tmp_path), "log_every_n_steps": 3}
    loop, counts = steps_of(native.LearningRateMonitor("step"), lightning_args=args)
    text = (Path(loop.trainer.log_dir) / "metrics.csv").read_text().splitlines()
    header, rows = text[0].split(","), [line.split(",") for line in text[1:]]
    rates = [row[header.index("step")] for row in rows if row[header.index("lr-SGD")]]
    assert rates == ["2", "5", "8", "11"]
    # A step ends before each of these batches and, for the losses that go with it, after.
    assert counts.steps == [1, 2, 4, 5, 6, 0, 1, 3, 4, 6]


def test_a_clock_cuts_where_it_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    timer, clock = native.Timer(datetime.timedelta(seconds=3)), Recorder()
    # A clock that counts the batches.
    monkeypatch.setattr(timer, "time_elapsed", lambda *_: clock.names().count("batch_end") - 0.5)
    loop, counts = steps_of(timer, clock)
    assert counts.steps == [3]
    assert loop.total_iteration_idx == 3
    assert len(loop.train_history["loss"]) == 1, "the epoch that it ends in is evaluated"


@needs_averaging
def test_averages_cut_at_the_updates_that_they_take(tmp_path: Path) -> None:
    averages = native.EMAWeightAveraging(update_every_n_steps=3)
    loop, counts = steps_of(averages)
    assert counts.updates == [1, 4, 7, 10, 13, 14]
    assert loop.lightning_module.cadence.validation != ()


@needs_averaging
def test_averages_of_epochs_cut_nothing() -> None:
    _, counts = steps_of(native.EMAWeightAveraging(update_every_n_steps=0, update_starting_at_epoch=0))
    assert counts.steps == ends_of_epochs()


@needs_averaging
def test_averages_that_decide_for_themselves_are_asked_after_every_update() -> None:
    class Odd(native.WeightAveraging):
        def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
            return step_idx is not None and step_idx % 2 == 1

    _, counts = steps_of(Odd(), fit={"grad_accumulation": 2}, quirks={"Q11": "kept"})
    assert counts.steps == [1, 3, 5, 6, 1, 3, 5, 6]


class OnBatch(Callback):
    """Has a hook for batches, so nobody knows what it needs."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Do nothing."""


class Verbose(native.ModelCheckpoint):
    """Lightning's own, with another word on it: its hooks for batches are Lightning's."""

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Do what the base does."""
        super().on_train_epoch_end(trainer, pl_module)


def test_an_unknown_hook_for_batches_gets_every_batch() -> None:
    loop, counts = steps_of(OnBatch())
    assert counts.steps == [*range(7), *range(7)]
    assert str(loop.lightning_module.cadence) == "every batch, for OnBatch.on_train_batch_end"


def test_a_hook_set_on_the_object_counts_as_well() -> None:
    _, counts = steps_of(native.LambdaCallback(on_train_batch_start=lambda *_: None))
    assert counts.steps == [*range(7), *range(7)]


def test_a_subclass_that_leaves_the_hooks_for_batches_alone_is_known(tmp_path: Path) -> None:
    _, counts = steps_of(Verbose(tmp_path))
    assert counts.steps == ends_of_epochs()


class Notes(Callback):
    """Notes what the hooks for batches are given."""

    def __init__(self) -> None:
        """Start with nothing noted."""
        self.seen: list[tuple[Any, ...]] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Note."""
        self.seen.append(("start", batch_idx, batch[0].sum().item(), trainer.global_step))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Note."""
        last = trainer.is_last_batch
        self.seen.append(("end", batch_idx, batch[0].sum().item(), trainer.global_step, last, outputs["loss"].item()))


@pytest.mark.parametrize("has_length", [True, False])
def test_hooks_for_batches_get_their_batch_its_loss_and_the_counters(has_length: bool) -> None:
    class Stream:
        def __iter__(self) -> Any:
            return iter(batches(3))

    notes = Notes()
    loop = make_loop(train=batches(3) if has_length else Stream())
    loop.fit(num_epochs=2, callbacks=[notes])
    sums = [inputs.sum().item() for inputs, _ in batches(3)]
    starts = [entry for entry in notes.seen if entry[0] == "start"]
    ends = [entry for entry in notes.seen if entry[0] == "end"]
    assert [entry[0] for entry in notes.seen] == ["start", "end"] * 6
    assert starts == [("start", index % 3, sums[index % 3], index) for index in range(6)]
    assert [entry[:5] for entry in ends] == [
        ("end", index % 3, sums[index % 3], index + 1, index % 3 == 2) for index in range(6)
    ]
    losses = [entry[5] for entry in ends]
    means = [sum(losses[:3]) / 3, sum(losses[3:]) / 3]
    assert means == pytest.approx(loop.train_history["accumulated_loss"])


def test_skipping_the_rest_of_an_epoch_ends_it() -> None:
    class Skips(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if pl_module.loop.total_iteration_idx == 1:
                trainer.should_stop = True

    loop, _ = steps_of(Skips())
    assert loop.total_iteration_idx == 2
    assert loop.iteration == 2
    assert loop.trainer.current_epoch == 1
    loop.fit(3)
    assert loop.trainer.current_epoch == 3, "the loop goes on as if nothing had been open"


def test_profilers_hear_of_every_batch_and_of_its_parts() -> None:
    loop, counts = steps_of(lightning_args={"profiler": "simple"})
    assert counts.steps == [*range(7), *range(7)]
    recorded = loop.trainer.profiler.recorded_durations
    for action in ("backward", "optimizer_step", "optimizer_zero_grad", "run_training_batch"):
        assert len(recorded[action]) == 14


VALIDATING: dict[str, tuple[Any, bool]] = {
    "nobody": (Counts, False),
    "stopping": (lambda: native.EarlyStopping("val_loss", check_on_train_epoch_end=False), True),
    "stopping at epochs": (lambda: native.EarlyStopping("val_loss", check_on_train_epoch_end=True), False),
    "checkpoint": (lambda: native.ModelCheckpoint(save_on_train_epoch_end=False), True),
    "checkpoint deferred": (lambda: native.ModelCheckpoint(monitor="val_loss", every_n_train_steps=2), True),
    "pruning": (lambda: native.ModelPruning("l1_unstructured", amount=0.1, prune_on_train_epoch_end=False), True),
    "hook": (lambda: native.LambdaCallback(on_validation_end=lambda *_: None), True),
    "bar": (native.TQDMProgressBar, False),
}


@pytest.mark.parametrize("name", VALIDATING)
@pytest.mark.filterwarnings("ignore:.*could not find the monitored key")  # As in a plain Trainer, before 2.5.
def test_a_validation_loop_is_there_for_those_who_act_in_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make, expected = VALIDATING[name]
    loop, _ = steps_of(make(), count=3)
    assert bool(loop.lightning_module.cadence.validation) is expected
    bare, _ = steps_of(count=3)
    if name != "pruning":
        assert loop.train_history.train_history == bare.train_history.train_history
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in loop.model.parameters())


class Validations(Callback):
    """Notes the losses that callbacks of the validation loop see."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        self.seen: list[tuple[int, float]] = []

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Note."""
        self.seen.append((trainer.current_epoch, trainer.callback_metrics["val_loss"].item()))


def test_where_epochs_are_left_out_native_parts_wait_for_those_that_are_evaluated(tmp_path: Path) -> None:
    stopping = native.EarlyStopping("val_loss", patience=2, min_delta=1e9)
    best = native.ModelCheckpoint(tmp_path, monitor="val_loss", save_top_k=-1)
    seen = Validations()
    loop = make_loop(train=batches(3), validation=batches(1), end_auto_eval=2)
    loop.fit(num_epochs=9, callbacks=[stopping, best, seen])
    assert [epoch for epoch, _ in seen.seen] == [0, 2, 4]
    assert [loss for _, loss in seen.seen] == loop.train_history["val_loss"]
    assert stopping.wait_count == 2, "patience is spent on epochs with a new value only"
    assert loop.epoch == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "epoch=0-step=3.ckpt",
        "epoch=2-step=9.ckpt",
        "epoch=4-step=15.ckpt",
    ]


def test_progress_bars_of_lightning_take_the_place_of_our_own(capsys: pytest.CaptureFixture[str]) -> None:
    loop, counts = steps_of(native.TQDMProgressBar(refresh_rate=3), epochs=1)
    shown = capsys.readouterr()
    assert "Epoch 0: 100%" in shown.out + shown.err
    assert "7/7" in shown.out + shown.err
    assert "Training: 100%" not in shown.err
    assert loop.lightning_module.cadence.reasons == ("TQDMProgressBar, which moves",)
    assert all((last + 1) % 3 == 0 or last == 6 for last in counts.steps)


@pytest.fixture
def watching() -> Any:
    _ledger.watch()
    yield
    _ledger.unwatch()
    _ledger.clear("native")


@pytest.mark.usefixtures("watching")
def test_the_report_names_the_parts_and_what_they_make_of_the_step(tmp_path: Path) -> None:
    _ledger.clear("native")
    steps_of(OnBatch(), native.EarlyStopping("val_loss"), lightning_args={"logger": CSVLogger(tmp_path)})
    entries = {entry.feature.rpartition(".")[2]: entry for entry in _ledger.entries() if entry.kind == "native"}
    assert entries.keys() == {"OnBatch", "Counts", "EarlyStopping", "CSVLogger", "training step"}
    assert entries["training step"].detail.startswith("every batch, for OnBatch.on_train_batch_end.")
    assert Path(entries["OnBatch"].places[0].file).name == Path(__file__).name
    _ledger.clear("native")
    steps_of(native.EarlyStopping("val_loss", check_on_train_epoch_end=False))
    (loop,) = (entry for entry in _ledger.entries() if entry.feature == "validation loop")
    assert "EarlyStopping(check_on_train_epoch_end=False)" in loop.detail
    assert all(entry.feature != "training step" for entry in _ledger.entries())
