"""Registration, order and execution of callbacks."""

import functools
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from compat import (
    AbstractCallback,
    FunctionOnTrainLoop,
    GradientStatsPrint,
    GradNormClip,
    TrainLoop,
)
from compat.callbacks.handler import CallbacksHandler
from compat.exceptions import CompatError, QuirkWarning
from tests.toys import make_loop

NAMES = [
    "on_epoch_begin",
    "on_epoch_end",
    "on_train_begin",
    "on_train_end",
    "on_batch_begin",
    "on_batch_end",
    "on_after_gradient_update",
    "on_after_optimizer_step",
    "on_multiprocess_start",
    "on_after_batch_prediction",
]
RUNNERS = {
    "on_epoch_begin": ("execute_epoch_begin", ()),
    "on_epoch_end": ("execute_epoch_end", ()),
    "on_train_begin": ("execute_train_begin", ()),
    "on_train_end": ("execute_train_end", ()),
    "on_batch_begin": ("execute_batch_begin", ()),
    "on_batch_end": ("execute_batch_end", ()),
    "on_after_gradient_update": ("execute_gradient_update", (1,)),
    "on_after_optimizer_step": ("execute_optimizer_step", ()),
    "on_multiprocess_start": ("execute_multiprocess_start", ()),
    "on_after_batch_prediction": ("execute_after_batch_prediction", (1, 2, 3, 4)),
}


class Ends(AbstractCallback):
    """Notes the ends of epochs in a list shared by several."""

    def __init__(self, name: str, order: int = 0, log: list[str] | None = None) -> None:
        super().__init__(name, order)
        self.log = log if log is not None else []

    def on_epoch_begin(self) -> None:
        """An empty hook."""

    def on_epoch_end(self) -> None:
        self.log.append(self.callback_name)


def handler_of(loop: TrainLoop | None = None) -> CallbacksHandler:
    return (loop or make_loop()).callbacks_handler


def names(callbacks: list[AbstractCallback]) -> list[str]:
    return [callback.callback_name for callback in callbacks]


def test_starts_without_callbacks() -> None:
    handler = handler_of()
    assert len(handler) == 0
    assert handler.callbacks_cache == []
    assert handler.registered_cbs == [[] for _ in NAMES]
    assert all(getattr(handler, f"cbs_{name}") is handler.registered_cbs[i] for i, name in enumerate(NAMES))


@pytest.mark.parametrize(
    "given",
    [
        pytest.param([Ends("a"), Ends("b")], id="list"),
        pytest.param((Ends("a"), Ends("b")), id="tuple"),
        pytest.param(iter([Ends("a"), Ends("b")]), id="iterator"),
    ],
)
def test_takes_any_sequence(given: Any) -> None:
    handler = handler_of()
    handler.register_callbacks(given)
    assert names(handler.train_loop_obj.callbacks) == ["a", "b"]


def test_takes_a_single_callback_and_none() -> None:
    handler = handler_of()
    handler.register_callbacks(Ends("a"))
    handler.register_callbacks(None)
    assert names(handler.train_loop_obj.callbacks) == ["a"]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        pytest.param(
            [Ends("a"), "x"], r"^Callback x is not inherited from the AbstractCallback\. A callback is", id="str"
        ),
        pytest.param([Ends], r"This is the class: pass an instance, Ends\(\.\.\.\)", id="class in a list"),
        pytest.param(Ends, r"This is the class: pass an instance, Ends\(\.\.\.\)", id="class"),
        pytest.param("abc", r"callbacks='abc' is a str\. Pass a list of callbacks", id="text"),
        pytest.param({"a": Ends("a")}, r"is a dict\. Pass a list of callbacks, a single one, or None", id="dict"),
        pytest.param(5, r"callbacks=5 is a int", id="number"),
    ],
)
def test_refuses_other_things_before_anything_is_registered(given: Any, text: str) -> None:
    handler = handler_of()
    with pytest.raises(TypeError, match=text) as caught:
        handler.register_callbacks(given)
    assert isinstance(caught.value, CompatError)
    assert len(handler) == 0
    assert not any(handler.registered_cbs)


