"""How many calls to AWS a chunk costs, and a job beside its chunks: counted on the real handlers, over moto."""

import os
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from functions.batches.table import plain
from tests.world import TABLE, World, upload_of, world

FEW, MANY, ROWS = 3, 11, 4
KEY = "in/march.jsonl"


@dataclass(frozen=True)
class Calls:
    """Calls by name, such as ``s3.PutObject``; DynamoDB's also by what they are charged as.

    Attributes:
        chunk: of each chunk.
        job: of a job, beside those of its chunks.
        poll: of a poll with nothing to do.
        item_bytes: of a batch's item in the table.
    """

    chunk: Mapping[str, float]
    job: Mapping[str, float]
    poll: Mapping[str, float]
    item_bytes: int


def count() -> Calls:
    """Run two jobs, one longer than the other: what differs is the chunks'."""
    os.environ.update(AWS_ACCESS_KEY_ID="testing", AWS_SECRET_ACCESS_KEY="testing", AWS_DEFAULT_REGION="us-east-1")  # noqa: S106 - moto wants some  # fmt: skip
    few, many = (_of_job(chunks) for chunks in (FEW, MANY))
    names = sorted(few[0].keys() | many[0].keys())
    chunk = {name: (many[0][name] - few[0][name]) / (MANY - FEW) for name in names}
    job = {name: few[0][name] - FEW * chunk[name] for name in names}
    return Calls(chunk, job, few[1], many[2])


def _of_job(chunks: int) -> tuple[Counter[str], Counter[str], int]:
    """Give the calls of a job's stages, those of one idle poll, and the size of an item."""
    with tempfile.TemporaryDirectory() as folder, world(Path(folder)) as relay:
        relay.deploy(requests_per_batch=ROWS)
        seen = _listen(relay)
        relay.upload(KEY, upload_of(chunks * ROWS))
        for _ in range(8):
            relay.pass_time(60)
            before = seen.copy()
            relay.poll_once()
            polled = seen - before
            seen -= polled  # every minute anyway
            relay.work_off()
        _queue_calls(seen, chunks)
        biggest = max(
            relay.dynamodb.scan(TableName=TABLE)["Items"], key=lambda item: len(str(item))
        )
        return seen, polled, len(msgspec.json.encode(plain(biggest)))


def _listen(relay: World) -> Counter[str]:
    seen: Counter[str] = Counter()

    def note(model: Any, params: Mapping[str, Any], **_: object) -> None:  # noqa: ANN401 - botocore's
        service = model.service_model.service_name
        seen[f"{service}.{model.name}"] += 1
        if model.name == "TransactWriteItems":
            body = msgspec.json.decode(params["body"])
            seen["dynamodb.written in transactions"] += len(body["TransactItems"])

    for client in (relay.s3, relay.sns, relay.dynamodb):
        client.meta.events.register("before-call", note)
    return seen


def _queue_calls(seen: Counter[str], chunks: int) -> None:
    """Add what Lambda and poll do at the queues: a hint to send and one to collect; each sent, received, deleted."""
    hints = 2 * chunks + 2
    seen["sqs.messages"] += 3 * hints
    seen["lambda.invocations"] += hints
