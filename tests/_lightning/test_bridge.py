"""The event order of old callbacks and Lightning's own, and the metrics between them."""

import re
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

import compat
from compat import MultiOptimizer
from compat._lightning import bridge
from tests.toys import GradientRecorder, Recorder, TwoHeads, batches, make_loop

# What the docstring calls the old hooks, by the recorder's names for them.
OLD = {
    "registration": "old.on_train_loop_registration",
    "train_begin": "old.on_train_begin",
    "epoch_begin": "old.on_epoch_begin",
    "batch_begin": "old.on_batch_begin",
    "gradient_0": "old.on_after_gradient_update",
    "gradient_1": "old.on_after_gradient_update",
    "step": "old.on_after_optimizer_step",
    "batch_end": "old.on_batch_end",
    "epoch_end": "old.on_epoch_end",
    "train_end": "old.on_train_end",
}
NATIVE = (
    "setup", "on_fit_start", "on_train_start", "on_train_epoch_start", "on_train_batch_start", "on_before_backward",
    "on_after_backward", "on_before_optimizer_step", "on_before_zero_grad", "on_train_batch_end",
    "on_validation_start", "on_validation_epoch_start", "on_validation_epoch_end", "on_validation_end",
    "on_train_epoch_end", "on_train_end", "on_fit_end", "teardown",
)  # fmt: skip


class Native(Callback):
    """Notes the hooks that it is to have, in the same list as a recorder of old ones."""

    def __init__(self, recorder: Recorder, hooks: tuple[str, ...]) -> None:
        """Set the hooks on the object, as Lightning's LambdaCallback does."""
        for hook in hooks:
            setattr(self, hook, lambda *_, hook=hook, **__: recorder.events.append((f"C.{hook}", 0, 0, 0)))


def order_of(loop: Any, recorder: Recorder, hooks: tuple[str, ...] = NATIVE, **fit: Any) -> list[str]:
    """Train, and return who was called, in the docstring's words."""
    compat.quirks.set(Q11="kept", Q46="kept")
    loop.fit(callbacks=[Native(recorder, hooks), recorder], **fit)
    return [OLD.get(name, name) for name in recorder.names()]


def drawn() -> list[str]:
    """Read the order out of the docstring: the first place of each hook is where it runs first."""
    picture = (bridge.__doc__ or "").partition("::")[2]
    return list(dict.fromkeys(re.findall(r"(?:C|old)\.\w+", picture)))


def two_heads() -> Any:
    model = TwoHeads()
    one = torch.optim.SGD([*model.trunk.parameters(), *model.b.parameters()], lr=0.1)
    return make_loop(model, batches(3), MultiOptimizer([one, torch.optim.SGD(model.a.parameters(), lr=0.1)]))


def test_the_docstring_draws_every_event_in_the_order_in_which_it_happens() -> None:
    order = order_of(make_loop(train=batches(2), validation=batches(1)), GradientRecorder(), num_epochs=1)
    assert drawn() == list(dict.fromkeys(order))
    assert {f"C.{hook}" for hook in NATIVE} | set(OLD.values()) == set(drawn())


STEP = ["C.on_before_optimizer_step", "old.on_after_optimizer_step", "C.on_before_zero_grad"]
BACKWARD = ["C.on_before_backward", "C.on_after_backward", "old.on_after_gradient_update"]


