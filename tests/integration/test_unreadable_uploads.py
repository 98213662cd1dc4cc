"""An upload that is permanently unreadable ends its job immediately; other errors are retried."""

import json
from contextlib import suppress
from typing import Any

import pytest
from botocore.exceptions import ClientError

from functions.errors import DownloadError
from functions.model.items.job import JobStatus
from functions.model.options import is_options_file
from tests.harness import UPLOADS, Harness, make_row, make_upload

KEY = "in/march.jsonl"
DENIED = "User: arn:aws:sts::1:assumed-role/submit is not authorized to perform: {} on resource: x"


def deny_upload(
    relay: Harness,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    message: str = "no",
    *,
    after: int = 0,
) -> None:
    """Let S3 answer with this error whenever the upload is read, except for the first times."""
    get, remaining_ms = relay.s3.get_object, [after]

    def get_or_deny(**arguments: Any) -> Any:
        if arguments["Bucket"] != UPLOADS or is_options_file(arguments["Key"]):
            return get(**arguments)  # S3 answers 404 for what is not there
        if remaining_ms[0]:
            remaining_ms[0] -= 1
            return get(**arguments)
        raise ClientError({"Error": {"Code": code, "Message": message}}, "GetObject")

    monkeypatch.setattr(relay.s3, "get_object", get_or_deny)


@pytest.mark.parametrize(
    ("code", "message", "reason"),
    [
        ("NoSuchKey", "", "no longer exists"),
        ("NoSuchVersion", "", "no longer exists"),
        ("MethodNotAllowed", "", "delete marker"),
        ("InvalidObjectState", "", "archived"),
        ("KMS.DisabledException", "", "cannot be decrypted"),
        ("AccessDenied", DENIED.format("kms:Decrypt"), "cannot be decrypted"),
    ],
)
def test_a_permanent_read_error_rejects_the_job_immediately(
    relay: Harness, monkeypatch: pytest.MonkeyPatch, code: str, message: str, reason: str
) -> None:
    deny_upload(relay, monkeypatch, code, message)
    relay.upload(KEY, make_upload(3))
    planned_job = relay.items.unfinished().jobs[0]
    relay.finish(3)

    assert planned_job.status in {JobStatus.RUNNING, JobStatus.ASSEMBLING}
    (event,) = relay.events()
    assert event["type"] == "job.rejected"
    reasons = [event["data"]["reason"], relay.manifest(KEY)["reason"]]
    reasons.append(json.loads(relay.read(KEY, "status.json"))["reason"])
    assert len(set(reasons)) == 1
    assert reason in reasons[0]
    assert message not in reasons[0] or not message


def test_an_upload_deleted_before_it_is_read_is_rejected_immediately(relay: Harness) -> None:
    event = relay.put(KEY, make_upload(3))
    version = json.loads(event)["Records"][0]["s3"]["object"]["versionId"]
    relay.s3.delete_object(Bucket=UPLOADS, Key=KEY, VersionId=version)
    relay.submit_message(event)

    relay.finish(3)

    assert [event["type"] for event in relay.events()] == ["job.rejected"]
    assert "no longer exists" in relay.manifest(KEY)["reason"]


@pytest.mark.parametrize(
    ("code", "message"),
    [("AccessDenied", "Access Denied"), ("AccessDenied", DENIED.format("s3:GetObject")), ("SlowDown", ""),
     ("InternalError", ""), ("NoSuchBucket", ""), ("ExpiredToken", "")],
)  # fmt: skip
def test_what_may_pass_is_waited_for(
    relay: Harness, monkeypatch: pytest.MonkeyPatch, code: str, message: str
) -> None:
    with monkeypatch.context() as denied:
        deny_upload(relay, denied, code, message)
        with pytest.raises((ClientError, DownloadError)):
            relay.upload(KEY, make_upload(3))
    (job,) = relay.items.unfinished().jobs

    relay.finish()

    assert (job.status, job.failure) == (JobStatus.PLANNING, None)
    assert relay.manifest(KEY)["counts"] == {"succeeded": 3}


