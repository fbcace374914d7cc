"""What the program holds after a fit in workers: everything that was trained, in the objects that it had before."""

import copy
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from compat import TrainLoop
from tests.conftest import OWN_VARIABLES
from tests.ddp import by_hand
from tests.ddp.by_hand import weights_of
from tests.ddp.cases import CASES, Case, Went, adam, callbacks, duration, make_loop
from tests.ddp.compare import differences
from tests.ddp.fits import KEPT, states
from tests.ddp.models import Normed, StepLRScheduler, table
from tests.ddp.processes import descendants, left_in_shared_memory
from tests.ddp.test_weights import flat
from tests.ddp.watchers import Counts, Locks, Marked, Stops, notes, on_cpu
from tests.ddp.watchers import make_loop as small_loop

pytestmark = pytest.mark.timeout(180)
Outcomes = Callable[[int], Any]


class Surroundings:
    """What a fit must leave as it was, beside what the guard of each test looks at."""

    def __init__(self) -> None:
        """Note how it is."""
        self.now = self.look()

    @staticmethod
    def look() -> dict[str, Any]:
        """Look at this process."""
        return {
            "processes": descendants(),
            "shared memory": left_in_shared_memory(),
            "handlers": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)],
            "variables": {name: value for name, value in os.environ.items() if name not in OWN_VARIABLES},
            "threads": threading.active_count(),
            "random numbers": torch.get_rng_state().tolist(),
        }

    def check(self) -> None:
        """Fail if something is not as it was."""
        after = self.look()
        for name, value in after.items():
            assert value == self.now[name], name


@pytest.mark.parametrize(
    ("name", "processes"),
    [
        ("two networks, a window", 2),
        ("a feed definition", 2),
        ("parts of the model, shuffled, a window", 2),
        ("iterations", 3),
    ],
)
def test_weights_and_optimizers_are_those_of_the_hand_written_loop(
    by_hands: Outcomes, name: str, processes: int
) -> None:
    case, wanted = CASES[name], by_hands(processes)[name]
    loop = make_loop(case, quirks=KEPT)
    model, optimizer, parameters = loop.model, loop.optimizer, list(loop.model.parameters())
    before = Surroundings()
    returned = loop.fit(
        **duration(case, 0), callbacks=callbacks(case), grad_accumulation=case.window, **on_cpu(processes)
    )
    before.check()
    assert returned is model is loop.model
    assert loop.optimizer is optimizer
    assert all(one is two for one, two in zip(model.parameters(), parameters, strict=True))
    assert not any(parameter.is_shared() for parameter in parameters), "nothing is left in another process's memory"
    assert differences(weights_of(model), wanted["weights"], 0) == []
    for ours, theirs in zip(states(optimizer), wanted["optimizers"], strict=True):
        assert differences(flat(ours["state"]), flat(theirs["state"]), 0) == []
    assert (loop.epoch, loop.total_iteration_idx + 1) == (wanted["epoch"], wanted["iterations"])
    assert "module" not in vars(model)


def test_second_fit_goes_on_from_the_first(by_hands: Outcomes) -> None:
    """Callbacks for both, registered in the first; the parent evaluates in between, which must change nothing."""
    case, counts, schedule = CASES["two fits"], Counts(), StepLRScheduler(1, gamma=1.0)
    loop = make_loop(case, quirks=KEPT)
    history = loop.train_history
    loop.fit(num_epochs=2, callbacks=[counts, schedule], **on_cpu())
    assert loop.callbacks == [counts, schedule]
    assert counts.train_loop_obj is loop
    assert schedule.scheduler.optimizer is loop.optimizer
    assert schedule.scheduler.last_epoch == 2
    assert (loop.epoch, loop.iteration, loop.total_iteration_idx) == (1, 5, 11)
    assert (loop.early_stop, loop.ddp_rank, loop.is_main_process(), loop.model.training) == (False, None, True, True)
    assert loop.train_history is history
    assert counts.batches == 12
    assert counts.losses == history["val_loss"]
    assert counts.best["epoch"] == 1
    assert all(map(torch.equal, counts.best["weights"], loop.model.parameters()))
    assert 0 in counts.ranks
    # What one process says of these weights.
    alone = TrainLoop(copy.deepcopy(loop.model), *loop_data(loop), loop.optimizer, loop.criterion, quirks=KEPT)
    assert loop.evaluate_loss_on_validation_set().item() == history["val_loss"][-1]
    assert alone.evaluate_loss_on_validation_set().item() == history["val_loss"][-1]
    assert torch.equal(loop.predict_on_test_set()[0], alone.predict_on_test_set()[0])
    loop.fit(num_epochs=3, **on_cpu())
    wanted = by_hands(2)["two fits"]
    assert differences(weights_of(loop.model), wanted["weights"], 0) == []
    assert differences(flat(states(loop.optimizer)[0]["state"]), flat(wanted["optimizers"][0]["state"]), 0) == []
    assert (loop.epoch, loop.total_iteration_idx) == (2, 23)
    assert differences({"a": history["val_loss"]}, {"a": wanted["of one process"]["val_loss"]}, 0) == []
    assert schedule.scheduler.optimizer is loop.optimizer
    assert schedule.scheduler.last_epoch == 4, "one scheduler, that goes on"
    assert counts.batches == 24
    assert len(counts.losses) == 4


