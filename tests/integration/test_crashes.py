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

from functions.batches.errors import DownloadError
from functions.batches.items import Batch
from tests.integration.mortal import Killed, Mortal, Strike, mortal
from tests.world import RESULTS, TABLE, World, request, upload_of, world

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


KEY = "in/march.jsonl"


def test_a_404_for_the_listing_stops_nothing_else(tmp_path: Path) -> None:
    with mortal(tmp_path, processing_s=600.0) as relay:
        relay.upload("in/first.jsonl", upload_of(2, "first"))
        relay.tick()
        relay.simulator.arm("not_found", times=0, endpoint="list")
        relay.upload(KEY, upload_of(2))
        for _ in range(3):
            relay.tick()

        assert relay.deaths == []
        assert relay.simulator.calls()["create"] == 2


def test_what_is_set_aside_in_a_later_attempt_is_not_sent_a_third_time(tmp_path: Path) -> None:
    """Its second batch may have been paid for: that it was not collected says nothing of its rows."""
    with world(tmp_path, processing_s=100.0) as relay:
        relay.upload(KEY, request(1, "[fate:expired]") + b"\n" + request(2))
        batch = _until(relay, attempt=2, status="IN_PROGRESS")
        ledger = relay.s3.get_object(Bucket=RESULTS, Key=batch.ledger_key)["Body"].read()
        relay.s3.delete_object(Bucket=RESULTS, Key=batch.ledger_key)
        while not (batch := _until(relay, attempt=2)).closing:
            pass
        relay.s3.put_object(Bucket=RESULTS, Key=batch.ledger_key, Body=ledger)

        relay.finish(60)

        assert sorted(relay.simulator.accepted_params().values()) == [1, 2]
        assert [line["result"]["type"] for line in relay.lines(KEY)] == ["expired", "succeeded"]


def _until(relay: World, **wanted: Any) -> Batch:
    """Tick until there is such a batch."""
    for _ in range(60):
        with suppress(DownloadError):
            relay.tick()
        for batch in relay.store.unfinished().batches:
            if all(getattr(batch, name) == value for name, value in wanted.items()):
                return batch
    raise AssertionError(wanted)


def test_an_unsure_batch_is_adopted_under_a_key_that_replaced_the_first(tmp_path: Path) -> None:
    with world(tmp_path, keys={"sk-a": "default", "sk-b": "default"}) as relay:
        relay.key = "sk-a"
        relay.simulator.arm("lost_answer")
        relay.upload(KEY, upload_of(3))
        relay.tick()
        relay.key = "sk-b"
        relay.deploy()

        relay.finish()

        assert [len(relay.lines(KEY)), relay.simulator.calls()["create"]] == [3, 1]


def test_an_unsure_batch_of_another_key_ends_when_nothing_can_be_found_any_more(
    tmp_path: Path,
) -> None:
    with world(tmp_path, keys={"sk-a": "one", "sk-b": "two"}) as relay:
        relay.key = "sk-a"
        relay.simulator.arm("lost_answer")
        relay.upload(KEY, upload_of(3))
        relay.tick()
        relay.key = "sk-b"
        relay.deploy()
        relay.tick()
        relay.pass_time(31 * 24 * 3600)

        relay.finish()

        assert relay.manifest(KEY)["counts"] == {"errored": 3}
        assert relay.simulator.calls()["create"] == 1


def test_a_404_under_another_key_does_not_end_paid_rows(tmp_path: Path) -> None:
    with world(tmp_path, keys={"sk-a": "one", "sk-b": "two"}, processing_s=100.0) as relay:
        relay.key = "sk-a"
        relay.upload(KEY, upload_of(3))
        relay.simulator.arm("server_error", times=2, endpoint="results")
        for _ in range(4):
            relay.tick()
        assert relay.store.unfinished().batches[0].status == "ENDED"
        relay.key = "sk-b"
        relay.deploy()
        relay.pass_time(26 * 3600)
        for _ in range(12):
            relay.tick()
        relay.key = "sk-a"
        relay.deploy()

        relay.finish()

        assert relay.manifest(KEY)["counts"] == {"succeeded": 3}


def test_an_upload_that_is_gone_costs_the_retry_file_and_no_answer(relay: World) -> None:
    relay.upload(KEY, upload_of(3) + b"\n{broken")
    (job,) = relay.store.unfinished().jobs  # read to its end by now
    relay.s3.delete_object(Bucket="uploads", Key=KEY, VersionId=job.version)

    relay.finish(200)

    assert relay.manifest(KEY)["counts"] == {"rejected": 1, "succeeded": 3}
    assert relay.read(KEY, "retry.jsonl") == b""


def test_an_event_that_sns_refuses_holds_up_no_other(relay: World) -> None:
    publish = relay.sns.publish

    def refusing(**message: Any) -> Any:
        if "planned" in message["Message"]:
            error: Any = {"Error": {"Code": "InvalidParameter", "Message": "no"}}
            raise botocore.exceptions.ClientError(error, "Publish")
        return publish(**message)

    relay.sns.publish = refusing  # type: ignore[method-assign]
    relay.upload(KEY, upload_of(3))
    for _ in range(10):
        relay.tick()

    assert "job.completed" in [event["type"] for event in relay.events()]


@pytest.mark.parametrize("key", ["ü" * 505 + "x.jsonl", "x" * 1010 + ".jsonl"])
def test_any_upload_can_be_canceled(tmp_path: Path, key: str) -> None:
    with world(tmp_path, processing_s=3600.0) as relay:
        relay.upload(key, upload_of(2))
        relay.tick()
        relay.upload(key + ".cancel", b"")
        relay.finish()

        assert relay.simulator.calls()["cancel"] == 1


@pytest.mark.parametrize("key", ["sk-ü", '{\n "key": "sk-local"\n}', ""])
def test_a_secret_that_is_no_key_parks(relay: World, key: str) -> None:
    relay.key = key
    relay.upload(KEY, upload_of(2))
    for _ in range(3):
        relay.tick()

    parked = [event for event in relay.events() if event["type"] == "sending.parked"]
    assert [event["data"]["reason"] for event in parked] == ["key_missing"]


def test_a_job_that_lacks_a_chunk_is_not_called_done(tmp_path: Path) -> None:
    with mortal(tmp_path) as relay:
        relay.deploy(requests_per_batch=1)
        relay.upload(KEY, upload_of(3))
        (job,) = relay.store.unfinished().jobs
        relay.dynamodb.delete_item(
            TableName=TABLE, Key={"job": {"S": job.job}, "item": {"S": "00002-1"}}
        )
        relay.dynamodb.update_item(
            TableName=TABLE,
            Key={"job": {"S": job.job}, "item": {"S": "#"}},
            UpdateExpression="ADD finished :one",
            ExpressionAttributeValues={":one": {"N": "1"}},
        )
        for _ in range(90):
            relay.tick()

        assert "stuck" in " ".join(event["type"] for event in relay.events())
        assert (found := relay.store.job(job.job)) is not None
        assert (found.status, found.outcome) == ("DONE", "failed")


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
