"""Callbacks that a user of the old library would write, as parts; ``callbacks`` holds the table of all callbacks."""

from __future__ import annotations

import functools
import random
from typing import Any

import numpy as np
import torch

from tests.parity.parts_optim import learning_rates
from tests.parity.trace import CallbackPart


def seed_everything(seed: int) -> None:
    """Seed the three global generators."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


class OnHook(CallbackPart):
    """Runs ``act`` at one hook, named by the attribute ``at``; only if ``when`` matches, if that is given.

    Attributes:
        at: ``train_begin``, ``epoch_end``, ``batch_begin`` ...
        when: a value of the counter ``counted_by`` at which to act; ``None`` acts every time.
        counted_by: ``epoch``, ``iteration`` or ``total_iteration_idx``.
    """

    at = "epoch_end"
    when: int | None = None
    counted_by = "epoch"
    settings: dict[str, Any]

    def act(self) -> None:
        raise NotImplementedError

    def _reach(self, hook: str) -> None:
        if hook != self.at:
            return
        if self.when is None or getattr(self.train_loop_obj, self.counted_by) == self.when:
            self.act()

    def on_train_loop_registration(self) -> None:
        self._reach("registration")

    def on_train_begin(self) -> None:
        self._reach("train_begin")

    def on_train_end(self) -> None:
        self._reach("train_end")

    def on_epoch_begin(self) -> None:
        self._reach("epoch_begin")

    def on_epoch_end(self) -> None:
        self._reach("epoch_end")

    def on_batch_begin(self) -> None:
        self._reach("batch_begin")

    def on_batch_end(self) -> None:
        self._reach("batch_end")


class Seeding(OnHook):
    """Seeds all generators."""

    def act(self) -> None:
        seed_everything(self.settings["seed"])


class Drawing(OnHook):
    """Draws from all three global generators and logs what came."""

    def act(self) -> None:
        draws = [float(torch.rand(())), float(np.random.rand()), random.random()]
        self.seen("draw", draws)


class EvalMode(OnHook):
    """Puts the model in evaluation mode and leaves it there."""

    def act(self) -> None:
        self.train_loop_obj.model.eval()


class SwapLoader(OnHook):
    """Gives the loop another loader."""

    def act(self) -> None:
        setattr(self.train_loop_obj, self.settings["attribute"], self.settings["loader"])


class SetLoop(OnHook):
    """Sets an attribute of the loop."""

    def act(self) -> None:
        setattr(self.train_loop_obj, self.settings["attribute"], self.settings["value"])


class Ask(OnHook):
    """Calls methods of the loop and logs a short form of what they return."""

    def act(self) -> None:
        for method in self.settings["methods"]:
            self.seen(method, self._short(getattr(self.train_loop_obj, method)(**self.settings["arguments"])))

    def _short(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return [str(value.dtype), list(value.shape), float(value.double().sum())]
        if isinstance(value, list | tuple):
            return [self._short(item) for item in value]
        if hasattr(value, "items"):
            return {str(name): self._short(item) for name, item in value.items()}
        return value if isinstance(value, int | float | str | None) else type(value).__name__


class Raise(OnHook):
    """Raises once, then lets everything pass."""

    done = False

    def act(self) -> None:
        if not self.done:
            self.done = True
            kinds = {"error": ArithmeticError, "interrupt": KeyboardInterrupt, "exit": StopIteration}
            raise kinds[self.settings["kind"]]("raised on purpose")


class HistoryWriter(OnHook):
    """Writes a metric of its own into the history."""

    def act(self) -> None:
        loop = self.train_loop_obj
        loop.insert_metric_result_into_history(self.settings["metric"], 0.25 * loop.epoch + 0.5 * loop.iteration)


class FormatterByHand(OnHook):
    """Doubles the last value of a metric, in the epochs that ``end_auto_eval`` does not leave out."""

    def act(self) -> None:
        loop = self.train_loop_obj
        if loop.epoch % self.settings.get("every", 1) == 0:
            last = loop.train_history[self.settings["source"]][-1]
            loop.insert_metric_result_into_history("doubled", 2.0 * last)


class RateEditor(OnHook):
    """Sets the learning rate by hand, as early training scripts did."""

    def act(self) -> None:
        for group in self.train_loop_obj.optimizer.param_groups:
            group["lr"] = group["lr"] * self.settings["factor"]
        self.seen("rates", learning_rates(self.train_loop_obj.optimizer))


class WeightEditor(OnHook):
    """Shrinks the weights in place, between the loop's own steps."""

    def act(self) -> None:
        with torch.no_grad():
            for weight in self.train_loop_obj.model.parameters():
                weight.mul_(self.settings["factor"])


class StopTraining(OnHook):
    """Asks for the end of the training."""

    def act(self) -> None:
        self.train_loop_obj.early_stop = True


class Messenger(OnHook):
    """Writes a message; its reader may be another callback or another hook."""

    def act(self) -> None:
        loop = self.train_loop_obj
        settings = [self.settings["handling"][name] for name in self.settings["how"]]
        value = [loop.epoch, loop.total_iteration_idx]
        if settings:
            self.message_service.write_message(self.settings["topic"], value, msg_handling_settings=settings)
        else:
            self.message_service.write_message(self.settings["topic"], value)


class MessageReader(OnHook):
    """Reads and logs messages."""

    def act(self) -> None:
        self.seen("messages", self.message_service.read_messages(self.settings["topic"]))


class RegistryReader(OnHook):
    """Logs what the loop knows about its own registry and length."""

    def act(self) -> None:
        loop = self.train_loop_obj
        handler = loop.callbacks_handler
        self.seen(
            "registry",
            [callback.callback_name for callback in loop.callbacks],
            [type(scheduler).__name__ for scheduler in loop.get_schedulers()],
            loop.get_num_training_steps(),
            len(handler),
            "EarlyStopping" in handler,
            loop.is_main_process(),
            [loop.num_epochs, loop.num_iterations, loop.grad_accumulation, loop.num_optimizers],
        )


class GradientScaler(CallbackPart):
    """A gradient callback without the library's gradient base: it asks for the gradient hooks itself."""

    factor = 0.5

    def on_train_loop_registration(self) -> None:
        self.train_loop_obj.grad_cb_used = True

    def on_after_gradient_update(self, optimizer_idx: int) -> None:
        for weight in self.train_loop_obj.model.parameters():
            if weight.grad is not None:
                weight.grad.mul_(self.factor)
        self.seen("scaled", optimizer_idx)

    def on_after_optimizer_step(self) -> None:
        self.seen("stepped")


class SilentGradient(CallbackPart):
    """Has gradient hooks but never asks for them (quirk Q88)."""

    def on_after_gradient_update(self, optimizer_idx: int) -> None:
        self.seen("heard", optimizer_idx)

    def on_after_optimizer_step(self) -> None:
        self.seen("heard a step")


class Plain(CallbackPart):
    """Has no hooks of its own; programs put hooks on the instance."""


def note_hook(trace: Any, label: str) -> None:
    """A hook body that can be bound with ``functools.partial``."""
    trace.note(label)


def with_partial_hook(callback: Any) -> Any:
    """Replace a hook on the instance by something that has no byte code."""
    callback.on_epoch_end = functools.partial(note_hook, callback.trace, "partial hook")
    return callback


def with_function_hook(callback: Any) -> Any:
    """Replace a hook on the instance by a plain function, before registration."""
    trace = callback.trace

    def on_epoch_end() -> None:
        trace.note("partial hook")

    callback.on_epoch_end = on_epoch_end
    return callback
