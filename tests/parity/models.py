"""Models of the programs: plain parts that ``Backend.mixed`` puts on top of either library's base class."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tests.parity.backend import Backend
from tests.parity.data import DATA_SETS, DataSet
from tests.parity.models_multi import build_multi
from tests.parity.spec import Data


class Layers(nn.Module):
    """Parts get their layers after construction, so that one class serves several sizes."""

    net: nn.Module

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.net(inputs)
        return output


class Lossy(Layers):
    """A user-written model with metadata, an own evaluation loss, and an own loss when there is no criterion."""

    def _pair(self, batch: Any, device: Any) -> tuple[torch.Tensor, torch.Tensor]:
        if isinstance(batch, dict):
            return batch["inputs"].to(device), batch["targets"].to(device)
        return batch[0].to(device), batch[1].to(device)

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        inputs, targets = self._pair(batch_data, device)
        if criterion is None:
            return functional.huber_loss(self(inputs), targets)
        return criterion(self(inputs), targets)

    def get_predictions(self, batch_data: Any, device: Any) -> Any:
        inputs, targets = self._pair(batch_data, device)
        scores = self(inputs)
        metadata = {
            "names": [f"row {index}" for index in range(len(inputs))],
            "sums": inputs.flatten(1).sum(dim=1),
            "first": inputs.flatten(1)[:, 0].numpy(),
        }
        return scores, targets.cpu(), metadata


class EvalLossy(Lossy):
    """Evaluates with another loss than it trains with."""

    def get_loss_eval(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        return 2.0 * self.get_loss(batch_data, criterion, device)


class Drawing(Lossy):
    """Draws from all three global generators inside the loss."""

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        factor = 1.0 + 0.1 * float(np.random.rand()) + 0.1 * random.random()
        return super().get_loss(batch_data, criterion, device) * factor * (1.0 + 0.1 * torch.rand(()))


class MaybeMetadata(Lossy):
    """Returns metadata for some batches only: nothing for short ones."""

    def get_predictions(self, batch_data: Any, device: Any) -> Any:
        scores, targets, metadata = super().get_predictions(batch_data, device)
        return scores, targets, metadata if len(scores) == 5 else None


class Broken(Lossy):
    """Fails when its owner says so, to see what a failure leaves behind."""

    fail_in = ""

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        if self.fail_in == "loss":
            raise ArithmeticError("the loss failed on purpose")
        return super().get_loss(batch_data, criterion, device)

    def get_predictions(self, batch_data: Any, device: Any) -> Any:
        if self.fail_in == "predictions":
            raise ArithmeticError("the predictions failed on purpose")
        return super().get_predictions(batch_data, device)


class FloatLoss(Lossy):
    """Returns a number where a tensor is needed."""

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        return float(super().get_loss(batch_data, criterion, device))


class Transferring(Lossy):
    """Reads and changes attributes that a parallel wrapper copies; ``forward`` has the model's own."""

    scale: float
    seen: list[int]

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.net(inputs) * self.scale
        return output

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
        inputs, targets = self._pair(batch_data, device)
        self.scale = self.scale * 0.9
        self.seen.append(len(inputs))
        names = [name for name, _ in self.named_parameters()]
        extra = sum(len(name) for name in names) * 0.01 + (0.5 if self.training else 0.0)
        return criterion(self(inputs), targets) * self.scale + extra + 0.01 * len(self.seen)


class TargetsInForward(Layers):
    """The forward signature that ``TTBasicMultiGPUModel`` asks for."""

    def forward(self, inputs: torch.Tensor, targets: Any = None, criterion: Any = None) -> torch.Tensor:
        predictions: torch.Tensor = self.net(inputs)
        return predictions if criterion is None else criterion(predictions, targets)


class Buffered(Layers):
    """Counts its training calls in a buffer and keeps one layer frozen."""

    calls: torch.Tensor

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.calls += 1
        output: torch.Tensor = self.net(inputs)
        return output


class Feed:
    """A feed definition: loss and predictions of a plain module from outside."""

    def get_loss(self, model: Any, batch_data: Any, criterion: Any, device: Any) -> Any:
        return criterion(model(batch_data[0].to(device)), batch_data[1].to(device))

    def get_predictions(self, model: Any, batch_data: Any, device: Any) -> Any:
        return model(batch_data[0].to(device)), batch_data[1], {"length": [len(batch_data[1])]}


