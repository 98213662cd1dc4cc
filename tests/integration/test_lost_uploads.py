"""The upload cannot be read again: that costs retry.jsonl, says why in the manifest, and holds no answer back."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from functions.model.items import Batch, BatchStatus
from tests.fakes.strict_s3 import (
    PERMANENT_READ_ERRORS,
    TRANSIENT_READ_ERRORS,
    S3ErrorResponse,
    reject_requests,
    without_list_bucket,
)
from tests.harness import RESULTS, UPLOADS, Harness, harness, request, s3_event, upload_of
from tests.verification.crash.crash_harness import CrashHarness, open_crash_harness

pytestmark = pytest.mark.usefixtures("at_once")
KEY = "in/march.jsonl"
FAILED = "[fate:invalid_request_error]"
DENIED = PERMANENT_READ_ERRORS["a bucket policy"]
BUSY = TRANSIENT_READ_ERRORS["too many requests"]


def three(failing: int = 2) -> bytes:
    rows = (request(n, FAILED if n == failing else "fine") for n in range(1, 4))
    return b"\n".join(rows)


@pytest.mark.parametrize("refusal", PERMANENT_READ_ERRORS.values(), ids=[*PERMANENT_READ_ERRORS])
def test_each_refusal_costs_the_retry_file_alone(relay: Harness, refusal: S3ErrorResponse) -> None:
    relay.upload(KEY, three())
    with reject_requests(relay.s3, "GetObject", refusal, KEY):
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
    ("refusal", "said"),
    [
        ("version gone", "the upload no longer exists"),
        ("a delete marker", "the upload is deleted: this version is a delete marker"),
        ("archived", "the upload is archived: restore it to read it"),
        ("KMS: not permitted", "the upload cannot be decrypted: its KMS key may not be used by this role"),
        ("KMS: disabled", "the upload cannot be decrypted: its KMS key is disabled"),
    ],
)  # fmt: skip
def test_the_manifest_says_why(relay: Harness, refusal: str, said: str) -> None:
    relay.upload(KEY, three())
    with reject_requests(relay.s3, "GetObject", PERMANENT_READ_ERRORS[refusal], KEY):
        relay.finish()

    assert relay.manifest(KEY)["retry"]["reason"] == said


def test_a_retry_file_that_lacks_nothing_says_so(relay: Harness) -> None:
    relay.upload(KEY, three())
    relay.finish()

    complete = {"complete": True, "rows": 1, "missing_rows": 0, "reason": None}
    assert relay.manifest(KEY)["retry"] == complete


def test_a_version_that_was_deleted_is_missed_by_no_answer_even_without_list_bucket(
    relay: Harness,
) -> None:
    relay.upload(KEY, three())
    (job,) = relay.items.unfinished().jobs
    relay.s3.delete_object(Bucket=UPLOADS, Key=KEY, VersionId=job.version)
    with without_list_bucket(relay.s3):
        relay.finish()

    assert relay.manifest(KEY)["counts"] == {"errored": 1, "succeeded": 2}


def test_what_can_be_read_is_in_the_retry_file(relay: Harness) -> None:
    relay.deploy(requests_per_batch=1)
    rows = [request(n, FAILED) for n in range(1, 4)]
    relay.upload(KEY, b"\n".join(rows))
    with reject_requests(relay.s3, "GetObject", DENIED, KEY, after=2):
        relay.finish()

    assert relay.read(KEY, "retry.jsonl") == b"".join(row + b"\n" for row in rows[:2])
    retry = relay.manifest(KEY)["retry"]
    assert (retry["complete"], retry["rows"], retry["missing_rows"]) == (False, 2, 1)


def test_a_refusal_in_the_middle_leaves_no_half_of_a_part(moto_relay: Harness) -> None:
    relay = moto_relay
    """Rows are so far apart that each is a request of its own; the first fill more than one part of an upload."""
    long = "x" * (4 << 20)
    rows = [request(n, (FAILED if n % 2 else "fine") + long) for n in range(1, 8)]
    relay.upload(KEY, b"\n".join(rows))
    with (
        reject_requests(relay.s3, "GetObject", DENIED, KEY, after=3) as asked,
        reject_requests(relay.s3, "AbortMultipartUpload", BUSY, "retry.jsonl", after=9) as aborted,
    ):
        relay.finish()

    assert (len(asked), len(aborted)) == (4, 1)
    assert "Uploads" not in relay.s3.list_multipart_uploads(Bucket=RESULTS)
    retry = relay.manifest(KEY)["retry"]
    assert (retry["rows"], retry["missing_rows"]) == (0, 4)
    assert relay.manifest(KEY)["counts"]["succeeded"] == 3


@pytest.mark.parametrize("refusal", TRANSIENT_READ_ERRORS.values(), ids=[*TRANSIENT_READ_ERRORS])
def test_what_may_pass_is_waited_for(tmp_path: Path, refusal: S3ErrorResponse) -> None:
    with open_crash_harness(tmp_path) as relay:
        relay.upload(KEY, three())
        with reject_requests(relay.s3, "GetObject", refusal, KEY):
            while not relay.failures:
                relay.tick()
        finish(relay)

        assert relay.manifest(KEY)["retry"]["complete"]
        assert relay.read(KEY, "retry.jsonl") == request(2, FAILED) + b"\n"


def test_what_does_not_pass_is_waited_for_an_hour_and_no_longer(tmp_path: Path) -> None:
    with open_crash_harness(tmp_path) as relay:
        relay.upload(KEY, three())
        begun = relay.moment
        with reject_requests(relay.s3, "GetObject", BUSY, KEY):
            finish(relay)

        assert 40 * 60 < (relay.moment - begun).total_seconds() < 70 * 60
        assert relay.manifest(KEY)["counts"] == {"errored": 1, "succeeded": 2}
        reason = "the upload could not be read in several tries (SlowDown)"
        assert relay.manifest(KEY)["retry"]["reason"] == reason


def finish(relay: CrashHarness) -> None:
    for _ in range(200):
        relay.tick()
        if not relay.items.unfinished().jobs:
            return
    raise AssertionError(relay.failures)


def test_trouble_with_the_results_bucket_is_not_taken_for_the_uploads(relay: Harness) -> None:
    relay.upload(KEY, three())
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


def test_an_upload_without_versions_that_was_replaced_by_a_shorter_one(
    moto_relay: Harness,
) -> None:
    relay = moto_relay
    suspended: Any = {"Status": "Suspended"}
    relay.s3.put_bucket_versioning(Bucket=UPLOADS, VersioningConfiguration=suspended)
    relay.s3.put_object(Bucket=UPLOADS, Key=KEY, Body=three(failing=3))
    at = relay.moment.isoformat()
    relay.submit_message(s3_event(UPLOADS, KEY, len(three()), "null", at))
    relay.s3.put_object(Bucket=UPLOADS, Key=KEY, Body=b"{}")
    relay.finish()

    assert relay.manifest(KEY)["counts"] == {"errored": 1, "succeeded": 2}
    assert "is shorter than it was" in relay.manifest(KEY)["retry"]["reason"]


@pytest.mark.parametrize("refusal", [DENIED, PERMANENT_READ_ERRORS["version gone"]])
def test_a_stuck_chunk_is_accounted_for_without_its_upload(
    relay: Harness, refusal: S3ErrorResponse
) -> None:
    stuck(relay)
    with reject_requests(relay.s3, "GetObject", refusal, KEY):
        relay.finish(60)

    retry = relay.manifest(KEY)["retry"]
    assert relay.manifest(KEY)["errors"] == {"relay_stuck": 3}
    assert (retry["complete"], retry["missing_rows"]) == (False, 3)
    assert retry["reason"].startswith("the upload ")


def test_a_stuck_chunk_offers_its_rows_again(relay: Harness) -> None:
    stuck(relay)
    relay.finish(60)

    assert relay.read(KEY, "retry.jsonl") == three() + b"\n"
    assert relay.manifest(KEY)["retry"]["complete"]


def stuck(relay: Harness) -> None:
    """Bring a job to where its one chunk is stuck for good."""
    relay.upload(KEY, three())
    (batch,) = relay.items.unfinished().batches
    give_up(relay, batch)


def give_up(relay: Harness, batch: Batch) -> None:
    changes = {"status": BatchStatus.STUCK}
    expected = {"status": batch.status}
    assert relay.items.transition(
        batch, changes, expected=expected, job_increments={"chunks_finished": 1}
    )


def test_rows_sent_before_are_not_offered_again_and_the_manifest_says_so(tmp_path: Path) -> None:
    with harness(tmp_path, processing_s=100.0) as relay:
        relay.upload(KEY, request(1, "[fate:expired]") + b"\n" + request(2))
        give_up(relay, second_attempt(relay))
        relay.finish(60)

        retry = relay.manifest(KEY)["retry"]
        assert (retry["complete"], retry["rows"], retry["missing_rows"]) == (False, 0, 2)
        assert "would be paid for again" in retry["reason"]
        assert relay.read(KEY, "retry.jsonl") == b""


def second_attempt(relay: Harness) -> Batch:
    for _ in range(20):
        relay.tick()
        for batch in relay.items.unfinished().batches:
            if batch.attempt == 2:
                return batch
    raise AssertionError


def test_promise_1_all_rows_are_there_though_nothing_of_the_upload_is(relay: Harness) -> None:
    relay.deploy(requests_per_batch=2)
    relay.upload(KEY, upload_of(5) + b"\n{broken")
    with reject_requests(relay.s3, "GetObject", DENIED, KEY):
        relay.finish()

    assert [line["row"] for line in relay.lines(KEY)] == [1, 2, 3, 4, 5, 6]