@pytest.mark.parametrize(("optimizers", "window"), [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_order_of_the_events_of_each_batch(optimizers: int, window: int) -> None:
    loop = make_loop(train=batches(3)) if optimizers == 1 else two_heads()
    order = order_of(loop, GradientRecorder(), num_epochs=1, grad_accumulation=window)
    start = order.index("C.on_train_batch_start")
    end = len(order) - order[::-1].index("C.on_train_batch_end")
    expected = []
    for batch in range(3):
        update = STEP if (batch + 1) % window == 0 or batch == 2 else []
        verbs = (BACKWARD + update) * optimizers
        expected += ["C.on_train_batch_start", "old.on_batch_begin", *verbs, "old.on_batch_end", "C.on_train_batch_end"]
    assert order[start:end] == expected


def test_without_hooks_for_batches_the_native_callback_hears_of_epochs_alone() -> None:
    hooks = ("on_train_start", "on_train_epoch_start", "on_train_epoch_end", "on_train_end")
    recorder, loop = Recorder(), make_loop(train=batches(2))
    assert order_of(loop, recorder, hooks, num_epochs=1) == [
        "old.on_train_loop_registration",
        "C.on_train_start",
        "old.on_train_begin",
        "C.on_train_epoch_start",
        "old.on_epoch_begin",
        "old.on_batch_begin",
        "old.on_batch_end",
        "old.on_batch_begin",
        "old.on_batch_end",
        "old.on_epoch_end",
        "C.on_train_epoch_end",
        "C.on_train_end",
        "old.on_train_end",
    ]
    assert str(loop.lightning_module.cadence) == "whole epochs"


class Reader(Callback):
    """Reads a metric at the end of each epoch."""

    def __init__(self, name: str) -> None:
        """Start with nothing read."""
        self.name = name
        self.seen: list[float] = []

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Read."""
        self.seen.append(trainer.callback_metrics[self.name].item())


class Inserts(Recorder):
    """An old callback that puts a metric of its own into the history."""

    def on_epoch_end(self) -> None:
        """Insert."""
        self.train_loop_obj.insert_metric_result_into_history("own", self.train_loop_obj.epoch / 3)


def test_native_callbacks_see_this_epochs_metrics_and_those_of_old_callbacks() -> None:
    loop, loss, own = make_loop(), Reader("loss"), Reader("own")
    # The native ones first: the old ones run before them all the same.
    loop.fit(num_epochs=3, callbacks=[loss, own, Inserts()])
    assert loss.seen == loop.train_history["loss"]
    assert own.seen == loop.train_history["own"] == [0, 1 / 3, 2 / 3]


def test_the_test_loss_is_among_the_metrics_when_the_fit_is_over() -> None:
    loop = make_loop(test=batches(2))
    loop.fit(num_epochs=1)
    assert loop.trainer is not None
    assert loop.trainer.callback_metrics["train_end_test_loss"].item() == loop.train_history["train_end_test_loss"][0]


class Inserted(Recorder):
    """Puts into the history what may be there."""

    def on_epoch_end(self) -> None:
        """Insert, some of it in the first epoch only."""
        values: dict[str, Any] = {"a": 0.1, "b": torch.tensor(2.5), "c": {"x": 1.0}, "d": "text", "e": torch.ones(2)}
        for name, value in values.items():
            if self.train_loop_obj.epoch == 0 or name == "a":
                self.train_loop_obj.insert_metric_result_into_history(name, value)


def test_numbers_are_published_and_the_rest_is_left() -> None:
    loop = make_loop()
    loop.fit(1, callbacks=[Inserted()])
    assert loop.trainer is not None
    metrics = loop.trainer.callback_metrics
    own = metrics.keys() - {"loss", "accumulated_loss"}
    assert {name: metrics[name].item() for name in own} == {"a": 0.1, "b": 2.5}
    assert all(value.dtype is torch.float64 for value in loop.trainer.logged_metrics.values())
    shown: Any = loop.trainer.progress_bar_metrics
    assert shown == {name: value.item() for name, value in metrics.items()}
    assert type(shown["a"]) is float


def test_what_an_epoch_did_not_bring_stays_the_tensor_that_it_was() -> None:
    class Keeps(Callback):
        def __init__(self) -> None:
            self.seen: list[dict[str, Any]] = []

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            self.seen.append(dict(trainer.callback_metrics))

    loop, keeps = make_loop(), Keeps()
    loop.fit(2, callbacks=[Inserted(), keeps])
    first, second = keeps.seen
    assert second["b"] is first["b"]
    assert second["a"] is not first["a"]
