"""Fits on fewer batches: what callbacks, trial runs and other fits have of it, and that nothing stays cut."""

from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader

from compat import AbstractCallback, DataSubsetTestRun, _ledger
from compat._lightning.flag_limits import Limits
from compat._lightning.flags import Flags
from compat._lightning.limits import applied
from tests._lightning.limited import PARTS, Seen, Sized, Stream, loop_of
from tests.toys import Recorder, batches, data_loader, on

# --- after the fit, and while others change loaders -----------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(2), StopIteration()])
def test_the_loop_gets_its_loaders_back_however_the_fit_ends(error: BaseException) -> None:
    loop = loop_of({"limit_train_batches": 2, "limit_val_batches": 0}, PARTS, PARTS)

    def fail(loop: Any) -> None:
        raise error

    with pytest.raises(type(error)):
        loop.fit(1, callbacks=[on("batch_end", fail)])
    assert loop.train_loader is PARTS
    assert loop.validation_loader is PARTS


def test_what_was_evaluated_on_fewer_batches_is_not_taken_for_the_whole() -> None:
    loop = loop_of({"limit_val_batches": 2}, PARTS, PARTS)
    before = loop.evaluate_loss_on_validation_set(float_dict_format=True)
    seen: list[float] = []
    begin = on("train_begin", lambda loop: seen.append(loop.evaluate_loss_on_validation_set(float_dict_format=True)))
    loop.fit(1, callbacks=[begin])
    after = loop.evaluate_loss_on_validation_set(float_dict_format=True)
    assert seen != [before]
    assert after != loop.train_history["val_loss"][-1]
    assert len(loop.predict_on_validation_set()[0]) == 12


class Swap(AbstractCallback):
    """Puts new loaders into the loop."""

    def __init__(self, hook: str, count: int) -> None:
        """Name the hook, and how many batches the new loaders have."""
        super().__init__("swap")
        self.hook, self.count = hook, count
        self.made: list[Any] = []

    def swap(self, hook: str) -> None:
        """Swap, in that hook."""
        if hook == self.hook:
            self.made.append((Sized(batches(self.count)), batches(self.count)))
            self.train_loop_obj.train_loader, self.train_loop_obj.validation_loader = self.made[-1]

    def on_train_begin(self) -> None:
        """Swap."""
        self.swap("train_begin")

    def on_epoch_begin(self) -> None:
        """Swap."""
        self.swap("epoch_begin")


@pytest.mark.parametrize("hook", ["train_begin", "epoch_begin"])
@pytest.mark.parametrize("limit", [2, 0.34], ids=["number", "share"])
def test_a_loader_that_a_callback_puts_in_is_cut_too_and_stays_whole_after_the_fit(hook: str, limit: Any) -> None:
    swap = Swap(hook, 10)
    loop = loop_of({"limit_train_batches": limit, "limit_val_batches": limit}, PARTS, PARTS)
    loop.fit(3, callbacks=[swap])
    assert loop.total_iteration_idx == 5
    assert len(swap.made) == (1 if hook == "train_begin" else 3)
    assert (loop.train_loader, loop.validation_loader) == swap.made[-1]
    # Two batches trained and two evaluated, in every epoch that it was there for.
    assert sum(made[0].given for made in swap.made) == 3 * 4


def test_no_validation_stays_none_whatever_a_callback_puts_in() -> None:
    swap = Swap("epoch_begin", 4)
    loop = loop_of({"limit_val_batches": 0}, PARTS, PARTS)
    loop.fit(2, callbacks=[swap])
    assert loop.train_history["val_loss"] == []
    assert loop.validation_loader is swap.made[-1][1]


@pytest.mark.parametrize("limit", [2, 0.34], ids=["number", "share"])
@pytest.mark.parametrize(("wanted", "trained"), [(1, 1), (4, 2)])
def test_a_subset_run_takes_its_batches_from_the_limited_loader(limit: Any, wanted: int, trained: int) -> None:
    train = data_loader(12)
    loop = loop_of({"limit_train_batches": limit, "limit_val_batches": limit}, train, PARTS)
    loop.fit(2, callbacks=[DataSubsetTestRun(wanted, num_val_batches=1)])
    assert loop.total_iteration_idx == 2 * trained - 1
    assert loop.train_loader is train
    assert loop.validation_loader is PARTS
    _ledger.clear()
    loop.evaluate_loss_on_train_set()
    assert [entry.feature for entry in _ledger.entries()] == ["Q78"]


