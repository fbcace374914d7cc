"""Old callbacks in a plain Trainer: their order, their effect, and what a checkpoint keeps of them."""

import csv
import inspect
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import lightning.pytorch.callbacks as native
import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

import compat.callbacks
import compat.schedulers
from compat import (
    AbstractCallback,
    AllPredictionsSame,
    DataSubsetTestRun,
    EarlyStopping,
    GradNormClip,
    LambdaLRScheduler,
    MessageHandling,
    ReduceLROnPlateauScheduler,
    StepLRScheduler,
    as_lightning_module,
)
from compat._lightning.native_history import HistoryCallback
from compat._lightning.old_in_new import as_lightning_callback
from compat.exceptions import InvalidTypeError, MissingAttributeError, RefusedError
from tests.both_worlds.old_parts import OLD_PARTS, OldPart, insert
from tests.both_worlds.plain_world import (
    BATCHES,
    At,
    PlainModule,
    Trace,
    in_trainer,
    loaders,
    quietly,
    trainer_with,
)
from tests.both_worlds.plain_world import fit_plain as fit
from tests.toys import GradientRecorder, Recorder, make_loop, on


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("optimizers", [1, 2])
@pytest.mark.parametrize("part", OLD_PARTS, ids=lambda part: part.name)
def test_an_old_callback_has_its_effect_or_is_refused(part: OldPart, optimizers: int, accumulation: int) -> None:
    part.check(optimizers, accumulation)


def test_every_callback_of_the_package_is_among_the_parts() -> None:
    modules = [
        import_module(f"{package.__name__}.{module.name}")
        for package in (compat.callbacks, compat.schedulers)
        for module in iter_modules(package.__path__)
    ]
    ours = {
        name
        for module in modules
        for name, value in inspect.getmembers(module, inspect.isclass)
        if issubclass(value, AbstractCallback) and not name.startswith("_")
    }
    assert ours == {part.name for part in OLD_PARTS}


def test_control_another_training_is_told_apart() -> None:
    clipped, bare = in_trainer([GradNormClip(0.1)]), in_trainer([])
    assert not clipped.is_same_as(bare)
    with pytest.raises(AssertionError):
        clipped.assert_equals(bare)


# The order


def test_the_order_of_events_with_the_trainers_and_the_modules() -> None:
    recorder = GradientRecorder()
    hooks = ("on_train_start", "on_train_epoch_start", "on_validation_end", "on_train_epoch_end", "on_train_end")

    class Module(PlainModule):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            recorder.note("step of the module")
            return super().training_step(batch, batch_idx)

        def on_train_epoch_end(self) -> None:
            recorder.note("module on_train_epoch_end")

    before = [At(hook, lambda _, hook=hook: recorder.note(f"native {hook}")) for hook in hooks]
    # Nobody can note anything before the recorder has got its loop.
    fit(
        Module(1, 1),
        *before,
        recorder,
        epochs=1,
        limit_train_batches=2,
        num_sanity_val_steps=0,
        accumulate_grad_batches=2,
    )
    assert recorder.names() == [
        "registration",
        "native on_train_start",
        "train_begin",
        "native on_train_epoch_start",
        "epoch_begin",
        "batch_begin",
        "step of the module",
        "gradient_0",
        "batch_end",
        "batch_begin",
        "step of the module",
        "gradient_0",
        "step",
        "batch_end",
        "native on_validation_end",
        "native on_train_epoch_end",
        "epoch_end",
        "module on_train_epoch_end",
        "native on_train_end",
        "train_end",
    ]


def test_execution_order_holds_wherever_the_adapters_stand() -> None:
    called: list[str] = []

    def named(name: str, order: int) -> AbstractCallback:
        callback = on("epoch_end", lambda _: called.append(name))
        callback.execution_order = order
        return callback

    fit(
        PlainModule(1, 1),
        named("last", 5),
        At("on_train_epoch_end", lambda _: called.append("native")),
        named("first", -5),
        named("second", 0),
        named("third", 0),
        epochs=1,
    )
    assert called == ["first", "second", "third", "last", "native"]


