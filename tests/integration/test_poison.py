"""A failing item is announced once, delays nothing else, and ends when waiting cannot help."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from functions import poll
from functions.adapters.table import serialize
from functions.model.items.work_item import MAX_TRIES
from functions.model.upload_format import UploadFormat
from tests.harness import RESULTS, TABLE, Harness, make_upload
from tests.integration.deployed_functions import Context
from tests.unit.factories import AT
from tests.unit.factories import job as make_job
from tests.verification.crash.crash_harness import CrashHarness, open_crash_harness

POISONED, GOOD = "in/bad.jsonl", "in/good.jsonl"


@pytest.mark.parametrize(
    ("step", "item", "counts"),
    [
        ("send", "00001-1", {"errored": 3}),
        ("collect", "00001-1", {"succeeded": 3}),  # answers are delivered without the ledger
    ],
)
def test_a_poisoned_job_ends_and_delays_no_other(
    tmp_path: Path, step: str, item: str, counts: dict[str, int]
) -> None:
    with open_crash_harness(tmp_path, processing_s=100.0) as relay:
        ticks_alone = _ticks_until_good_job_ends(relay)
        relay.start_over()
        _upload_poisoned(relay, step)
        ticks_beside = _ticks_until_good_job_ends(relay)
        _tick_until_done(relay)

        unique_events = {event["id"]: event for event in relay.events()}.values()
        stuck = [event["data"] for event in unique_events if event["type"] == "batch.stuck"]
        assert ticks_beside == ticks_alone
        assert relay.manifest(GOOD)["counts"] == {"succeeded": 3}
        assert (stuck[0]["item"], stuck[0]["step"], stuck[0]["tries"]) == (item, step, MAX_TRIES)
        assert "no longer exists" in stuck[0]["problem"]
        assert {data["item"] for data in stuck} == {item}
        assert relay.manifest(POISONED)["counts"] == counts
        assert [line["row"] for line in relay.lines(POISONED)] == [
            *range(1, 1 + sum(counts.values()))
        ]
        assert relay.items.unfinished().jobs == []
        assert max(relay.simulator.accepted_params().values()) == 1


def test_a_stuck_item_is_in_the_metric_and_announced_once(
    relay: Harness, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(poll, "_services", lambda: (relay.poll, _NoQueues()))
    relay.upload(POISONED, make_upload(3))
    (batch,) = relay.items.unfinished().batches
    _poll(capsys)
    relay.dynamodb.update_item(
        TableName=TABLE,
        Key={"job": {"S": batch.job}, "item": {"S": batch.item}},
        UpdateExpression="SET tries = :tries",
        ExpressionAttributeValues={":tries": {"N": str(MAX_TRIES)}},
    )

    measured = [_poll(capsys) for _ in range(3)]

    assert measured == [1.0, 1.0, 1.0]
    assert [event["type"] for event in relay.events()].count("batch.stuck") == 1


@pytest.mark.parametrize("container", [None, "gzip"])
def test_a_compressed_upload_whose_planning_is_always_killed_is_to_be_uploaded_in_parts(
    relay: Harness, container: str | None
) -> None:
    job = make_job(
        status="PLANNING", status_key=f"PLANNING#{AT}", next_step="plan", tries=MAX_TRIES,
        format=UploadFormat(container=container),
    )  # fmt: skip
    relay.dynamodb.put_item(TableName=TABLE, Item=serialize(msgspec.to_builtins(job)))
    relay.poll_once()

    (stuck,) = relay.events()
    assert stuck["data"]["problem"].startswith("every attempt was killed before it finished")
    assert ("upload it in parts" in stuck["data"]["problem"]) == (container is not None)


class _NoQueues:
    """Send no work message."""

    def slices(self, _waiting: list[Any]) -> dict[str, Any]:
        return {}


def _poll(capsys: pytest.CaptureFixture[str]) -> float:
    """Poll as the schedule does; return the metric."""
    poll.handler({}, Context())
    lines = capsys.readouterr().out.splitlines()
    (metrics,) = (json.loads(line) for line in lines if '"_aws"' in line)
    (stuck,) = metrics["Stuck"]
    return float(stuck)


def _ticks_until_good_job_ends(relay: CrashHarness) -> int:
    relay.upload(GOOD, make_upload(3, "good"))
    (job,) = (job for job in relay.items.unfinished().jobs if job.key == GOOD)
    ticks = 0
    while (current := relay.items.job(job.job)) is not None and current.status != "DONE":
        relay.tick()
        ticks += 1
        assert ticks < 30, current
    return ticks


def _upload_poisoned(relay: CrashHarness, step: str) -> None:
    """Upload a file, and delete what this step must read."""
    relay.upload(POISONED, make_upload(3, "bad"))
    (batch,) = relay.items.unfinished().batches
    key = batch.requests_key if step == "send" else batch.ledger_key
    relay.s3.delete_object(Bucket=RESULTS, Key=key)


def _tick_until_done(relay: CrashHarness) -> None:
    for tick in range(300):
        relay.tick(600 if tick < 60 else 6 * 3600)
        if not (relay.items.unfinished().jobs or relay.items.unfinished().events):
            return
