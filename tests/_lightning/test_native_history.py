"""HistoryCallback: what a module logged, one value an epoch, and nothing that is left over from an earlier one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from compat._lightning.native_history import EpochMetrics, HistoryCallback
from tests.both_worlds.plain_world import BATCHES, PlainModule, loaders, quietly, trainer_with
from tests.toys import batches, data_loader, make_loop

Log = Callable[["Logging"], None]


class Logging(PlainModule):
    """Logs what a test asks for, at the point that it asks for."""

    def __init__(self, optimizers: int = 1, **points: Log) -> None:
        super().__init__(optimizers, 1)
        self.points = points

    def _at(self, point: str) -> None:
        if point in self.points:
            self.points[point](self)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self._at("training_step")
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        if "validation_step" not in self.points:
            self.log("val_loss", self.losses(batch)[0])
        self._at("validation_step")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_loss", self.losses(batch)[0])

    def on_train_epoch_end(self) -> None:
        self._at("on_train_epoch_end")

    def on_test_epoch_end(self) -> None:
        self.log("test_late", 7.0)


class Nosy(Callback):
    """Reads the metrics in every hook there is, which has Lightning compute them; keeps those of the epoch ends."""

    def __init__(self) -> None:
        self.at_epoch_end: list[dict[str, float]] = []

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("on_"):
            return super().__getattribute__(name)

        def look(trainer: Any, *_: Any) -> None:
            metrics = dict(trainer.callback_metrics)
            if name == "on_train_epoch_end":
                self.at_epoch_end.append({key: float(value) for key, value in metrics.items()})

        return look


def fit(module: Logging, *callbacks: Any, epochs: int = 3, ckpt: Any = None, **arguments: Any) -> HistoryCallback:
    """Train, with a nosy callback on either side of the one that is tested."""
    history = HistoryCallback()
    with quietly():
        trainer = trainer_with([Nosy(), history, *callbacks, Nosy()], max_epochs=epochs, **arguments)
        trainer.fit(module, *loaders(), ckpt_path=ckpt)
    return history


@pytest.mark.parametrize("optimizers", [1, 2])
def test_every_metric_has_the_value_of_each_epoch(optimizers: int) -> None:
    nosy = Nosy()
    history = fit(Logging(optimizers), nosy).history
    assert history.keys() == {"train_loss", "val_loss"}
    assert history["train_loss"] == [epoch["train_loss"] for epoch in nosy.at_epoch_end]
    assert history["val_loss"] == [epoch["val_loss"] for epoch in nosy.at_epoch_end]
    assert len(set(history["val_loss"])) == 3


@pytest.mark.parametrize("point", ["training_step", "validation_step", "on_train_epoch_end"])
def test_an_epoch_in_which_a_metric_is_not_logged_adds_no_value(point: str) -> None:
    def log(module: Logging) -> None:
        if module.current_epoch in {0, 3} and not module.trainer.sanity_checking:
            module.log("sometimes", float(module.current_epoch), on_step=False, on_epoch=True)

    module = Logging()
    module.points[point] = log
    history = fit(module, epochs=5).history
    assert history["sometimes"] == [0.0, 3.0]
    assert len(history["train_loss"]) == 5


def test_the_same_value_again_counts_as_a_new_one() -> None:
    history = fit(Logging(training_step=lambda module: module.log("same", 1.0, on_step=False, on_epoch=True))).history
    assert history["same"] == [1.0, 1.0, 1.0]


def test_what_the_module_logs_in_its_own_epoch_end_is_there_for_each_epoch() -> None:
    late = Logging(on_train_epoch_end=lambda module: module.log("late", float(module.current_epoch)))
    assert fit(late).history["late"] == [0.0, 1.0, 2.0]


def test_values_of_steps_are_left_out_and_one_logged_per_step_alone_counts_with_its_last() -> None:
    def log(module: Logging) -> None:
        step = float(module.trainer.fit_loop.batch_idx)
        module.log("both", step, on_step=True, on_epoch=True)
        module.log("step", step, on_step=True, on_epoch=False)
        module.log("first_step", 5.0, on_step=False, on_epoch=True)

    history = fit(Logging(training_step=log), epochs=2).history
    assert "both_step" not in history
    assert history["both"] == [(BATCHES - 1) / 2] * 2
    assert history["step"] == [BATCHES - 1.0] * 2
    # A name of the user's own that ends so is no value of a step.
    assert history["first_step"] == [5.0, 5.0]


def test_nothing_of_the_sanity_check_is_kept() -> None:
    seen = []

    def log(module: Logging) -> None:
        seen.append(module.trainer.sanity_checking)
        module.log("val_loss", -1.0 if module.trainer.sanity_checking else 1.0)

    assert fit(Logging(validation_step=log), num_sanity_val_steps=2).history["val_loss"] == [1.0, 1.0, 1.0]
    assert True in seen


def test_validation_now_and_then_or_twice_an_epoch_or_never() -> None:
    assert len(fit(Logging(), epochs=4, check_val_every_n_epoch=2).history["val_loss"]) == 2
    twice = Nosy()
    history = fit(Logging(), twice, val_check_interval=0.5).history
    assert history["val_loss"] == [epoch["val_loss"] for epoch in twice.at_epoch_end]
    assert fit(Logging(), limit_val_batches=0).history.keys() == {"train_loss"}


def test_several_validation_loaders_have_lists_of_their_own() -> None:
    history = HistoryCallback()

    def log(module: Logging) -> None:
        module.log("both", 1.0, on_step=True, on_epoch=True)

    with quietly():
        trainer = trainer_with([history], max_epochs=2)
        trainer.fit(Logging(validation_step=log), data_loader(4), [data_loader(4), data_loader(2)])
    assert history.history == {
        "train_loss": history.history["train_loss"],
        **{f"both{kind}/dataloader_idx_{index}": [1.0, 1.0] for kind in ("", "_epoch") for index in (0, 1)},
    }


def test_the_metrics_of_a_test_are_added() -> None:
    history, module = HistoryCallback(), Logging()
    with quietly():
        trainer = trainer_with([Nosy(), history, Nosy()], max_epochs=2)
        trainer.fit(module, *loaders())
        result = trainer.test(module, data_loader(6), verbose=False)
        assert history.history["test_loss"] == [result[0]["test_loss"]]
        assert history.history["test_late"] == [7.0]
        trainer.test(module, data_loader(6), verbose=False)
    assert len(history.history["test_loss"]) == 2
    assert len(history.history["val_loss"]) == 2


@pytest.mark.parametrize(
    "options",
    [{}, {"save_on_train_epoch_end": False}, {"every_n_train_steps": BATCHES + 2}],
    ids=["at the end of an epoch", "at the end of the validation", "inside an epoch"],
)
def test_a_resumed_training_goes_on_with_the_history(options: dict[str, Any], tmp_path: Path) -> None:
    def module() -> Logging:
        return Logging(on_train_epoch_end=lambda one: one.log("late", float(one.current_epoch)))

    whole = fit(module(), epochs=4).history
    first, second = (ModelCheckpoint(tmp_path, save_last=True, **options) for _ in range(2))
    fit(module(), first, epochs=2, enable_checkpointing=True)
    saved = (tmp_path / "last.ckpt").rename(tmp_path / "saved.ckpt")
    assert torch.load(saved, weights_only=True)["callbacks"]["HistoryCallback"]["history"]
    resumed = fit(module(), second, epochs=4, ckpt=saved, enable_checkpointing=True).history
    assert len(resumed["val_loss"]) == 4
    if "every_n_train_steps" in options:
        # Lightning trains the whole epoch again that it goes on inside of, so the values are others.
        assert len(resumed["train_loss"]) == len(resumed["late"]) == 4
        return
    if options and lightning.__version__.startswith("2.4."):
        # It repeats a part of the validation, and says what came of that.
        return
    assert resumed["val_loss"] == whole["val_loss"]
    assert resumed["late"] == [0.0, 1.0, 2.0, 3.0]
    losses = whole["train_loss"]
    # The mean of a training epoch is made when it ends, and Lightning does not keep what it is made of.
    lost = [losses[0], *losses[2:]] if options else losses
    assert resumed["train_loss"] in (losses, lost)


def test_a_second_training_goes_on_where_the_first_ended() -> None:
    history, module = HistoryCallback(), Logging()
    with quietly():
        trainer = trainer_with([history], max_epochs=2)
        trainer.fit(module, *loaders())
        trainer.fit_loop.max_epochs = 3
        trainer.fit(module, *loaders())
    assert len(history.history["val_loss"]) == 3


def test_control_keys_alone_do_not_tell_what_is_new() -> None:
    """What a plain copy of the metrics at each epoch's end would hold."""

    def log(module: Logging) -> None:
        if module.current_epoch == 0:
            module.log("sometimes", 1.0, on_step=False, on_epoch=True)

    nosy = Nosy()
    fit(Logging(training_step=log), nosy)
    assert [epoch.get("sometimes") for epoch in nosy.at_epoch_end] == [1.0, 1.0, 1.0]


def test_what_is_no_number_is_left_out() -> None:
    class Shown:
        current_epoch, world_size = 0, 1
        callback_metrics: dict[str, Any] = {"old": torch.tensor(1.0)}

    trainer: Any = Shown()
    metrics = EpochMetrics()
    metrics.begin(trainer)
    trainer.callback_metrics |= {"vector": torch.ones(2), "text": "a", "one": torch.ones(1), "plain": 2}
    assert metrics.peek(trainer) == metrics.take(trainer) == {"one": 1.0, "plain": 2.0}
    assert metrics.take(trainer) == {}
    assert metrics.seen(trainer) == {"one": 1.0, "plain": 2.0}


def test_in_a_train_loop_it_is_the_loops_own_history() -> None:
    loop = make_loop(train=batches(3), validation=batches(2), test=batches(1), end_auto_eval=2, quirks={"Q01": "kept"})
    history = HistoryCallback()
    loop.fit(3, callbacks=[history])
    assert history.history == loop.train_history.train_history
    loop.fit(5)
    assert history.history == loop.train_history.train_history
    assert len(history.history["val_loss"]) < len(history.history["accumulated_loss"])
