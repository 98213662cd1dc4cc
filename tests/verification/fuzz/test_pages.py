"""An unreadable or endless listing raises an error, and the next poll asks again."""

import json
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest

from functions.errors import ApiUnavailableError
from tests.verification.fuzz.claude_client import claude

SINCE = datetime(2026, 11, 1, tzinfo=UTC)
BATCH: dict[str, Any] = {
    "id": "msgbatch_1", "processing_status": "ended", "request_counts": {"succeeded": 1},
    "created_at": "2026-11-23T20:54:10Z", "expires_at": "2026-11-24T20:54:10Z",
}  # fmt: skip
MORE = {"has_more": True, "last_id": "msgbatch_1"}


def respond_with(page: bytes) -> Any:
    return lambda _request: httpx2.Response(200, content=page)


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"data":[{}]}',
        b'{"data":["\xff"]}',
        b'{"data":' + b"[" * 100_000,
        json.dumps({"data": [BATCH | {"created_at": "yesterday"}]}).encode(),
        json.dumps({"data": [], **MORE}).encode(),
        json.dumps({"data": [BATCH], **MORE}).encode(),
        json.dumps({"data": [BATCH]}).encode(),
        json.dumps({"data": []}).encode(),
    ],
    ids=[
        "nothing",
        "html",
        "not a page",
        "not a batch",
        "not UTF-8",
        "deep",
        "invalid time",
        "empty",
        "endless",
        "has_more missing",
        "empty, has_more missing",
    ],
)
def test_an_unusable_page_is_reported_as_api_unavailable(page: bytes) -> None:
    with pytest.raises(ApiUnavailableError):
        claude(respond_with(page)).list_batches(SINCE)


def test_a_listing_of_one_page_is_read() -> None:
    page = respond_with(json.dumps({"data": [BATCH], "has_more": False}).encode())
    (found,), since = claude(page).list_batches(SINCE)

    assert (found.id, found.ended, since) == ("msgbatch_1", True, SINCE)
