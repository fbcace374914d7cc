"""A TrainLoop in a Trainer of the user's own: the same numbers, the Trainer's own parts, and no trace left in it."""

import copy
import csv
import gc
import pickle
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

import compat
from compat import AbstractCallback, StepLRScheduler
from compat._lightning.in_trainer import as_lightning_module
from compat.exceptions import CompatError, InvalidArgumentError, InvalidTypeError, RefusedError
from tests._lightning.guests import own_trainer, several, single
from tests.toys import GradientRecorder, Recorder, batches, make_loop


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


@pytest.mark.parametrize("share", [0, 0.0])
def test_without_training_batches_nothing_is_trained(share: float) -> None:
    loop = single()
    module, data = as_lightning_module(loop)
    own_trainer(max_epochs=2, limit_train_batches=share).fit(module, datamodule=data)
    assert loop.total_iteration_idx == -1


LIMITS: list[tuple[dict[str, Any], int]] = [({"limit": 1}, 1), ({"limit": 0.5}, 2), ({"fast_dev_run": 3}, 3), ({}, 4)]


@pytest.mark.parametrize("verb", ["validate", "test"])
@pytest.mark.parametrize(("asked", "count"), LIMITS, ids=str)
def test_limits_count_where_the_trainer_evaluates(verb: str, asked: dict[str, Any], count: int) -> None:
    name, attribute = {"validate": ("val", "validation_loader"), "test": ("test", "test_loader")}[verb]
    loop = make_loop(validation=batches(4), test=batches(4))
    options = {f"limit_{name}_batches" if key == "limit" else key: value for key, value in asked.items()}
    trainer = own_trainer(**options)
    limit = getattr(trainer, f"limit_{name}_batches")
    module, data = as_lightning_module(loop)
    whole = loop.evaluate_model_loss(batches(4)).item()
    (found,) = getattr(trainer, verb)(module, datamodule=data, verbose=False)
    assert found[f"{name}_loss"] == pytest.approx(loop.evaluate_model_loss(batches(4)[:count]).item())
    assert (found[f"{name}_loss"] == pytest.approx(whole)) is (count == 4)
    assert len(getattr(loop, attribute)) == 4
    assert getattr(trainer, f"limit_{name}_batches") == limit
    assert getattr(loop, f"evaluate_loss_on_{attribute.removesuffix('_loader')}_set")().item() == pytest.approx(whole)


def test_limits_of_the_test_set_are_not_those_of_a_prediction() -> None:
    loop = make_loop(test=batches(4))
    module, data = as_lightning_module(loop)
    predicted = own_trainer(limit_test_batches=1, limit_predict_batches=3).predict(module, datamodule=data)
    assert predicted is not None
    assert len(predicted) == 3


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


def test_evaluations_are_those_of_the_weights_in_the_file(tmp_path: Path) -> None:
    loop = single()
    module, data = as_lightning_module(loop)
    files = ModelCheckpoint(tmp_path, save_top_k=-1, filename="{epoch}")
    trainer = own_trainer(max_epochs=3, callbacks=[files], enable_checkpointing=True)
    trainer.fit(module, datamodule=data)
    losses = loop.train_history["val_loss"]
    assert len(set(losses)) == 3
    loop.predict_on_train_set()
    for epoch in (0, 2, 1):
        path = str(tmp_path / f"epoch={epoch}.ckpt")
        (tested,) = trainer.test(module, datamodule=data, ckpt_path=path, verbose=False)
        (validated,) = trainer.validate(module, datamodule=data, ckpt_path=path, verbose=False)
        assert validated["val_loss"] == pytest.approx(losses[epoch])
        assert tested["test_loss"] == pytest.approx(loop.evaluate_model_loss(loop.test_loader).item())
        predicted = loop.predict_on_train_set()
        assert predicted[0].sum() == pytest.approx(loop.predict_with_model(loop.train_loader)[0].sum())


@pytest.mark.parametrize("verb", ["validate", "test"])
def test_evaluations_are_those_of_weights_that_were_changed_by_hand(verb: str) -> None:
    loop = single()
    module, data = as_lightning_module(loop)
    trainer = own_trainer()
    (before,) = getattr(trainer, verb)(module, datamodule=data, verbose=False)
    with torch.no_grad():
        loop.model.layer.weight += 1
    (after,) = getattr(trainer, verb)(module, datamodule=data, verbose=False)
    loader = {"validate": loop.validation_loader, "test": loop.test_loader}[verb]
    assert before != after
    assert list(after.values()) == pytest.approx([loop.evaluate_model_loss(loader).item()])


def test_a_file_goes_into_the_model_that_the_loop_has_now(tmp_path: Path) -> None:
    loop, other = single(), single()
    module, data = as_lightning_module(loop)
    trainer = own_trainer(max_epochs=1)
    trainer.fit(module, datamodule=data)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    loop.model = other.model
    (loss,) = trainer.validate(module, datamodule=data, ckpt_path=str(tmp_path / "a.ckpt"), verbose=False)
    assert loss["val_loss"] == pytest.approx(loop.train_history["val_loss"][-1])


def test_rows_of_the_history_and_of_the_modules_log_have_the_same_steps(tmp_path: Path) -> None:
    class Logs(Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            pl_module.log("mine", 1.0)

    loop = single()
    loop.fit(2)
    module, data = as_lightning_module(loop)
    logger = CSVLogger(tmp_path)
    own_trainer(max_epochs=2, logger=logger, callbacks=[Logs()]).fit(module, datamodule=data)
    with Path(logger.log_dir, "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    steps = {
        name: [int(row["step"]) for row in rows if row[name]] for name in ("mine", "val_loss", "train_end_test_loss")
    }
    assert steps == {"mine": [4, 9], "val_loss": [4, 9], "train_end_test_loss": [9]}


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