def test_a_subset_of_a_loader_that_another_callback_brought_is_given_back_in_turn() -> None:
    swap = Swap("train_begin", 10)
    loop = loop_of({"limit_train_batches": 2}, PARTS)
    loop.fit(1, callbacks=[swap, DataSubsetTestRun(8)])
    assert loop.total_iteration_idx == 1
    assert loop.train_loader is swap.made[0][0]


def test_a_fit_inside_a_fit_is_limited_once() -> None:
    inner: list[int] = []

    def fit_again(loop: Any) -> None:
        if not inner:
            inner.append(len(loop.train_loader))
            loop.fit(1)
            inner.append(len(loop.train_loader))

    loop = loop_of({"limit_train_batches": 0.5}, data_loader(12))
    train = loop.train_loader
    loop.fit(1, callbacks=[on("epoch_begin", fit_again)])
    assert inner == [3, 3]
    assert loop.train_loader is train


def test_data_parallel_fits_are_limited_too() -> None:
    loop = loop_of({"limit_train_batches": 2, "limit_val_batches": 1}, data_loader(12), PARTS, gpu_mode="dp")
    loop.fit(2)
    short = loop_of({}, PARTS[:2], PARTS[:1])
    short.fit(2)
    assert loop.train_history.train_history == short.train_history.train_history


def test_a_limit_of_no_share_at_all_needs_no_length() -> None:
    loop = loop_of({}, PARTS, DataLoader(Stream()))
    # As a Trainer has it that runs the loop as a module.
    loop._compat.flags = Flags(limits=Limits(val=0.0))
    loop.fit(1)
    assert loop.train_history["val_loss"] == []


@pytest.mark.parametrize("limits", [{}, {"limit_train_batches": 6, "limit_val_batches": 7}])
def test_a_loader_that_is_short_enough_is_left_in_its_place(limits: dict[str, Any]) -> None:
    loop = loop_of(limits, PARTS, PARTS)
    with applied(loop):
        assert loop.train_loader is PARTS
        assert loop.validation_loader is PARTS


# --- trial runs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("duration", [{"num_epochs": 5}, {"num_iterations": 50}])
def test_a_trial_run_is_one_epoch_of_a_few_batches_that_writes_nothing(
    duration: dict[str, int], tmp_path: Path
) -> None:
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.loggers import CSVLogger

    args = {"fast_dev_run": 2, "logger": CSVLogger(tmp_path), "callbacks": [ModelCheckpoint(tmp_path)]}
    recorder, model = Recorder(), Seen()
    loop = loop_of(args, PARTS, PARTS[:3], PARTS[3:], model=model)
    loop.fit(**duration, callbacks=[recorder])
    assert recorder.names().count("epoch_begin") == 1
    assert recorder.names().count("batch_end") == 2
    rows = [part[0][:, 0].tolist() for part in PARTS]
    assert model.evaluated == [*rows[:2], *rows[:2], *rows[3:5]]
    assert loop.trainer.global_step == 2
    assert list(tmp_path.iterdir()) == []


def test_a_trial_run_can_be_followed_by_another_fit() -> None:
    loop = loop_of({"fast_dev_run": True}, PARTS, PARTS)
    for epochs in (3, 3):
        loop.fit(epochs)
    assert loop.total_iteration_idx == 1
    # As in the old loop the second fit runs the epoch of the first one again.
    assert loop.epoch == 0
    loop.epoch = 7
    loop.fit(9)
    assert (loop.epoch, loop.total_iteration_idx) == (7, 2)


def test_iterations_end_a_trial_run_before_its_last_batch() -> None:
    loop = loop_of({"fast_dev_run": 4}, PARTS)
    loop.fit(num_iterations=3)
    assert loop.total_iteration_idx == 2
