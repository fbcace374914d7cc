"""TrainLoop: the documented signature and state of the old loop, run by Lightning's Trainer.

The facade decides little. ``compat._lightning.plan`` checks the arguments, ``compat._lightning.module`` holds the order
of events, and ``compat._evaluation`` the passes over a loader. What stands here are the template methods: override one
in a subclass, and it is what runs.
"""

import datetime
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import ModuleType
from typing import Any

import torch

from compat import _compiled, _console, _evaluation
from compat._amp import LoopScaler, autocast, scaler_options
from compat._distributed import together
from compat._lightning import course, limits, plan, registration, steps, tally
from compat._lightning.counting import training_steps
from compat._loop_evaluation import LoopEvaluation
from compat._loop_parallel import LoopParallel
from compat._loop_state import FromState, LoopState
from compat.callbacks._native import AnyCallback
from compat.callbacks.abstract import AbstractCallback
from compat.callbacks.handler import CallbacksHandler
from compat.data import append_predictions, torch_cat_transf
from compat.exceptions import InvalidTypeError
from compat.history import TrainingHistory
from compat.losses import MultiLoss, MultiOptimizer
from compat.messages import MessageService
from compat.model import ModelWrap
from compat.predictions import ModelPredictionStore
from compat.schedulers.basic import AbstractScheduler

__all__ = ["TrainLoop"]


