"""What is read from our own sources must be what importing them shows."""

import inspect
from collections.abc import Callable

import pytest

from compat._surface import resolve, surface
from compat.migrate.own import class_members, old_path, signature

SERVED = [row for row in surface().names.values() if row.is_served]


def is_there(ours: str) -> bool:
    try:
        resolve(ours)
    except ImportError:
        return False
    return True


def positional(function: Callable[..., object]) -> tuple[str, ...]:
    parameters = inspect.signature(function).parameters.values()
    return tuple(parameter.name for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD)


@pytest.mark.parametrize("row", SERVED, ids=lambda row: row.old)
def test_members_and_parameters_are_those_of_the_real_thing(row: object) -> None:
    ours = row.ours  # type: ignore[attr-defined]
    if not is_there(ours):
        pytest.skip("it is in the table, and not made yet")
    real = resolve(ours)
    if inspect.isclass(real):
        members = class_members(ours)
        assert members is not None
        made = {name for base in real.__mro__ if base.__module__.startswith("compat") for name in vars(base)}
        # What Python itself puts into enumerations is underscored at both ends.
        made = {name for name in made if not name.endswith("_") and name != "_abc_impl"}
        assert made <= set(members.owners)
        functions = {name: vars(real)[name] for name in made if inspect.isfunction(vars(real).get(name))}
        for name, function in functions.items():
            assert members.signatures[name] == positional(function)[1:]
    elif inspect.isfunction(real):
        assert signature(ours) == positional(real)


def test_types_of_members_are_read_from_annotations_and_constructions() -> None:
    loop = class_members("compat.train_loop.TrainLoop")
    callback = class_members("compat.callbacks.stopping.EarlyStopping")
    assert loop is not None
    assert callback is not None
    assert loop.types["train_history"] == "compat.history.TrainingHistory"
    assert callback.types["train_loop_obj"] == "compat.train_loop.TrainLoop"
    assert callback.owners["on_train_end"] == "compat.callbacks.abstract.AbstractCallback"
    assert loop.signatures["fit"][:3] == ("num_epochs", "num_iterations", "callbacks")


def test_classes_with_foreign_bases_are_open() -> None:
    model, loop = class_members("compat.model.TTModel"), class_members("compat.train_loop.TrainLoop")
    assert model is not None
    assert loop is not None
    assert (model.is_open, loop.is_open) == (True, False)


@pytest.mark.parametrize("path", ["compat.nothing.Here", "compat.train_loop.Nothing", "compat.cli.main"])
def test_what_is_no_class_has_no_members(path: str) -> None:
    assert class_members(path) is None


def test_what_is_no_function_has_no_signature() -> None:
    assert signature("compat.train_loop.TrainLoop") is None


def test_our_paths_lead_back_to_those_of_the_last_version() -> None:
    assert old_path("compat.train_loop.TrainLoop") == "aitoolbox.torchtrain.train_loop.train_loop.TrainLoop"
    assert old_path("compat.nothing") == ""
    assert old_path("compat.callbacks.handler.CallbacksHandler").endswith("callback_handler.CallbacksHandler")
