"""What the small programs of tests/quirk_programs.py are made of: models, callbacks, and makers of programs."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from unittest.mock import Mock, patch

import torch
from torch import nn

from compat import (
    AbstractCallback,
    AbstractModelFeedDefinition,
    DataSubsetTestRun,
    GradNormClip,
    ModelPredictionStore,
    ModelWrap,
    MultiLoss,
    MultiOptimizer,
    ReduceLROnPlateauScheduler,
    TrainingHistory,
    TrainLoop,
    TTModel,
)
from compat._amp import LoopScaler
from tests.toys import Linear, Recorder, batches, make_loop, on

NAN = float("nan")


@dataclass(frozen=True)
class Programs:
    """What a quirk is tried with.

    Attributes:
        changes: Programs in which it changes the outcome, each with the number of times.
        rests: Programs in which it does not, as near to the others as can be.
        modes: The modes that are counted.
    """

    changes: list[tuple[Callable[[], Any], int]]
    rests: list[Callable[[], Any]]
    modes: tuple[str, ...] = ("kept", "fixed")


def fits(*arguments: dict[str, Any], **options: Any) -> Callable[[], TrainLoop]:
    """Make a program of several fits on one loop of three batches an epoch; callbacks are made by functions."""

    def program() -> TrainLoop:
        loop = make_loop(**{name: value() if isinstance(value, Make) else value for name, value in options.items()})
        for fit in arguments:
            loop.fit(**{name: value() if isinstance(value, Make) else value for name, value in fit.items()})
        return loop

    return program


@dataclass(frozen=True)
class Make:
    """An argument that each run of a program makes anew."""

    make: Callable[[], Any]

    def __call__(self) -> Any:
        """Make it."""
        return self.make()


class Heads(TTModel):
    """One linear head a loss, without anything shared."""

    def __init__(self, names: str) -> None:
        """Make the heads."""
        super().__init__()
        self.heads = nn.ModuleDict({name: nn.Linear(3, 1) for name in names})

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> MultiLoss:
        """Return one loss a head."""
        inputs, targets = batch_data
        return MultiLoss({name: criterion(head(inputs), targets) for name, head in self.heads.items()})

    def get_predictions(self, batch_data: Any, device: Any) -> Any:
        """Return nothing of use."""
        return batch_data[1], batch_data[1], {}


class Mapped(Heads):
    """Heads whose losses are mapped to optimizers."""

    def __init__(self, optimizers: dict[str, int]) -> None:
        """Make the heads."""
        super().__init__("".join(optimizers))
        self.optimizers = optimizers

    def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> MultiLoss:
        """Return one loss a head, with the map."""
        return MultiLoss(dict(super().get_loss(batch_data, criterion, device)), self.optimizers)


def several(model: Any, *owned: Any, fixed: tuple[str, ...] = (), epochs: int = 1) -> Callable[[], Any]:
    """Make a program with one optimizer for each group of parameters; a single one is no MultiOptimizer."""

    def program() -> None:
        made = model()
        optimizers = [torch.optim.SGD(list(parameters(made)), lr=0.1) for parameters in owned]
        optimizer = MultiOptimizer(optimizers) if len(optimizers) > 1 else optimizers[0]
        make_loop(made, optimizer=optimizer, quirks=dict.fromkeys(fixed, "fixed")).fit(num_epochs=epochs)

    return program


def part(*names: str) -> Callable[[Any], list[Any]]:
    """Choose the parameters whose names begin so."""
    return lambda model: [value for name, value in model.named_parameters() if name.startswith(names)]


class Raise(AbstractCallback):
    """Raises in one hook."""

    def __init__(self, hook: str) -> None:
        """Put the hook in."""
        super().__init__("raise")

        def fail() -> None:
            raise RuntimeError("on purpose")

        setattr(self, hook, fail)


def raised(hook: str, batches_before: int = 0) -> Callable[[], Any]:
    """Make a program whose first fit is ended by an exception."""

    def program() -> None:
        loop = make_loop()
        callback = Raise(hook)
        with suppress(RuntimeError):
            loop.fit(num_epochs=1, callbacks=[callback])
        setattr(callback, hook, lambda: None)
        loop.fit(num_epochs=1)

    return program


def watched(callback: Any, values: list[Any], epochs: int | None = None) -> Callable[[], Any]:
    """Make a program in which a callback sees one value an epoch; ``...`` is an epoch without."""

    def program() -> None:
        loop = make_loop()
        watcher = callback()
        act = on(
            "epoch_end",
            lambda loop: values[loop.epoch] is ... or loop.train_history.__setitem__("acc", values[loop.epoch]),
        )
        loop.fit(num_epochs=epochs or len(values), callbacks=[act, watcher])

    return program


class Wrapped(AbstractModelFeedDefinition):
    """Feeds a plain module."""

    def get_loss(self, model: Any, batch_data: Any, criterion: Any, device: Any) -> Any:
        """Compare."""
        return criterion(model(batch_data[0]), batch_data[1])

    def get_predictions(self, model: Any, batch_data: Any, device: Any) -> Any:
        """Predict."""
        return model(batch_data[0]), batch_data[1], {}


class OwnWrap(ModelWrap):
    """A wrap of the user's."""


