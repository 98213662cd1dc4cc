"""The campaigns that strike a job at its calls: each runs it once undisturbed, and once for each plan."""

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.verification.crash import jobs
from tests.verification.crash.call_counter import Strike
from tests.verification.crash.crash_harness import CrashHarness, crash_harness
from tests.verification.crash.ending import Ending
from tests.verification.crash.injected_faults import error, freeze, kill
from tests.verification.crash.job_run import JobRun, note, run_job
from tests.verification.crash.jobs import Job
from tests.verification.figures import Figures

HALVES = 2
"""Processes that share a campaign."""
SAMPLE = 9
"""Every so-manieth call is struck where there is little time: prime to what repeats in a job."""
How = Callable[..., Strike]


@dataclass(frozen=True)
class Blow:
    """A strike that is planned: how, at which call, before or after it."""

    how: How
    at: int
    after: bool

    def __str__(self) -> str:
        return f"{self.how.__name__} {'after' if self.after else 'before'} call {self.at}"


Plan = tuple[Blow, ...]
"""Blows of one run; each counts the calls from the one before it."""


def kills(full: bool, half: int) -> Figures:  # noqa: FBT001 - as the list of campaigns calls it
    """Kill at every single call, or at every ninth."""
    step = 1 if full else SAMPLE
    return _campaign(
        "killed at every call", jobs.march(), lambda calls: _every(kill, calls, 1, step), half
    )


def errors(full: bool, half: int) -> Figures:  # noqa: FBT001 - as above
    """Let calls fail, before and after they took place: every second of them."""
    step, from_ = (2, 1) if full else (31, 3)
    return _campaign(
        "a call fails", jobs.march(), lambda calls: _every(error, calls, from_, step), half
    )


def parts_fail(full: bool, half: int) -> Figures:  # noqa: FBT001 - as above
    """The same where objects have parts: each that is complete, and nobody was told, and a share of the rest."""
    step, from_ = (2, 2) if full else (61, 7)

    def plans(calls: Sequence[str]) -> list[Plan]:
        completes = [
            (Blow(error, at, after=True),)
            for at, name in enumerate(calls, 1)
            if name == "s3.CompleteMultipartUpload"
        ]
        return [*dict.fromkeys([*completes, *_every(error, calls, from_, step)])]

    return _campaign("a call fails", jobs.large(), plans, half)


def freezes(full: bool, half: int) -> Figures:  # noqa: FBT001 - as above
    """Stand still at every third call, past the lease."""
    step, from_ = (3, 1) if full else (31, 5)
    return _campaign(
        "a stage stands still", jobs.march(), lambda calls: _every(freeze, calls, from_, step), half
    )  # fmt: skip


def large(full: bool, half: int) -> Figures:  # noqa: FBT001 - as above
    """Kill at the calls of a job whose objects need several blocks and parts."""
    step = 1 if full else 17
    return _campaign(
        "killed at every part", jobs.large(), lambda calls: _every(kill, calls, 2, step), half
    )


def adoption(full: bool, half: int) -> Figures:  # noqa: FBT001 - as above
    """Kill wherever a batch is adopted whose create lost its answer, with a stranger of its size beside it."""
    step = 1 if full else 23

    def plans(calls: Sequence[str]) -> list[Plan]:
        lost = 1 + next(at for at, name in enumerate(calls) if name.startswith("claude.POST"))
        return _every(kill, calls, lost, step)

    return _campaign("killed in an adoption", jobs.lost(), plans, half)


def recovery(full: bool, half: int) -> Figures:  # noqa: FBT001 - as above
    """Kill once where it hurts most, then again at each call of what mends it."""
    step = 4 if full else 53

    def plans(calls: Sequence[str]) -> list[Plan]:
        firsts = [Blow(kill, at, after=True) for at in _where_it_hurts(calls)]
        seconds = [
            Blow(kill, at, after)
            for at in range(1, RECOVERING + 1, step)
            for after in (False, True)
        ]
        return [(first, second) for first in firsts for second in seconds]

    return _campaign("killed in recovery", jobs.march(), plans, half)


RECOVERING = 100
"""Calls after a kill in which all that mends it has begun."""


