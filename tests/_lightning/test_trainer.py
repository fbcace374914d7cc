"""One fit from its start to its end: what it leaves of the process, and how an interrupt comes through."""

import copy
import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint, OnExceptionCheckpoint

from compat import AbstractCallback
from tests.toys import Linear, batches, make_loop


class InterruptHere(AbstractCallback):
    """Sends this process an interrupt, as Ctrl+C does."""

    def __init__(self) -> None:
        """Name it."""
        super().__init__("interrupt")

    def on_batch_begin(self) -> None:
        """Interrupt the second batch."""
        loop: Any = self.train_loop_obj
        if loop.total_iteration_idx == 1:
            os.kill(os.getpid(), signal.SIGINT)


def test_interrupt_by_signal_reaches_the_caller() -> None:
    loop, handler = make_loop(), signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        loop.fit(num_epochs=1, callbacks=[InterruptHere()])
    assert signal.getsignal(signal.SIGINT) is handler
    loop.callbacks_handler.cbs_on_batch_begin.clear()
    loop.fit(num_epochs=1)
    assert loop.total_iteration_idx == 4


def test_interrupt_inside_lightnings_own_code_reaches_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any) -> None:
        raise KeyboardInterrupt("between two hooks")

    monkeypatch.setattr("compat._lightning.cadence.set_epoch_length", interrupted)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="between two hooks"):
        make_loop().fit(num_epochs=1)
    assert signal.getsignal(signal.SIGINT) is handler


def test_users_own_signal_handler_stays_in_place() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))

    class Terminate(AbstractCallback):
        def __init__(self) -> None:
            super().__init__("terminate")

        def on_batch_begin(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    try:
        loop = make_loop()
        loop.fit(num_epochs=1, callbacks=[Terminate()])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM] * 3
    assert loop.total_iteration_idx == 2


def test_fit_in_another_thread() -> None:
    loop = make_loop()
    worker = threading.Thread(target=loop.fit, kwargs={"num_epochs": 1})
    worker.start()
    worker.join()
    assert loop.total_iteration_idx == 2


def test_anomaly_detection_of_the_user_stays_on() -> None:
    seen = []

    class Look(AbstractCallback):
        def __init__(self) -> None:
            super().__init__("look")

        def on_batch_end(self) -> None:
            seen.append(torch.is_anomaly_enabled())

    with torch.autograd.set_detect_anomaly(True, check_nan=False):
        make_loop().fit(num_epochs=1, callbacks=[Look()])
        assert torch.is_anomaly_enabled()
    assert seen == [True] * 3


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda loop: pickle.loads(pickle.dumps(loop))], ids=["deepcopy", "pickle"]
)
def test_copy_of_a_trained_loop_trains_on_its_own(copied: Any) -> None:
    loop = make_loop(quirks={"Q01": "kept"})
    loop.fit(num_epochs=1)
    twin = copied(loop)
    assert twin.trainer is None
    twin.fit(num_epochs=2)
    assert twin.total_iteration_idx > loop.total_iteration_idx


def test_deep_copy_of_the_module_copies_the_model_and_not_the_loop() -> None:
    loop = make_loop()
    loop.fit(num_epochs=1)
    module = copy.deepcopy(loop.lightning_module)
    assert module is not None
    assert module.model is not loop.model
    with pytest.raises(ReferenceError):
        _ = module.loop


def test_carried_errors_are_unwrapped() -> None:
    from compat._lightning.module import CarriedError, carried

    with pytest.raises(CarriedError) as caught, carried():
        raise StopIteration("mine")
    assert isinstance(caught.value.original, StopIteration)
    with pytest.raises(ValueError, match="mine"), carried():
        raise ValueError("mine")


