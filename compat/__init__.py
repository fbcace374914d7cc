"""AIToolbox's ``TrainLoop``, running on PyTorch Lightning.

Programs written for AIToolbox keep their lines: the same names, signatures, defaults, history keys and numbers. What
differs, and why, is in ``surface.toml``, the table of every old name, and ``quirks.toml``, that of the oddities.

How ``import aitoolbox`` travels::

    compat.install(), python -m compat run, %load_ext compat
                       ->  _dropin/            an importer that serves the old modules, and a report at the end
                       ->  _layout.py          the table turned round: which old module holds which names
                       ->  the names below     or _placeholders.py for those that are not served

How a call travels::

    TrainLoop(...)         train_loop.py          holds the documented signature, state, history, predictions, messages
      .fit(...)        ->  _lightning/plan.py     arguments -> one frozen plan; every refusal is made here
      gpu_mode='ddp'   ->  _distributed/          each process runs what follows; the results come home to the parent
                       ->  _lightning/trainer.py  plan -> Trainer
                       ->  _lightning/module.py   a LightningModule whose steps call the loop's template methods
                       ->  _lightning/bridge.py   old callbacks <-> Lightning's events, history -> metrics and loggers
      evaluate_*, predict_*  ->  _evaluation.py   one pass over a loader; never a Trainer inside fit
      <- model, history, predictions

    as_lightning_module(loop)        ->  _lightning/in_trainer.py   the same module in a Trainer of the user's own
    as_lightning_callback(callback)  ->  _lightning/old_in_new.py   an old callback in a plain Trainer

The facade owns what the old API documents: ``epoch``, ``iteration``, ``total_iteration_idx``, ``early_stop``,
``train_history``, ``prediction_store``, ``message_service``, ``amp_scaler``. The Trainer owns devices, processes, the
cadence of the data, native callbacks and loggers. Nothing is owned twice.

What really happened in a run is in ``_ledger.py``. ``migrate/`` reads code without running it.

Importing this package loads neither torch nor Lightning: a name is looked up in the table when it is used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # For type checkers only. At run time `__getattr__` finds the same homes in the table; a test compares the two.
    from compat import quirks
    from compat._console import verbose
    from compat._dropin.importing import install, uninstall
    from compat._dropin.notebook import load_ipython_extension, unload_ipython_extension
    from compat._lightning.in_trainer import as_lightning_module
    from compat._lightning.native_history import HistoryCallback
    from compat._lightning.old_in_new import as_lightning_callback
    from compat.callbacks.abstract import AbstractCallback
    from compat.callbacks.ddp import DistributedSamplerSetEpoch, InMultiProcessDataLoad
    from compat.callbacks.debugging import DataSubsetTestRun, FunctionOnTrainLoop, ListRegisteredCallbacks
    from compat.callbacks.evaluation import ModelPerformanceEvaluation
    from compat.callbacks.gradient import (
        GradientCallbackBase,
        GradientStatsPrint,
        GradNormClip,
        GradValueClip,
    )
    from compat.callbacks.handler import CallbacksHandler
    from compat.callbacks.reports import MetricHistoryRename, ModelPerformancePrintReport, TrainHistoryFormatter
    from compat.callbacks.stopping import (
        AllPredictionsSame,
        EarlyStopping,
        TerminateOnNaN,
        ThresholdEarlyStopping,
    )
    from compat.cloud import gcs_available_options, s3_available_options
    from compat.data import (
        BasicDataset,
        ListDataset,
        append_concat_predictions,
        append_predictions,
        keep_list_transf,
        torch_cat_transf,
    )
    from compat.ddp import DDPHandler
    from compat.experiment.basic_packages import (
        BinaryClassificationResultPackage,
        ClassificationResultPackage,
        GeneralResultPackage,
        RegressionResultPackage,
    )
    from compat.experiment.classification import (
        AccuracyMetric,
        F1ScoreMetric,
        PrecisionMetric,
        PrecisionRecallCurveAUCMetric,
        RecallMetric,
        ROCAUCMetric,
    )
    from compat.experiment.combined_packages import MultipleResultPackageWrapper, PreCalculatedResultPackage
    from compat.experiment.metrics import AbstractBaseMetric, MeanAbsoluteErrorMetric, MeanSquaredErrorMetric
    from compat.experiment.packages import AbstractResultPackage
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
    from compat.nlp.collate import qa_concat_ctx_span_collate_fn
    from compat.nlp.core import find_sub_list, normalize_string, str2bool, unicode_to_ascii
    from compat.nlp.vocabulary import Vocabulary
    from compat.parallel import TTDataParallel, TTDistributedDataParallel, TTParallelBase
    from compat.predictions import ModelPredictionStore
    from compat.predictor import PyTorchModelPredictor
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
    from compat.utils import (
        combine_dict_elements,
        combine_prediction_metadata_batches,
        copy_function,
        create_folder_hierarchy,
        flatten_combine_dict,
        flatten_dict,
        flatten_list_of_lists,
        function_exists,
        is_empty_function,
        unzip_file,
        zip_folder,
    )

__version__ = "0.1.0"

__all__ = [
    "AbstractBaseMetric",
    "AbstractCallback",
    "AbstractModelFeedDefinition",
    "AbstractResultPackage",
    "AbstractScheduler",
    "AccuracyMetric",
    "AllPredictionsSame",
    "BasicDataset",
    "BinaryClassificationResultPackage",
    "CallbacksHandler",
    "ClassificationResultPackage",
    "ConstantWithWarmupScheduler",
    "CosineWithWarmupScheduler",
    "DDPHandler",
    "DataSubsetTestRun",
    "DistributedSamplerSetEpoch",
    "EarlyStopping",
    "F1ScoreMetric",
    "FunctionOnTrainLoop",
    "GeneralLRSchedulerCallback",
    "GeneralResultPackage",
    "GradNormClip",
    "GradValueClip",
    "GradientCallbackBase",
    "GradientStatsPrint",
    "HardRestartsCosineWithWarmupScheduler",
    "HistoryCallback",
    "InMultiProcessDataLoad",
    "LambdaLRScheduler",
    "LinearWithWarmupScheduler",
    "ListDataset",
    "ListRegisteredCallbacks",
    "MeanAbsoluteErrorMetric",
    "MeanSquaredErrorMetric",
    "Message",
    "MessageHandling",
    "MessageService",
    "MetricHistoryRename",
    "ModelPerformanceEvaluation",
    "ModelPerformancePrintReport",
    "ModelPredictionStore",
    "ModelWrap",
    "MultiGPUModelWrap",
    "MultiLoss",
    "MultiOptimizer",
    "MultiStepLRScheduler",
    "MultipleResultPackageWrapper",
    "PreCalculatedResultPackage",
    "PrecisionMetric",
    "PrecisionRecallCurveAUCMetric",
    "PyTorchModelPredictor",
    "ROCAUCMetric",
    "RecallMetric",
    "ReduceLROnPlateauMetricScheduler",
    "ReduceLROnPlateauScheduler",
    "RegressionResultPackage",
    "StepLRScheduler",
    "TTBasicModel",
    "TTBasicMultiGPUModel",
    "TTDataParallel",
    "TTDistributedDataParallel",
    "TTModel",
    "TTParallelBase",
    "TerminateOnNaN",
    "ThresholdEarlyStopping",
    "TrainHistoryFormatter",
    "TrainLoop",
    "TrainingHistory",
    "Vocabulary",
    "append_concat_predictions",
    "append_predictions",
    "as_lightning_callback",
    "as_lightning_module",
    "combine_dict_elements",
    "combine_prediction_metadata_batches",
    "copy_function",
    "create_folder_hierarchy",
    "find_sub_list",
    "flatten_combine_dict",
    "flatten_dict",
    "flatten_list_of_lists",
    "function_exists",
    "gcs_available_options",
    "install",
    "is_empty_function",
    "keep_list_transf",
    "load_ipython_extension",
    "normalize_string",
    "qa_concat_ctx_span_collate_fn",
    "quirks",
    "s3_available_options",
    "str2bool",
    "torch_cat_transf",
    "unicode_to_ascii",
    "uninstall",
    "unload_ipython_extension",
    "unzip_file",
    "verbose",
    "zip_folder",
]


if not TYPE_CHECKING:
    # Hidden from type checkers, which would take any name for a good one.
    def __getattr__(name: str) -> Any:
        """Import a public name from its home when it is first used."""
        if name.startswith("_"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        # Here and not above: whoever only asks for the version should not pay for reading the table.
        from compat import _surface

        # Not kept: while a name is patched where it lives, this is what it is patched to, and no longer.
        if name in __all__:
            return _surface.resolve(_surface.homes()[name])
        if old := _surface.unserved().get(name):
            from compat._placeholders import placeholder

            return placeholder(old)
        near = _surface.nearest(name, {*__all__, *_surface.unserved()})
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}.{near}")


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