def test_forgotten_base_constructor() -> None:
    class Forgot(AbstractCallback):
        def __init__(self) -> None:
            self.x = 1

    registered: list[Any] = []
    good, handler = Ends("a"), handler_of()
    good.on_train_loop_registration = lambda: registered.append(good)  # type: ignore[method-assign]
    with pytest.raises(
        AttributeError, match=r"'Forgot' object has no attribute 'device_idx_execution'.*super\(\)"
    ) as caught:
        handler.register_callbacks([good, Forgot()])
    assert isinstance(caught.value, CompatError)
    assert "Forgot.__init__" in str(caught.value)
    assert len(handler) == 0
    assert registered == []


def test_override_that_does_not_return_the_callback() -> None:
    class Lost(AbstractCallback):
        def register_train_loop_object(self, train_loop_obj: Any) -> Any:
            super().register_train_loop_object(train_loop_obj)

    handler = handler_of()
    with pytest.raises(AttributeError, match=r"Lost\.register_train_loop_object returned None.*`return self`"):
        handler.register_callbacks([Lost("lost")])
    assert len(handler) == 0


def test_failing_registration_leaves_none_of_its_batch() -> None:
    class Fails(AbstractCallback):
        def on_train_loop_registration(self) -> None:
            raise OSError("no such folder")

    handler = handler_of()
    handler.register_callbacks([Ends("earlier")])
    with pytest.raises(OSError, match="no such folder"):
        handler.register_callbacks([Ends("a"), Fails("fails")])
    assert names(handler.train_loop_obj.callbacks) == ["earlier"]
    assert names(handler.cbs_on_epoch_end) == ["earlier"]


def test_registration_hook_sees_earlier_batches_only() -> None:
    seen: list[int] = []

    class Counts(AbstractCallback):
        def on_train_loop_registration(self) -> None:
            seen.append(len(self.train_loop_obj.callbacks))

    handler = handler_of()
    handler.register_callbacks([Ends("a")])
    handler.register_callbacks([Counts("b"), Counts("c")])
    assert seen == [1, 1]


def test_order_of_execution() -> None:
    log: list[str] = []
    handler = handler_of()
    handler.register_callbacks([Ends(name, order, log) for name, order in zip("ABCDE", [5, 0, -3, 0, 5], strict=True)])
    handler.execute_epoch_end()
    assert "".join(log) == "CBDAE"
    log.clear()
    handler.register_callbacks([Ends("F", -10, log), Ends("G", 1, log)])
    handler.execute_epoch_end()
    assert "".join(log) == "FCBDGAE"
    assert "".join(names(handler.train_loop_obj.callbacks)) == "FCBDGAE"


def test_registration_runs_in_the_order_of_the_list() -> None:
    log: list[str] = []

    class Registers(Ends):
        def on_train_loop_registration(self) -> None:
            self.log.append(self.callback_name)

    handler_of().register_callbacks([Registers("a", 5, log), Registers("b", -5, log)])
    assert log == ["a", "b"]


def test_cached_callbacks_come_first_in_the_next_batch() -> None:
    handler = handler_of()
    handler.register_callbacks([Ends("cached")], cache_callbacks=True)
    assert len(handler) == 0
    with pytest.raises(TypeError, match="not inherited"):
        handler.register_callbacks(["x"])  # type: ignore[list-item]
    assert names(handler.callbacks_cache) == ["cached"]
    handler.register_callbacks([Ends("a")])
    assert names(handler.train_loop_obj.callbacks) == ["cached", "a"]
    assert handler.callbacks_cache == []


@pytest.mark.parametrize("hook", NAMES)
def test_position_lists_and_runners(hook: str) -> None:
    calls: list[tuple[Any, ...]] = []
    callback = AbstractCallback("one hook")
    setattr(callback, hook, lambda *args: calls.append(args))
    loop = make_loop(quirks={"Q88": "fixed"})
    handler = loop.callbacks_handler
    handler.register_callbacks([callback])
    assert [bool(position) for position in handler.registered_cbs] == [name == hook for name in NAMES]
    runner, arguments = RUNNERS[hook]
    getattr(handler, runner)(*arguments)
    assert calls == [arguments]


