"""Measure what does not depend on the size of an upload: poll, assemble, cold start."""

import json
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import batched
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.claude import batch_id
from benchmarks.processes import Run, counts, measure, start_fake
from benchmarks.relay import TABLE, UPLOADS, Relay, make_table
from functions.adapters.table import serialize
from functions.model.items import work_item
from functions.model.items.batch import FINISHED_BATCH_STATUSES, Batch, BatchStatus
from functions.model.items.counts import OutcomeCounts
from functions.model.items.job import Checkpoint, Job, JobStatus
from functions.model.items.stored_objects import ChunkOutput, StoredObject
from functions.model.items.work_item import OPEN, SCHEMA, Step, status_key

NOW = "2026-11-23T00:00:00.000Z"
JOB = "0" * 20


@dataclass(frozen=True)
class PollRun:
    """The usage of one poll, with the numbers of open and finished batches."""

    open: int
    finished: int
    api_calls: int
    dynamodb: dict[str, int]
    run: Run


def poll(relay: Relay, folder: Path, open_: int, finished: int) -> PollRun:
    """Measure one poll."""
    make_table(relay.cloud)
    batches = (_batch(number, BatchStatus.IN_PROGRESS) for number in range(1, open_ + 1))
    _fill(relay, [_job(JobStatus.RUNNING)], batches)
    _write(relay, map(_finished, range(finished)))
    arguments = ("--folder", folder, "--listed", str(open_))
    with (
        start_fake("benchmarks.claude", *arguments) as relay.claude,
        start_fake("benchmarks.s3") as relay.s3,
    ):
        run = relay.run("poll", {})
        return PollRun(
            open_, finished, counts(relay.claude)["calls"] // 2, run.report["dynamodb"], run
        )


def assemble(relay: Relay, chunks: int, chunk_bytes: int) -> tuple[Run, dict[str, int]]:
    """Assemble a job of this many generated chunks; return the run and the counters of S3."""
    make_table(relay.cloud)
    batches = [
        _batch(number, BatchStatus.COLLECTED, size=chunk_bytes) for number in range(1, chunks + 1)
    ]
    _fill(relay, [_job(JobStatus.ASSEMBLING, rows=chunks)], batches)
    sizes = {f"/results/{batch.requests_key}": chunk_bytes for batch in batches}
    # The command line cannot carry all sizes. The others are never read, only copied.
    sizes_of_50 = dict(list(sizes.items())[:50])
    with start_fake("benchmarks.s3", "--sizes", json.dumps(sizes_of_50)) as relay.s3:
        run = relay.step("results", JOB, Step.ASSEMBLE, work_item.JOB)
        return run, counts(relay.s3)


def cold_starts(bundle: Path, repeats: int) -> dict[str, list[Run]]:
    """Import each stage from the bundle, as Lambda does, and the SDK alone: in turn, after one warm-up."""
    names = ("functions.submit", "functions.poll", "functions.results", "anthropic")
    rounds = [[_imported(name, bundle) for name in names] for _ in range(repeats + 1)][1:]
    return {name: list(runs) for name, *runs in zip(names, *rounds, strict=True)}


def _imported(name: str, bundle: Path) -> Run:
    env = {
        "PYTHONPATH": str(bundle), "POWERTOOLS_SERVICE_NAME": "relay", "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    return measure(sys.executable, "-S", "-c", f"import {name}", env=env)


def _job(status: JobStatus, rows: int = 1) -> Job:
    return Job(
        job=JOB, item=work_item.JOB, schema=SCHEMA, status=status, status_key=status_key(status, NOW), open=OPEN,
        next_step=Step.ASSEMBLE if status == JobStatus.ASSEMBLING else None, bucket=UPLOADS, key="upload.jsonl",
        version="v1", size_bytes=1, uploaded_at=NOW, claimed_at=NOW, requests_per_batch=1, batch_bytes=1, row_bytes=1,
        attempts=1, api_version="2026-10-21", retention_days=90, price_list="1", checkpoint=Checkpoint(row=rows), chunks=10_000,
    )  # fmt: skip


def _batch(number: int, status: BatchStatus, job: str = JOB, size: int = 0) -> Batch:
    name = f"{number:05}"
    stored = StoredObject(key=f"work/{name}", size=size, crc32=0)
    done = status in FINISHED_BATCH_STATUSES
    return Batch(
        job=job, item=f"{name}-1", schema=SCHEMA, status=status, status_key=status_key(status, NOW),
        open=None if done else OPEN, chunk=name, attempt=1, first_row=number, last_row=number, start_byte=0,
        end_byte=1, requests=1, size_bytes=1, requests_key=f"work/{name}", ledger_key=f"work/{name}",
        batch_id=batch_id(number), created_at=NOW, part=ChunkOutput(results=stored) if done else None,
        tally=OutcomeCounts(outcomes={"succeeded": 1}) if done else None,
    )  # fmt: skip


def _finished(number: int) -> dict[str, Any]:
    """Build a minimal finished item, outside the index; there may be a million."""
    names = {"job": f"f{number // 1000:019x}", "item": f"{number:05}-1", "status": "COLLECTED"}
    return {name: {"S": text} for name, text in names.items()}


def _fill(relay: Relay, *many: Iterable[Job | Batch]) -> None:
    _write(
        relay,
        (serialize(msgspec.to_builtins(item)) for table_items in many for item in table_items),
    )


def _write(relay: Relay, table_items: Iterable[dict[str, Any]]) -> None:
    def put(sizes_of_50: Sequence[dict[str, Any]]) -> None:
        put_requests = [{"PutRequest": {"Item": item}} for item in sizes_of_50]
        relay.cloud.tables.batch_write_item(RequestItems={TABLE: put_requests})  # type: ignore[dict-item]

    with ThreadPoolExecutor(2) as pool:
        for _ in pool.map(put, batched(table_items, 25, strict=False)):
            pass
