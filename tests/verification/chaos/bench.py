"""Run one job many times, each time under a different disturbance, and count the outcomes."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

from functions.adapters import table
from tests.verification.chaos.chaos_harness import ChaosHarness
from tests.verification.crash import jobs
from tests.verification.crash.call_counter import InjectedFault
from tests.verification.crash.crash_harness import CrashHarness, open_harness_of_type
from tests.verification.crash.job_run import JobRun, record_run, run_job
from tests.verification.crash.jobs import JobSpec
from tests.verification.figures import Figures

TICKS = 150
"""Six hours: an outage lasts one hour, and the backoff outlasts it."""
LONG_TICKS = 300
"""Eleven days, with the accelerated clock."""
Setup = Callable[[], None]


@dataclass
class Bench:
    """One running campaign.

    Attributes:
        relay: The harness in which its job runs.
        job: The job that every run repeats.
        baseline: The job's run without any disturbance.
        figures: The counts so far.
    """

    relay: ChaosHarness
    job: JobSpec
    baseline: JobRun
    figures: Figures

    def run(
        self,
        description: str,
        setup: Setup,
        faults: Sequence[InjectedFault] = (),
        *,
        allowed_differences: tuple[str, ...] = (),
        fast_after_ticks: int | None = None,
    ) -> JobRun:
        """Run the job once more.

        Args:
            description: How to reproduce this run if it fails.
            setup: Prepares the disturbance, just before the upload.
            faults: Further faults at single calls.
            allowed_differences: Prefixes of differences from the baseline that are not problems.
            fast_after_ticks: Number of ticks after which the clock runs faster.
        """

        def arm(relay: CrashHarness) -> None:
            self.job.arm(relay)
            setup()

        job = replace(self.job, arm=arm)
        ticks = TICKS if fast_after_ticks is None else LONG_TICKS
        run = run_job(self.relay, job, faults, self.baseline.final_state, ticks, fast_after_ticks)
        run.problems = [
            problem for problem in run.problems if not problem.startswith(allowed_differences)
        ]
        if run.problems:
            run.problems += [repr(error) for error in self.relay.failures[-1:]]
        record_run(self.figures, description, run, self.baseline)
        return run


@contextmanager
def open_bench(campaign: str, job: JobSpec) -> Iterator[Bench]:
    """Prepare a harness for a campaign, and run its job undisturbed."""
    started = time.monotonic()
    # Skip the real-time delays between retries of a conflicting transaction.
    no_waits = patch.object(table, "_CONFLICT_WAITS_S", (0.0,) * 5)
    with (
        tempfile.TemporaryDirectory() as folder,
        open_harness_of_type(ChaosHarness, Path(folder)) as relay,
        no_waits,
    ):
        relay.deploy(requests_per_batch=job.requests_per_batch, **job.budgets)
        baseline = run_job(relay, job)
        figures = Figures(campaign, calls=len(baseline.calls))
        figures.violations += [f"baseline: {problem}" for problem in baseline.problems]
        figures.violations += jobs.baseline_problems(job, baseline.final_state)
        prepared = Bench(relay, job, baseline, figures)
        yield prepared
    figures.seconds = time.monotonic() - started
