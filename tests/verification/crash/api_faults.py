"""Campaigns of the simulator's API faults: each alone, and each with each."""

import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations_with_replacement
from pathlib import Path

from tests.verification.crash import jobs
from tests.verification.crash.crash_harness import CrashHarness, open_crash_harness
from tests.verification.crash.fault_run import KEYS, FaultRun, run_job_with_faults, small_job
from tests.verification.crash.fault_table import (
    CASES,
    arm_fault,
    unavoidable_repeats,
    unused_faults,
)
from tests.verification.crash.final_state import FinalState
from tests.verification.figures import Figures

HALVES = 2
"""Processes that share a campaign."""
SAMPLE = 24
"""The sample has one pair in this many."""


def single_faults(full: bool, half: int) -> Figures:  # noqa: ARG001, FBT001 - called positionally
    """Run a job under every fault."""
    return _campaign("API faults, single", [(name,) for name in CASES], half)


def fault_pairs(full: bool, half: int) -> Figures:  # noqa: FBT001 - called positionally
    """Run a job under every pair of faults, two of the same included."""
    all_pairs = [
        (first, second)
        for first, second in combinations_with_replacement(CASES, 2)
        if first != second
        or CASES[first].times  # a fault that always strikes cannot be armed twice
    ]
    return _campaign("API faults, pairs", all_pairs if full else all_pairs[::SAMPLE], half)


def _campaign(name: str, plans: Sequence[tuple[str, ...]], half: int) -> Figures:
    started, figures = time.monotonic(), Figures(name)
    with baseline_run(figures) as (relay, final_state):
        for plan in plans[half::HALVES]:
            record_run(figures, " and ".join(plan), *run_with_faults(relay, plan, final_state))
    figures.seconds = time.monotonic() - started
    return figures


@contextmanager
def baseline_run(figures: Figures) -> Iterator[tuple[CrashHarness, FinalState]]:
    """Open a harness, and run the small job without any fault: the baseline of all other runs."""
    with (
        tempfile.TemporaryDirectory() as folder,
        open_crash_harness(Path(folder), keys=KEYS) as relay,
    ):
        job = small_job()
        relay.deploy(requests_per_batch=job.requests_per_batch)
        run = run_job_with_faults(relay, job, None)
        figures.violations += [f"baseline: {problem}" for problem in run.problems]
        figures.violations += jobs.baseline_problems(job, run.final_state)
        assert run.final_state is not None
        yield relay, run.final_state


def run_with_faults(
    relay: CrashHarness, plan: Sequence[str], expected: FinalState
) -> tuple[FaultRun, int]:
    """Run the job under these faults; return also how many requests may be paid for twice."""

    def arm_all(relay: CrashHarness) -> None:
        for name in plan:
            arm_fault(relay, name)

    run = run_job_with_faults(relay, small_job(), expected, arm_all)
    run.problems += unused_faults(relay)
    run.problems += _check_outcomes(run, plan)
    if run.event_counts["sending.paused"] > sum(CASES[name].pauses_sending for name in plan):
        run.problems.append(f"paused {run.event_counts['sending.paused']} times")
    return run, unavoidable_repeats(*plan)


def _check_outcomes(run: FaultRun, plan: Sequence[str]) -> list[str]:
    """Compare the changed outcomes with the fault table."""
    if len(plan) == 1:
        as_expected = run.changed_outcomes == Counter(CASES[plan[0]].changed_rows)
    else:
        as_expected = run.changed_outcomes <= sum(
            (CASES[name].max_changed_rows for name in plan), Counter[str]()
        )
    return [] if as_expected else [f"unexpected row outcomes: {dict(run.changed_outcomes)}"]


def record_run(figures: Figures, description: str, run: FaultRun, unavoidable: int) -> None:
    """Add a run to the figures."""
    figures.tried += 1
    figures.longest_ticks = max(figures.longest_ticks, run.ticks)
    if run.final_state is not None:
        figures.billed += len(run.final_state.billed)
        figures.undelivered += len(run.final_state.undelivered)
    figures.rows_lost += run.rows_lost
    figures.paid_twice += max(0, run.requests_repeated - unavoidable)
    problems = [*run.problems]
    if run.requests_repeated > unavoidable:
        problems.append(f"{run.requests_repeated} requests paid twice")
    figures.recovered += not problems
    if problems:
        figures.violations.append(f"{figures.campaign}: {description}: {'; '.join(problems)}")
