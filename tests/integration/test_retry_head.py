"""A retry file starts with its reader's head, once for all chunks."""

import pytest

from tests.harness import Harness, make_row

KEY = "in/march.jsonl"
HEAD = b'{"head":1}\n'


@pytest.fixture(autouse=True)
def head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("functions.readers.jsonl.retry_head", lambda _position: HEAD)


def test_the_head_is_written_once_before_the_rows_of_all_chunks(relay: Harness) -> None:
    relay.deploy(requests_per_batch=2)
    failing_rows = [make_row(n, "[fate:invalid_request_error]") for n in (2, 3, 5)]
    rows = [make_row(1), *failing_rows[:2], make_row(4), failing_rows[2]]
    relay.upload(KEY, b"\n".join(rows))
    relay.finish()

    assert relay.read(KEY, "retry.jsonl") == HEAD + b"\n".join(failing_rows) + b"\n"


def test_an_empty_retry_file_has_no_head(relay: Harness) -> None:
    relay.upload(KEY, make_row(1))
    relay.finish()

    assert relay.read(KEY, "retry.jsonl") == b""
