"""The record of losses and metrics."""

from collections import OrderedDict
from typing import Any

import pytest

from compat.exceptions import CompatError
from compat.history import TrainingHistory

SIZE = "Warning: Train history records not of the same size. Problem with: "


def history_of(**lists: list[Any]) -> TrainingHistory:
    return TrainingHistory().wrap_pre_prepared_history(lists)


@pytest.mark.parametrize(
    ("has_validation", "names"),
    [
        pytest.param(True, ["loss", "accumulated_loss", "val_loss"], id="with validation"),
        pytest.param(False, ["loss", "accumulated_loss"], id="without validation"),
    ],
)
def test_starts_with_empty_records(has_validation: bool, names: list[str]) -> None:
    history = TrainingHistory(has_validation)
    assert list(history) == names
    assert history.train_history == history.empty_train_history == {name: [] for name in names}
    assert history.train_history is not history.empty_train_history


def test_insert_creates_the_list_and_appends() -> None:
    history = TrainingHistory()
    history.insert_single_result_into_history("acc", 0.1)
    history.insert_single_result_into_history("acc", 0.2)
    assert history["acc"] == [0.1, 0.2]
    assert history.empty_train_history == {"loss": [], "accumulated_loss": [], "val_loss": []}


def test_assignment_appends() -> None:
    history = TrainingHistory()
    history["loss"] = 1.0
    history["loss"] = 2.0
    assert history["loss"] == [1.0, 2.0]


def test_mapping_protocol() -> None:
    history = TrainingHistory(False)
    history["acc"] = 1
    assert len(history) == 3
    assert "acc" in history
    assert "val_loss" not in history
    assert list(history.keys()) == ["loss", "accumulated_loss", "acc"]
    assert list(history.items())[-1] == ("acc", [1])
    assert str(history) == "{'loss': [], 'accumulated_loss': [], 'acc': [1]}"
    with pytest.raises(KeyError, match="'nope'"):
        history["nope"]


def test_live_dictionary_is_handed_out() -> None:
    history = TrainingHistory()
    history["loss"] = 1
    assert history.get_train_history() is history.train_history
    assert history.get_train_history_dict() is history.train_history


def test_wrapping_takes_over_by_reference() -> None:
    prepared: dict[str, list[Any]] = {"a": [1]}
    history = TrainingHistory()
    assert history.wrap_pre_prepared_history(prepared) is history
    assert history.train_history is prepared


def test_empty_history_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(TrainingHistory().get_train_history_dict()) == ["loss", "accumulated_loss", "val_loss"]
    assert capsys.readouterr().out == "Train History dict is empty\n"


def test_empty_history_is_raised_when_strict() -> None:
    with pytest.raises(ValueError, match="Train History dict is empty") as caught:
        TrainingHistory(strict_content_check=True).get_train_history_dict()
    assert isinstance(caught.value, CompatError)


@pytest.mark.parametrize(
    ("lists", "flat"),
    [
        pytest.param({"loss": [1, 2], "empty": []}, {"loss": [1, 2]}, id="a metric without values is left out"),
        pytest.param(
            {"m": [{"a": 1, "b": 2}, {"a": 2, "b": 3}]}, {"m_a": [1, 2], "m_b": [2, 3]}, id="one list for each key"
        ),
        pytest.param({"m": [{"a": {"x": 1}, "b": 2}, {"a": {"x": 3}}]}, {"m_a_x": [1, 3], "m_b": [2]}, id="nested"),
        pytest.param({"m": [{"a": 1}, 3]}, {"m": [{"a": 1}, 3]}, id="a mixed list stays"),
        pytest.param({"m": [OrderedDict(a=1)]}, {"m": [OrderedDict(a=1)]}, id="another mapping type stays"),
        pytest.param({"m": [{}]}, {}, id="empty dictionaries vanish"),
        pytest.param({"m": [{1: 2}]}, {"m_1": [2]}, id="a key that is a number"),
        pytest.param({"m_a": [9], "m": [{"a": 1}]}, {"m_a": [1]}, id="the later of two equal names wins"),
    ],
)
def test_flattening(lists: dict[str, list[Any]], flat: dict[str, list[Any]]) -> None:
    assert history_of(**lists).get_train_history_dict(flatten_dict=True) == flat


def test_flattened_lists_are_copies() -> None:
    history = history_of(loss=[1])
    history.get_train_history_dict(flatten_dict=True)["loss"].append(2)
    assert history["loss"] == [1]


@pytest.mark.parametrize(
    ("lists", "wrong"),
    [
        pytest.param({"loss": [], "accumulated_loss": [], "val_loss": []}, [], id="nothing recorded"),
        pytest.param({"loss": [1, 2], "accumulated_loss": [1, 2], "acc": [0, 1]}, [], id="all of one length"),
        pytest.param({"loss": [1, 2], "accumulated_loss": [1, 2], "acc": [0]}, ["acc"], id="a metric missed an epoch"),
        pytest.param(
            {"loss": [1], "accumulated_loss": [1, 2], "val_loss": []}, ["loss"], id="an empty one is left out"
        ),
        pytest.param({"loss": [1, 2], "accumulated_loss": [1, 2], "train_end_acc": [1]}, [], id="once a fit"),
        pytest.param({"accumulated_loss_a": [1, 2], "loss_a": [1, 2], "x": [1]}, ["x"], id="several losses"),
        pytest.param({"acc": [1, 2, 3, 4], "loss": [1, 2], "accumulated_loss": [1, 2]}, ["acc"], id="recorded twice"),
        pytest.param({"a": [1], "b": [1, 2]}, ["b"], id="no losses at all"),
    ],
)
def test_check_of_lengths(lists: dict[str, list[Any]], wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    history_of(**lists).qa_check_history_records()
    assert capsys.readouterr().out.splitlines() == [SIZE + name for name in wrong]


def test_check_of_lengths_raises_when_strict() -> None:
    history = TrainingHistory(strict_content_check=True).wrap_pre_prepared_history({"a": [1], "b": []})
    history.qa_check_history_records()
    history["b"] = 1
    history["b"] = 2
    with pytest.raises(ValueError, match=r"not of the same size\. Problem with: b"):
        history.qa_check_history_records()


def test_adding_a_dict_appends_one_element_each_to_a_copy() -> None:
    history = TrainingHistory()
    history["loss"] = 1.0
    for total in (history + {"loss": [1, 2], "new": 3}, {"loss": [1, 2], "new": 3} + history):
        assert total["loss"] == [1.0, [1, 2]]
        assert total["new"] == [3]
    assert history["loss"] == [1.0]
    assert "new" not in history


def test_adding_in_place() -> None:
    history = same = TrainingHistory()
    history += {"loss": 1}
    history.add_history_dict({"loss": 2})
    assert history is same
    assert history["loss"] == [1, 2]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(TrainingHistory(), id="another history"),
        pytest.param([1], id="list"),
        pytest.param(OrderedDict(a=1), id="a subclass of dict"),
    ],
)
def test_only_a_plain_dict_can_be_added(other: Any) -> None:
    history = TrainingHistory()
    with pytest.raises(TypeError, match=r"Other should be dict\. Provided: <class .*Only a plain dict"):
        history.add_history_dict(other)
    with pytest.raises(TypeError, match="Other should be dict"):
        history + other
