"""``TrainLoop`` subclasses as users write them: each overrides documented template methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from tests.parity.trace import Trace

if TYPE_CHECKING:

    class LoopBase:
        """The template methods of ``TrainLoop``, as far as the parts call them."""

        model: Any
        device: Any
        criterion: Any
        optimizer: Any
        amp_scaler: Any
        train_loader: Any
        callbacks_handler: Any
        message_service: Any
        epoch: int
        iteration: int
        total_iteration_idx: int
        early_stop: bool
        grad_accumulation: int
        loss_batch_accum: list[Any]

        def fit(self, *args: Any, **more: Any) -> Any: ...
        def _train(
            self, num_epochs: Any, num_iterations: Any, callbacks: Any = None, grad_accumulation: Any = 1
        ) -> Any: ...
        def _calculate_batch_loss(self, batch_data: Any) -> Any: ...
        def _backward_pass(self, loss_batch: Any, optimizer_idx: int) -> None: ...
        def _optimizer_step(self, optimizer_idx: int) -> None: ...
        def _optimizer_zero_grad(self, optimizer_idx: int) -> None: ...
        def should_execute_optimizer_update(self) -> bool: ...
        def auto_execute_end_of_epoch(self) -> None: ...
        def auto_execute_end_of_training(self) -> None: ...
        def parse_loss(self, loss_record: Any) -> Any: ...
        def _print_save_loss(self, loss_parsed: Any, loss_type_name: str, loss_print_description: str) -> None: ...
        def insert_metric_result_into_history(self, metric_name: str, metric_result: Any) -> None: ...
        def predict_with_model(self, *args: Any, **more: Any) -> Any: ...
        def evaluate_model_loss(self, *args: Any, **more: Any) -> Any: ...
        def is_main_process(self) -> bool: ...

else:
    LoopBase = object


class LoopPart(LoopBase):
    """Base of all parts; ``trace`` is set on the class that is made of the part."""

    trace: Trace


class Verbs(LoopPart):
    """Logs every template method and leaves the work to the library."""

    def _calculate_batch_loss(self, batch_data: Any) -> Any:
        loss = super()._calculate_batch_loss(batch_data)
        self.trace.note("loss", self.total_iteration_idx, len(self.loss_batch_accum))
        return loss

    def _backward_pass(self, loss_batch: Any, optimizer_idx: int) -> None:
        self.trace.note("backward", optimizer_idx)
        super()._backward_pass(loss_batch, optimizer_idx)

    def _optimizer_step(self, optimizer_idx: int) -> None:
        self.trace.note("step", optimizer_idx)
        super()._optimizer_step(optimizer_idx)

    def _optimizer_zero_grad(self, optimizer_idx: int) -> None:
        self.trace.note("zero", optimizer_idx)
        super()._optimizer_zero_grad(optimizer_idx)

    def should_execute_optimizer_update(self) -> bool:
        answer = super().should_execute_optimizer_update()
        self.trace.note("update", bool(answer))
        return answer

    def auto_execute_end_of_epoch(self) -> None:
        self.trace.note("end of epoch", len(self.loss_batch_accum))
        super().auto_execute_end_of_epoch()

    def auto_execute_end_of_training(self) -> None:
        self.trace.note("end of training")
        super().auto_execute_end_of_training()

    def parse_loss(self, loss_record: Any) -> Any:
        self.trace.note("parse", len(loss_record))
        return super().parse_loss(loss_record)

    def _print_save_loss(self, loss_parsed: Any, loss_type_name: str, loss_print_description: str) -> None:
        self.trace.note("print", loss_type_name, loss_print_description)
        super()._print_save_loss(loss_parsed, loss_type_name, loss_print_description)

    def insert_metric_result_into_history(self, metric_name: str, metric_result: Any) -> None:
        self.trace.note("insert", metric_name, type(metric_result).__name__)
        super().insert_metric_result_into_history(metric_name, metric_result)


class ScaledLoss(LoopPart):
    """Weighs later epochs more; the accumulated record keeps the library's own values."""

    def _calculate_batch_loss(self, batch_data: Any) -> Any:
        return super()._calculate_batch_loss(batch_data) * (1.0 + 0.5 * self.epoch)


class OwnLoss(LoopPart):
    """Replaces the loss step completely, the record included, and adds a penalty."""

    def _calculate_batch_loss(self, batch_data: Any) -> Any:
        loss = self.model.get_loss(batch_data, self.criterion, self.device)
        loss = loss + 0.01 * sum(weight.abs().sum() for weight in self.model.parameters())
        self.loss_batch_accum.append(loss.detach())
        return loss / self.grad_accumulation


class OwnBackward(LoopPart):
    """Calls backward by hand and clips without a callback."""

    def _backward_pass(self, loss_batch: Any, optimizer_idx: int) -> None:
        del optimizer_idx
        loss_batch.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 0.5)


class FailingBackward(LoopPart):
    """Fails between the first loss and its gradients."""

    def _backward_pass(self, loss_batch: Any, optimizer_idx: int) -> None:
        raise ArithmeticError("the backward pass failed on purpose")


class NoisyStep(LoopPart):
    """Adds noise to the gradients before the step of an update batch."""

    def _optimizer_step(self, optimizer_idx: int) -> None:
        if self.should_execute_optimizer_update():
            for weight in self.model.parameters():
                weight.grad.add_(0.01 * torch.randn_like(weight.grad))
        super()._optimizer_step(optimizer_idx)


