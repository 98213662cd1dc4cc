"""A real emulator, started once, and the rest of the local cloud in a folder of the test's own."""

from collections.abc import Iterator

import pytest

from local import emulator
from local.cloud import Cloud
from local.workspace import Home, free_port


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    python = emulator.install(Home.of_clone())
    began = emulator.start(python, tmp_path_factory.mktemp("cloud"), port=free_port())
    yield began.cloud
    began.program.stop()
