"""Run one stage of the relay on one message, as a warm Lambda container would; says how long it took.

python -m benchmarks.stage submit MESSAGE
"""

import importlib
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import boto3

HTTP = {"submit": "anthropic", "poll": "anthropic", "results": "httpx2"}
"""What a stage imports when it first speaks to Claude: done before, as in a container that has. It is a row of its own."""
NOTHING = json.dumps({"schema": 1, "job": "none", "item": "#", "next": "none"})


@dataclass
class Context:
    """What Lambda tells a function of itself."""

    function_name: str = "benchmark"
    memory_limit_in_mb: int = 1769
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:111122223333:function:benchmark"
    aws_request_id: str = "1"

    def get_remaining_time_in_millis(self) -> int:
        """Leave time for one step, and not for the next."""
        return 200_000


def main(stage: str, message: str | None = None) -> None:
    """Open the doors with a hint of nothing, then do the work under the clock."""
    seen = _counted()
    importlib.import_module(HTTP[stage])
    handler: Any = importlib.import_module(f"functions.{stage}").handler
    handler(_event(NOTHING if message else None), Context())
    seen.clear()
    began, spent = time.perf_counter(), time.process_time()
    handler(_event(message), Context())
    took = {"work_s": time.perf_counter() - began, "work_cpu_s": time.process_time() - spent}
    print(json.dumps({**took, "dynamodb": dict(seen)}))


def _event(message: str | None) -> dict[str, Any]:
    return {} if message is None else {"Records": [{"body": message}]}


def _counted() -> Counter[str]:
    """Count the calls to DynamoDB, and the items read."""
    boto3.setup_default_session()
    seen: Counter[str] = Counter()

    def note(model: Any, parsed: dict[str, Any], **_: object) -> None:  # noqa: ANN401 - botocore's
        seen[model.name] += 1
        seen["items"] += len(parsed.get("Items", [])) + ("Item" in parsed)

    session: Any = boto3.DEFAULT_SESSION
    session.events.register("after-call.dynamodb", note)
    return seen


if __name__ == "__main__":
    main(*sys.argv[1:])
