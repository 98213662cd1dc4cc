"""A simulator served on loopback, and the real SDK in front of it."""

import http.client
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anthropic
import pytest

from local.simulator import Simulator, serving

KEYS = {"sk-local": "default", "sk-too": "default", "sk-other": "other"}


@pytest.fixture
def simulator(tmp_path: Path) -> Simulator:
    return Simulator(tmp_path / "simulator", keys=KEYS)


@pytest.fixture
def url(simulator: Simulator) -> Iterator[str]:
    with serving(simulator) as url:
        yield url


@pytest.fixture(scope="session")
def sdk() -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(api_key="sk-local", max_retries=0, timeout=10) as client:
        yield client


@pytest.fixture
def client(sdk: anthropic.Anthropic, url: str) -> anthropic.Anthropic:
    return sdk.with_options(base_url=url)


@pytest.fixture
def make_requests() -> Callable[..., list[Any]]:
    """Build requests r0, r1, …, each with its own text."""

    def create_requests(count: int, text: str = "hello", **params: object) -> list[Any]:
        return [
            {
                "custom_id": f"r{row}",
                "params": {
                    "model": "claude-opus-5",
                    "max_tokens": 64,
                    "messages": [{"role": "user", "content": f"{text} {row}"}],
                    **params,
                },
            }
            for row in range(count)
        ]

    return create_requests


@pytest.fixture
def send_raw(url: str) -> Callable[..., tuple[int, dict[str, str], bytes]]:
    """Make an HTTP call without the SDK; return status, headers and body."""

    def call(
        method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
        request_headers = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, request_headers)
            answer = connection.getresponse()
            response_headers = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, response_headers, answer.read()
        finally:
            connection.close()

    return call
