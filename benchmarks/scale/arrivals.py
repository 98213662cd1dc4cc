"""One huge job and many small ones: who waits for how long, under the relay's own admission.

Anthropic is modelled as room for so many requests, and a time for each Message Batch that does not depend on how many
there are: how it shares its machines is not documented. Each minute is a poll.
"""

import random
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from functions.batches import items
from functions.batches.admission import Limits, admit
from functions.batches.items import Batch, BatchStatus, Step

HOUR, DAY = 60, 24 * 60
CHUNK = 10_000
SMALL_JOBS, SMALL_ROWS = 100, 1_000
DEFAULTS = Limits(batches=100, requests=200_000)

Admission = Callable[[Sequence[Batch], Sequence[Batch]], list[Batch]]
Duration = Callable[[random.Random], int]
"""Gives the minutes that a Message Batch takes."""


def usual(draw: random.Random) -> int:
    """Most within an hour."""
    return min(DAY, max(2, round(draw.lognormvariate(3.6, 0.6))))


def slow(draw: random.Random) -> int:
    """A day on which everything takes many hours, as it may: results are promised within 24."""
    return draw.randint(6 * 60, DAY)


def first_come(waiting: Sequence[Batch], there: Sequence[Batch]) -> list[Batch]:
    """Admit in the order of arrival, as a queue would: what ours is compared with."""
    requests = sum(batch.requests for batch in there)
    admitted = []
    for batch in sorted(waiting, key=lambda one: (one.since, one.item)):
        requests += batch.requests
        if requests > DEFAULTS.requests or len(there) + len(admitted) >= DEFAULTS.batches:
            break
        admitted.append(batch)
    return admitted


POLICIES: dict[str, Admission] = {
    "first come, first served": first_come,
    "in turns": partial(admit, limits=Limits(DEFAULTS.batches, DEFAULTS.requests, kept=10**9)),
    "in turns, a twentieth kept free": partial(admit, limits=DEFAULTS),
}


@dataclass
class Seen:
    """What came of one simulation; minutes.

    Attributes:
        huge_rows: of the huge job.
        waits: of each small job, until it was sent.
        ends: of each small job, until its results were there.
        huge: until the huge job's results were there.
        at_once: the most requests that were at Anthropic.
    """

    huge_rows: int
    waits: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    huge: int = 0
    at_once: int = 0

    def row(self) -> list[str]:
        """Give the figures as people read them."""
        middle, late = (statistics.quantiles(self.waits, n=20)[at] for at in (9, 18))
        rows_a_day = self.huge_rows / self.huge * DAY
        return [
            _time(middle), _time(late), _time(max(self.waits)), _time(max(self.ends)),
            _time(self.huge), f"{rows_a_day / 1e6:.1f} M",
        ]  # fmt: skip


def _time(minutes: float) -> str:
    return f"{minutes:.0f} min" if minutes <= HOUR else f"{minutes / HOUR:.1f} h"


def simulate(admission: Admission, duration: Duration, huge_rows: int) -> Seen:
    """Let a huge job come first, and the small ones over the day after it; run until all have ended."""
    draw, seen = random.Random(7), Seen(huge_rows)  # noqa: S311 - the same day for each policy
    coming: dict[int, list[Batch]] = defaultdict(list)
    coming[0] = _job("h" * 20, huge_rows, 0)
    for number in range(SMALL_JOBS):
        minute = draw.randrange(60, DAY)
        coming[minute] += _job(f"{number:020}", SMALL_ROWS, minute)
    waiting: list[Batch] = []
    there: list[tuple[int, Batch]] = []
    minute, last = 0, max(coming)
    while minute <= last or waiting or there:
        waiting += coming.pop(minute, [])
        there = [(end, batch) for end, batch in there if end > minute]
        admitted = admission(waiting, [batch for _, batch in there])
        chosen = {(batch.job, batch.item) for batch in admitted}
        waiting = [batch for batch in waiting if (batch.job, batch.item) not in chosen]
        for batch in admitted:
            end = minute + duration(draw)
            there.append((end, batch))
            _note(seen, batch, minute, end)
        seen.at_once = max(seen.at_once, sum(batch.requests for _, batch in there))
        minute += 1
    return seen


def _note(seen: Seen, batch: Batch, minute: int, end: int) -> None:
    if batch.job.startswith("h"):
        seen.huge = max(seen.huge, end)
    else:
        seen.waits.append(minute - int(batch.since))
        seen.ends.append(end - int(batch.since))


def _job(job: str, rows: int, minute: int) -> list[Batch]:
    """Make a job's batches, all waiting since a minute."""
    return [
        Batch(
            job=job, item=f"{chunk:05}-1", schema=items.SCHEMA, status=BatchStatus.WAITING, since=f"{minute:09}",
            next=Step.SEND, chunk=f"{chunk:05}", attempt=1, first_row=1, last_row=1, start_byte=0, end_byte=1,
            requests=min(CHUNK, rows - at), size_bytes=1, requests_key="", ledger_key="",
        )
        for chunk, at in enumerate(range(0, rows, CHUNK), 1)
    ]  # fmt: skip
