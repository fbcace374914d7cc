"""What stands for the TrainLoop in a plain Trainer: what it serves, and what it says of the rest."""

import inspect
from functools import partial
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule

from compat import AbstractCallback, MultiOptimizer, TrainLoop, as_lightning_callback
from compat._lightning.view import TrainerView
from compat.exceptions import MissingAttributeError, RefusedAttributeError
from tests.both_worlds.plain_world import BATCHES, PlainModule, in_loop, in_trainer, quietly, trainer_with
from tests.both_worlds.plain_world import fit_plain as fit
from tests.toys import Linear, data_loader, on


def looked_at(look: Any, module: Any = None, hook: str = "epoch_end", **arguments: Any) -> list[Any]:
    """Return what a function of the view gives at a point of a short training."""
    seen: list[Any] = []
    callback = on(hook, lambda view: seen.append(look(view)))
    fit(module or PlainModule(1, 1), callback, **{"epochs": 1, **arguments})
    return seen


def public_names() -> list[str]:
    loop: Any = in_loop([], epochs=1).loop
    return sorted(name for name in dir(loop) if not name.startswith("_"))


NOT_THERE = {
    "amp_scaler_init": "is not there",
    "auto_execute_end_of_epoch": "here the LightningModule logs them",
    "auto_execute_end_of_training": "here the LightningModule logs them",
    "fit": "runs a training, and the Trainer that calls this callback runs one already",
    "bucket_name": "belongs to experiment tracking",
    "cloud_dir_prefix": "belongs to experiment tracking",
    "cloud_save_mode": "belongs to experiment tracking",
    "experiment_name": "belongs to experiment tracking",
    "hyperparams": "lightning_module.hparams",
    "local_model_result_folder_path": "belongs to experiment tracking",
    "project_name": "belongs to experiment tracking.*Give the callback the value itself, or train with a TrainLoop",
    "_backward_pass": "here the LightningModule does it",
    "nonsense": r"train_loop_obj.nonsense is not there. This callback runs in a plain Trainer.",
}


@pytest.mark.parametrize("name", NOT_THERE)
def test_what_is_not_there_is_an_attribute_error_with_the_reason(name: str) -> None:
    def look(view: Any) -> Any:
        assert not hasattr(view, name)
        with pytest.raises(MissingAttributeError, match=NOT_THERE[name]):
            getattr(view, name)
        return True

    assert looked_at(look) == [True]


def test_every_public_name_of_the_loop_is_served_or_known_not_to_be() -> None:
    names = public_names()

    def look(view: Any) -> list[str]:
        return [name for name in names if not hasattr(view, name)]

    # Parts of the old loop that a native module has in its own way.
    parallel = {name for name in names if name.startswith(("predict_and", "dp_", "ddp_"))}
    missing = set(looked_at(look)[0])
    assert missing - parallel <= set(NOT_THERE), sorted(missing - parallel - set(NOT_THERE))
    assert {"epoch", "train_history", "predict_on_test_set", "get_schedulers"} <= set(names) - missing


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("epoch", 5, r"trainer.fit\(ckpt_path"),
        ("total_iteration_idx", 99, r"trainer.fit\(ckpt_path"),
        ("train_loader", [], "limit_train_batches=n"),
        ("validation_loader", None, "limit_val_batches=n"),
        ("model", Linear(), "change the LightningModule"),
        ("optimizer", None, "configure_optimizers"),
        ("grad_accumulation", 7, "Pass it to the Trainer"),
        ("device", torch.device("meta"), "Pass it to the Trainer"),
    ],
)
def test_what_the_trainer_owns_cannot_be_set(name: str, value: Any, reason: str) -> None:
    def look(view: Any) -> Any:
        with pytest.raises(
            RefusedAttributeError, match=rf"train_loop_obj.{name} cannot be set in a plain Trainer.*{reason}"
        ):
            setattr(view, name, value)
        setattr(view, name, getattr(view, name))
        return True

    assert looked_at(look) == [True]


def test_attributes_of_a_callbacks_own_can_be_set() -> None:
    def look(view: Any) -> Any:
        view.mine = 3
        return view.mine

    assert looked_at(look) == [3]


