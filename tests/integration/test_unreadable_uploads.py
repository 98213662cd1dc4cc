"""An upload that can never be read ends its job at once, and says why; what may pass is waited for."""

import json
from contextlib import suppress
from typing import Any

import pytest
from botocore.exceptions import ClientError

from functions.errors import DownloadError
from functions.model.items import JobStatus
from tests.harness import UPLOADS, Harness, request, upload_of

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
    """Let S3 answer so whenever the upload is read, but for the first times."""
    get, left = relay.s3.get_object, [after]

    def answer(**call: Any) -> Any:
        if call["Bucket"] != UPLOADS:
            return get(**call)
        if left[0]:
            left[0] -= 1
            return get(**call)
        raise ClientError({"Error": {"Code": code, "Message": message}}, "GetObject")

    monkeypatch.setattr(relay.s3, "get_object", answer)


@pytest.mark.parametrize(
    ("code", "message", "says"),
    [
        ("NoSuchKey", "", "no longer exists"),
        ("NoSuchVersion", "", "no longer exists"),
        ("MethodNotAllowed", "", "delete marker"),
        ("InvalidObjectState", "", "archived"),
        ("KMS.DisabledException", "", "cannot be decrypted"),
        ("AccessDenied", DENIED.format("kms:Decrypt"), "cannot be decrypted"),
    ],
)
def test_what_can_never_be_read_is_told_at_once(
    relay: Harness, monkeypatch: pytest.MonkeyPatch, code: str, message: str, says: str
) -> None:
    deny_upload(relay, monkeypatch, code, message)
    relay.upload(KEY, upload_of(3))
    planned = relay.items.unfinished().jobs[0]
    relay.finish(3)

    assert planned.status in {JobStatus.RUNNING, JobStatus.ASSEMBLING}
    (event,) = relay.events()
    assert event["type"] == "job.rejected"
    reasons = [event["data"]["reason"], relay.manifest(KEY)["reason"]]
    reasons.append(json.loads(relay.read(KEY, "status.json"))["reason"])
    assert len(set(reasons)) == 1
    assert says in reasons[0]
    assert message not in reasons[0] or not message


def test_an_upload_whose_version_is_deleted_before_it_is_read_ends_at_once(relay: Harness) -> None:
    event = relay.put(KEY, upload_of(3))
    version = json.loads(event)["Records"][0]["s3"]["object"]["versionId"]
    relay.s3.delete_object(Bucket=UPLOADS, Key=KEY, VersionId=version)
    relay.submit_message(event)

    relay.finish(3)

    assert [told["type"] for told in relay.events()] == ["job.rejected"]
    assert "no longer exists" in relay.manifest(KEY)["reason"]


@pytest.mark.parametrize(
    ("code", "message"),
    [("AccessDenied", "Access Denied"), ("AccessDenied", DENIED.format("s3:GetObject")), ("SlowDown", ""),
     ("InternalError", ""), ("NoSuchBucket", ""), ("ExpiredToken", "")],
)  # fmt: skip
def test_what_may_pass_is_waited_for(
    relay: Harness, monkeypatch: pytest.MonkeyPatch, code: str, message: str
) -> None:
    with monkeypatch.context() as patch:
        deny_upload(relay, patch, code, message)
        with pytest.raises((ClientError, DownloadError)):
            relay.upload(KEY, upload_of(3))
    (job,) = relay.items.unfinished().jobs

    relay.finish()

    assert (job.status, job.failure) == (JobStatus.PLANNING, None)
    assert relay.manifest(KEY)["counts"] == {"succeeded": 3}


