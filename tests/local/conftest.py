"""A real emulator, started once per session."""

from collections.abc import Iterator

import pytest

from local import emulator
from local.cloud import Cloud
from local.workspace import Workspace, free_port


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    python = emulator.install(Workspace.of_this_clone())
    emulator_process = emulator.start(python, tmp_path_factory.mktemp("cloud"), port=free_port())
    yield emulator_process.cloud
    emulator_process.program.stop()