def loop_data(loop: Any) -> tuple[Any, Any, Any]:
    """Return the loaders of a loop."""
    return loop.train_loader, loop.validation_loader, loop.test_loader


def test_fits_in_one_process_before_and_after(tmp_path: Path) -> None:
    case = Case(model=Normed, optimizers=adam)
    loop = make_loop(case, quirks=KEPT)
    loop.gpu_mode = "single"
    torch.manual_seed(5)
    loop.fit(num_epochs=1)
    went = Case(
        model=Went(Normed, [copy.deepcopy(loop.model.state_dict())]),
        optimizers=Went(adam, [copy.deepcopy(loop.optimizer.state_dict())]),
        # The epoch that was last is run again (quirk Q01).
        fits=(3,),
    )
    loop.gpu_mode = "ddp"
    loop.fit(num_epochs=3, **on_cpu())
    wanted = by_hand.run(2, tmp_path, {"went": went})["went"]
    assert differences(weights_of(loop.model), wanted["weights"], 0) == []
    assert differences(flat(states(loop.optimizer)[0]["state"]), flat(wanted["optimizers"][0]["state"]), 0) == []
    assert (loop.epoch, loop.total_iteration_idx) == (2, 11 + 18)
    assert len(loop.train_history["loss"]) == 4

    twin = make_loop(case, quirks=KEPT)
    twin.model.load_state_dict(copy.deepcopy(loop.model.state_dict()))
    twin.optimizer.load_state_dict(copy.deepcopy(loop.optimizer.state_dict()))
    twin.epoch = loop.epoch
    for one in (loop, twin):
        one.gpu_mode = "single"
        torch.manual_seed(6)
        one.fit(num_epochs=4)
    assert differences(weights_of(loop.model), weights_of(twin.model), 0) == []
    assert loop.train_history["loss"][-2:] == twin.train_history["loss"]


def test_what_could_not_come_home_is_made_anew_where_its_callback_runs(tmp_path: Path) -> None:
    locks = Locks(str(tmp_path))
    loop = small_loop()
    loop.fit(num_epochs=1, callbacks=[locks], **on_cpu())
    assert locks.lock is None
    loop.fit(num_epochs=2, **on_cpu())
    assert loop.callbacks == [locks]
    # Quirk Q01: the last epoch runs again.
    assert notes(tmp_path, "locked") == {"1": [0, 0, 1]}
    assert notes(tmp_path, "registered") == {"1": [5, 5]}


def test_early_stop_of_one_process_stops_all() -> None:
    """The loaders are a list of batches, and one with workers; the model keeps a number that is no parameter."""
    stops, model = Stops(1), Marked()
    rows = TensorDataset(*table(5, seed=2))
    validation = DataLoader(rows, batch_size=2, num_workers=1, persistent_workers=True, prefetch_factor=3)
    loop = small_loop(model=model, validation_loader=validation)
    loop.train_loader = list(loop.train_loader)
    loop.fit(num_epochs=5, callbacks=[stops], **on_cpu())
    assert (loop.early_stop, loop.epoch, loop.total_iteration_idx) == (True, 0, 1)
    assert {key: len(values) for key, values in loop.train_history.train_history.items()} == {
        "loss": 1,
        "accumulated_loss": 1,
        "val_loss": 1,
    }
    assert stops.train_loop_obj is loop
    assert stops.asked == [0], "what a callback of one process holds comes from there"
    assert isinstance(loop.train_loader, list)
    assert model.seen > 2
    assert loop.callbacks == [stops]
    assert loop.validation_loader is validation
    assert validation._iterator is None, "it was opened in the workers alone"


def test_control_surroundings_are_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Surroundings()
    before.check()
    monkeypatch.setenv("MASTER_PORT", "1")
    with pytest.raises(AssertionError, match=r"^variables"):
        before.check()
