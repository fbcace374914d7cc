"""Lightning's callbacks of several fits: which newer one takes whose place, and what a fit that fails leaves behind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch.callbacks as native
import pytest
from lightning.pytorch import Callback

from compat import AbstractCallback
from compat.callbacks._native import superseded
from compat.exceptions import CompatError, InvalidArgumentError, RefusedError
from tests.toys import Recorder, batches, make_loop


class Plain(Callback):
    """Keeps no state."""

    seen = 0

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Count."""
        self.seen += 1


class Stateful(Callback):
    """Keeps one."""

    def state_dict(self) -> dict[str, Any]:
        """Return it."""
        return {"x": 1}


class Fails(Callback):
    """Raises in one hook."""

    def __init__(self, hook: str, error: BaseException, epoch: int = 0) -> None:
        """Put the hook in."""
        self.epoch = epoch

        def act(trainer: Any, *_: Any, **__: Any) -> None:
            if trainer.current_epoch >= self.epoch:
                raise error

        setattr(self, hook, act)


class Brings(AbstractCallback):
    """Registers callbacks from its own registration."""

    def __init__(self, *brought: Any) -> None:
        """Keep them."""
        super().__init__("brings")
        self.brought = brought

    def on_train_loop_registration(self) -> None:
        """Register them."""
        loop: Any = self.train_loop_obj
        loop.grad_cb_used = True
        loop.callbacks_handler.register_callbacks(list(self.brought))


def a_few(**options: Any) -> Any:
    return make_loop(train=batches(2), quirks={"Q01": "fixed"}, **options)


KINDS: dict[str, Callable[[], Any]] = {
    "a bar": native.TQDMProgressBar,
    "a checkpoint": lambda: native.ModelCheckpoint(monitor="loss", save_top_k=0),
    "a stop": lambda: native.EarlyStopping("loss"),
    "a ready-made one without a state": native.ModelSummary,
    "one's own with a state": Stateful,
}


# --- newer ones -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_one_that_is_made_anew_for_a_later_fit_takes_the_place_of_the_older_one(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    loop, first, second = a_few(), KINDS[kind](), KINDS[kind]()
    loop.fit(1, callbacks=[first])
    loop.fit(2, callbacks=[second])
    assert loop.callbacks_handler.native_callbacks == [second]
    assert second in loop.trainer.callbacks
    assert first not in loop.trainer.callbacks
    loop.fit(3)
    assert second in loop.trainer.callbacks


def test_another_kind_of_bar_takes_the_place_too() -> None:
    class Bar(native.TQDMProgressBar):
        pass

    loop, bar = a_few(), Bar()
    loop.fit(1, callbacks=[native.TQDMProgressBar()])
    loop.fit(2, callbacks=[bar])
    assert loop.callbacks_handler.native_callbacks == [bar]


def test_ones_of_other_arguments_and_ones_own_without_a_state_stay() -> None:
    loop, first, second = a_few(), Plain(), Plain()
    stops = [native.EarlyStopping("loss"), native.EarlyStopping("accumulated_loss")]
    lambdas = [native.LambdaCallback(), native.LambdaCallback()]
    loop.fit(1, callbacks=[first, stops[0], lambdas[0]])
    loop.fit(2, callbacks=[second, stops[1], lambdas[1]])
    assert loop.callbacks_handler.native_callbacks == [first, stops[0], lambdas[0], second, stops[1], lambdas[1]]
    assert (first.seen, second.seen) == (2, 1)


def test_one_that_is_passed_again_gives_way_to_nothing() -> None:
    old, new = Stateful(), Stateful()
    assert superseded([old], [new]) == [old]
    assert superseded([old], [old]) == []
    assert superseded([old], [old, new]) == []
    assert superseded([], [new]) == []
    loop = a_few()
    loop.fit(1, callbacks=[old])
    with pytest.raises(InvalidArgumentError, match=r"two Stateful .* The Stateful is registered already; callbacks_h"):
        loop.fit(2, callbacks=[old, new])


def test_within_one_fit_nothing_gives_way() -> None:
    loop, bar = a_few(), native.TQDMProgressBar()
    loop.callbacks_handler.register_callbacks([bar])
    said = r"TQDMProgressBar, TQDMProgressBar\. Pass one of them\. The TQDMProgressBar is registered already; callbacks"
    with pytest.raises(InvalidArgumentError, match=said):
        loop.fit(1, callbacks=[native.TQDMProgressBar()])
    loop.callbacks_handler.native_callbacks.remove(bar)
    loop.fit(1, callbacks=[native.TQDMProgressBar()])


def test_a_bar_of_lightning_args_gives_way_to_none() -> None:
    loop = a_few(lightning_args={"callbacks": native.TQDMProgressBar()})
    for epochs in (1, 2):
        with pytest.raises(InvalidArgumentError, match=r"The TQDMProgressBar is given in lightning_args=\{'callbacks'"):
            loop.fit(epochs, callbacks=[native.TQDMProgressBar()])
        loop.fit(epochs)


# --- fits that fail -------------------------------------------------------------------------------------------------


