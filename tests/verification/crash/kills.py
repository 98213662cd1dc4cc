"""Campaigns that inject faults at calls: one undisturbed run, then one run for each plan."""

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.verification.crash import jobs
from tests.verification.crash.call_counter import InjectedFault, first_create
from tests.verification.crash.crash_harness import CrashHarness, open_crash_harness
from tests.verification.crash.final_state import FinalState
from tests.verification.crash.injected_faults import fail_call, freeze, kill
from tests.verification.crash.job_run import JobRun, record_run, run_job
from tests.verification.crash.jobs import JobSpec
from tests.verification.figures import Figures

HALVES = 2
"""Processes that share a campaign."""
FaultFactory = Callable[..., InjectedFault]


@dataclass(frozen=True)
class PlannedFault:
    """A planned fault: its kind, its call, and whether it strikes before or after it."""

    make_fault: FaultFactory
    call_number: int
    after: bool

    def __str__(self) -> str:
        return f"{self.make_fault.__name__} {'after' if self.after else 'before'} call {self.call_number}"


Plan = tuple[PlannedFault, ...]
"""The faults of one run; each counts its calls from the one before it."""


def kills(full: bool, half: int) -> Figures:  # noqa: FBT001 - called positionally
    """Kill at every call, or at every seventeenth."""
    return _single_faults(
        "killed at every call", jobs.three_chunks(), half, kill, step=1 if full else 17
    )


def call_errors(full: bool, half: int) -> Figures:  # noqa: FBT001 - called positionally
    """Let every second call fail, before and after it takes place."""
    first_call, step = (1, 2) if full else (3, 31)
    return _single_faults("a call fails", jobs.three_chunks(), half, fail_call, first_call, step)


def multipart_errors(full: bool, half: int) -> Figures:  # noqa: FBT001 - called positionally
    """Let calls of a job with multipart objects fail: all completions, and some others."""
    step, first_call = (2, 2) if full else (101, 7)

    def plans(calls: Sequence[str]) -> list[Plan]:
        completes = [
            (PlannedFault(fail_call, call_number, after=True),)
            for call_number, name in enumerate(calls, 1)
            if name == "s3.CompleteMultipartUpload"
        ]
        return [*dict.fromkeys([*completes, *plans_for_every(fail_call, calls, first_call, step)])]

    return _run_campaign("a call fails", jobs.large_rows(), plans, half)


def freezes(full: bool, half: int) -> Figures:  # noqa: FBT001 - called positionally
    """Freeze at every third call, past the lease."""
    first_call, step = (1, 3) if full else (5, 31)
    return _single_faults("a stage freezes", jobs.three_chunks(), half, freeze, first_call, step)


def kills_in_large_job(full: bool, half: int) -> Figures:  # noqa: FBT001 - called positionally
    """Kill at the calls of a job whose objects need several blocks and parts."""
    return _single_faults(
        "killed, multipart job", jobs.large_rows(), half, kill, 2, step=1 if full else 41
    )


def kills_in_held_job(full: bool, half: int) -> Figures:  # noqa: FBT001 - called positionally
    """Kill at the calls of a job that is held, released, and sent within a budget of the day."""
    return _single_faults("killed, held job", jobs.held_job(), half, kill, step=1 if full else 29)


def kills_in_warmed_job(full: bool, half: int) -> Figures:  # noqa: FBT001 - called positionally
    """Kill at the calls of a job whose batches wait for the first one, which puts a prefix into the cache."""
    return _single_faults(
        "killed, warmed job", jobs.warmed_job(), half, kill, step=1 if full else 31
    )


def kills_in_adoption(full: bool, half: int) -> Figures:  # noqa: FBT001 - called positionally
    """Kill while an unconfirmed batch is adopted beside a foreign batch of its size."""
    step = 1 if full else 23

    return _run_campaign(
        "killed during adoption",
        jobs.lost_create_answer(),
        lambda calls: plans_for_every(kill, calls, first_create(calls), step),
        half,
    )


def kills_in_recovery(full: bool, half: int) -> Figures:  # noqa: FBT001 - called positionally
    """Kill once where recovery has most to do, then again at each call of the recovery."""
    step = 4 if full else 53

    def plans(calls: Sequence[str]) -> list[Plan]:
        firsts = [
            PlannedFault(kill, call_number, after=True) for call_number in _critical_calls(calls)
        ]
        seconds = [
            PlannedFault(kill, call_number, after)
            for call_number in range(1, RECOVERY_CALLS + 1, step)
            for after in (False, True)
        ]
        return [(first, second) for first in firsts for second in seconds]

    return _run_campaign("killed during recovery", jobs.three_chunks(), plans, half)


RECOVERY_CALLS = 100
"""The number of calls after a kill within which every recovery has started."""


