"""Count the calls and bytes of a chunk, and of a job without its chunks, on the real handlers at full size.

AWS is moto and Claude is the simulator. Chunks have their real size, so that each part of a multipart upload is a
counted call.
"""

import io
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.scale.arrivals import CHUNK
from benchmarks.scale.cost import Calls
from benchmarks.scale.units import Units, size_bytes
from benchmarks.workload import FAILING, write_upload
from functions import poll
from functions.adapters.queues import WorkQueues
from tests.harness import RESULTS, TABLE, Harness, moto_clients, open_moto_harness

FEW_CHUNKS, MANY_CHUNKS = 1, 3
KEY = "in/march.jsonl"
POLLS = 8
PLATFORM_BYTES = 330 + 3 * 26
"""Bytes that Lambda logs per invocation: START, END and REPORT, as CloudWatch counts them."""
LINE_BYTES = 26
"""Bytes that CloudWatch Logs adds to each line."""
ECHO_CHARS = 1_700
"""Characters of a prompt that the simulator echoes, so that results have the size of the benchmarks."""


class Context:
    """The context object of a Lambda function."""

    function_name, memory_limit_in_mb, aws_request_id = "poll", 512, "1"
    invoked_function_arn = "arn:aws:lambda:us-east-1:111122223333:function:poll"

    def get_remaining_time_in_millis(self) -> int:
        """Return the two minutes that poll has at its start."""
        return 120_000


def count() -> Calls:
    """Run a short and a long job; the difference is the cost of chunks."""
    os.environ.update(AWS_ACCESS_KEY_ID="testing", AWS_SECRET_ACCESS_KEY="testing", AWS_DEFAULT_REGION="us-east-1")  # noqa: S106 - moto wants some  # fmt: skip
    (few, _, _), (many, idle, item_bytes) = _count_job(FEW_CHUNKS), _count_job(MANY_CHUNKS)
    chunk = {
        name: (many[name] - few[name]) / (MANY_CHUNKS - FEW_CHUNKS)
        for name in sorted({*few, *many})
    }
    job = {name: few[name] - FEW_CHUNKS * per_chunk for name, per_chunk in chunk.items()}
    return Calls(chunk, job, idle, item_bytes)


def _count_job(chunks: int) -> tuple[Counter[str], Counter[str], int]:
    """Run a job; return its calls, those of an idle poll, and the size of an item."""
    fates = {"invalid_request_error": 1 / FAILING}
    with (
        tempfile.TemporaryDirectory() as folder,
        patch("local.simulator.answers._MAX_ECHO_CHARS", ECHO_CHARS),
        open_moto_harness(Path(folder), fates=fates) as relay,
        _count_calls(relay) as meter,
    ):
        idle = meter.poll()
        upload = Path(folder) / "upload.jsonl"
        write_upload(upload, chunks * CHUNK)
        before = meter.total()
        relay.upload(KEY, upload.read_bytes())
        for _ in range(POLLS):
            poll_calls = meter.poll()
            # How often the index is read depends on how long batches take: cost.py adds it.
            poll_calls["dynamodb.half_reads"] -= idle["dynamodb.half_reads"]
            meter.discount("dynamodb.half_reads", poll_calls["dynamodb.half_reads"])
            relay.drain_queues()
        calls = meter.total()
        calls.subtract(before)
        calls.subtract({name: POLLS * per_poll for name, per_poll in idle.items()})
        calls.update(
            {"sqs.messages": 1, "lambda.invocations": 1, "s3.PutObject": -1}
        )  # S3's event; the user's upload
        calls.update(_stored())
        if relay.manifest(KEY)["rows"] != chunks * CHUNK:
            message = f"the job did not end within {POLLS} polls: nothing is counted"
            raise RuntimeError(message)
        return calls, idle, _largest_item()


class _Meter:
    """Counts the calls of a harness, and the bytes of its logs."""

    def __init__(self, relay: Harness) -> None:
        self._relay, self._counts, self.log = relay, Counter[str](), io.StringIO()
        Units(relay.dynamodb, moto_clients()[3], self._counts)
        for client in (relay.s3, relay.sns, relay.sqs):
            client.meta.events.register("after-call", self._count_call)

    def _count_call(self, model: Any, parsed: Mapping[str, Any], **_: object) -> None:  # noqa: ANN401 - botocore's
        self._counts[f"{model.service_model.service_name}.{model.name}"] += 1
        if model.name == "ReceiveMessage":
            messages = len(parsed.get("Messages", []))
            self._counts["sqs.messages"] += messages
            self._counts["lambda.invocations"] += messages

    def total(self) -> Counter[str]:
        """Return all counters, including the bytes of the log."""
        log, total = self.log.getvalue(), self._counts.copy()
        total["log.bytes"] = (
            len(log) + LINE_BYTES * log.count("\n") + PLATFORM_BYTES * total["lambda.invocations"]
        )
        return total

    def discount(self, name: str, count: int) -> None:
        """Subtract calls that do not count."""
        self._counts[name] -= count

    def poll(self) -> Counter[str]:
        """Advance a minute and poll once, as Lambda does; return the calls."""
        relay, before = self._relay, self.total()
        relay.pass_time(60)
        work_queues = WorkQueues(relay.queues["submit"], relay.queues["results"], client=relay.sqs)
        with patch("functions.poll._services", lambda: (relay.poll, work_queues)):
            poll.handler({}, Context())
        self._counts["lambda.invocations"] += 1
        poll_calls = self.total()
        poll_calls.subtract(before)
        return poll_calls


@contextmanager
def _count_calls(relay: Harness) -> Iterator[_Meter]:
    meter = _Meter(relay)
    handler: Any = poll.logger.registered_handler  # one for all three functions here
    original_stream = handler.setStream(meter.log)
    try:
        with redirect_stdout(meter.log):
            yield meter
    finally:
        handler.setStream(original_stream)


def _stored() -> dict[str, int]:
    """Return the bytes in the results bucket and the bytes sent to Claude."""
    pages = moto_clients()[0].get_paginator("list_objects_v2").paginate(Bucket=RESULTS)
    sizes = {stored["Key"]: stored["Size"] for page in pages for stored in page["Contents"]}
    work = {key: size for key, size in sizes.items() if key.startswith("work/")}
    return {
        "s3.work_bytes": sum(work.values()),
        "s3.results_bytes": sum(sizes.values()) - sum(work.values()),
        "claude.sent_bytes": sum(n for key, n in work.items() if key.endswith("requests.json")),
    }


def _largest_item() -> int:
    items = moto_clients()[3].scan(TableName=TABLE)["Items"]
    return max(size_bytes(item) for item in items if "batch_id" in item)
