"""AIToolbox's ``TrainLoop``, running on PyTorch Lightning.

Programs written for AIToolbox keep their lines: the same names, signatures, defaults, history keys and numbers. What
differs, and why, is in ``compat/surface.toml``, the table of every old name.

How a call travels::

    TrainLoop(...)         train_loop.py          holds the documented signature, state, history, predictions, messages
      .fit(...)        ->  _lightning/plan.py     arguments -> one frozen plan; every refusal is made here
                       ->  _lightning/trainer.py  plan -> Trainer
                       ->  _lightning/module.py   a LightningModule whose steps call the loop's template methods
                       ->  _lightning/bridge.py   old callbacks <-> Lightning's events, history -> metrics and loggers
      evaluate_*, predict_*  ->  _evaluation.py   one pass over a loader; never a Trainer inside fit
      <- model, history, predictions

The facade owns what the old API documents: ``epoch``, ``iteration``, ``total_iteration_idx``, ``early_stop``,
``train_history``, ``prediction_store``, ``message_service``, ``amp_scaler``. The Trainer owns devices, processes, the
cadence of the data, native callbacks and loggers. Nothing is owned twice.

Importing this package loads neither torch nor Lightning: a name is looked up in the table when it is first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # For type checkers only. At run time `__getattr__` finds the same homes in the table; a test compares the two.
    from compat import quirks
    from compat._console import verbose
    from compat.callbacks.abstract import AbstractCallback
    from compat.callbacks.debugging import DataSubsetTestRun, FunctionOnTrainLoop, ListRegisteredCallbacks
    from compat.callbacks.gradient import (
        GradientCallbackBase,
        GradientStatsPrint,
        GradNormClip,
        GradValueClip,
    )
    from compat.callbacks.handler import CallbacksHandler
    from compat.callbacks.stopping import (
        AllPredictionsSame,
        EarlyStopping,
        TerminateOnNaN,
        ThresholdEarlyStopping,
    )
    from compat.data import (
        BasicDataset,
        ListDataset,
        append_concat_predictions,
        append_predictions,
        keep_list_transf,
        torch_cat_transf,
    )
    from compat.history import TrainingHistory
    from compat.losses import MultiLoss, MultiOptimizer
    from compat.messages import Message, MessageHandling, MessageService
    from compat.model import (
        AbstractModelFeedDefinition,
        ModelWrap,
        MultiGPUModelWrap,
        TTBasicModel,
        TTBasicMultiGPUModel,
        TTModel,
    )
    from compat.predictions import ModelPredictionStore
    from compat.schedulers.basic import (
        AbstractScheduler,
        GeneralLRSchedulerCallback,
        LambdaLRScheduler,
        MultiStepLRScheduler,
        ReduceLROnPlateauMetricScheduler,
        ReduceLROnPlateauScheduler,
        StepLRScheduler,
    )
    from compat.schedulers.warmup import (
        ConstantWithWarmupScheduler,
        CosineWithWarmupScheduler,
        HardRestartsCosineWithWarmupScheduler,
        LinearWithWarmupScheduler,
    )
    from compat.train_loop import TrainLoop
    from compat.utils import combine_prediction_metadata_batches, is_empty_function

__version__ = "0.1.0"

__all__ = [
    "AbstractCallback",
    "AbstractModelFeedDefinition",
    "AbstractScheduler",
    "AllPredictionsSame",
    "BasicDataset",
    "CallbacksHandler",
    "ConstantWithWarmupScheduler",
    "CosineWithWarmupScheduler",
    "DataSubsetTestRun",
    "EarlyStopping",
    "FunctionOnTrainLoop",
    "GeneralLRSchedulerCallback",
    "GradNormClip",
    "GradValueClip",
    "GradientCallbackBase",
    "GradientStatsPrint",
    "HardRestartsCosineWithWarmupScheduler",
    "LambdaLRScheduler",
    "LinearWithWarmupScheduler",
    "ListDataset",
    "ListRegisteredCallbacks",
    "Message",
    "MessageHandling",
    "MessageService",
    "ModelPredictionStore",
    "ModelWrap",
    "MultiGPUModelWrap",
    "MultiLoss",
    "MultiOptimizer",
    "MultiStepLRScheduler",
    "ReduceLROnPlateauMetricScheduler",
    "ReduceLROnPlateauScheduler",
    "StepLRScheduler",
    "TTBasicModel",
    "TTBasicMultiGPUModel",
    "TTModel",
    "TerminateOnNaN",
    "ThresholdEarlyStopping",
    "TrainLoop",
    "TrainingHistory",
    "append_concat_predictions",
    "append_predictions",
    "combine_prediction_metadata_batches",
    "is_empty_function",
    "keep_list_transf",
    "quirks",
    "torch_cat_transf",
    "verbose",
]


if not TYPE_CHECKING:
    # Hidden from type checkers, which would take any name for a good one.
    def __getattr__(name: str) -> Any:
        """Import a public name from its home when it is first used."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        # Here and not above: whoever only asks for the version should not pay for reading the table.
        from compat._surface import homes, resolve

        value = resolve(homes()[name])
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
