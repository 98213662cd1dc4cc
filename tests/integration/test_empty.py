"""An empty upload waits for a minute: mounted buckets write an empty object first, then its content."""

import json
from contextlib import suppress

import pytest

from functions.model.items import JobStatus
from tests.harness import RESULTS, TABLE, UPLOADS, Harness, upload_of

KEY = "in/march.jsonl"


@pytest.fixture
def relay(moto_relay: Harness) -> Harness:
    """Versions are deleted here."""
    return moto_relay


def told(relay: Harness) -> list[tuple[str, str]]:
    return [
        (event["type"], event["data"]["upload"]["version"])
        for event in relay.events()
        if event["type"].startswith("job.")
    ]


def version_of(event: str) -> str:
    version: str = json.loads(event)["Records"][0]["s3"]["object"]["versionId"]
    return version


def test_an_empty_version_that_is_followed_by_its_content_is_no_rejected_job(
    relay: Harness,
) -> None:
    empty = relay.put(KEY, b"")
    relay.submit_message(empty)
    relay.pass_time(30)
    content = relay.put(KEY, upload_of(2))
    relay.submit_message(content)
    relay.finish()

    version = version_of(content)
    assert told(relay) == [("job.planned", version), ("job.completed", version)]


def test_the_job_of_a_replaced_version_leaves_the_table_at_an_end(relay: Harness) -> None:
    relay.upload(KEY, b"")
    (claimed,) = relay.items.unfinished().jobs
    relay.put(KEY, b"{}")
    relay.finish()

    job = relay.items.job(claimed.job)
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


def test_an_empty_upload_is_not_planned_within_its_minute(relay: Harness) -> None:
    relay.upload(KEY, b"")
    relay.tick(59)
    assert [job.status for job in relay.items.unfinished().jobs] == ["PLANNING"]

    relay.tick(1)
    relay.finish()
    ((kind, _),) = told(relay)
    assert kind == "job.rejected"


def test_an_empty_upload_that_was_deleted_is_rejected_as_empty(relay: Harness) -> None:
    relay.upload(KEY, b"")
    relay.s3.delete_object(Bucket=UPLOADS, Key=KEY)
    relay.finish()

    assert "the upload is empty" in relay.manifest(KEY)["reason"]


def test_the_event_of_a_replaced_version_twice_changes_nothing(relay: Harness) -> None:
    empty = relay.put(KEY, b"")
    relay.submit_message(empty)
    relay.put(KEY, b"{}")
    relay.finish()
    relay.submit_message(empty)
    relay.finish()

    assert told(relay) == []


def test_where_s3_does_not_answer_an_empty_upload_waits(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.upload(KEY, b"")
    relay.put(KEY, b"{}")

    def no_answer(**_given: object) -> None:
        raise ConnectionResetError

    with monkeypatch.context() as cut, suppress(ConnectionResetError):
        cut.setattr(relay.s3, "head_object", no_answer)
        relay.tick()
    (job,) = relay.items.unfinished().jobs
    assert (job.status, job.tries) == (JobStatus.PLANNING, 1)
    relay.pass_time(60)
    relay.finish()

    assert told(relay) == []
