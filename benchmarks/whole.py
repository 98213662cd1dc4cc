"""A whole job, from the event of its upload to its manifest, as it is deployed: warm Lambdas, one poll after the other.

A poll begins as soon as everything that the last one enqueued is done. The schedule's minutes and poll's pause of a
second are left out.
"""

import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.lambdas import Lambdas
from benchmarks.processes import BenchmarkError, Run, measure, start_fake
from benchmarks.relay import RESULTS, UPLOADS, Relay, make_table, s3_notification
from functions.model.ids import job_id
from functions.model.items.job import Job, JobStatus

MOST_POLLS, PAUSE_S = 10_000, 0.02
ROW_BYTES = 2400
"""The size of the rows that the fake S3 generates."""


@dataclass(frozen=True)
class JobRun:
    """The time and memory of a whole job.

    Attributes:
        seconds: from the upload event to the manifest.
        steps: total seconds of each step.
        peaks: the peak memory of each function, in MB.
    """

    rows: int
    seconds: float
    steps: Mapping[str, float]
    peaks: Mapping[str, float]

    @property
    def as_run(self) -> Run:
        """Convert to a run of one process; its memory is that of the largest function."""
        peak = max(self.peaks.values())
        return Run(self.seconds, self.seconds, self.seconds, self.seconds, peak, dict(self.steps))


def measure_job(
    relay: Relay, folder: Path, notification: dict[str, Any], concurrency: int | None = None
) -> JobRun:
    """Run one job from upload to manifest."""
    with Lambdas.warm(relay, folder, concurrency=concurrency) as lambdas:
        started = time.perf_counter()
        job = run(lambdas, notification)
        seconds = time.perf_counter() - started
    return JobRun(job.checkpoint.row, seconds, lambdas.seconds(), lambdas.peaks)


def run(lambdas: Lambdas, notification: dict[str, Any]) -> Job:
    """Run a job; with several containers, chunks are sent while others are planned.

    Args:
        lambdas: the functions.
        notification: S3's notification of the upload.

    Raises:
        BenchmarkError: the job does not complete.
    """
    job = None
    created = notification["Records"][0]["s3"]["object"]
    name = job_id(UPLOADS, created["key"], created["versionId"])
    with ThreadPoolExecutor(1) as executor:
        planned = executor.submit(lambdas.invoke, notification)
        if lambdas.concurrency == 1:
            planned.result()
        for _ in range(MOST_POLLS):
            job = lambdas.relay.items.job(name)
            if job is not None and job.status == JobStatus.DONE:
                break
            if not lambdas.poll():
                time.sleep(PAUSE_S)
        planned.result()
    if job is None or job.outcome not in {"succeeded", "partial"}:
        message = f"{created['key']} did not complete: {job and job.status}"
        raise BenchmarkError(message)
    return job


def measure_growth(
    relay: Relay, folder: Path, sizes_bytes: tuple[int, int]
) -> tuple[JobRun, JobRun]:
    """Run a job of each size, one invocation after the other.

    Uploads are generated as they are read, and work files are deleted once they are read.
    """
    rows = [size // ROW_BYTES for size in sizes_bytes]
    uploads = {f"/{UPLOADS}/{count}.jsonl": count * ROW_BYTES for count in rows}
    make_table(relay.cloud)
    with (
        start_fake("benchmarks.s3", "--folder", folder, "--delete-after-read", "--sizes", json.dumps(uploads)) as relay.s3,
        start_fake("benchmarks.claude", "--answers") as relay.claude,
    ):  # fmt: skip
        small, large = (
            measure_job(
                relay, folder, s3_notification(f"{count}.jsonl", "v1", count * ROW_BYTES), 1
            )
            for count in rows
        )
    if (small.rows, large.rows) != (rows[0], rows[1]):
        message = f"{small.rows:,} and {large.rows:,} rows, expected {rows}"
        raise BenchmarkError(message)
    return small, large


def check(relay: Relay, folder: Path, key: str, version: str, rows: int) -> None:
    """Verify the results of a job: one line per row, in order.

    Raises:
        BenchmarkError: it is not.
    """
    copy = folder / "results.jsonl"
    where = f"results/{key.removesuffix('.jsonl')}/{job_id(UPLOADS, key, version)}/results.jsonl"
    measure("curl", "--silent", "--fail", "--output", copy, f"{relay.s3}/{RESULTS}/{where}")
    with copy.open("rb") as lines:
        rows_found = [json.loads(line)["row"] for line in lines]
    copy.unlink()
    if rows_found != list(range(1, rows + 1)):
        message = f"{key}: {len(rows_found):,} lines, expected {rows:,} rows in order"
        raise BenchmarkError(message)