class Metadata(Linear):
    """A model with metadata, of which each batch has its own key."""

    own_keys = True

    def get_predictions(self, batch_data: Any, device: Any) -> Any:
        """Name the batch."""
        key = str(float(batch_data[0][0, 0])) if self.own_keys else "key"
        return self(batch_data[0]), batch_data[1], {key: [1, 2]}


class SameMetadata(Metadata):
    """A model with the same keys for every batch."""

    own_keys = False


class OwnOptimizer:
    """An optimizer that is not torch's, and tells nobody when it steps."""

    def __init__(self, model: Any) -> None:
        """Keep the parameters."""
        self.parameters = list(model.parameters())

    def step(self) -> None:
        """Do nothing."""

    def zero_grad(self) -> None:
        """Clear the gradients."""
        for parameter in self.parameters:
            parameter.grad = None


class Stepped(AbstractCallback):
    """A gradient hook that nobody switches on."""

    def __init__(self) -> None:
        """Name it."""
        super().__init__("stepped")
        self.steps = 0

    def on_after_optimizer_step(self) -> None:
        """Count."""
        self.steps += 1


class AfterPrediction(AbstractCallback):
    """Counts predicted batches."""

    def __init__(self) -> None:
        """Name it."""
        super().__init__("after prediction")
        self.batches = 0

    def on_after_batch_prediction(self, y_pred: Any, y_test: Any, metadata: Any, dataset_info: Any) -> None:
        """Count."""
        self.batches += 1


def scaled(callbacks: Callable[[], list[Any]], scale: float = 2.0) -> Callable[[], Any]:
    """Make a program with a gradient scaler that works on the CPU; at an infinite scale it skips the steps."""

    def program() -> None:
        loop = make_loop(train=batches(1))
        loop.amp_scaler = LoopScaler(device="cpu", init_scale=scale)
        loop.fit(num_epochs=1, callbacks=callbacks())

    return program


def predicted(*calls: dict[str, Any], **options: Any) -> Callable[[], Any]:
    """Make a program that predicts the validation set with each call's arguments."""

    def program() -> None:
        loop = make_loop(
            validation=batches(2),
            **{name: value() if isinstance(value, Make) else value for name, value in options.items()},
        )
        loop.callbacks_handler.register_callbacks([AfterPrediction()])
        for call in calls:
            loop.predict_on_validation_set(**call)

    return program


def stored(*indices: int, asks: int | None) -> Callable[[], Any]:
    """Make a program that stores two losses at iterations, and asks for the second at another."""

    def program() -> None:
        store = ModelPredictionStore(auto_purge=True)
        store.insert_val_loss(1.0, indices[0])
        store.insert_test_loss(2.0, indices[1])
        if asks is not None:
            store.has_test_loss(asks)

    return program


def failing_evaluation() -> None:
    """Evaluate with a criterion that fails."""
    with suppress(RuntimeError):
        make_loop(model=Heads("a"), criterion=nn.NLLLoss()).evaluate_model_loss(batches())


def with_cuda(present: bool, act: Callable[[], Any]) -> Callable[[], Any]:
    """Make a program for a machine with or without CUDA, whichever this one is."""

    def program() -> None:
        with patch("torch.cuda.is_available", return_value=present):
            act()

    return program


