"""AWS errors: calls fail at random, or one operation fails for an hour."""

import random
from functools import partial
from typing import Any

import urllib3
from botocore.exceptions import ClientError, IncompleteReadError

from functions.model.items.work_item import MAX_TRIES
from tests.verification.chaos.bench import open_bench
from tests.verification.chaos.chaos_harness import ChaosHarness, fail_calls_for
from tests.verification.crash import jobs
from tests.verification.figures import Figures

STREAM_BLOCK = 150
"""Bytes between two places at which a download may break."""
OUTAGE_S = 3600.0

DYNAMODB_ERRORS = (
    "ThrottlingException",
    "ProvisionedThroughputExceededException",
    "InternalServerError",
)
S3_ERRORS = ("SlowDown", "InternalError", "ServiceUnavailable")
OTHER_ERRORS = ("ThrottlingException", "ServiceUnavailable", "InternalFailure")
AMBIGUOUS_ERRORS = {"InternalServerError", "InternalError", "InternalFailure"}
"""Errors after which the call may or may not have taken place."""


def build_error(relay: ChaosHarness, name: str, code: str) -> Exception:
    """Return the error that the client of this call raises."""
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
    """Return the error codes that a call may fail with."""
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
    """Return whether a call goes to AWS or downloads results; only these fail here."""
    return not name.startswith("claude.") or name.endswith("results block")


def fail_at_random(relay: ChaosHarness, seed: int) -> None:
    """Let calls fail at random, but fewer than would quarantine an item."""
    errors_left = MAX_TRIES - 1
    rng = random.Random(seed)  # noqa: S311 - the seed makes a run reproducible
    rate = rng.choice((0.01, 0.02, 0.04))

    def on_call(name: str, after: bool) -> None:  # noqa: FBT001 - called positionally
        nonlocal errors_left
        if not errors_left or not may_fail(name) or rng.random() >= rate:
            return
        code = rng.choice(error_codes(name))
        if not after or code in AMBIGUOUS_ERRORS:
            errors_left -= 1
            raise build_error(relay, name, code)

    relay.call_counter.on_call, relay.call_counter.block = on_call, STREAM_BLOCK


def start_outage(relay: ChaosHarness, operation: str, code: str, nth: int) -> None:
    """Let one kind of call fail for an hour, starting with its n-th call."""
    fail_calls_for(relay, operation, nth, OUTAGE_S, lambda: build_error(relay, operation, code))


def random_aws_errors(full: bool, half: int) -> Figures:  # noqa: FBT001 - called positionally
    """Let calls to AWS fail at random."""
    seeds = range(60 if full else 4)
    with open_bench("AWS calls fail at random", jobs.three_chunks()) as bench:
        for seed in seeds[half::2]:
            bench.run(f"random errors {seed}", partial(fail_at_random, bench.relay, seed))
    return bench.figures


def hour_long_outages(full: bool, half: int) -> Figures:  # noqa: FBT001 - called positionally
    """Let each operation of AWS fail for an hour.

    The outage starts with the first call, with each error; or with a middle or the last call.
    """
    with open_bench("an AWS operation fails for an hour", jobs.three_chunks()) as bench:
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
