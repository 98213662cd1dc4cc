"""A job past its deadline is canceled as by a marker, and delivered with what it has."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from functions.model.items.job import Job, JobStatus
from tests.harness import Harness, make_upload, open_harness

KEY, RECORDS = "team/march.jsonl", "team/records.jsonl"
HOUR = 3600.0
DEADLINE = b"deadline_hours = 2"
RECORD = b'{"id":"a","text":"one"}\n'


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Harness]:
    """A relay whose batches run for ten hours."""
    with open_harness(tmp_path, processing_s=10 * HOUR) as harness:
        yield harness


def job_of(relay: Harness) -> Job:
    (job,) = relay.items.unfinished().jobs
    return job


def end_of_job(relay: Harness) -> dict[str, Any]:
    """Return the data of the event that the job is done; there is exactly one."""
    kinds = {"job.completed", "job.rejected"}
    (ended,) = (event["data"] for event in relay.events() if event["type"] in kinds)
    return dict(ended)


def test_a_running_job_is_canceled_and_says_that_its_deadline_was_the_reason(
    relay: Harness,
) -> None:
    relay.upload("_relay.toml", DEADLINE)
    relay.upload(KEY, make_upload(2))
    relay.tick()
    deadline = job_of(relay).deadline_at

    relay.tick(2 * HOUR - 120)
    assert job_of(relay).canceled_at is None
    relay.tick(120)
    assert job_of(relay).cancel_reason == f"its deadline passed at {deadline}"
    relay.finish()

    manifest, reason = relay.manifest(KEY), f"its deadline passed at {deadline}"
    assert (manifest["outcome"], manifest["reason"]) == ("canceled", reason)
    assert manifest["counts"] == {"canceled": 2}
    assert manifest["times"]["deadline_at"] == deadline
    ended = end_of_job(relay)
    assert (ended["outcome"], ended["reason"]) == ("canceled", reason)
    assert relay.simulator.calls()["cancel"] == 1


def test_what_was_answered_is_delivered_and_what_was_not_sent_costs_nothing(
    relay: Harness,
) -> None:
    """There is room for one batch: of three chunks, one is answered, one is running, one is not sent."""
    relay.deploy(open_batches=1, requests_per_batch=1)
    relay.upload(f"{KEY}.relay.toml", DEADLINE)
    relay.upload(KEY, make_upload(3))
    relay.tick()
    (first,) = relay.simulator.batches()
    relay.simulator.end(str(first["id"]))
    relay.tick(HOUR)

    relay.tick(HOUR)
    relay.finish()

    manifest = relay.manifest(KEY)
    assert manifest["counts"] == {"succeeded": 1, "canceled": 2}
    assert [line["result"]["type"] for line in relay.lines(KEY)] == [
        "succeeded",
        "canceled",
        "canceled",
    ]
    assert len(relay.simulator.batches()) == 2
    assert manifest["cost_usd"] == manifest["cost_usd_by_batch"]["00001-1"] > 0


@pytest.mark.parametrize(
    ("options", "waiting_for"),
    [
        ({"_relay.toml": DEADLINE}, "template"),
        ({"_relay.toml": DEADLINE, "team/_relay.toml": b"modles = 1"}, "valid_options"),
    ],
)
def test_a_job_that_waits_for_options_ends_at_its_deadline(
    relay: Harness, options: dict[str, bytes], waiting_for: str
) -> None:
    for key, text in options.items():
        relay.upload(key, text)
    relay.upload(RECORDS, RECORD)
    assert job_of(relay).waiting_for == waiting_for
    deadline = job_of(relay).deadline_at

    relay.tick(2 * HOUR - 60)  # it looks once more, and would do so again twelve minutes later
    relay.tick(120)
    for _ in range(3):
        relay.tick(5)

    manifest = relay.manifest(RECORDS)
    assert (manifest["outcome"], manifest["reason"]) == (
        "canceled",
        f"its deadline passed at {deadline}; canceled before it was planned",
    )
    assert end_of_job(relay)["reason"] == manifest["reason"]
    assert relay.simulator.batches() == []


def test_the_options_of_a_job_that_waits_may_still_change_its_deadline(relay: Harness) -> None:
    relay.upload("_relay.toml", DEADLINE)
    relay.upload(RECORDS, RECORD)
    relay.upload("_relay.toml", b"deadline_hours = 9")
    relay.tick()

    relay.tick(3 * HOUR)

    assert job_of(relay).canceled_at is None


def test_the_claim_counts_not_the_upload(relay: Harness) -> None:
    relay.upload("_relay.toml", DEADLINE)
    event = relay.put(KEY, make_upload(1))
    relay.pass_time(5 * HOUR)
    relay.submit_message(event)
    relay.tick()

    relay.tick(HOUR)

    assert job_of(relay).canceled_at is None


def test_a_job_that_was_canceled_by_a_marker_keeps_that_reason(relay: Harness) -> None:
    relay.upload("_relay.toml", DEADLINE)
    relay.upload(KEY, make_upload(1))
    relay.tick()
    relay.upload(f"{KEY}.cancel", b"")
    relay.tick()
    canceled_at = job_of(relay).canceled_at

    relay.pass_time(3 * HOUR)
    relay.poll_once()

    job = job_of(relay)
    assert (job.canceled_at, job.cancel_reason) == (canceled_at, None)


def test_a_job_is_canceled_once_even_if_the_index_is_behind(relay: Harness) -> None:
    relay.upload("_relay.toml", DEADLINE)
    relay.upload(KEY, make_upload(1))
    relay.tick()
    seen = job_of(relay)

    canceled = [relay.poll.cancellations.cancel_overdue(seen, at, "late") for at in ("1", "2")]

    assert canceled == [True, False]
    assert job_of(relay).canceled_at == "1"


def test_a_marker_after_the_deadline_changes_nothing(relay: Harness) -> None:
    relay.upload("_relay.toml", DEADLINE)
    relay.upload(KEY, make_upload(1))
    relay.tick()
    relay.pass_time(2 * HOUR)
    relay.poll_once()
    canceled = job_of(relay)

    relay.upload(f"{KEY}.cancel", b"")
    relay.pass_time(60)
    relay.poll_once()

    job = job_of(relay)
    assert (job.canceled_at, job.cancel_reason) == (canceled.canceled_at, canceled.cancel_reason)


@pytest.mark.parametrize("status", [JobStatus.ASSEMBLING, JobStatus.DONE])
def test_a_job_whose_rows_all_have_results_is_left_alone(
    relay: Harness, status: JobStatus
) -> None:
    """The deadline passes while it is assembled, or is done and waits for its last status.json."""
    relay.upload("_relay.toml", DEADLINE)
    relay.upload(KEY, make_upload(1))
    relay.tick()
    running = job_of(relay)
    assert relay.items.transition(running, {"status": status}, expected={"status": running.status})

    relay.pass_time(3 * HOUR)
    relay.poll_once()

    assert job_of(relay).deadline_at is not None
    assert job_of(relay).canceled_at is None
