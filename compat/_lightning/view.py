"""What stands for the TrainLoop where old callbacks run in a plain Trainer.

It reads from the Trainer and its module what they own, and owns itself what only the old API has: the history, the
messages, the stored predictions, ``early_stop``. What a plain Trainer does not have is an AttributeError that says what
to do instead.
"""

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer

from compat._amp import LoopScaler
from compat._lightning.borrowed import Feed, OfTrainer, old_model_in, one_of, steps_on_nothing_else
from compat._lightning.counting import training_steps
from compat._lightning.native_history import EpochMetrics
from compat._loop_evaluation import LoopEvaluation
from compat._loop_state import LoopState, Target
from compat.callbacks.abstract import AbstractCallback
from compat.callbacks.handler import CallbacksHandler
from compat.data import append_predictions, torch_cat_transf
from compat.exceptions import MissingAttributeError
from compat.history import TrainingHistory
from compat.losses import MultiOptimizer
from compat.messages import MessageService
from compat.predictions import ModelPredictionStore
from compat.schedulers.basic import AbstractScheduler

__all__ = ["TrainerView"]

_TRACKING = (
    "belongs to experiment tracking, which a plain Trainer knows nothing of. Give the callback the value itself, or"
    " train with a TrainLoop"
)
_RUNNING = "runs a training, and the Trainer that calls this callback runs one already"
_ABSENT = {
    **dict.fromkeys(
        (
            "project_name",
            "experiment_name",
            "local_model_result_folder_path",
            "cloud_save_mode",
            "bucket_name",
            "cloud_dir_prefix",
            "source_dirs",
            "experiment_file_path",
        ),
        _TRACKING,
    ),
    "hyperparams": f"{_TRACKING}; a module that called save_hyperparameters() has them in lightning_module.hparams",
    **dict.fromkeys(("fit", "_train", "_train_dp", "_train_ddp"), _RUNNING),
    **dict.fromkeys(
        ("_calculate_batch_loss", "_backward_pass", "_optimizer_step", "_optimizer_zero_grad"),
        "is a part of the old loop; here the LightningModule does it, in its training_step",
    ),
    **dict.fromkeys(
        ("auto_execute_end_of_epoch", "auto_execute_end_of_training", "_print_save_loss"),
        "evaluates the losses for the old loop; here the LightningModule logs them",
    ),
}


_COUNTED = "The Trainer counts by itself; to go on where an earlier training was, pass trainer.fit(ckpt_path=...)."
_LOADED = (
    "It has opened its loaders: pass others to trainer.fit, or for a part of the batches Trainer(limit_train_batches=n,"
    " limit_val_batches=n)."
)
_BUILT = "The module makes it: change the LightningModule, or its configure_optimizers."
_ASKED = "Pass it to the Trainer's constructor."


