"""A job, run through to its end under whatever befalls it, and what is wrong with how it ended."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from functions.model.ids import job_id
from tests.harness import UPLOADS
from tests.verification.crash.call_counter import Strike
from tests.verification.crash.crash_harness import CrashHarness
from tests.verification.crash.ending import Ending, Names, Watcher, left_behind
from tests.verification.crash.jobs import Job
from tests.verification.figures import Figures

TICK_S, SLOW_S = 150.0, 3600.0
"""Poll comes less often here than it does: each one takes a while."""
TICKS = 60
KEY = "in/march.jsonl"


@dataclass
class JobRun:
    """One run.

    Attributes:
        ticks: polls until nothing was left to do.
        calls: the name of each call that the stages made.
        wrong: what is not as it should be.
        struck: how many strikes there were: a run that ended before the last proves less.
        left: how many calls there were after the last of them.
    """

    ticks: int = 0
    calls: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    struck: int = 0
    left: int = 0
    ending: Ending | None = None


def run_job(
    relay: CrashHarness,
    job: Job,
    strikes: Sequence[Strike] = (),
    expected: Ending | None = None,
    ticks: int = TICKS,
    patience: int | None = None,
) -> JobRun:
    """Run a job through; compare its end with that of an undisturbed run, where there was one.

    After so many ticks as there is `patience` for, the clock goes faster.
    """
    relay.start_over()
    job.arm(relay)
    relay.call_counter.plan_strikes(strikes)
    event = relay.put(KEY, job.body)
    version = json.loads(event)["Records"][0]["s3"]["object"]["versionId"]
    watcher = Watcher(relay, Names(job_id(UPLOADS, KEY, version), version), expected)
    relay.look = watcher.look
    relay.submit_message(event)
    run = JobRun()
    while _unfinished(relay) and run.ticks < ticks:
        relay.tick(SLOW_S if patience is not None and run.ticks >= patience else TICK_S)
        run.ticks += 1
    run.calls, run.struck, run.left = (
        [*relay.call_counter.calls],
        relay.call_counter.struck,
        relay.call_counter.left,
    )
    run.wrong = watcher.wrong
    if left := _unfinished(relay):
        run.wrong.append(f"waits for ever: {left}")
    run.ending = Ending.of(relay, watcher.names)
    if expected is not None:
        run.wrong += run.ending.unlike(expected)
    run.wrong += left_behind(relay)
    run.wrong += [f"paid for and not delivered: row {row}" for row in run.ending.undelivered]
    return run


def note(figures: Figures, told: str, run: JobRun, undisturbed: JobRun) -> None:
    """Add a run to the figures; `told` says what befell it."""
    figures.tried += 1
    figures.longest_ticks = max(figures.longest_ticks, run.ticks)
    if run.ending is not None and undisturbed.ending is not None:
        figures.billed += len(run.ending.billed)
        figures.undelivered += len(run.ending.undelivered)
        figures.rows_lost += run.ending.rows_lost(undisturbed.ending)
        figures.paid_twice += run.ending.paid_twice(undisturbed.ending)
    figures.recovered += not run.wrong
    if run.wrong:
        figures.broken.append(f"{figures.campaign}: {told}: {'; '.join(run.wrong)}")


def _unfinished(relay: CrashHarness) -> str:
    left = relay.items.unfinished()
    more = [*left.jobs, *left.batches, *left.events, *left.duplicates, *relay.again]
    return " ".join(map(repr, more))
