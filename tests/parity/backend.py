"""The names of either library behind one object, so that each program is written once."""

from __future__ import annotations

import importlib
from typing import Any

REFERENCE = "reference"
COMPAT = "compat"
INSTALLED = "installed"
SIDES = (REFERENCE, COMPAT, INSTALLED)

_OLD_HOMES: dict[str, tuple[str, ...]] = {
    "aitoolbox.torchtrain.train_loop": ("TrainLoop",),
    "aitoolbox.torchtrain.model": (
        "MultiGPUModelWrap",
        "ModelWrap",
        "TTBasicModel",
        "TTBasicMultiGPUModel",
        "TTModel",
    ),
    "aitoolbox.torchtrain.multi_loss_optim": ("MultiLoss", "MultiOptimizer"),
    "aitoolbox.torchtrain.callbacks.abstract": ("AbstractCallback",),
    "aitoolbox.torchtrain.callbacks.basic": (
        "AllPredictionsSame",
        "DataSubsetTestRun",
        "EarlyStopping",
        "FunctionOnTrainLoop",
        "ListRegisteredCallbacks",
        "TerminateOnNaN",
        "ThresholdEarlyStopping",
    ),
    "aitoolbox.torchtrain.callbacks.gradient": (
        "GradNormClip",
        "GradValueClip",
        "GradientCallbackBase",
        "GradientStatsPrint",
    ),
    "aitoolbox.torchtrain.callbacks.performance_eval": (
        "MetricHistoryRename",
        "ModelPerformanceEvaluation",
        "ModelPerformancePrintReport",
        "TrainHistoryFormatter",
    ),
    "aitoolbox.torchtrain.model_predict": ("PyTorchModelPredictor",),
    "aitoolbox.experiment.core_metrics.abstract_metric": ("AbstractBaseMetric",),
    "aitoolbox.experiment.core_metrics.regression": ("MeanAbsoluteErrorMetric", "MeanSquaredErrorMetric"),
    "aitoolbox.experiment.result_package.abstract_result_packages": ("AbstractResultPackage",),
    "aitoolbox.experiment.result_package.basic_packages": (
        "BinaryClassificationResultPackage",
        "ClassificationResultPackage",
        "GeneralResultPackage",
        "RegressionResultPackage",
    ),
    "aitoolbox.torchtrain.schedulers.basic": (
        "GeneralLRSchedulerCallback",
        "LambdaLRScheduler",
        "MultiStepLRScheduler",
        "ReduceLROnPlateauMetricScheduler",
        "ReduceLROnPlateauScheduler",
        "StepLRScheduler",
    ),
    "aitoolbox.torchtrain.schedulers.warmup": (
        "ConstantWithWarmupScheduler",
        "CosineWithWarmupScheduler",
        "HardRestartsCosineWithWarmupScheduler",
        "LinearWithWarmupScheduler",
    ),
    "aitoolbox.torchtrain.data.dataset": ("BasicDataset", "ListDataset"),
    "aitoolbox.torchtrain.data.batch_model_feed_defs": ("AbstractModelFeedDefinition",),
    "aitoolbox.torchtrain.train_loop.components.pred_collate_fns": (
        "append_concat_predictions",
        "append_predictions",
        "keep_list_transf",
        "torch_cat_transf",
    ),
    "aitoolbox.torchtrain.train_loop.components.message_passing": ("MessageHandling",),
}
_OLD_HOME_OF = {name: home for home, names in _OLD_HOMES.items() for name in names}


class Backend:
    """One of the two libraries; its public names are attributes, imported at first use.

    Args:
        side: ``reference`` for AIToolbox, ``compat`` for this package, ``installed`` for this package under the import
            paths of AIToolbox, in a process that was started with ``python -m compat run``.

    Raises:
        ValueError: ``side`` is none of them.
    """

    def __init__(self, side: str) -> None:
        if side not in SIDES:
            raise ValueError(f"a backend is one of {', '.join(map(repr, SIDES))}, not {side!r}")
        self.side = side

    def __getattr__(self, name: str) -> Any:
        if name not in _OLD_HOME_OF:
            raise AttributeError(f"{name} is not among the names that parity programs use")
        home = "compat" if self.side == COMPAT else _OLD_HOME_OF[name]
        value = getattr(importlib.import_module(home), name)
        self.__dict__[name] = value
        return value

    def check(self) -> None:
        """Import the loop now, so that a missing library ends the worker instead of failing every program."""
        package = "aitoolbox" if self.side == REFERENCE else "compat"
        if self.TrainLoop.__module__.split(".")[0] != package:
            raise ImportError(f"{self.side} gives {self.TrainLoop!r} for TrainLoop")

    def mixed(self, part: type, base: str) -> Any:
        """A class with the methods of ``part`` on top of the library's class ``base``.

        Parts are plain classes, so that they can be written, typed and read without either library.
        """
        return type(part.__name__, (part, getattr(self, base)), {"__module__": part.__module__})
