"""The message board of the callbacks."""

from typing import Any

import pytest

from compat.exceptions import CompatError
from compat.messages import Message, MessageHandling, MessageService

KEEP = MessageHandling.KEEP_FOREVER
EPOCH = MessageHandling.UNTIL_END_OF_EPOCH
READ = MessageHandling.UNTIL_READ
OVERWRITE = MessageHandling.OVERWRITE


def test_values_of_the_settings() -> None:
    assert {setting.name: setting.value for setting in MessageHandling} == {
        "KEEP_FOREVER": "keep_forever",
        "UNTIL_END_OF_EPOCH": "until_end_of_epoch",
        "UNTIL_READ": "until_read",
        "OVERWRITE": "overwrite",
    }


def test_message_keeps_its_setting_as_a_list() -> None:
    assert Message("key", 1, READ).msg_handling_settings == [READ]
    assert Message("key", 1, [READ, OVERWRITE]).msg_handling_settings == [READ, OVERWRITE]


def test_messages_are_read_in_the_order_of_writing() -> None:
    service = MessageService()
    service.write_message("key", 1)
    service.write_message("key", None)
    service.write_message("key", 3)
    assert service.read_messages("key") == [1, None, 3]
    assert service.read_messages("key") == [1, None, 3]


def test_unknown_key_reads_none() -> None:
    assert MessageService().read_messages("nobody wrote here") is None


@pytest.mark.parametrize(
    ("settings", "after_reading", "after_the_epoch"),
    [
        pytest.param(KEEP, [1], [1], id="kept forever"),
        pytest.param(EPOCH, [1], None, id="until the end of the epoch"),
        pytest.param(READ, [], None, id="until read"),
        pytest.param(OVERWRITE, [1], [1], id="overwrite alone survives epochs"),
        pytest.param([], [1], [1], id="no setting lives forever"),
        pytest.param([OVERWRITE, READ], [], None, id="overwrite and until read"),
        pytest.param([EPOCH, OVERWRITE], [1], None, id="overwrite and until the end of the epoch"),
    ],
)
def test_lifetime(settings: Any, after_reading: list[int], after_the_epoch: list[int] | None) -> None:
    service = MessageService()
    service.write_message("key", 1, settings)
    assert service.read_messages("key") == [1]
    assert service.read_messages("key") == after_reading
    service.end_of_epoch_trigger()
    assert service.read_messages("key") == after_the_epoch


def test_unread_message_until_read_survives_epochs() -> None:
    service = MessageService()
    service.write_message("key", 1, READ)
    service.end_of_epoch_trigger()
    service.end_of_epoch_trigger()
    assert service.read_messages("key") == [1]


def test_overwrite_removes_earlier_messages_of_its_key_only() -> None:
    service = MessageService()
    service.write_message("key", 1, KEEP)
    service.write_message("other", 2, KEEP)
    service.write_message("key", 3, OVERWRITE)
    assert service.read_messages("key") == [3]
    assert service.read_messages("other") == [2]


def test_end_of_epoch_drops_only_its_own() -> None:
    service = MessageService()
    service.write_message("key", "gone")
    service.write_message("key", "stays", KEEP)
    service.write_message("empty", "gone")
    service.end_of_epoch_trigger()
    assert list(service.message_store) == ["key"]
    assert service.read_messages("key") == ["stays"]


@pytest.mark.parametrize(
    ("settings", "kind", "text"),
    [
        pytest.param(
            "until_read", TypeError, r"msg_handling_settings='until_read' is a str\. Pass one of", id="string"
        ),
        pytest.param((READ,), TypeError, r"is a tuple\. Pass one of MessageHandling\.KEEP_FOREVER", id="tuple"),
        pytest.param(None, TypeError, r"msg_handling_settings=None is a NoneType", id="none"),
        pytest.param(
            [OVERWRITE, "x"], TypeError, r"holds 'x', a str\. Each entry has to be one of", id="string in list"
        ),
        pytest.param([READ, KEEP], ValueError, r"two lifetimes.*only MessageHandling\.OVERWRITE", id="two lifetimes"),
    ],
)
def test_settings_that_will_not_do(settings: Any, kind: type[Exception], text: str) -> None:
    service = MessageService()
    with pytest.raises(kind, match=text) as caught:
        service.write_message("key", 1, settings)
    assert isinstance(caught.value, CompatError)
    assert service.message_store == {}


def test_validation_returns_a_list() -> None:
    assert MessageService.validate_msg_handling_settings(READ) == [READ]
    assert MessageService.validate_msg_handling_settings([OVERWRITE, READ]) == [OVERWRITE, READ]
