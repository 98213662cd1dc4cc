import zlib
from collections.abc import Iterator

import pytest

from tests.harness import Harness, open_harness


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    """Open one relay for all tests of a module: opening one costs more than most jobs."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
        patch.delenv("AWS_PROFILE", raising=False)
        with open_harness(tmp_path_factory.mktemp("simulator")) as harness:
            yield harness


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    """Return a key that is unique to the test: jobs of one key differ only by their second."""
    return f"in/{zlib.crc32(request.node.name.encode()):08x}.jsonl"
