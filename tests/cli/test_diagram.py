"""`relay diagram` draws when each batch waited, was sent, ran and was collected."""

from datetime import UTC, datetime, timedelta

import pytest

from cli.timeline import Bar, Timeline
from tests.cli.conftest import CommandLine
from tests.harness import Harness, make_upload

BEGIN = datetime(2026, 11, 27, 12, tzinfo=UTC)
KEY = "team/march.jsonl"


def at(minute: int | None) -> datetime | None:
    return None if minute is None else BEGIN + timedelta(minutes=minute)


LINES = {
    "collected": ((0, 2, 3, 7, 9), "..:####==="),
    "at Anthropic": ((0, 2, 3, None, None), "..:#######"),
    "its create is under way": ((0, 6, None, None, None), "......::::"),
    "waiting": ((0, None, None, None, None), ".........."),
    "a later attempt": ((5, 7, 8, None, None), "     ..:##"),
    "over at once": ((0, 0, 0, 0, 0), "=         "),
    "known from a manifest": ((0, None, 4, 8, 8), "....####= "),
    "accepted by a clock that is ahead": ((0, 11, 12, None, None), ".........#"),
    "only rejected rows": ((0, None, None, None, 3), "....      "),
}


@pytest.mark.parametrize("name", LINES)
def test_a_batch_is_drawn_to_scale(name: str) -> None:
    minutes, line = LINES[name]
    since, sent, created, ended, collected = map(at, minutes)
    bar = Bar(
        name="00001-1", requests=1, status="", since=since, sent_at=sent, created_at=created,
        ended_at=ended, collected_at=collected,
    )  # fmt: skip

    assert Timeline(BEGIN, BEGIN + timedelta(minutes=10), []).line(bar, 10) == line


def test_a_running_job_is_drawn_from_the_table(stack: Harness, relay: CommandLine) -> None:
    stack.deploy(requests_per_batch=2)
    stack.simulator.processing_s = 36_000.0
    stack.upload(KEY, make_upload(5))
    stack.tick()

    drawn = relay("diagram", KEY).stdout.splitlines()
    batches = relay.json("diagram", KEY)["batches"]

    assert [line.split()[:3] for line in drawn[1:4]] == [
        ["00001-1", "2", "IN_PROGRESS"],
        ["00002-1", "2", "IN_PROGRESS"],
        ["00003-1", "1", "IN_PROGRESS"],
    ]
    assert all(len(line) <= 80 and "#" in line for line in drawn[1:4])
    assert all(batch["created_at"] and not batch["ended_at"] for batch in batches)


@pytest.mark.parametrize("is_archived", [False, True])
def test_an_ended_job_is_drawn_from_the_manifest(
    stack: Harness, relay: CommandLine, *, is_archived: bool
) -> None:
    stack.upload(KEY, make_upload(3))
    stack.finish()
    manifest = stack.manifest(KEY)
    if is_archived:
        stack.dynamodb.delete_item(TableName="relay", Key=key(manifest["job"], "00001-1"))

    drawn = relay.json("diagram", KEY)
    (batch,) = drawn["batches"]

    assert (batch["name"], batch["requests"], batch["status"]) == ("00001-1", 3, "COLLECTED")
    assert drawn["end"][:19] == manifest["times"]["ended_at"][:19]
    assert (batch["sent_at"] is None) == is_archived


def test_a_job_without_batches_is_drawn_empty(stack: Harness, relay: CommandLine) -> None:
    stack.upload(KEY, b'{"id":"a","text":"one"}\n')

    assert relay.json("diagram", KEY)["batches"] == []


def test_a_later_attempt_waits_since_the_first_was_over(
    stack: Harness, relay: CommandLine
) -> None:
    stack.upload(KEY, make_upload(2, "[fate:overloaded_error]"))
    stack.finish()

    first, second, *_ = relay.json("diagram", KEY)["batches"]

    assert (first["name"], second["name"]) == ("00001-1", "00001-2")
    assert second["since"] == first["collected_at"]


def key(job: str, item: str) -> dict[str, dict[str, str]]:
    return {"job": {"S": job}, "item": {"S": item}}
