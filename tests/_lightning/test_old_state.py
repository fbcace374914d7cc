"""What a checkpoint keeps of old callbacks in a plain Trainer."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from compat import AbstractCallback, EarlyStopping, StepLRScheduler
from compat._lightning.old_in_new import OldCallbackAdapter, as_lightning_callback
from compat._lightning.old_state import attributes_of, plain, restore, state_of_callback
from tests.both_worlds.old_parts import SCHEDULERS
from tests.both_worlds.plain_world import (
    BATCHES,
    At,
    PlainModule,
    Trace,
    Training,
    in_trainer,
    loaders,
    quietly,
    trainer_with,
)
from tests.both_worlds.plain_world import fit_plain as fit
from tests.toys import Recorder, on


def run_saved(make: Any, optimizers: int, folder: Path, **options: Any) -> tuple[Training, Training]:
    """Train 4 epochs at once, and again in two halves with a checkpoint between them."""

    def train(epochs: int, ckpt: Any = None, *more: Any) -> Training:
        trace, module = Trace(), PlainModule(optimizers, 1)
        fit(module, *make(), trace, *more, epochs=epochs, ckpt=ckpt, enable_checkpointing=bool(more))
        return Training(trace.train_loop_obj, trace, [])

    whole = train(4)
    train(2, None, ModelCheckpoint(folder, save_last=True, **options))
    saved = (folder / "last.ckpt").rename(folder / "saved.ckpt")
    # Without a word of trust.
    assert torch.load(saved, weights_only=True)["callbacks"]
    return whole, train(4, saved, ModelCheckpoint(folder, save_last=True, **options))


def assert_goes_on(whole: Training, resumed: Training) -> None:
    assert resumed.trace.rates == whole.trace.rates
    assert len(resumed.trace.weights) == len(whole.trace.weights) == 4 * BATCHES
    for ours, theirs in zip(resumed.trace.weights, whole.trace.weights, strict=True):
        assert all(map(torch.equal, ours, theirs))
    assert resumed.loop.train_history.train_history == whole.loop.train_history.train_history


@pytest.mark.parametrize("optimizers", [1, 2])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_goes_on_in_a_resumed_training(name: str, optimizers: int, tmp_path: Path) -> None:
    whole, resumed = run_saved(lambda: SCHEDULERS[name](optimizers), optimizers, tmp_path)
    # Its history, weights and learning rates are in the trace, which is kept like those of any old callback.
    assert_goes_on(whole, resumed)
    assert len({tuple(rates) for rates in whole.trace.rates}) > 1


def test_control_without_its_state_a_scheduler_starts_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OldCallbackAdapter, "load_state_dict", lambda *_: None)
    whole, resumed = run_saved(lambda: SCHEDULERS["LambdaLRScheduler"](1), 1, tmp_path)
    assert resumed.trace.rates != whole.trace.rates[-len(resumed.trace.rates) :]


def test_several_schedulers_of_one_class_keep_their_own_states(tmp_path: Path) -> None:
    def make() -> list[AbstractCallback]:
        return [StepLRScheduler(3, gamma=0.5, optimizer_idx=0), StepLRScheduler(2, gamma=0.1, optimizer_idx=1)]

    assert_goes_on(*run_saved(make, 2, tmp_path))
    keys = torch.load(tmp_path / "saved.ckpt", weights_only=True)["callbacks"].keys()
    assert {key for key in keys if "StepLR" in key} == {f"compat.schedulers.basic.StepLRScheduler[{i}]" for i in (0, 1)}


def test_early_stopping_keeps_its_patience_in_a_resumed_training(tmp_path: Path) -> None:
    def make() -> list[AbstractCallback]:
        # From its own count of epochs, which is kept as well.
        metric = on("epoch_end", lambda loop: loop.insert_metric_result_into_history("error", 1.0 + loop.epoch))
        return [metric, EarlyStopping("error", patience=2)]

    whole, resumed = run_saved(make, 1, tmp_path)
    assert_goes_on(whole, resumed)
    longer = in_trainer(make(), epochs=9)
    assert longer.epochs == 4
    trainer = fit(PlainModule(1, 1), *make(), epochs=9, ckpt=None)
    assert trainer.current_epoch == 4
    # Two epochs in the checkpoint, two after it: without the state it would be five.
    state = torch.load(tmp_path / "saved.ckpt", weights_only=True)["callbacks"]
    kept = state["compat.callbacks.stopping.EarlyStopping[0]"]["callback"]["attributes"]
    assert (kept["patience_count"], kept["best_performance"]) == (1, 1.0)
    assert "patience" not in kept


def test_an_epoch_that_was_open_in_the_checkpoint_is_ended_first(tmp_path: Path) -> None:
    """Saved in the epoch's last hook, but before the old callbacks' turn: their epoch's end comes with the next one."""
    file = tmp_path / "open.ckpt"

    def save(trainer: Any) -> None:
        if trainer.current_epoch == 1:
            trainer.save_checkpoint(file)

    def make() -> list[AbstractCallback]:
        return [StepLRScheduler(1, gamma=0.5), EarlyStopping("val_loss", patience=9)]

    whole, resumed, recorder = Trace(), Trace(), Recorder()
    fit(PlainModule(1, 1), At("on_train_epoch_end", save), *make(), whole, recorder, epochs=4)
    fit(PlainModule(1, 1), *make(), resumed, Recorder(), epochs=4, ckpt=file)
    assert resumed.rates == whole.rates
    assert all(map(torch.equal, resumed.weights[-1], whole.weights[-1]))
    ours, theirs = (one.train_loop_obj.train_history for one in (resumed, whole))
    assert ours["val_loss"] == theirs["val_loss"]


