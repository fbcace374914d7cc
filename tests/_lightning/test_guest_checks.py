"""What is refused where a TrainLoop meets a Trainer: flags, data, and the Trainer and the module of one fit."""

import copy
import pickle
from typing import Any

import pytest
from lightning.pytorch import LightningDataModule
from lightning.pytorch.trainer.states import TrainerFn

import compat
from compat import FunctionOnTrainLoop
from compat._lightning.in_trainer import as_lightning_module
from compat.exceptions import RefusedError
from tests._lightning.guests import own_trainer, single
from tests.toys import Recorder, batches, data_loader, make_loop, on

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


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
def test_what_would_change_the_numbers_is_refused_where_nothing_is_trained_too(verb: str) -> None:
    module, data = as_lightning_module(single())
    with pytest.raises(RefusedError, match="precision='bf16-mixed'"):
        getattr(own_trainer(precision="bf16-mixed"), verb)(module, datamodule=data)
    getattr(own_trainer(gradient_clip_val=1.0), verb)(module, datamodule=data)


class OwnData(LightningDataModule):
    """Data of the user's own."""

    def train_dataloader(self) -> Any:
        """Return the batches to train on."""
        return data_loader()

    def val_dataloader(self) -> Any:
        """Return the batches to validate on."""
        return data_loader()

    test_dataloader = predict_dataloader = val_dataloader


FOREIGN: list[tuple[str, Any, str]] = [
    ("fit", lambda: {"train_dataloaders": data_loader()}, "given train_dataloaders=DataLoader, and"),
    ("fit", lambda: {"val_dataloaders": data_loader()}, "given val_dataloaders=DataLoader, and"),
    (
        "fit",
        lambda: {"train_dataloaders": data_loader(), "val_dataloaders": batches()},
        "train_dataloaders=DataLoader, val_dataloaders=list",
    ),
    ("fit", lambda: {"datamodule": OwnData()}, "given datamodule=OwnData, and"),
    ("validate", lambda: {"dataloaders": data_loader()}, "given dataloaders=DataLoader, and"),
    ("validate", lambda: {"datamodule": OwnData()}, "given datamodule=OwnData, and"),
    ("test", lambda: {"dataloaders": data_loader()}, "given dataloaders=DataLoader, and"),
    ("test", lambda: {"datamodule": as_lightning_module(single())[1]}, "given datamodule=LoopData, and"),
]


@pytest.mark.parametrize(
    ("verb", "options", "text"), FOREIGN, ids=lambda value: value if isinstance(value, str) else ""
)
def test_data_beside_the_loops_is_refused(verb: str, options: Any, text: str) -> None:
    loop = single()
    module, data = as_lightning_module(loop)
    trainer = own_trainer(max_epochs=1)
    with pytest.raises(RefusedError, match=text + r".*loop.validation_loader"):
        getattr(trainer, verb)(module, **options())
    assert loop.total_iteration_idx == -1
    assert trainer.callbacks == []  # type: ignore[attr-defined]
    # The same Trainer takes the loop's own afterwards.
    getattr(trainer, verb)(module, datamodule=data)


def test_the_loops_own_data_may_come_from_anywhere() -> None:
    loop = single()
    module, _ = as_lightning_module(loop)
    own_trainer(max_epochs=1).fit(module)
    own_trainer(max_epochs=1).fit(module, datamodule=as_lightning_module(loop)[1])
    assert len(loop.train_history["loss"]) == 2


@pytest.mark.parametrize("options", [{"dataloaders": data_loader()}, {"datamodule": OwnData()}])
def test_any_batches_are_predicted(options: dict[str, Any]) -> None:
    loop = make_loop(test=batches(1))
    module, _ = as_lightning_module(loop)
    predicted = own_trainer().predict(module, **options)
    assert predicted is not None
    assert len(predicted) == 3


@pytest.mark.parametrize("verb", ["fit", "validate", "test", "predict"])
def test_the_module_of_a_fit_runs_in_no_other_trainer(verb: str) -> None:
    loop, recorder = single(), Recorder()
    loop.fit(1, callbacks=[recorder])
    events = list(recorder.events)
    for module in (loop.lightning_module, pickle.loads(pickle.dumps(loop.lightning_module))):
        with pytest.raises(
            RefusedError, match=r"loop.lightning_module belongs to one fit.*as_lightning_module\(loop\)"
        ):
            getattr(own_trainer(max_epochs=5), verb)(module, **({} if verb == "fit" else {"dataloaders": batches()}))
    assert recorder.events == events
    assert len(loop.train_history["loss"]) == 1


def test_the_module_of_a_running_fit_runs_in_no_other_trainer() -> None:
    def borrow(loop: Any) -> None:
        own_trainer(max_epochs=5).fit(loop.lightning_module)

    with pytest.raises(RefusedError, match="belongs to one fit"):
        single().fit(1, callbacks=[on("epoch_end", borrow)])


def test_a_copy_of_the_module_of_a_running_fit_leaves_the_trainer_out() -> None:
    def take(loop: Any) -> None:
        copies.append((loop.lightning_module.runs_in, copy.deepcopy(loop.lightning_module).runs_in))

    copies: list[Any] = []
    loop = single()
    loop.fit(1, callbacks=[on("epoch_end", take)])
    assert copies == [(loop.trainer, None)]


@pytest.mark.parametrize("verb", ["fit", "validate", "test", "predict"])
@pytest.mark.parametrize("which", ["its own", "a guest"])
def test_the_trainer_of_a_fit_runs_nothing_else(verb: str, which: str) -> None:
    compat.quirks.set(Q01="fixed")
    loop = single()
    loop.fit(1)
    module = loop.lightning_module if which == "its own" else as_lightning_module(loop)[0]
    with pytest.raises(RefusedError, match=rf"loop.trainer.{verb}\(...\) is not served.*as_lightning_module\(loop\)"):
        getattr(loop.trainer, verb)(module)
    loop.fit(2)
    assert len(loop.train_history["loss"]) == 2, "fit goes on as before"


def test_the_trainer_of_a_failed_fit_runs_nothing_else_either() -> None:
    def fail(loop: Any) -> None:
        raise ValueError("broken")

    loop, failing = single(), FunctionOnTrainLoop(fail, epoch_begin=True)
    with pytest.raises(ValueError, match="broken"):
        loop.fit(1, callbacks=[failing])
    with pytest.raises(RefusedError, match=r"loop\.trainer\.fit"):
        loop.trainer.fit(loop.lightning_module)


def test_the_trainer_of_a_guest_is_the_users_and_runs_on() -> None:
    loop = single()
    module, data = as_lightning_module(loop)
    own_trainer(max_epochs=1).fit(module, datamodule=data)
    assert loop.trainer is not None
    assert loop.trainer.validate(loop.lightning_module, datamodule=data, verbose=False)