def test_gradient_hooks_wait_for_grad_cb_used() -> None:
    class Waiting(GradientRecorder):
        def on_train_loop_registration(self) -> None:
            self.note("registration")

    waiting = Waiting()
    fit(PlainModule(1, 1), waiting, epochs=1)
    assert "gradient_0" not in waiting.names()


def test_messages_of_an_epoch_end_with_it() -> None:
    seen: list[Any] = []

    def write(loop: Any) -> None:
        seen.append(loop.message_service.read_messages("key"))
        loop.message_service.write_message("key", loop.epoch, MessageHandling.UNTIL_END_OF_EPOCH)

    def read(loop: Any) -> None:
        seen.append(loop.message_service.read_messages("key"))

    fit(PlainModule(1, 1), on("epoch_begin", write), on("epoch_end", read), epochs=2)
    assert seen == [None, [0], None, [1]]


# Metrics, loggers and stopping


def test_a_metric_of_an_old_callback_is_seen_in_the_same_epoch(tmp_path: Path) -> None:
    seen: list[float] = []
    saver = ModelCheckpoint(tmp_path, monitor="f1", mode="max", filename="{epoch}-{f1:.2f}", save_top_k=-1)
    history = HistoryCallback()
    trainer = fit(
        PlainModule(1, 1),
        insert([0.25, 0.75, 0.5], "f1"),
        At("on_train_epoch_end", lambda trainer: seen.append(trainer.callback_metrics["f1"].item())),
        history,
        saver,
        enable_checkpointing=True,
    )
    assert seen == [0.25, 0.75, 0.5] == history.history["f1"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "epoch=0-f1=0.25.ckpt",
        "epoch=1-f1=0.75.ckpt",
        "epoch=2-f1=0.50.ckpt",
    ]
    assert saver.best_model_score == 0.75
    assert trainer.callback_metrics["f1"].dtype is torch.float64


