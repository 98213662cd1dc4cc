"""AWS in trouble: calls that fail with its own errors, now and then, or all of a kind for as long as an outage lasts."""

import random
from functools import partial
from typing import Any

import urllib3
from botocore.exceptions import ClientError, IncompleteReadError

from functions.model.items import MAX_TRIES
from tests.verification.chaos.bench import open_bench
from tests.verification.chaos.chaos_harness import ChaosHarness, fail_calls_for
from tests.verification.crash import jobs
from tests.verification.figures import Figures

STREAM_BLOCK = 150
"""Bytes between two places at which a download may break off."""
OUTAGE_S = 3600.0

DYNAMODB_ERRORS = (
    "ThrottlingException",
    "ProvisionedThroughputExceededException",
    "InternalServerError",
)
S3_ERRORS = ("SlowDown", "InternalError", "ServiceUnavailable")
OTHER_ERRORS = ("ThrottlingException", "ServiceUnavailable", "InternalFailure")
AMBIGUOUS_ERRORS = {"InternalServerError", "InternalError", "InternalFailure"}
"""Errors after which nobody knows whether the call took place."""


def build_error(relay: ChaosHarness, name: str, code: str) -> Exception:
    """Make the error with which a call's own client would fail."""
    if name.startswith("claude."):
        return urllib3.exceptions.ProtocolError("cut")
    if name.endswith(" block"):
        return IncompleteReadError(actual_bytes=STREAM_BLOCK, expected_bytes=2 * STREAM_BLOCK)
    operation = name.partition(".")[2]
    if code == "TransactionConflict":
        reasons = {"CancellationReasons": [{"Code": "TransactionConflict"}]}
        response = {"Error": {"Code": "TransactionCanceledException", "Message": code}, **reasons}
        return relay.dynamodb.exceptions.TransactionCanceledException(response, operation)  # type: ignore[arg-type]
    error_types: Any = relay.dynamodb.exceptions
    error_type = error_types.from_code(code) if name.startswith("dynamodb.") else ClientError
    error: Exception = error_type({"Error": {"Code": code, "Message": "later"}}, operation)
    return error


def error_codes(name: str) -> tuple[str, ...]:
    """Give the errors that a call may fail with."""
    service = name.partition(".")[0]
    conflict = {
        "dynamodb.TransactWriteItems": "TransactionConflict",
        "dynamodb.UpdateItem": "TransactionConflictException",
    }
    if name.endswith(" block"):
        return ("cut",)
    if name in conflict:
        return (*DYNAMODB_ERRORS, conflict[name])
    return {"dynamodb": DYNAMODB_ERRORS, "s3": S3_ERRORS}.get(service, OTHER_ERRORS)


def may_fail(name: str) -> bool:
    """Whether a call is AWS's; of Claude's, only the download of results breaks off here."""
    return not name.startswith("claude.") or name.endswith("results block")


def fail_at_random(relay: ChaosHarness, seed: int) -> None:
    """Let any call fail, as a seed has it, but no item so often that it is quarantined."""
    errors_left = MAX_TRIES - 1
    rng = random.Random(seed)  # noqa: S311 - the seed is to be repeated, not to be secret
    rate = rng.choice((0.01, 0.02, 0.04))

    def on_call(name: str, after: bool) -> None:  # noqa: FBT001 - as it is called
        nonlocal errors_left
        if not errors_left or not may_fail(name) or rng.random() >= rate:
            return
        code = rng.choice(error_codes(name))
        if not after or code in AMBIGUOUS_ERRORS:
            errors_left -= 1
            raise build_error(relay, name, code)

    relay.call_counter.on_call, relay.call_counter.block = on_call, STREAM_BLOCK


def start_outage(relay: ChaosHarness, operation: str, code: str, nth: int) -> None:
    """Let one kind of call fail for an hour, from its n-th time on."""
    fail_calls_for(relay, operation, nth, OUTAGE_S, lambda: build_error(relay, operation, code))


def random_aws_errors(full: bool, half: int) -> Figures:  # noqa: FBT001 - as the list of campaigns calls it
    """Let calls to AWS fail at random."""
    seeds = range(60 if full else 4)
    with open_bench("AWS fails now and then", jobs.three_chunks()) as bench:
        for seed in seeds[half::2]:
            bench.run(f"trouble {seed}", partial(fail_at_random, bench.relay, seed))
    return bench.figures


def hour_long_outages(full: bool, half: int) -> Figures:  # noqa: FBT001 - as above
    """Let each operation of AWS, SNS's too, fail for an hour.

    From its first time on, with each of its errors; or from one in the middle, or from its last.
    """
    with open_bench("an operation of AWS fails for an hour", jobs.three_chunks()) as bench:
        calls = [name for name in bench.baseline.calls if may_fail(name)]
        plans = sorted({
            (name, code, nth)
            for name in calls
            for nth in {1, calls.count(name) // 2 + 1, calls.count(name)}
            for code in (error_codes(name) if nth == 1 else error_codes(name)[-1:])
        })  # fmt: skip
        sample = [
            plan
            for number, plan in enumerate(plans)
            if number % 12 == 0 or plan[1:] == ("TransactionConflictException", 1)
        ]
        for plan in (plans if full else sample)[half::2]:
            bench.run(f"outage {plan}", partial(start_outage, bench.relay, *plan))
    return bench.figures
