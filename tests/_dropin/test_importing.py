"""``compat.install()``: every module and name of the old library can be imported, and nothing is left behind."""

import importlib
import inspect
import json
import os
import pkgutil
import pydoc
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import pytest

import compat
from compat._dropin.importing import is_installed
from compat._layout import layout
from compat._surface import Name, resolve, surface
from compat.exceptions import (
    CompatWarning,
    ConflictError,
    MissingAttributeError,
    RefusedError,
    RefusedImportError,
    UnknownNameError,
)
from tests._dropin.processes import PLAIN, SERVED, has_package, run

# It sets variables when it is first imported, which would look like something left behind by a test.
importlib.import_module("sklearn.metrics")

MODULES: dict[str, list[str]] = json.loads(
    Path(__file__).parents[1].joinpath("facts", "modules_1_8_0.json").read_text(encoding="utf-8")
)
# Names of older versions, which 1.8 no longer had.
GIVEN_LATER = {row.short for row in surface().names.values() if row.versions}
ROWS = list(surface().names.values())
REFUSED_MODULES = [module.path for module in surface().modules.values() if module.status == "refused"]
MOVED = [module for module in surface().modules.values() if module.now]


def imported(statement: str, name: str) -> Any:
    space: dict[str, Any] = {}
    exec(statement, space)
    return space[name]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.old)
@pytest.mark.usefixtures("installed")
def test_every_row_of_the_table_can_be_imported(row: Name) -> None:
    """What is served is the very object of ours; what is not can be imported, and says why when it is used."""
    for module in (row.module, *row.also):
        found = imported(f"from {module} import {row.short}", row.short)
        if row.is_served:
            assert found is resolve(row.ours)
        else:
            with pytest.raises(RefusedError) as refusal:
                found()
            assert row.why in str(refusal.value)
            assert row.native in str(refusal.value)


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.usefixtures("installed")
def test_every_module_holds_the_names_that_it_held(module: str) -> None:
    served = importlib.import_module(module)
    missing = [name for name in MODULES[module] if not answers(served, name)]
    assert missing == []


def answers(module: ModuleType, name: str) -> bool:
    if hasattr(module, name):
        return True
    # What it imported from elsewhere is there if that is: boto3, seaborn and their like are not installed.
    path = layout()[module.__name__].foreign.get(name, "")
    return (bool(path) and not has_package(path)) or path.startswith("torch.utils.tensorboard")


@pytest.mark.usefixtures("installed")
def test_control_a_missing_name_is_seen() -> None:
    assert not answers(importlib.import_module("aitoolbox.torchtrain.model"), "TTModell")


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.usefixtures("installed")
def test_star_import_brings_what_it_brought(module: str) -> None:
    """All but what comes from packages that are not installed, and submodules that somebody else has to import."""
    space: dict[str, Any] = {}
    exec(f"from {module} import *", space)
    said = surface().modules.get(module)
    apart = set(said.apart) if said else set()
    assert not apart & set(space)
    assert set(space) - {"__builtins__"} <= set(MODULES[module]) | GIVEN_LATER
    for left_out in set(MODULES[module]) - set(space) - apart:
        with pytest.raises(ModuleNotFoundError, match=r"boto|google|matplotlib|seaborn|tensorboard|wandb"):
            resolve(layout()[module].foreign[left_out])


@pytest.mark.parametrize("module", MOVED, ids=lambda module: module.path)
@pytest.mark.usefixtures("installed")
def test_a_module_that_moved_is_found_where_it_was(module: Any) -> None:
    before, now = importlib.import_module(module.path), importlib.import_module(module.now)
    names = layout()[module.now].names
    assert names or layout()[module.now].children
    for name in names:
        assert getattr(before, name) is getattr(now, name)


@pytest.mark.parametrize("path", REFUSED_MODULES)
@pytest.mark.usefixtures("installed")
def test_a_refused_module_says_why(path: str) -> None:
    for statement in (f"import {path}", f"import {path}.anything.below", f"from {path} import Anything"):
        with pytest.raises(RefusedImportError, match="is refused") as refusal:
            exec(statement)
        assert surface().modules[path].why in str(refusal.value)
        assert isinstance(refusal.value, ImportError), "what old code catches"


