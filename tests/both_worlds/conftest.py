"""Keeps the runs of the matrix in one process of pytest-xdist: the page of the guide is made of them."""

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the tests of this folder into one group."""
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            if "both_worlds" in item.path.parts:
                item.add_marker(pytest.mark.xdist_group("both_worlds"))
