"""Every callback of the old API in a plain Trainer: what becomes of it, and a check of that."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import pytest
import torch

from compat import (
    AbstractCallback,
    AllPredictionsSame,
    ConstantWithWarmupScheduler,
    CosineWithWarmupScheduler,
    DataSubsetTestRun,
    DistributedSamplerSetEpoch,
    EarlyStopping,
    FunctionOnTrainLoop,
    GeneralLRSchedulerCallback,
    GradientCallbackBase,
    GradientStatsPrint,
    GradNormClip,
    GradValueClip,
    HardRestartsCosineWithWarmupScheduler,
    InMultiProcessDataLoad,
    LambdaLRScheduler,
    LinearWithWarmupScheduler,
    ListRegisteredCallbacks,
    MetricHistoryRename,
    ModelPerformanceEvaluation,
    ModelPerformancePrintReport,
    MultiStepLRScheduler,
    ReduceLROnPlateauMetricScheduler,
    ReduceLROnPlateauScheduler,
    RegressionResultPackage,
    StepLRScheduler,
    TerminateOnNaN,
    ThresholdEarlyStopping,
    TrainHistoryFormatter,
)
from compat._lightning.old_in_new import as_lightning_callback
from compat.exceptions import RefusedError
from tests.both_worlds.plain_world import BATCHES, both, in_loop, in_trainer
from tests.toys import GradientRecorder, on

__all__ = ["OLD_PARTS", "SCHEDULERS", "OldPart"]

Make = Callable[[], list[AbstractCallback]]
Check = Callable[[int, int], None]


@dataclass(frozen=True)
class OldPart:
    """An old callback in a plain Trainer.

    Attributes:
        name: The class.
        verdict: Whether it has its effect.
        note: For users.
        check: Checks that, for a number of optimizers (one: automatic optimization, two: manual) and a number of
        batches
            in an accumulation window.
    """

    name: str
    verdict: Literal["works", "refused"]
    note: str
    check: Check


def insert(values: Iterable[Any], name: str = "metric") -> FunctionOnTrainLoop:
    """Record one value after another, an epoch each."""
    waiting = iter(values)
    return on("epoch_end", lambda loop: loop.insert_metric_result_into_history(name, next(waiting)))


def same_training(make: Callable[[int], list[AbstractCallback]]) -> Check:
    """Compare with a TrainLoop bit for bit, and see that the callbacks change the training at all.

    Args:
        make: Makes the callbacks, given the number of optimizers.
    """

    def check(optimizers: int, accumulation: int) -> None:
        plain, loop = both(lambda: make(optimizers), optimizers, accumulation)
        plain.assert_equals(loop)
        assert not plain.is_same_as(in_trainer([], optimizers, accumulation))

    return check


def stops_after(epochs: int, make: Make) -> Check:
    """Compare after how many epochs the training ends."""

    def check(optimizers: int, accumulation: int) -> None:
        plain, loop = both(make, optimizers, accumulation, epochs=6)
        assert plain.epochs == loop.epochs == epochs
        plain.assert_equals(loop)

    return check


def refused(make: Callable[[], AbstractCallback], reason: str) -> Check:
    """See that a callback is refused, with its reason."""

    def check(optimizers: int, accumulation: int) -> None:
        with pytest.raises(RefusedError, match=reason):
            as_lightning_callback(make())

    return check


def _index(optimizers: int) -> dict[str, int]:
    return {"optimizer_idx": 1} if optimizers == 2 else {}


SCHEDULERS: dict[str, Callable[[int], list[AbstractCallback]]] = {
    "ConstantWithWarmupScheduler": lambda n: [ConstantWithWarmupScheduler(4, **_index(n))],
    "CosineWithWarmupScheduler": lambda n: [CosineWithWarmupScheduler(2, 12, **_index(n))],
    "GeneralLRSchedulerCallback": lambda n: [
        GeneralLRSchedulerCallback(torch.optim.lr_scheduler.ExponentialLR, gamma=0.7, **_index(n))
    ],
    "HardRestartsCosineWithWarmupScheduler": lambda n: [HardRestartsCosineWithWarmupScheduler(2, 12, 2, **_index(n))],
    "LambdaLRScheduler": lambda n: [
        LambdaLRScheduler(lambda step: 0.9**step, execute_epoch_end=False, execute_batch_end=True, **_index(n))
    ],
    "LinearWithWarmupScheduler": lambda n: [LinearWithWarmupScheduler(2, 12, **_index(n))],
    "MultiStepLRScheduler": lambda n: [MultiStepLRScheduler([1, 3], **_index(n))],
    "ReduceLROnPlateauMetricScheduler": lambda n: [
        on("epoch_end", lambda loop: loop.insert_metric_result_into_history("metric", 1.0)),
        ReduceLROnPlateauMetricScheduler("metric", patience=0, **_index(n)),
    ],
    # No value is better than another by so much.
    "ReduceLROnPlateauScheduler": lambda n: [ReduceLROnPlateauScheduler(patience=0, threshold=1e6, **_index(n))],
    "StepLRScheduler": lambda n: [StepLRScheduler(1, gamma=0.5, **_index(n))],
}
_SCHEDULER_NOTES = {
    "LambdaLRScheduler": "Per epoch or per batch with an update, as in a TrainLoop.",
    "ReduceLROnPlateauMetricScheduler": "The metric is one that the module logs, or that an old callback records.",
    "ReduceLROnPlateauScheduler": (
        "Evaluates the validation loss if the module holds the old model, else takes the `val_loss` that it logs."
    ),
}


class Halved(GradientCallbackBase):
    """Halves all gradients before a step."""

    def __init__(self) -> None:
        super().__init__("halved")

    def on_after_gradient_update(self, optimizer_idx: int) -> None:
        if self.train_loop_obj.should_execute_optimizer_update():
            for parameter in self.train_loop_obj.model.parameters():
                if parameter.grad is not None:
                    parameter.grad /= 2


def check_events(optimizers: int, accumulation: int) -> None:
    plain, loop = GradientRecorder(), GradientRecorder()
    in_trainer([plain], optimizers, accumulation)
    in_loop([loop], optimizers, accumulation)
    assert plain.events == loop.events
    updates = -(-BATCHES // accumulation)
    assert plain.names().count("step") == 3 * updates * optimizers
    assert plain.names().count("gradient_0") == 3 * BATCHES


def check_points(optimizers: int, accumulation: int) -> None:
    points = (
        "tl_registration",
        "train_begin",
        "epoch_begin",
        "batch_begin",
        "after_gradient_update",
        "after_optimizer_step",
        "batch_end",
        "epoch_end",
        "train_end",
    )
    seen: list[list[str]] = []

    def make() -> list[AbstractCallback]:
        calls: list[str] = []
        seen.append(calls)
        return [on(point, partial(lambda name, _: calls.append(name), point)) for point in points]

    both(make, optimizers, accumulation)
    assert seen[0] == seen[1]
    assert set(seen[0]) == set(points)


def check_stats(optimizers: int, accumulation: int) -> None:
    def make(every: bool) -> list[AbstractCallback]:
        return [GradientStatsPrint(lambda model: [model.layer], every)]

    for every in (False, True):
        plain, loop = both(partial(make, every), optimizers, accumulation)
        shown = [[line for line in one.lines if line.startswith(("Layer", "\tRatio"))] for one in (plain, loop)]
        assert shown[0] == shown[1]
        assert len(shown[0]) == 2 * (3 + (3 * BATCHES if every else 0))
        assert not any("None" in line for line in shown[0])


def check_predictions_same(optimizers: int, accumulation: int) -> None:
    def zero(loop: Any) -> None:
        if loop.epoch == 1:
            for parameter in loop.model.parameters():
                torch.nn.init.zeros_(parameter)

    plain, loop = both(
        lambda: [on("epoch_end", zero), AllPredictionsSame(0.0, stop_training=True)], optimizers, accumulation, epochs=5
    )
    assert plain.epochs == loop.epochs == 2


def check_evaluation(optimizers: int, accumulation: int) -> None:
    def make() -> list[AbstractCallback]:
        return [ModelPerformanceEvaluation(RegressionResultPackage(), {}, on_train_data=True)]

    plain, loop = both(make, optimizers, accumulation)
    plain.assert_equals(loop)
    names = [name for name in loop.loop.train_history if "Mean_" in name]
    assert len(names) == 8
    for name in names:
        assert plain.loop.train_history[name] == loop.loop.train_history[name]
        assert len(plain.loop.train_history[name]) == (1 if name.startswith("train_end_") else 3)


def check_report(optimizers: int, accumulation: int) -> None:
    plain, loop = both(
        lambda: [insert([0.5, 0.25, 0.125]), ModelPerformancePrintReport(["metric"])], optimizers, accumulation
    )
    shown = [[line for line in one.lines if line.startswith(("metric:", "---"))] for one in (plain, loop)]
    assert shown[0] == shown[1]
    assert [line for line in shown[0] if line.startswith("metric")] == [
        "metric: 0.5",
        "metric: 0.25",
        "metric: 0.125",
        "metric: 0.125",
    ]


def check_history(make: Make, name: str) -> Check:
    def check(optimizers: int, accumulation: int) -> None:
        plain, loop = both(make, optimizers, accumulation)
        assert plain.loop.train_history[name] == loop.loop.train_history[name]
        assert len(plain.loop.train_history[name]) == 3

    return check


def check_listing(optimizers: int, accumulation: int) -> None:
    plain, loop = both(lambda: [ListRegisteredCallbacks(), GradNormClip(1.0)], optimizers, accumulation)
    shown = [
        [line for line in one.lines if "execution_order" in line or line.startswith("At ")] for one in (plain, loop)
    ]
    assert shown[0] == shown[1]
    assert any("ListRegisteredCallbacks" in line for line in shown[0])


def check_samplers(optimizers: int, accumulation: int) -> None:
    told: list[int] = []

    class Sampler:
        def set_epoch(self, epoch: int) -> None:
            told.append(epoch)

    in_trainer([DistributedSamplerSetEpoch(Sampler(), None, None)], optimizers, accumulation)
    assert told == [0, 1, 2]


# Better, worse, worse: the second epoch in a row without improvement ends the training.
_WATCHED = [1.0, 2.0, 3.0, 0.5, 0.5, 0.5]

OLD_PARTS: list[OldPart] = [
    OldPart("AbstractCallback", "works", "Your own callbacks: every hook, in the order of a TrainLoop.", check_events),
    OldPart(
        "AllPredictionsSame",
        "works",
        "If the module, or its attribute `model`, has `get_predictions` and `get_loss`; else it is refused when the"
        " training starts.",
        check_predictions_same,
    ),
    OldPart(
        "DataSubsetTestRun",
        "refused",
        "A Trainer keeps its loaders: `Trainer(limit_train_batches=n)` or `fast_dev_run=n`.",
        refused(DataSubsetTestRun, r"DataSubsetTestRun replaces the loaders.*limit_train_batches=n"),
    ),
    OldPart(
        "DistributedSamplerSetEpoch",
        "works",
        "Not needed: Lightning tells the samplers of its loaders itself.",
        check_samplers,
    ),
    OldPart(
        "EarlyStopping",
        "works",
        "Watches what the module logs, or what an old callback records.",
        stops_after(2, lambda: [insert(_WATCHED, "error"), EarlyStopping("error")]),
    ),
    OldPart("FunctionOnTrainLoop", "works", "At every point that it knows.", check_points),
    OldPart(
        "GradNormClip",
        "works",
        "Before each step, also while accumulating, and with manual optimization if the module steps"
        " `self.optimizers()`.",
        same_training(lambda _: [GradNormClip(0.1)]),
    ),
    OldPart("GradValueClip", "works", "As `GradNormClip`.", same_training(lambda _: [GradValueClip(0.02)])),
    OldPart(
        "GradientCallbackBase",
        "works",
        "With manual optimization, backward passes that no step follows are told of when the batch is over.",
        same_training(lambda _: [Halved()]),
    ),
    OldPart("GradientStatsPrint", "works", "Prints the gradients of the last update, as in a TrainLoop.", check_stats),
    OldPart(
        "InMultiProcessDataLoad",
        "refused",
        "Build the loaders in `train_dataloader()` of the module or of a LightningDataModule.",
        refused(lambda: InMultiProcessDataLoad(list), r"InMultiProcessDataLoad builds loaders.*train_dataloader\(\)"),
    ),
    OldPart(
        "ListRegisteredCallbacks", "works", "Lists the old callbacks; Lightning's are not among them.", check_listing
    ),
    OldPart(
        "MetricHistoryRename",
        "works",
        "The copy is a metric of Lightning's too.",
        check_history(lambda: [insert([1.0, 2.0, 3.0]), MetricHistoryRename("metric", "renamed")], "renamed"),
    ),
    OldPart(
        "ModelPerformanceEvaluation",
        "works",
        "If the module, or its attribute `model`, has `get_predictions` and `get_loss`; else it is refused when the"
        " training starts.",
        check_evaluation,
    ),
    OldPart(
        "ModelPerformancePrintReport", "works", "Prints what the module logs and old callbacks record.", check_report
    ),
    OldPart(
        "TerminateOnNaN",
        "works",
        "Name the metric to watch: a plain module logs none called `loss` unless it does so itself.",
        stops_after(2, lambda: [insert([1.0, float("nan"), 1.0], "error"), TerminateOnNaN("error")]),
    ),
    OldPart(
        "ThresholdEarlyStopping",
        "works",
        "As `EarlyStopping`.",
        stops_after(3, lambda: [insert(_WATCHED, "error"), ThresholdEarlyStopping("error", 2.5)]),
    ),
    OldPart(
        "TrainHistoryFormatter",
        "works",
        "The result is a metric of Lightning's too.",
        check_history(
            lambda: [
                insert([1.0, 2.0, 3.0]),
                TrainHistoryFormatter(lambda history: history["metric"], lambda values: ("double", 2 * values[-1])),
            ],
            "double",
        ),
    ),
    *(
        OldPart(
            name, "works", _SCHEDULER_NOTES.get(name, "The same learning rates as in a TrainLoop."), same_training(make)
        )
        for name, make in SCHEDULERS.items()
    ),
]
