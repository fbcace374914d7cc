"""Messages that callbacks leave for one another, with a lifetime chosen by the writer."""

from enum import Enum
from typing import Any

from compat.exceptions import InvalidArgumentError, InvalidTypeError
from compat.quirks import met

__all__ = ["Message", "MessageHandling", "MessageService"]


class MessageHandling(Enum):
    """How long a message lives, and what it does to earlier ones under its key."""

    KEEP_FOREVER = "keep_forever"
    UNTIL_END_OF_EPOCH = "until_end_of_epoch"
    UNTIL_READ = "until_read"
    OVERWRITE = "overwrite"


class Message:
    """One message.

    Args:
        key: The name under which it is read.
        value: What it says.
        msg_handling_settings: One setting or a list of them; kept as a list.
    """

    def __init__(self, key: Any, value: Any, msg_handling_settings: MessageHandling | list[MessageHandling]) -> None:
        """Keep the three parts."""
        self.key = key
        self.value = value
        self.msg_handling_settings = (
            msg_handling_settings if isinstance(msg_handling_settings, list) else [msg_handling_settings]
        )


class MessageService:
    """The board on which callbacks leave messages for one another.

    Attributes:
        message_store: The messages by key, in the order in which they were written. Owned by the service.
    """

    def __init__(self) -> None:
        """Start with an empty board."""
        self.message_store: dict[Any, list[Message]] = {}

    def read_messages(self, key: Any) -> list[Any] | None:
        """Read what was written under a key; messages ``UNTIL_READ`` are gone afterwards.

        Args:
            key: The name under which the messages were written.

        Returns:
            The values in the order of writing, or ``None`` for a key that nobody wrote under. A key whose messages
            have all been read gives an empty list until the epoch ends.
        """
        messages = self.message_store.get(key)
        if messages is None:
            return None
        self.message_store[key] = [m for m in messages if MessageHandling.UNTIL_READ not in m.msg_handling_settings]
        return [message.value for message in messages]

    def write_message(
        self,
        key: Any,
        value: Any,
        msg_handling_settings: MessageHandling | list[MessageHandling] = MessageHandling.UNTIL_END_OF_EPOCH,
    ) -> None:
        """Leave a message.

        Args:
            key: The name under which to read it.
            value: What it says.
            msg_handling_settings: Its lifetime. ``OVERWRITE``, alone or in a list with a lifetime, removes the earlier
                messages of the key.

        Raises:
            InvalidTypeError: Something else than a setting or a list of settings.
            InvalidArgumentError: Two settings that contradict each other.
        """
        settings = self.validate_msg_handling_settings(msg_handling_settings)
        if not settings:
            met("Q93", f"the message {key!r} has no lifetime")
        message = Message(key, value, settings)
        if MessageHandling.OVERWRITE in settings:
            self.message_store[key] = [message]
        else:
            self.message_store.setdefault(key, []).append(message)

    def end_of_epoch_trigger(self) -> None:
        """Drop the messages that live until the end of the epoch, and the keys that are empty then."""
        kept = {
            key: [m for m in messages if MessageHandling.UNTIL_END_OF_EPOCH not in m.msg_handling_settings]
            for key, messages in self.message_store.items()
        }
        self.message_store = {key: messages for key, messages in kept.items() if messages}

    @staticmethod
    def validate_msg_handling_settings(
        msg_handling_settings: MessageHandling | list[MessageHandling],
    ) -> list[MessageHandling]:
        """Check settings and bring them into the form of a list.

        Args:
            msg_handling_settings: One setting or a list of them.

        Returns:
            The settings as a list.

        Raises:
            InvalidTypeError: Something else than a setting or a list of settings.
            InvalidArgumentError: Two settings, and none of them is ``OVERWRITE``.
        """
        # Old code passes whatever it has: the annotation is a promise that nobody keeps at run time.
        given: Any = msg_handling_settings
        if isinstance(given, MessageHandling):
            return [given]
        names = ", ".join(f"MessageHandling.{setting.name}" for setting in MessageHandling)
        if not isinstance(given, list):
            raise InvalidTypeError(
                f"msg_handling_settings={given!r} is a {type(given).__name__}. Pass one of {names}, or a list of them."
            )
        for setting in given:
            if not isinstance(setting, MessageHandling):
                raise InvalidTypeError(
                    f"msg_handling_settings={given!r} holds {setting!r}, a {type(setting).__name__}. "
                    f"Each entry has to be one of {names}."
                )
        if len(given) > 1 and MessageHandling.OVERWRITE not in given:
            raise InvalidArgumentError(
                f"msg_handling_settings={given!r} gives a message two lifetimes. "
                "Pass one setting; only MessageHandling.OVERWRITE goes together with another."
            )
        return given
