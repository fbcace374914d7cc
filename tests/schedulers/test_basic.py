"""Schedulers as callbacks."""

from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import ExponentialLR, LambdaLR, MultiStepLR, ReduceLROnPlateau, StepLR

from compat import (
    AbstractCallback,
    AbstractScheduler,
    GeneralLRSchedulerCallback,
    LambdaLRScheduler,
    MultiOptimizer,
    MultiStepLRScheduler,
    ReduceLROnPlateauMetricScheduler,
    ReduceLROnPlateauScheduler,
    StepLRScheduler,
    TrainLoop,
)
from compat.exceptions import CompatError, QuirkWarning
from compat.losses import MultiLoss
from tests.toys import TwoHeads, batches, make_loop


class Rates(AbstractCallback):
    """Notes the learning rate after each batch, and after each epoch."""

    def __init__(self) -> None:
        super().__init__("rates", execution_order=50)
        self.batches: list[float] = []
        self.epochs: list[float] = []

    def _rate(self) -> float:
        optimizer: Any = self.train_loop_obj.optimizer
        return round(float(optimizer.param_groups[0]["lr"]), 6)

    def on_batch_end(self) -> None:
        self.batches.append(self._rate())

    def on_epoch_end(self) -> None:
        self.epochs.append(self._rate())


def rates(scheduler: Any, epochs: int = 2, window: int = 1, **options: Any) -> Rates:
    noted = Rates()
    make_loop(quirks={"Q11": "kept"}, **options).fit(
        num_epochs=epochs, callbacks=[scheduler, noted], grad_accumulation=window
    )
    return noted


def multi_loop() -> TrainLoop:
    model = TwoHeads()
    return make_loop(
        model, optimizer=MultiOptimizer([torch.optim.SGD(part.parameters(), lr=0.1) for part in (model.a, model.b)])
    )


def stepped_with(scheduler: Any, loop: TrainLoop, loss: Any = None) -> list[Any]:
    """Run one end of an epoch with a given validation loss, and return what the torch scheduler was given."""
    scheduler.register_train_loop_object(loop)
    given: list[Any] = []
    scheduler.scheduler.step = given.append
    loop.evaluate_loss_on_validation_set = lambda *args, **kwargs: loss  # type: ignore[method-assign]
    scheduler.on_epoch_end()
    return given


@pytest.mark.parametrize(
    ("scheduler", "kind", "arguments", "name"),
    [
        (
            GeneralLRSchedulerCallback(ExponentialLR, gamma=0.5),
            ExponentialLR,
            {"gamma": 0.5},
            "General learn rate scheduler",
        ),
        (StepLRScheduler(2, gamma=0.5), StepLR, {"gamma": 0.5, "step_size": 2}, ""),
        (MultiStepLRScheduler([1, 2]), MultiStepLR, {"milestones": [1, 2]}, ""),
        (LambdaLRScheduler(float), LambdaLR, {"lr_lambda": float}, ""),
        (ReduceLROnPlateauScheduler(), ReduceLROnPlateau, {}, "Reduce learn rate if the model hits the plateau"),
        (
            ReduceLROnPlateauMetricScheduler("acc", mode="max"),
            ReduceLROnPlateau,
            {"mode": "max"},
            "Reduce learn rate if the model hits the plateau based on metric in TrainLoop history",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, AbstractScheduler) else None,
)
def test_attributes(scheduler: Any, kind: Any, arguments: dict[str, Any], name: str) -> None:
    assert {AbstractScheduler, AbstractCallback} < set(type(scheduler).__mro__)
    assert scheduler.scheduler_class is kind
    assert scheduler.scheduler_args == arguments
    assert scheduler.callback_name == name
    assert scheduler.execution_order == 0
    assert scheduler.scheduler is scheduler.optimizer_idx is None


def test_torch_scheduler_is_there_at_the_registration_hook() -> None:
    seen: list[Any] = []

    class Looks(StepLRScheduler):
        def on_train_loop_registration(self) -> None:
            seen.append(self.scheduler)

    loop = make_loop()
    scheduler = Looks(1)
    assert scheduler.register_train_loop_object(loop) is scheduler
    assert type(seen[0]) is StepLR
    assert seen[0].optimizer is loop.optimizer


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        pytest.param(StepLRScheduler(1, gamma=0.5), [0.05, 0.025, 0.0125], id="step"),
        pytest.param(MultiStepLRScheduler([2], gamma=0.5), [0.1, 0.05, 0.05], id="milestones"),
        pytest.param(GeneralLRSchedulerCallback(ExponentialLR, gamma=0.5), [0.05, 0.025, 0.0125], id="any class"),
        pytest.param(LambdaLRScheduler(lambda step: 0.5**step), [0.05, 0.025, 0.0125], id="lambda"),
    ],
)
def test_stepped_after_each_epoch(scheduler: Any, expected: list[float]) -> None:
    noted = rates(scheduler, epochs=3)
    assert noted.epochs == expected
    assert noted.batches == [rate for rate in [0.1, *expected[:2]] for _ in range(3)]


