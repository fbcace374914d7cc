"""The ledger: what really happened in a process, and which lines of the user's code led to it."""

import inspect
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from compat import EarlyStopping, TTBasicModel, _ledger, append_concat_predictions, quirks
from compat._ledger import Entry, Place
from compat.exceptions import DifferenceError
from compat.train_loop import TrainLoop
from tests.toys import Linear, Recorder, TwoHeads, batches, make_loop


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    _ledger.clear()
    yield
    _ledger.unwatch()
    _ledger.clear()


@pytest.fixture
def watched() -> None:
    _ledger.watch()


def here() -> int:
    """Return the line that calls this."""
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_lineno


def names() -> dict[str, int]:
    return {entry.feature.removeprefix("compat."): entry.count for entry in _ledger.entries() if entry.kind == "name"}


def test_nobody_watches_unless_asked_to() -> None:
    make_loop().fit(num_epochs=1)
    _ledger.used("compat.history.TrainingHistory")
    assert _ledger.entries() == ()


@pytest.mark.usefixtures("watched")
@pytest.mark.parametrize(
    ("what", "path"),
    [
        pytest.param("compat.train_loop.TrainLoop.fit", "compat.train_loop.TrainLoop.fit", id="path"),
        pytest.param(TrainLoop, "compat.train_loop.TrainLoop", id="class"),
        pytest.param(EarlyStopping(), "compat.callbacks.stopping.EarlyStopping", id="instance"),
        pytest.param(Linear, "compat.model.TTBasicModel", id="class of the user's"),
        pytest.param(Linear(), "compat.model.TTBasicModel", id="instance of a class of the user's"),
        pytest.param(append_concat_predictions, "compat.data.append_concat_predictions", id="function"),
        pytest.param(TrainLoop.fit, "compat.train_loop.TrainLoop.fit", id="method"),
        pytest.param(partial(append_concat_predictions, 1), "compat.data.append_concat_predictions", id="partial"),
    ],
)
def test_used_finds_what_is_ours(what: Any, path: str) -> None:
    _ledger.used(what)
    assert [(entry.feature, entry.kind, entry.mode, entry.count) for entry in _ledger.entries()] == [
        (path, "name", "", 1)
    ]


@pytest.mark.usefixtures("watched")
@pytest.mark.parametrize("what", [torch.optim.SGD, torch.nn.MSELoss(), print, lambda: None, 1, None, here])
def test_used_leaves_out_what_is_not(what: Any) -> None:
    _ledger.used(what)
    assert _ledger.entries() == ()


@pytest.mark.usefixtures("watched")
def test_private_base_gives_way_to_a_public_one() -> None:
    class _Own(TTBasicModel):
        __module__ = "compat.somewhere"

    _ledger.used(_Own)
    assert names() == {"model.TTBasicModel": 1}


@pytest.mark.usefixtures("watched")
def test_fit_notes_what_it_was_made_of() -> None:
    stopping = EarlyStopping("accumulated_loss", patience=5)
    loop = make_loop(validation=batches(1), collate_batch_pred_fn=append_concat_predictions)
    loop.fit(num_epochs=2, callbacks=[stopping, Recorder()])
    assert names() == {
        "train_loop.TrainLoop": 1,
        "train_loop.TrainLoop.fit": 1,
        "data.append_concat_predictions": 1,
        "model.TTBasicModel": 1,
        "callbacks.stopping.EarlyStopping": 1,
        "callbacks.abstract.AbstractCallback": 1,
    }


@pytest.mark.usefixtures("watched")
def test_several_losses_are_noted_once_an_epoch() -> None:
    quirks.set(Q42="kept")
    make_loop(TwoHeads()).fit(num_epochs=2)
    assert names()["losses.MultiLoss"] == 2


@pytest.mark.usefixtures("watched")
def test_only_the_evaluations_that_the_program_asks_for_are_noted() -> None:
    loop = make_loop(validation=batches(1), test=batches(1))
    loop.fit(num_epochs=1)
    assert not [name for name in names() if "evaluate" in name or "predict" in name]
    loop.evaluate_loss_on_validation_set()
    loop.predict_on_test_set()
    loop.predict_on_test_set()
    loop.evaluate_model_loss(batches(1))
    loop.predict_with_model(batches(1))
    found = {
        name.rpartition(".")[2]: count for name, count in names().items() if "evaluate" in name or "predict" in name
    }
    assert found == {
        "evaluate_loss_on_validation_set": 1,
        "predict_on_test_set": 2,
        "evaluate_model_loss": 1,
        "predict_with_model": 1,
    }


