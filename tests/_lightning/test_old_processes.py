"""Old callbacks and the history callback in a plain Trainer of two processes. One training serves all checks."""

import atexit
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist
from lightning.pytorch import Callback
from torch.multiprocessing.spawn import ProcessExitedException

from compat import AbstractCallback
from compat._lightning.native_history import HistoryCallback
from compat._lightning.old_in_new import as_lightning_callback
from compat.exceptions import MissingAttributeError
from tests.both_worlds.plain_world import HINTS, PlainModule, loaders, quietly, trainer_with

EPOCHS = 2


class Ranked(PlainModule):
    """Logs its rank, which nobody averages over the processes."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("rank", float(self.global_rank), on_step=False, on_epoch=True)
        return super().training_step(batch, batch_idx)


class OnOneRank(AbstractCallback):
    """Runs in the first process alone, and records a metric there."""

    def __init__(self) -> None:
        super().__init__("on one rank", device_idx_execution=0)

    def on_epoch_end(self) -> None:
        self.train_loop_obj.insert_metric_result_into_history("of one", 0.5 + self.train_loop_obj.epoch)


class StopsFromTheSecond(AbstractCallback):
    """Asks to stop after the second epoch, in the second process alone; and counts the starts of processes."""

    def __init__(self) -> None:
        super().__init__("stops")
        self.starts = 0

    def on_multiprocess_start(self) -> None:
        self.starts += 1

    def on_epoch_end(self) -> None:
        loop = self.train_loop_obj
        if loop.ddp_rank == 1 and loop.epoch == EPOCHS - 1:
            loop.early_stop = True


def leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


class Witness(Callback):
    """Quiets each process, and writes down what it sees."""

    def __init__(self, folder: Path, history: HistoryCallback, stops: StopsFromTheSecond) -> None:
        self.folder, self.history, self.stops = folder, history, stops
        self.of_one: list[float] = []
        self.refusal = ""

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        # A thread of gloo that is still there when a process exits aborts it.
        atexit.register(leave)
        for message in (*HINTS, ".*sync_dist=True.*", ".*find_unused_parameters.*"):
            warnings.filterwarnings("ignore", message=message)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.of_one.append(trainer.callback_metrics["of one"].item())

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        view: Any = self.stops.train_loop_obj
        try:
            view.predict_on_validation_set()
        except MissingAttributeError as error:
            self.refusal = str(error)
        seen = {
            "history": self.history.history,
            "view": view.train_history.train_history,
            "of_one": self.of_one,
            "epochs": trainer.current_epoch,
            "starts": self.stops.starts,
            "refusal": self.refusal,
            "callbacks": [type(callback).__name__ for callback in view.callbacks],
            "state": [view.gpu_mode, view.ddp_training_mode, view.ddp_rank, view.is_main_process()],
        }
        (self.folder / f"{trainer.global_rank}.json").write_text(json.dumps(seen))


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Train in two processes, and return what each of them saw."""
    folder = tmp_path_factory.mktemp("ranks")
    history, stops = HistoryCallback(), StopsFromTheSecond()
    callbacks = [history, as_lightning_callback(OnOneRank()), as_lightning_callback(stops)]
    with quietly():
        trainer = trainer_with(
            [*callbacks, Witness(folder, history, stops)], max_epochs=5, strategy="ddp_spawn", devices=2
        )
        try:
            trainer.fit(Ranked(1, 1), *loaders())
        except ProcessExitedException:
            # XXX: a process that Lightning has spawned may abort at its exit, when the one that holds torch's store has
            # gone before it (torch 2.13). By then both have written what they saw; if not, it is another error.
            if not all((folder / f"{rank}.json").exists() for rank in (0, 1)):
                raise
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


def test_the_history_is_the_same_in_all_processes(seen: list[dict[str, Any]]) -> None:
    first, second = (one["history"] for one in seen)
    assert first == second
    assert first["rank"] == [0.0] * EPOCHS
    assert len(first["val_loss"]) == EPOCHS


def test_a_metric_that_one_process_records_is_a_metric_in_all(seen: list[dict[str, Any]]) -> None:
    assert [one["of_one"] for one in seen] == [[0.5, 1.5]] * 2
    assert [one["callbacks"] for one in seen] == [["OnOneRank", "StopsFromTheSecond"], ["StopsFromTheSecond"]]


def test_a_wish_to_stop_in_one_process_stops_all(seen: list[dict[str, Any]]) -> None:
    assert [one["epochs"] for one in seen] == [EPOCHS] * 2


def test_old_callbacks_are_told_of_the_processes(seen: list[dict[str, Any]]) -> None:
    assert [one["starts"] for one in seen] == [1, 1]
    assert [one["state"] for one in seen] == [["ddp", True, 0, True], ["ddp", True, 1, False]]
    first, second = (one["view"] for one in seen)
    assert first["accumulated_loss"] == second["accumulated_loss"]
    assert len(first["accumulated_loss"]) == EPOCHS
    assert first["val_loss"] == second["val_loss"]


def test_what_each_process_has_a_part_of_is_not_predicted(seen: list[dict[str, Any]]) -> None:
    for one in seen:
        assert "a Trainer of 2 processes: the loaders of each hold its part of the data alone" in one["refusal"]