def _where_it_hurts(calls: Sequence[str]) -> list[int]:
    """Give the calls after which most is in doubt: a create, and the transactions around it and at the end."""
    create = 1 + next(at for at, name in enumerate(calls) if name.startswith("claude.POST"))
    collected = 1 + max(at for at, name in enumerate(calls) if name.endswith("results block"))
    tidied = calls.index("s3.PutObjectTagging")
    manifest = 1 + max(at for at, name in enumerate(calls[:tidied]) if name == "s3.PutObject")
    return [create - 2, create, collected, manifest]


def pairs(full: bool, half: int) -> Figures:  # noqa: FBT001 - as above
    """Kill twice: pairs of calls, spread over all; so many of them are to be struck twice."""
    count, least = (540, PAIRS // HALVES) if full else (16, 12 // HALVES)

    def plans(calls: Sequence[str]) -> list[Plan]:
        chance = random.Random(20261124)  # noqa: S311 - the same pairs each time
        chosen: list[Plan] = []
        for number in range(count):
            at = 1 + number * (len(calls) - 5) // count
            second = chance.randint(1, len(calls) - at)
            before, after = chance.random() < 1 / 2, chance.random() < 1 / 2
            chosen.append((Blow(kill, at, before), Blow(kill, second, after)))
        return chosen

    figures = _campaign("killed twice", jobs.march(), plans, half)
    if figures.struck_twice < least:
        figures.broken.append(f"killed twice: {figures.struck_twice} pairs, at least {least}")
    return figures


PAIRS = 500
"""Different pairs of which both blows must fall."""


def _every(how: How, calls: Sequence[str], begin: int = 1, step: int = 1) -> list[Plan]:
    return [
        (Blow(how, at, after),)
        for at in range(begin, len(calls) + 1, step)
        for after in (False, True)
    ]


def _campaign(
    name: str, job: Job, plans: Callable[[Sequence[str]], list[Plan]], half: int
) -> Figures:
    """Run one half of the plans."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, crash_harness(Path(folder)) as relay:
        relay.deploy(requests_per_batch=job.requests_per_batch)
        undisturbed = run_job(relay, job)
        figures = Figures(name, calls=len(undisturbed.calls))
        figures.broken += [f"undisturbed: {wrong}" for wrong in undisturbed.wrong]
        figures.broken += jobs.unlike_what_was_asked(job, undisturbed.ending)
        twice = set[Plan]()
        for planned in plans(undisturbed.calls)[half::HALVES]:
            plan, run = _struck(relay, job, planned, undisturbed.ending)
            _noted(figures, plan, run, undisturbed)
            if run.struck > 1:
                twice.add(plan)
    figures.struck_twice = len(twice)
    figures.seconds = time.monotonic() - begun
    return figures


def _struck(
    relay: CrashHarness, job: Job, plan: Plan, expected: Ending | None
) -> tuple[Plan, JobRun]:
    """Run the job under a plan; gives the plan that was carried out.

    Where after the first blow fewer calls are left than the second waits for, the job is run once more, with the
    second blow at one of those that are left.
    """
    run = run_job(relay, job, _strikes(relay, plan), expected)
    if run.struck != 1 or len(plan) == 1:
        return plan, run
    first, second = plan
    nearer = (first, replace(second, at=1 + second.at % max(run.left, 1)))
    return nearer, run_job(relay, job, _strikes(relay, nearer), expected)


def _strikes(relay: CrashHarness, plan: Plan) -> list[Strike]:
    return [blow.how(relay, blow.at, after=blow.after) for blow in plan]


def _noted(figures: Figures, plan: Plan, run: JobRun, undisturbed: JobRun) -> None:
    """Add a run to the figures: one that was not struck proves nothing.

    One whose second blow found no call left all the same was struck once, and counts as no pair.
    """
    if not run.struck:
        run.wrong.append("ended before the first strike")
    struck = plan[: max(run.struck, 1)]
    note(figures, ", then ".join(_told(struck, run)), run, undisturbed)


def _told(plan: Plan, run: JobRun) -> Iterator[str]:
    """Name each blow, and the call that it struck."""
    reached = 0
    for blow in plan:
        reached += blow.at
        name = run.calls[reached - 1] if reached <= len(run.calls) else "none"
        yield f"{blow} ({name})"
