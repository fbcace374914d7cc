"""A TrainLoop in a Trainer of the user's own: the same numbers, the Trainer's own parts, and no trace left in it."""

import copy
import gc
import pickle
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.trainer.states import TrainerFn

import compat
from compat import AbstractCallback, MultiOptimizer, StepLRScheduler, TrainLoop
from compat._lightning.in_trainer import as_lightning_module
from compat.exceptions import CompatError, InvalidArgumentError, InvalidTypeError, RefusedError
from tests.toys import GradientRecorder, Recorder, TwoHeads, batches, data_loader, make_loop


def own_trainer(**options: Any) -> Trainer:
    """Make a Trainer that writes and prints as little as it can."""
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    return Trainer(**{"enable_model_summary": False, **quiet, **options})


def several() -> TrainLoop:
    """Make a loop with two optimizers."""
    model = TwoHeads()
    one = torch.optim.SGD([*model.trunk.parameters(), *model.b.parameters()], lr=0.1)
    two = torch.optim.Adam(model.a.parameters(), lr=0.1)
    return make_loop(model, batches(5), MultiOptimizer([one, two]), validation=batches(2), test=batches(2))


def single() -> TrainLoop:
    """Make a loop with one optimizer and a shuffled loader."""
    torch.manual_seed(3)
    return make_loop(train=data_loader(10, shuffle=True), validation=batches(2), test=batches(2))


@pytest.fixture(autouse=True)
def kept() -> None:
    """Silence the oddities that the comparisons meet on both sides."""
    compat.quirks.set(Q11="kept", Q18="kept", Q46="kept")


@pytest.mark.parametrize("make", [single, several])
@pytest.mark.parametrize("window", [1, 3])
def test_the_same_numbers_and_events_as_in_a_fit_of_its_own(make: Any, window: int) -> None:
    which = {} if make is single else {"optimizer_idx": 1}
    ours, recorder = make(), GradientRecorder()
    ours.fit(3, callbacks=[recorder, StepLRScheduler(1, gamma=0.5, **which)], grad_accumulation=window)
    theirs, other = make(), GradientRecorder()
    scheduler = StepLRScheduler(1, gamma=0.5, **which)
    module, data = as_lightning_module(theirs, callbacks=[other, scheduler], grad_accumulation=window)
    trainer = own_trainer(max_epochs=3)
    trainer.fit(module, datamodule=data)
    assert theirs.train_history.train_history == ours.train_history.train_history
    assert other.events == recorder.events
    for key, value in ours.model.state_dict().items():
        assert theirs.model.state_dict()[key].equal(value)
    assert ours.trainer is not None
    assert trainer.global_step == ours.trainer.global_step
    assert trainer.current_epoch == 3
    assert theirs.trainer is trainer
    assert theirs.lightning_module is module


def test_parts_of_the_trainer_see_the_metrics_of_the_epoch(tmp_path: Path) -> None:
    loop = single()
    best = ModelCheckpoint(tmp_path / "best", monitor="val_loss", save_top_k=-1)
    module, data = as_lightning_module(loop)
    stopping = EarlyStopping("val_loss", min_delta=1e9, patience=2)
    logger = CSVLogger(tmp_path / "log")
    trainer = own_trainer(max_epochs=9, callbacks=[stopping, best], logger=logger, enable_checkpointing=True)
    trainer.fit(module, datamodule=data)
    assert loop.epoch == 2
    assert len(loop.train_history["val_loss"]) == 3
    assert best.best_model_score is not None
    assert best.best_model_score.item() == min(loop.train_history["val_loss"])
    saved = torch.load(best.best_model_path, weights_only=True)
    assert saved["state_dict"].keys() == {"model.layer.weight", "model.layer.bias"}
    lines = Path(logger.log_dir, "metrics.csv").read_text().splitlines()
    column = lines[0].split(",").index("val_loss")
    logged = [line.split(",")[column] for line in lines[1:]]
    assert [float(value) for value in logged if value] == loop.train_history["val_loss"]


def test_the_trainer_is_as_before_when_the_fit_is_over() -> None:
    module, data = as_lightning_module(single())
    stopping = EarlyStopping("loss", patience=9)
    trainer = own_trainer(max_epochs=1, callbacks=[stopping])
    before = list(trainer.callbacks), trainer.limit_val_batches, trainer.check_val_every_n_epoch  # type: ignore[attr-defined]
    trainer.fit(module, datamodule=data)
    assert (trainer.callbacks, trainer.limit_val_batches, trainer.check_val_every_n_epoch) == before  # type: ignore[attr-defined]


class Breaks(AbstractCallback):
    """Raises in the second epoch."""

    def on_epoch_begin(self) -> None:
        """Raise."""
        if self.train_loop_obj.epoch == 1:
            raise ValueError("broken")


