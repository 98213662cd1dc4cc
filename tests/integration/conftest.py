from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Harness, open_harness, open_moto_harness
from tests.integration import deployed_functions


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's own AWS account out of reach."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.delenv("AWS_PROFILE", raising=False)


@pytest.fixture(autouse=True)
def no_pause_between_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the pause between two polls."""
    monkeypatch.setattr("functions.polling.single_flight.REST_S", 0.0)


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Harness]:
    """A relay over in-memory AWS, with a Claude that finishes batches immediately."""
    with open_harness(tmp_path) as relay:
        yield relay


@pytest.fixture
def moto_relay(tmp_path: Path) -> Iterator[Harness]:
    """The same relay over moto, for tests that need real requests or more of S3."""
    with open_moto_harness(tmp_path) as relay:
        yield relay


@pytest.fixture
def deployed_relay(moto_relay: Harness, monkeypatch: pytest.MonkeyPatch) -> Harness:
    """A relay whose functions find their configuration as when deployed."""
    deployed_functions.configure(moto_relay, monkeypatch)
    return moto_relay


@pytest.fixture
def no_retry_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the SDK retry without delays."""
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _seconds: None)
