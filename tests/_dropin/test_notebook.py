"""``%load_ext compat``: the import and the report, in a notebook."""

import atexit
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compat import _ledger
from compat._dropin.importing import is_installed
from compat.exceptions import DifferenceError, InvalidArgumentError

pytest.importorskip("IPython")


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "profile"))
    from IPython.core import interactiveshell
    from traitlets.config import Config

    before = (sys.displayhook, sys.excepthook, dict(sys.modules))
    quiet = Config()
    quiet.HistoryManager.enabled = False
    # Not typed there.
    InteractiveShell: Any = interactiveshell.InteractiveShell  # noqa: N806
    shell = InteractiveShell(config=quiet)
    yield shell
    shell.atexit_operations()
    atexit.unregister(shell.atexit_operations)
    InteractiveShell.clear_instance()
    sys.displayhook, sys.excepthook = before[:2]
    sys.modules["__main__"] = before[2]["__main__"]


def run_cell(shell: Any, code: str) -> Any:
    return shell.run_cell(code, store_history=True).raise_error()


def test_a_notebook(shell: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run_cell(shell, "%load_ext compat")
    try:
        run_cell(shell, "%compat_report")
        assert "nothing of AIToolbox was used yet" in capsys.readouterr().out
        run_cell(
            shell,
            "from aitoolbox.torchtrain.data.dataset import BasicDataset as D\nD([])\nprint(D.__module__)",
        )
        assert capsys.readouterr().out == "compat.data\n"
        run_cell(shell, "%compat_report")
        said = capsys.readouterr().out
        assert "compat: 1 feature of AIToolbox used: 1 emulated" in said
        assert "Cell In[3]:2" in said
        run_cell(shell, f"%compat_report {tmp_path / 'out.json'}")
        report = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
        assert report["features"][0]["places"] == [{"file": "Cell In[3]", "line": 2, "count": 1}]
    finally:
        run_cell(shell, "%unload_ext compat")
    assert not is_installed()
    assert "compat_report" not in shell.magics_manager.magics["line"]
    with pytest.raises(ModuleNotFoundError, match="No module named 'aitoolbox'"):
        run_cell(shell, "import aitoolbox")
    _ledger.clear()


def test_a_strict_notebook(shell: Any) -> None:
    run_cell(shell, "%load_ext compat")
    try:
        with pytest.raises(InvalidArgumentError, match="%compat_strict maybe: say `on` or `off`"):
            run_cell(shell, "%compat_strict maybe")
        run_cell(shell, "%compat_strict on")
        with pytest.raises(DifferenceError, match=r"^Q41: "):
            run_cell(shell, "from compat import quirks\nquirks.met('Q41')")
        run_cell(shell, "%compat_strict off")
        run_cell(shell, "quirks.met('Q41')")
    finally:
        run_cell(shell, "%unload_ext compat")
    assert "compat_strict" not in shell.magics_manager.magics["line"]
