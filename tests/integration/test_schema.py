"""A deploy during a job: items of an older schema version are processed, and those of a newer one left alone."""

from contextlib import suppress
from typing import Any

import pytest

from functions.adapters import table
from functions.adapters.queues import work_message_for
from functions.assembling.reopen import reopen
from functions.errors import NewerSchemaError
from functions.model import items
from functions.model.items.batch import BatchStatus
from functions.model.items.job import JobStatus
from functions.model.items.work_item import Step
from tests.harness import TABLE, Harness, make_row

KEY = "in/march.jsonl"
ADDED_LATER = frozenset({"first_sent_at"})
"""Attributes that were added later: items of an older version lack them."""


def rewrite(
    relay: Harness, *, schema: str, without: frozenset[str] = frozenset(), added: dict[str, Any] | None = None, items: str = ""
) -> int:  # fmt: skip
    """Rewrite the table, or the items whose sort keys end so, as if another version's functions had written it."""
    scanned = relay.dynamodb.scan(TableName=TABLE)["Items"]
    scanned = [item for item in scanned if item["item"]["S"].endswith(items)]
    for item in scanned:
        attributes = {name: value for name, value in item.items() if name not in without}
        relay.dynamodb.put_item(
            TableName=TABLE, Item=attributes | (added or {}) | {"schema": {"N": schema}}
        )
    return len(scanned)


def attributes_of_work(relay: Harness) -> list[dict[str, Any]]:
    """Return all jobs and batches as they are in the table."""
    scanned = relay.dynamodb.scan(TableName=TABLE)["Items"]
    return [item for item in scanned if "status" in item]


def upload(relay: Harness) -> None:
    relay.deploy(requests_per_batch=2)
    body = b"\n".join(
        make_row(n, "[fate:expired] march" if n == 2 else "march") for n in range(1, 6)
    )
    relay.upload(KEY, body + b'\n{"custom_id": "row-6"}')


def assert_finished(relay: Harness) -> None:
    relay.finish()
    assert [line["result"]["type"] for line in relay.lines(KEY)] == ["succeeded"] * 5 + [
        "rejected"
    ]
    assert sorted(relay.simulator.accepted_params().values()) == [1, 1, 1, 1, 2]


def test_a_job_continues_with_items_of_an_older_version(relay: Harness) -> None:
    upload(relay)
    rewritten = 0
    for _ in range(12):
        rewritten += rewrite(relay, schema="0", without=ADDED_LATER)
        relay.tick()

    assert rewritten > 20
    assert_finished(relay)


@pytest.mark.parametrize("ticks", range(5))
def test_items_of_a_newer_version_are_left_alone_until_it_is_deployed_again(
    relay: Harness, monkeypatch: pytest.MonkeyPatch, ticks: int
) -> None:
    """After a rollback: an option that this version does not know may say what becomes of the rows."""
    upload(relay)
    for _ in range(ticks):
        relay.tick(31.0)
    unfinished = relay.items.unfinished()
    messages = [
        *map(work_message_for, unfinished.jobs),
        *map(work_message_for, unfinished.batches),
    ]
    rewrite(relay, schema="2", added={"invented_later": {"S": "a"}})
    [job] = unfinished.jobs
    before, calls = attributes_of_work(relay), relay.simulator.calls()
    for message in messages:
        services = relay.submit if message.next_step in {Step.PLAN, Step.SEND} else relay.results
        assert services.acquire(message, lambda: 900.0) is None
    assert "deploy that version again" in str(reopen(relay.results, "reassemble", job.job))
    passed_over = {relay.tick(3600.0).passed_over for _ in range(20)}

    assert passed_over == {len(messages)}
    assert attributes_of_work(relay) == before
    assert {name: relay.simulator.calls().get(name) for name in calls} == calls

    for module in (items, table):
        monkeypatch.setattr(module, "SCHEMA", 2)
    assert_finished(relay)


@pytest.mark.parametrize(
    ("until", "items_of_newer", "waiting"),
    [(JobStatus.ASSEMBLING, "-1", "#"), (BatchStatus.ENDED, "00001-1", "00001-2")],
)
def test_a_step_waits_if_a_newer_version_wrote_other_batches_of_its_job(
    relay: Harness, monkeypatch: pytest.MonkeyPatch, until: str, items_of_newer: str, waiting: str
) -> None:
    """A job that ran through a deploy and its rollback has batches of both."""
    relay.context.left_s = 200.0  # too little to assemble at once
    upload(relay)
    [job] = relay.items.unfinished().jobs
    while attributes_of(relay, job.job, waiting).get("status") != until:
        relay.poll_once()
        relay.pass_time(31.0)
        if attributes_of(relay, job.job, waiting).get("status") != until:
            relay.drain_queues()
    rewrite(relay, schema="2", items=items_of_newer)
    relay.context.left_s = 900.0
    for _ in range(40):
        with suppress(NewerSchemaError):
            relay.tick(7_200.0)

    item = attributes_of(relay, job.job, waiting)
    assert (item["status"], item.get("faults", 0)) == (until, 0)
    assert "deploy that version again" in item["last_error"]
    assert "deploy that version again" in str(reopen(relay.results, "reassemble", job.job))

    for module in (items, table):
        monkeypatch.setattr(module, "SCHEMA", 2)
    assert_finished(relay)


def attributes_of(relay: Harness, job: str, item: str) -> dict[str, Any]:
    return relay.submit.table.get(job, item) or {}