@pytest.mark.parametrize(
    ("epoch_end", "batch_end", "window", "expected"),
    [
        pytest.param(False, True, 1, [0.05, 0.025, 0.0125, 0.00625, 0.003125, 0.001563], id="batches"),
        pytest.param(False, True, 2, [0.1, 0.05, 0.025, 0.025, 0.0125, 0.00625], id="batches with an update"),
        pytest.param(True, True, 1, [0.05, 0.025, 0.0125, 0.003125, 0.001563, 0.000781], id="both"),
        pytest.param(False, False, 1, [0.1] * 6, id="never"),
    ],
)
def test_lambda_scheduler_at_batches(epoch_end: bool, batch_end: bool, window: int, expected: list[float]) -> None:
    scheduler = LambdaLRScheduler(lambda step: 0.5**step, execute_epoch_end=epoch_end, execute_batch_end=batch_end)
    assert rates(scheduler, window=window).batches == expected


@pytest.mark.parametrize(("mode", "steps"), [("kept", 1), ("fixed", 0)])
def test_update_that_the_gradient_scaler_skipped(mode: str, steps: int) -> None:
    """Q24: by default the schedulers go on."""
    loop = make_loop(quirks={"Q24": mode})
    scheduler = LambdaLRScheduler(lambda step: 1.0, execute_batch_end=True)
    scheduler.register_train_loop_object(loop)
    calls: list[int] = []
    scheduler.scheduler.step = lambda: calls.append(1)
    loop.should_execute_optimizer_update = lambda: True  # type: ignore[method-assign]
    loop._compat.last_update_skipped = True
    scheduler.on_batch_end()
    assert len(calls) == steps
    loop._compat.last_update_skipped = False
    scheduler.on_batch_end()
    assert len(calls) == steps + 1


def test_state_round_trip() -> None:
    source, target = StepLRScheduler(1), StepLRScheduler(1)
    source.register_train_loop_object(make_loop())
    source.scheduler.last_epoch = 7
    target.register_train_loop_object(make_loop())
    target.load_state_dict(source.state_dict())
    assert target.scheduler.last_epoch == 7


@pytest.mark.parametrize(
    "use",
    [lambda scheduler: scheduler.state_dict(), lambda scheduler: scheduler.load_state_dict({})],
    ids=["state_dict", "load_state_dict"],
)
def test_state_before_the_registration(use: Any) -> None:
    with pytest.raises(AttributeError, match=r"StepLRScheduler has no torch scheduler yet.*pass it to fit") as caught:
        use(StepLRScheduler(1))
    assert isinstance(caught.value, CompatError)


def test_one_of_several_optimizers() -> None:
    loop = multi_loop()
    optimizers: Any = loop.optimizer
    for index in (0, 1, -1):
        scheduler = StepLRScheduler(1, optimizer_idx=index)
        scheduler.register_train_loop_object(loop)
        assert scheduler.scheduler.optimizer is optimizers[index]


def test_an_optimizer_in_place_of_an_index() -> None:
    optimizer: Any = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = StepLRScheduler(1, optimizer_idx=optimizer)
    scheduler.register_train_loop_object(make_loop())
    assert scheduler.scheduler.optimizer is optimizer


@pytest.mark.parametrize(
    ("make", "index", "kind", "text"),
    [
        pytest.param(
            multi_loop, None, TypeError, r"MultiOptimizer is not an Optimizer.*optimizer_idx from 0 to 1", id="none"
        ),
        pytest.param(multi_loop, True, TypeError, r"optimizer_idx=True\) does not say which of its 2", id="bool"),
        pytest.param(multi_loop, 9, ValueError, r"optimizer_idx=9\).*MultiOptimizer of 2 does not have", id="too high"),
        pytest.param(make_loop, 0, TypeError, r"the loop has a single SGD\. Leave optimizer_idx out", id="single"),
        pytest.param(make_loop, "a", TypeError, r"optimizer_idx='a'\) is a str, not an Optimizer", id="text"),
    ],
)
def test_index_that_will_not_do(make: Any, index: Any, kind: type[Exception], text: str) -> None:
    scheduler = StepLRScheduler(1, optimizer_idx=index)
    with pytest.raises(kind, match=text) as caught:
        scheduler.register_train_loop_object(make())
    assert isinstance(caught.value, CompatError)
    assert scheduler.scheduler is None