class TrainLoop(LoopEvaluation, LoopParallel):
    """Trains a model the way the old library's loop did, on Lightning's Trainer.

    Args:
        model: A ``TTModel``, or a ``ModelWrap`` of a torch module and a feed definition. Of what ``torch.compile``
            returns the loop holds the model inside, compiled in place.
        train_loader: The training batches: a ``DataLoader``, a list of batches or another iterable.
        validation_loader: The validation batches, or ``None``.
        test_loader: The test batches, or ``None``.
        optimizer: A torch optimizer, a ``MultiOptimizer``, or any object with ``step`` and ``zero_grad``.
        criterion: What ``get_loss`` is given as its criterion; moved to the device if it can be.
        collate_batch_pred_fn: Adds a batch's predictions to those collected, and returns them.
        pred_transform_fn: Turns the collected predictions into the result.
        end_auto_eval: Whether to evaluate the losses at the end of an epoch; ``n`` for every n-th epoch.
        lazy_experiment_save: Whether callbacks that save wait for something to save.
        print_callbacks: Whether ``fit`` lists the registered callbacks.
        gpu_mode: ``single``, ``dp`` for ``torch.nn.DataParallel``, or ``ddp`` for several processes.
        cuda_device_idx: The CUDA device; ``None`` for the current one. Without CUDA it is ignored.
        use_amp: ``True`` for mixed precision on CUDA, or a dict of options of the gradient scaler.
        quirks: Which oddities of the old loop to keep or to fix, as in ``{"Q01": "fixed"}``.
        lightning_args: Arguments of Lightning's Trainer, as in ``{"precision": "bf16-mixed", "fast_dev_run": True}``.
            What the loop decides itself is refused, with the way to do it.

    Attributes:
        epoch: Index of the running or last epoch. Changed by the engine, and by callbacks that resume.
        iteration: Index of the batch in its epoch. Changed by the engine.
        total_iteration_idx: Index of the batch over all fits, -1 before the first. Changed by the engine.
        num_epochs: The epoch that the running fit stops before. Set by ``fit``, which does not read it back.
        num_iterations: The batches that the running fit stops after, 0 if it counts epochs. Set by ``fit``, likewise.
        grad_accumulation: Batches of one update. Set by ``fit``.
        early_stop: Set by callbacks, looked at when an epoch ends, never cleared by the loop (quirk Q05).
        grad_cb_used: Set by callbacks with gradient hooks when they are registered.
        loss_batch_accum: The detached losses of the epoch's batches so far.
        train_history: The losses and metrics of each epoch.
        prediction_store: Predictions and losses of the current iteration.
        message_service: Messages between callbacks.
        callbacks: The registered callbacks, in the order in which they run. Kept over fits.
        trainer: Lightning's Trainer of the running or last fit, ``None`` before the first.
        lightning_module: The module that this Trainer runs.

    Raises:
        InvalidTypeError: The model is of the wrong kind, or ``use_amp`` or ``lightning_args`` has an unknown key.
        InvalidArgumentError: No such ``gpu_mode``, CUDA device or quirk, or ``lightning_args`` contradicts another one.
        RefusedError: ``lightning_args`` asks for something that is not served.
    """

    trainer = FromState("trainer")
    lightning_module = FromState("lightning_module")

    def __init__(
        self,
        model: Any,
        train_loader: Any,
        validation_loader: Any,
        test_loader: Any,
        optimizer: Any,
        criterion: Any,
        collate_batch_pred_fn: Callable[[Any, Any], Any] = append_predictions,
        pred_transform_fn: Callable[[Any], Any] = torch_cat_transf,
        end_auto_eval: bool | int = True,
        lazy_experiment_save: bool = False,
        print_callbacks: bool = False,
        gpu_mode: str = "single",
        cuda_device_idx: int | None = None,
        use_amp: bool | Mapping[str, Any] = False,
        *,
        quirks: Mapping[str, str] | None = None,
        lightning_args: Mapping[str, Any] | None = None,
    ) -> None:
        """Check the arguments and set up the state."""
        flags = plan.check_construction(model, use_amp, gpu_mode, cuda_device_idx, lightning_args)
        self._compat = LoopState(quirks)
        self._compat.flags, self._compat.autocast_dtype = flags, flags.autocast_dtype
        wrapped = isinstance(model, ModelWrap)
        self.model: Any = _compiled.in_place(model.model if wrapped else model)
        self.batch_model_feed_def: Any = model.batch_model_feed_def if wrapped else None
        self.train_loader = train_loader
        self.validation_loader = validation_loader
        self.test_loader = test_loader
        self.optimizer = optimizer
        self.criterion = criterion
        self.collate_batch_pred_fn = collate_batch_pred_fn
        self.pred_transform_fn = pred_transform_fn
        self.end_auto_eval: Any = end_auto_eval
        self.lazy_experiment_save = lazy_experiment_save
        self.print_callbacks = print_callbacks
        self.num_optimizers = len(optimizer) if isinstance(optimizer, MultiOptimizer) else 1
        self.gpu_mode = gpu_mode
        self.use_amp = course.amp_is_on(self._compat.quirks, flags.use_amp or use_amp)
        self.amp_scaler_init = scaler_options(use_amp)
        self.amp_scaler: torch.amp.GradScaler = LoopScaler(enabled=self.use_amp, **self.amp_scaler_init)
        self.device = plan.device_of(cuda_device_idx, flags)
        self.experiment_timestamp = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        self.loss_batch_accum: list[Any] = []
        self.epoch = 0
        self.iteration = 0
        self.total_iteration_idx = -1
        self.num_epochs: int | None = None
        self.num_iterations: int | None = None
        self.grad_accumulation = 1
        self.train_history = TrainingHistory(has_validation=validation_loader is not None)
        self.prediction_store = ModelPredictionStore(auto_purge=True)
        self.prediction_store.quirks = self._compat.quirks
        self.message_service = MessageService()
        self.ddp_training_mode = False
        self.ddp_handler: Any = None
        self.ddp_rank: int | None = None
        self.callbacks: list[AbstractCallback] = []
        self.early_stop = False
        self.grad_cb_used = False
        self.callbacks_handler = CallbacksHandler(self)
        tally.constructed(self, model)

    def fit(
        self,
        num_epochs: int = 0,
        num_iterations: int = 0,
        callbacks: Sequence[AnyCallback] | AnyCallback | None = None,
        grad_accumulation: int = 1,
        **kwargs: Any,
    ) -> Any:
        """Train the model.

        Args:
            num_epochs: The epoch to stop before; epochs that earlier fits ran count.
            num_iterations: The number of batches to stop after, in place of ``num_epochs``.
            callbacks: Callbacks to register, beside those of earlier fits: old ones and Lightning's, in any order.
            grad_accumulation: The number of batches whose gradients make one update.
            kwargs: Ignored, with a warning; ``gpu_mode='dp'`` takes ``dp_model_args``, and ``gpu_mode='ddp'`` what
                :meth:`_train_ddp` lists.

        Returns:
            The trained model, in ``train()`` mode, on ``self.device``; with ``gpu_mode='dp'`` its parallel wrapper.

        Raises:
            InvalidArgumentError: A value that is not allowed. Nothing is changed then.
            InvalidTypeError: An object of the wrong kind. Nothing is changed then.
            RefusedError: A callback of Lightning's that would run silently wrong here. Nothing is changed then.
            WorkerError: With ``gpu_mode='ddp'``, a process failed. The message names it, and says why.
        """
        self.model = _compiled.in_place(self.model)
        to_register = plan.check_fit(self, num_epochs, num_iterations, callbacks, grad_accumulation, kwargs)
        if self.gpu_mode == "dp":
            plan.note_arguments(self, callbacks, ())
            return self._train_dp(num_epochs, num_iterations, to_register, grad_accumulation, **kwargs)
        if self.gpu_mode == "ddp":
            plan.note_arguments(self, callbacks, ())
            settings = plan.ddp_arguments(self, kwargs)
            return self._train_ddp(num_epochs, num_iterations, to_register, grad_accumulation, **settings)
        plan.note_arguments(self, callbacks, kwargs)
        return self._train(num_epochs, num_iterations, callbacks=to_register, grad_accumulation=grad_accumulation)

    def __call__(
        self,
        num_epochs: int = 0,
        num_iterations: int = 0,
        callbacks: Sequence[AnyCallback] | AnyCallback | None = None,
        grad_accumulation: int = 1,
        **kwargs: Any,
    ) -> Any:
        """Train the model; the same as :meth:`fit`."""
        return self.fit(num_epochs, num_iterations, callbacks, grad_accumulation, **kwargs)

    def _train(
        self,
        num_epochs: int,
        num_iterations: int,
        callbacks: Sequence[AnyCallback] | None = None,
        grad_accumulation: int = 1,
    ) -> Any:
        """Register the callbacks, move the model to its device, and run the epochs.

        Args:
            num_epochs: The epoch to stop before.
            num_iterations: The number of batches to stop after.
            callbacks: Callbacks to register.
            grad_accumulation: The number of batches whose gradients make one update.

        Returns:
            The trained model.
        """
        nested = self._compat.after_fit is not None
        with limits.applied(self), course.running(self), course.among_others(self), registration.on_trial(self):
            course.begin(self, num_epochs, num_iterations, grad_accumulation, nested)
            registration.register(self, callbacks)
            _evaluation.to_device(self)
            tally.started(self)
            self.model.train()
            _engine().fit(self, plan.plan_fit(self))
        return self.model

    def _calculate_batch_loss(self, batch_data: Any) -> Any:
        """Compute the loss of a training batch and record it.

        Args:
            batch_data: The batch as the loader yielded it.

        Returns:
            The loss divided by the size of the accumulation window, ready for the backward pass.

        Raises:
            InvalidTypeError: ``get_loss`` returned something that cannot be divided.
            MissingAttributeError: ``get_loss`` returned a plain number.
        """
        if self.device.type == "cpu" and self._compat.autocast_dtype is None:
            loss_batch, scaled = course.batch_loss(self, batch_data)
        else:
            with autocast(self.use_amp, self.device, self._compat.autocast_dtype):
                loss_batch, scaled = course.batch_loss(self, batch_data)
        self.loss_batch_accum.append(loss_batch.detach())
        if self._compat.sample_counts is not None:
            self._compat.sample_counts.append(_evaluation.batch_size(batch_data))
        return scaled

    def _backward_pass(self, loss_batch: Any, optimizer_idx: int) -> None:
        """Back-propagate the loss, or the loss of one optimizer.

        Args:
            loss_batch: A scalar tensor, or a ``MultiLoss``.
            optimizer_idx: The index of the optimizer whose turn it is.

        Raises:
            LossError: The loss is not a scalar, or a single loss meets several optimizers.
        """
        # The exact type first: asking an abstract base class costs more than all the rest.
        single = type(loss_batch) is torch.Tensor
        if single or not isinstance(loss_batch, MultiLoss):
            if single and (loss_batch.dim() or self.num_optimizers > 1):
                steps.check_single_loss(self, loss_batch)
            self.amp_scaler.scale(loss_batch).backward()
            return
        loss_batch.backward(optimizer_idx, self.iteration, self.amp_scaler)
        if loss_batch.loss_optimizer_map is not None:
            steps.note_loss_map(self, loss_batch)
        if len(loss_batch) > self.num_optimizers and optimizer_idx == self.num_optimizers - 1:
            steps.settle_surplus_losses(self, loss_batch)

    def _optimizer_step(self, optimizer_idx: int) -> None:
        """Step one optimizer at the end of an accumulation window.

        Args:
            optimizer_idx: The index of the optimizer.
        """
        if not self.should_execute_optimizer_update():
            return
        scaler = self.amp_scaler
        scaling = scaler.is_enabled()
        if isinstance(self.optimizer, MultiOptimizer):
            self.optimizer.step(optimizer_idx, self.iteration, scaler)
        elif scaling:
            scaler.step(self.optimizer)
        else:
            self.optimizer.step()
        if scaling:
            steps.note_skipped_step(self, optimizer_idx)
        if self.grad_cb_used and not (self._compat.last_update_skipped and self._compat.quirks.fixed("Q24")):
            self.callbacks_handler.execute_optimizer_step()

    def _optimizer_zero_grad(self, optimizer_idx: int) -> None:
        """Clear the gradients of one optimizer at the end of an accumulation window.

        Args:
            optimizer_idx: The index of the optimizer.
        """
        if not self.should_execute_optimizer_update():
            return
        if isinstance(self.optimizer, MultiOptimizer):
            self.optimizer.zero_grad(optimizer_idx, self.iteration)
        else:
            self.optimizer.zero_grad()

    def should_execute_optimizer_update(self) -> bool:
        """Tell whether the current batch ends an accumulation window: a full one, or the epoch's last."""
        iteration = self.iteration
        return (iteration + 1) % self.grad_accumulation == 0 or iteration == len(self.train_loader) - 1

    def auto_execute_end_of_epoch(self) -> None:
        """Put the losses of the epoch into the history: those seen while training, then those evaluated now."""
        record, samples = together.gathered(self, self.loss_batch_accum, self._compat.sample_counts)
        if samples is not None:
            record = _evaluation.weighted_by_samples(record, samples)
        with self._compat.gathered():
            loss_parsed = self.parse_loss(record)
        tally.losses_averaged(self, self.loss_batch_accum)
        self._print_save_loss(
            loss_parsed,
            loss_type_name="accumulated_loss",
            loss_print_description="AVG BATCH ACCUMULATED TRAIN LOSS",
        )
        self.loss_batch_accum = []

        every = course.auto_eval(self)
        if every is False or (every is not True and self.epoch % every):
            return
        with tally.train_set_evaluation(self):
            train_loss = self.evaluate_loss_on_train_set()
        self._print_save_loss(train_loss, loss_type_name="loss", loss_print_description="TRAIN LOSS")
        if self.validation_loader is not None:
            validation_loss = self.evaluate_loss_on_validation_set()
            self._print_save_loss(validation_loss, loss_type_name="val_loss", loss_print_description="VAL LOSS")

    def auto_execute_end_of_training(self) -> None:
        """Put the loss on the test set into the history, if there is one and the automatic evaluation is on."""
        if self.test_loader is not None and course.auto_eval(self) is not False:
            test_loss = self.evaluate_loss_on_test_set()
            self._print_save_loss(test_loss, loss_type_name="train_end_test_loss", loss_print_description="TEST LOSS")

    def _print_save_loss(self, loss_parsed: Any, loss_type_name: str, loss_print_description: str) -> None:
        """Print a loss and put it into the history.

        Args:
            loss_parsed: What :meth:`parse_loss` returned.
            loss_type_name: The history's key; of a ``MultiLoss`` each entry gets ``<key>_<loss name>``.
            loss_print_description: The printed label.
        """
        loss = loss_parsed.item()
        if not isinstance(loss, MultiLoss):
            if self.is_main_process():
                _console.say(f"{loss_print_description}: {loss}")
            self.insert_metric_result_into_history(loss_type_name, loss)
            return
        mean = sum(loss.values()) / len(loss)
        self._compat.mean_losses.setdefault(loss_type_name, []).append(mean)
        if self.is_main_process():
            _console.say(f"{loss_print_description}: {mean}")
            _console.say(f"MULTI-LOSS {loss_print_description}:")
            for name, value in loss.items():
                _console.say(f"\t{name}: {value}")
        for name, value in loss.items():
            self.insert_metric_result_into_history(f"{loss_type_name}_{name}", value)

    def insert_metric_result_into_history(self, metric_name: str, metric_result: Any) -> None:
        """Append a value to the history; every loss and metric goes through here.

        Args:
            metric_name: The history's key.
            metric_result: The value.
        """
        self.train_history.insert_single_result_into_history(metric_name, metric_result)

    def is_main_process(self) -> bool:
        """Tell whether this process prints and saves."""
        return not self.ddp_training_mode or self.ddp_rank == 0

    def get_schedulers(self) -> list[AbstractScheduler]:
        """Return the registered schedulers, in the order in which they run."""
        return [callback for callback in self.callbacks if isinstance(callback, AbstractScheduler)]

    def get_num_training_steps(self) -> int:
        """Count the updates of the running fit, as the warm-up schedulers want to know them.

        Returns:
            The number of full accumulation windows (quirk Q13 leaves the partial ones out).

        Raises:
            InvalidTypeError: ``fit`` has not been called, or the training loader has no length.
        """
        if self.num_iterations is None or self.num_epochs is None:
            raise InvalidTypeError("get_num_training_steps() needs the target of a fit. Call it from a callback.")
        return training_steps(self, self.num_epochs, self.num_iterations)


@cache
def _engine() -> ModuleType:
    """Import what runs a fit when the first one starts: whoever only evaluates need not wait for Lightning."""
    # The import draws from Python's global generator, and a fit of the old loop does not.
    with _evaluation.untouched_rng(None):
        from compat._lightning import trainer
    return trainer
