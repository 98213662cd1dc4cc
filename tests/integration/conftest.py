from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Harness, open_harness, open_moto_harness


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a developer's own account out of reach."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.delenv("AWS_PROFILE", raising=False)


@pytest.fixture(autouse=True)
def no_pause_between_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let polls follow each other at once."""
    monkeypatch.setattr("functions.poll.REST_S", 0.0)


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Harness]:
    """A relay on AWS in memory, whose Claude answers at once."""
    with open_harness(tmp_path) as relay:
        yield relay


@pytest.fixture
def moto_relay(tmp_path: Path) -> Iterator[Harness]:
    """The same on moto, for what only a whole request or a whole S3 shows."""
    with open_moto_harness(tmp_path) as relay:
        yield relay


@pytest.fixture
def no_retry_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the SDK repeat a request without a pause."""
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _seconds: None)
