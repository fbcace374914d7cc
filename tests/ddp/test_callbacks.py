"""Callbacks in several processes: where and when they run, and what they may do alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compat import TrainLoop
from tests.ddp.watchers import Alone, Asks, Hooks, Loads, Seeded, make_loop, notes, on_cpu

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Path]]:
    """Train two epochs with callbacks of every kind, and return the loop and the folder with their notes."""
    folder = tmp_path_factory.mktemp("watched")
    Seeded.folder = str(folder)
    loop = make_loop(Seeded, train_loader=None, validation_loader=None, test_loader=None)
    loop.folder = str(folder)
    given = [
        Asks(folder, "asks", order=50),
        Hooks(folder, "hooks"),
        Alone(folder, "first", order=-10, device_idx_execution=0),
        Alone(folder, "second", order=10, device_idx_execution=1),
    ]
    loop.fit(num_epochs=2, callbacks=given, in_process_data_load=Loads(folder), **on_cpu())
    yield loop, folder
    Seeded.folder = ""


Watched = tuple[Any, Path]


def test_hooks_run_in_each_process_in_the_old_order(watched: Watched) -> None:
    epochs = [
        [
            ["epoch_begin", epoch],
            ["batch_begin", 0],
            ["batch_end", 2 * epoch],
            ["batch_begin", 1],
            ["batch_end", 2 * epoch + 1],
            ["epoch_end", watched[0].train_history["val_loss"][epoch]],
        ]
        for epoch in range(2)
    ]
    noted = notes(watched[1], "hooks")
    assert list(noted) == ["0", "1"], "not in the parent"
    for rank, lines in noted.items():
        registration, start, begin, *rest = lines
        assert (registration[0], registration[2:]) == ("registration", [int(rank), True])
        assert start == ["multiprocess_start", True, 0], "the seed of the reference"
        assert begin == ["train_begin", 2, rank == "0"], "four batches, dealt out"
        assert rest == [*epochs[0], *epochs[1], ["train_end", False]]
    assert noted["0"][0][1] != noted["1"][0][1]


def test_callback_of_one_process_runs_there_alone(watched: Watched) -> None:
    assert list(notes(watched[1], "first")) == ["0"]
    assert list(notes(watched[1], "second")) == ["1"]


def test_what_it_predicts_alone_is_what_all_predict_together(watched: Watched) -> None:
    """One of them comes before the others have predicted, one after; the loop's train loader is dealt out by then."""
    together = notes(watched[1], "asks")
    assert list(together) == ["0", "1"]
    for epoch in range(2):
        alone = [notes(watched[1], "first")["0"][epoch], notes(watched[1], "second")["1"][epoch]]
        for rank in range(2):
            assert alone[rank][:3] == together["0"][epoch][:3] == together["1"][epoch][:3]
            assert alone[rank][3] == together[str(rank)][epoch][3] == rank
        predictions, trained, losses, _ = together["0"][epoch]
        assert (len(predictions), len(trained)) == (5, 8)
        history = watched[0].train_history
        assert losses == [history["loss"][epoch], history["val_loss"][epoch]]


def test_each_process_loads_its_data(watched: Watched) -> None:
    loop, folder = watched
    assert notes(folder, "loads") == {"0": [[True, 0]], "1": [[True, 1]]}
    assert (loop.train_loader, loop.validation_loader) == (None, None)
    assert len(loop.train_history["val_loss"]) == 2


def test_override_of_spawn_fit_runs_in_each_process(watched: Watched) -> None:
    assert notes(watched[1], "spawned") == {str(rank): [[rank, [2, 2, 0, "gloo", False], 2]] for rank in (0, 1)}


def test_parent_knows_its_callbacks_afterwards(watched: Watched) -> None:
    loop = watched[0]
    assert [callback.callback_name for callback in loop.callbacks] == ["first", "hooks", "second", "asks"]
    assert all(callback.train_loop_obj is loop for callback in loop.callbacks)


def test_control_a_loop_is_ours() -> None:
    """The subclass overrides what the base has, or it would never run."""
    assert Seeded._spawn_fit is not TrainLoop._spawn_fit
