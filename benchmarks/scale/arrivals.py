"""Simulate how long one huge job and many small jobs wait, under the relay's own admission.

Anthropic is modeled as a limit of queued requests, and a processing time of each Message Batch that is independent of
the load, because its scheduling is not documented. There is a poll every minute.
"""

import random
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from functions.model.items.batch import Batch, BatchStatus
from functions.model.items.work_item import SCHEMA, Step
from functions.polling.admission import Limits, admit

HOUR, DAY = 60, 24 * 60
CHUNK = 10_000
HUGE_ROWS, SMALL_JOBS, SMALL_ROWS = 10_000_000, 100, 1_000
DEFAULTS = Limits(batches=1_000, requests=200_000)
NO_RESERVE = 10**9
"""A divisor that reserves nothing."""
HUGE = "h" * 20

Admission = Callable[[Sequence[Batch], Sequence[Batch]], list[Batch]]
Duration = Callable[[random.Random], int]
"""Returns the minutes that a Message Batch takes."""


def usual_duration(rng: random.Random) -> int:
    """Return a usual duration: most within an hour, the median at 37 minutes."""
    return min(DAY, max(2, round(rng.lognormvariate(3.6, 0.6))))


def slow_duration(rng: random.Random) -> int:
    """Return a slow duration of many hours; results are promised within 24 hours."""
    return rng.randint(6 * HOUR, DAY)


DAYS: dict[str, Duration] = {"usual": usual_duration, "slow": slow_duration}


def admit_in_arrival_order(
    waiting: Sequence[Batch], in_progress: Sequence[Batch], limits: Limits
) -> list[Batch]:
    """Admit in the order of arrival, as a queue does: the baseline."""
    requests = sum(batch.requests for batch in in_progress)
    admitted: list[Batch] = []
    for batch in sorted(waiting, key=lambda batch: (batch.status_key, batch.item)):
        requests += batch.requests
        if requests > limits.requests or len(in_progress) + len(admitted) >= limits.batches:
            break
        admitted.append(batch)
    return admitted


def admission_with_reserve(reserve_divisor: int, limits: Limits = DEFAULTS) -> Admission:
    """Return the relay's admission, with a reserve for jobs without open batches."""
    return partial(
        admit, limits=Limits(limits.batches, limits.requests, reserve_divisor=reserve_divisor)
    )


FIRST_COME, IN_TURNS, OURS = "first come, first served", "in turns, no reserve", "the relay"
POLICIES: dict[str, Admission] = {
    FIRST_COME: partial(admit_in_arrival_order, limits=DEFAULTS),
    IN_TURNS: admission_with_reserve(NO_RESERVE),
    OURS: admission_with_reserve(DEFAULTS.reserve_divisor),
}


@dataclass
class SimulationResult:
    """The result of one simulation, in minutes.

    Attributes:
        waits: how long each small job waited until it was sent.
        slowdowns: how many times longer each small job took than its own batch.
        huge: the time until the huge job completed.
        full: the time in which the huge job had batches waiting.
        done: rows that ended in that time.
        item_minutes: unfinished batches, summed over all polls.
    """

    waits: list[int] = field(default_factory=list)
    slowdowns: list[float] = field(default_factory=list)
    huge: int = 0
    full: int = 0
    done: int = 0
    item_minutes: int = 0

    @property
    def rows_a_day(self) -> float:
        """The rows that end per day while batches are waiting."""
        return self.done / self.full * DAY

    def wait_percentile(self, percent: int) -> float:
        """Return the percentile of the small jobs' waits in minutes."""
        return statistics.quantiles(self.waits, n=100, method="inclusive")[percent - 1]


@dataclass
class _Anthropic:
    """The batches in progress, each with the minute in which it ends."""

    in_progress: list[tuple[int, Batch]] = field(default_factory=list)

    def pass_minute(self, minute: int) -> list[Batch]:
        """Return the batches that have ended."""
        ended = [batch for end, batch in self.in_progress if end <= minute]
        self.in_progress = [(end, batch) for end, batch in self.in_progress if end > minute]
        return ended


def simulate(
    admission: Admission, duration: Duration, huge_rows: int = HUGE_ROWS, small: int = SMALL_JOBS
) -> SimulationResult:
    """Simulate a huge job, followed by small jobs over a day, until all have ended."""
    rng, result, anthropic = random.Random(7), SimulationResult(), _Anthropic()  # noqa: S311 - the same day for each policy
    arrivals = _arrivals(rng, huge_rows, small)
    waiting: list[Batch] = []
    minute, last = 0, max(arrivals)
    while minute <= last or waiting or anthropic.in_progress:
        arrived, ended = arrivals.pop(minute, []), anthropic.pass_minute(minute)
        waiting += arrived
        _count(result, minute, waiting, ended)
        if arrived or ended:
            admitted = admission(waiting, [batch for _, batch in anthropic.in_progress])
            chosen = {id(batch) for batch in admitted}
            waiting = [batch for batch in waiting if id(batch) not in chosen]
            for batch in admitted:
                duration_minutes = duration(rng)
                anthropic.in_progress.append((minute + duration_minutes, batch))
                _note(result, batch, minute, duration_minutes)
        result.item_minutes += len(waiting) + len(anthropic.in_progress)
        minute += 1
    return result


def _arrivals(rng: random.Random, huge_rows: int, small: int) -> dict[int, list[Batch]]:
    """Return the arriving batches by minute."""
    arrivals: dict[int, list[Batch]] = defaultdict(list)
    arrivals[0] = make_job(HUGE, huge_rows, 0)
    for number in range(small):
        minute = rng.randrange(HOUR, DAY)
        arrivals[minute] += make_job(f"{number:020}", SMALL_ROWS, minute)
    return arrivals


def _count(
    result: SimulationResult, minute: int, waiting: Sequence[Batch], ended: Sequence[Batch]
) -> None:
    if any(batch.job == HUGE for batch in waiting):
        result.full = minute
        result.done += sum(batch.requests for batch in ended)


def _note(result: SimulationResult, batch: Batch, minute: int, duration_minutes: int) -> None:
    if batch.job == HUGE:
        result.huge = max(result.huge, minute + duration_minutes)
    else:
        waited = minute - int(batch.status_key)
        result.waits.append(waited)
        result.slowdowns.append((waited + duration_minutes) / duration_minutes)


def make_job(job: str, rows: int, minute: int) -> list[Batch]:
    """Build the batches of a job that all wait since this minute."""
    return [
        Batch(
            job=job, item=f"{chunk:05}-1", schema=SCHEMA, status=BatchStatus.WAITING, status_key=f"{minute:09}",
            next_step=Step.SEND, chunk=f"{chunk:05}", attempt=1, first_row=1, last_row=1, start_byte=0, end_byte=1,
            requests=min(CHUNK, rows - row_offset), size_bytes=1, requests_key="", ledger_key="",
        )
        for chunk, row_offset in enumerate(range(0, rows, CHUNK), 1)
    ]  # fmt: skip
