"""Generated uploads over moto: one line for each row, and the same lines as in memory."""

from itertools import count

import pytest
from hypothesis import given, settings

from tests.harness import RESULTS, TABLE, Harness
from tests.verification.fuzz import oracle
from tests.verification.fuzz.factories import FEW_EXAMPLES, bodies
from tests.verification.fuzz.jobs import (
    ROW_BYTES,
    SKIP_CHECKS,
    InMemoryRelay,
    RemainingTime,
    ScriptedAnthropic,
    corrupted_results,
    only_json_lines,
)

PER_BATCH = 6
_numbers = count()


@pytest.fixture(scope="module")
def relay_with_small_limits(relay: Harness) -> Harness:
    relay.deploy(requests_per_batch=PER_BATCH, row_bytes=ROW_BYTES)
    return relay


def lines_from_memory(body: bytes) -> list[bytes]:
    """Return a job's lines over in-memory services, without the API's results."""
    api = ScriptedAnthropic(lambda names: b"\n".join(corrupted_results(names, b"", b"")))
    memory_relay = InMemoryRelay(PER_BATCH, RemainingTime(0), api)
    memory_relay.upload("_relay.json", SKIP_CHECKS)
    memory_relay.upload("in/a.jsonl", body)
    memory_relay.finish()
    (lines,) = (
        stored_object.body
        for key, stored_object in memory_relay.aws.s3.objects(RESULTS, "results/").items()
        if key.endswith("/results.jsonl")
    )
    return without_api_results(lines)


def without_api_results(lines: bytes) -> list[bytes]:
    """Cut off the API's results; keep rejections, which are the relay's own."""
    stored_object = []
    for line in lines.split(b"\n")[:-1]:
        head, _, result = line.partition(b',"result":')
        stored_object.append(line if result.startswith(b'{"type":"rejected"') else head)
    return stored_object


@given(body=bodies)
@settings(FEW_EXAMPLES, max_examples=24)
def test_any_upload_produces_the_same_lines_over_moto_and_in_memory(
    relay_with_small_limits: Harness, body: bytes
) -> None:
    relay, key = relay_with_small_limits, f"in/{next(_numbers)}.jsonl"
    relay.pass_time(7200)
    relay.upload("_relay.json", SKIP_CHECKS)
    with only_json_lines():
        _compare(relay, key, body)


def _compare(relay: Harness, key: str, body: bytes) -> None:
    relay.upload(key, body)
    relay.finish()
    lines = without_api_results(relay.read(key, "results.jsonl"))
    reason = relay.manifest(key)["reason"] or ""
    for item in relay.dynamodb.scan(TableName=TABLE)[
        "Items"
    ]:  # moto scans everything that was ever stored
        key_ = {name: item[name] for name in ("job", "item")}
        relay.dynamodb.delete_item(TableName=TABLE, Key=key_)

    assert len(lines) == (0 if "not UTF-8 text" in reason else len(oracle.expected_rows(body)))
    assert lines == lines_from_memory(body)
