"""A create that outlives its lease: it is sent an hour late, or its answer arrives an hour late.

This is the only case in which requests are accepted twice: by the frozen create, and by the
resent one after the first was declared absent. No row may be lost, the duplicate is flagged,
and the newer batch is canceled.
"""

import json
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from functions.model import timestamps
from tests.verification.crash import jobs
from tests.verification.crash.call_counter import InjectedFault
from tests.verification.crash.crash_harness import CrashHarness, open_crash_harness
from tests.verification.crash.final_state import ROUNDING_MICRO_USD, FinalState
from tests.verification.crash.injected_faults import FROZEN_TICK_S, keep_frozen
from tests.verification.crash.job_run import JobRun, run_job
from tests.verification.crash.jobs import KEY, JobSpec
from tests.verification.crash.kills import HALVES
from tests.verification.figures import Figures

CAMPAIGN = "a create freezes for an hour"
FROZEN_TICKS = int(3600 / FROZEN_TICK_S)
PROCESSING_S = (3600.0, 0.0)
"""By half: the late create arrives while the resent batch runs, or after the job is done."""
HIDDEN_LISTINGS = 60
"""Listings without the first batch: more than an hour, and more than an absence needs."""
TICKS = 150
CREATE = "claude.POST /v1/messages/batches"
_OF_COST = (
    "visible while incomplete: manifest.json",
    "file manifest.json",
    "event JOB/ended",
    "ledger ",
    "counted ",
)
"""What differs from a run without a duplicate, if the duplicate makes the cost unknown."""
ACCEPTED, RECORDED = (0, True), (2, True)
"""Calls after a create: its batch exists from the first on, and is recorded with the last."""


@dataclass(frozen=True)
class LateCreate:
    """A create whose stage freezes for an hour.

    Attributes:
        nth: Which create, counted from 1.
        call: Which call, counted from that create.
        after: Whether that call has taken place.
        hidden: Whether the batch is missing from the listings meanwhile.
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
        """Return whether requests are accepted twice: sent late, or sent but not visible."""
        position = self.call, self.after
        goes_out_late = position in {(-1, True), (0, False)}
        return goes_out_late or (self.hidden and ACCEPTED <= position < RECORDED)

    def with_hidden_listing(self, job: JobSpec) -> JobSpec:
        """Return the job with its batch hidden from the listings, if this create's is."""

        def arm(relay: CrashHarness) -> None:
            relay.simulator.arm("hidden_from_list", listings=HIDDEN_LISTINGS, after=self.nth - 1)

        return replace(job, arm=arm) if self.hidden else job

    def to_fault(self, relay: CrashHarness, calls: Sequence[str]) -> InjectedFault:
        """Return the fault to inject."""
        create = [call_number for call_number, name in enumerate(calls, 1) if name == CREATE][
            self.nth - 1
        ]
        return InjectedFault(
            create + self.call, self.after, lambda _name: keep_frozen(relay, FROZEN_TICKS)
        )


ALL_LATE_CREATES = [
    LateCreate(nth, call, after, hidden)
    for nth in (1, 2, 4)
    for call in range(-2, 4)
    for after in (False, True)
    for hidden in (False, True)
    # A row that expires in its first attempt changes which content is accepted second.
    if not (hidden and nth == 2)
]
"""From the intent until the answer is recorded, for two chunks and one second attempt."""
SAMPLE = [
    LateCreate(1, 0, *position) for position in ((False, False), (True, False), (True, True))
]


def late_creates(full: bool, half: int) -> Figures:  # noqa: FBT001 - called positionally
    """Freeze a stage for an hour around a create, before the request is sent and after it."""
    started, job = time.monotonic(), jobs.three_chunks()
    with (
        tempfile.TemporaryDirectory() as folder,
        open_crash_harness(Path(folder), processing_s=PROCESSING_S[half % HALVES]) as relay,
    ):
        relay.deploy(requests_per_batch=job.requests_per_batch)
        baseline = run_job(relay, job, ticks=TICKS)
        figures = Figures(CAMPAIGN, calls=len(baseline.calls))
        figures.violations += [f"baseline: {problem}" for problem in baseline.problems]
        figures.violations += jobs.baseline_problems(job, baseline.final_state)
        for late_create in ALL_LATE_CREATES if full else SAMPLE:
            fault = late_create.to_fault(relay, baseline.calls)
            run = run_job(
                relay, late_create.with_hidden_listing(job), [fault], baseline.final_state, TICKS
            )
            _record_run(figures, late_create, relay, run, baseline)
    figures.seconds = time.monotonic() - started
    return figures


