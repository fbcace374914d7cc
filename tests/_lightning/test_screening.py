"""Native callbacks that will not do: refused before anything has changed, with the reason and the way to do it."""

import sys
from pathlib import Path
from typing import Any

import lightning.pytorch.callbacks as native
import pytest
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger

from compat._lightning.old_in_new import as_lightning_callback
from compat.exceptions import CompatError, InvalidArgumentError, InvalidTypeError, RefusedError
from tests.toys import Recorder, batches, make_loop


class Averaging(native.StochasticWeightAveraging):
    """A user's own kind of a refused part."""


REFUSED: dict[str, tuple[Any, type[Exception], str]] = {
    "finder of rates": (native.LearningRateFinder, RefusedError, "LearningRateFinder is not served.*Tuner.lr_find"),
    "finder of sizes": (native.BatchSizeFinder, RefusedError, "BatchSizeFinder is not served.*scale_batch_size"),
    "accumulation": (
        lambda: native.GradientAccumulationScheduler({0: 2}),
        RefusedError,
        r"GradientAccumulationScheduler is not served.*fit\(grad_accumulation=n\)",
    ),
    "averaging": (
        lambda: native.StochasticWeightAveraging(0.1),
        RefusedError,
        "StochasticWeightAveraging is not served.*EMAWeightAveraging",
    ),
    "own averaging": (lambda: Averaging(0.1), RefusedError, "Averaging, which is a StochasticWeightAveraging, is not"),
    "no logger": (native.LearningRateMonitor, InvalidArgumentError, "LearningRateMonitor has nowhere to write.*CSVLog"),
    "no logger either": (native.DeviceStatsMonitor, InvalidArgumentError, "DeviceStatsMonitor has nowhere to write"),
    "a class": (
        lambda: native.EarlyStopping,
        InvalidTypeError,
        r"This is the class: pass an instance, EarlyStopping\(",
    ),
    "an adapter": (
        lambda: as_lightning_callback(Recorder()),
        InvalidTypeError,
        "as_lightning_callback is for a Trainer of your own.*Pass the Recorder",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("is_alone", [True, False])
def test_a_part_that_will_not_do_is_refused_before_anything_changes(name: str, is_alone: bool) -> None:
    make, error, text = REFUSED[name]
    loop, recorder = make_loop(train=batches(2)), Recorder()
    before = {key: value.clone() for key, value in loop.model.state_dict().items()}
    callbacks = [make()] if is_alone else [recorder, native.EarlyStopping("loss"), make()]
    with pytest.raises(error, match=text):
        loop.fit(1, callbacks=callbacks)
    assert not loop.callbacks
    assert not loop.callbacks_handler.native_callbacks
    assert recorder.events == []
    assert loop.trainer is None
    assert loop.num_epochs is None
    assert all(value.equal(before[key]) for key, value in loop.model.state_dict().items())
    loop.fit(1)
    assert len(loop.train_history["loss"]) == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_callback_of_the_other_package_is_refused_by_the_name_of_the_right_one() -> None:
    import pytorch_lightning

    stopping: Any = pytorch_lightning.callbacks.EarlyStopping("loss")
    loop = make_loop()
    with pytest.raises(InvalidTypeError, match=r"from lightning\.pytorch\.callbacks import EarlyStopping"):
        loop.fit(1, callbacks=[stopping])
    assert isinstance(InvalidTypeError(""), TypeError)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(CompatError) as caught:
        make_loop().fit(1, callbacks=[native.LearningRateFinder(), native.LearningRateMonitor()], grad_accumulation=-1)
    for part in ("LearningRateFinder", "LearningRateMonitor", "grad_accumulation=-1"):
        assert part in str(caught.value)


def test_two_bars_and_two_states_of_one_name_are_refused() -> None:
    class Stateful(Callback):
        def state_dict(self) -> dict[str, Any]:
            return {"x": 1}

    with pytest.raises(InvalidArgumentError, match="several progress bars: TQDMProgressBar, TQDMProgressBar"):
        make_loop().fit(1, callbacks=[native.TQDMProgressBar(), native.TQDMProgressBar()])
    with pytest.raises(InvalidArgumentError, match="two Stateful whose state"):
        make_loop().fit(1, callbacks=[Stateful(), Stateful()])
    make_loop().fit(1, callbacks=[native.EarlyStopping("loss"), native.EarlyStopping("accumulated_loss")])


@pytest.mark.parametrize(
    ("flag", "make"),
    [("enable_checkpointing", native.ModelCheckpoint), ("enable_progress_bar", native.TQDMProgressBar)],
)
def test_a_callback_whose_kind_is_switched_off_is_refused(flag: str, make: Any) -> None:
    loop = make_loop(lightning_args={flag: False})
    with pytest.raises(InvalidArgumentError, match=f"'{flag}': False.* contradicts the callback {make.__name__}"):
        loop.fit(1, callbacks=[make()])


@pytest.mark.parametrize("make", [native.ModelCheckpoint, native.TQDMProgressBar])
def test_raw_speed_has_neither_checkpoints_nor_bars(make: Any) -> None:
    loop = make_loop(lightning_args={"barebones": True})
    with pytest.raises(InvalidArgumentError, match=f"'barebones': True.* contradicts the callback {make.__name__}"):
        loop.fit(1, callbacks=[make()])
    loop.fit(1, callbacks=[native.EarlyStopping("loss")])


def test_a_timer_and_a_time_limit_are_one_too_many() -> None:
    loop = make_loop(lightning_args={"max_time": {"hours": 1}})
    with pytest.raises(InvalidArgumentError, match=r"'max_time': \{'hours': 1\}\} contradicts the callback Timer"):
        loop.fit(1, callbacks=[native.Timer()])
    make_loop().fit(1, callbacks=[native.Timer()])


def test_callbacks_of_lightning_args_are_screened_too() -> None:
    loop = make_loop(lightning_args={"callbacks": [native.LearningRateFinder()]})
    with pytest.raises(RefusedError, match="LearningRateFinder"):
        loop.fit(1)


def test_parts_with_a_logger_are_let_through(tmp_path: Path) -> None:
    loop = make_loop(lightning_args={"logger": CSVLogger(tmp_path)})
    loop.fit(1, callbacks=[native.LearningRateMonitor()])
    assert loop.trainer is not None
    assert "lr-SGD" in loop.trainer.callback_metrics


def test_sharded_weights_and_checkpoints_do_not_go_together() -> None:
    loop = make_loop(gpu_mode="ddp", lightning_args={"strategy": "fsdp", "devices": 2, "accelerator": "cpu"})
    with pytest.raises(RefusedError, match="ModelCheckpoint, which is a Checkpoint, is not served with the strategy"):
        loop.fit(1, callbacks=[native.ModelCheckpoint()])


def test_without_native_parts_the_screening_is_not_even_imported() -> None:
    gone = sys.modules.pop("compat._lightning.screening", None)
    try:
        make_loop().fit(1, callbacks=[Recorder()])
        assert "compat._lightning.screening" not in sys.modules or gone is None
    finally:
        if gone is not None:
            sys.modules["compat._lightning.screening"] = gone


def test_hooks_for_validation_batches_are_refused_for_there_are_none() -> None:
    class Own(Callback):
        def on_validation_batch_end(self, *_: Any) -> None:
            raise AssertionError

    for part in (Own(), native.LambdaCallback(on_validation_batch_start=lambda *_: None)):
        with pytest.raises(RefusedError, match=r"on_validation_batch_\w+ is not served.*on_validation_epoch_end"):
            make_loop().fit(1, callbacks=[part])


def test_a_checkpoint_that_is_due_only_in_epochs_without_evaluation_is_refused(tmp_path: Path) -> None:
    loop = make_loop(train=batches(2), end_auto_eval=2)
    with pytest.raises(InvalidArgumentError, match=r"would never save: it is due in epochs 3, 7, .*end_auto_eval=2"):
        loop.fit(1, callbacks=[native.ModelCheckpoint(tmp_path, monitor="loss", every_n_epochs=4)])
    part = native.ModelCheckpoint(tmp_path, monitor="loss", every_n_epochs=3, save_top_k=-1)
    loop.fit(6, callbacks=[part])
    assert [path.name for path in tmp_path.iterdir()] == ["epoch=2-step=6.ckpt"]
