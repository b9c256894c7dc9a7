"""Where the fixtures come from, and the order of the tests."""

import os

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Load the fixtures where tests run, but not in the process that deals tests out to others: it takes seconds."""
    if "PYTEST_XDIST_WORKER" in os.environ or not config.getoption("numprocesses", None):  # noqa: TID251
        config.pluginmanager.import_plugin("common_fixtures")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The last folder first: it ends with a long file, for which one of two processes would wait."""
    items.sort(key=lambda item: item.path.parent.name != "workflow")
