"""Where the fixtures come from."""

import os

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Load the fixtures where tests run, but not in the process that deals tests out to others: it takes seconds."""
    if "PYTEST_XDIST_WORKER" in os.environ or not config.getoption("numprocesses", None):  # noqa: TID251
        config.pluginmanager.import_plugin("common_fixtures")
