"""Run a job to its end under faults, and report what is wrong with the outcome."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from functions.model.ids import job_id
from tests.harness import UPLOADS
from tests.verification.crash.call_counter import InjectedFault
from tests.verification.crash.crash_harness import CrashHarness
from tests.verification.crash.final_state import FinalState, ResultsWatcher, RunIds, find_leftovers
from tests.verification.crash.jobs import OPTIONS_KEY, JobSpec
from tests.verification.figures import Figures

TICK_S, SLOW_S = 150.0, 3600.0
"""Seconds between polls: less often than deployed, since each poll takes a while."""
TICKS = 60


@dataclass
class JobRun:
    """One run.

    Attributes:
        ticks: Polls until nothing was left to do.
        calls: The name of each call of the stages.
        problems: What is wrong with the outcome.
        faults_injected: How many faults were injected before the job ended.
        calls_left: How many calls followed the last fault.
        final_state: What the job left behind.
    """

    ticks: int = 0
    calls: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    faults_injected: int = 0
    calls_left: int = 0
    final_state: FinalState | None = None


def run_job(
    relay: CrashHarness,
    job: JobSpec,
    faults: Sequence[InjectedFault] = (),
    expected: FinalState | None = None,
    ticks: int = TICKS,
    fast_after_ticks: int | None = None,
) -> JobRun:
    """Run a job to its end; compare it with the baseline's final state, if there is one.

    After `fast_after_ticks` ticks the clock runs faster.
    """
    relay.start_over()
    job.arm(relay)
    relay.call_counter.plan_faults(faults)
    if job.options and not job.waits:
        relay.submit_message(relay.put(OPTIONS_KEY, job.options))
    event = relay.put(job.key, job.body)
    version = json.loads(event)["Records"][0]["s3"]["object"]["versionId"]
    watcher = ResultsWatcher(relay, RunIds(job_id(UPLOADS, job.key, version), version), expected)
    relay.inspect = watcher.inspect
    relay.submit_message(event)
    run, due = JobRun(), _due_when_it_waits(relay, job)
    while _unfinished(relay) and run.ticks < ticks:
        relay.tick(
            SLOW_S if fast_after_ticks is not None and run.ticks >= fast_after_ticks else TICK_S
        )
        run.ticks += 1
        _submit_if_it_waits(relay, due)
    run.calls, run.faults_injected, run.calls_left = (
        [*relay.call_counter.calls],
        relay.call_counter.faults_injected,
        relay.call_counter.calls_since_fault,
    )
    run.problems = watcher.problems
    if unfinished := _unfinished(relay):
        run.problems.append(f"never finishes: {unfinished}")
    run.final_state = FinalState.of(relay, watcher.run_ids)
    if expected is not None:
        run.problems += run.final_state.differences_from(expected)
    run.problems += find_leftovers(relay)
    run.problems += run.final_state.wrong_bill
    run.problems += [f"billed but not delivered: row {row}" for row in run.final_state.undelivered]
    return run


def record_run(figures: Figures, description: str, run: JobRun, baseline: JobRun) -> None:
    """Add a run to the figures; `description` says which faults it had."""
    figures.tried += 1
    figures.longest_ticks = max(figures.longest_ticks, run.ticks)
    if run.final_state is not None and baseline.final_state is not None:
        figures.billed += len(run.final_state.billed)
        figures.undelivered += len(run.final_state.undelivered)
        figures.rows_lost += run.final_state.rows_lost(baseline.final_state)
        figures.paid_twice += run.final_state.paid_twice(baseline.final_state)
    figures.recovered += not run.problems
    if run.problems:
        figures.violations.append(f"{figures.campaign}: {description}: {'; '.join(run.problems)}")


def _due_when_it_waits(relay: CrashHarness, job: JobSpec) -> Iterator[str]:
    """Upload what a job waits for, and yield S3's event."""
    if job.waits:
        yield relay.put(OPTIONS_KEY, job.options)
    if job.is_held:
        yield relay.put(f"{job.key}.go", b"")


def _submit_if_it_waits(relay: CrashHarness, due: Iterator[str]) -> None:
    if _waits(relay):
        for event in islice(due, 1):
            relay.submit_message(event)


def _waits(relay: CrashHarness) -> bool:
    """Return whether the job waits for its options."""
    return any(job.waiting_for is not None for job in relay.items.planning())


def _unfinished(relay: CrashHarness) -> str:
    unfinished = relay.items.unfinished()
    waiting = [
        *unfinished.jobs,
        *unfinished.batches,
        *unfinished.events,
        *unfinished.duplicates,
        *unfinished.cost_entries,
        *relay.redeliveries,
    ]
    return " ".join(map(repr, waiting))
