"""Runs one job again and again, each time under another disorder, and counts what came of it."""

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
from tests.verification.crash.call_counter import Strike
from tests.verification.crash.crash_harness import CrashHarness, harness_of
from tests.verification.crash.job_run import JobRun, note, run_job
from tests.verification.crash.jobs import Job
from tests.verification.figures import Figures

TICKS = 150
"""Six hours: an outage may last one, and the pauses between tries outlast it."""
LONG_TICKS = 300
"""Eleven days, where the clock goes faster."""
Begin = Callable[[], None]


@dataclass
class Bench:
    """One campaign at work.

    Attributes:
        relay: where its job runs.
        undisturbed: how it ends if nothing befalls it.
        figures: what came of it so far.
    """

    relay: ChaosHarness
    job: Job
    undisturbed: JobRun
    figures: Figures

    def run(
        self,
        told: str,
        begin: Begin,
        strikes: Sequence[Strike] = (),
        *,
        forgiven: tuple[str, ...] = (),
        patience: int | None = None,
    ) -> JobRun:
        """Run the job once more.

        Args:
            told: how to see it again, if it ends otherwise than it should.
            begin: sets what is to at_each_call it, just before it is uploaded.
            strikes: what else befalls it, call by call.
            forgiven: how that may begin in which the run differs from the undisturbed one.
            patience: ticks after which the clock goes faster.
        """

        def arm(relay: CrashHarness) -> None:
            self.job.arm(relay)
            begin()

        struck = replace(self.job, arm=arm)
        ticks = TICKS if patience is None else LONG_TICKS
        run = run_job(self.relay, struck, strikes, self.undisturbed.ending, ticks, patience)
        run.wrong = [wrong for wrong in run.wrong if not wrong.startswith(forgiven)]
        if run.wrong:
            run.wrong += [repr(error) for error in self.relay.deaths[-1:]]
        note(self.figures, told, run, self.undisturbed)
        return run


@contextmanager
def bench(campaign: str, job: Job) -> Iterator[Bench]:
    """Make a world for a campaign, and run its job undisturbed."""
    begun = time.monotonic()
    # A transaction in conflict is repeated after moments that nobody need sit through here.
    waits = patch.object(table, "_CONFLICT_WAITS_S", (0.0,) * 5)
    with (
        tempfile.TemporaryDirectory() as folder,
        harness_of(ChaosHarness, Path(folder)) as relay,
        waits,
    ):
        relay.deploy(requests_per_batch=job.requests_per_batch)
        undisturbed = run_job(relay, job)
        figures = Figures(campaign, calls=len(undisturbed.calls))
        figures.broken += [f"undisturbed: {wrong}" for wrong in undisturbed.wrong]
        figures.broken += jobs.unlike_what_was_asked(job, undisturbed.ending)
        made = Bench(relay, job, undisturbed, figures)
        yield made
    figures.seconds = time.monotonic() - begun
