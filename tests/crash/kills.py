"""The campaigns that strike a job at its calls: each runs it once undisturbed, and once for each plan."""

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.crash import jobs
from tests.crash.ending import Ending
from tests.crash.fate import Strike
from tests.crash.figures import Figures
from tests.crash.jobs import Job
from tests.crash.mortal import Mortal, mortal
from tests.crash.plays import Play, note, play
from tests.crash.strikes import error, freeze, kill

HALVES = 2
"""Processes that share a campaign."""
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
    """Kill at every single call; all of them even where there is little time."""
    del full
    return _campaign("killed at every call", jobs.march(), lambda calls: _every(kill, calls), half)


def errors(full: bool, half: int) -> Figures:  # noqa: FBT001 - as above
    """Let calls fail, before and after they took place: every second of them."""
    step, from_ = (2, 1) if full else (31, 3)
    return _campaign(
        "a call fails", jobs.march(), lambda calls: _every(error, calls, from_, step), half
    )


def parts_fail(full: bool, half: int) -> Figures:  # noqa: FBT001 - as above
    """The same where objects have parts: one that is complete, and nobody was told."""
    step, from_ = (2, 2) if full else (61, 7)
    return _campaign(
        "a call fails", jobs.large(), lambda calls: _every(error, calls, from_, step), half
    )


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
    manifest = 1 + max(at for at, name in enumerate(calls) if name == "s3.PutObjectTagging")
    return [create - 2, create, collected, manifest]


def pairs(full: bool, half: int) -> Figures:  # noqa: FBT001 - as above
    """Kill twice: pairs of calls, spread over all."""
    count = 520 if full else 16

    def plans(calls: Sequence[str]) -> list[Plan]:
        chance = random.Random(20261124)  # noqa: S311 - the same pairs each time
        chosen: list[Plan] = []
        for number in range(count):
            at = 1 + number * (len(calls) - 5) // count
            second = chance.randint(1, len(calls) - at)
            before, after = chance.random() < 1 / 2, chance.random() < 1 / 2
            chosen.append((Blow(kill, at, before), Blow(kill, second, after)))
        return chosen

    return _campaign("killed twice", jobs.march(), plans, half)


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
    with tempfile.TemporaryDirectory() as folder, mortal(Path(folder)) as relay:
        relay.deploy(requests_per_batch=job.requests_per_batch)
        undisturbed = play(relay, job)
        figures = Figures(name, calls=len(undisturbed.calls))
        figures.broken += [f"undisturbed: {wrong}" for wrong in undisturbed.wrong]
        figures.broken += jobs.unlike_what_was_asked(job, undisturbed.ending)
        for plan in plans(undisturbed.calls)[half::HALVES]:
            _noted(figures, plan, _struck(relay, job, plan, undisturbed.ending), undisturbed)
    figures.seconds = time.monotonic() - begun
    return figures


def _struck(relay: Mortal, job: Job, plan: Plan, expected: Ending | None) -> Play:
    strikes = [blow.how(relay, blow.at, after=blow.after) for blow in plan]
    return play(relay, job, strikes, expected)


def _noted(figures: Figures, plan: Plan, run: Play, undisturbed: Play) -> None:
    """Add a run to the figures: one that was not struck proves nothing.

    After a first blow there may be fewer calls left than the second waits for; such a run was struck once.
    """
    if not run.struck:
        run.wrong.append("ended before the first strike")
    struck = plan[: max(run.struck, 1)]
    note(figures, ", then ".join(_told(struck, run)), run, undisturbed)


def _told(plan: Plan, run: Play) -> Iterator[str]:
    """Name each blow, and the call that it struck."""
    reached = 0
    for blow in plan:
        reached += blow.at
        name = run.calls[reached - 1] if reached <= len(run.calls) else "none"
        yield f"{blow} ({name})"
