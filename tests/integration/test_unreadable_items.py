"""An item that cannot be read or processed is passed over, and only its own job stops."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from functions import poll
from functions.adapters.queues import WorkQueues
from functions.model.waiting_reasons import Obstacles
from functions.polling import status_file
from tests.harness import TABLE, Harness, make_upload
from tests.integration.deployed_functions import Context

KEY, OTHER = "in/march.jsonl", "in/april.jsonl"
SECRET = "what a user wrote"
STATUS_TIME = "2026-11-23T20:54:10.123Z"
UNREADABLE_ITEMS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "an unknown kind of item": ("j" * 20, "budget/1", {"amount": {"S": SECRET}}),
    "a batch without its rows": ("j" * 20, "00001-1", {"status": {"S": "WAITING"}}),
    "a job of another shape": ("j" * 20, "#", {"status": {"S": "RUNNING"}, "key": {"N": "1"}}),
    "a truncated event": ("j" * 20, "event/1", {"event": {"S": '{"id": "' + SECRET}}),
    "an event without its text": ("j" * 20, "event/2", {}),
    "a cancellation without an upload": ("cancel", "x", {}),
    "an owner of another type": ("msgbatch_1", "owner", {"owned_by": {"N": "1"}}),
    "a duplicate flagged in no time zone": (
        "msgbatch_1",
        "owner",
        {
            "owned_by": {"S": "x/00001-1"},
            "schema": {"N": "1"},
            "expires": {"N": "1"},
            "status_key": {"S": "DUPLICATE#2026-11-23T20:54:10.123"},
        },
    ),
}


def put_item(relay: Harness, job: str, item: str, attributes: dict[str, Any]) -> None:
    keys = {"job": job, "item": item, "open": "open", "status_key": f"WAITING#{STATUS_TIME}"}
    typed = {name: {"S": text} for name, text in keys.items()}
    relay.dynamodb.put_item(TableName=TABLE, Item={**typed, **attributes})


@pytest.mark.parametrize("kind", UNREADABLE_ITEMS)
def test_an_unreadable_item_does_not_stop_other_jobs(
    relay: Harness, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    put_item(relay, *UNREADABLE_ITEMS[kind])
    relay.upload(KEY, make_upload(3))

    passed_over = [relay.tick().passed_over for _ in range(6)]

    assert passed_over == [1] * 6
    assert relay.manifest(KEY)["counts"] == {"succeeded": 3}
    records_ = [vars(record) for record in caplog.records if record.message == "unreadable item"]
    assert len(records_) >= 6
    for record in records_:
        assert (record["levelname"], record["job"], record["item"]) == (
            "ERROR",
            *UNREADABLE_ITEMS[kind][:2],
        )
        assert SECRET not in str(record)


NO_ZONE, TOO_EARLY, TOO_LATE = STATUS_TIME[:-1], "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"


@pytest.mark.parametrize("status", ["WAITING", "UNCONFIRMED"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", "PAUSED"), ("next_step", "audit"),
        ("created_at", "soon"), ("first_sent_at", NO_ZONE),
        ("intent_at", TOO_EARLY), ("first_missed_at", TOO_LATE), ("first_tried_at", "soon"),
        *(("status_key", f"WAITING#{time}") for time in ("soon", NO_ZONE, TOO_EARLY, TOO_LATE)),
    ],
)  # fmt: skip
def test_an_invalid_batch_stops_only_its_own_job(
    relay: Harness, status: str, name: str, value: str
) -> None:
    relay.upload(OTHER, make_upload(2, "april"))
    (batch,) = relay.items.unfinished().batches
    _set_attribute(relay, batch.job, batch.item, "status", {"S": status})
    _set_attribute(relay, batch.job, batch.item, name, {"S": value})
    relay.upload(KEY, make_upload(3))

    summaries = [relay.tick() for _ in range(6)]

    assert [summary.passed_over for summary in summaries] == [1] * 6
    assert [summary.silent_since for summary in summaries] == [None] * 6
    assert relay.manifest(KEY)["counts"] == {"succeeded": 3}


@pytest.mark.parametrize("status", ["COLLECTED", "SPLIT", "STUCK"])
def test_an_open_batch_of_an_impossible_status_stops_only_its_own_job(
    relay: Harness, status: str
) -> None:
    """No transition leaves an item so; somebody has edited it."""
    relay.upload(OTHER, make_upload(2, "april"))
    (batch,) = relay.items.unfinished().batches
    _set_attribute(relay, batch.job, batch.item, "status", {"S": status})
    relay.upload(KEY, make_upload(3))

    passed_over = [relay.tick().passed_over for _ in range(6)]

    assert min(passed_over) > 0
    assert relay.manifest(KEY)["counts"] == {"succeeded": 3}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", "PAUSED"), ("next_step", "audit"),
        *((name, prefix + time)
          for name, prefix in (("uploaded_at", ""), ("status_key", "RUNNING#"))
          for time in ("soon", NO_ZONE, TOO_EARLY, TOO_LATE)),
    ],
)  # fmt: skip
def test_an_invalid_job_stops_no_other(relay: Harness, name: str, value: str) -> None:
    relay.upload(OTHER, make_upload(2, "april"))
    (job,) = relay.items.unfinished().jobs
    done = msgspec.structs.replace(job, status="DONE", next_step="tidy")
    digest = status_file._digest(status_file._status(done, [], Obstacles(), relay.now()))  # noqa: SLF001
    attributes = {"status": "DONE", "next_step": "tidy", "status_digest": digest, name: value}
    for attribute, text in attributes.items():
        _set_attribute(relay, job.job, job.item, attribute, {"S": text})
    relay.upload(KEY, make_upload(3))

    summaries = [relay.tick() for _ in range(6)]

    assert [summary.passed_over for summary in summaries] == [1] * 6
    assert relay.manifest(KEY)["counts"] == {"succeeded": 3}


def _set_attribute(relay: Harness, job: str, item: str, name: str, value: Any) -> None:
    relay.dynamodb.update_item(
        TableName=TABLE,
        Key={"job": {"S": job}, "item": {"S": item}},
        UpdateExpression="SET #name = :value",
        ExpressionAttributeNames={"#name": name},
        ExpressionAttributeValues={":value": value},
    )


def test_a_job_with_an_unreadable_batch_continues_once_it_is_repaired(
    relay: Harness,
) -> None:
    relay.deploy(requests_per_batch=1)
    relay.upload(KEY, make_upload(2))
    batch, _ = relay.items.unfinished().batches
    _set_attribute(relay, batch.job, batch.item, "requests", {"S": "many"})
    relay.upload(OTHER, make_upload(3))
    for _ in range(10):
        relay.tick()
    assert relay.manifest(OTHER)["counts"] == {"succeeded": 3}

    _set_attribute(relay, batch.job, batch.item, "requests", {"N": "1"})
    relay.finish()

    assert relay.manifest(KEY)["counts"] == {"succeeded": 2}


def test_an_item_whose_writes_fail_does_not_stop_other_jobs(
    relay: Harness,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Poll can write neither its end nor its status.json; the other job continues."""
    relay.upload(OTHER, make_upload(2, "april"))
    (failing_batch,) = relay.items.unfinished().batches
    relay.tick()
    relay.upload(KEY, make_upload(3))
    _fail_writes(relay, lambda records_: failing_batch.job in records_)
    monkeypatch.setattr(poll, "_services", lambda: (relay.poll, _work_messages(relay)))
    capsys.readouterr()

    for _ in range(6):
        relay.pass_time(60)
        poll.handler({}, Context())
        relay.drain_queues()

    assert relay.manifest(KEY)["counts"] == {"succeeded": 3}
    lines = capsys.readouterr().out.splitlines()
    stuck = [json.loads(line)["Stuck"] for line in lines if '"_aws"' in line]
    records_ = [vars(record) for record in caplog.records if record.message == "passed over"]
    assert len(stuck) == 6
    assert stuck[-1] > [0.0]
    assert any(
        record["item"].endswith(f"{failing_batch.job}/{failing_batch.item}") for record in records_
    )
    assert SECRET not in str(records_)


def _fail_writes(relay: Harness, matches: Callable[[str], bool]) -> None:
    """Let poll's own writes fail with an error that quotes the user."""
    write = relay.dynamodb.transact_write_items

    def write_or_fail(**arguments: Any) -> Any:
        if matches(str(arguments)):
            raise ValueError(SECRET)
        return write(**arguments)

    relay.dynamodb.transact_write_items = write_or_fail  # type: ignore[method-assign]


def _work_messages(relay: Harness) -> WorkQueues:
    return WorkQueues(relay.queues["submit"], relay.queues["results"], client=relay.sqs)


def test_the_poll_lease_is_released_after_an_error(relay: Harness) -> None:
    query = relay.dynamodb.get_paginator

    def failing(_name: str) -> Any:
        raise ConnectionResetError

    relay.dynamodb.get_paginator = failing  # type: ignore[method-assign,assignment]
    with pytest.raises(ConnectionResetError):
        relay.poll_once()
    relay.dynamodb.get_paginator = query  # type: ignore[method-assign]

    assert not relay.poll_once().skipped