def test_what_is_planned_before_the_upload_is_lost_goes_on(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.deploy(requests_per_batch=2)
    left = iter([900_000] * 3)
    context: Any = relay.context
    context.get_remaining_time_in_millis = lambda: next(left, 1000)
    relay.upload(KEY, upload_of(9))
    (job,) = relay.items.unfinished().jobs
    assert job.checkpoint.row in range(1, 9)
    context.get_remaining_time_in_millis = lambda: 900_000
    deny_upload(relay, monkeypatch, "InvalidObjectState", after=0)
    monkeypatch.setattr(
        "functions.readers.jsonl.retry_rows", lambda *_: iter(())
    )  # collect's own matter

    relay.finish()

    assert relay.manifest(KEY)["counts"] == {"succeeded": job.checkpoint.row}
    assert relay.manifest(KEY)["outcome"] == "failed"
    assert "is archived" in relay.manifest(KEY)["reason"]
    assert [e["type"] for e in relay.events() if e["type"].startswith("job")] == ["job.planned", "job.completed"]  # fmt: skip


def test_a_job_of_which_nothing_succeeded_says_what_went_wrong_most(relay: Harness) -> None:
    fates = ["invalid_request_error"] * 3 + ["permission_error"]
    rows = [request(n, f"[fate:{fate}]") for n, fate in enumerate(fates, 1)]
    relay.upload(KEY, b"\n".join(rows))
    relay.finish()

    reason = "none of the 4 rows succeeded: mostly invalid_request_error (3); errors.jsonl says why, row by row"
    assert relay.manifest(KEY)["reason"] == reason
    assert json.loads(relay.read(KEY, "status.json"))["reason"] == reason
    (told,) = [e for e in relay.envelopes() if "job.completed" in e["Message"]]
    assert (
        "failed; none of the 4 rows succeeded: mostly invalid_request_error (3)" in told["Subject"]
    )


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (["[fate:expired]"] * 2, "none of the 2 rows succeeded: expired (2);"),
        (["[fate:invalid_request_error]", "hello"], None),
    ],
)
def test_a_reason_is_given_only_where_nothing_succeeded(
    relay: Harness, texts: list[str], reason: str | None
) -> None:
    relay.deploy(attempts=1)
    relay.upload(KEY, b"\n".join(request(n, text) for n, text in enumerate(texts)))
    relay.finish()

    told = relay.manifest(KEY)["reason"]
    assert told is None if reason is None else told.startswith(reason)


def _planned_in_part(relay: Harness, monkeypatch: pytest.MonkeyPatch) -> int:
    """Plan the first rows of nine, and deny the rest from then on; return how many were planned."""
    relay.deploy(requests_per_batch=2)
    left = iter([900_000] * 3)
    context: Any = relay.context
    context.get_remaining_time_in_millis = lambda: next(left, 1000)
    relay.upload(KEY, upload_of(9))
    (job,) = relay.items.unfinished().jobs
    context.get_remaining_time_in_millis = lambda: 900_000
    deny_upload(relay, monkeypatch, "AccessDenied", "Access Denied")
    return job.checkpoint.row


def _pass_days(relay: Harness, days: int) -> None:
    for _ in range(days):  # no pause is longer
        with suppress(DownloadError):
            relay.tick(86_400)


def test_an_upload_that_is_denied_for_a_month_does_not_keep_its_answers(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = _planned_in_part(relay, monkeypatch)
    _pass_days(relay, 8)
    assert [job.status for job in relay.items.unfinished().jobs] == [JobStatus.PLANNING]

    _pass_days(relay, 24)

    assert planned > 0
    assert relay.manifest(KEY)["outcome"] == "failed"
    assert relay.manifest(KEY)["counts"] == {"succeeded": planned}
    assert "cannot be read" in relay.manifest(KEY)["reason"]


def test_a_canceled_upload_that_is_denied_is_not_waited_for(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = _planned_in_part(relay, monkeypatch)
    relay.submit_message(relay.put(KEY + ".cancel", b""))
    _pass_days(relay, 9)

    assert relay.items.unfinished().jobs == []
    assert relay.manifest(KEY)["outcome"] == "canceled"
    assert sum(relay.manifest(KEY)["counts"].values()) == planned