class OwnStep(LoopPart):
    """Steps by hand on every batch, whatever the window says."""

    def _optimizer_step(self, optimizer_idx: int) -> None:
        del optimizer_idx
        self.optimizer.step()


class LazyZero(LoopPart):
    """Keeps gradients over two updates."""

    def _optimizer_zero_grad(self, optimizer_idx: int) -> None:
        if self.total_iteration_idx % 2 == 1:
            super()._optimizer_zero_grad(optimizer_idx)


class EveryThird(LoopPart):
    """Updates at every third batch of the whole training, across the ends of epochs."""

    def should_execute_optimizer_update(self) -> bool:
        return (self.total_iteration_idx + 1) % 3 == 0


class EndOfEpoch(LoopPart):
    """Adds a record of its own after the library's, and skips the evaluation in odd epochs."""

    def auto_execute_end_of_epoch(self) -> None:
        if self.epoch % 2 == 0:
            super().auto_execute_end_of_epoch()
        else:
            self.loss_batch_accum = []
        norm = sum(float(weight.detach().square().sum()) for weight in self.model.parameters())
        self.insert_metric_result_into_history("weight_norm", norm)


class EndOfTraining(LoopPart):
    """Evaluates twice at the end."""

    def auto_execute_end_of_training(self) -> None:
        super().auto_execute_end_of_training()
        super().auto_execute_end_of_training()


class LastLoss(LoopPart):
    """Reports the last batch instead of the mean."""

    def parse_loss(self, loss_record: Any) -> Any:
        return super().parse_loss(loss_record[-1:])


class PrefixedSave(LoopPart):
    """Stores losses under other names and prints other labels."""

    def _print_save_loss(self, loss_parsed: Any, loss_type_name: str, loss_print_description: str) -> None:
        super()._print_save_loss(loss_parsed, f"my_{loss_type_name}", f"MY {loss_print_description}")


class RoundedHistory(LoopPart):
    """Rounds everything that goes into the history."""

    def insert_metric_result_into_history(self, metric_name: str, metric_result: Any) -> None:
        super().insert_metric_result_into_history(metric_name, round(float(metric_result), 2))


class AroundTrain(LoopPart):
    """Wraps the training as a whole."""

    def _train(self, num_epochs: Any, num_iterations: Any, callbacks: Any = None, grad_accumulation: Any = 1) -> Any:
        self.trace.note("before", num_epochs, num_iterations, grad_accumulation)
        result = super()._train(num_epochs, num_iterations, callbacks, grad_accumulation)
        self.trace.note("after", self.epoch, result is self.model)
        return result


class OwnTrain(LoopPart):
    """Replaces the training by a loop of its own, made of the library's verbs."""

    def _train(self, num_epochs: Any, num_iterations: Any, callbacks: Any = None, grad_accumulation: Any = 1) -> Any:
        del num_iterations
        self.grad_accumulation = grad_accumulation
        self.callbacks_handler.register_callbacks(callbacks)
        self.model.train()
        self.callbacks_handler.execute_train_begin()
        for epoch in range(num_epochs):
            self.epoch = epoch
            self.callbacks_handler.execute_epoch_begin()
            for iteration, batch in enumerate(self.train_loader):
                self.iteration = iteration
                self.total_iteration_idx += 1
                loss = self._calculate_batch_loss(batch)
                self._backward_pass(loss, 0)
                self._optimizer_step(0)
                self._optimizer_zero_grad(0)
            self.auto_execute_end_of_epoch()
            self.callbacks_handler.execute_epoch_end()
        self.callbacks_handler.execute_train_end()
        return self.model


class AroundFit(LoopPart):
    """Changes the arguments of ``fit``."""

    def fit(self, *args: Any, **more: Any) -> Any:
        self.trace.note("fit", len(args), sorted(more))
        more["num_epochs"] = more.get("num_epochs", 0) + 1
        return super().fit(*args, **more)


class OwnPrediction(LoopPart):
    """Post-processes predictions and evaluated losses."""

    def predict_with_model(self, *args: Any, **more: Any) -> Any:
        scores, targets, metadata = super().predict_with_model(*args, **more)
        return scores.round(decimals=2), targets, {**metadata, "added": [1]}

    def evaluate_model_loss(self, *args: Any, **more: Any) -> Any:
        return super().evaluate_model_loss(*args, **more) + 1.0


class Silent(LoopPart):
    """Claims not to be the main process: nothing of the loop's own lines is printed."""

    def is_main_process(self) -> bool:
        return False


LOOPS: dict[str, type[LoopPart]] = {
    "verbs": Verbs,
    "scaled_loss": ScaledLoss,
    "own_loss": OwnLoss,
    "own_backward": OwnBackward,
    "failing_backward": FailingBackward,
    "noisy_step": NoisyStep,
    "own_step": OwnStep,
    "lazy_zero": LazyZero,
    "every_third": EveryThird,
    "end_of_epoch": EndOfEpoch,
    "end_of_training": EndOfTraining,
    "last_loss": LastLoss,
    "prefixed_save": PrefixedSave,
    "rounded_history": RoundedHistory,
    "around_train": AroundTrain,
    "own_train": OwnTrain,
    "around_fit": AroundFit,
    "own_prediction": OwnPrediction,
    "silent": Silent,
}
