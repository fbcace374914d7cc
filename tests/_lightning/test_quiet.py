"""What Lightning need not say is dropped, and everything else comes through."""

import logging
import warnings

import pytest

from compat._lightning.quiet import quiet
from tests.toys import make_loop


class Listener(logging.Handler):
    """Collects messages."""

    def __init__(self) -> None:
        """Start with none."""
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message."""
        self.messages.append(record.getMessage())


def test_chatter_is_dropped_and_warnings_come_through() -> None:
    logger, listener = logging.getLogger("lightning.pytorch"), Listener()
    logger.addHandler(listener)
    try:
        with quiet():
            logger.info("GPU available: False, used: False")
            logger.warning("something is really wrong")
        logger.info("GPU available: again")
    finally:
        logger.removeHandler(listener)
    assert listener.messages == ["something is really wrong", "GPU available: again"]
    assert not logger.filters


def test_expected_warnings_are_dropped_and_others_come_through() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with quiet():
            warnings.warn("the dataloader_iter flavour is experimental", stacklevel=1)
            warnings.warn("the user's own", stacklevel=1)
    assert [str(entry.message) for entry in seen] == ["the user's own"]


def test_fit_gives_no_warning_and_logs_nothing(recwarn: pytest.WarningsRecorder) -> None:
    listener = Listener()
    loggers = [logging.getLogger(name) for name in ("lightning", "lightning.pytorch", "lightning.fabric")]
    for logger in loggers:
        logger.addHandler(listener)
    try:
        loop = make_loop()
        loop.model.eval()
        loop.fit(num_epochs=2)
    finally:
        for logger in loggers:
            logger.removeHandler(listener)
    assert listener.messages == []
    assert [str(entry.message) for entry in recwarn] == []


def test_users_warning_in_a_hook_comes_through() -> None:
    from compat import FunctionOnTrainLoop

    hook = FunctionOnTrainLoop(lambda loop: warnings.warn("mine", UserWarning, stacklevel=1), epoch_end=True)
    with pytest.warns(UserWarning, match="mine"):
        make_loop().fit(num_epochs=1, callbacks=[hook])
