"""What the SDK repeats by itself, because an answer was lost; and what it leaves to us to repeat."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from botocore.exceptions import ClientError

from functions.adapters import table
from tests.verification.crash import jobs
from tests.verification.crash.crash_harness import CrashHarness, crash_harness
from tests.verification.crash.ending import Ending
from tests.verification.crash.job_run import run_job
from tests.verification.crash.jobs import Job


@pytest.mark.parametrize("job", [jobs.march(), jobs.large()], ids=["march", "large"])
def test_what_the_sdk_repeats_after_it_was_done_changes_nothing(tmp_path: Path, job: Job) -> None:
    """A write that succeeded, and whose answer was lost: its second time fails, or does it once more."""
    with _run(tmp_path, job) as (relay, undisturbed):
        for client in (relay.dynamodb, relay.sns, relay.sqs, relay.s3):
            _repeat(relay, client)
        run = run_job(relay, job, expected=undisturbed)

        assert (run.wrong, relay.deaths) == ([], [])


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_completion_whose_repeat_finds_no_upload_is_made_up_for(
    tmp_path: Path, nth: int
) -> None:
    """So S3's reference has it: "the upload might have been aborted or completed"."""
    with _run(tmp_path, jobs.large()) as (relay, undisturbed):
        _refuse(relay, nth)
        run = run_job(relay, jobs.large(), expected=undisturbed)

        assert run.wrong == []
        assert ["NoSuchUpload" in str(death) for death in relay.deaths] == [True]


def test_a_take_in_conflict_with_a_transaction_is_repeated(tmp_path: Path) -> None:
    """DynamoDB refuses it, and the SDK does not repeat it."""
    waits = patch.object(table, "_CONFLICT_WAITS_S", (0.0,) * 5)
    with _run(tmp_path, jobs.march()) as (relay, undisturbed), waits:
        _conflict(relay, times=4)
        run = run_job(relay, jobs.march(), expected=undisturbed)

        assert (run.wrong, relay.deaths) == ([], [])


@contextmanager
def _run(folder: Path, job: Job) -> Iterator[tuple[CrashHarness, Ending | None]]:
    """Make a relay that has run a job undisturbed."""
    with crash_harness(folder) as relay:
        relay.deploy(requests_per_batch=job.requests_per_batch)
        yield relay, run_job(relay, job).ending


def _repeat(relay: CrashHarness, client: Any) -> None:
    """Let a client make each call of a stage twice."""
    call = client._make_api_call  # noqa: SLF001 - the one way that every call goes
    # Transactions carry a token, by which DynamoDB knows a repeated one, and S3 answers the same completion as it did
    # the first time (https://github.com/adobe/S3Mock/issues/2586): moto does neither.
    once = {"TransactWriteItems", "CompleteMultipartUpload"}

    def twice(operation: str, arguments: dict[str, Any]) -> Any:
        if operation in once or not relay.call_counter.watching:
            return call(operation, arguments)
        with suppress(client.exceptions.ClientError):
            call(operation, {**arguments})
        if operation == "UploadPart":
            arguments["Body"].seek(0)  # as the SDK does
        return call(operation, arguments)

    client._make_api_call = twice  # noqa: SLF001


def _refuse(relay: CrashHarness, nth: int) -> None:
    """Let the n-th completion be repeated by the SDK, and S3 not know the upload any more."""
    client: Any = relay.s3
    call, met = client._make_api_call, 0  # noqa: SLF001

    def once_more(operation: str, arguments: dict[str, Any]) -> Any:
        nonlocal met
        answer = call(operation, arguments)
        complete = operation == "CompleteMultipartUpload"
        met += complete
        if complete and met == nth:
            error: Any = {"Error": {"Code": "NoSuchUpload", "Message": "aborted or completed"}}
            raise ClientError(error, operation)
        return answer

    client._make_api_call = once_more  # noqa: SLF001


def _conflict(relay: CrashHarness, times: int) -> None:
    """Let each first take, and its first repeats, meet a transaction on the same item."""
    client: Any = relay.dynamodb
    call, left = client._make_api_call, dict[str, int]()  # noqa: SLF001

    def meets(operation: str, arguments: dict[str, Any]) -> Any:
        if operation == "UpdateItem":
            item = str(arguments["Key"])
            left[item] = left.get(item, times + 1) - 1
            if left[item] > 0:
                code = "TransactionConflictException"
                told = {"Error": {"Code": code, "Message": "another transaction is at it"}}
                raise client.exceptions.from_code(code)(told, operation)
        return call(operation, arguments)

    client._make_api_call = meets  # noqa: SLF001