def amp_on(use_amp: Any) -> Callable[[], Any]:
    """Ask whether mixed precision is on."""
    from compat._lightning.course import amp_is_on
    from compat.quirks import QuirkSettings

    return lambda: amp_is_on(QuirkSettings(), use_amp)


def plateau(**options: Any) -> Callable[[], Any]:
    """Make a program with the scheduler that evaluates the validation loss."""
    return fits(
        {"num_epochs": 1, "callbacks": Make(lambda: [ReduceLROnPlateauScheduler()])}, validation=batches(2), **options
    )


def patched_hooks() -> None:
    """Put a hook in after the registration."""
    loop, callback = make_loop(), AfterPrediction()
    loop.callbacks_handler.register_callbacks([callback])
    callback.on_epoch_end = Mock()  # type: ignore[method-assign]
    loop.fit(num_epochs=2)


def mocked_hook() -> None:
    """Put a mock in before the registration."""
    callback = AfterPrediction()
    callback.on_epoch_end = Mock()  # type: ignore[method-assign]
    make_loop().callbacks_handler.register_callbacks([callback])


def contains(wanted: Any) -> Callable[[], Any]:
    """Ask for a class among the callbacks."""

    def program() -> None:
        loop = make_loop()
        loop.callbacks_handler.register_callbacks([GradNormClip(1.0)])
        _ = wanted in loop.callbacks_handler

    return program


def history(flatten: bool = False, **metrics: list[Any]) -> Callable[[], Any]:
    """Make a program that flattens or checks a history."""

    def program() -> None:
        made = TrainingHistory().wrap_pre_prepared_history(metrics)
        if flatten:
            made.get_train_history_dict(flatten_dict=True)
        else:
            made.qa_check_history_records()

    return program


def other_trunk() -> None:
    """Leave a gradient on a parameter that no optimizer steps on."""
    model = Linear()
    loop = make_loop(model, optimizer=torch.optim.SGD([model.layer.bias], lr=0.1))
    loop.fit(num_epochs=1)
    loop.fit(num_epochs=2)


def new_loader_at_the_end() -> None:
    """Bring another loader while the fit still runs."""
    callbacks = [DataSubsetTestRun(), on("train_end", lambda loop: setattr(loop, "train_loader", batches(1)))]
    make_loop().fit(num_epochs=1, callbacks=callbacks)


def after_a_subset(method: str) -> Callable[[], Any]:
    """Make a program that trains on a subset, and evaluates or predicts afterwards."""

    def program() -> None:
        loop = make_loop(validation=batches(2))
        loop.fit(num_epochs=1, callbacks=[DataSubsetTestRun()])
        getattr(loop, method)()

    return program


def longer_loader() -> AbstractCallback:
    """Bring a loader of twice as many batches when the fit begins."""
    return on("train_begin", lambda loop: setattr(loop, "train_loader", batches(6)))


def steps_asked_for(batch_count: int) -> Callable[[], Any]:
    """Ask for the number of updates once, with windows of two."""
    return fits(
        {
            "num_epochs": 1,
            "grad_accumulation": 2,
            "callbacks": Make(lambda: [on("train_begin", lambda loop: loop.get_num_training_steps())]),
        },
        train=batches(batch_count),
    )


def one(callback: Callable[[], Any]) -> Make:
    """Pass one new callback."""
    return Make(lambda: [callback()])


def same_twice() -> list[Any]:
    """Return one callback twice."""
    callback = Recorder()
    return [callback, callback]


def stopped_before(epochs: int) -> Callable[[], Any]:
    """Make a program whose early_stop is set before a fit."""

    def program() -> None:
        loop = make_loop()
        loop.early_stop = True
        loop.fit(num_epochs=epochs)

    return program


def constant_loss(predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the same loss for every batch."""
    return (predictions * 0).sum() + 1.0


class ConstantLoss(nn.Module):
    """The same loss for every batch."""

    forward = staticmethod(constant_loss)


class Dropped(Linear):
    """A linear layer with dropout before it."""

    def __init__(self, share: float) -> None:
        """Add the dropout."""
        super().__init__()
        self.dropout = nn.Dropout(share)

    def forward(self, inputs: torch.Tensor) -> Any:
        """Map ``(N, 3)`` to ``(N, 1)``."""
        return self.layer(self.dropout(inputs))