@pytest.mark.usefixtures("watched")
def test_places_are_the_users_lines() -> None:
    quirks.set(Q01="kept")
    loop, line = make_loop(), here()
    loop.fit(num_epochs=1)
    for _ in range(2):
        loop.fit(num_epochs=1)
    entry = next(entry for entry in _ledger.entries() if entry.feature.endswith(".fit"))
    assert entry.places == (Place(__file__, line + 1, 1), Place(__file__, line + 3, 2))
    assert entry.count == 3


def test_only_the_first_places_are_kept_and_all_are_counted() -> None:
    code = "\n".join(["from compat import _ledger", *["_ledger.happened('Q20', 'fixed')"] * 15])
    exec(compile(code, "program.py", "exec"), {"__name__": "__main__"})
    (entry,) = _ledger.entries()
    assert entry.count == 15
    assert entry.places == tuple(Place("program.py", line, 1) for line in range(2, 12))


def test_happened_keeps_modes_apart_and_the_first_detail() -> None:
    for mode, detail in (("kept", "first"), ("fixed", "other"), ("kept", "second")):
        _ledger.happened("Q11", mode, detail)
    found = [(entry.feature, entry.kind, entry.mode, entry.detail, entry.count) for entry in _ledger.entries()]
    assert found == [("Q11", "quirk", "kept", "first", 2), ("Q11", "quirk", "fixed", "other", 1)]
    assert all(isinstance(entry, Entry) for entry in _ledger.entries())


def test_clear_by_kind() -> None:
    _ledger.watch()
    _ledger.used(TrainLoop)
    _ledger.happened("Q11", "kept")
    _ledger.clear("quirk")
    assert [entry.kind for entry in _ledger.entries()] == ["name"]
    _ledger.clear()
    assert _ledger.entries() == ()


def test_strict_raises_for_what_is_corrected_and_counts_it() -> None:
    _ledger.watch(strict=True)
    _ledger.happened("Q11", "kept")
    with pytest.raises(DifferenceError, match=r"^Q41: names were swapped\.$"):
        _ledger.happened("Q41", "fixed", "names were swapped")
    assert [entry.count for entry in _ledger.entries()] == [1, 1]
    _ledger.watch()
    _ledger.happened("Q41", "fixed")
    _ledger.watch(strict=True)
    _ledger.unwatch()
    _ledger.happened("Q41", "fixed")
    assert _ledger.entries()[1].count == 3


def test_threads_lose_no_count() -> None:
    def work() -> None:
        for _ in range(300):
            _ledger.happened("Q11", "kept")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry.count for entry in _ledger.entries()] == [2400]


@pytest.mark.parametrize(
    "module", ["compat.train_loop", "aitoolbox.torchtrain", "importlib._bootstrap", "runpy", "torch.nn"]
)
def test_frames_that_are_not_the_users_are_passed_over(module: str) -> None:
    inner: dict[str, Any] = {"__name__": module}
    exec(compile("def call(function):\n    return function()", "inner.py", "exec"), inner)
    level, file, line = inner["call"](_ledger.user_frame)
    assert (level, file, line) == (2, __file__, here() - 1)


def test_control_a_frame_of_the_users_is_not_passed_over() -> None:
    inner: dict[str, Any] = {"__name__": "compatible.tools"}
    exec(compile("def call(function):\n    return function()", "inner.py", "exec"), inner)
    assert inner["call"](_ledger.user_frame) == (1, "inner.py", 2)


def test_program_that_is_run_by_the_command_line_is_the_users(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "from compat import _ledger\n_ledger.happened('Q20', 'fixed')\nprint(_ledger.entries()[0].places)\n"
    )
    text = f"import runpy; runpy.run_path({str(program)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout == f"(Place(file={str(program)!r}, line=2, count=1),)\n"


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="needs fork")
def test_child_does_not_wait_for_a_thread_of_its_parent() -> None:
    text = """
import os, threading, warnings
from compat import _ledger
warnings.simplefilter("ignore")
held, done = threading.Event(), threading.Event()
def hold():
    with _ledger._ledger.lock:
        held.set()
        done.wait()
thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if child == 0:
    _ledger.happened("Q20", "fixed")
    os._exit(7)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
done.set()
thread.join()
print(code)
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "7\n"


def test_ledger_loads_neither_torch_nor_lightning() -> None:
    text = "import sys; from compat import quirks; quirks.counts(); print({'torch', 'lightning'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
