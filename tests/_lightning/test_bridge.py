"""The event order of old callbacks and Lightning's own, and the metrics between them."""

from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from compat._lightning import bridge, trainer
from compat.history import TrainingHistory
from tests.toys import Recorder, batches, make_loop


def attach(native: Callback, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a native callback into the Trainers that are built from here on."""
    build = trainer.build_trainer

    def with_native(plan: Any) -> Any:
        built: Any = build(plan)
        built.callbacks.append(native)
        return built

    monkeypatch.setattr(trainer, "build_trainer", with_native)


def test_order_of_old_and_native_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder, loop = Recorder(), make_loop(train=batches(2))

    class Native(Callback):
        def __getattribute__(self, name: str) -> Any:
            if name in {"on_train_start", "on_train_epoch_start", "on_train_epoch_end", "on_train_end"}:
                return lambda *_: recorder.events.append((f"native {name}", 0, 0, 0))
            return super().__getattribute__(name)

    attach(Native(), monkeypatch)
    loop.fit(num_epochs=1, callbacks=[recorder])
    assert recorder.names() == [
        "registration",
        "native on_train_start",
        "train_begin",
        "native on_train_epoch_start",
        "epoch_begin",
        "batch_begin",
        "batch_end",
        "batch_begin",
        "batch_end",
        "epoch_end",
        "native on_train_epoch_end",
        "native on_train_end",
        "train_end",
    ]


def test_native_callbacks_see_this_epochs_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, seen = make_loop(), []

    class Native(Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            seen.append(trainer.callback_metrics["loss"].item())

    attach(Native(), monkeypatch)
    loop.fit(num_epochs=3)
    assert seen == loop.train_history["loss"]


def test_publish_takes_numbers_and_leaves_the_rest() -> None:
    class Shown:
        callback_metrics: dict[str, Any] = {}
        logged_metrics: dict[str, Any] = {}
        progress_bar_metrics: dict[str, Any] = {}

    history = TrainingHistory()
    for name, value in {"a": 0.1, "b": torch.tensor(2.5), "c": {"x": 1.0}, "d": "text", "e": torch.ones(2)}.items():
        history.insert_single_result_into_history(name, value)
    shown: Any = Shown()
    bridge.publish(shown, history)
    assert {name: value.item() for name, value in shown.callback_metrics.items()} == {"a": 0.1, "b": 2.5}
    assert all(value.dtype is torch.float64 for value in shown.logged_metrics.values())
    assert shown.progress_bar_metrics.keys() == {"a", "b"}