def test_argument_the_torch_scheduler_does_not_know() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'typo'"):
        StepLRScheduler(1, typo=1).register_train_loop_object(make_loop())


def test_plateau_goes_by_the_validation_loss() -> None:
    loop = make_loop(validation=batches(1))
    scheduler = ReduceLROnPlateauScheduler()
    loop.fit(num_epochs=2, callbacks=[scheduler])
    assert scheduler.scheduler.best == min(loop.train_history["val_loss"])


LOSSES = MultiLoss({str(i): torch.tensor(value, dtype=torch.float64) for i, value in enumerate([0.1, 0.2, 0.4])})


@pytest.mark.parametrize(
    ("main", "expected"),
    [
        pytest.param(None, torch.tensor([0.1, 0.2, 0.4]).mean(), id="mean, in the default precision"),
        pytest.param("1", torch.tensor(0.2, dtype=torch.float64), id="by name"),
    ],
)
def test_plateau_with_several_losses(main: str | None, expected: torch.Tensor) -> None:
    loop = make_loop(quirks={"Q92": "kept"})
    given = stepped_with(ReduceLROnPlateauScheduler(main_multi_loss=main), loop, LOSSES)
    assert given == [expected]
    assert given[0].dtype is expected.dtype


def test_plateau_with_an_unknown_loss() -> None:
    with pytest.raises(KeyError) as caught:
        stepped_with(ReduceLROnPlateauScheduler("zz"), make_loop(quirks={"Q92": "kept"}), LOSSES)
    assert "main_multi_loss='zz') names none of the losses '0', '1', '2'" in str(caught.value)


def test_plateau_without_a_validation_loader() -> None:
    with pytest.raises(TypeError):
        make_loop().fit(num_epochs=1, callbacks=[ReduceLROnPlateauScheduler()])


def test_plateau_without_automatic_evaluation_warns() -> None:
    loop = make_loop(validation=batches(1), end_auto_eval=False)
    with pytest.warns(QuirkWarning, match="Q92: ReduceLROnPlateauScheduler evaluates the validation loss although"):
        loop.fit(num_epochs=2, callbacks=[ReduceLROnPlateauScheduler()])
    assert loop.train_history["val_loss"] == []


def test_plateau_with_evaluation_every_second_epoch_warns() -> None:
    with pytest.warns(QuirkWarning, match="Q92"):
        make_loop(validation=batches(1), end_auto_eval=2).fit(num_epochs=2, callbacks=[ReduceLROnPlateauScheduler()])


@pytest.mark.parametrize("every", [False, 2, True])
def test_plateau_records_its_losses_when_fixed(every: Any) -> None:
    loop = make_loop(validation=batches(1), end_auto_eval=every, quirks={"Q92": "fixed"})
    loop.fit(num_epochs=3, callbacks=[ReduceLROnPlateauScheduler()])
    values = loop.train_history["val_loss"]
    assert len(values) == 3
    assert all(type(value) is float for value in values)


def test_plateau_records_several_losses_when_fixed() -> None:
    loop = make_loop(TwoHeads(), validation=batches(1), end_auto_eval=False, quirks={"Q92": "fixed", "Q42": "kept"})
    loop.fit(num_epochs=2, callbacks=[ReduceLROnPlateauScheduler()])
    assert [len(loop.train_history[f"val_loss_{name}"]) for name in "ab"] == [2, 2]
    assert loop.train_history["val_loss"] == []


def test_metric_plateau_goes_by_the_latest_value() -> None:
    loop = make_loop()
    loop.train_history["acc"] = 0.25
    loop.train_history["acc"] = 0.5
    assert stepped_with(ReduceLROnPlateauMetricScheduler("acc"), loop) == [0.5]


@pytest.mark.parametrize(
    ("metric", "kind", "text"),
    [
        pytest.param("zz", ValueError, r"holds no metric 'zz'\. It holds: loss, accumulated_loss", id="missing"),
        pytest.param("loss", IndexError, "holds no value of 'loss' yet, but of: none", id="empty"),
    ],
)
def test_metric_plateau_without_a_value(metric: str, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text) as caught:
        stepped_with(ReduceLROnPlateauMetricScheduler(metric), make_loop())
    assert isinstance(caught.value, CompatError)