@pytest.mark.parametrize("optimizers", [1, 2])
def test_a_metric_of_an_old_callback_is_logged_at_the_step_of_the_modules_own(optimizers: int, tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    arguments = {"accumulate_grad_batches": 3} if optimizers == 1 else {}
    fit(PlainModule(optimizers, 3), insert([1.0, 2.0, 3.0], "f1"), logger=logger, log_every_n_steps=100, **arguments)
    with (Path(logger.log_dir) / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    steps = {name: [(row["step"], row["epoch"]) for row in rows if row[name]] for name in ("f1", "train_loss")}
    assert steps["f1"] == steps["train_loss"]
    assert len(steps["f1"]) == 3


def test_the_history_is_what_the_module_logs_and_the_loss_of_its_steps() -> None:
    training = in_trainer([insert([1, 2, 3], "count")], epochs=3)
    history = training.loop.train_history
    assert sorted(history.keys()) == ["accumulated_loss", "count", "train_loss", "val_loss"]
    assert [len(values) for _, values in history.items()] == [3, 3, 3, 3]
    assert history["accumulated_loss"] == pytest.approx(history["train_loss"], rel=1e-6)
    windows = in_trainer([], accumulation=3).loop.train_history
    assert windows["accumulated_loss"] == pytest.approx(windows["train_loss"], rel=1e-6)


def test_to_stop_early_ends_the_training_with_the_epoch_and_not_inside_of_it() -> None:
    recorder = Recorder()

    def stop(loop: Any) -> None:
        loop.early_stop = True

    trainer = fit(PlainModule(1, 1), on("batch_end", stop), recorder)
    assert recorder.names().count("batch_end") == BATCHES
    assert trainer.current_epoch == 1
    assert fit(PlainModule(1, 1), on("batch_end", stop), min_epochs=2).current_epoch == 2


def test_that_the_trainer_stops_is_seen_and_a_wish_to_stop_can_be_taken_back() -> None:
    seen: list[bool] = []

    def stop(trainer: Any) -> None:
        trainer.should_stop = True

    fit(
        PlainModule(1, 1),
        At("on_validation_end", lambda trainer: None if trainer.sanity_checking else stop(trainer)),
        on("epoch_end", lambda loop: seen.append(loop.early_stop)),
    )
    assert seen == [True]

    def set_to(value: bool) -> Any:
        return lambda loop: setattr(loop, "early_stop", value)

    assert fit(PlainModule(1, 1), on("epoch_begin", set_to(True)), on("epoch_end", set_to(False))).current_epoch == 3


# Gradients


class Norms(Callback):
    """Notes the norm of all gradients at each step, after those of the callbacks before it."""

    def __init__(self) -> None:
        self.norms: list[float] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self.norms.append(float(torch.stack([one.grad.norm() for one in parameters]).norm()))


@pytest.mark.parametrize("optimizers", [1, 2])
@pytest.mark.parametrize("arguments", [{}, {"precision": "bf16-mixed"}], ids=["32", "bf16-mixed"])
def test_clipped_gradients_are_what_the_optimizer_steps_on(optimizers: int, arguments: dict[str, Any]) -> None:
    norms, bare = Norms(), Norms()
    if optimizers == 1:
        arguments = {**arguments, "accumulate_grad_batches": 3}
    fit(PlainModule(optimizers, 3), GradNormClip(0.1), norms, **arguments)
    fit(PlainModule(optimizers, 3), bare, **arguments)
    assert len(norms.norms) == 3 * 2 * optimizers
    assert max(norms.norms) <= 0.1 + 1e-6
    assert max(bare.norms) > 0.2


def test_the_trainers_own_clipping_comes_after_that_of_an_old_callback() -> None:
    both, native_alone = Trace(), Trace()
    fit(PlainModule(1, 1), GradNormClip(0.1), both, gradient_clip_val=0.05)
    fit(PlainModule(1, 1), native_alone, gradient_clip_val=0.05)
    for ours, theirs in zip(both.weights[-1], native_alone.weights[-1], strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_optimizers_stepped_past_lightning_are_an_error_if_gradients_are_waited_for() -> None:
    class Past(PlainModule):
        def _optimizers(self) -> list[Any]:
            found: Any = self.optimizers(use_pl_optimizer=False)
            return list(found)

    with pytest.raises(RefusedError, match=r"Past has stepped an optimizer past Lightning.*GradNormClip could not act"):
        fit(Past(2, 1), GradNormClip(0.1))
    # Whoever only counts the steps misses nothing.
    steps: list[int] = []
    fit(Past(2, 1), on("after_optimizer_step", lambda loop: steps.append(loop.iteration)), epochs=1)
    assert steps == [index // 2 for index in range(2 * BATCHES)]


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_left_on_the_optimizers(fails: bool) -> None:
    def act(loop: Any) -> None:
        if fails and loop.epoch == 1:
            raise ZeroDivisionError

    module, optimizers = PlainModule(1, 1), []
    watcher = At("on_train_start", lambda trainer: optimizers.extend(trainer.optimizers))
    callbacks = (GradientRecorder(), on("epoch_end", act), watcher)
    if fails:
        with pytest.raises(ZeroDivisionError):
            fit(module, *callbacks)
    else:
        fit(module, *callbacks)
    assert [len(one._optimizer_step_post_hooks) for one in optimizers] == [0]


def test_averaged_weights_and_accumulation_by_epoch_go_together_with_old_callbacks() -> None:
    recorder = GradientRecorder()
    fit(PlainModule(1, 1), recorder, native.GradientAccumulationScheduler({0: 1, 1: 5}), GradNormClip(0.1), epochs=2)
    assert recorder.names().count("step") == BATCHES + 1
    averages = getattr(native, "EMAWeightAveraging", None)
    if averages is not None:
        scheduler = StepLRScheduler(1)
        fit(PlainModule(1, 1), averages(), scheduler, GradNormClip(0.1))
        assert scheduler.scheduler.last_epoch == 3


# Trainings one after the other


def test_a_second_training_of_the_same_trainer_goes_on() -> None:
    recorder, scheduler = Recorder(), StepLRScheduler(1)
    module = PlainModule(1, 1)
    with quietly():
        trainer = trainer_with([as_lightning_callback(recorder), as_lightning_callback(scheduler)], max_epochs=2)
        trainer.fit(module, *loaders())
        trainer.fit_loop.max_epochs = 3
        trainer.fit(module, *loaders())
    assert recorder.names().count("registration") == 2
    assert recorder.names().count("epoch_end") == 3
    assert recorder.events[-2] == ("epoch_end", 2, BATCHES - 1, 3 * BATCHES - 1)
    # The optimizer is a new one, and so is the schedule on it.
    assert scheduler.scheduler.optimizer is trainer.optimizers[0]
    assert scheduler.scheduler.last_epoch == 1
    loop: Any = recorder.train_loop_obj
    assert len(loop.train_history["val_loss"]) == 3


def test_the_same_callbacks_in_another_trainer_start_with_a_history_of_its_own() -> None:
    adapter = as_lightning_callback(Recorder())
    with quietly():
        for _ in range(2):
            trainer_with([adapter], max_epochs=1).fit(PlainModule(1, 1), *loaders())
    loop: Any = adapter.old_callback.train_loop_obj
    assert len(loop.train_history["val_loss"]) == 1


# What will not do


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (EarlyStopping, r"This is the class: pass an instance, EarlyStopping\(\.\.\.\)"),
        (native.EarlyStopping("val_loss"), r"a callback of Lightning's already. Pass it to Trainer\(callbacks"),
        (as_lightning_callback(EarlyStopping()), "OldCallbackAdapter is a callback of Lightning's already"),
        ([EarlyStopping()], "one callback, and got a list of 1. Pass them one by one"),
        (None, "None is no old callback"),
        (lambda: None, "is no old callback"),
    ],
    ids=["class", "native", "adapted", "list", "None", "function"],
)
def test_what_is_no_old_callback_is_an_error(given: Any, message: str) -> None:
    with pytest.raises(InvalidTypeError, match=message):
        as_lightning_callback(given)


def test_a_callback_without_the_base_constructor_is_an_error() -> None:
    class Bare(AbstractCallback):
        def __init__(self) -> None:
            self.mine = 1

    with pytest.raises(MissingAttributeError, match=r"Call super\(\).__init__\(callback_name\) in Bare.__init__"):
        as_lightning_callback(Bare())


def test_a_subclass_of_what_is_refused_is_refused() -> None:
    class Mine(DataSubsetTestRun):
        pass

    with pytest.raises(RefusedError, match="Mine replaces the loaders"):
        as_lightning_callback(Mine())


def test_an_adapter_for_the_module_of_a_train_loop_is_refused() -> None:
    module, data = as_lightning_module(make_loop())
    with quietly(), pytest.raises(InvalidTypeError, match="Pass the EarlyStopping itself"):
        trainer_with([as_lightning_callback(EarlyStopping("loss"))], max_epochs=1).fit(module, datamodule=data)


class NothingOld(PlainModule):
    """A module that has no old model inside."""

    def __init__(self, **options: Any) -> None:
        super().__init__(1, 1)
        self.net = torch.nn.Linear(3, 1)
        self.options = options
        del self.model

    def losses(self, batch: Any) -> list[torch.Tensor]:
        return [self.criterion(self.net(batch[0]), batch[1])]

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_what_predicts_is_refused_at_the_start_if_the_module_cannot() -> None:
    with pytest.raises(MissingAttributeError, match=r"cannot predict, as AllPredictionsSame does.*validation_step"):
        fit(NothingOld(), AllPredictionsSame())


def test_a_native_module_gives_the_validation_loss_that_it_logs() -> None:
    scheduler, bare = ReduceLROnPlateauScheduler(patience=0, threshold=1e6), Trace()
    fit(NothingOld(), scheduler, bare)
    assert [rates[0] for rates in bare.rates[::BATCHES]] == pytest.approx([0.1, 0.01, 0.001])
    with pytest.raises(
        MissingAttributeError, match=r"val_loss that its own validation logs, and in epoch 0 there is none"
    ):
        fit(NothingOld(), ReduceLROnPlateauScheduler(), check_val_every_n_epoch=2)


def test_lambda_schedulers_step_where_the_weights_are_updated() -> None:
    trace = Trace()
    factors = LambdaLRScheduler(lambda step: 0.5**step, execute_epoch_end=False, execute_batch_end=True)
    fit(PlainModule(1, 1), factors, trace, epochs=1, accumulate_grad_batches=3)
    assert [rates[0] for rates in trace.rates] == [0.1, 0.1, 0.1, 0.05, 0.05]
    assert factors.scheduler.last_epoch == 2