def _mlp(shape: DataSet) -> nn.Module:
    return nn.Sequential(nn.Linear(shape.features, 5), nn.Tanh(), nn.Linear(5, shape.outputs))


def _dropout(shape: DataSet) -> nn.Module:
    return nn.Sequential(nn.Linear(shape.features, 6), nn.ReLU(), nn.Dropout(0.4), nn.Linear(6, shape.outputs))


def _batch_norm(shape: DataSet) -> nn.Module:
    # Without a bias: its gradient would be rounding noise, which Adam turns into full steps on another processor.
    return nn.Sequential(
        nn.Linear(shape.features, 4, bias=False), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, shape.outputs)
    )


def _cnn(shape: DataSet) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, shape.outputs))


def _linear(shape: DataSet) -> nn.Module:
    return nn.Linear(shape.features, shape.outputs)


def _probability(shape: DataSet) -> nn.Module:
    return nn.Sequential(nn.Linear(shape.features, shape.outputs), nn.Sigmoid())


def _on(base: str, part: type, layers: Callable[[DataSet], nn.Module]) -> Callable[[Backend, DataSet], Any]:
    def build(api: Backend, shape: DataSet) -> Any:
        model = api.mixed(part, base)()
        model.net = layers(shape)
        if part is Buffered:
            model.register_buffer("calls", torch.zeros((), dtype=torch.int64))
            model.net[0].weight.requires_grad_(False)
        if part is Transferring:
            model.scale, model.seen = 1.5, []
            model.transfer_model_attributes = ("scale", "seen")
        return model

    return build


def _wrapped(api: Backend, shape: DataSet) -> Any:
    return api.MultiGPUModelWrap(_mlp(shape))


def _fed(api: Backend, shape: DataSet) -> Any:
    return api.ModelWrap(_mlp(shape), api.mixed(Feed, "AbstractModelFeedDefinition")())


def _fed_by_subclass(api: Backend, shape: DataSet) -> Any:
    wrap = type("OwnWrap", (api.ModelWrap,), {})
    return wrap(_mlp(shape), api.mixed(Feed, "AbstractModelFeedDefinition")())


def _bare(api: Backend, shape: DataSet) -> Any:
    del api
    return _mlp(shape)


MODELS: dict[str, Callable[[Backend, DataSet], Any]] = {
    "mlp": _on("TTBasicModel", Layers, _mlp),
    "linear": _on("TTBasicModel", Layers, _linear),
    "dropout": _on("TTBasicModel", Layers, _dropout),
    "probability": _on("TTBasicModel", Layers, _probability),
    "batch_norm": _on("TTBasicModel", Layers, _batch_norm),
    "cnn": _on("TTBasicModel", Layers, _cnn),
    "buffered": _on("TTBasicModel", Buffered, _mlp),
    "metadata": _on("TTModel", Lossy, _mlp),
    "metadata_dropout": _on("TTModel", Lossy, _dropout),
    "metadata_batch_norm": _on("TTModel", Lossy, _batch_norm),
    "eval_loss": _on("TTModel", EvalLossy, _dropout),
    "drawing": _on("TTModel", Drawing, _mlp),
    "maybe_metadata": _on("TTModel", MaybeMetadata, _mlp),
    "transferring": _on("TTModel", Transferring, _dropout),
    "broken": _on("TTModel", Broken, _mlp),
    "float_loss": _on("TTModel", FloatLoss, _mlp),
    "multi_gpu": _on("TTBasicMultiGPUModel", TargetsInForward, _mlp),
    "wrapped": _wrapped,
    "feed": _fed,
    "feed_subclass": _fed_by_subclass,
    "bare_module": _bare,
}


def build_model(api: Backend, name: str, data: Data, options: dict[str, Any]) -> Any:
    """The model of a program, its weights drawn from the global generator that the caller seeded."""
    if name == "multi":
        return build_multi(api, DATA_SETS[data.kind], **options)
    return MODELS[name](api, DATA_SETS[data.kind])


def module_of(model: Any) -> nn.Module:
    """The ``nn.Module`` inside what the loop is given."""
    inner = model if isinstance(model, nn.Module) else model.model
    assert isinstance(inner, nn.Module)
    return inner