def test_what_monitors_a_name_that_is_not_there_spoils_one_fit_only() -> None:
    loop = a_few()
    with pytest.raises(RuntimeError, match="val_los") as caught:
        loop.fit(1, callbacks=[native.EarlyStopping("val_los"), Recorder()])
    (note,) = caught.value.__notes__
    assert note.endswith("is not registered any more: EarlyStopping. Pass it again to the next fit.")
    assert loop.callbacks_handler.native_callbacks == []
    # The old ones stay, as in the old loop.
    assert len(loop.callbacks) == 1
    loop.fit(2, callbacks=[native.EarlyStopping("loss")])
    assert len(loop.callbacks_handler.native_callbacks) == 1


@pytest.mark.parametrize("hook", ["setup", "on_train_start", "on_train_batch_end", "on_train_epoch_end"])
def test_a_fit_that_fails_in_its_first_epoch_brings_back_what_was_there_before(hook: str) -> None:
    loop, plain, bars = a_few(), Plain(), [native.TQDMProgressBar(), native.TQDMProgressBar()]
    loop.fit(1, callbacks=[plain, bars[0]])
    with pytest.raises(ArithmeticError, match="oh"):
        loop.fit(3, callbacks=[bars[1], Fails(hook, ArithmeticError("oh"))])
    assert loop.callbacks_handler.native_callbacks == [plain, bars[0]]
    bar = native.TQDMProgressBar()
    loop.fit(3, callbacks=[bar])
    assert loop.callbacks_handler.native_callbacks == [plain, bar]


def test_after_an_epoch_and_after_an_interrupt_they_stay() -> None:
    loop, late, plain = a_few(), Fails("on_train_epoch_start", ArithmeticError("oh"), epoch=1), Plain()
    with pytest.raises(ArithmeticError, match="oh") as caught:
        loop.fit(3, callbacks=[late])
    assert loop.callbacks_handler.native_callbacks == [late]
    assert not hasattr(caught.value, "__notes__")
    loop, early = a_few(), Fails("on_train_batch_end", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        loop.fit(3, callbacks=[early, plain])
    assert loop.callbacks_handler.native_callbacks == [early, plain]


def test_epochs_of_an_earlier_fit_count_for_nothing() -> None:
    loop = a_few()
    loop.fit(2)
    with pytest.raises(ArithmeticError, match="oh"):
        loop.fit(4, callbacks=[Fails("on_train_epoch_end", ArithmeticError("oh"))])
    assert loop.callbacks_handler.native_callbacks == []


def test_what_was_registered_before_stays_after_a_failure_and_gives_way_to_a_newer_one() -> None:
    loop, bad = a_few(), Fails("on_train_start", ArithmeticError("oh"))
    bar = native.TQDMProgressBar()
    loop.callbacks_handler.register_callbacks([bar])
    with pytest.raises(ArithmeticError, match="oh"):
        loop.fit(1, callbacks=[bad])
    assert loop.callbacks_handler.native_callbacks == [bar]
    newer = native.TQDMProgressBar()
    loop.fit(1, callbacks=[newer])
    assert loop.callbacks_handler.native_callbacks == [newer]


# --- registration hooks ---------------------------------------------------------------------------------------------

BROUGHT: dict[str, tuple[Callable[[], Any], type[CompatError], str]] = {
    "averaging": (lambda: native.StochasticWeightAveraging(0.1), RefusedError, "StochasticWeightAveraging is not serv"),
    "accumulation": (
        lambda: native.GradientAccumulationScheduler({0: 2}),
        RefusedError,
        "GradientAccumulationScheduler is not served",
    ),
    "no logger": (native.LearningRateMonitor, InvalidArgumentError, "LearningRateMonitor has nowhere to write"),
}


@pytest.mark.parametrize("name", BROUGHT)
def test_what_a_registration_hook_brings_is_screened_and_nothing_of_the_fit_stays_registered(name: str) -> None:
    make, error, text = BROUGHT[name]
    loop, recorder, plain, earlier = a_few(), Recorder(), Plain(), Recorder()
    waiting = Recorder()
    loop.fit(1, callbacks=[earlier])
    trainer, seen = loop.trainer, len(earlier.events)
    loop.callbacks_handler.register_callbacks([waiting], cache_callbacks=True)
    with pytest.raises(error, match=text):
        loop.fit(2, callbacks=[plain, recorder, Brings(Recorder(), make())])
    handler = loop.callbacks_handler
    assert loop.callbacks == [earlier]
    assert handler.native_callbacks == []
    assert handler.callbacks_cache == [waiting]
    assert {id(each) for position in handler.registered_cbs for each in position} == {id(earlier)}
    assert not loop.grad_cb_used
    assert loop.trainer is trainer
    assert len(earlier.events) == seen
    loop.fit(2)
    assert len(loop.train_history["loss"]) == 2
    assert loop.callbacks == [earlier, waiting]


def test_a_good_one_that_a_hook_brings_runs() -> None:
    loop, plain = a_few(), Plain()
    loop.fit(2, callbacks=[Brings(plain)])
    assert plain.seen == 2
    assert loop.callbacks_handler.native_callbacks == [plain]