@pytest.mark.parametrize(
    ("statement", "nearest"),
    [
        ("from aitoolbox.torchtrain.train_loop import TrainLoup", "aitoolbox.torchtrain.train_loop.TrainLoop"),
        ("from aitoolbox.torchtrain.schedulers.basic import GradNormClip", "callbacks.gradient.GradNormClip"),
        ("from aitoolbox import TTModell", "aitoolbox.TTModel"),
        ("import aitoolbox.torchtrain.trainloop", "aitoolbox.torchtrain.train_loop"),
        ("import aitoolbox.torchtrain.model.sub", "No AIToolbox had anything like it"),
        ("from aitoolbox.zzz import yyy", "No AIToolbox had anything like it"),
    ],
)
@pytest.mark.usefixtures("installed")
def test_an_unknown_name_is_an_import_error_with_the_nearest_names(statement: str, nearest: str) -> None:
    with pytest.raises(UnknownNameError, match="cannot import") as error:
        exec(statement)
    assert nearest in str(error.value)
    assert isinstance(error.value, ModuleNotFoundError), "what old code catches"


@pytest.mark.usefixtures("installed")
def test_an_unknown_attribute_is_an_attribute_error_with_the_nearest_names() -> None:
    module = importlib.import_module("aitoolbox.torchtrain.model")
    with pytest.raises(MissingAttributeError, match=r"Nearest: aitoolbox\.torchtrain\.model\.TTModel"):
        _ = module.TTModell
    assert not hasattr(module, "__file__")
    assert not hasattr(importlib.import_module("aitoolbox.cloud.AWS.data_access"), "boto3"), "not installed here"
    assert getattr(module, "nothing_like_it", 5) == 5


@pytest.mark.usefixtures("installed")
def test_ways_to_import() -> None:
    from compat import EarlyStopping, TrainLoop

    assert imported("import aitoolbox", "aitoolbox").torchtrain.callbacks.basic.EarlyStopping is EarlyStopping
    assert imported("import aitoolbox.torchtrain.train_loop as tl", "tl").TrainLoop is TrainLoop
    assert imported("from aitoolbox import torchtrain", "torchtrain").train_loop.train_loop.TrainLoop is TrainLoop
    assert imported("from aitoolbox import *", "TrainLoop") is TrainLoop
    assert importlib.import_module(".train_loop", "aitoolbox.torchtrain").TrainLoop is TrainLoop
    assert __import__("aitoolbox.torchtrain.train_loop", fromlist=["TrainLoop"]).TrainLoop is TrainLoop
    spec = find_spec("aitoolbox.torchtrain.model")
    assert spec is not None
    assert spec.origin == "compat"


@pytest.mark.usefixtures("installed")
def test_a_module_lists_its_names() -> None:
    module = importlib.import_module("aitoolbox.torchtrain.multi_loss_optim")
    assert {"MultiLoss", "MultiOptimizer", "MutableMapping"} <= set(dir(module))
    assert not [name for name in dir(module) if name.startswith("_compat")]


@pytest.mark.usefixtures("installed")
def test_a_reload_changes_nothing() -> None:
    from compat import TTModel

    module = importlib.import_module("aitoolbox.torchtrain.model")
    assert importlib.reload(module).TTModel is TTModel


def test_nothing_is_left_behind() -> None:
    before = (list(sys.meta_path), dict(os.environ), list(sys.path))
    compat.install()
    importlib.import_module("aitoolbox.torchtrain.train_loop")
    assert is_installed()
    compat.uninstall()
    assert not is_installed()
    assert (sys.meta_path, dict(os.environ), sys.path) == before
    assert not [name for name in sys.modules if name.split(".")[0] == "aitoolbox"]
    assert find_spec("aitoolbox") is None, "the library itself is not installed beside the tests"


def test_installing_twice_is_installing_once() -> None:
    before = list(sys.meta_path)
    compat.install()
    compat.install()
    assert len(sys.meta_path) == len(before) + 1
    compat.uninstall()
    compat.uninstall()
    assert sys.meta_path == before


