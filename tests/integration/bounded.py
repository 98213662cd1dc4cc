"""Take one large job through every stage with less address space than its files are long: run by test_size.py.

The limit is what the process has once everything is imported, and `ROOM` more: whoever reads an object whole, or
keeps something of every row, ends in a MemoryError.
"""

import json
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import msgspec
from moto import mock_aws

from benchmarks import workload
from functions.adapters.anthropic_api import Claude
from functions.adapters.event_publisher import EventPublisher
from functions.adapters.s3 import ObjectStore
from functions.adapters.table import Table
from functions.model.ids import RequestId, job_id
from functions.model.items import SCHEMA, Batch, BatchStatus, Step, StoredObject, WorkMessage
from functions.results import results
from functions.services import Services
from functions.settings import ResultsSettings, Settings, SubmitSettings
from functions.submit import submit
from tests.harness import REGION, TABLE, Lambda, make_table, s3_event
from tests.integration.bounded_planning import S3_PASSES

MIB = 1 << 20
ROOM = 140 * MIB
"""Three parts of 5 MiB on their way and one that grows, four threads' stacks, and the allocator's own."""


@contextmanager
def bounded() -> Iterator[None]:
    """Let the process have little more than it has."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + ROOM
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def services[S: Settings](kind: type[S], endpoint: str, claude: str, **more: Any) -> Services[S]:
    topic = boto3.client("sns").create_topic(Name="events")["TopicArn"]
    settings = kind(
        table_name=TABLE, uploads_bucket="uploads", results_bucket="results", topic_arn=topic,
        secret_name="none", **more,
    )  # fmt: skip
    return Services(
        settings=settings,
        table=Table(TABLE),
        files=ObjectStore("results", client=boto3.client("s3", endpoint_url=endpoint)),
        claude=Claude(base_url=claude, api_version="2026-10-21", read_key=lambda _fresh: "none"),
        publisher=EventPublisher(topic, "urn:test"),
    )


def work_message(job: str, item: str, step: Step) -> WorkMessage:
    return WorkMessage(schema=SCHEMA, job=job, item=item, next_step=step)


def run(endpoint: str, claude: str, folder: Path) -> dict[str, int]:
    """Plan, send, collect and assemble under the limit; gives what there was of each."""
    now: Any = Lambda(left_s=200.0)
    submitting = services(
        SubmitSettings,
        endpoint,
        claude,
        queue_url="submit",
        requests_per_batch=100_000,
        repeats="run",
    )
    collecting = services(
        ResultsSettings, endpoint, claude, queue_url="results", disk_bytes=160_000_000
    )
    items, job = submitting.items, job_id("uploads", "large.jsonl", "v1")
    with bounded():
        submit(
            submitting,
            s3_event("uploads", "large.jsonl", 1, "v1", "2026-11-23T00:00:00.000Z"),
            now,
        )
    first = items.batches(job)[0]
    with bounded():
        submit(
            submitting, msgspec.json.encode(work_message(job, first.item, Step.SEND)).decode(), now
        )
    sent = items.batch(job, first.item)
    assert sent is not None
    write_results(folder, sent)
    ended = {"status": BatchStatus.ENDED, "next_step": Step.COLLECT}
    items.transition(sent, ended, expected={"status": BatchStatus.IN_PROGRESS})
    with bounded():
        results(collecting, work_message(job, first.item, Step.COLLECT), now)
    collected = items.batch(job, first.item)
    assert collected is not None
    assert collected.part is not None
    with bounded():
        joined = assembled(collecting.files)
    return {
        "sent": sent.size_bytes,
        "collected": collected.part.results.size,
        "joined": joined.size,
    }


def write_results(folder: Path, batch: Batch) -> None:
    rows = range(batch.first_row, batch.last_row + 1)
    ids = [str(RequestId(batch.job, batch.chunk, batch.attempt, row)) for row in rows]
    workload.write_results(folder / f"{batch.batch_id}.jsonl", ids)


def assembled(files: ObjectStore) -> StoredObject:
    """Join pieces that S3 cannot copy: all of their bytes pass through this process."""
    pieces = [StoredObject(key=f"work/{n}", size=MIB, crc32=0) for n in range(300)]
    return files.join("results/all", pieces, "work/joined")


def main(endpoint: str, claude: str, folder: str) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        os.environ[name] = "testing"
    os.environ["AWS_DEFAULT_REGION"] = REGION
    with mock_aws(config=S3_PASSES):  # type: ignore[call-overload]
        make_table(boto3.client("dynamodb"))
        print(json.dumps(run(endpoint, claude, Path(folder))))  # noqa: T201 - what the test reads


if __name__ == "__main__":
    main(*sys.argv[1:])
