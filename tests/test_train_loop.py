"""TrainLoop: the documented constructor, fit, and template methods."""

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from compat import (
    AbstractCallback,
    AbstractModelFeedDefinition,
    ModelWrap,
    MultiLoss,
    MultiOptimizer,
    TrainLoop,
)
from compat.exceptions import CompatError, QuirkWarning
from tests.toys import GradientRecorder, Linear, Recorder, TwoHeads, batches, data_loader, make_loop


class Feed(AbstractModelFeedDefinition):
    """Feeds a plain torch module."""

    def get_loss(self, model: Any, batch_data: Any, criterion: Any, device: Any) -> Any:
        """Return the criterion's loss."""
        return criterion(model(batch_data[0]), batch_data[1])

    def get_predictions(self, model: Any, batch_data: Any, device: Any) -> Any:
        """Return the outputs."""
        return model(batch_data[0]), batch_data[1], {}


# --- construction ---------------------------------------------------------------------------------------------------


def test_initial_attributes_are_the_documented_ones() -> None:
    loop = make_loop(validation=batches())
    assert (loop.epoch, loop.iteration, loop.total_iteration_idx) == (0, 0, -1)
    assert (loop.num_epochs, loop.num_iterations, loop.grad_accumulation) == (None, None, 1)
    assert (loop.early_stop, loop.grad_cb_used, loop.ddp_training_mode) == (False, False, False)
    assert (loop.ddp_handler, loop.ddp_rank, loop.batch_model_feed_def) == (None, None, None)
    assert loop.loss_batch_accum == []
    assert loop.callbacks == []
    assert list(loop.train_history.keys()) == ["loss", "accumulated_loss", "val_loss"]
    assert loop.is_main_process()
    assert not loop.amp_scaler.is_enabled()
    assert len(loop.experiment_timestamp) == len("2026-01-01_00-00-00")


@pytest.mark.parametrize(
    ("model", "named"),
    [
        pytest.param(nn.Linear(3, 1), "Linear", id="plain module"),
        pytest.param(None, "NoneType", id="None"),
        pytest.param(nn.DataParallel(nn.Linear(3, 1)), "DataParallel", id="plain DataParallel"),
    ],
)
def test_model_of_the_wrong_kind_is_a_type_error(model: Any, named: str) -> None:
    with pytest.raises(TypeError, match=f"model is a {named}.*Derive the model from TTModel, or wrap it"):
        TrainLoop(model, batches(), None, None, None, None)