def test_gradient_runner_is_for_optimizer_zero_by_default() -> None:
    calls: list[int] = []
    loop = make_loop()
    loop.grad_cb_used = True
    vars(callback := AbstractCallback("gradient"))["on_after_gradient_update"] = calls.append
    loop.callbacks_handler.register_callbacks([callback])
    loop.callbacks_handler.execute_gradient_update()
    assert calls == [0]


@pytest.mark.parametrize(
    "make_hook",
    [
        pytest.param(lambda log: functools.partial(log.append, 1), id="partial"),
        pytest.param(lambda log: Mock(side_effect=lambda: log.append(1)), id="mock"),
        pytest.param(lambda log: type("Hook", (), {"__call__": lambda self: log.append(1)})(), id="callable object"),
        pytest.param(lambda log: lambda: log.append(1), id="function"),
    ],
)
@pytest.mark.parametrize("when", ["before registration", "after registration"])
def test_hooks_put_on_the_instance(make_hook: Any, when: str) -> None:
    """Q87: whatever can be called will do, before the registration or after."""
    log: list[int] = []
    callback, handler = AbstractCallback("patched"), handler_of()
    if when == "after registration":
        handler.register_callbacks([callback])
    callback.on_epoch_end = make_hook(log)  # type: ignore[method-assign]
    if when == "before registration":
        handler.register_callbacks([callback])
    handler.execute_epoch_begin()
    handler.execute_epoch_begin()
    handler.execute_epoch_end()
    assert log == [1]


def test_patched_train_begin_hook_runs_in_order() -> None:
    log: list[str] = []
    first, second, handler = Ends("first", 1, log), Ends("second", 2, log), handler_of()
    handler.register_callbacks([first, second])
    second.on_train_begin = lambda: log.append("second")  # type: ignore[method-assign]
    handler.execute_train_begin()
    first.on_train_begin = lambda: log.append("first")  # type: ignore[method-assign]
    handler.execute_train_begin()
    assert log == ["second", "first", "second"]


def test_callback_taken_out_of_a_position_stays_out() -> None:
    callback, handler = Ends("a"), handler_of()
    handler.register_callbacks([callback])
    handler.cbs_on_epoch_end.remove(callback)
    handler.execute_epoch_begin()
    handler.execute_epoch_end()
    assert callback.log == []


def test_same_object_again_runs_twice_and_warns() -> None:
    callback, handler = Ends("a"), handler_of()
    handler.register_callbacks([callback])
    with pytest.warns(QuirkWarning, match="Q07: the Ends object passed to this loop is registered already"):
        handler.register_callbacks([callback])
    handler.execute_epoch_end()
    assert callback.log == ["a", "a"]
    assert len(handler) == 2


def test_same_object_twice_in_one_list_warns() -> None:
    callback, handler = Ends("a"), handler_of()
    with pytest.warns(QuirkWarning, match="Q07"):
        handler.register_callbacks([callback, callback])
    assert len(handler) == 2


def test_same_object_again_is_dropped_when_fixed() -> None:
    callback, handler = Ends("a"), handler_of(make_loop(quirks={"Q07": "fixed"}))
    handler.register_callbacks([callback, callback])
    handler.register_callbacks([callback, Ends("b")])
    assert names(handler.train_loop_obj.callbacks) == ["a", "b"]


class WantsGradients(AbstractCallback):
    def on_after_gradient_update(self, optimizer_idx: int) -> None:
        self.updates = optimizer_idx


def test_gradient_hook_nobody_asked_for_warns() -> None:
    loop = make_loop()
    with pytest.warns(QuirkWarning, match=r"Q88: WantsGradients\.on_after_gradient_update will not run.*grad_cb_used"):
        loop.fit(num_epochs=1, callbacks=[WantsGradients("w")])
    assert loop.grad_cb_used is False


