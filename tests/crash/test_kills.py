"""A stage may die just before or just after any call it makes: every row is still answered, and paid once."""

import hashlib
import json
import os
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest

from tests.crash.mortal import Killed, Mortal, Strike, mortal
from tests.world import TABLE, request

EVERY = int(os.environ.get("CRASHES_EVERY", "31"))
"""Every so many calls one is struck; 1 strikes them all, which takes some minutes."""
ROWS = 8
TWICE = 5
"""The row that expires at first, and is sent again."""
BROKEN = 4
TICKS = 40
TICK_S = 150.0
"""Poll comes less often here than it does: each one takes a while."""


def job(name: str) -> bytes:
    """Make an upload of three chunks: a row is sent twice, and one never."""
    rows = [
        request(number, f"[fate:expired] {name}" if number == TWICE else name)
        for number in range(1, ROWS + 1)
    ]
    rows[BROKEN - 1] = b'{"custom_id": "row-4"}'
    return b"\n".join(rows)


def shas(body: bytes) -> dict[str, int]:
    """Say which params are to be accepted how often."""
    wanted: dict[str, int] = {}
    for number, line in enumerate(body.split(b"\n"), 1):
        if number != BROKEN:
            params = line.partition(b'"params": ')[2][:-1]
            wanted[hashlib.sha256(params).hexdigest()] = 2 if number == TWICE else 1
    return wanted


def play(relay: Mortal, name: str, strike: Strike | None) -> list[str]:
    """Run a job through, struck at one call; give what is wrong with how it ended."""
    relay.pass_time(8 * 3600)
    relay.fate.calls.clear()
    relay.fate.strike = strike
    relay.again.clear()
    relay.deaths.clear()
    relay.events()
    body, key = job(name), f"in/{name}.jsonl"
    relay.upload(key, body)
    left = relay.store.unfinished()
    for _ in range(TICKS):
        relay.tick(TICK_S)
        left = relay.store.unfinished()
        if not (left.jobs or left.batches or left.events or left.doubles or relay.again):
            break
    else:
        return [f"waits forever: {left}"]
    return wrong(relay, key, body)


def wrong(relay: Mortal, key: str, body: bytes) -> list[str]:
    """Look at everything that a user sees."""
    found: list[str] = []
    rows = [line["row"] for line in relay.lines(key)]
    if rows != list(range(1, ROWS + 1)):
        found.append(f"rows {rows}")
    types = [line["result"]["type"] for line in relay.lines(key)]
    expected = ["rejected" if n == BROKEN else "succeeded" for n in range(1, ROWS + 1)]
    if types != expected:
        found.append(f"types {types}")
    accepted = relay.simulator.accepted_params()
    paid = {sha: accepted.get(sha, 0) for sha in shas(body)}
    if paid != shas(body):
        found.append(f"paid {sorted(paid.values())}")
    ids = Counter((event["type"], event["id"]) for event in relay.events())
    kinds = Counter(kind for kind, _ in ids)
    if kinds != {"job.planned": 1, "batch.ended": 4, "job.completed": 1}:
        found.append(f"events {dict(kinds)}")
    status = json.loads(relay.read(key, "status.json"))
    if status["status"] != "DONE":
        found.append(f"status.json {status['status']}")
    return found


def die() -> None:
    raise Killed


def fail() -> None:
    raise botocore.exceptions.ReadTimeoutError(endpoint_url="https://aws")


def strikes(relay: Mortal, how: str, at: int, *, after: bool) -> Strike:
    def freeze() -> None:
        """Stand still while others go on: as long as the lease of poll, or past that of a stage."""
        for _ in range(1 if relay.polling else 20):
            relay.tick()

    return Strike(at, after, {"kill": die, "error": fail, "freeze": freeze}[how])


@pytest.fixture(scope="module")
def figures() -> Any:
    """Say at the end what was tried."""
    lines: list[str] = []
    yield lines
    print("\n".join(lines))  # noqa: T201 - the figures of a full run


@pytest.mark.parametrize("how", ["kill", "error", "freeze"])
def test_struck_at_any_call_a_job_ends_whole(tmp_path: Path, how: str, figures: list[str]) -> None:
    with mortal(tmp_path) as relay:
        relay.deploy(requests_per_batch=3)
        assert play(relay, "plain", None) == []
        calls = list(relay.fate.calls)
        bad: dict[str, list[str]] = {}
        tried = 0
        offset = {"kill": 0, "error": 2, "freeze": 4}[how] % EVERY
        for at in range(1 + offset, len(calls) + 1, EVERY):
            for after in (False, True):
                tried += 1
                found = play(
                    relay, f"{how}{at}{after}".lower(), strikes(relay, how, at, after=after)
                )
                if found:
                    bad[f"{'after' if after else 'before'} {at} {calls[at - 1]}"] = found
                for item in relay.dynamodb.scan(TableName=TABLE)["Items"]:
                    relay.dynamodb.delete_item(
                        TableName=TABLE, Key={n: item[n] for n in ("job", "item")}
                    )
        figures.append(f"{how}: {len(calls)} calls, struck {tried}, not whole {len(bad)}")
        assert bad == {}


def test_what_the_sdk_repeats_after_it_was_done_changes_nothing(tmp_path: Path) -> None:
    """A write that succeeded, and whose answer was lost: its second time fails, or does it once more."""
    with mortal(tmp_path) as relay:
        relay.deploy(requests_per_batch=3)
        for client in (relay.dynamodb, relay.sns, relay.sqs):
            _repeat(client)

        assert play(relay, "repeated", None) == []


def _repeat(client: Any) -> None:
    call = client._make_api_call  # noqa: SLF001 - the one way that every call goes
    # Transactions carry a token, by which DynamoDB knows a repeated one: moto does not.
    once = {"TransactWriteItems", "ReceiveMessage"}

    def twice(operation: str, arguments: dict[str, Any]) -> Any:
        if operation in once:
            return call(operation, arguments)
        with suppress(client.exceptions.ClientError):
            call(operation, arguments)
        return call(operation, arguments)

    client._make_api_call = twice  # noqa: SLF001
