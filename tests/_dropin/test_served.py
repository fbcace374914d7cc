"""Writing to a served module, and patching it: the code behind it sees what is written."""

import importlib
from unittest import mock

import pytest

import compat
import compat.train_loop
from compat import utils
from tests.toys import make_loop

LOOP = "aitoolbox.torchtrain.train_loop.train_loop"

pytestmark = pytest.mark.usefixtures("installed")


def test_a_patched_method_is_called() -> None:
    with mock.patch(f"{LOOP}.TrainLoop.fit", return_value="patched") as fit:
        assert make_loop().fit(num_epochs=1) == "patched"
    fit.assert_called_once_with(num_epochs=1)
    assert make_loop().fit(num_epochs=1) != "patched"


def test_a_patched_name_is_what_an_import_brings() -> None:
    with mock.patch("aitoolbox.torchtrain.callbacks.basic.EarlyStopping") as fake:
        from aitoolbox.torchtrain.callbacks.basic import EarlyStopping  # type: ignore[import-not-found]

        assert EarlyStopping is fake
    assert importlib.import_module("aitoolbox.torchtrain.callbacks.basic").EarlyStopping is compat.EarlyStopping


def test_a_patched_collaborator_is_what_the_code_behind_uses() -> None:
    """The old loop looked its handler up in its own module, and so does ours."""
    before = compat.CallbacksHandler
    with mock.patch(f"{LOOP}.CallbacksHandler") as fake:
        loop = make_loop()
    fake.assert_called_once_with(loop)
    assert vars(compat.train_loop)["CallbacksHandler"] is before
    assert type(make_loop().callbacks_handler) is before


def test_a_patched_function_is_called_by_its_siblings() -> None:
    before = utils.is_empty_function
    with mock.patch("aitoolbox.utils.util.is_empty_function", return_value=True):
        assert utils.is_empty_function(len)
    assert utils.is_empty_function is before


def test_patches_within_patches_are_undone_one_by_one() -> None:
    before = compat.CallbacksHandler
    with mock.patch(f"{LOOP}.CallbacksHandler", "outer"):
        with mock.patch(f"{LOOP}.CallbacksHandler", "inner"):
            assert vars(compat.train_loop)["CallbacksHandler"] == "inner"
        assert vars(compat.train_loop)["CallbacksHandler"] == "outer"
    assert vars(compat.train_loop)["CallbacksHandler"] is before


def test_a_patch_is_of_one_path_and_leaves_nothing_elsewhere() -> None:
    """As in the old library: another module that exports the class goes on exporting it."""
    before = compat.TrainLoop
    with mock.patch(f"{LOOP}.TrainLoop") as fake:
        assert importlib.import_module("aitoolbox.torchtrain.train_loop").TrainLoop is before
        assert importlib.import_module(LOOP).TrainLoop is fake
    assert importlib.import_module("aitoolbox.torchtrain.train_loop").TrainLoop is before
    assert compat.TrainLoop is before


def test_what_was_written_is_gone_with_the_import() -> None:
    before = utils.is_empty_function
    importlib.import_module("aitoolbox.utils.util").is_empty_function = "written"  # type: ignore[attr-defined]
    compat.uninstall()
    assert utils.is_empty_function is before
    compat.install()
    assert importlib.import_module("aitoolbox.utils.util").is_empty_function is before


def test_monkeypatch_works_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    before = compat.CallbacksHandler
    monkeypatch.setattr(f"{LOOP}.CallbacksHandler", "patched")
    assert vars(compat.train_loop)["CallbacksHandler"] == "patched"
    monkeypatch.undo()
    assert vars(compat.train_loop)["CallbacksHandler"] is before


def test_a_name_of_the_users_own_stays_in_the_served_module() -> None:
    module = importlib.import_module("aitoolbox.torchtrain.model")
    module.mine = 5  # type: ignore[attr-defined]
    assert module.mine == 5
    assert "mine" not in vars(importlib.import_module("compat.model"))
    del module.mine
    assert not hasattr(module, "mine")


def test_an_autospec_of_a_served_class() -> None:
    with mock.patch("aitoolbox.torchtrain.train_loop.TrainLoop", autospec=True) as fake:
        with pytest.raises(TypeError):
            fake.return_value.fit(1, 2, 3, 4, 5)
        fake.return_value.fit(num_epochs=2)
