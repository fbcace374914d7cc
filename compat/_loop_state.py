"""What a training loop knows, and the moves between two states: the part of TrainLoop that nobody overrides."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch

from compat import _evaluation
from compat._amp import LoopScaler
from compat._lightning import plan
from compat.exceptions import LossError, raise_problems
from compat.history import TrainingHistory
from compat.losses import MultiLoss, MultiOptimizer
from compat.messages import MessageService
from compat.predictions import ModelPredictionStore
from compat.quirks import QuirkSettings

if TYPE_CHECKING:
    from compat._lightning.module import LoopModule
    from compat._lightning.trainer import Trainer
    from compat.callbacks.abstract import AbstractCallback
    from compat.callbacks.handler import CallbacksHandler

__all__ = ["LoopState"]


class LoopState:
    """The state that the old API documents, and who changes it.

    Attributes:
        epoch: Index of the running or last epoch. Changed by the engine, and by callbacks that resume.
        iteration: Index of the batch in its epoch. Changed by the engine.
        total_iteration_idx: Index of the batch over all fits, -1 before the first. Changed by the engine.
        num_epochs: The epoch that the running fit stops before. Set by ``fit``.
        num_iterations: The batches that the running fit stops after, 0 if it counts epochs. Set by ``fit``.
        grad_accumulation: Batches of one update. Set by ``fit``.
        early_stop: Set by callbacks, looked at when an epoch ends, never cleared by the loop (quirk Q05).
        grad_cb_used: Set by callbacks with gradient hooks when they are registered.
        loss_batch_accum: The detached losses of the epoch's batches so far.
        train_history: The losses and metrics of each epoch.
        mean_losses: With a ``MultiLoss``, the mean over its losses, beside the history and under the plain keys.
        prediction_store: Predictions and losses of the current iteration.
        message_service: Messages between callbacks.
        callbacks: The registered callbacks, in the order in which they run. Kept over fits.
        last_update_skipped: Whether the gradient scaler skipped the last update.
        quirks: Which oddities of the old loop are kept or fixed.
        trainer: Lightning's Trainer of the running or last fit, ``None`` before the first.
        lightning_module: The module that this Trainer runs.
    """

    # What TrainLoop's constructor sets.
    model: Any
    batch_model_feed_def: Any
    train_loader: Any
    validation_loader: Any
    test_loader: Any
    optimizer: Any
    criterion: Any
    collate_batch_pred_fn: Callable[[Any, Any], Any]
    pred_transform_fn: Callable[[Any], Any]
    end_auto_eval: Any
    use_amp: bool
    gpu_mode: str
    num_optimizers: int
    amp_scaler: LoopScaler
    device: torch.device
    callbacks_handler: "CallbacksHandler"

    def __init__(self, has_validation: bool, quirks: Mapping[str, str] | None) -> None:
        """Start with nothing trained."""
        self.quirks = QuirkSettings(quirks)
        self.loss_batch_accum: list[Any] = []
        self.epoch = 0
        self.iteration = 0
        self.total_iteration_idx = -1
        self.num_epochs: int | None = None
        self.num_iterations: int | None = None
        self.grad_accumulation = 1
        self.train_history = TrainingHistory(has_validation=has_validation)
        self.mean_losses: dict[str, list[float]] = {}
        self.prediction_store = ModelPredictionStore(auto_purge=True)
        self.prediction_store.quirks = self.quirks
        self.message_service = MessageService()
        self.ddp_training_mode = False
        self.ddp_handler: Any = None
        self.ddp_rank: int | None = None
        self.callbacks: list[AbstractCallback] = []
        self.early_stop = False
        self.grad_cb_used = False
        self.last_update_skipped = False
        self.trainer: Trainer | None = None
        self.lightning_module: LoopModule | None = None
        self._after_fit: ExitStack | None = None
        self._iteration_base = 0
        self._epoch_ran = False
        self._window_open = False
        self._leak_looked_for = False
        self._last_window_by_its_own_size = False
        self._sample_counts: list[int] | None = [] if self.quirks.fixed("Q19") else None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the Trainer out of copies: it belongs to a fit of this process."""
        return {**self.__dict__, "trainer": None, "lightning_module": None, "_after_fit": None}

    def is_main_process(self) -> bool:
        """Tell whether this process prints and saves."""
        return not self.ddp_training_mode or self.ddp_rank == 0

    def run_after_fit(self, action: Callable[[], None]) -> None:
        """Run something when the running fit is over, however it ends.

        Args:
            action: Called without arguments; the last one registered runs first.
        """
        if self._after_fit is not None:
            self._after_fit.callback(action)

    @contextmanager
    def _running(self) -> Iterator[None]:
        try:
            with ExitStack() as self._after_fit:
                yield
        finally:
            self._after_fit = None

    def _to_device(self) -> None:
        self.model = self.model.to(self.device)
        if hasattr(self.criterion, "to"):
            self.criterion = self.criterion.to(self.device)

    def _set_target(self, num_epochs: int, num_iterations: int, grad_accumulation: int) -> None:
        """Take over what ``fit`` was asked for, and settle what earlier fits left behind."""
        self.num_epochs, self.num_iterations, self.grad_accumulation = num_epochs, num_iterations, grad_accumulation
        if num_iterations > 0:
            if self.quirks.fixed("Q02"):
                self._iteration_base = self.total_iteration_idx + 1
            elif self.total_iteration_idx >= 0:
                trained = self.total_iteration_idx + 1
                self.quirks.warn("Q02", f"num_iterations={num_iterations} includes the {trained} of earlier fits")
        self._settle_epoch()
        if num_iterations > 0:
            self.num_epochs = self._epochs_for_iterations()
        if self.early_stop:
            if self.quirks.fixed("Q05"):
                self.early_stop = False
            else:
                self.quirks.warn(
                    "Q05", "early_stop is still set from an earlier fit, so this fit runs one epoch at most"
                )
        if self.quirks.fixed("Q16"):
            self.loss_batch_accum = []
            self._sample_counts = None if self._sample_counts is None else []
        if self.quirks.fixed("Q10") and self.total_iteration_idx >= 0:
            self._clear_gradients()
        elif self._window_open:
            self.quirks.warn("Q10")
        self._window_open = False
        self._leak_looked_for = False
        self._last_window_by_its_own_size = self.quirks.fixed("Q11")

    def _settle_epoch(self) -> None:
        if not self._epoch_ran:
            return
        if self.quirks.fixed("Q01"):
            self.epoch += 1
            self._epoch_ran = False
        elif self.num_iterations or self.epoch < (self.num_epochs or 0):
            self.quirks.warn("Q01", f"this fit runs epoch {self.epoch} again, which an earlier fit ran")

    def _epochs_for_iterations(self) -> int | None:
        """Return the epoch that a target of iterations stops before; ``None`` while the loader has no length."""
        length = _evaluation.length_of(self.train_loader)
        if not length:
            return None
        epochs = plan.epochs_for(self.num_iterations or 0, length)
        return self.epoch + epochs if self.quirks.fixed("Q02") else epochs

    def _epochs_to_run(self) -> tuple[int, int]:
        """Read the range of epochs, after ``on_train_begin`` has had its chance to move it or to swap the loaders."""
        if self.num_epochs is None or self.epoch < self.num_epochs:
            raise_problems(plan.loader_problems(self, self.num_iterations, self.grad_accumulation))
        if self.num_iterations and (self.num_epochs is None or self.quirks.fixed("Q03")):
            self.num_epochs = self._epochs_for_iterations()
        self._warn_of_averages()
        return self.epoch, self.num_epochs or 0

    def _warn_of_averages(self) -> None:
        """Warn of the oddities that follow from the loader and the window, where they change a number."""
        loader, window = self.train_loader, self.grad_accumulation
        if window > 1 and len(loader) % window and not self.quirks.fixed("Q11"):
            self.quirks.warn(
                "Q11",
                f"{len(loader)} batches in windows of {window}: the last window has {len(loader) % window}, and"
                f" its losses are divided by {window} all the same",
            )
        if self._auto_eval() is not False and _evaluation.is_shuffled(loader) and not self.quirks.fixed("Q18"):
            self.quirks.warn("Q18")
        if _evaluation.has_smaller_batch(loader) and not self.quirks.fixed("Q19"):
            self.quirks.warn("Q19")

    def _iterations_reached(self) -> bool:
        target = self.num_iterations or 0
        return target > 0 and self.total_iteration_idx + 1 == self._iteration_base + target

    def _auto_eval(self) -> bool | int:
        value = plan.auto_eval(self.end_auto_eval, self.quirks.fixed("Q17"))
        if value is False and self.end_auto_eval not in (False, None):
            self.quirks.warn("Q17", f"end_auto_eval={self.end_auto_eval!r} is neither a bool nor an int, so it is off")
        return bool(value) if value is None else value

    def _amp_is_on(self, use_amp: Any) -> bool:
        on = use_amp is True or isinstance(use_amp, dict)
        if not on and use_amp:
            on = self.quirks.fixed("Q21")
            if not on:
                self.quirks.warn("Q21", f"use_amp={use_amp!r} is neither True nor a dict, so it is off")
        if on and not torch.cuda.is_available():
            self.quirks.warn("Q22", "there is no CUDA device, so use_amp trains in float32")
        return on

    def _window(self) -> int:
        """Return what a batch's loss is divided by."""
        window = self.grad_accumulation
        if window == 1 or not self._last_window_by_its_own_size:
            return window
        batches = len(self.train_loader)
        rest = batches % window
        return rest if self.iteration >= batches - rest else window

    def _averaged_over(self, losses: Sequence[Any], samples: Sequence[int]) -> Sequence[Any]:
        return _evaluation.weighted_by_samples(losses, samples) if self.quirks.fixed("Q19") else losses

    def _check_single_loss(self, loss: torch.Tensor) -> None:
        if loss.numel() != 1:
            raise LossError(
                f"get_loss returned a tensor of shape {tuple(loss.shape)}. Return one number for the batch, such as its"
                " mean, or a MultiLoss of several."
            )
        if self.num_optimizers > 1:
            raise LossError(
                f"get_loss returned a single loss, and there are {self.num_optimizers} optimizers: each would"
                " back-propagate it again. Return a MultiLoss with one loss for each, or pass a single optimizer."
            )

    def _settle_surplus_losses(self, losses: MultiLoss) -> None:
        """Warn of, or with the switch back-propagate, the losses that no optimizer asks for."""
        surplus = [index for index in losses.optimizer_loss_map if index >= self.num_optimizers]
        if not surplus:
            return
        quirk = "Q42" if self.num_optimizers == 1 else "Q43"
        if not self.quirks.fixed(quirk):
            names = ", ".join(repr(losses.optimizer_loss_map[index]) for index in surplus)
            self.quirks.warn(quirk, f"no optimizer back-propagates the losses {names}")
            return
        for index in surplus:
            losses.backward(index, self.iteration, self.amp_scaler)

    def _settle_leaked_gradients(self) -> None:
        """Warn of, or with the switch clear, gradients that a later loss left on an earlier optimizer's parameters."""
        if self.quirks.fixed("Q46"):
            self._clear_gradients()
        elif not self._leak_looked_for:
            self._leak_looked_for = True
            if any(_has_gradient(optimizer) for optimizer in self.optimizer.optimizer_list):
                self.quirks.warn("Q46")

    def _clear_gradients(self) -> None:
        if isinstance(self.optimizer, MultiOptimizer):
            for index in range(len(self.optimizer)):
                self.optimizer.zero_grad(index, self.iteration)
        elif self.optimizer is not None:
            self.optimizer.zero_grad()

    def _note_skipped_step(self, optimizer_idx: int) -> None:
        skipped = self.amp_scaler.last_step_skipped
        self.last_update_skipped = skipped or (optimizer_idx > 0 and self.last_update_skipped)
        if skipped and not self.quirks.fixed("Q24"):
            self.quirks.warn("Q24")


def _has_gradient(optimizer: Any) -> bool:
    parameters = (parameter for group in getattr(optimizer, "param_groups", []) for parameter in group["params"])
    return any(parameter.grad is not None and bool(parameter.grad.any()) for parameter in parameters)