def _critical_calls(calls: Sequence[str]) -> list[int]:
    """Return the calls that leave most in doubt: the create, and the transactions near it."""
    create = first_create(calls)
    results_read = 1 + max(
        call_number for call_number, name in enumerate(calls) if name.endswith("results block")
    )
    tidy_call = calls.index("s3.PutObjectTagging")
    manifest_call = 1 + max(
        call_number for call_number, name in enumerate(calls[:tidy_call]) if name == "s3.PutObject"
    )
    return [create - 2, create, results_read, manifest_call]


def kill_pairs(full: bool, half: int) -> Figures:  # noqa: FBT001 - called positionally
    """Kill at pairs of calls, spread over the whole job."""
    count, min_pairs = (540, MIN_PAIRS // HALVES) if full else (16, 12 // HALVES)

    def plans(calls: Sequence[str]) -> list[Plan]:
        rng = random.Random(20261124)  # noqa: S311 - the same pairs each time
        chosen: list[Plan] = []
        for number in range(count):
            call_number = 1 + number * (len(calls) - 5) // count
            second = rng.randint(1, len(calls) - call_number)
            before, after = rng.random() < 1 / 2, rng.random() < 1 / 2
            chosen.append(
                (PlannedFault(kill, call_number, before), PlannedFault(kill, second, after))
            )
        return chosen

    figures = _run_campaign("killed twice", jobs.three_chunks(), plans, half)
    if figures.killed_twice < min_pairs:
        figures.violations.append(
            f"killed twice: {figures.killed_twice} pairs, expected at least {min_pairs}"
        )
    return figures


MIN_PAIRS = 500
"""The number of different pairs of which both kills must happen."""


def plans_for_every(
    make_fault: FaultFactory, calls: Sequence[str], first_call: int = 1, step: int = 1
) -> list[Plan]:
    return [
        (PlannedFault(make_fault, call_number, after),)
        for call_number in range(first_call, len(calls) + 1, step)
        for after in (False, True)
    ]


def _single_faults(
    name: str,
    job: JobSpec,
    half: int,
    make_fault: FaultFactory,
    first_call: int = 1,
    step: int = 1,
) -> Figures:
    """Run one half of a campaign with one fault a run: before and after every n-th call.

    The steps of samples are coprime to the period of a job's calls.
    """
    return _run_campaign(
        name, job, lambda calls: plans_for_every(make_fault, calls, first_call, step), half
    )


def _run_campaign(
    name: str, job: JobSpec, plans: Callable[[Sequence[str]], list[Plan]], half: int
) -> Figures:
    """Run one half of the plans."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, open_crash_harness(Path(folder)) as relay:
        relay.deploy(requests_per_batch=job.requests_per_batch, **job.budgets)
        baseline = run_job(relay, job)
        figures = Figures(name, calls=len(baseline.calls))
        figures.violations += [f"baseline: {problem}" for problem in baseline.problems]
        figures.violations += jobs.baseline_problems(job, baseline.final_state)
        killed_twice = set[Plan]()
        for planned in plans(baseline.calls)[half::HALVES]:
            plan, run = run_plan(relay, job, planned, baseline.final_state)
            record_plan(figures, plan, run, baseline)
            if run.faults_injected > 1:
                killed_twice.add(plan)
    figures.killed_twice = len(killed_twice)
    figures.seconds = time.monotonic() - started
    return figures


def run_plan(
    relay: CrashHarness, job: JobSpec, plan: Plan, expected: FinalState | None
) -> tuple[Plan, JobRun]:
    """Run the job under a plan; return the plan that was carried out.

    If too few calls follow the first fault, the job runs again with an earlier second fault.
    """
    run = run_job(relay, job, _build_faults(relay, plan), expected)
    if run.faults_injected != 1 or len(plan) == 1:
        return plan, run
    first, second = plan
    nearer = (first, replace(second, call_number=1 + second.call_number % max(run.calls_left, 1)))
    return nearer, run_job(relay, job, _build_faults(relay, nearer), expected)


def _build_faults(relay: CrashHarness, plan: Plan) -> list[InjectedFault]:
    return [fault.make_fault(relay, fault.call_number, after=fault.after) for fault in plan]


def record_plan(
    figures: Figures, plan: Plan, run: JobRun, baseline: JobRun, upload: str = ""
) -> None:
    """Add a run to the figures; a run without a fault proves nothing.

    A run whose second fault found no call counts as one with a single fault.
    """
    if not run.faults_injected:
        run.problems.append("ended before the first fault")
    injected = plan[: max(run.faults_injected, 1)]
    description = ", then ".join(_describe(injected, run))
    record_run(figures, f"{upload} {description}".lstrip(), run, baseline)


def _describe(plan: Plan, run: JobRun) -> Iterator[str]:
    """Describe each fault and the call that it struck."""
    total = 0
    for fault in plan:
        total += fault.call_number
        name = run.calls[total - 1] if total <= len(run.calls) else "none"
        yield f"{fault} ({name})"
