"""Names that are not served: they can be imported, named and subclassed, and say why when they are used."""

import inspect
import pickle
from abc import ABC
from typing import Any, Protocol
from unittest import mock

import pytest
import torch
from torch import nn

import compat
from compat._placeholders import placeholder, reason
from compat._surface import surface
from compat.exceptions import RefusedAttributeError, RefusedError

CHECKPOINT = "aitoolbox.torchtrain.callbacks.model_save.ModelCheckpoint"
FOLDER = "aitoolbox.experiment.local_save.folder_create.ExperimentFolder"


@pytest.fixture
def checkpoint() -> Any:
    return placeholder(CHECKPOINT)


def test_the_message_says_what_why_and_what_to_do() -> None:
    row = surface().names[CHECKPOINT]
    assert reason(row) == f"{CHECKPOINT} is not served yet. {row.why} In Lightning alone: {row.native}."


def test_it_is_the_same_object_each_time(checkpoint: Any) -> None:
    assert placeholder(CHECKPOINT) is checkpoint
    assert compat.ModelCheckpoint is checkpoint  # type: ignore[attr-defined]


def test_it_looks_like_the_class_it_stands_for(checkpoint: Any) -> None:
    assert inspect.isclass(checkpoint)
    assert (checkpoint.__module__, checkpoint.__name__) == tuple(CHECKPOINT.rsplit(".", 1))
    assert checkpoint.__doc__ == reason(surface().names[CHECKPOINT])
    assert "ModelCheckpoint" in repr(checkpoint)


def test_calling_it_is_refused(checkpoint: Any) -> None:
    with pytest.raises(RefusedError, match="ModelCheckpoint is not served yet"):
        checkpoint("project", "experiment", "/tmp", {})
    with pytest.raises(RuntimeError):
        checkpoint()


def test_static_methods_are_refused_and_hasattr_says_no() -> None:
    folder = placeholder(FOLDER)
    with pytest.raises(RefusedAttributeError, match="ExperimentFolder is not served yet"):
        folder.create_base_folder("p", "e", "t", "/tmp")
    assert not hasattr(folder, "create_base_folder")


def test_a_subclass_can_be_written_but_not_used(checkpoint: Any) -> None:
    class Mine(checkpoint, nn.Module, ABC):  # type: ignore[misc]
        def __init__(self) -> None:
            self.reached = True

        def on_epoch_end(self) -> None:
            super().on_epoch_end()

    assert issubclass(Mine, checkpoint)
    with pytest.raises(RefusedError, match="ModelCheckpoint is not served yet"):
        Mine()


def test_it_mixes_with_protocols(checkpoint: Any) -> None:
    class Named(Protocol):
        name: str

    class Mine(checkpoint, Named):  # type: ignore[misc]
        name = "mine"

    with pytest.raises(RefusedError):
        Mine()


def test_isinstance_and_except_clauses_go_on_working(checkpoint: Any) -> None:
    assert not isinstance(torch.zeros(1), checkpoint)
    assert not issubclass(nn.Module, checkpoint)


def test_tools_may_look_at_it(checkpoint: Any) -> None:
    assert mock.create_autospec(checkpoint) is not None
    assert inspect.getmro(checkpoint)[-1] is object
    assert isinstance(dir(checkpoint), list)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_instance_cannot_come_out_of_a_pickle(checkpoint: Any, protocol: int) -> None:
    made = object.__new__(checkpoint)
    vars(made)["x"] = 1
    compat.install()
    try:
        held = pickle.dumps(made, protocol)
        with pytest.raises(RefusedError, match="ModelCheckpoint is not served yet"):
            pickle.loads(held)
    finally:
        compat.uninstall()
