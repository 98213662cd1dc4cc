"""A create that outlives its lease, its Lambda and its replacement: it goes out an hour late, or is heard of so late.

That is the one case in which requests are accepted twice: sent again because their absence was proved, rightly or not,
and sent by what stood still. No row may be lost by it, the duplicate is flagged, and the newer batch is canceled.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from functions.model import timestamps
from tests.verification.crash import jobs
from tests.verification.crash.call_counter import Strike
from tests.verification.crash.crash_harness import CrashHarness, crash_harness
from tests.verification.crash.ending import Ending
from tests.verification.crash.injected_faults import STILL_S, stand_still
from tests.verification.crash.job_run import KEY, JobRun, run_job
from tests.verification.crash.jobs import Job
from tests.verification.crash.kills import HALVES
from tests.verification.figures import Figures

NAME = "a create stands still for an hour"
STILL_TICKS = int(3600 / STILL_S)
PROCESSING_S = (3600.0, 0.0)
"""By half: the replacement is at work when the late one comes; or it is collected, and the job is done."""
HIDDEN = 60
"""Listings that lack the first batch: past the hour, and past the proof of its absence."""
TICKS = 150
POST = "claude.POST /v1/messages/batches"
ACCEPTED, RECORDED = (0, True), (2, True)
"""Calls after a create: from the first on, its batch exists; with the last, its id is recorded."""


@dataclass(frozen=True)
class Late:
    """Where a stage stands still for an hour.

    Attributes:
        nth: at which create, counted from 1.
        call: at which call, counted from that create.
        after: after that call; else before it.
        hidden: whether the batch of that create is missing from the listings meanwhile.
    """

    nth: int
    call: int
    after: bool
    hidden: bool

    def __str__(self) -> str:
        when = "after" if self.after else "before"
        return f"{when} call {self.call:+} of create {self.nth}{', hidden' * self.hidden}"

    @property
    def duplicates(self) -> bool:
        """Whether its requests are accepted twice: they go out late, or nobody can see that they have gone out."""
        place = self.call, self.after
        goes_out_late = place in {(-1, True), (0, False)}
        return goes_out_late or (self.hidden and ACCEPTED <= place < RECORDED)

    def armed(self, job: Job) -> Job:
        """Give the job with what is asked of the simulator."""

        def arm(relay: CrashHarness) -> None:
            relay.simulator.arm("hidden_from_list", listings=HIDDEN, after=self.nth - 1)

        return replace(job, arm=arm) if self.hidden else job

    def strike(self, relay: CrashHarness, calls: Sequence[str]) -> Strike:
        """Make the strike."""
        create = [at for at, name in enumerate(calls, 1) if name == POST][self.nth - 1]
        return Strike(
            create + self.call, self.after, lambda _name: stand_still(relay, STILL_TICKS)
        )


EVERY = [
    Late(nth, call, after, hidden)
    for nth in (1, 2, 4)
    for call in range(-2, 4)
    for after in (False, True)
    for hidden in (False, True)
    # What is accepted second is answered otherwise where a row expires the first time.
    if not (hidden and nth == 2)
]
"""From the intent on until the answer is written down; of two chunks, and of one's second attempt."""
SAMPLE = [Late(1, 0, *where) for where in ((False, False), (True, False), (True, True))]


def late(full: bool, half: int) -> Figures:  # noqa: FBT001 - as the list of campaigns calls it
    """Let a stage stand still for an hour around a create, before the request goes out, and after it."""
    begun, job = time.monotonic(), jobs.march()
    with (
        tempfile.TemporaryDirectory() as folder,
        crash_harness(Path(folder), processing_s=PROCESSING_S[half % HALVES]) as relay,
    ):
        relay.deploy(requests_per_batch=job.requests_per_batch)
        undisturbed = run_job(relay, job, ticks=TICKS)
        figures = Figures(NAME, calls=len(undisturbed.calls))
        figures.broken += [f"undisturbed: {wrong}" for wrong in undisturbed.wrong]
        figures.broken += jobs.unlike_what_was_asked(job, undisturbed.ending)
        for one in EVERY if full else SAMPLE:
            strike = one.strike(relay, undisturbed.calls)
            run = run_job(relay, one.armed(job), [strike], undisturbed.ending, TICKS)
            _note(figures, one, relay, run, undisturbed)
    figures.seconds = time.monotonic() - begun
    return figures


def _note(
    figures: Figures, late: Late, relay: CrashHarness, run: JobRun, undisturbed: JobRun
) -> None:
    """Add a run to the figures: all is as undisturbed, but for one batch that was accepted twice where that can be."""
    ours, theirs = run.ending, undisturbed.ending
    assert ours is not None
    assert theirs is not None
    again = Counter(ours.custom_ids) - Counter(theirs.custom_ids)
    wrong = [one for one in run.wrong if not (again and one.startswith(("accepted ", "paid ")))]
    wrong += [] if run.struck else ["ended before the strike"]
    wrong += (
        _twice(again, theirs) if late.duplicates else [f"accepted again: {name}" for name in again]
    )
    wrong += _flagged(relay, late)
    figures.tried += 1
    figures.longest_ticks = max(figures.longest_ticks, run.ticks)
    figures.billed += len(ours.billed)
    figures.undelivered += len(ours.undelivered)
    figures.rows_lost += ours.rows_lost(theirs)
    figures.duplicates += again.total() if late.duplicates else 0
    figures.paid_twice += ours.paid_twice(theirs) - (again.total() if late.duplicates else 0)
    figures.recovered += not wrong
    if wrong:
        figures.broken.append(f"{NAME}: {late}: {'; '.join(wrong)}")


def _ended(relay: CrashHarness) -> bool:
    """Whether every batch came to its end by itself, before a poll could cancel it."""
    ends = [(str(one["created_at"]), str(one["ended_at"])) for one in relay.simulator.batches()]
    took = [
        timestamps.parse(ended_at) - timestamps.parse(created_at) for created_at, ended_at in ends
    ]
    return max(took) < timedelta(minutes=1)


def _twice(again: Counter[str], expected: Ending) -> list[str]:
    """Hold what was accepted twice to one batch: all of it once more, and nothing else."""
    batches = {name.rpartition("-")[0] for name in again}
    wanted = {name: 1 for name in expected.custom_ids if name.rpartition("-")[0] in batches}
    return [] if len(batches) == 1 and again == wanted else [f"accepted again: {dict(again)}"]


def _flagged(relay: CrashHarness, late: Late) -> list[str]:
    """Hold the alarm and the cancellation to what must be: nothing without a duplicate.

    A duplicate is flagged, and stays so until the listing shows that it stops; it is canceled, unless it has ended by then.
    """
    flagged = sum(tally.duplicates for tally in relay.tallies)
    canceled = relay.simulator.calls().get("cancel", 0)
    runs_on = late.duplicates and not canceled and not _ended(relay)
    if bool(flagged) != late.duplicates or canceled > flagged or runs_on:
        return [f"{flagged} duplicates flagged, {canceled} canceled"]
    kept = {one["batch"]: one["created_at"] for one in relay.manifest(KEY)["batches"]}
    stopped = {
        str(one["id"]): str(one["created_at"])
        for one in relay.simulator.batches()
        if one["cancel_initiated_at"]  # one that had ended is left as it is
    }
    return [
        f"the older of two was canceled: {name}"
        for name, created_at in stopped.items()
        if created_at <= kept[(relay.ownership.owner_of(name) or "").partition("/")[2]]
    ]
