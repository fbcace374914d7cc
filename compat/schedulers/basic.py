"""Learning rate schedulers as callbacks: torch's own schedulers, stepped by the training loop."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.lr_scheduler import LambdaLR, MultiStepLR, ReduceLROnPlateau, StepLR

from compat._loop_state import state_of
from compat.callbacks.abstract import AbstractCallback
from compat.callbacks.stopping import _watched_values
from compat.exceptions import (
    InvalidArgumentError,
    InvalidTypeError,
    MissingAttributeError,
    MissingMetricError,
)
from compat.losses import MultiLoss, MultiOptimizer

if TYPE_CHECKING:
    from compat.train_loop import TrainLoop

__all__ = [
    "AbstractScheduler",
    "GeneralLRSchedulerCallback",
    "LambdaLRScheduler",
    "MultiStepLRScheduler",
    "ReduceLROnPlateauMetricScheduler",
    "ReduceLROnPlateauScheduler",
    "StepLRScheduler",
]


class AbstractScheduler:
    """What the loop and its checkpoints know of a scheduler.

    Attributes:
        scheduler: The torch scheduler, from the registration on.
    """

    def __init__(self) -> None:
        """Start without a torch scheduler."""
        self.scheduler: Any = None

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the torch scheduler."""
        state: dict[str, Any] = self._registered_scheduler().state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of the torch scheduler.

        Args:
            state_dict: What :meth:`state_dict` returned.
        """
        self._registered_scheduler().load_state_dict(state_dict)

    def _registered_scheduler(self) -> Any:
        if self.scheduler is None:
            raise MissingAttributeError(
                f"{type(self).__name__} has no torch scheduler yet, thus no state. It gets one when it is registered: "
                "pass it to fit(callbacks=[...]) or to callbacks_handler.register_callbacks([...]) first."
            )
        return self.scheduler


class GeneralLRSchedulerCallback(AbstractScheduler, AbstractCallback):
    """Any torch scheduler, stepped after each epoch.

    Args:
        scheduler_class: The torch scheduler's class.
        optimizer_idx: With a ``MultiOptimizer`` the index of the optimizer it is for. An optimizer itself will do too.
        kwargs: For the torch scheduler.

    Attributes:
        scheduler_args: ``kwargs``.
    """

    def __init__(self, scheduler_class: Callable[..., Any], optimizer_idx: int | None = None, **kwargs: Any) -> None:
        """Keep the arguments; the torch scheduler is built at registration."""
        AbstractScheduler.__init__(self)
        AbstractCallback.__init__(self, "General learn rate scheduler")
        self.scheduler_args = kwargs
        self.scheduler_class = scheduler_class
        self.optimizer_idx = optimizer_idx

    def register_train_loop_object(self, train_loop_obj: "TrainLoop") -> AbstractCallback:
        """Build the torch scheduler on the loop's optimizer.

        Args:
            train_loop_obj: The training loop.

        Returns:
            This callback.

        Raises:
            InvalidTypeError: ``optimizer_idx`` and the loop's optimizer do not go together.
            InvalidArgumentError: There is no optimizer of that index.
        """
        optimizer = self._find_optimizer(train_loop_obj.optimizer)
        self.scheduler = self.scheduler_class(optimizer, **self.scheduler_args)
        return super().register_train_loop_object(train_loop_obj)

    def _find_optimizer(self, optimizer: Any) -> Any:
        index: Any = self.optimizer_idx
        name = type(self).__name__
        if isinstance(optimizer, MultiOptimizer) and (index is None or isinstance(index, bool | str)):
            raise InvalidTypeError(
                f"MultiOptimizer is not an Optimizer: {name}(optimizer_idx={index!r}) does not say which of its "
                f"{len(optimizer)} optimizers it is for. Pass optimizer_idx from 0 to {len(optimizer) - 1}."
            )
        if index is None:
            return optimizer
        if type(index) is not int:
            if isinstance(index, bool | str):
                raise InvalidTypeError(
                    f"{name}(optimizer_idx={index!r}) is a {type(index).__name__}, not an Optimizer. "
                    "Pass the index of an optimizer, or the optimizer itself."
                )
            return index
        if not isinstance(optimizer, MultiOptimizer):
            raise InvalidTypeError(
                f"{name}(optimizer_idx={index}) names one of several optimizers, and the loop has a single "
                f"{type(optimizer).__name__}. Leave optimizer_idx out."
            )
        if not -len(optimizer) <= index < len(optimizer):
            raise InvalidArgumentError(
                f"{name}(optimizer_idx={index}) names an optimizer that the MultiOptimizer of {len(optimizer)} "
                f"does not have. Pass optimizer_idx from 0 to {len(optimizer) - 1}."
            )
        return optimizer[index]

    def on_epoch_end(self) -> None:
        """Step the scheduler."""
        self.scheduler.step()


class ReduceLROnPlateauScheduler(GeneralLRSchedulerCallback):
    """``ReduceLROnPlateau`` on the loss over the validation set.

    Args:
        main_multi_loss: With a :class:`compat.losses.MultiLoss` the name of the loss to go by; the mean of all
            otherwise.
        kwargs: For the torch scheduler.
    """

    def __init__(self, main_multi_loss: Any = None, **kwargs: Any) -> None:
        """Keep the arguments; the torch scheduler is built at registration."""
        super().__init__(ReduceLROnPlateau, **kwargs)
        self.callback_name = "Reduce learn rate if the model hits the plateau"
        self.main_multi_loss = main_multi_loss
        self._recorded_at: int | None = None
        self._recorded = 0

    def on_epoch_end(self) -> None:
        """Evaluate the validation loss and step the scheduler with it.

        Raises:
            MissingMetricError: There is no loss of the name ``main_multi_loss``.
        """
        loss = self.train_loop_obj.evaluate_loss_on_validation_set()
        self._record(loss)
        self.scheduler.step(self._main(loss) if isinstance(loss, MultiLoss) else loss)

    def _main(self, loss: MultiLoss) -> Any:
        if self.main_multi_loss is None:
            # In the default precision, as the old loop takes this mean; the losses themselves are doubles.
            return torch.tensor([float(one) for one in loss.values()], dtype=torch.get_default_dtype()).mean()
        if self.main_multi_loss not in loss:
            raise MissingMetricError(
                f"ReduceLROnPlateauScheduler(main_multi_loss={self.main_multi_loss!r}) names none of the losses "
                f"{', '.join(map(repr, loss))}. Name one of them, or leave it out for their mean."
            )
        return loss[self.main_multi_loss]

    def _record(self, loss: Any) -> None:
        """See to a validation loss that the loop has not put into the history in this epoch (Q92)."""
        loop = self.train_loop_obj
        if loop.total_iteration_idx == self._recorded_at:
            # Registered twice (Q07), it comes here twice in one epoch.
            return
        self._recorded_at = loop.total_iteration_idx
        values = (
            {f"val_loss_{name}": one for name, one in loss.items()}
            if isinstance(loss, MultiLoss)
            else {"val_loss": loss}
        )
        history = loop.train_history
        first = next(iter(values))
        recorded = len(history[first]) if first in history else 0
        if recorded == self._recorded:
            quirks = state_of(loop).quirks
            quirks.met("Q92")
            if quirks.fixed("Q92"):
                for name, value in values.items():
                    loop.insert_metric_result_into_history(name, float(value))
                recorded += 1
        self._recorded = recorded


class ReduceLROnPlateauMetricScheduler(GeneralLRSchedulerCallback):
    """``ReduceLROnPlateau`` on a metric of the training history.

    Args:
        metric_name: The metric.
        kwargs: For the torch scheduler; ``mode="max"`` for a metric that should grow.
    """

    def __init__(self, metric_name: str, **kwargs: Any) -> None:
        """Keep the arguments; the torch scheduler is built at registration."""
        super().__init__(ReduceLROnPlateau, **kwargs)
        self.callback_name = "Reduce learn rate if the model hits the plateau based on metric in TrainLoop history"
        self.metric_name = metric_name

    def on_epoch_end(self) -> None:
        """Step the scheduler with the latest value of the metric.

        Raises:
            InvalidArgumentError: The history does not hold the metric.
            EmptyMetricError: It holds no value of it yet.
        """
        try:
            value = _watched_values(self.train_loop_obj, self.metric_name)[-1]
        except MissingMetricError as error:
            raise InvalidArgumentError(str(error)) from error
        self.scheduler.step(value)


class LambdaLRScheduler(GeneralLRSchedulerCallback):
    """``LambdaLR``: the learning rate is multiplied by a function of the step.

    Args:
        lr_lambda: Takes the number of steps so far, returns the multiplier; or a list of such, one a parameter group.
        execute_epoch_end: Step after each epoch.
        execute_batch_end: Step after each batch with an optimizer update.
        kwargs: For the torch scheduler.
    """

    def __init__(
        self,
        lr_lambda: Callable[[int], float] | list[Callable[[int], float]],
        execute_epoch_end: bool = True,
        execute_batch_end: bool = False,
        **kwargs: Any,
    ) -> None:
        """Keep the arguments; the torch scheduler is built at registration."""
        super().__init__(LambdaLR, **kwargs, lr_lambda=lr_lambda)
        self.callback_name = ""
        self.execute_epoch_end = execute_epoch_end
        self.execute_batch_end = execute_batch_end

    def on_epoch_end(self) -> None:
        """Step the scheduler, if this point was chosen."""
        if self.execute_epoch_end:
            self.scheduler.step()

    def on_batch_end(self) -> None:
        """Step the scheduler, if this point was chosen and the optimizer has just been updated."""
        loop = self.train_loop_obj
        if self.execute_batch_end and loop.should_execute_optimizer_update():
            # Q24: a step that the gradient scaler skipped for an overflow counts, unless the switch says otherwise.
            state = state_of(loop)
            if state.last_update_skipped:
                state.quirks.met("Q24")
                if state.quirks.fixed("Q24"):
                    return
            self.scheduler.step()


class StepLRScheduler(GeneralLRSchedulerCallback):
    """``StepLR``: the learning rate drops every few epochs.

    Args:
        step_size: How many epochs lie between two drops.
        kwargs: For the torch scheduler.
    """

    def __init__(self, step_size: int, **kwargs: Any) -> None:
        """Keep the arguments; the torch scheduler is built at registration."""
        super().__init__(StepLR, **kwargs, step_size=step_size)
        self.callback_name = ""


class MultiStepLRScheduler(GeneralLRSchedulerCallback):
    """``MultiStepLR``: the learning rate drops after the given epochs.

    Args:
        milestones_list: The epochs.
        kwargs: For the torch scheduler.
    """

    def __init__(self, milestones_list: Sequence[int], **kwargs: Any) -> None:
        """Keep the arguments; the torch scheduler is built at registration."""
        super().__init__(MultiStepLR, **kwargs, milestones=milestones_list)
        self.callback_name = ""
