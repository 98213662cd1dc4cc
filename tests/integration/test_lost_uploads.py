"""An unreadable upload costs retry.jsonl, with a reason in the manifest, but no answer."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from functions.model.items.batch import Batch, BatchStatus
from tests.fakes.strict_s3 import (
    PERMANENT_READ_ERRORS,
    TRANSIENT_READ_ERRORS,
    S3ErrorResponse,
    reject_requests,
    without_list_bucket,
)
from tests.harness import RESULTS, UPLOADS, Harness, make_row, make_upload, open_harness, s3_event
from tests.verification.crash.crash_harness import CrashHarness, open_crash_harness

pytestmark = pytest.mark.usefixtures("no_retry_delays")
KEY = "in/march.jsonl"
FAILED = "[fate:invalid_request_error]"
DENIED = PERMANENT_READ_ERRORS["a bucket policy"]
BUSY = TRANSIENT_READ_ERRORS["too many requests"]


def three_rows(failing: int = 2) -> bytes:
    rows = (make_row(n, FAILED if n == failing else "fine") for n in range(1, 4))
    return b"\n".join(rows)


@pytest.mark.parametrize("error", PERMANENT_READ_ERRORS.values(), ids=[*PERMANENT_READ_ERRORS])
def test_a_permanent_read_error_only_costs_the_retry_file(
    relay: Harness, error: S3ErrorResponse
) -> None:
    relay.upload(KEY, three_rows())
    with reject_requests(relay.s3, "GetObject", error, KEY):
        relay.finish()

    manifest = relay.manifest(KEY)
    assert manifest["counts"] == {"errored": 1, "succeeded": 2}
    assert [line["row"] for line in relay.lines(KEY)] == [1, 2, 3]
    assert len(relay.lines(KEY, "errors.jsonl")) == 1
    retry = manifest["retry"]
    assert (retry["complete"], retry["rows"], retry["missing_rows"]) == (False, 0, 1)
    assert retry["reason"].startswith("the upload ")
    assert relay.read(KEY, "retry.jsonl") == b""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("version gone", "the upload no longer exists"),
        ("a delete marker", "the upload is deleted: this version is a delete marker"),
        ("archived", "the upload is archived: restore it to read it"),
        ("KMS: not permitted", "the upload cannot be decrypted: its KMS key may not be used by this role"),
        ("KMS: disabled", "the upload cannot be decrypted: its KMS key is disabled"),
    ],
)  # fmt: skip
def test_the_manifest_gives_the_reason(relay: Harness, error: str, reason: str) -> None:
    relay.upload(KEY, three_rows())
    with reject_requests(relay.s3, "GetObject", PERMANENT_READ_ERRORS[error], KEY):
        relay.finish()

    assert relay.manifest(KEY)["retry"]["reason"] == reason


def test_a_complete_retry_file_is_reported_as_complete(relay: Harness) -> None:
    relay.upload(KEY, three_rows())
    relay.finish()

    complete = {"complete": True, "rows": 1, "missing_rows": 0, "reason": None}
    assert relay.manifest(KEY)["retry"] == complete


def test_a_deleted_version_costs_no_answer_even_without_list_bucket(
    relay: Harness,
) -> None:
    relay.upload(KEY, three_rows())
    (job,) = relay.items.unfinished().jobs
    relay.s3.delete_object(Bucket=UPLOADS, Key=KEY, VersionId=job.version)
    with without_list_bucket(relay.s3):
        relay.finish()

    assert relay.manifest(KEY)["counts"] == {"errored": 1, "succeeded": 2}


def test_readable_rows_are_in_the_retry_file(relay: Harness) -> None:
    relay.deploy(requests_per_batch=1)
    rows = [make_row(n, FAILED) for n in range(1, 4)]
    relay.upload(KEY, b"\n".join(rows))
    with reject_requests(relay.s3, "GetObject", DENIED, KEY, after=2):
        relay.finish()

    assert relay.read(KEY, "retry.jsonl") == b"".join(row + b"\n" for row in rows[:2])
    retry = relay.manifest(KEY)["retry"]
    assert (retry["complete"], retry["rows"], retry["missing_rows"]) == (False, 2, 1)


def test_an_error_in_the_middle_leaves_no_partial_file(moto_relay: Harness) -> None:
    relay = moto_relay
    """Rows are far enough apart to be read one by one; the first fill more than one part."""
    padding = "x" * (4 << 20)
    rows = [make_row(n, (FAILED if n % 2 else "fine") + padding) for n in range(1, 8)]
    relay.upload(KEY, b"\n".join(rows))
    with (
        reject_requests(relay.s3, "GetObject", DENIED, KEY, after=3) as read_requests,
        reject_requests(
            relay.s3, "AbortMultipartUpload", BUSY, "retry.jsonl", after=9
        ) as abort_requests,
    ):
        relay.finish()

    assert (len(read_requests), len(abort_requests)) == (4, 1)
    assert "Uploads" not in relay.s3.list_multipart_uploads(Bucket=RESULTS)
    retry = relay.manifest(KEY)["retry"]
    assert (retry["rows"], retry["missing_rows"]) == (0, 4)
    assert relay.manifest(KEY)["counts"]["succeeded"] == 3


@pytest.mark.parametrize("error", TRANSIENT_READ_ERRORS.values(), ids=[*TRANSIENT_READ_ERRORS])
def test_a_transient_read_error_is_retried(tmp_path: Path, error: S3ErrorResponse) -> None:
    with open_crash_harness(tmp_path) as relay:
        relay.upload(KEY, three_rows())
        with reject_requests(relay.s3, "GetObject", error, KEY):
            while not relay.failures:
                relay.tick()
        tick_until_done(relay)

        assert relay.manifest(KEY)["retry"]["complete"]
        assert relay.read(KEY, "retry.jsonl") == make_row(2, FAILED) + b"\n"


def test_a_transient_error_is_retried_for_about_an_hour(tmp_path: Path) -> None:
    with open_crash_harness(tmp_path) as relay:
        relay.upload(KEY, three_rows())
        started = relay.moment
        with reject_requests(relay.s3, "GetObject", BUSY, KEY):
            tick_until_done(relay)

        assert 40 * 60 < (relay.moment - started).total_seconds() < 70 * 60
        assert relay.manifest(KEY)["counts"] == {"errored": 1, "succeeded": 2}
        reason = "the upload could not be read in several tries (SlowDown)"
        assert relay.manifest(KEY)["retry"]["reason"] == reason


def tick_until_done(relay: CrashHarness) -> None:
    for _ in range(200):
        relay.tick()
        if not relay.items.unfinished().jobs:
            return
    raise AssertionError(relay.failures)


def test_an_error_of_the_results_bucket_is_not_blamed_on_the_upload(relay: Harness) -> None:
    relay.upload(KEY, three_rows())
    relay.tick()
    with (
        reject_requests(
            relay.s3, "PutObject", S3ErrorResponse(403, "AccessDenied"), "retry.jsonl"
        ),
        suppress(ClientError, AssertionError),
    ):
        relay.finish(3)
    relay.finish(60)

    assert relay.manifest(KEY)["retry"]["complete"]


def test_an_unversioned_upload_replaced_by_a_shorter_one_is_reported(
    moto_relay: Harness,
) -> None:
    relay = moto_relay
    suspended: Any = {"Status": "Suspended"}
    relay.s3.put_bucket_versioning(Bucket=UPLOADS, VersioningConfiguration=suspended)
    relay.s3.put_object(Bucket=UPLOADS, Key=KEY, Body=three_rows(failing=3))
    event_time = relay.moment.isoformat()
    relay.submit_message(s3_event(UPLOADS, KEY, len(three_rows()), "null", event_time))
    relay.s3.put_object(Bucket=UPLOADS, Key=KEY, Body=b"{}")
    relay.finish()

    assert relay.manifest(KEY)["counts"] == {"errored": 1, "succeeded": 2}
    assert "is shorter than it was" in relay.manifest(KEY)["retry"]["reason"]


@pytest.mark.parametrize("error", [DENIED, PERMANENT_READ_ERRORS["version gone"]])
def test_a_stuck_chunk_is_reported_without_its_upload(
    relay: Harness, error: S3ErrorResponse
) -> None:
    upload_stuck_chunk(relay)
    with reject_requests(relay.s3, "GetObject", error, KEY):
        relay.finish(60)

    retry = relay.manifest(KEY)["retry"]
    assert relay.manifest(KEY)["errors"] == {"relay_stuck": 3}
    assert (retry["complete"], retry["missing_rows"]) == (False, 3)
    assert retry["reason"].startswith("the upload ")


def test_rows_of_a_stuck_chunk_are_in_the_retry_file(relay: Harness) -> None:
    upload_stuck_chunk(relay)
    relay.finish(60)

    assert relay.read(KEY, "retry.jsonl") == three_rows() + b"\n"
    assert relay.manifest(KEY)["retry"]["complete"]


def upload_stuck_chunk(relay: Harness) -> None:
    """Upload a job whose only chunk is permanently stuck."""
    relay.upload(KEY, three_rows())
    (batch,) = relay.items.unfinished().batches
    mark_stuck(relay, batch)


def mark_stuck(relay: Harness, batch: Batch) -> None:
    changes = {"status": BatchStatus.STUCK}
    expected = {"status": batch.status}
    assert relay.items.transition(
        batch, changes, expected=expected, job_increments={"chunks_finished": 1}
    )


def test_a_stuck_later_attempt_leaves_the_results_of_the_earlier_one(tmp_path: Path) -> None:
    """Its rows are not in the retry file: they may have been paid for. The manifest says so."""
    with open_harness(tmp_path, processing_s=100.0) as relay:
        relay.upload(KEY, make_row(1, "[fate:expired]") + b"\n" + make_row(2))
        mark_stuck(relay, second_attempt(relay))
        relay.finish(60)

        retry = relay.manifest(KEY)["retry"]
        assert [line["result"]["type"] for line in relay.lines(KEY)] == ["expired", "succeeded"]
        assert (retry["complete"], retry["rows"], retry["missing_rows"]) == (False, 0, 1)
        assert (
            "attempt 2 could not be collected; their results are those of attempt 1"
            in retry["reason"]
        )
        assert relay.read(KEY, "retry.jsonl") == b""


def second_attempt(relay: Harness) -> Batch:
    for _ in range(20):
        relay.tick()
        for batch in relay.items.unfinished().batches:
            if batch.attempt == 2:
                return batch
    raise AssertionError


def test_promise_1_every_row_has_a_line_without_the_upload(relay: Harness) -> None:
    relay.deploy(requests_per_batch=2)
    relay.upload(KEY, make_upload(5) + b"\n{broken")
    with reject_requests(relay.s3, "GetObject", DENIED, KEY):
        relay.finish()

    assert [line["row"] for line in relay.lines(KEY)] == [1, 2, 3, 4, 5, 6]
