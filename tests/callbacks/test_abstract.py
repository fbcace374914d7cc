"""The base of all callbacks."""

import inspect
from types import SimpleNamespace
from typing import Any

import pytest

from compat import quirks
from compat._loop_state import LoopState, state_of
from compat.callbacks.abstract import AbstractCallback
from compat.messages import MessageService
from compat.utils import is_empty_function

HOOKS = [name for name in vars(AbstractCallback) if name.startswith("on_")]


def test_attributes_of_a_new_callback() -> None:
    assert vars(AbstractCallback("name", 3, 1)) == {
        "callback_name": "name",
        "execution_order": 3,
        "device_idx_execution": 1,
        "train_loop_obj": None,
        "message_service": None,
    }


@pytest.mark.parametrize("hook", HOOKS)
def test_hooks_are_empty(hook: str) -> None:
    assert is_empty_function(getattr(AbstractCallback("name"), hook))


def test_there_are_eleven_hooks() -> None:
    assert len(HOOKS) == 11
    assert list(inspect.signature(AbstractCallback.on_after_batch_prediction).parameters) == [
        "self",
        "y_pred_batch",
        "y_test_batch",
        "metadata_batch",
        "dataset_info",
    ]


def test_registration_sets_the_loop_first_and_returns_the_callback() -> None:
    seen: list[Any] = []

    class Callback(AbstractCallback):
        def on_train_loop_registration(self) -> None:
            seen.append((self.train_loop_obj, self.message_service))

    loop: Any = SimpleNamespace(message_service=MessageService())
    callback = Callback("name")
    assert callback.register_train_loop_object(loop) is callback
    assert seen == [(loop, loop.message_service)]


def test_state_of_a_loop_and_of_a_stand_in() -> None:
    state = LoopState({"Q01": "fixed"})
    assert state_of(SimpleNamespace(_compat=state)) is state
    quirks.set(Q02="fixed")
    assert state_of(object()).quirks.fixed("Q02")
    assert not state_of(object()).quirks.fixed("Q01")
