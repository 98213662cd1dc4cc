"""The capacity of one poll and one assembly: CPU time is measured on the relay's own functions.

The latency of calls to services is assumed, as the page says.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import boto3
import botocore.awsrequest
import botocore.config
import botocore.parsers
import msgspec

from benchmarks.scale.arrivals import CHUNK, make_job
from functions.adapters.table import deserialize, serialize
from functions.model.items.stored_objects import StoredObject
from functions.model.multipart_plan import joined_crc32
from functions.model.unfinished import Unfinished
from functions.polling.admission import Limits, admit

CALL_S = 0.010
"""Assumed: the round trip to a service in the same region."""
COPY_S, TAG_S = 0.3, 0.025
"""Assumed: an UploadPartCopy of 20 MB; a PutObjectTagging, or a GET of a few KB."""
ONE_CPU_MB = 1769
"""Lambda provides one full CPU at this memory."""
SAMPLE = 1_000


@dataclass(frozen=True)
class Capacity:
    """Seconds of one full CPU.

    Attributes:
        read_s: to read an unfinished batch from the index.
        admit_s: to choose among 10,000 that wait.
        call_s: to make one call to DynamoDB.
        crc_s: to add one piece's checksum to a joined object's.
    """

    read_s: float
    admit_s: float
    call_s: float
    crc_s: float


def measure() -> Capacity:
    """Measure on this machine; takes a second or two."""
    waiting = make_job("a" * 20, 10_000 * CHUNK, 0)
    pieces = [StoredObject(key=str(n), size=21_500_000 + n, crc32=n) for n in range(100)]
    return Capacity(
        read_s=_cpu_seconds(_make_read()) / SAMPLE,
        admit_s=_cpu_seconds(lambda: admit(waiting, [], Limits(1_000, 500_000))),
        call_s=_cpu_seconds(_make_call(50)) / 50,
        crc_s=_cpu_seconds(lambda: joined_crc32(pieces)) / len(pieces),
    )


def _cpu_seconds(function: Callable[[], object]) -> float:
    """Return the minimum CPU time of three runs in seconds."""
    times = []
    for _ in range(3):
        started = time.process_time()
        function()
        times.append(time.process_time() - started)
    return min(times)


def _make_read() -> Callable[[], object]:
    """Return a function that parses and sorts a page of the index, as poll does."""
    (batch,) = make_job("a" * 20, CHUNK, 0)
    at, key = "2026-11-24T00:00:00.000Z", f"work/{'a' * 20}/00001-1/{'b' * 32}"
    item = msgspec.structs.replace(
        batch, open="open", status_key=f"IN_PROGRESS#{at}", batch_id="msgbatch_013Zva2CMHLNnXjNJJKqJ2EF",
        created_at=at, recorded_at=at, first_sent_at=at, intent_at=at, fingerprint="a" * 12,
        requests_key=f"{key}.requests.json", ledger_key=f"{key}.ledger.jsonl", size_bytes=24_500_000,
    )  # fmt: skip
    page = {"Items": [serialize(msgspec.to_builtins(item))] * SAMPLE, "Count": SAMPLE}
    service = boto3.client("dynamodb", region_name="us-east-1").meta.service_model
    parser = botocore.parsers.create_parser(service.metadata["protocol"])
    shape: Any = service.operation_model("Query").output_shape
    answer = {"body": json.dumps(page).encode(), "headers": {}, "status_code": 200}

    def read() -> None:
        unfinished = Unfinished()
        for attributes in parser.parse(answer, shape)["Items"]:
            unfinished.add(deserialize(attributes))

    return read


def _make_call(times: int) -> Callable[[], object]:
    """Return a function that makes boto3 calls without network."""
    client: Any = boto3.client(
        "dynamodb", region_name="us-east-1", aws_access_key_id="testing", aws_secret_access_key="testing",  # noqa: S106 - never sent
        endpoint_url="https://dynamodb.us-east-1.amazonaws.com", config=botocore.config.Config(parameter_validation=True),
    )  # fmt: skip

    def answer(request: Any, **_: object) -> object:  # noqa: ANN401 - botocore's
        response = botocore.awsrequest.AWSResponse(request.url, 200, {}, None)  # type: ignore[arg-type]
        response.__dict__["_content"] = b"{}"  # what it would have read
        return response

    client.meta.events.register("before-send.dynamodb", answer)
    update = {"Update": {
        "TableName": "relay", "Key": serialize({"job": "a" * 20, "item": "00001-1"}), "UpdateExpression": "SET #a = :a",
        "ExpressionAttributeNames": {"#a": "status"}, "ExpressionAttributeValues": serialize({":a": "ENDED"}),
    }}  # fmt: skip

    def call() -> None:
        for _ in range(times):
            client.transact_write_items(TransactItems=[update, update])

    return call


def poll_s(capacity: Capacity, calls: int, items: int = 0, memory_mb: int = 512) -> float:
    """Return the seconds of a poll with this many sequential calls and items."""
    share = min(1.0, memory_mb / ONE_CPU_MB)
    return calls * (CALL_S + capacity.call_s / share) + items * capacity.read_s / share


def assembly_s(capacity: Capacity, chunks: int, copies_at_once: int, crc_s: float | None = None) -> float:  # fmt: skip
    """Return the seconds that the assembly of this many chunks takes.

    Each has a piece of results to be copied, one of errors and one of retry to be read, and five files to be tagged.
    """
    each_crc = capacity.crc_s if crc_s is None else crc_s
    copied = chunks * COPY_S / copies_at_once
    read = 2 * chunks * TAG_S / 9
    tagged = 5 * chunks * TAG_S / 10
    return copied + read + tagged + 3 * chunks * each_crc + chunks * capacity.read_s
