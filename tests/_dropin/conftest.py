"""The import of the old library, switched on for a test and off after it."""

from collections.abc import Iterator

import pytest

import compat


@pytest.fixture
def installed() -> Iterator[None]:
    compat.install()
    yield
    compat.uninstall()
