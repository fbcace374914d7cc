"""The model of a cell, and who watches it: all weights after every batch, the learning rates before it, the events."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from compat import AbstractCallback, MultiLoss, MultiOptimizer, TrainLoop, TTModel
from tests.toys import GradientRecorder, Recorder

Weights = dict[str, torch.Tensor]


class Net(TTModel):
    """A backbone, dropout and a head, ``(N, 3) -> (N, 1)``, and a second model of that kind for a second loss.

    Args:
        losses: 1, or 2 for a ``MultiLoss``.
    """

    def __init__(self, losses: int) -> None:
        super().__init__()
        self.losses = losses
        self.backbone, self.dropout, self.head = nn.Linear(3, 4), nn.Dropout(0.25), nn.Linear(4, 1)
        if losses == 2:
            self.other = nn.Linear(3, 1)

    def forward(self, inputs: torch.Tensor) -> Any:
        return self.head(self.dropout(torch.tanh(self.backbone(inputs))))

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        inputs, targets = batch_data
        loss = criterion(self(inputs), targets)
        if self.losses == 1:
            return loss
        return MultiLoss({"first": loss, "second": criterion(self.other(inputs), 1 - targets)})

    def get_predictions(self, batch_data: Any, device: Any) -> Any:
        inputs, targets = batch_data
        return self(inputs), targets, {}


class Losses:
    """A mean squared error that notes its values, and the targets, while something is trained.

    Args:
        losses: How many there are of a batch.
    """

    def __init__(self, losses: int) -> None:
        self.losses = losses
        self.values: list[float] = []
        self.targets: list[torch.Tensor] = []
        self.before_batch: Callable[[], None] = lambda: None

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        loss = nn.functional.mse_loss(outputs, targets)
        if outputs.requires_grad:
            if len(self.values) % self.losses == 0:
                self.before_batch()
            self.values.append(loss.item())
            self.targets.append(targets)
        return loss


def weights_of(model: nn.Module) -> Weights:
    """Copy the weights of a model."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def optimizers_of(loop: Any) -> list[torch.optim.Optimizer]:
    """List the torch optimizers of a loop."""
    return list(loop.optimizer.optimizer_list) if isinstance(loop.optimizer, MultiOptimizer) else [loop.optimizer]


class Witness(GradientRecorder):
    """Notes every event of a training, the weights after every batch, and the learning rates before it."""

    def __init__(self) -> None:
        super().__init__()
        self.start: Weights = {}
        self.weights: list[Weights] = []
        self.updated: list[bool] = []
        self.rates: list[list[float]] = []

    def on_train_begin(self) -> None:
        super().on_train_begin()
        self.start = weights_of(self.train_loop_obj.model)

    def on_batch_begin(self) -> None:
        super().on_batch_begin()
        self.rates.append([optimizer.param_groups[0]["lr"] for optimizer in optimizers_of(self.train_loop_obj)])

    def on_batch_end(self) -> None:
        super().on_batch_end()
        self.weights.append(weights_of(self.train_loop_obj.model))
        self.updated.append(bool(self.train_loop_obj.should_execute_optimizer_update()))

    def watch(self, loop: TrainLoop) -> None:
        """Begin to look at a loop.

        Args:
            loop: The loop, before its fit.
        """

    def finish(self, final: Weights) -> None:
        """Look back at a training that is over.

        Args:
            final: Its weights.
        """


class LeanWitness(Witness):
    """Notes the same of batches without a hook for them: the criterion calls it. It has the events of epochs alone."""

    on_batch_begin = AbstractCallback.on_batch_begin
    on_batch_end = AbstractCallback.on_batch_end
    on_after_gradient_update = AbstractCallback.on_after_gradient_update
    on_after_optimizer_step = AbstractCallback.on_after_optimizer_step
    on_train_loop_registration = Recorder.on_train_loop_registration

    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[int] = []
        self.epoch_ends: list[Weights] = []
        self.stepped: Weights = {}

    def watch(self, loop: TrainLoop) -> None:
        criterion: Any = loop.criterion
        self.stepped = weights_of(loop.model)
        criterion.before_batch = lambda: self._note_batch(loop)
        for optimizer in optimizers_of(loop):
            optimizer.register_step_post_hook(lambda *_: self._note_step(loop))

    def _note_batch(self, loop: TrainLoop) -> None:
        self.weights.append(weights_of(loop.model))
        self.rates.append([optimizer.param_groups[0]["lr"] for optimizer in optimizers_of(loop)])
        self.epochs.append(loop.epoch)

    def _note_step(self, loop: TrainLoop) -> None:
        self.stepped = weights_of(loop.model)

    def on_epoch_end(self) -> None:
        super().on_epoch_end()
        # The last update of the epoch, and not what is there now: where weights are averaged, the average is.
        self.epoch_ends.append(self.stepped)

    def finish(self, final: Weights) -> None:
        # Noted was what each batch began with: what it ended with is that of the next one, or of its epoch's end.
        before = self.weights
        self.weights = [*before[1:], final][: len(before)]
        for index, epoch in enumerate(self.epochs):
            if epoch < len(self.epoch_ends) and epoch not in self.epochs[index + 1 :]:
                self.weights[index] = self.epoch_ends[epoch]
        pairs = zip(before, self.weights, strict=True)
        self.updated = [any(not torch.equal(old[name], new.get(name, old[name])) for name in old) for old, new in pairs]
