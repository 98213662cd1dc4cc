"""An empty upload waits a minute: mounted buckets write an empty object before its content."""

import json
from contextlib import suppress

import pytest

from functions.model.items.job import JobStatus
from tests.harness import RESULTS, TABLE, UPLOADS, Harness, make_upload

KEY = "in/march.jsonl"


@pytest.fixture
def relay(moto_relay: Harness) -> Harness:
    """Use moto: these tests delete versions."""
    return moto_relay


def job_events(relay: Harness) -> list[tuple[str, str]]:
    return [
        (event["type"], event["data"]["upload"]["version"])
        for event in relay.events()
        if event["type"].startswith("job.")
    ]


def version_of(event: str) -> str:
    version: str = json.loads(event)["Records"][0]["s3"]["object"]["versionId"]
    return version


def test_an_empty_version_followed_by_its_content_is_not_rejected(
    relay: Harness,
) -> None:
    empty = relay.put(KEY, b"")
    relay.submit_message(empty)
    relay.pass_time(30)
    content = relay.put(KEY, make_upload(2))
    relay.submit_message(content)
    relay.finish()

    version = version_of(content)
    assert job_events(relay) == [("job.planned", version), ("job.completed", version)]


def test_the_job_of_a_replaced_version_ends(relay: Harness) -> None:
    relay.upload(KEY, b"")
    (claimed_job,) = relay.items.unfinished().jobs
    relay.put(KEY, b"{}")
    relay.finish()

    job = relay.items.job(claimed_job.job)
    assert job is not None
    assert (job.status, job.outcome, job.open, job.next_step) == (
        JobStatus.DONE,
        "replaced",
        None,
        None,
    )
    assert job.expires is not None
    status = relay.s3.get_object(Bucket=RESULTS, Key=f"{job.results_prefix}/status.json")[
        "Body"
    ].read()
    assert json.loads(status)["outcome"] == "replaced"
    assert relay.dynamodb.scan(TableName=TABLE, IndexName="unfinished")["Items"] == []


def test_an_empty_upload_is_not_planned_within_the_first_minute(relay: Harness) -> None:
    relay.upload(KEY, b"")
    relay.tick(59)
    assert [job.status for job in relay.items.unfinished().jobs] == ["PLANNING"]

    relay.tick(1)
    relay.finish()
    ((kind, _),) = job_events(relay)
    assert kind == "job.rejected"


def test_an_empty_upload_that_was_deleted_is_rejected_as_empty(relay: Harness) -> None:
    relay.upload(KEY, b"")
    relay.s3.delete_object(Bucket=UPLOADS, Key=KEY)
    relay.finish()

    assert "the upload is empty" in relay.manifest(KEY)["reason"]


def test_a_repeated_event_of_a_replaced_version_changes_nothing(relay: Harness) -> None:
    empty = relay.put(KEY, b"")
    relay.submit_message(empty)
    relay.put(KEY, b"{}")
    relay.finish()
    relay.submit_message(empty)
    relay.finish()

    assert job_events(relay) == []


def test_an_empty_upload_waits_if_s3_does_not_answer(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.upload(KEY, b"")
    relay.put(KEY, b"{}")

    def fail_to_answer(**_arguments: object) -> None:
        raise ConnectionResetError

    with monkeypatch.context() as failing, suppress(ConnectionResetError):
        failing.setattr(relay.s3, "head_object", fail_to_answer)
        relay.tick()
    (job,) = relay.items.unfinished().jobs
    assert (job.status, job.tries) == (JobStatus.PLANNING, 1)
    relay.pass_time(60)
    relay.finish()

    assert job_events(relay) == []
