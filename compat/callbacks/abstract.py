"""The base of all callbacks written for the old loop."""

from typing import TYPE_CHECKING, Any

from compat.messages import MessageService

if TYPE_CHECKING:
    from compat.train_loop import TrainLoop

__all__ = ["AbstractCallback"]


# What a Trainer asks its callbacks for first.
_OF_LIGHTNING = ("on_exception", "on_fit_start", "setup", "state_dict", "state_key", "teardown")


class AbstractCallback:
    """A callback: override the hooks you need.

    A hook whose body is empty is never called. The two gradient hooks are called only while
    ``train_loop_obj.grad_cb_used`` is true, which a callback that has them sets at its registration.

    Args:
        callback_name: A name for listings.
        execution_order: Callbacks run by ascending order, those with the same order as they were registered.
        device_idx_execution: Run only in the process of this GPU; ``None`` for all.

    Attributes:
        train_loop_obj: The training loop, from the registration on. Set by :meth:`register_train_loop_object`.
        message_service: The loop's messages, from the registration on.
    """

    def __init__(self, callback_name: str, execution_order: int = 0, device_idx_execution: int | None = None) -> None:
        """Keep the arguments; there is no training loop yet."""
        self.callback_name = callback_name
        self.execution_order = execution_order
        # No hook runs before the registration: subclasses may take both for what they are then.
        self.train_loop_obj: TrainLoop = None  # type: ignore[assignment]
        self.message_service: MessageService = None  # type: ignore[assignment]
        self.device_idx_execution = device_idx_execution

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Say what to do where Lightning looks for a hook of its own: in a Trainer that was given this callback."""
            hint = ""
            if name in _OF_LIGHTNING:
                hint = (
                    ". It is a callback of the old kind: a plain Trainer takes it as"
                    f" compat.as_lightning_callback({type(self).__name__}(...))"
                )
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{hint}")

    def register_train_loop_object(self, train_loop_obj: "TrainLoop") -> "AbstractCallback":
        """Take the training loop, and run :meth:`on_train_loop_registration`.

        Args:
            train_loop_obj: The training loop.

        Returns:
            This callback. An override has to return it too.
        """
        self.train_loop_obj = train_loop_obj
        self.message_service = train_loop_obj.message_service
        self.on_train_loop_registration()
        return self

    def on_train_loop_registration(self) -> None:
        """Run once, when the callback is registered."""

    def on_epoch_begin(self) -> None:
        """Run before the first batch of an epoch."""

    def on_epoch_end(self) -> None:
        """Run after an epoch, when its losses are in the history."""

    def on_train_begin(self) -> None:
        """Run before the first epoch of a fit."""

    def on_train_end(self) -> None:
        """Run after the last epoch of a fit."""

    def on_batch_begin(self) -> None:
        """Run before each training batch."""

    def on_batch_end(self) -> None:
        """Run after each training batch; on a batch with an optimizer step the gradients are cleared by then."""

    def on_after_gradient_update(self, optimizer_idx: int) -> None:
        """Run after each backward pass, while ``train_loop_obj.grad_cb_used`` is true.

        Args:
            optimizer_idx: The index of the optimizer whose loss was back-propagated.
        """

    def on_after_optimizer_step(self) -> None:
        """Run after each optimizer step, while ``train_loop_obj.grad_cb_used`` is true."""

    def on_multiprocess_start(self) -> None:
        """Run once in each training process, when several are started."""

    def on_after_batch_prediction(
        self, y_pred_batch: Any, y_test_batch: Any, metadata_batch: Any, dataset_info: Any
    ) -> None:
        """Run after the predictions of a batch, if the prediction was asked to execute callbacks.

        Args:
            y_pred_batch: Predictions, as the model gave them.
            y_test_batch: Targets, as the model gave them.
            metadata_batch: What else the model gave.
            dataset_info: What the caller said of the data set.
        """
