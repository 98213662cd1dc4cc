"""Long outages: one kind of call fails for minutes, hours, a day or a week.

At the end, every billed answer is delivered.
"""

import errno
from functools import partial
from typing import Any

import httpx2
import urllib3
from botocore.exceptions import ClientError

from functions.errors import KeyUnreadableError
from tests.verification.chaos.bench import open_bench
from tests.verification.chaos.chaos_harness import ChaosHarness, fail_calls_for
from tests.verification.crash import jobs
from tests.verification.crash.jobs import JobSpec
from tests.verification.figures import Figures

MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86400.0
DURATIONS_S = {"minutes": 10 * MINUTE_S, "hours": 8 * HOUR_S, "a day": DAY_S, "a week": 7 * DAY_S}
DENIED, KMS = "AccessDenied", "KMS.DisabledException"
DISK = "disk full"

FAST_AFTER_TICKS = 40
ALLOWED_DIFFERENCES = (
    *("event JOB/", "event sending/", "file status.json"),
    *("file retry.jsonl", "file manifest.json"),
    *("visible while incomplete: retry.jsonl", "visible while incomplete: manifest.json"),
)
"""What an outage may change: events about stuck or paused work, and a retry file without rows."""

OUTAGES: dict[str, tuple[str, ...]] = {
    "secretsmanager.GetSecretValue": ("unreadable",),
    "s3.GetObject": (DENIED, KMS, "SlowDown"),
    "s3.GetObject block": (DISK,),
    "s3.HeadObject": (DENIED,),
    "s3.PutObject": (DENIED, KMS),
    "s3.CompleteMultipartUpload": (DENIED,),
    "s3.UploadPart": (KMS,),
    "s3.PutObjectTagging": (DENIED,),
    "dynamodb.UpdateItem": ("ThrottlingException", DENIED),
    "dynamodb.TransactWriteItems": ("ThrottlingException", DENIED),
    "dynamodb.GetItem": ("ThrottlingException",),
    "dynamodb.Query": ("ThrottlingException",),
    "sns.Publish": ("AuthorizationError",),
    "sqs.SendMessageBatch": (DENIED,),
    "claude.POST /v1/messages/batches": ("unreachable",),
    "claude.GET /v1/messages/batches": ("no answer",),
    "claude.GET /v1/messages/batches/ID/results": ("no answer",),
}
"""Calls, and the errors that each returns until an operator fixes the cause."""


def build_error(relay: ChaosHarness, name: str, code: str) -> Exception:
    """Return the error that the client of this call raises."""
    operation = name.partition(".")[2]
    if name.startswith("secretsmanager."):
        return KeyUnreadableError("AccessDeniedException")
    if code == DISK:
        return OSError(errno.ENOSPC, "No space left on device")
    if name.endswith("/results"):
        return urllib3.exceptions.ProtocolError(code)
    if name.startswith("claude."):
        return httpx2.ConnectError(code) if "POST" in name else httpx2.ReadTimeout(code)
    error_types: Any = relay.dynamodb.exceptions
    error_type = error_types.from_code(code) if name.startswith("dynamodb.") else ClientError
    error: Exception = error_type({"Error": {"Code": code, "Message": "no"}}, operation)
    return error


def start_outage(relay: ChaosHarness, name: str, code: str, nth: int, duration_s: float) -> None:
    """Let one kind of call fail for this long, starting with its n-th call."""
    fail_calls_for(relay, name, nth, duration_s, lambda: build_error(relay, name, code))


def outage_plans(calls: list[str], *, full: bool) -> list[tuple[str, str, int, str]]:
    """Return the outages: which call fails, how, from its n-th time on, and for how long.

    A sample has each call and error once, with the durations in turn.
    """
    plans = [
        (name, code, nth, duration)
        for name, codes in OUTAGES.items()
        if name in calls
        for code in codes
        for nth in sorted({1, calls.count(name) // 2 + 1, calls.count(name)})
        if (name, code, nth)
        != ("s3.GetObject", KMS, 1)  # an upload that was never read is rejected
        for duration in DURATIONS_S
    ]
    return plans if full else plans[::19]


def long_outages(full: bool, half: int) -> Figures:  # noqa: FBT001 - called positionally
    """Let every dependency of the relay fail, for up to a week."""
    return _run(jobs.three_chunks(), half, full=full)


def long_outages_of_copies(full: bool, half: int) -> Figures:  # noqa: FBT001 - called positionally
    """Do the same with a job that ends by copying results from chunk to chunk."""
    return _run(jobs.equal_rows(), half, full=full)


def _run(job: JobSpec, half: int, *, full: bool) -> Figures:
    with open_bench("long outages", job) as bench:
        for name, code, nth, duration in outage_plans(bench.baseline.calls, full=full)[half::2]:
            description = f"{name} fails with {code} for {duration}, from call {nth} on"
            setup = partial(start_outage, bench.relay, name, code, nth, DURATIONS_S[duration])
            bench.run(
                description,
                setup,
                allowed_differences=ALLOWED_DIFFERENCES,
                fast_after_ticks=FAST_AFTER_TICKS,
            )
    return bench.figures