def test_first_fit_of_a_process_leaves_pythons_generator_alone() -> None:
    # Only in a fresh process: what draws is an import.
    program = (
        "import random\n"
        "from tests.toys import make_loop\n"
        "loop = make_loop()\n"
        "before = random.getstate()\n"
        "loop.fit(num_epochs=1)\n"
        "assert random.getstate() == before\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


class Asks(Callback):
    """Asks what a native part would ask, and logs what it would log."""

    updates: int | float = 0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Ask."""
        self.updates = trainer.estimated_stepping_batches

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Log with the weight of the batch, which nobody says."""
        pl_module.log("own", float(batch_idx), on_step=True, on_epoch=True)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Log without a batch."""
        pl_module.log_dict({"late": 7.0})


def test_native_callbacks_log_through_the_module_as_through_any_other() -> None:
    sizes = (3, 1)
    train = [(torch.ones(size, 3), torch.ones(size, 1)) for size in sizes]
    loop, asks = make_loop(train=train, quirks={"Q19": "kept"}), Asks()
    loop.fit(1, callbacks=[asks])
    assert loop.trainer is not None
    metrics = loop.trainer.callback_metrics
    assert metrics["own_epoch"].item() == (0 * sizes[0] + 1 * sizes[1]) / sum(sizes)
    assert metrics["own_step"].item() == 1
    assert metrics["late"].item() == 7
    assert metrics["loss"].item() == loop.train_history["loss"][-1]


@pytest.mark.parametrize(("window", "updates"), [(1, 10), (3, 4), (5, 2)])
def test_the_number_of_updates_to_come_knows_of_windows(window: int, updates: int) -> None:
    loop, asks = make_loop(train=batches(5), quirks={"Q11": "kept"}), Asks()
    loop.fit(2, callbacks=[asks], grad_accumulation=window)
    assert loop.trainer is not None
    assert asks.updates == loop.trainer.global_step == updates


def test_a_file_of_an_earlier_exception_is_not_loaded_behind_the_loops_back(tmp_path: Path) -> None:
    class Fails(AbstractCallback):
        def on_batch_end(self) -> None:
            if self.train_loop_obj.total_iteration_idx == 1:
                raise ValueError("once")

    loop = make_loop(train=batches(3))
    with pytest.raises(ValueError, match="once"):
        loop.fit(1, callbacks=[OnExceptionCheckpoint(tmp_path), Fails("fails")])
    (saved,) = tmp_path.iterdir()
    assert torch.load(saved, weights_only=True)["global_step"] == 2
    fresh, reference = make_loop(train=batches(3)), make_loop(train=batches(3))
    fresh.fit(1, callbacks=[OnExceptionCheckpoint(tmp_path)])
    reference.fit(1)
    assert fresh.train_history.train_history == reference.train_history.train_history


class Nested(AbstractCallback):
    """Trains the loop once more, inside of its own first epoch."""

    def on_epoch_end(self) -> None:
        """Train."""
        loop: Any = self.train_loop_obj
        self.outer, self.on_epoch_end = loop.trainer, lambda: None  # type: ignore[method-assign]
        loop.fit(1)
        self.is_back = loop.trainer is self.outer


def test_a_fit_inside_a_fit_gives_the_outer_trainer_back_and_counts_its_updates() -> None:
    loop, nested = make_loop(train=batches(3), quirks={"Q88": "kept"}), Nested("nested")
    loop.fit(2, callbacks=[nested])
    assert nested.is_back
    assert loop.trainer is nested.outer
    assert loop._compat.updates == loop.total_iteration_idx + 1 == 9


def test_checkpoints_hold_the_optimizer_and_the_model_that_a_hook_has_put_in(tmp_path: Path) -> None:
    class Swaps(AbstractCallback):
        def on_train_begin(self) -> None:
            loop: Any = self.train_loop_obj
            loop.model = Linear()
            loop.optimizer = torch.optim.Adam(loop.model.parameters(), lr=0.125)

    loop = make_loop(train=batches(3))
    loop.fit(1, callbacks=[Swaps("swaps"), ModelCheckpoint(tmp_path)])
    (path,) = tmp_path.iterdir()
    saved = torch.load(path, weights_only=True)
    assert saved["optimizer_states"][0]["param_groups"][0]["lr"] == 0.125
    assert saved["state_dict"]["model.layer.weight"].equal(loop.model.layer.weight)
