"""Run one stage on messages, as a warm Lambda container does, and report the time of each.

    python -m benchmarks.stage submit 900 MESSAGE…
    python -m benchmarks.stage submit 900 < MESSAGES

The number is the timeout of each invocation in seconds.
"""

import importlib
import json
import sys
import time
from collections import Counter
from typing import Any

import boto3

from benchmarks.cpu import cpu_s

STAGES_WITH_SDK = {"submit", "poll"}
"""Stages that import the SDK lazily. It is imported before measuring; the import is measured separately."""
EMPTY_MESSAGE = json.dumps({"schema": 1, "job": "none", "item": "#", "next_step": "none"})


class Context:
    """The context object of a Lambda function."""

    function_name = "benchmark"
    memory_limit_in_mb = 1769
    invoked_function_arn = "arn:aws:lambda:us-east-1:111122223333:function:benchmark"
    aws_request_id = "1"

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        """Return the remaining time of the invocation."""
        return int((self._deadline - time.monotonic()) * 1000)


def main(stage: str, seconds: str, *messages: str) -> None:
    """Open the services with an empty message, print "ready", then measure each message."""
    call_counts = _count_calls()
    if stage in STAGES_WITH_SDK:
        importlib.import_module("anthropic")
    module: Any = importlib.import_module(f"functions.{stage}")
    if stage == "poll":
        rest: Any = importlib.import_module("functions.polling.single_flight")
        rest.REST_S = 0.0  # the pause between two polls is no work, like the schedule's minute
    handler = module.handler
    handler(_event(EMPTY_MESSAGE), Context(float(seconds)))
    if not messages:
        print("ready", flush=True)
    for message in messages or sys.stdin:
        call_counts.clear()
        started, cpu_started = time.perf_counter(), cpu_s()
        handler(_event(message), Context(float(seconds)))
        usage = {
            "work_s": time.perf_counter() - started,
            "work_cpu_s": cpu_s() - cpu_started,
        }
        print(json.dumps({**usage, "dynamodb": dict(call_counts)}), flush=True)


def _event(message: str) -> dict[str, Any]:
    return {"Records": [{"body": message, "receiptHandle": "-"}]}


def _count_calls() -> Counter[str]:
    """Count the calls to DynamoDB and the items read."""
    boto3.setup_default_session()
    call_counts: Counter[str] = Counter()

    def count(model: Any, parsed: dict[str, Any], **_: object) -> None:  # noqa: ANN401 - botocore's
        call_counts[model.name] += 1
        call_counts["items"] += len(parsed.get("Items", [])) + ("Item" in parsed)

    session: Any = boto3.DEFAULT_SESSION
    session.events.register("after-call.dynamodb", count)
    return call_counts


if __name__ == "__main__":
    main(*sys.argv[1:])