@pytest.mark.parametrize("before", [None, "", "/somewhere", os.pathsep.join(["/a", "/b"])])
def test_the_path_of_children_is_given_back(before: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    if before is not None:
        monkeypatch.setenv("PYTHONPATH", before)
    compat.install()
    entries = os.environ["PYTHONPATH"].split(os.pathsep)
    assert entries[0].endswith("children")
    assert entries[1:] == [entry for entry in (before or "").split(os.pathsep) if entry]
    compat.uninstall()
    assert os.environ.get("PYTHONPATH", "") == (before or "")


def test_installing_loads_nothing_heavy(tmp_path: Path) -> None:
    code = "import compat, sys; compat.install(); print({'torch', 'tomllib'} & {*sys.modules})"
    assert run(*PLAIN, "-c", code, folder=tmp_path).stdout == "{'tomllib'}\n"


@pytest.mark.usefixtures("installed")
def test_a_registry_finds_the_classes_of_a_module() -> None:
    module = importlib.import_module("aitoolbox.experiment.core_metrics.classification")
    assert len([name for name in vars(module) if name.endswith("Metric")]) == 7


@pytest.mark.usefixtures("installed")
def test_tools_that_look_at_modules_and_names() -> None:
    from compat import EarlyStopping

    assert pydoc.locate("aitoolbox.torchtrain.callbacks.basic.EarlyStopping") is EarlyStopping
    assert pkgutil.resolve_name("aitoolbox.torchtrain.callbacks.basic:EarlyStopping") is EarlyStopping
    for module in ("aitoolbox.cloud.AWS.data_access", "aitoolbox.torchtrain.callbacks.wandb"):
        assert dict(inspect.getmembers(importlib.import_module(module)))

    class Mine(imported("from aitoolbox import AbstractCallback", "AbstractCallback")):  # type: ignore[misc]
        patience: int = 3

    assert get_type_hints(Mine) == {"patience": int}


def test_a_held_module_says_no_after_the_end() -> None:
    compat.install()
    held = importlib.import_module("aitoolbox")
    loop = held.TrainLoop
    compat.uninstall()
    assert held.TrainLoop is loop
    assert not hasattr(held, "nlp") or "aitoolbox.nlp" not in sys.modules


def test_a_folder_of_that_name_is_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "aitoolbox" / "docs").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compat.install()
    compat.uninstall()


def test_a_child_that_uninstalls_has_no_such_library(tmp_path: Path) -> None:
    (tmp_path / "child.py").write_text("import compat; compat.uninstall(); import aitoolbox", encoding="utf-8")
    code = "import subprocess, sys; subprocess.run([sys.executable, 'child.py'])"
    done = run(*SERVED, "-c", code, folder=tmp_path)
    assert "ModuleNotFoundError: No module named 'aitoolbox'" in done.stderr


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A folder with another library of that name."""
    (tmp_path / "aitoolbox").mkdir()
    (tmp_path / "aitoolbox" / "__init__.py").write_text("TrainLoop = 'the other one'\n", encoding="utf-8")
    return tmp_path


def test_an_imported_library_of_that_name_is_a_conflict(other: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(other)
    real = importlib.import_module("aitoolbox")
    try:
        with pytest.raises(ConflictError, match=r"imported already, from .*aitoolbox.*Call compat\.install\(\) before"):
            compat.install()
        assert not is_installed()
        assert sys.modules["aitoolbox"] is real
    finally:
        del sys.modules["aitoolbox"]


def test_ours_wins_over_an_installed_one_and_says_so(other: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(other)
    with pytest.warns(CompatWarning, match="is installed at .*compat serves the name instead") as said:
        compat.install()
    try:
        assert said[0].filename == __file__
        assert imported("from aitoolbox import TrainLoop", "TrainLoop") is compat.TrainLoop
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            compat.install()
    finally:
        compat.uninstall()
    assert imported("from aitoolbox import TrainLoop", "TrainLoop") == "the other one", "and gives way again"
    del sys.modules["aitoolbox"]


def test_the_runner_says_so_too(other: Path) -> None:
    """Also where it lies beside the script."""
    (other / "program.py").write_text("from aitoolbox import TrainLoop; print(TrainLoop.__module__)", encoding="utf-8")
    done = run(*SERVED, "program.py", folder=other)
    assert done.stdout == "compat.train_loop\n"
    assert done.stderr.count("compat serves the name instead") == 1