@pytest.mark.parametrize("optimizers", [1, 2])
def test_counters_and_parts_are_those_of_the_trainer_and_of_a_train_loop(optimizers: int) -> None:
    def look(view: Any) -> Any:
        optimizer = view.optimizer
        assert optimizer is view.optimizer
        assert isinstance(optimizer, MultiOptimizer) == (optimizers == 2)
        return (
            (view.epoch, view.iteration, view.total_iteration_idx, view.num_epochs, view.num_iterations),
            (view.num_optimizers, view.should_execute_optimizer_update(), view.is_main_process(), view.early_stop),
            (view.gpu_mode, view.ddp_training_mode, view.ddp_rank, view.use_amp, view.device),
            (len(view.train_loader), len(view.validation_loader), view.test_loader, view.end_auto_eval),
            (len(view.callbacks), len(view.callbacks_handler), view.grad_cb_used, view.print_callbacks),
            (view.lazy_experiment_save, view.batch_model_feed_def, type(view.model), type(view.criterion)),
            (view.amp_scaler.is_enabled(), view.ddp_handler, len(view.get_schedulers()), view.experiment_timestamp[:4]),
        )

    for hook in ("tl_registration", "train_begin", "epoch_begin", "batch_end", "epoch_end"):
        plain: list[Any] = []
        loop: list[Any] = []
        in_trainer([on(hook, partial(lambda to, view: to.append(look(view)), plain))], optimizers, 1, 2)
        in_loop([on(hook, partial(lambda to, view: to.append(look(view)), loop))], optimizers, 1, 2)
        if hook in ("tl_registration", "train_begin", "epoch_begin"):
            # Before a batch there is none to tell anything of.
            plain, loop = ([(*one[:1], *one[2:]) for one in seen] for seen in (plain, loop))
        assert plain == loop


