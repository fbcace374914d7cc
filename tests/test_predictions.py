"""The cache of predictions and losses."""

from collections.abc import Callable
from typing import Any

import pytest

from compat.exceptions import CompatError
from compat.predictions import ModelPredictionStore
from compat.quirks import QuirkSettings

KEYS = {
    "train_predictions": "train_pred",
    "val_predictions": "val_pred",
    "test_predictions": "test_pred",
    "train_loss": "train_loss",
    "val_loss": "val_loss",
    "test_loss": "test_loss",
}
each_source = pytest.mark.parametrize("source", KEYS)


def call(store: ModelPredictionStore, verb: str, source: str) -> Callable[..., Any]:
    method: Callable[..., Any] = getattr(store, f"{verb}_{source}")
    return method


def test_starts_empty_at_the_iteration_before_the_first() -> None:
    store = ModelPredictionStore()
    assert store.do_auto_purge is False
    assert store.prediction_store == {"iteration_idx": -1}


@each_source
def test_insert_has_get(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    store, value = ModelPredictionStore(auto_purge=True), object()
    assert call(store, "has", source)(-1) is False
    call(store, "insert", source)(value, -1)
    assert call(store, "has", source)(-1) is True
    assert call(store, "get", source)(-1) is value
    assert store.prediction_store == {"iteration_idx": -1, KEYS[source]: value}
    assert capsys.readouterr().out == f"Getting {KEYS[source]} predictions/loss from store\n"


@each_source
def test_second_insert_needs_force(source: str) -> None:
    store = ModelPredictionStore(auto_purge=True)
    call(store, "insert", source)(1, -1)
    with pytest.raises(
        ValueError, match=rf"holds '{KEYS[source]}' of iteration index -1 already.*force_prediction=True"
    ):
        call(store, "insert", source)(2, -1)
    call(store, "insert", source)(3, -1, force_prediction=True)
    assert call(store, "get", source)(-1) == 3


@each_source
def test_get_on_a_miss(source: str) -> None:
    store = ModelPredictionStore()
    with pytest.raises(ValueError, match=rf"no '{KEYS[source]}' of iteration index 4. It holds nothing") as caught:
        call(store, "get", source)(4)
    assert isinstance(caught.value, CompatError)


def test_newer_iteration_empties_the_store(capsys: pytest.CaptureFixture[str]) -> None:
    store = ModelPredictionStore(auto_purge=True)
    store.insert_val_loss(1, -1)
    store.insert_train_loss(2, 4)
    assert store.prediction_store == {"iteration_idx": 4, "train_loss": 2}
    assert not store.has_val_loss(-1)
    assert capsys.readouterr().out == "Auto purging prediction store at iteration 5\n"


def test_same_iteration_keeps_the_store(capsys: pytest.CaptureFixture[str]) -> None:
    store = ModelPredictionStore(auto_purge=True)
    store.insert_val_loss(1, 4)
    store.insert_train_loss(2, 4)
    assert store.has_val_loss(4)
    assert store.has_train_loss(4)
    assert capsys.readouterr().out.count("Auto purging") == 1


def test_older_iteration_empties_the_store() -> None:
    """Q34: the counter was lowered by hand, and what is stored belongs to a later iteration."""
    store = ModelPredictionStore(auto_purge=True)
    store.insert_train_loss("later", 4)
    store.insert_val_loss("earlier", 2)
    assert store.prediction_store == {"iteration_idx": 2, "val_loss": "earlier"}
    assert not store.has_val_loss(4)


def test_older_iteration_is_served_as_the_newer_one_when_kept(capsys: pytest.CaptureFixture[str]) -> None:
    store = ModelPredictionStore(auto_purge=True)
    store.quirks = QuirkSettings({"Q34": "kept"})
    store.insert_train_loss("later", 4)
    capsys.readouterr()
    store.insert_val_loss("earlier", 2)
    store.insert_val_loss("earlier still", 1)
    assert store.prediction_store == {"iteration_idx": 4, "train_loss": "later", "val_loss": "earlier still"}
    assert not store.has_val_loss(1)
    assert store.get_val_loss(4) == "earlier still"
    assert "Auto purging" not in capsys.readouterr().out


def test_without_auto_purge_only_the_first_index_hits() -> None:
    store = ModelPredictionStore(auto_purge=False)
    store.insert_val_predictions("a", -1)
    store.insert_train_loss("b", 4)
    store.auto_purge(9)
    assert store.prediction_store == {"iteration_idx": -1, "val_pred": "a", "train_loss": "b"}
    assert not store.has_train_loss(4)
    assert store.has_train_loss(-1)
    assert store.has_val_predictions(-1)
