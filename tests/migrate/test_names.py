"""Names of the old library: where a path leads, and what the table says of it."""

import pytest

from compat._surface import surface
from compat.migrate import names
from tests.migrate.reading import TRAIN_LOOP


@pytest.mark.parametrize("old", surface().names)
def test_every_name_of_the_table_is_found_under_all_its_paths(old: str) -> None:
    row = surface().names[old]
    for module in (row.module, *row.also):
        target = names.find(f"{module}.{row.short}")
        assert (target.kind, target.row) == ("name", old)
        said = names.verdict(target)
        assert (said.status, said.why, said.native) == (row.status, row.why, row.native)


@pytest.mark.parametrize("path", surface().modules)
def test_every_module_of_the_table_is_found(path: str) -> None:
    target = names.find(path)
    assert target.kind == "module"
    assert names.verdict(target).status == surface().modules[path].status
    assert target.path == (surface().modules[path].now or target.path)


@pytest.mark.parametrize("module", [module for module in surface().modules.values() if module.holds])
def test_what_a_module_held_can_be_asked_of_it(module: object) -> None:
    for held in module.holds:  # type: ignore[attr-defined]
        path, _, alias = held.partition(" as ")
        name = alias or path.rpartition(".")[2]
        target = names.find(f"{module.path}.{name}")  # type: ignore[attr-defined]
        assert target.kind != "unknown"
        assert names.verdict(target).status in ("same", "differs", "later", "refused")


@pytest.mark.parametrize(
    ("path", "kind", "leads_to"),
    [
        ("aitoolbox", "module", "aitoolbox"),
        ("aitoolbox.TrainLoop", "name", TRAIN_LOOP),
        ("aitoolbox.torchtrain.train_loop.TrainLoop", "name", TRAIN_LOOP),
        ("aitoolbox.torchtrain.callbacks.EarlyStopping", "name", "aitoolbox.torchtrain.callbacks.basic.EarlyStopping"),
        ("aitoolbox.basic", "module", "aitoolbox.torchtrain.callbacks.basic"),
        ("aitoolbox.TrainLoop.fit", "member", f"{TRAIN_LOOP}.fit"),
        ("aitoolbox.TrainLoop.fit.__doc__", "member", f"{TRAIN_LOOP}.fit"),
        ("aitoolbox.TrainLoop.fitt", "unknown", "aitoolbox.TrainLoop.fitt"),
        ("aitoolbox.utils.dict_util.np", "foreign", "numpy"),
        ("aitoolbox.nothing.at.all", "unknown", "aitoolbox.nothing.at.all"),
        ("AIToolbox.torchtrain", "unknown", "AIToolbox.torchtrain"),
        ("aitoolbox.nlp.models.torch.Net", "name", "aitoolbox.nlp.models.torch.Net"),
        (
            "aitoolbox.torchtrain.tl_components.message_passing.Message",
            "name",
            "aitoolbox.torchtrain.train_loop.components.message_passing.Message",
        ),
    ],
)
def test_where_paths_lead(path: str, kind: str, leads_to: str) -> None:
    target = names.find(path)
    assert (target.kind, target.path) == (kind, leads_to)


def test_members_of_subclasses_are_those_of_the_class_that_defines_them() -> None:
    target = names.find("aitoolbox.EarlyStopping.on_train_end")
    assert target.path == "aitoolbox.torchtrain.callbacks.abstract.AbstractCallback.on_train_end"


def test_members_of_a_class_that_may_have_any_are_not_judged() -> None:
    """A TTModel is a torch module."""
    model = names.find("aitoolbox.TTModel")
    assert names.attribute(model, "cuda") is None
    assert names.attribute(model, "get_loss") is not None


def test_star_of_the_package_is_that_of_the_old_library() -> None:
    brought = names.star(names.find("aitoolbox.torchtrain.train_loop"))
    loops = {"TrainLoop", "TrainLoopCheckpoint", "TrainLoopEndSave", "TrainLoopCheckpointEndSave"}
    today = {name for name, target in brought.names.items() if not names.verdict(target).versions}
    assert today == {*loops, "train_loop", "train_loop_tracking", "components"}
    assert brought.leaked["np"] == "numpy"
    assert brought.foreign == {}
    assert names.star(names.find("aitoolbox.torchtrain.multi_loss_optim")).foreign == {
        "MutableMapping": "collections.abc.MutableMapping"
    }


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("aitoolbox.torchtrain.callbacks.EarlyStoping", "aitoolbox.torchtrain.callbacks.EarlyStopping"),
        ("aitoolbox.torchtrain.EarlyStopping", "aitoolbox.torchtrain.callbacks.basic.EarlyStopping"),
        ("aitoolbox.TrainLoop.predict_on_tests_set", f"{TRAIN_LOOP}.predict_on_test_set"),
        ("AIToolbox.torchtrain.model.TTModel", "aitoolbox.torchtrain.model.TTModel"),
    ],
)
def test_unknown_names_are_led_to_the_nearest(path: str, nearest: str) -> None:
    target = names.find(path)
    if target.path.startswith("aitoolbox.TrainLoop."):
        found = names.attribute(names.find("aitoolbox.TrainLoop"), path.rpartition(".")[2])
        assert found is not None
        target = found
    said = names.verdict(target)
    assert said.status == "unknown"
    assert nearest in said.nearest
    assert len(said.nearest) <= 3


def test_what_is_like_nothing_has_no_nearest() -> None:
    assert names.verdict(names.find("aitoolbox.qqqqqqqqqq")).nearest == ()


def test_older_names_are_led_to_those_of_today() -> None:
    older = [row for row in surface().names.values() if row.versions and row.is_served]
    for row in older:
        target = names.find(row.old)
        assert names.verdict(target).versions == row.versions
        assert target.path == row.old or not surface().names[target.path].versions