def test_chunks_planned_before_the_upload_is_lost_are_sent(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.deploy(requests_per_batch=2)
    remaining_ms = iter([900_000] * 3)
    context: Any = relay.context
    context.get_remaining_time_in_millis = lambda: next(remaining_ms, 1000)
    relay.upload(KEY, make_upload(9))
    (job,) = relay.items.unfinished().jobs
    assert job.checkpoint.row in range(1, 9)
    context.get_remaining_time_in_millis = lambda: 900_000
    deny_upload(relay, monkeypatch, "InvalidObjectState", after=0)
    monkeypatch.setattr(
        "functions.readers.jsonl.retry_rows", lambda *_: iter(())
    )  # its own test covers the retry file

    relay.finish()

    assert relay.manifest(KEY)["counts"] == {"succeeded": job.checkpoint.row}
    assert relay.manifest(KEY)["outcome"] == "failed"
    assert "is archived" in relay.manifest(KEY)["reason"]
    assert [event["type"] for event in relay.events() if event["type"].startswith("job")] == ["job.planned", "job.completed"]  # fmt: skip


def test_a_job_without_a_success_reports_the_most_frequent_error(relay: Harness) -> None:
    error_types = ["invalid_request_error"] * 3 + ["permission_error"]
    rows = [make_row(n, f"[fate:{error_type}]") for n, error_type in enumerate(error_types, 1)]
    relay.upload(KEY, b"\n".join(rows))
    relay.finish()

    reason = "none of the 4 rows succeeded: mostly invalid_request_error (3); errors.jsonl says why, row by row"
    assert relay.manifest(KEY)["reason"] == reason
    assert json.loads(relay.read(KEY, "status.json"))["reason"] == reason
    (event,) = [event for event in relay.envelopes() if "job.completed" in event["Message"]]
    assert (
        "failed; none of the 4 rows succeeded: mostly invalid_request_error (3)"
        in event["Subject"]
    )


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (["[fate:expired]"] * 2, "none of the 2 rows succeeded: expired (2);"),
        (["[fate:invalid_request_error]", "hello"], None),
    ],
)
def test_a_reason_is_given_only_if_nothing_succeeded(
    relay: Harness, texts: list[str], reason: str | None
) -> None:
    relay.deploy(attempts=1)
    relay.upload(KEY, b"\n".join(make_row(n, text) for n, text in enumerate(texts)))
    relay.finish()

    event = relay.manifest(KEY)["reason"]
    assert event is None if reason is None else event.startswith(reason)


def _planned_in_part(relay: Harness, monkeypatch: pytest.MonkeyPatch) -> int:
    """Plan the first of nine rows, then deny access; return how many rows were planned."""
    relay.deploy(requests_per_batch=2)
    remaining_ms = iter([900_000] * 3)
    context: Any = relay.context
    context.get_remaining_time_in_millis = lambda: next(remaining_ms, 1000)
    relay.upload(KEY, make_upload(9))
    (job,) = relay.items.unfinished().jobs
    context.get_remaining_time_in_millis = lambda: 900_000
    deny_upload(relay, monkeypatch, "AccessDenied", "Access Denied")
    return job.checkpoint.row


def _pass_days(relay: Harness, days: int) -> None:
    for _ in range(days):  # the longest delay is shorter
        with suppress(DownloadError):
            relay.tick(86_400)


def test_answers_are_delivered_after_a_month_of_denied_reads(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned_job = _planned_in_part(relay, monkeypatch)
    _pass_days(relay, 8)
    assert [job.status for job in relay.items.unfinished().jobs] == [JobStatus.PLANNING]

    _pass_days(relay, 24)

    assert planned_job > 0
    assert relay.manifest(KEY)["outcome"] == "failed"
    assert relay.manifest(KEY)["counts"] == {"succeeded": planned_job}
    assert "cannot be read" in relay.manifest(KEY)["reason"]


def test_a_canceled_upload_does_not_wait_for_denied_reads(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned_job = _planned_in_part(relay, monkeypatch)
    relay.submit_message(relay.put(KEY + ".cancel", b""))
    _pass_days(relay, 9)

    assert relay.items.unfinished().jobs == []
    assert relay.manifest(KEY)["outcome"] == "canceled"
    assert sum(relay.manifest(KEY)["counts"].values()) == planned_job