def test_a_checkpoint_of_the_end_of_the_validation_goes_on_as_well(tmp_path: Path) -> None:
    """Lightning runs the end of that epoch in the resumed training."""

    def make() -> list[AbstractCallback]:
        return [StepLRScheduler(1, gamma=0.5), EarlyStopping("val_loss", patience=9)]

    whole, resumed = run_saved(make, 1, tmp_path, save_on_train_epoch_end=False)
    assert resumed.trace.rates == whole.trace.rates
    assert all(map(torch.equal, resumed.trace.weights[-1], whole.trace.weights[-1]))


def test_a_checkpoint_before_the_first_training_holds_nothing_of_them(tmp_path: Path) -> None:
    with quietly():
        trainer = trainer_with([as_lightning_callback(StepLRScheduler(1))], max_epochs=1, enable_checkpointing=True)
        trainer.validate(PlainModule(1, 1), loaders()[1], verbose=False)
        trainer.save_checkpoint(tmp_path / "early.ckpt")
    states = torch.load(tmp_path / "early.ckpt", weights_only=True)["callbacks"]
    assert states["compat.schedulers.basic.StepLRScheduler[0]"]["callback"] == {}


def test_a_module_goes_on_from_a_checkpoint_made_before_there_were_old_callbacks(tmp_path: Path) -> None:
    fit(PlainModule(1, 1), ModelCheckpoint(tmp_path, save_last=True), epochs=2, enable_checkpointing=True)
    recorder = Recorder()
    saver = ModelCheckpoint(tmp_path, save_last=True)
    fit(PlainModule(1, 1), recorder, saver, epochs=3, ckpt=tmp_path / "last.ckpt", enable_checkpointing=True)
    assert recorder.events[2] == ("epoch_begin", 2, 0, 2 * BATCHES - 1)
    assert recorder.events[3] == ("batch_begin", 2, 0, 2 * BATCHES)


# The values


class Counting(AbstractCallback):
    """Holds values of many kinds."""

    def __init__(self) -> None:
        super().__init__("counting")
        self.number, self.text, self.nothing = 1, "a", None
        self.tensor, self.array, self.score = torch.zeros(2), np.zeros(2), np.float64(0.5)
        self.nested: Any = {"list": [1, (2.0, "b")], 3: None}
        self.function, self.odd = print, [object()]


def test_plain_values_are_kept_and_others_are_left_to_the_program() -> None:
    kept = attributes_of(Counting())
    assert kept.keys() == vars(Counting()).keys() - {"function", "odd"}
    assert kept["nested"] == {"list": [1, (2.0, "b")], 3: None}
    assert type(kept["score"]) is float
    assert kept["array"] == [0.0, 0.0]
    for value in (torch.nn.Linear(1, 1), {1}, [print], {"a": object()}):
        with pytest.raises(TypeError, match="is no plain value"):
            plain(value)


def test_only_what_has_changed_is_kept_and_comes_back() -> None:
    callback, other = Counting(), Counting()
    at_start = attributes_of(callback)
    assert state_of_callback(callback, at_start) == {}
    callback.number = 2
    callback.tensor[0] = 1.0
    callback.nested["list"].append(4)
    state = state_of_callback(callback, at_start)
    assert state["attributes"].keys() == {"number", "tensor", "nested"}
    other.text = "another argument"
    restore(other, state)
    assert (other.number, other.text, other.nested["list"][-1]) == (2, "another argument", 4)
    assert torch.equal(other.tensor, torch.tensor([1.0, 0.0]))


def test_a_copy_in_a_checkpoint_does_not_change_with_the_callback() -> None:
    callback = Counting()
    state = state_of_callback(callback, {})["attributes"]
    callback.tensor[0] = 1.0
    callback.nested["list"].append(4)
    assert torch.equal(state["tensor"], torch.zeros(2))
    assert state["nested"]["list"] == [1, (2.0, "b")]


def test_a_callback_with_a_state_dict_of_its_own_keeps_what_that_says(tmp_path: Path) -> None:
    class Own(AbstractCallback):
        def __init__(self) -> None:
            super().__init__("own")
            self.seen: set[int] = set()

        def on_epoch_end(self) -> None:
            self.seen.add(self.train_loop_obj.epoch)

        def state_dict(self) -> dict[str, Any]:
            return {"seen": sorted(self.seen)}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.seen = set(state["seen"])

    made: list[Own] = []

    def make() -> list[AbstractCallback]:
        made.append(Own())
        return [made[-1]]

    assert_goes_on(*run_saved(make, 1, tmp_path))
    assert made[-1].seen == {0, 1, 2, 3}
