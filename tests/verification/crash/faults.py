"""The campaigns of Claude's faults: each alone, each with each."""

import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations_with_replacement
from pathlib import Path

from tests.verification.crash import jobs
from tests.verification.crash.crash_harness import CrashHarness, crash_harness
from tests.verification.crash.ending import Ending
from tests.verification.crash.fault_run import KEYS, Run, drive, small
from tests.verification.crash.fault_table import CASES, arm, unavoidable, unmet
from tests.verification.figures import Figures

HALVES = 2
"""Processes that share a campaign."""
SAMPLE = 24
"""Every so-manieth pair is the sample."""


def alone(full: bool, half: int) -> Figures:  # noqa: ARG001, FBT001 - as the list of campaigns calls it
    """Let every fault strike alone."""
    return _campaign("Claude's faults alone", [(name,) for name in CASES], half)


def pairs(full: bool, half: int) -> Figures:  # noqa: FBT001 - as above
    """Let every fault strike with every other, and twice."""
    every = [
        (one, other)
        for one, other in combinations_with_replacement(CASES, 2)
        if one != other or CASES[one].times  # what strikes for ever leaves nothing to its like
    ]
    return _campaign("Claude's faults in pairs", every if full else every[::SAMPLE], half)


def _campaign(name: str, plans: Sequence[tuple[str, ...]], half: int) -> Figures:
    begun, figures = time.monotonic(), Figures(name)
    with undisturbed(figures) as (relay, ending):
        for plan in plans[half::HALVES]:
            note(figures, " and ".join(plan), *struck(relay, plan, ending))
    figures.seconds = time.monotonic() - begun
    return figures


@contextmanager
def undisturbed(figures: Figures) -> Iterator[tuple[CrashHarness, Ending]]:
    """Make a relay, and run the small job through it without any trouble: the measure of all others."""
    with tempfile.TemporaryDirectory() as folder, crash_harness(Path(folder), keys=KEYS) as relay:
        job = small()
        relay.deploy(requests_per_batch=job.requests_per_batch)
        run = drive(relay, job, None)
        figures.broken += [f"undisturbed: {wrong}" for wrong in run.wrong]
        figures.broken += jobs.unlike_what_was_asked(job, run.ending)
        assert run.ending is not None
        yield relay, run.ending


def struck(relay: CrashHarness, plan: Sequence[str], expected: Ending) -> tuple[Run, int]:
    """Run the job under some faults; gives also how many requests may be paid for twice."""

    def armed(relay: CrashHarness) -> None:
        for name in plan:
            arm(relay, name)

    run = drive(relay, small(), expected, armed)
    run.wrong += unmet(relay)
    run.wrong += _outcomes(run, plan)
    if run.told["sending.paused"] > sum(CASES[name].pauses for name in plan):
        run.wrong.append(f"paused {run.told['sending.paused']} times")
    return run, unavoidable(*plan)


def _outcomes(run: Run, plan: Sequence[str]) -> list[str]:
    """Hold the rows that ended otherwise to what the table says of these faults."""
    if len(plan) == 1:
        right = run.changed == Counter(CASES[plan[0]].rows)
    else:
        right = run.changed <= sum((CASES[name].most for name in plan), Counter[str]())
    return [] if right else [f"rows ended otherwise: {dict(run.changed)}"]


def note(figures: Figures, what: str, run: Run, paid: int) -> None:
    """Add a run to the figures."""
    figures.tried += 1
    figures.longest_ticks = max(figures.longest_ticks, run.ticks)
    if run.ending is not None:
        figures.billed += len(run.ending.billed)
        figures.undelivered += len(run.ending.undelivered)
    figures.rows_lost += run.lost
    figures.paid_twice += max(0, run.extra - paid)
    wrong = [*run.wrong]
    if run.extra > paid:
        wrong.append(f"{run.extra} requests were paid for twice")
    figures.recovered += not wrong
    if wrong:
        figures.broken.append(f"{figures.campaign}: {what}: {'; '.join(wrong)}")
