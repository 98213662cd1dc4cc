"""Calls that the SDK repeats after a lost answer, and calls that the relay must repeat itself."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from botocore.exceptions import ClientError

from functions.adapters import table
from tests.verification.crash import jobs
from tests.verification.crash.crash_harness import CrashHarness, open_crash_harness
from tests.verification.crash.final_state import FinalState
from tests.verification.crash.job_run import run_job
from tests.verification.crash.jobs import JobSpec


@pytest.mark.parametrize("job", [jobs.three_chunks(), jobs.large_rows()], ids=["march", "large"])
def test_repeating_every_completed_call_changes_nothing(tmp_path: Path, job: JobSpec) -> None:
    """The SDK repeats a write whose answer was lost; the repeat fails, or does the same again."""
    with _harness_after(tmp_path, job) as (relay, baseline):
        for client in (relay.dynamodb, relay.sns, relay.sqs, relay.s3):
            _repeat_every_call(relay, client)
        run = run_job(relay, job, expected=baseline)

        assert (run.problems, relay.failures) == ([], [])


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_repeated_completion_that_finds_no_upload_is_recovered(tmp_path: Path, nth: int) -> None:
    """S3's reference for NoSuchUpload: "the upload might have been aborted or completed"."""
    with _harness_after(tmp_path, jobs.large_rows()) as (relay, baseline):
        _lose_completion(relay, nth)
        run = run_job(relay, jobs.large_rows(), expected=baseline)

        assert run.problems == []
        assert ["NoSuchUpload" in str(death) for death in relay.failures] == [True]


def test_an_update_that_conflicts_with_a_transaction_is_retried(tmp_path: Path) -> None:
    """DynamoDB rejects the update, and the SDK does not retry it."""
    no_waits = patch.object(table, "_CONFLICT_WAITS_S", (0.0,) * 5)
    with _harness_after(tmp_path, jobs.three_chunks()) as (relay, baseline), no_waits:
        _fail_with_conflict(relay, times=4)
        run = run_job(relay, jobs.three_chunks(), expected=baseline)

        assert (run.problems, relay.failures) == ([], [])


@contextmanager
def _harness_after(folder: Path, job: JobSpec) -> Iterator[tuple[CrashHarness, FinalState | None]]:
    """Open a harness that has run a job undisturbed."""
    with open_crash_harness(folder) as relay:
        relay.deploy(requests_per_batch=job.requests_per_batch)
        yield relay, run_job(relay, job).final_state


def _repeat_every_call(relay: CrashHarness, client: Any) -> None:
    """Let a client make each call of a stage twice."""
    call = client._make_api_call  # noqa: SLF001 - the one method that every API call goes through
    # DynamoDB recognizes a repeated transaction by its token, and S3 answers a repeated completion
    # as it did the first (https://github.com/adobe/S3Mock/issues/2586). moto does neither.
    not_repeated = {"TransactWriteItems", "CompleteMultipartUpload"}

    def call_twice(operation: str, arguments: dict[str, Any]) -> Any:
        if operation in not_repeated or not relay.call_counter.counting:
            return call(operation, arguments)
        with suppress(client.exceptions.ClientError):
            call(operation, {**arguments})
        if operation == "UploadPart":
            arguments["Body"].seek(0)  # as the SDK does
        return call(operation, arguments)

    client._make_api_call = call_twice  # noqa: SLF001


def _lose_completion(relay: CrashHarness, nth: int) -> None:
    """Let the n-th completion succeed but answer NoSuchUpload, as its repeat would."""
    client: Any = relay.s3
    call, completions = client._make_api_call, 0  # noqa: SLF001

    def call_and_lose(operation: str, arguments: dict[str, Any]) -> Any:
        nonlocal completions
        answer = call(operation, arguments)
        is_completion = operation == "CompleteMultipartUpload"
        completions += is_completion
        if is_completion and completions == nth:
            error: Any = {"Error": {"Code": "NoSuchUpload", "Message": "aborted or completed"}}
            raise ClientError(error, operation)
        return answer

    client._make_api_call = call_and_lose  # noqa: SLF001


def _fail_with_conflict(relay: CrashHarness, times: int) -> None:
    """Let each item's first updates conflict with a transaction."""
    client: Any = relay.dynamodb
    call, conflicts_left = client._make_api_call, dict[str, int]()  # noqa: SLF001

    def call_with_conflict(operation: str, arguments: dict[str, Any]) -> Any:
        if operation == "UpdateItem":
            item = str(arguments["Key"])
            conflicts_left[item] = conflicts_left.get(item, times + 1) - 1
            if conflicts_left[item] > 0:
                code = "TransactionConflictException"
                response = {
                    "Error": {"Code": code, "Message": "another transaction is in progress"}
                }
                raise client.exceptions.from_code(code)(response, operation)
        return call(operation, arguments)

    client._make_api_call = call_with_conflict  # noqa: SLF001
