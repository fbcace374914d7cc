"""Lightning's callbacks and loggers in a fit of several processes: once for all of them, and their state comes home."""

import datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, Timer
from lightning.pytorch.loggers import CSVLogger

from tests.toys import Recorder, data_loader, make_loop

pytestmark = pytest.mark.timeout(180)


class Epochs(Callback):
    """Notes what it sees at the ends of epochs."""

    def __init__(self) -> None:
        """Start with nothing noted."""
        self.seen: list[tuple[int, int, float]] = []

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Note."""
        self.seen.append((trainer.current_epoch, trainer.global_step, trainer.callback_metrics["val_loss"].item()))


class Updates(Callback):
    """Counts the updates from inside the step, and checks that the gradients are those of all processes."""

    count = 0

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Count."""
        gradient = pl_module.model.layer.weight.grad
        everyone = [torch.zeros_like(gradient) for _ in range(trainer.world_size)]
        torch.distributed.all_gather(everyone, gradient)
        assert all(each.equal(gradient) for each in everyone)
        self.count += 1


def loop_of_two(logger: Any = False) -> Any:
    """Make a loop for two processes; 12 rows in batches of 2 are three batches for each."""
    args = {"accelerator": "cpu", "devices": 2, "logger": logger}
    options = {"gpu_mode": "ddp", "lightning_args": args, "quirks": {"Q01": "kept", "Q19": "kept", "Q58": "kept"}}
    return make_loop(train=data_loader(12, shuffle=True), validation=data_loader(5), **options)


def columns(logger: CSVLogger) -> dict[str, list[str]]:
    """Read what was logged, without the empty cells."""
    lines = Path(logger.log_dir, "metrics.csv").read_text().splitlines()
    header, *rows = [line.split(",") for line in lines]
    return {name: [row[index] for row in rows if row[index]] for index, name in enumerate(header)}


class Fitted:
    """One fit with parts of many kinds, that several tests look at."""

    def __init__(self, folder: Path) -> None:
        """Train."""
        self.folder = folder
        self.best = ModelCheckpoint(folder / "best", monitor="val_loss", save_top_k=-1)
        self.every_second = ModelCheckpoint(folder / "steps", every_n_train_steps=2, save_top_k=-1)
        self.stopping = EarlyStopping("val_loss", min_delta=1e9, patience=2)
        self.epochs, self.updates, self.recorder = Epochs(), Updates(), Recorder()
        self.timer = Timer(datetime.timedelta(hours=1))
        self.logger = CSVLogger(folder / "log")
        self.loop = loop_of_two(self.logger)
        self.callbacks = [
            self.best, self.epochs, self.recorder, self.stopping, self.updates, self.every_second, self.timer
        ]  # fmt: skip
        self.loop.fit(9, callbacks=self.callbacks)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return Fitted(tmp_path_factory.mktemp("native"))


def test_the_numbers_are_those_of_the_fit_without_them(fitted: Fitted) -> None:
    bare = loop_of_two()
    bare.fit(3)
    assert fitted.loop.train_history.train_history == bare.train_history.train_history
    for key, value in bare.model.state_dict().items():
        assert fitted.loop.model.state_dict()[key].equal(value)


def test_their_state_comes_home(fitted: Fitted) -> None:
    losses = fitted.loop.train_history["val_loss"]
    assert fitted.loop.epoch == 2
    assert fitted.stopping.wait_count == 2
    assert fitted.epochs.seen == [(epoch, 3 * (epoch + 1), losses[epoch]) for epoch in range(3)]
    assert fitted.updates.count == 9
    assert fitted.best.best_model_score is not None
    assert fitted.best.best_model_score.item() == min(losses)
    assert fitted.recorder.names().count("epoch_end") == 3


def test_the_caller_finds_its_own_objects(fitted: Fitted) -> None:
    native = fitted.loop.callbacks_handler.native_callbacks
    assert {id(each) for each in native} == {id(each) for each in fitted.callbacks if each is not fitted.recorder}
    assert fitted.loop.callbacks == [fitted.recorder]


def test_files_are_written_once_and_hold_the_users_own_names(fitted: Fitted) -> None:
    names = sorted(path.name for path in (fitted.folder / "best").iterdir())
    assert names == [f"epoch={epoch}-step={3 * (epoch + 1)}.ckpt" for epoch in range(3)]
    steps = sorted(int(path.stem.rpartition("=")[2]) for path in (fitted.folder / "steps").iterdir())
    assert steps == [2, 4, 6, 8]
    saved = torch.load(fitted.folder / "best" / names[-1], weights_only=True)
    assert saved["global_step"] == 9
    trained = fitted.loop.model.state_dict()
    assert saved["state_dict"].keys() == {f"model.{key}" for key in trained}
    assert all(saved["state_dict"][f"model.{key}"].equal(value) for key, value in trained.items())


def test_one_process_logs_for_all(fitted: Fitted) -> None:
    logged = columns(fitted.logger)
    assert [float(value) for value in logged["val_loss"]] == fitted.loop.train_history["val_loss"]
    assert logged["step"] == ["2", "5", "8"]


def test_a_second_fit_goes_on_with_them(tmp_path: Path) -> None:
    own = Fitted(tmp_path)
    own.stopping.patience = 99
    own.loop.fit(5)
    assert [epoch for epoch, _, _ in own.epochs.seen] == [0, 1, 2, 2, 3, 4]
    assert [step for _, step, _ in own.epochs.seen] == [3, 6, 9, 12, 15, 18], "updates of all fits"
    assert own.updates.count == 18
    # Each fit has a folder of its own, and the logger knows the last.
    assert sorted(path.name for path in Path(own.logger.root_dir).iterdir()) == ["version_0", "version_1"]
    assert columns(own.logger)["step"] == ["11", "14", "17"]


class StopsAlone(Callback):
    """Asks for a stop in one process alone."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Ask."""
        if trainer.global_rank == 1 and batch_idx == 1:
            trainer.should_stop = True


def test_a_stop_that_one_process_asks_for_stops_all() -> None:
    loop = loop_of_two()
    loop.fit(5, callbacks=[StopsAlone()])
    assert loop.epoch == 0
    assert loop.total_iteration_idx == 1
    assert len(loop.train_history["loss"]) == 1
