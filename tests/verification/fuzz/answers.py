"""Fuzz targets for Claude's answers: result lines, answers to create, pages of the listing."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx2
import msgspec

from functions.adapters.anthropic_api import Claude
from functions.adapters.table import deserialize, serialize
from functions.errors import ApiNotFoundError, ApiUnavailableError, RelayError
from functions.model import timestamps
from functions.model.api_results import read_line, read_result
from functions.model.create_response import AccountBlocked, RateLimited, Refused, Verdict, classify
from functions.model.ids import RequestId
from functions.model.items.counts import OutcomeCounts
from functions.model.outcome_counter import OutcomeCounter, total
from functions.model.output_lines import output_line
from functions.model.rows import Rejection
from functions.model.streams import lines
from functions.model.synthetic_results import rejected_result
from tests.verification.fuzz import oracle
from tests.verification.fuzz.claude_client import claude
from tests.verification.fuzz.leading_bytes import take_bytes

SINCE = datetime(2026, 11, 1, tzinfo=UTC)
MAX_ITEM_BYTES = 400_000


def result(data: bytes) -> None:
    """Check that a result line is passed on unchanged and counted, or recognized as invalid."""
    try:
        line = read_line(data)
        outcome = read_result(line.result)
    except msgspec.DecodeError:
        return
    written = output_line(17, b'"mine"', line.result)
    assert written == b'{"row":17,"custom_id":"mine","result":' + bytes(line.result) + b"}\n"
    assert written.count(b"\n") == 1 + bytes(line.result).count(b"\n")
    counter = OutcomeCounter()
    counter.add([outcome, read_result(rejected_result(Rejection("x", "y", 1)))])
    _check_storable(counter.tally())
    RequestId.parse(line.custom_id)
    assert isinstance(outcome.retryable, bool)
    _compare_with_oracle(data, line.result)


def _check_storable(tally: OutcomeCounts) -> None:
    """Check that the counts can be stored and added up."""
    stored = serialize({"tally": tally})
    assert len(json.dumps(stored)) < MAX_ITEM_BYTES
    reread = msgspec.convert(deserialize(stored)["tally"], OutcomeCounts)
    assert reread == tally
    assert sum(total([reread, reread]).outcomes.values()) == 4


def _compare_with_oracle(data: bytes, result: msgspec.Raw) -> None:
    try:
        value = oracle.loads(data)
    except (ValueError, RecursionError):
        return
    assert isinstance(value, dict)
    assert oracle.members(data)["result"] == bytes(result)


def stream(data: bytes) -> None:
    """Check that results are the same lines in blocks of any size."""
    (size,), body = take_bytes(data, 1)
    blocks = [body[start : start + size + 1] for start in range(0, len(body), size + 1)]
    read_lines_ = list(lines(iter(blocks)))
    expected = body.split(b"\n")
    assert read_lines_ == (expected if expected[-1] else expected[:-1])


_STATUSES = (200, 400, 401, 402, 403, 404, 408, 409, 413, 422, 425, 429, 499, 500, 502, 503, 529)


def verdict(data: bytes) -> None:
    """Check that every answer to create has a verdict, and only a readable batch is accepted."""
    (status, split), body = take_bytes(data, 2)
    code = _STATUSES[status % len(_STATUSES)] if status < 200 else 200 + status
    headers = {"retry-after": body[:split].decode("latin-1")} if split else {}
    parsed = classify(code, headers, body[split:])
    _check_verdict(code, parsed)


def _check_verdict(code: int, parsed: Verdict) -> None:
    kind = type(parsed).__name__
    if code == 200:
        assert kind in {"Accepted", "Ambiguous"}
    elif code >= 500 or code < 400 or code in {408, 409, 425, 499}:
        assert kind == "Ambiguous"
    else:
        assert isinstance(parsed, Refused | AccountBlocked | RateLimited)
    if isinstance(parsed, RateLimited):
        assert 1 <= parsed.retry_after_s <= 6 * 3600
        timestamps.after(SINCE, parsed.retry_after_s)
    if isinstance(parsed, Refused):
        parsed.message.encode()


def listing(data: bytes) -> None:
    """Check that pages give batches, or the error that the API is unavailable."""
    pages = iter(data.split(b"\xff\xfe"))

    def answer(_request: httpx2.Request) -> httpx2.Response:
        page = next(pages, b"")
        return httpx2.Response(200, content=page, headers={"content-type": "application/json"})

    try:
        batches, _since = open_claude(answer).list_batches(SINCE)
    except (ApiUnavailableError, msgspec.DecodeError):
        return
    for batch in batches:
        assert timestamps.parse(batch.created_at) >= SINCE
        assert isinstance(batch.ended, bool)
        assert isinstance(batch.request_counts.total, int)


def refusal(data: bytes) -> None:
    """Check that an error of any status and body becomes one of our errors."""
    (status,), body = take_bytes(data, 1)
    code = _STATUSES[status % len(_STATUSES)]

    def answer(_request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(code, content=body, headers={"content-type": "application/json"})

    def read() -> Iterator[Any]:
        yield b"".join(open_claude(answer).results("msgbatch_1"))

    try:
        (content,) = read()
    except RelayError as error:
        assert code != 200
        assert isinstance(error, ApiNotFoundError) == (code == 404)
    else:
        assert (code, content) == (200, body)


def open_claude(answer: Any) -> Claude:
    return claude(answer)
