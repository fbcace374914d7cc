"""Whatever goes wrong in a fit: nothing of it is left, and nothing is printed beside the error."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from compat import _console
from tests.ddp_failures.watching import Traces, within


@pytest.fixture(autouse=True)
def no_traces(
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[None]:
    """Fail the test after which a handler, a process, a port or a file is left, or something was printed or logged."""
    temporary = tmp_path / "temporary-of-the-test"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("COMPAT_DDP_TIMEOUT", "30")
    _console.verbose(False)
    before = Traces.now()
    yield
    # Other tests of this machine put files into shared memory as well, and take them away again.
    assert within(5, lambda: not before.new_in(Traces.now())), before.new_in(Traces.now())
    # Importing torch leaves a folder for compiled kernels.
    assert [file.name for file in temporary.iterdir() if not file.name.startswith("torchinductor")] == []
    assert capfd.readouterr() == ("", "")
    assert caplog.text == ""
