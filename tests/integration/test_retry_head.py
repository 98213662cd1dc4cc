"""A retry file begins with what its reader puts there, once, whatever the number of chunks."""

import pytest

from tests.harness import Harness, request

KEY = "in/march.jsonl"
HEAD = b'{"head":1}\n'


@pytest.fixture(autouse=True)
def head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("functions.readers.jsonl.retry_head", lambda _position: HEAD)


def test_the_head_stands_once_before_the_rows_of_all_chunks(relay: Harness) -> None:
    relay.deploy(requests_per_batch=2)
    failing = [request(n, "[fate:invalid_request_error]") for n in (2, 3, 5)]
    rows = [request(1), *failing[:2], request(4), failing[2]]
    relay.upload(KEY, b"\n".join(rows))
    relay.finish()

    assert relay.read(KEY, "retry.jsonl") == HEAD + b"\n".join(failing) + b"\n"


def test_without_rows_there_is_no_head(relay: Harness) -> None:
    relay.upload(KEY, request(1))
    relay.finish()

    assert relay.read(KEY, "retry.jsonl") == b""
