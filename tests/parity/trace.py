"""The event log of a program, and the observing callbacks that write it."""

from __future__ import annotations

from typing import Any

from tests.parity.parts_optim import learning_rates


class Trace:
    """An ordered log of plain entries; parts of a program write to it, the comparison reads it."""

    def __init__(self) -> None:
        self.entries: list[list[Any]] = []

    def note(self, *entry: Any) -> None:
        """Append one entry."""
        self.entries.append(list(entry))


class CallbackPart:
    """What the library sets on a callback; the base of all parts that become callbacks."""

    train_loop_obj: Any
    message_service: Any
    callback_name: str
    trace: Trace

    def seen(self, hook: str, *more: Any) -> None:
        """Log one hook with the loop's counters and the model's mode."""
        loop = self.train_loop_obj
        self.trace.note(
            self.callback_name,
            hook,
            loop.epoch,
            loop.iteration,
            loop.total_iteration_idx,
            loop.model.training,
            loop.early_stop,
            *more,
        )


class EveryHook(CallbackPart):
    """Logs every hook."""

    def on_train_loop_registration(self) -> None:
        self.seen("registration")

    def on_train_begin(self) -> None:
        self.seen("train_begin")

    def on_train_end(self) -> None:
        self.seen("train_end")

    def on_epoch_begin(self) -> None:
        self.seen("epoch_begin")

    def on_epoch_end(self) -> None:
        self.seen("epoch_end", list(self.train_loop_obj.train_history.keys()))

    def on_batch_begin(self) -> None:
        self.seen("batch_begin")

    def on_batch_end(self) -> None:
        loop = self.train_loop_obj
        last = loop.loss_batch_accum[-1]
        loss = {name: float(value) for name, value in last.items()} if hasattr(last, "items") else float(last)
        self.seen("batch_end", learning_rates(loop.optimizer), loss, len(loop.loss_batch_accum))

    def on_after_gradient_update(self, optimizer_idx: int) -> None:
        grads = [weight.grad for weight in self.train_loop_obj.model.parameters()]
        sizes = [None if grad is None else float(grad.abs().sum()) for grad in grads]
        self.seen("gradient_update", optimizer_idx, sizes)

    def on_after_optimizer_step(self) -> None:
        self.seen("optimizer_step")

    def on_after_batch_prediction(
        self, y_pred_batch: Any, y_test_batch: Any, metadata_batch: Any, dataset_info: Any
    ) -> None:
        keys = None if metadata_batch is None else sorted(metadata_batch)
        self.seen("batch_prediction", list(y_pred_batch.shape), list(y_test_batch.shape), keys, dataset_info)


class EpochHooks(CallbackPart):
    """Logs nothing between the batches, so that the loop need not stop there."""

    def on_train_begin(self) -> None:
        self.seen("train_begin")

    def on_epoch_end(self) -> None:
        self.seen("epoch_end", learning_rates(self.train_loop_obj.optimizer))

    def on_train_end(self) -> None:
        self.seen("train_end")
