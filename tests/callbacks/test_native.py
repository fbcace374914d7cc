"""Lightning's callbacks in the old handler: told apart, registered beside the old ones, kept over fits."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, Timer

from compat import AbstractCallback, as_lightning_callback
from compat.callbacks._native import is_native, package_of, split
from compat.exceptions import InvalidArgumentError, InvalidTypeError
from tests.toys import Recorder, make_loop


class Epochs(Callback):
    """Counts the epochs that it hears of."""

    seen = 0

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Count."""
        self.seen += 1


def test_objects_are_told_apart() -> None:
    timer, recorder = Timer(), Recorder()
    assert package_of(timer) == "lightning"
    assert [is_native(each) for each in (timer, recorder, Timer, None, "timer")] == [True, False, False, False, False]
    assert split([recorder, timer, 3]) == ([recorder, 3], [timer])


def test_telling_them_apart_does_not_import_lightning() -> None:
    code = (
        "import sys; from compat.callbacks._native import is_native; is_native(object());"
        "sys.exit('lightning' in sys.modules or 'pytorch_lightning' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_mixed_callbacks_are_registered_each_in_its_place() -> None:
    loop, epochs, recorder = make_loop(), Epochs(), Recorder()
    loop.fit(2, callbacks=[epochs, recorder])
    assert loop.callbacks == [recorder]
    assert loop.callbacks_handler.native_callbacks == [epochs]
    assert epochs.seen == recorder.names().count("epoch_end") == 2
    assert len(loop.callbacks_handler) == 1


def test_a_single_native_callback_needs_no_list() -> None:
    loop, epochs = make_loop(), Epochs()
    loop.fit(1, callbacks=epochs)
    assert epochs.seen == 1


def test_native_callbacks_are_kept_over_fits_and_run_once_however_often_they_are_passed() -> None:
    loop, epochs = make_loop(quirks={"Q01": "fixed"}), Epochs()
    loop.fit(1, callbacks=[epochs])
    loop.fit(2)
    loop.fit(3, callbacks=[epochs])
    assert epochs.seen == 3
    assert loop.callbacks_handler.native_callbacks == [epochs]


def test_the_handler_takes_them_before_a_fit() -> None:
    loop, epochs = make_loop(), Epochs()
    loop.callbacks_handler.register_callbacks([epochs])
    loop.callbacks_handler += [EarlyStopping("loss", patience=9)]
    loop.fit(1)
    assert epochs.seen == 1
    assert len(loop.callbacks_handler.native_callbacks) == 2


def test_in_a_fit_the_handler_refuses_them() -> None:
    class Late(AbstractCallback):
        def on_epoch_begin(self) -> None:
            self.train_loop_obj.callbacks_handler.register_callbacks([Epochs()])

    loop = make_loop()
    with pytest.raises(InvalidArgumentError, match="Epochs is a callback of Lightning's, and comes while the Trainer"):
        loop.fit(1, callbacks=[Late("late")])
    assert not loop.callbacks_handler.native_callbacks


def test_cached_ones_come_with_the_next_batch() -> None:
    loop, epochs, recorder = make_loop(), Epochs(), Recorder()
    loop.callbacks_handler.register_callbacks([epochs, recorder], cache_callbacks=True)
    assert not loop.callbacks_handler.native_callbacks
    loop.fit(1, callbacks=[])
    assert epochs.seen == 1
    assert loop.callbacks == [recorder]


def test_what_an_old_registration_refuses_leaves_no_native_one() -> None:
    class Fails(AbstractCallback):
        def on_train_loop_registration(self) -> None:
            raise ValueError("no")

    loop = make_loop()
    with pytest.raises(ValueError, match="no"):
        loop.fit(1, callbacks=[Epochs(), Fails("fails")])
    assert not loop.callbacks_handler.native_callbacks


def test_a_listing_names_them() -> None:
    loop = make_loop()
    before = str(loop.callbacks_handler)
    loop.callbacks_handler.register_callbacks([Epochs()])
    assert str(loop.callbacks_handler) == before + "Of Lightning:\n\tEpochs\n"


def test_a_class_of_both_kinds_is_refused_by_every_door() -> None:
    class Both(AbstractCallback, Callback):  # type: ignore[misc]  # What mypy says of it is the very reason.
        """Has two on_train_end."""

    said = "Both derives from AbstractCallback and from the Callback of lightning.*Make two classes"
    loop, both = make_loop(), Both("both")
    doors: list[Callable[[], Any]] = [
        lambda: loop.fit(1, callbacks=[both]),
        lambda: loop.fit(1, callbacks=both),
        lambda: loop.callbacks_handler.register_callbacks([both]),
        lambda: make_loop(lightning_args={"callbacks": [both]}),
        lambda: as_lightning_callback(both),
    ]
    for door in doors:
        with pytest.raises(InvalidTypeError, match=said):
            door()
    assert loop.callbacks == loop.callbacks_handler.native_callbacks == []
    assert loop.trainer is None