def test_after_an_error_the_trainer_is_as_before_too_and_the_loop_trains_again() -> None:
    loop = single()
    module, data = as_lightning_module(loop, callbacks=[Breaks("breaks")])
    trainer = own_trainer(max_epochs=3)
    with pytest.raises(ValueError, match="broken"):
        trainer.fit(module, datamodule=data)
    assert trainer.callbacks == []  # type: ignore[attr-defined]
    assert loop._compat.after_fit is None
    assert not loop._compat.flags.limits
    loop.callbacks_handler.keep_callbacks(lambda callback: not isinstance(callback, Breaks))
    loop.fit(2)
    assert len(loop.train_history["loss"]) >= 2


def test_a_second_fit_goes_on_and_registers_nothing_twice() -> None:
    loop, recorder = single(), Recorder()
    module, data = as_lightning_module(loop, callbacks=[recorder])
    own_trainer(max_epochs=1).fit(module, datamodule=data)
    own_trainer(max_epochs=2).fit(module, datamodule=data)
    assert recorder.names().count("registration") == 1
    assert recorder.names().count("epoch_end") == 3
    assert len(loop.train_history["loss"]) == 3


def test_limits_of_the_trainer_are_those_of_the_loop() -> None:
    limited = make_loop(train=batches(5)[:2], validation=batches(4)[:1])
    limited.fit(2, grad_accumulation=3)
    loop = make_loop(train=batches(5), validation=batches(4))
    module, data = as_lightning_module(loop, grad_accumulation=3)
    trainer = own_trainer(max_epochs=2, limit_train_batches=2, limit_val_batches=1)
    trainer.fit(module, datamodule=data)
    assert loop.train_history.train_history == limited.train_history.train_history
    assert trainer.global_step == 2, "the last window of a limited epoch makes an update"
    assert len(loop.train_loader) == 5


def test_a_trial_run_takes_one_batch_of_each() -> None:
    loop = make_loop(train=batches(5), validation=batches(4), test=batches(3))
    module, data = as_lightning_module(loop)
    own_trainer(max_epochs=7, fast_dev_run=True).fit(module, datamodule=data)
    one = make_loop(train=batches(5)[:1], validation=batches(4)[:1], test=batches(3)[:1])
    one.fit(1)
    assert loop.train_history.train_history == one.train_history.train_history


@pytest.mark.parametrize("steps", [1, 4, 7])
def test_max_steps_counts_updates(steps: int) -> None:
    loop = several()
    module, data = as_lightning_module(loop, grad_accumulation=2)
    trainer = own_trainer(max_steps=steps, max_epochs=-1)
    trainer.fit(module, datamodule=data)
    assert trainer.global_step == steps
    # Three windows an epoch of five batches, the last one a single batch.
    assert loop.total_iteration_idx + 1 == (steps - 1) // 3 * 5 + (2, 4, 5)[(steps - 1) % 3]


def test_native_hooks_for_batches_get_every_batch() -> None:
    class Batches(Callback):
        seen: list[int] = []

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.seen.append(batch_idx)

    module, data = as_lightning_module(single())
    own_trainer(max_epochs=1, callbacks=[Batches()]).fit(module, datamodule=data)
    assert Batches.seen == [0, 1, 2, 3, 4]


def test_a_sanity_check_leaves_no_trace() -> None:
    class Validates(Callback):
        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            seen.append(trainer.sanity_checking)

    seen: list[bool] = []
    loop, reference = single(), single()
    module, data = as_lightning_module(loop)
    own_trainer(max_epochs=2, callbacks=[Validates()], num_sanity_val_steps=2).fit(module, datamodule=data)
    torch.manual_seed(3)
    reference.fit(2)
    assert seen == [True, False, False]
    assert len(loop.train_history["val_loss"]) == 2


def test_validate_test_and_predict() -> None:
    loop = single()
    loop.fit(1)
    module, data = as_lightning_module(loop)
    trainer = own_trainer()
    (validated,) = trainer.validate(module, datamodule=data, verbose=False)
    (tested,) = trainer.test(module, datamodule=data, verbose=False)
    assert validated["val_loss"] == pytest.approx(loop.evaluate_loss_on_validation_set().item())
    assert tested["test_loss"] == pytest.approx(loop.evaluate_loss_on_test_set().item())
    predicted = trainer.predict(module, datamodule=data)
    assert predicted is not None
    assert torch.cat([batch[0] for batch in predicted]).equal(loop.predict_on_test_set()[0])


