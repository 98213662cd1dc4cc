"""Run one large job with less address space than its files need; run by test_memory_limits.py.

The limit is what the process has after its imports, plus `HEADROOM`. A stage that reads an object
completely, or keeps something of every row, fails with a MemoryError.
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
from functions.model.items.batch import Batch, BatchStatus
from functions.model.items.stored_objects import StoredObject
from functions.model.items.work_item import SCHEMA, Step
from functions.model.items.work_message import WorkMessage
from functions.results import results
from functions.services import Services
from functions.settings import ResultsSettings, Settings, SubmitSettings
from functions.submit import submit
from tests.harness import REGION, TABLE, Lambda, make_table, s3_event
from tests.integration.memory_limited_plan import PASS_S3_THROUGH

MIB = 1 << 20
HEADROOM = 140 * MIB
"""Three parts of 5 MiB in flight, one that grows, four threads' stacks, and the allocator."""
PIECES = 160
"""Pieces of 1 MiB that are joined: together, they are larger than the headroom."""


@contextmanager
def limited_memory() -> Iterator[None]:
    """Limit the address space to slightly more than the process has."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + HEADROOM
    previous_limit = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit, previous_limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, previous_limit)


def services[S: Settings](
    settings_type: type[S], endpoint: str, claude: str, **options: Any
) -> Services[S]:
    topic = boto3.client("sns").create_topic(Name="events")["TopicArn"]
    settings = settings_type(
        table_name=TABLE, uploads_bucket="uploads", results_bucket="results", topic_arn=topic,
        secret_name="none", **options,
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


INVOCATIONS = 3
"""Invocations of collect: the results are larger than half the disk, so they are saved in S3 first."""


def run(endpoint: str, claude: str, folder: Path) -> dict[str, int]:
    """Plan, send, collect and assemble under the limit; return the bytes of each."""
    context: Any = Lambda(left_s=200.0)
    submit_services = services(
        SubmitSettings,
        endpoint,
        claude,
        queue_url="submit",
        requests_per_batch=75_000,
        repeats="run",
    )
    results_services = services(
        ResultsSettings, endpoint, claude, queue_url="results", disk_bytes=130_000_000
    )
    items, job = submit_services.items, job_id("uploads", "large.jsonl", "v1")
    with limited_memory():
        submit(
            submit_services,
            s3_event("uploads", "large.jsonl", 1, "v1", "2026-11-23T00:00:00.000Z"),
            context,
        )
    first_batch = items.batches(job)[0]
    with limited_memory():
        submit(
            submit_services,
            msgspec.json.encode(work_message(job, first_batch.item, Step.SEND)).decode(),
            context,
        )
    sent = items.batch(job, first_batch.item)
    assert sent is not None
    write_results(folder, sent)
    changes = {"status": BatchStatus.ENDED, "next_step": Step.COLLECT}
    items.transition(sent, changes, expected={"status": BatchStatus.IN_PROGRESS})
    for _ in range(INVOCATIONS):
        with limited_memory():
            results(results_services, work_message(job, first_batch.item, Step.COLLECT), context)
        items.update_if_unchanged(items.batches(job)[0], {"not_before": None})
    collected = items.batches(job)[0]
    assert collected.part is not None, collected.last_error
    with limited_memory():
        joined_object = join_pieces(results_services.files)
    return {
        "sent": sent.size_bytes,
        "collected": collected.part.results.size,
        "joined": joined_object.size,
    }


def write_results(folder: Path, batch: Batch) -> None:
    rows = range(batch.first_row, batch.last_row + 1)
    ids = [str(RequestId(batch.job, batch.chunk, batch.attempt, row)) for row in rows]
    workload.write_results(folder / f"{batch.batch_id}.jsonl", ids)


def join_pieces(files: ObjectStore) -> StoredObject:
    """Join pieces too small for S3 to copy, so that all bytes pass through this process."""
    pieces = [StoredObject(key=f"work/{n}", size=MIB, crc32=0) for n in range(PIECES)]
    return files.join("results/all", pieces, "work/joined")


def main(endpoint: str, claude: str, folder: str) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        os.environ[name] = "testing"
    os.environ["AWS_DEFAULT_REGION"] = REGION
    with mock_aws(config=PASS_S3_THROUGH):  # type: ignore[call-overload]
        make_table(boto3.client("dynamodb"))
        print(json.dumps(run(endpoint, claude, Path(folder))))  # noqa: T201 - the test reads this


if __name__ == "__main__":
    main(*sys.argv[1:])
