"""Tests that share the bundle or an emulator run one after the other in one process, beside all others."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent
SHARING = {"infra", "local"}


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in its own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put them in one group of pytest-xdist."""
    for item in items:
        if item.path.relative_to(HERE).parts[0] in SHARING:
            item.add_marker(pytest.mark.xdist_group("cloud"))
