"""What several tests look at, made once."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from tests.ddp import by_hand
from tests.ddp.processes import outcomes

Made = Callable[[int], Any]


def once(make: Made) -> Made:
    """Remember what was made for each number of processes, and also that it could not be made.

    Args:
        make: Makes it.
    """
    made: dict[int, Any] = {}
    failed: dict[int, Exception] = {}

    def remembered(processes: int) -> Any:
        if processes not in made and processes not in failed:
            try:
                made[processes] = make(processes)
            # Raised below, for this test and for all that come after.
            except Exception as error:  # noqa: BLE001
                failed[processes] = error
        if processes in failed:
            raise failed[processes]
        return made[processes]

    return remembered


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compute by one thread, here and in workers: sums are the same to the last bit only if they are cut alike."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def by_hands(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Return a function that says what comes out of each case by hand, on so many processes."""
    return once(lambda processes: by_hand.run(processes, tmp_path_factory.mktemp("by_hand")))


@pytest.fixture(scope="session")
def fits(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Return a function that says what each of so many processes has after the fits of all cases."""
    return once(lambda processes: outcomes(processes, "cases", tmp_path_factory.mktemp("fits")))


@pytest.fixture(scope="session")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Return a function that says what each of so many processes evaluated inside a fit."""
    return once(lambda processes: outcomes(processes, "exact", tmp_path_factory.mktemp("exact")))
