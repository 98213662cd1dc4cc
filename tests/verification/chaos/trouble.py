"""AWS in trouble: calls that fail with its own errors, now and then, or all of a kind for as long as an outage lasts."""

import random
from functools import partial
from typing import Any

import urllib3
from botocore.exceptions import ClientError, IncompleteReadError

from functions.model.items import MAX_TRIES
from tests.verification.chaos.bench import bench
from tests.verification.chaos.chaos_harness import ChaosHarness, fail_for
from tests.verification.crash import jobs
from tests.verification.figures import Figures

PIECE = 150
"""Bytes between two places at which a download may break off."""
OUTAGE_S = 3600.0

DYNAMODB = ("ThrottlingException", "ProvisionedThroughputExceededException", "InternalServerError")
S3 = ("SlowDown", "InternalError", "ServiceUnavailable")
OTHERS = ("ThrottlingException", "ServiceUnavailable", "InternalFailure")
DONE_ALL_THE_SAME = {"InternalServerError", "InternalError", "InternalFailure"}
"""Errors after which nobody knows whether the call took place."""


def failure(relay: ChaosHarness, name: str, code: str) -> Exception:
    """Make the error with which a call's own client would fail."""
    if name.startswith("claude."):
        return urllib3.exceptions.ProtocolError("cut")
    if name.endswith(" block"):
        return IncompleteReadError(actual_bytes=PIECE, expected_bytes=2 * PIECE)
    operation = name.partition(".")[2]
    if code == "TransactionConflict":
        reasons = {"CancellationReasons": [{"Code": "TransactionConflict"}]}
        told = {"Error": {"Code": "TransactionCanceledException", "Message": code}, **reasons}
        return relay.dynamodb.exceptions.TransactionCanceledException(told, operation)  # type: ignore[arg-type]
    kinds: Any = relay.dynamodb.exceptions
    kind = kinds.from_code(code) if name.startswith("dynamodb.") else ClientError
    made: Exception = kind({"Error": {"Code": code, "Message": "later"}}, operation)
    return made


def codes(name: str) -> tuple[str, ...]:
    """Give the errors that a call may fail with."""
    service = name.partition(".")[0]
    conflict = {
        "dynamodb.TransactWriteItems": "TransactionConflict",
        "dynamodb.UpdateItem": "TransactionConflictException",
    }
    if name.endswith(" block"):
        return ("cut",)
    if name in conflict:
        return (*DYNAMODB, conflict[name])
    return {"dynamodb": DYNAMODB, "s3": S3}.get(service, OTHERS)


def may_fail(name: str) -> bool:
    """Whether a call is AWS's; of Claude's, only the download of results breaks off here."""
    return not name.startswith("claude.") or name.endswith("results block")


def now_and_then(relay: ChaosHarness, seed: int) -> None:
    """Let any call fail, as a seed has it, but no item so often that it is quarantined."""
    left = MAX_TRIES - 1
    draw = random.Random(seed)  # noqa: S311 - the seed is to be repeated, not to be secret
    rate = draw.choice((0.01, 0.02, 0.04))

    def at_each_call(name: str, after: bool) -> None:  # noqa: FBT001 - as it is called
        nonlocal left
        if not left or not may_fail(name) or draw.random() >= rate:
            return
        code = draw.choice(codes(name))
        if not after or code in DONE_ALL_THE_SAME:
            left -= 1
            raise failure(relay, name, code)

    relay.call_counter.at_each_call, relay.call_counter.block = at_each_call, PIECE


def outage(relay: ChaosHarness, operation: str, code: str, nth: int) -> None:
    """Let one kind of call fail for an hour, from its n-th time on."""
    fail_for(relay, operation, nth, OUTAGE_S, lambda: failure(relay, operation, code))


def random_trouble(full: bool, half: int) -> Figures:  # noqa: FBT001 - as the list of campaigns calls it
    """Let calls to AWS fail at random."""
    seeds = range(60 if full else 4)
    with bench("AWS fails now and then", jobs.march()) as at:
        for seed in seeds[half::2]:
            at.run(f"trouble {seed}", partial(now_and_then, at.relay, seed))
    return at.figures


def outages(full: bool, half: int) -> Figures:  # noqa: FBT001 - as above
    """Let each operation of AWS, SNS's too, fail for an hour.

    From its first time on, with each of its errors; or from one in the middle, or from its last.
    """
    with bench("an operation of AWS fails for an hour", jobs.march()) as at:
        calls = [name for name in at.undisturbed.calls if may_fail(name)]
        found = sorted({
            (name, code, nth)
            for name in calls
            for nth in {1, calls.count(name) // 2 + 1, calls.count(name)}
            for code in (codes(name) if nth == 1 else codes(name)[-1:])
        })  # fmt: skip
        sample = [
            one
            for number, one in enumerate(found)
            if number % 12 == 0 or one[1:] == ("TransactionConflictException", 1)
        ]
        for one in (found if full else sample)[half::2]:
            at.run(f"outage {one}", partial(outage, at.relay, *one))
    return at.figures