class TrainerView(LoopEvaluation):
    """The ``train_loop_obj`` of old callbacks in a plain Trainer; one for all of them.

    Args:
        trainer: The Trainer.

    Attributes:
        trainer: The argument.
        logged: What the module logs in the running epoch.
        inserted: The metrics that old callbacks have put into the history since they were last sent to the loggers.
        own_metrics: The names of all metrics that old callbacks have put into the history.
        has_updated: Whether an optimizer has stepped, or is about to, in the running batch.
        train_history: The metrics that the module logged and those of the old callbacks, one value an epoch.
        message_service: Messages between callbacks.
        callbacks: The old callbacks, in the order in which they run.
        grad_cb_used: Set by callbacks with gradient hooks when they are registered.
    """

    model: Any = OfTrainer(lambda view: view._model, _BUILT)
    optimizer: Any = OfTrainer(lambda view: view._optimizer(), _BUILT)
    criterion: Any = OfTrainer(lambda view: view._criterion(), _BUILT)
    device: Any = OfTrainer(lambda view: view.trainer.strategy.root_device, _ASKED)
    train_loader: Any = OfTrainer(lambda view: view._loader("train"), _LOADED)
    validation_loader: Any = OfTrainer(lambda view: view._loader("validation"), _LOADED)
    test_loader: Any = OfTrainer(lambda view: view._loader("test"), _LOADED)
    epoch: Any = OfTrainer(lambda view: view._epoch, _COUNTED)
    iteration: Any = OfTrainer(lambda view: view._iteration, _COUNTED)
    total_iteration_idx: Any = OfTrainer(lambda view: view._total_iteration_idx, _COUNTED)
    num_epochs: Any = OfTrainer(lambda view: view._num_epochs(), _ASKED)
    num_iterations: Any = OfTrainer(lambda view: 0, _ASKED)
    num_optimizers: Any = OfTrainer(lambda view: max(1, len(view.trainer.optimizers)), _BUILT)
    grad_accumulation: Any = OfTrainer(lambda view: view.trainer.accumulate_grad_batches, _ASKED)
    use_amp: Any = OfTrainer(lambda view: view.trainer.precision == "16-mixed", _ASKED)
    gpu_mode: Any = OfTrainer(lambda view: "ddp" if view.ddp_training_mode else "single", _ASKED)
    ddp_training_mode: Any = OfTrainer(lambda view: view.trainer.world_size > 1, _ASKED)
    ddp_rank: Any = OfTrainer(lambda view: view.trainer.global_rank if view.ddp_training_mode else None, _ASKED)

    def __init__(self, trainer: Trainer) -> None:
        """Start with an empty history."""
        self.trainer = trainer
        self._compat = LoopState(None)
        self.logged = EpochMetrics()
        self.inserted: dict[str, float] = {}
        self.own_metrics: set[str] = set()
        self.has_updated = False
        self.train_history = TrainingHistory().wrap_pre_prepared_history({})
        self.prediction_store = ModelPredictionStore(auto_purge=True)
        self.message_service = MessageService()
        self.experiment_timestamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        self.loss_batch_accum: list[Any] = []
        self.collate_batch_pred_fn = append_predictions
        self.pred_transform_fn = torch_cat_transf
        self.end_auto_eval = True
        self.lazy_experiment_save = False
        self.print_callbacks = False
        self.ddp_handler = None
        self._epoch = 0
        self._iteration = 0
        self._total_iteration_idx = -1
        self._optimizers: Any = None
        self.start_fit()

    def start_fit(self) -> None:
        """Forget the callbacks and the wish to stop of an earlier fit; the history stays.

        The optimizers are new in each fit of a Trainer, and so is what callbacks build on them when they are
        registered.
        """
        trainer, model = self.trainer, old_model_in(self.lightning_module)
        # Callbacks that clip or save the model mean all that is trained.
        is_all = model is not None and steps_on_nothing_else(trainer, model)
        self._model: Any = model if is_all else self.lightning_module
        is_served = model is None or (is_all and hasattr(model, "get_loss_eval"))
        self.batch_model_feed_def = None if is_served else Feed(model)
        self._predicts = model is not None
        self._compat.target = Target(num_epochs=trainer.max_epochs)
        self._compat.autocast_dtype = torch.bfloat16 if trainer.precision == "bf16-mixed" else None
        # Lightning has unscaled the gradients before a callback hears of them.
        self.amp_scaler = LoopScaler(enabled=False)
        self.grad_cb_used = False
        self.callbacks: list[AbstractCallback] = []
        self.callbacks_handler = CallbacksHandler(self)  # type: ignore[arg-type]  # it stands for the loop
        self._wants_to_stop = False

    def __getattr__(self, name: str) -> Any:
        """Say why an attribute is not there."""
        known = vars(type(self)).get(name)
        if known is not None:
            # The attribute itself has raised, and Python asks here next: once more, to keep its reason.
            return known.__get__(self, type(self))
        if name.startswith("__"):
            raise AttributeError(name)
        why = _ABSENT.get(name, "is not there")
        raise MissingAttributeError(f"train_loop_obj.{name} {why}. This callback runs in a plain Trainer.")

    @property
    def lightning_module(self) -> LightningModule:
        """The module that the Trainer runs."""
        module: LightningModule = self.trainer.lightning_module
        return module

    @property
    def early_stop(self) -> bool:
        """Whether the training ends after this epoch: an old callback says so, or the Trainer."""
        return self._wants_to_stop or bool(self.trainer.should_stop)

    @early_stop.setter
    def early_stop(self, value: bool) -> None:
        # Told to the Trainer when the epoch is over: it would stop in the middle of one, and the old loop does not.
        self._wants_to_stop = bool(value)

    @property
    def wants_to_stop(self) -> bool:
        """Whether an old callback has asked to stop."""
        return self._wants_to_stop

    def begin_batch(self, index: int) -> None:
        """Count a batch.

        Args:
            index: Its index in the epoch.
        """
        self._iteration = index
        self._total_iteration_idx = self.trainer.fit_loop.total_batch_idx
        self.has_updated = False

    def begin_epoch(self, epoch: int) -> None:
        """Count an epoch.

        Args:
            epoch: Its index.
        """
        self._epoch = epoch

    def count_batches(self) -> None:
        """Take over the count of the batches that were trained before."""
        self._total_iteration_idx = self.trainer.fit_loop.total_batch_idx

    def insert_metric_result_into_history(self, metric_name: str, metric_result: Any) -> None:
        """Append a value to the history, and give it to Lightning's callbacks as a metric if it is a number.

        Args:
            metric_name: The history's key.
            metric_result: The value.
        """
        self.train_history.insert_single_result_into_history(metric_name, metric_result)
        self.own_metrics.add(metric_name)
        value = metric_result.item() if getattr(metric_result, "size", None) == 1 else metric_result
        if isinstance(value, torch.Tensor) and value.numel() == 1:
            value = value.item()
        if isinstance(value, int | float):
            self.inserted[metric_name] = float(value)
            # In float64: `self.log` would round it, and a metric would no longer equal the history.
            self.trainer.callback_metrics[metric_name] = torch.tensor(float(value), dtype=torch.float64)

    def is_main_process(self) -> bool:
        """Tell whether this process prints and saves."""
        return bool(self.trainer.is_global_zero)

    def should_execute_optimizer_update(self) -> bool:
        """Tell whether the current batch ends an accumulation window.

        With manual optimization only the module knows, so it is true from the moment it steps an optimizer.
        """
        trainer = self.trainer
        if not self.lightning_module.automatic_optimization:
            return self.has_updated
        done = self._iteration + 1
        is_last = trainer.is_last_batch or done >= trainer.num_training_batches
        return done % trainer.accumulate_grad_batches == 0 or (
            is_last and not trainer.strategy.handles_gradient_accumulation
        )

    def get_schedulers(self) -> list[AbstractScheduler]:
        """Return the registered schedulers, in the order in which they run."""
        return [callback for callback in self.callbacks if isinstance(callback, AbstractScheduler)]

    def get_num_training_steps(self) -> int:
        """Count the updates of the training, as the old loop does; with ``Trainer(max_steps=)`` that many."""
        if self.trainer.max_steps > 0 or not self.lightning_module.automatic_optimization:
            return int(self.trainer.estimated_stepping_batches)
        return training_steps(self, self.num_epochs, 0)  # type: ignore[arg-type]  # it stands for the loop

    def evaluate_loss_on_validation_set(self, force_prediction: bool = False, float_dict_format: bool = False) -> Any:
        """Evaluate the loss on the validation set.

        Of a module without ``get_loss``, and in several processes, it is what Lightning's own validation has logged.

        Args:
            force_prediction: Evaluate again although the loss of this iteration is stored.
            float_dict_format: Return a float, or a dict of floats for a ``MultiLoss``.

        Returns:
            A 0-dim float64 tensor on the CPU, or a ``MultiLoss`` of such.

        Raises:
            MissingAttributeError: The module has logged no ``val_loss`` in this epoch.
        """
        if self._predicts and not self.ddp_training_mode:
            return super().evaluate_loss_on_validation_set(force_prediction, float_dict_format)
        logged = self.logged.seen(self.trainer)
        if "val_loss" not in logged:
            raise MissingAttributeError(
                "evaluate_loss_on_validation_set() of a plain Trainer is the val_loss that its own validation logs, and"
                f" in epoch {self._epoch} there is none so far, but: {', '.join(sorted(logged)) or 'nothing'}. Call"
                " self.log('val_loss', loss) in the module's validation_step, validate in each epoch"
                " (check_val_every_n_epoch=1), and ask at the end of the epoch."
            )
        return logged["val_loss"] if float_dict_format else torch.tensor(logged["val_loss"], dtype=torch.float64)

    def evaluate_model_loss(self, data_loader: Any, move_to_cpu: bool = False, dataset_info: Any = None) -> Any:
        """Evaluate the loss on a loader; the model is left in the mode that it was in."""
        with self._own_pass("evaluate a loss"):
            return super().evaluate_model_loss(data_loader, move_to_cpu, dataset_info)

    def predict_with_model(
        self, data_loader: Any, execute_callbacks: bool = False, move_to_cpu: bool = False, dataset_info: Any = None
    ) -> Any:
        """Predict a loader; the model is left in the mode that it was in."""
        with self._own_pass("predict"):
            return super().predict_with_model(data_loader, execute_callbacks, move_to_cpu, dataset_info)

    def check_predictions(self, purpose: str) -> None:
        """Refuse a pass over a loader that this Trainer or its module do not allow.

        Args:
            purpose: What for, as in ``"predict"``.

        Raises:
            MissingAttributeError: The module has no ``get_predictions``, or there are several processes.
        """
        if not self._predicts:
            raise MissingAttributeError(
                f"{type(self.lightning_module).__name__} has no get_predictions and get_loss, nor has its attribute"
                f" `model`, so train_loop_obj cannot {purpose}. Keep the old model (a TTModel) in self.model of the"
                " module, or compute the metric in validation_step and self.log it."
            )
        if self.ddp_training_mode:
            raise MissingAttributeError(
                f"train_loop_obj cannot {purpose} in a Trainer of {self.trainer.world_size} processes: the loaders of"
                " each hold its part of the data alone. Compute the metric in validation_step and self.log it with"
                " sync_dist=True, or train with TrainLoop(gpu_mode='ddp')."
            )

    @contextmanager
    def _own_pass(self, purpose: str) -> Iterator[None]:
        self.check_predictions(purpose)
        modes = [(module, module.training) for module in self.lightning_module.modules()]
        try:
            yield
        finally:
            # The old loop leaves everything in train(); Lightning keeps a part that the user froze in eval().
            for module, mode in modes:
                module.training = mode

    def _criterion(self) -> Any:
        if not hasattr(self.lightning_module, "criterion"):
            raise MissingAttributeError(
                f"train_loop_obj.criterion is not there: {type(self.lightning_module).__name__} has no attribute"
                " `criterion`. Keep the loss function in self.criterion of the module."
            )
        return self.lightning_module.criterion

    def _optimizer(self) -> Any:
        optimizers = self.trainer.optimizers
        if not optimizers:
            return None
        if len(optimizers) == 1:
            return optimizers[0]
        # The same object as long as the optimizers are: callbacks compare.
        if self._optimizers is None or self._optimizers.optimizer_list != optimizers:
            self._optimizers = MultiOptimizer(list(optimizers))
        return self._optimizers

    def _num_epochs(self) -> int:
        epochs = self.trainer.max_epochs
        if epochs is None or epochs < 0:
            raise MissingAttributeError(
                "train_loop_obj.num_epochs is not there: this Trainer has no max_epochs. Pass Trainer(max_epochs=...)."
            )
        return int(epochs)

    def _loader(self, data: str) -> Any:
        trainer, fit_loop = self.trainer, self.trainer.fit_loop
        if data == "test":
            return one_of(trainer.test_dataloaders, trainer.num_test_batches, data)
        if data == "train":
            # As for `estimated_stepping_batches`, where it is asked for before the training has opened it.
            fit_loop.setup_data()
            return one_of(trainer.train_dataloader, trainer.num_training_batches, data)
        if trainer.val_dataloaders is None and trainer.enable_validation:
            fit_loop.epoch_loop.val_loop.setup_data()
        return one_of(trainer.val_dataloaders, trainer.num_val_batches, data)