def test_the_module_keeps_its_loop_and_a_copy_does_not() -> None:
    loop = single()
    gone = weakref.ref(loop)
    module, data = as_lightning_module(loop)
    del loop
    gc.collect()
    own_trainer(max_epochs=1).fit(module, datamodule=data)
    assert gone() is not None
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        with pytest.raises(ReferenceError):
            _ = other.loop
    del module, data
    gc.collect()
    assert gone() is None


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"gradient_clip_val": 1.0}, "gradient_clip_val=1.0.*GradNormClip"),
    ({"accumulate_grad_batches": 2}, r"accumulate_grad_batches=2.*grad_accumulation=n"),
    ({"check_val_every_n_epoch": 2}, "check_val_every_n_epoch=2.*end_auto_eval"),
    ({"val_check_interval": 0.5}, "val_check_interval=0.5.*on_batch_end"),
    ({"overfit_batches": 1}, "overfit_batches=1.*list of so many batches"),
    ({"reload_dataloaders_every_n_epochs": 1}, "reload_dataloaders_every_n_epochs=1.*on_epoch_begin"),
    ({"precision": "bf16-mixed"}, "precision='bf16-mixed'.*lightning_args"),
    ({"devices": 2, "strategy": "ddp"}, r"2 processes.*TrainLoop\(gpu_mode='ddp'\)"),
]


@pytest.mark.parametrize(("options", "text"), REFUSED, ids=lambda value: str(value)[:30])
def test_what_contradicts_the_loop_is_refused_when_the_fit_starts(options: dict[str, Any], text: str) -> None:
    loop = single()
    module, data = as_lightning_module(loop, callbacks=[Recorder()])
    trainer = own_trainer(max_epochs=1, **options)
    if "devices" in options:
        # It would start another process first.
        module.trainer, trainer.state.fn = trainer, TrainerFn.FITTING
    with pytest.raises(RefusedError, match=text):
        module.configure_callbacks() if "devices" in options else trainer.fit(module, datamodule=data)
    assert not loop.callbacks
    assert loop.total_iteration_idx == -1
    own_trainer(max_epochs=1).fit(module, datamodule=data)
    assert len(loop.train_history["loss"]) == 1


def test_resuming_from_a_file_is_refused(tmp_path: Path) -> None:
    loop = single()
    module, data = as_lightning_module(loop)
    trainer = own_trainer(max_epochs=1)
    trainer.fit(module, datamodule=data)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(RefusedError, match="load_state_dict"):
        own_trainer(max_epochs=2).fit(module, datamodule=data, ckpt_path=str(tmp_path / "a.ckpt"))
    (loss,) = own_trainer().validate(module, datamodule=data, ckpt_path=str(tmp_path / "a.ckpt"), verbose=False)
    assert loss["val_loss"] == pytest.approx(loop.train_history["val_loss"][-1])


def test_bad_arguments() -> None:
    with pytest.raises(InvalidTypeError, match="takes a TrainLoop, and got a LightningModule"):
        as_lightning_module(LightningModule())  # type: ignore[arg-type]
    with pytest.raises(InvalidTypeError, match=r"callbacks has EarlyStopping.*Trainer\(callbacks=\[EarlyStopping"):
        as_lightning_module(make_loop(), callbacks=[EarlyStopping("loss")])
    with pytest.raises(RefusedError, match="gpu_mode='ddp'"):
        as_lightning_module(make_loop(gpu_mode="ddp"))
    with pytest.raises(InvalidArgumentError, match="lightning_args for its own Trainer: log_every_n_steps"):
        as_lightning_module(make_loop(lightning_args={"log_every_n_steps": 3}))
    with pytest.raises(CompatError, match="grad_accumulation=0"):
        as_lightning_module(make_loop(), grad_accumulation=0)


def test_an_end_of_iteration_in_the_users_code_does_not_end_the_epoch_in_silence() -> None:
    class Ends(AbstractCallback):
        def on_batch_end(self) -> None:
            raise StopIteration

    module, data = as_lightning_module(make_loop(), callbacks=[Ends("ends")])
    with pytest.raises(RuntimeError, match="StopIteration"):
        own_trainer(max_epochs=1).fit(module, datamodule=data)


def test_precision_of_the_loop_is_that_of_the_training() -> None:
    ours = make_loop(train=batches(3), lightning_args={"precision": "bf16-mixed"})
    ours.fit(1)
    theirs = make_loop(train=batches(3), lightning_args={"precision": "bf16-mixed"})
    module, data = as_lightning_module(theirs)
    own_trainer(max_epochs=1).fit(module, datamodule=data)
    assert theirs.train_history.train_history == ours.train_history.train_history
    plain = make_loop(train=batches(3))
    plain.fit(1)
    assert plain.train_history.train_history != ours.train_history.train_history
