"""A whole job, from the event of its upload to its manifest, as it is deployed: warm Lambdas, one poll after the other.

The schedule's minutes are left out: a poll begins as soon as all that the last one woke is done.
"""

import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.lambdas import Lambdas
from benchmarks.processes import BenchmarkError, Run, measure, start_fake
from benchmarks.relay import RESULTS, UPLOADS, Relay, make_table, s3_notification
from functions.model.ids import job_id
from functions.model.items import Job, JobStatus

MOST_POLLS, PAUSE_S = 10_000, 0.02
ROW_BYTES = 2400
"""Of the rows that the S3 stand-in makes up."""


@dataclass(frozen=True)
class JobRun:
    """What a job took.

    Attributes:
        seconds: from the event to the manifest.
        steps: the seconds of each step's invocations, added up.
        peaks: the peak memory of each function, in MB.
    """

    rows: int
    seconds: float
    steps: Mapping[str, float]
    peaks: Mapping[str, float]

    @property
    def as_run(self) -> Run:
        """Give it as one process's, for the table: its memory is that of the function that takes most."""
        peak = max(self.peaks.values())
        return Run(self.seconds, self.seconds, self.seconds, self.seconds, peak, dict(self.steps))


def measure_job(
    relay: Relay, folder: Path, key: str, version: str, concurrency: int | None = None
) -> JobRun:
    """Run one job from its beginning to its end."""
    with Lambdas.warm(relay, folder, concurrency=concurrency) as lambdas:
        started = time.perf_counter()
        job = run(lambdas, key, version)
        seconds = time.perf_counter() - started
    return JobRun(job.checkpoint.row, seconds, lambdas.seconds(), lambdas.peaks)


def run(lambdas: Lambdas, key: str, version: str) -> Job:
    """Let Lambdas do a job; chunks are sent while others are still planned, if more than one Lambda is at work.

    Raises:
        BenchmarkError: it does not come to its end.
    """
    job = None
    with ThreadPoolExecutor(1) as executor:
        planned = executor.submit(lambdas.invoke, s3_notification(key, version))
        if lambdas.concurrency == 1:
            planned.result()
        for _ in range(MOST_POLLS):
            job = lambdas.relay.items.job(job_id(UPLOADS, key, version))
            if job is not None and job.status == JobStatus.DONE:
                break
            if not lambdas.poll():
                time.sleep(PAUSE_S)
        planned.result()
    if job is None or job.outcome not in {"succeeded", "partial"}:
        message = f"{key} did not come to its end: {job and job.status}"
        raise BenchmarkError(message)
    return job


def measure_growth(
    relay: Relay, folder: Path, sizes_bytes: tuple[int, int]
) -> tuple[JobRun, JobRun]:
    """Run a job of each size, one invocation after the other.

    The uploads are made up as they are read, and work files are gone once they are read.
    """
    rows = [size // ROW_BYTES for size in sizes_bytes]
    uploads = {f"/{UPLOADS}/{count}.jsonl": count * ROW_BYTES for count in rows}
    make_table(relay.cloud)
    with (
        start_fake("benchmarks.s3", "--folder", folder, "--delete-after-read", "--sizes", json.dumps(uploads)) as relay.s3,
        start_fake("benchmarks.claude", "--answers") as relay.claude,
    ):  # fmt: skip
        small, large = (
            measure_job(relay, folder, f"{count}.jsonl", "v1", concurrency=1) for count in rows
        )
    if (small.rows, large.rows) != (rows[0], rows[1]):
        message = f"{small.rows:,} and {large.rows:,} rows, and {rows} were expected"
        raise BenchmarkError(message)
    return small, large


def check(relay: Relay, folder: Path, key: str, version: str, rows: int) -> None:
    """Read what a job left: a line a row, in order.

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
        message = f"{key}: {len(rows_found):,} lines, and {rows:,} rows in order were expected"
        raise BenchmarkError(message)
