"""Kills in jobs of other formats, and with options: at each call of planning, and at others of the rest.

An interrupted plan reads its upload again from the checkpoint: in the middle of a table, of an array or of
compressed data. The exports and the report must be whole, whatever was killed while they were written.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.verification.crash import jobs
from tests.verification.crash.call_counter import first_create
from tests.verification.crash.crash_harness import CrashHarness, open_crash_harness
from tests.verification.crash.injected_faults import kill
from tests.verification.crash.job_run import run_job
from tests.verification.crash.jobs import JobSpec
from tests.verification.crash.kills import (
    HALVES,
    Plan,
    plans_for_every,
    record_plan,
    run_plan,
)
from tests.verification.figures import Figures

CAMPAIGN = "killed, other formats"
STEP_AFTER_PLANNING = 5
"""After planning, a full campaign kills at every n-th call: the other campaigns kill at all."""
JOBS = [
    jobs.of_kind("a.csv"),
    jobs.of_kind("a.xlsx"),
    jobs.of_kind("a.parquet", outputs=("csv", "parquet")),
    jobs.of_kind("a.json"),
    jobs.of_kind("a.jsonl.gz"),
    jobs.of_kind("utf16.jsonl"),
    jobs.of_kind("chat.jsonl"),
    jobs.of_kind("bedrock.jsonl"),
    jobs.of_kind("records.jsonl", waits=True),
    jobs.equal_rows(),
    jobs.truncated_rows(),
]
"""A job of each reader, container, and export, one that waits for its template, and one with each option that changes
how often rows are sent."""


def kills_in_other_formats(full: bool, half: int) -> Figures:  # noqa: FBT001 - called positionally
    """Kill at every call until planning has ended, and at every fifth call after it."""
    started, figures = time.monotonic(), Figures(CAMPAIGN)
    with tempfile.TemporaryDirectory() as folder, open_crash_harness(Path(folder)) as relay:
        relay.deploy(requests_per_batch=JOBS[0].requests_per_batch, report="full")
        for number, job in [*enumerate(JOBS)][half::HALVES]:
            _run_all(relay, job, figures, None if full else number)
    figures.seconds = time.monotonic() - started
    return figures


def _run_all(relay: CrashHarness, job: JobSpec, figures: Figures, sample: int | None) -> None:
    """Run a job under each plan; of a sample, under two of them."""
    baseline = run_job(relay, job)
    figures.calls = max(figures.calls, len(baseline.calls))
    figures.violations += [f"baseline of {job.key}: {problem}" for problem in baseline.problems]
    figures.violations += [
        f"{job.key}: {problem}" for problem in jobs.baseline_problems(job, baseline.final_state)
    ]
    plans = _plans(baseline.calls)
    if sample is not None:
        step = len(plans) // len(JOBS)
        plans = [plans[sample * step], plans[-1 - sample * step]]
    for planned in plans:
        plan, run = run_plan(relay, job, planned, baseline.final_state)
        record_plan(figures, plan, run, baseline, job.key)


def _plans(calls: Sequence[str]) -> list[Plan]:
    create = first_create(calls)
    return [
        *plans_for_every(kill, calls[: create - 1]),
        *plans_for_every(kill, calls, create, STEP_AFTER_PLANNING),
    ]