def _record_run(
    figures: Figures, late_create: LateCreate, relay: CrashHarness, run: JobRun, baseline: JobRun
) -> None:
    """Add a run to the figures; it may differ from the baseline by one duplicate batch."""
    actual, expected = run.final_state, baseline.final_state
    assert actual is not None
    assert expected is not None
    repeated = Counter(actual.custom_ids) - Counter(expected.custom_ids)
    allowed = (
        ("accepted ", "paid ", *(_OF_COST if _is_cost_unknown(actual) else ())) if repeated else ()
    )
    problems = [problem for problem in run.problems if not problem.startswith(allowed)]
    problems += [] if run.faults_injected else ["ended before the fault"]
    counted = actual.ledger["counted_micro_usd"]
    too_low = counted < actual.bill_micro_usd - ROUNDING_MICRO_USD
    problems += [f"too low: {problem}" for problem in actual.wrong_bill] if too_low else []
    problems += (
        _check_repeats(repeated, expected)
        if late_create.duplicates
        else [f"accepted again: {name}" for name in repeated]
    )
    problems += _check_duplicates(relay, late_create)
    figures.tried += 1
    figures.longest_ticks = max(figures.longest_ticks, run.ticks)
    figures.billed += len(actual.billed)
    figures.undelivered += len(actual.undelivered)
    figures.rows_lost += actual.rows_lost(expected)
    figures.duplicates += repeated.total() if late_create.duplicates else 0
    figures.paid_twice += actual.paid_twice(expected) - (
        repeated.total() if late_create.duplicates else 0
    )
    figures.recovered += not problems
    if problems:
        figures.violations.append(f"{CAMPAIGN}: {late_create}: {'; '.join(problems)}")


def _is_cost_unknown(actual: FinalState) -> bool:
    """Return whether the manifest or the ledger says that the cost is unknown because rows were sent again."""
    manifest = json.loads(actual.files["manifest.json"])
    entries = [entry for entry in actual.ledger.values() if isinstance(entry, dict)]
    return (manifest["cost_usd"] is None and "sent again" in manifest["prices"]["problem"]) or any(
        entry["outcome"] == "duplicate" and entry["cost_usd"] is None for entry in entries
    )


def _all_ended_in_time(relay: CrashHarness) -> bool:
    """Return whether every batch ended by itself before a poll could cancel it."""
    times = [
        (str(batch["created_at"]), str(batch["ended_at"])) for batch in relay.simulator.batches()
    ]
    durations = [
        timestamps.parse(ended_at) - timestamps.parse(created_at) for created_at, ended_at in times
    ]
    return max(durations) < timedelta(minutes=1)


def _check_repeats(repeated: Counter[str], expected: FinalState) -> list[str]:
    """Check that the repeated requests are exactly those of one batch."""
    batches = {name.rpartition("-")[0] for name in repeated}
    wanted = {name: 1 for name in expected.custom_ids if name.rpartition("-")[0] in batches}
    return (
        [] if len(batches) == 1 and repeated == wanted else [f"accepted again: {dict(repeated)}"]
    )


def _check_duplicates(relay: CrashHarness, late_create: LateCreate) -> list[str]:
    """Check that exactly the duplicates are flagged and canceled.

    A duplicate stays flagged until the listing shows its end; it is canceled unless it has ended.
    """
    flagged = sum(tally.duplicates for tally in relay.poll_summaries)
    canceled = relay.simulator.calls().get("cancel", 0)
    runs_on = late_create.duplicates and not canceled and not _all_ended_in_time(relay)
    if bool(flagged) != late_create.duplicates or canceled > flagged or runs_on:
        return [f"{flagged} duplicates flagged, {canceled} canceled"]
    current = {batch["batch"]: batch["created_at"] for batch in relay.manifest(KEY)["batches"]}
    canceled_batches = {
        str(batch["id"]): str(batch["created_at"])
        for batch in relay.simulator.batches()
        if batch["cancel_initiated_at"]  # a batch that had ended is not canceled
    }
    return [
        f"the older of two was canceled: {name}"
        for name, created_at in canceled_batches.items()
        if created_at <= current[(relay.ownership.owner_of(name) or "").partition("/")[2]]
    ]