def test_model_wrap_and_its_subclasses_are_unpacked() -> None:
    class Mine(ModelWrap):
        pass

    for wrap in (ModelWrap, Mine):
        network, feed = nn.Linear(3, 1), Feed()
        loop = TrainLoop(
            wrap(network, feed), batches(), None, None, torch.optim.SGD(network.parameters(), 0.1), nn.MSELoss()
        )
        assert loop.model is network
        assert loop.batch_model_feed_def is feed
        assert loop.fit(num_epochs=1) is network


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"gpu_mode": "tpu"}, ValueError, "gpu_mode='tpu' is not a mode. Use 'single', 'dp' or 'ddp'"),
        ({"use_amp": {"bad": 1}}, TypeError, "unknown keys: bad.*init_scale, growth_factor"),
        ({"use_amp": {"enabled": True}}, TypeError, "leave 'enabled' out"),
        ({"quirks": {"Q99": "fixed"}}, ValueError, "'Q99' is not a quirk with a switch"),
        ({"quirks": {"Q01": "on"}}, ValueError, "Use 'kept' or 'fixed'"),
        ({"quirks": "Q01"}, TypeError, "Pass a dict"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else None,
)
def test_bad_constructor_argument(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        make_loop(**options)
    assert isinstance(caught.value, CompatError)


def test_several_problems_are_listed_under_the_first_ones_type() -> None:
    with pytest.raises(TypeError, match=r"(?s)2 problems:.*1\. model is a str.*2\. gpu_mode='x'"):
        TrainLoop("model", None, None, None, None, None, gpu_mode="x")


@pytest.mark.parametrize(
    ("use_amp", "on"), [(True, True), ({}, True), ({"init_scale": 8.0}, True), (False, False), (None, False)]
)
def test_amp_is_on_for_true_itself_or_a_dict(use_amp: Any, on: bool) -> None:
    if on:
        with pytest.warns(QuirkWarning, match="Q22: there is no CUDA device, so use_amp trains in float32"):
            loop = make_loop(use_amp=use_amp)
    else:
        loop = make_loop(use_amp=use_amp)
    assert loop.use_amp is on
    assert not loop.amp_scaler.is_enabled()


@pytest.mark.parametrize("use_amp", [1, "yes"])
def test_other_true_values_leave_amp_off_with_a_warning(use_amp: Any) -> None:
    with pytest.warns(QuirkWarning, match="Q21: use_amp=.* is neither True nor a dict"):
        assert make_loop(use_amp=use_amp).use_amp is False
    with pytest.warns(QuirkWarning, match="Q22"):
        assert make_loop(use_amp=use_amp, quirks={"Q21": "fixed"}).use_amp is True


# --- fit ------------------------------------------------------------------------------------------------------------


def test_event_order() -> None:
    recorder = GradientRecorder()
    loop = make_loop(train=batches(3), quirks={"Q11": "kept"})
    loop.fit(num_epochs=1, callbacks=[recorder], grad_accumulation=2)
    assert recorder.events == [
        ("registration", 0, 0, -1),
        ("train_begin", 0, 0, -1),
        ("epoch_begin", 0, 0, -1),
        ("batch_begin", 0, 0, 0),
        ("gradient_0", 0, 0, 0),
        ("batch_end", 0, 0, 0),
        ("batch_begin", 0, 1, 1),
        ("gradient_0", 0, 1, 1),
        ("step", 0, 1, 1),
        ("batch_end", 0, 1, 1),
        ("batch_begin", 0, 2, 2),
        ("gradient_0", 0, 2, 2),
        ("step", 0, 2, 2),
        ("batch_end", 0, 2, 2),
        ("epoch_end", 0, 2, 2),
        ("train_end", 0, 2, 2),
    ]


@pytest.mark.filterwarnings("ignore::compat.exceptions.QuirkWarning")
def test_call_is_fit_and_returns_the_model_in_train_mode() -> None:
    loop = make_loop()
    assert loop(2, 0, None, 2) is loop.model
    assert loop.model.training
    assert (loop.epoch, loop.total_iteration_idx, loop.grad_accumulation) == (1, 5, 2)


@pytest.mark.parametrize("kind", [tuple, list, lambda one: one[0]], ids=["tuple", "list", "single"])
def test_callbacks_may_come_in_any_sequence_or_alone(kind: Any) -> None:
    recorder = Recorder()
    make_loop().fit(num_epochs=1, callbacks=kind([recorder]))
    assert recorder.names().count("batch_end") == 3


def test_trainer_counts_what_was_trained() -> None:
    loop = make_loop(train=batches(5))
    loop.fit(num_iterations=7)
    assert loop.trainer is not None
    assert loop.trainer.global_step == 7
    assert loop.trainer.current_epoch == 2
    assert loop.lightning_module is not None
    assert loop.lightning_module.model is loop.model


def test_history_is_published_as_lightning_metrics_in_full_precision() -> None:
    loop = make_loop(validation=batches(2))
    loop.fit(num_epochs=2)
    assert loop.trainer is not None
    for key in ("loss", "accumulated_loss", "val_loss"):
        assert loop.trainer.callback_metrics[key].item() == loop.train_history[key][-1]


def test_fit_makes_no_file_and_only_the_documented_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_loop(validation=batches(1), test=batches(1)).fit(num_epochs=1)
    assert list(tmp_path.iterdir()) == []
    out, err = capfd.readouterr()
    labels = [line.split(":")[0] for line in out.splitlines()]
    assert labels == [
        "",
        "",
        "=" * 80,
        "=" * 80,
        "Epoch",
        "AVG BATCH ACCUMULATED TRAIN LOSS",
        "Auto purging prediction store at iteration 3",
        "TRAIN LOSS",
        "VAL LOSS",
        "TEST LOSS",
    ]
    shown = {part.split(":")[0] for part in err.replace("\r", "\n").splitlines() if part}
    assert shown <= {
        "Training",
        "Loss evaluation on train",
        "Loss evaluation on validation",
        "Loss evaluation on test",
    }


@pytest.mark.parametrize("how", ["switch", "environment"])
def test_quiet_switch_silences_everything(
    how: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import compat

    if how == "environment":
        monkeypatch.setenv("COMPAT_QUIET", "1")
    else:
        compat.verbose(False)
    try:
        make_loop(validation=batches(1)).fit(num_epochs=1)
    finally:
        compat.verbose(True)
    assert capfd.readouterr() == ("", "")


def test_no_epoch_left_still_runs_begin_test_loss_and_end() -> None:
    loop = make_loop(test=batches(1))
    loop.fit(num_epochs=2)
    recorder = Recorder()
    with pytest.warns(QuirkWarning, match=r"Q102: fit\(num_epochs=1\) trains nothing: 2 epochs .* num_epochs=3 would"):
        loop.fit(num_epochs=1, callbacks=[recorder])
    assert recorder.names() == ["registration", "train_begin", "train_end"]
    assert len(loop.train_history["train_end_test_loss"]) == 2
    assert loop.total_iteration_idx == 5


def test_plain_function_as_criterion_and_duck_typed_optimizer() -> None:
    class Optimizer:
        def __init__(self, parameters: Any) -> None:
            self.parameters = list(parameters)

        def step(self) -> None:
            with torch.no_grad():
                for parameter in self.parameters:
                    parameter.sub_(0.1 * parameter.grad)

        def zero_grad(self) -> None:
            for parameter in self.parameters:
                parameter.grad = None

    model, real = Linear(), Linear()
    make_loop(model, optimizer=Optimizer(model.parameters()), criterion=nn.functional.mse_loss).fit(num_epochs=2)
    make_loop(real).fit(num_epochs=2)
    assert torch.allclose(model.layer.weight, real.layer.weight)


# --- exceptions -----------------------------------------------------------------------------------------------------


class Raise(AbstractCallback):
    """Raises once, in one hook."""

    def __init__(self, hook: str, error: BaseException) -> None:
        """Put the raising hook in place."""
        super().__init__("raise")
        self.error: BaseException | None = error
        setattr(self, hook, self.strike)

    def strike(self) -> None:
        """Raise, the first time, in the second batch or later."""
        loop: Any = self.train_loop_obj
        if self.error is not None and loop.total_iteration_idx != 0:
            error, self.error = self.error, None
            raise error


@pytest.mark.parametrize("hook", ["on_batch_end", "on_batch_begin", "on_epoch_end", "on_epoch_begin", "on_train_end"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), StopIteration(), SystemExit(3), ValueError("mine")], ids=repr)
def test_exception_reaches_the_caller_as_itself_and_the_loop_goes_on(hook: str, error: BaseException) -> None:
    loop = make_loop(quirks={"Q01": "kept"})
    with pytest.raises(type(error)) as caught:
        loop.fit(num_epochs=2, callbacks=[Raise(hook, error)])
    assert caught.value is error
    recorder = Recorder()
    loop.fit(num_epochs=3, callbacks=[recorder])
    assert recorder.names().count("batch_end") >= 3
    assert loop.epoch == 2
    assert loop.model.training


def test_grad_mode_and_signals_are_left_alone() -> None:
    import signal

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with torch.no_grad():
        # As in the old loop: nobody turns gradients on behind the user's back.
        with pytest.raises(RuntimeError, match="does not require grad"):
            make_loop().fit(num_epochs=1)
        assert not torch.is_grad_enabled()
    make_loop().fit(num_epochs=1)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_dropped_loop_is_freed() -> None:
    loop = make_loop()
    loop.fit(num_epochs=1)
    module, gone = loop.lightning_module, weakref.ref(loop)
    del loop
    gc.collect()
    assert gone() is None
    with pytest.raises(ReferenceError, match="no TrainLoop any more"):
        _ = module.loop


# --- template methods -----------------------------------------------------------------------------------------------

TEMPLATES = {
    "_train": 1,
    "_calculate_batch_loss": 3,
    "_backward_pass": 3,
    "_optimizer_step": 3,
    "_optimizer_zero_grad": 3,
    "should_execute_optimizer_update": 9,
    "auto_execute_end_of_epoch": 1,
    "auto_execute_end_of_training": 1,
    "parse_loss": 4,
    "_print_save_loss": 4,
    "evaluate_loss_on_train_set": 1,
    "evaluate_loss_on_validation_set": 1,
    "evaluate_loss_on_test_set": 1,
    "evaluate_model_loss": 3,
    "insert_metric_result_into_history": 4,
}


@pytest.mark.parametrize(("method", "calls"), TEMPLATES.items())
def test_overridden_template_method_is_called(method: str, calls: int) -> None:
    seen = []

    def override(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(method)
        return getattr(super(Mine, self), method)(*args, **kwargs)

    class Mine(TrainLoop):
        pass

    setattr(Mine, method, override)
    model = Linear()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    Mine(model, batches(), batches(1), batches(1), optimizer, nn.MSELoss()).fit(num_epochs=1)
    assert len(seen) == calls


# --- MultiLoss ------------------------------------------------------------------------------------------------------


def multi_loop(**options: Any) -> TrainLoop:
    """Make a loop with two losses; the trunk belongs to the last optimizer."""
    model = TwoHeads()
    first = torch.optim.SGD(model.b.parameters(), 0.1)
    second = torch.optim.SGD([*model.a.parameters(), *model.trunk.parameters()], 0.1)
    return make_loop(model, optimizer=MultiOptimizer([first, second]), **options)


def test_losses_are_reported_under_their_own_names() -> None:
    loop = multi_loop(quirks={"Q46": "kept"})
    loop.fit(num_epochs=1)
    model, criterion = loop.model, nn.MSELoss()
    with torch.no_grad():
        own = {
            "a": [criterion(model.a(model.trunk(x)), y).double() for x, y in batches()],
            "b": [criterion(model.b(model.trunk(x)), 2 * y).double() for x, y in batches()],
        }
    for name, values in own.items():
        assert loop.train_history[f"loss_{name}"][-1] == pytest.approx(torch.stack(values).mean().item())
    assert list(loop.train_history.keys())[2:4] == ["accumulated_loss_a", "accumulated_loss_b"]
    assert loop.train_history["loss"] == []
    assert loop._compat.mean_losses["loss"] == [(loop.train_history["loss_a"][0] + loop.train_history["loss_b"][0]) / 2]


def test_surplus_loss_is_dropped_with_a_warning_and_trained_with_the_switch() -> None:
    def train(**options: Any) -> Any:
        model = TwoHeads()
        before = model.a.weight.clone()
        make_loop(model, optimizer=torch.optim.SGD(model.parameters(), 0.1), **options).fit(num_epochs=1)
        return not torch.equal(before, model.a.weight)

    with pytest.warns(QuirkWarning, match="Q42: no optimizer back-propagates the losses 'a'"):
        assert not train()
    assert train(quirks={"Q42": "fixed"})


def test_leaked_gradients_warn_and_are_cleared_with_the_switch() -> None:
    class Crossed(TwoHeads):
        def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> MultiLoss:
            inputs, targets = batch_data
            both = self.a(self.trunk(inputs)) + self.b(self.trunk(inputs)).detach()
            return MultiLoss(
                {
                    "b": criterion(self.b(self.trunk(inputs).detach()), targets),
                    "a": criterion(both, targets) + self.b.bias.sum(),
                }
            )

    def train(**options: Any) -> Any:
        model = Crossed()
        first = torch.optim.SGD(model.b.parameters(), 0.1)
        second = torch.optim.SGD([*model.a.parameters(), *model.trunk.parameters()], 0.1)
        make_loop(model, optimizer=MultiOptimizer([first, second]), **options).fit(num_epochs=1)
        return model.b.bias.grad

    with pytest.warns(QuirkWarning, match="Q46"):
        assert train() is not None
    assert train(quirks={"Q46": "fixed"}) is None


def test_shared_trunk_of_an_earlier_optimizer_trains_with_the_switch() -> None:
    class Deep(TwoHeads):
        def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> MultiLoss:
            inputs, targets = batch_data
            hidden = self.b(torch.relu(self.trunk(inputs)))
            return MultiLoss({"a": criterion(hidden, targets), "b": criterion(2 * hidden, targets)})

    def train(**options: Any) -> None:
        model = Deep()
        optimizer = MultiOptimizer(
            [torch.optim.SGD(model.parameters(), 0.1), torch.optim.SGD(model.a.parameters(), 0.1)]
        )
        make_loop(model, optimizer=optimizer, **options).fit(num_epochs=1)

    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        train()
    train(quirks={"Q45": "fixed"})


def test_float_dict_format() -> None:
    loop = multi_loop(validation=batches(1))
    value = loop.evaluate_loss_on_validation_set(float_dict_format=True)
    assert sorted(value) == ["a", "b"]
    assert all(type(entry) is float for entry in value.values())
    plain = make_loop(validation=data_loader())
    assert type(plain.evaluate_loss_on_validation_set(float_dict_format=True)) is float