def test_gradient_hooks_that_are_asked_for_at_train_begin_do_not_warn() -> None:
    class AsksLate(WantsGradients):
        def on_train_begin(self) -> None:
            self.train_loop_obj.grad_cb_used = True

    callback = AsksLate("w")
    make_loop().fit(num_epochs=1, callbacks=[callback])
    assert callback.updates == 0


def test_gradient_hook_is_switched_on_when_fixed() -> None:
    loop = make_loop(quirks={"Q88": "fixed"})
    loop.callbacks_handler.register_callbacks([WantsGradients("w")])
    assert loop.grad_cb_used is True


@pytest.mark.parametrize(
    "callbacks",
    [
        pytest.param([WantsGradients("w"), GradNormClip(1.0)], id="another callback switched the hooks on"),
        pytest.param([FunctionOnTrainLoop(print)], id="a built-in that decides itself"),
        pytest.param([GradientStatsPrint(lambda model: [model.layer])], id="a report at the end of epochs only"),
    ],
)
def test_no_warning_about_gradient_hooks(callbacks: list[AbstractCallback]) -> None:
    handler_of().register_callbacks(callbacks)


@pytest.mark.parametrize(
    ("here", "wanted", "enabled"),
    [
        pytest.param("cpu", 3, True, id="no numbered GPU here"),
        pytest.param("cuda:1", None, True, id="wants all"),
        pytest.param("cuda:1", 1, True, id="wants this one"),
        pytest.param("cuda:1", 0, False, id="wants another"),
    ],
)
def test_callbacks_of_another_device(
    here: str, wanted: int | None, enabled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = make_loop()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    loop.device = torch.device(here)
    callback = Ends("a")
    callback.device_idx_execution = wanted
    assert loop.callbacks_handler.should_enable_callback(callback) is enabled
    loop.callbacks_handler.register_callbacks([callback])
    assert len(loop.callbacks_handler) == enabled


def test_device_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = make_loop()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    callback = AbstractCallback("a", device_idx_execution=7)
    loop.callbacks_handler.enforce_callbacks_quality([callback])
    loop.device = torch.device("cuda:0")
    with pytest.raises(
        ValueError, match=r"device_idx_execution of 7 is too high.*only 2 available.*from 0 to 1, or None"
    ):
        loop.callbacks_handler.register_callbacks([callback])
    assert len(loop.callbacks_handler) == 0


def test_filter_after_the_device_is_known() -> None:
    loop = make_loop()
    handler = loop.callbacks_handler
    kept, dropped = Ends("kept"), Ends("dropped")
    kept.device_idx_execution, dropped.device_idx_execution = 1, 0
    handler.register_callbacks([kept, dropped])
    loop.device = torch.device("cuda:1")
    handler.mp_filter_callbacks()
    dropped.on_train_begin = lambda: pytest.fail("filtered out")  # type: ignore[method-assign]
    handler.execute_train_begin()
    assert loop.callbacks == handler.cbs_on_epoch_end == [kept]
    assert handler.registered_cbs[1] is handler.cbs_on_epoch_end


def test_split_places_without_listing() -> None:
    handler = handler_of()
    callback = Ends("a")
    handler.split_on_execution_position([callback])
    assert vars(callback)["train_loop_obj"] is None
    handler.split_on_execution_position([Ends("b", -1)], register_train_loop=True)
    assert names(handler.cbs_on_epoch_end) == ["b", "a"]
    assert handler.cbs_on_epoch_end[0].train_loop_obj is handler.train_loop_obj
    assert len(handler) == 0


def test_operators_register_and_return_the_handler() -> None:
    handler = same = handler_of()
    added = handler + [Ends("a")]  # noqa: RUF005
    handler += Ends("b")
    assert added is handler is same
    assert names(handler.train_loop_obj.callbacks) == ["a", "b"]


def test_membership_by_name_and_exact_type() -> None:
    handler = handler_of()
    handler.register_callbacks([Ends("a")])
    assert "a" in handler
    assert "b" not in handler
    assert Ends in handler
    assert AbstractCallback not in handler
