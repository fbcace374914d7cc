"""From which Lightning on there is what; found by looking into the packages of every release from 2.4.0 to 2.6.6."""

# Of `lightning.pytorch.callbacks.__all__`.
CALLBACKS = {
    "BackboneFinetuning": "2.4",
    "BaseFinetuning": "2.4",
    "BasePredictionWriter": "2.4",
    "BatchSizeFinder": "2.4",
    "Callback": "2.4",
    "Checkpoint": "2.4",
    "DeviceStatsMonitor": "2.4",
    "EMAWeightAveraging": "2.6",
    "EarlyStopping": "2.4",
    "GradientAccumulationScheduler": "2.4",
    "LambdaCallback": "2.4",
    "LearningRateFinder": "2.4",
    "LearningRateMonitor": "2.4",
    "ModelCheckpoint": "2.4",
    "ModelPruning": "2.4",
    "ModelSummary": "2.4",
    "OnExceptionCheckpoint": "2.4",
    "ProgressBar": "2.4",
    "RichModelSummary": "2.4",
    "RichProgressBar": "2.4",
    "SpikeDetection": "2.4",
    "StochasticWeightAveraging": "2.4",
    "TQDMProgressBar": "2.4",
    "ThroughputMonitor": "2.4",
    "Timer": "2.4",
    "WeightAveraging": "2.6",
}
# Of `lightning.pytorch.loggers.__all__`.
LOGGERS = {
    "CSVLogger": "2.4",
    "CometLogger": "2.4",
    "LitLogger": "2.6.1",
    "Logger": "2.4",
    "MLFlowLogger": "2.4",
    "NeptuneLogger": "2.4",
    "TensorBoardLogger": "2.4",
    "WandbLogger": "2.4",
}
# The first release without it. 2.6.2 and 2.6.3 were never looked at: they are malicious.
GONE = {"NeptuneLogger": "2.6.4"}
# Arguments that came later than their class.
ARGUMENTS = {
    "ModelCheckpoint": {"save_on_exception": "2.5.3"},
    "Trainer": {"enable_autolog_hparams": "2.6", "model_registry": "2.5.1"},
}
