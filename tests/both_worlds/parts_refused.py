"""Native callbacks that are refused: they cannot work, or would run and be wrong without a word."""

import importlib
from typing import Any

from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    DeviceStatsMonitor,
    GradientAccumulationScheduler,
    LearningRateFinder,
    LearningRateMonitor,
    StochasticWeightAveraging,
    ThroughputMonitor,
)

from tests.both_worlds.cells import Attached, Setting
from tests.both_worlds.part import callback, refused


def other_package(_: Setting) -> Attached:
    """Attach a callback of the other package, with the classes of the same names."""
    other: Any = importlib.import_module("pytorch_lightning.callbacks")
    return Attached([other.Timer()])


PARTS = [
    refused(
        "GradientAccumulationScheduler(...)", callback(lambda _: GradientAccumulationScheduler({0: 2})),
        "grad_accumulation", "Use `fit(grad_accumulation=n)`.",
    ),
    refused(
        "StochasticWeightAveraging(...)", callback(lambda _: StochasticWeightAveraging(swa_lrs=0.01)),
        "WeightAveraging", "Its schedule would never step. Use `WeightAveraging` or `EMAWeightAveraging`.",
    ),
    refused(
        "LearningRateFinder()", callback(lambda _: LearningRateFinder()), "Tuner",
        "Use Lightning's `Tuner` on the migrated module.",
    ),
    refused(
        "BatchSizeFinder()", callback(lambda _: BatchSizeFinder()), "Tuner",
        "Use Lightning's `Tuner` on the migrated module.",
    ),
    refused(
        "LearningRateMonitor() without a logger", callback(lambda _: LearningRateMonitor()), "logger",
        'Add a logger: `lightning_args={"logger": ...}`.', error="InvalidArgumentError",
    ),
    refused(
        "DeviceStatsMonitor() without a logger", callback(lambda _: DeviceStatsMonitor()), "logger",
        'Add a logger: `lightning_args={"logger": ...}`.', error="InvalidArgumentError",
    ),
    refused(
        "ThroughputMonitor() without a logger", callback(lambda _: ThroughputMonitor(len)), "logger",
        'Add a logger: `lightning_args={"logger": ...}`.', error="InvalidArgumentError",
    ),
    refused(
        "any callback of `pytorch_lightning`", other_package, "lightning.pytorch",
        "Import it from `lightning.pytorch.callbacks`: the classes of the same names are others.",
        error="TypeError", needs=("pytorch_lightning",),
    ),
]  # fmt: skip
