"""The benchmark of a prediction pass runs, and its figures are those of a pass."""

import sys
from collections.abc import Iterator

import pytest

from compat import _console, quirks
from tests.bench.growth import MIB, OUTPUTS, measure

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is read from /proc"),
    pytest.mark.timeout(150),
]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    _console.verbose(False)
    quirks.set(Q58="kept")
    yield
    quirks.reset()


@pytest.mark.parametrize("processes", [1, 2])
def test_every_process_measures_the_whole_result(processes: int) -> None:
    figures = measure(1000, processes)
    assert len(figures) == processes
    for seen in figures:
        assert seen["rows"] == 1000
        # Predictions in float32, targets and row numbers in int64.
        assert seen["result"] == 1000 * (OUTPUTS * 4 + 8 + 8) / MIB
        assert 0 < seen["seconds"] < 60
        # Pages that were free before may hold all of so small a result.
        assert 0 <= seen["growth"] < 50