@pytest.mark.parametrize("accumulation", [1, 3])
def test_the_number_of_updates_is_counted_as_in_a_train_loop(accumulation: int) -> None:
    plain: list[int] = []
    loop: list[int] = []
    in_trainer([on("tl_registration", lambda view: plain.append(view.get_num_training_steps()))], 1, accumulation)
    in_loop([on("train_begin", lambda view: loop.append(view.get_num_training_steps()))], 1, accumulation)
    assert plain == loop == [3 * (BATCHES // accumulation)]
    assert looked_at(lambda view: view.get_num_training_steps(), hook="train_begin", max_steps=7, epochs=-1) == [7]


def test_without_max_epochs_there_is_no_number_of_epochs() -> None:
    def look(view: Any) -> Any:
        with pytest.raises(MissingAttributeError, match=r"Pass Trainer\(max_epochs="):
            _ = view.num_epochs
        return view.epoch

    assert looked_at(look, max_steps=BATCHES, epochs=-1) == [0]


# Predictions and losses of an old model in the module


@pytest.mark.parametrize("optimizers", [1, 2])
@pytest.mark.parametrize("data", ["train", "validation"])
def test_predictions_and_losses_are_those_of_a_train_loop(data: str, optimizers: int) -> None:
    def values(loop: Any) -> list[Any]:
        y_pred, y_true, metadata = getattr(loop, f"predict_on_{data}_set")()
        loss = getattr(loop, f"evaluate_loss_on_{data}_set")(float_dict_format=True)
        # What is stored is not made again.
        assert getattr(loop, f"predict_on_{data}_set")()[0] is y_pred
        return [y_pred.tolist(), y_true.tolist(), metadata, loss]

    plain: list[Any] = []
    loop: list[Any] = []
    in_trainer([on("epoch_end", lambda one: plain.append(values(one)))], optimizers, epochs=2)
    in_loop([on("epoch_end", lambda one: loop.append(values(one)))], optimizers, epochs=2)
    assert plain == loop
    assert plain[0] != plain[1]


def test_an_own_pass_leaves_modes_and_gradients_and_the_numbers_of_the_training_alone() -> None:
    class Frozen(PlainModule):
        def __init__(self) -> None:
            super().__init__(1, 1)
            self.model.norm = torch.nn.BatchNorm1d(3)

        def on_train_start(self) -> None:
            self.model.norm.eval()

    def look(view: Any) -> Any:
        view.predict_on_validation_set()
        view.evaluate_loss_on_train_set()
        modes = [module.training for module in view.lightning_module.modules()]
        return modes.count(False), view.model.norm.training, torch.is_grad_enabled()

    assert looked_at(look, Frozen()) == [(1, False, True)]
    looking = in_trainer([on("batch_end", lambda view: view.predict_on_validation_set())])
    looking.assert_equals(in_trainer([]))


def test_passes_keep_to_the_limits_of_the_trainer() -> None:
    def look(view: Any) -> Any:
        sizes = (len(view.train_loader), len(view.validation_loader))
        assert view.train_loader.batch_size == 2
        rows = (len(view.predict_on_train_set()[0]), len(view.predict_on_validation_set()[0]))
        return sizes, rows

    assert looked_at(look) == [((5, 2), (10, 4))]
    assert looked_at(look, limit_train_batches=3, limit_val_batches=1) == [((3, 1), (6, 2))]
    assert looked_at(look, fast_dev_run=1) == [((1, 1), (2, 2))]
    assert looked_at(lambda view: view.validation_loader, limit_val_batches=0) == [None]


def test_loaders_asked_for_at_registration_are_those_of_the_training() -> None:
    seen: list[Any] = []

    class Early(AbstractCallback):
        def on_train_loop_registration(self) -> None:
            loop = self.train_loop_obj
            seen.append((loop.train_loader, loop.validation_loader))

        def on_epoch_end(self) -> None:
            loop = self.train_loop_obj
            seen.append((loop.train_loader, loop.validation_loader))

    training = in_trainer([Early("early")], epochs=1)
    assert seen[0] == seen[1]
    assert None not in seen[0]
    training.assert_equals(in_trainer([], epochs=1))


def test_several_validation_loaders_are_no_single_one() -> None:
    def look(view: Any) -> None:
        with pytest.raises(MissingAttributeError, match=r"validation_loader is not there: the Trainer has 2 loaders"):
            _ = view.validation_loader
        seen.append(True)

    seen: list[bool] = []

    class Two(PlainModule):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            self.log("val_loss", self.losses(batch)[0])

    with quietly():
        trainer = trainer_with([as_lightning_callback(on("epoch_end", look))], max_epochs=1)
        trainer.fit(Two(1, 1), data_loader(4), [data_loader(4), data_loader(2)])
    assert seen == [True]


class Bigger(PlainModule):
    """An old model, and a part beside it that is trained as well."""

    def __init__(self) -> None:
        super().__init__(1, 1)
        self.head = torch.nn.Linear(1, 1)

    def losses(self, batch: Any) -> list[torch.Tensor]:
        return [self.criterion(self.head(self.model(batch[0])), batch[1])]

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_the_model_is_all_that_is_trained_and_the_old_model_predicts() -> None:
    def look(view: Any) -> Any:
        expected = torch.cat([view.lightning_module.model(inputs) for inputs, _ in view.validation_loader])
        return view.model is view.lightning_module, torch.equal(view.predict_on_validation_set()[0], expected)

    assert looked_at(look, Bigger()) == [(True, True)]
    assert looked_at(lambda view: view.model is view.lightning_module.model) == [True]


def test_a_module_may_be_the_old_model_itself() -> None:
    class Both(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.criterion = torch.nn.Linear(3, 1), torch.nn.MSELoss()

        def get_loss(self, batch: Any, criterion: Any, device: Any) -> Any:
            return criterion(self.layer(batch[0]), batch[1])

        def get_predictions(self, batch: Any, device: Any) -> Any:
            return self.layer(batch[0]), batch[1], {}

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.get_loss(batch, self.criterion, self.device)

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.get_loss(batch, self.criterion, self.device)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    def look(view: Any) -> Any:
        return (
            view.model is view.lightning_module,
            view.predict_on_train_set()[0].shape,
            view.evaluate_loss_on_train_set(),
        )

    ((is_module, shape, loss),) = looked_at(look, Both())
    assert (is_module, tuple(shape), loss.dtype) == (True, (10, 1), torch.float64)


def test_a_compiled_old_model_predicts_too() -> None:
    module = PlainModule(1, 1)
    compiled: Any = torch.compile(module.model, backend="eager")
    module.model = compiled
    assert looked_at(lambda view: tuple(view.predict_on_validation_set()[0].shape), module) == [(4, 1)]


class Plain(LightningModule):
    """No old model, no loss function under the usual name, and a validation that logs nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Linear(3, 1)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.net(batch[0])

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return (self.net(batch[0]) - batch[1]).square().mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize(
    ("look", "reason"),
    [
        (lambda view: view.predict_on_validation_set(), r"Plain has no get_predictions and get_loss.*cannot predict"),
        (lambda view: view.predict_on_train_set(), "Keep the old model"),
        (lambda view: view.evaluate_loss_on_train_set(), "cannot evaluate a loss"),
        (lambda view: view.criterion, r"Keep the loss function in self.criterion"),
        (
            lambda view: view.evaluate_loss_on_validation_set(),
            r"in epoch 0 there is none so far, but: nothing. Call self.log\('val_loss', loss\)",
        ),
    ],
)
def test_what_a_plain_module_has_not_is_an_attribute_error_with_the_reason(look: Any, reason: str) -> None:
    def ask(view: Any) -> Any:
        with pytest.raises(AttributeError, match=reason):
            look(view)
        return True

    assert looked_at(ask, Plain()) == [True]


def test_its_methods_take_what_those_of_the_loop_take() -> None:
    shared = [
        name
        for name, method in vars(TrainerView).items()
        if inspect.isfunction(method) and not name.startswith("_") and hasattr(TrainLoop, name)
    ]
    assert "evaluate_model_loss" in shared
    for name in shared:
        ours, theirs = (inspect.signature(getattr(owner, name)) for owner in (TrainerView, TrainLoop))
        assert [str(one) for one in ours.parameters.values()] == [str(one) for one in theirs.parameters.values()], name
