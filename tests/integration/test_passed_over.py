"""An item that cannot be read, or not be worked on, is passed over: it stops nothing but its own job."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from functions import poll
from functions.adapters.queues import WorkQueues
from tests.harness import TABLE, Harness, upload_of
from tests.integration.test_handlers import Context

KEY, OTHER = "in/march.jsonl", "in/april.jsonl"
SECRET = "what a user wrote"
AT = "2026-11-23T20:54:10.123Z"
PERMANENT_READ_ERRORS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "a kind that is not known": ("j" * 20, "budget/1", {"amount": {"S": SECRET}}),
    "a batch that lacks its rows": ("j" * 20, "00001-1", {"status": {"S": "WAITING"}}),
    "a job of another shape": ("j" * 20, "#", {"status": {"S": "RUNNING"}, "key": {"N": "1"}}),
    "an event that is cut off": ("j" * 20, "event/1", {"event": {"S": '{"id": "' + SECRET}}),
    "an event without its text": ("j" * 20, "event/2", {}),
    "a request to cancel nothing": ("cancel", "x", {}),
    "an owner of nobody": ("msgbatch_1", "owner", {"owned_by": {"N": "1"}}),
}


def put(relay: Harness, job: str, item: str, more: dict[str, Any]) -> None:
    keys = {"job": job, "item": item, "open": "open", "status_key": f"WAITING#{AT}"}
    typed = {name: {"S": text} for name, text in keys.items()}
    relay.dynamodb.put_item(TableName=TABLE, Item={**typed, **more})


@pytest.mark.parametrize("kind", PERMANENT_READ_ERRORS)
def test_an_unreadable_item_stops_no_job(
    relay: Harness, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    put(relay, *PERMANENT_READ_ERRORS[kind])
    relay.upload(KEY, upload_of(3))

    passed_over = [relay.tick().passed_over for _ in range(6)]

    assert passed_over == [1] * 6
    assert relay.manifest(KEY)["counts"] == {"succeeded": 3}
    told = [vars(one) for one in caplog.records if one.message == "unreadable item"]
    assert len(told) >= 6
    for one in told:
        assert (one["levelname"], one["job"], one["item"]) == (
            "ERROR",
            *PERMANENT_READ_ERRORS[kind][:2],
        )
        assert SECRET not in str(one)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", "PAUSED"), ("next_step", "audit"), ("status_key", "WAITING#soon"), ("created_at", "soon"),
        ("first_sent_at", "soon"), ("intent_at", "soon"),
    ],
)  # fmt: skip
def test_a_batch_that_poll_would_stumble_over_stops_its_own_job(
    relay: Harness, name: str, value: str
) -> None:
    relay.upload(OTHER, upload_of(2, "april"))
    (batch,) = relay.items.unfinished().batches
    _set(relay, batch.job, batch.item, name, {"S": value})
    relay.upload(KEY, upload_of(3))

    tallies = [relay.tick() for _ in range(6)]

    assert [tally.passed_over for tally in tallies] == [1] * 6
    assert [tally.succeeded for tally in tallies] == [True] * 6
    assert relay.manifest(KEY)["counts"] == {"succeeded": 3}


def _set(relay: Harness, job: str, item: str, name: str, value: Any) -> None:
    relay.dynamodb.update_item(
        TableName=TABLE,
        Key={"job": {"S": job}, "item": {"S": item}},
        UpdateExpression="SET #name = :value",
        ExpressionAttributeNames={"#name": name},
        ExpressionAttributeValues={":value": value},
    )


def test_a_job_with_an_unreadable_batch_waits_and_goes_on_once_that_is_mended(
    relay: Harness,
) -> None:
    relay.deploy(requests_per_batch=1)
    relay.upload(KEY, upload_of(2))
    batch, _ = relay.items.unfinished().batches
    _set(relay, batch.job, batch.item, "requests", {"S": "many"})
    relay.upload(OTHER, upload_of(3))
    for _ in range(10):
        relay.tick()
    assert relay.manifest(OTHER)["counts"] == {"succeeded": 3}

    _set(relay, batch.job, batch.item, "requests", {"N": "1"})
    relay.finish()

    assert relay.manifest(KEY)["counts"] == {"succeeded": 2}


def test_an_item_whose_write_fails_each_time_stops_no_other(
    relay: Harness,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its end cannot be noted, nor its status.json; all that is the other's goes on."""
    relay.upload(OTHER, upload_of(2, "april"))
    (bad,) = relay.items.unfinished().batches
    relay.tick()
    relay.upload(KEY, upload_of(3))
    _refuse(relay, lambda told: bad.job in told)
    monkeypatch.setattr(poll, "_services", lambda: (relay.poll, _work_messages(relay)))
    capsys.readouterr()

    for _ in range(6):
        relay.pass_time(60)
        poll.handler({}, Context())
        relay.work_off()

    assert relay.manifest(KEY)["counts"] == {"succeeded": 3}
    lines = capsys.readouterr().out.splitlines()
    stuck = [json.loads(line)["Stuck"] for line in lines if '"_aws"' in line]
    told = [vars(one) for one in caplog.records if one.message == "passed over"]
    assert len(stuck) == 6
    assert stuck[-1] > [0.0]
    assert any(one["item"].endswith(f"{bad.job}/{bad.item}") for one in told)
    assert SECRET not in str(told)


def _refuse(relay: Harness, when: Callable[[str], bool]) -> None:
    """Let poll's own writes fail with an error that quotes somebody."""
    write = relay.dynamodb.transact_write_items

    def reject_requests(**arguments: Any) -> Any:
        if when(str(arguments)):
            raise ValueError(SECRET)
        return write(**arguments)

    relay.dynamodb.transact_write_items = reject_requests  # type: ignore[method-assign]


def _work_messages(relay: Harness) -> WorkQueues:
    return WorkQueues(relay.queues["submit"], relay.queues["results"], client=relay.sqs)


def test_the_lease_is_given_back_whatever_fails(relay: Harness) -> None:
    query = relay.dynamodb.get_paginator

    def failing(_name: str) -> Any:
        raise ConnectionResetError

    relay.dynamodb.get_paginator = failing  # type: ignore[method-assign,assignment]
    with pytest.raises(ConnectionResetError):
        relay.poll_once()
    relay.dynamodb.get_paginator = query  # type: ignore[method-assign]

    assert not relay.poll_once().skipped
