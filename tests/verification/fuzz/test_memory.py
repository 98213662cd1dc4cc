"""A few dozen uploads through the real stages over moto: as many lines out as rows in, and as over wires in memory."""

from itertools import count

import pytest
from hypothesis import given, settings

from tests.harness import RESULTS, TABLE, Harness
from tests.verification.fuzz import oracle
from tests.verification.fuzz.factories import FEW, bodies
from tests.verification.fuzz.jobs import ROW_BYTES, Anthropic, Clock, Relay, spoiled

PER_BATCH = 6
_numbers = count()


@pytest.fixture(scope="module")
def cut_small(relay: Harness) -> Harness:
    relay.deploy(requests_per_batch=PER_BATCH, row_bytes=ROW_BYTES)
    return relay


def in_memory(body: bytes) -> list[bytes]:
    """Give the lines that a job over wires in memory leaves, up to the result."""
    api = Anthropic(lambda names: b"\n".join(spoiled(names, b"", b"")))
    there = Relay(PER_BATCH, Clock(0), api)
    there.upload("in/a.jsonl", body)
    there.finish()
    (lines,) = (
        found.body
        for key, found in there.aws.s3.objects(RESULTS, "results/").items()
        if key.endswith("/results.jsonl")
    )
    return heads(lines)


def heads(lines: bytes) -> list[bytes]:
    """Cut the lines off where the API's results begin; a rejection is our own, and stays."""
    found = []
    for line in lines.split(b"\n")[:-1]:
        head, _, result = line.partition(b',"result":')
        found.append(line if result.startswith(b'{"type":"rejected"') else head)
    return found


@given(body=bodies)
@settings(FEW, max_examples=24)
def test_any_upload_leaves_a_line_for_each_row_here_as_in_memory(
    cut_small: Harness, body: bytes
) -> None:
    relay, key = cut_small, f"in/{next(_numbers)}.jsonl"
    relay.pass_time(7200)
    relay.upload(key, body)
    relay.finish()
    lines = heads(relay.read(key, "results.jsonl"))
    unread = relay.manifest(key)["reason"] or ""
    for item in relay.dynamodb.scan(TableName=TABLE)[
        "Items"
    ]:  # moto looks at all that there ever was
        place = {name: item[name] for name in ("job", "item")}
        relay.dynamodb.delete_item(TableName=TABLE, Key=place)

    assert len(lines) == (0 if "not UTF-8 text" in unread else len(oracle.spots(body)))
    assert lines == in_memory(body)
