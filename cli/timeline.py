"""The timeline of a job's batches: from the table while it runs, from the manifest once it has ended."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from functions.model import timestamps
from functions.model.items.batch import FINISHED_BATCH_STATUSES
from functions.model.items.job import JobStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from cli.jobs import FoundJob, Jobs
    from functions.model.items.batch import Batch

WAITING, SENDING, RUNNING, COLLECTING = ".", ":", "#", "="
"""The phases of a batch: it waits, its create is under way, Anthropic answers it, its results are collected."""
_MIN_SPAN = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One batch.

    Attributes:
        name: its chunk and attempt: ``00001-2``.
        requests: its requests.
        status: its status in the table.
        since: when it began to wait: when its job was claimed, or the attempt before it was over.
        sent_at: when its create was first attempted; None if that is not known.
        created_at: when Anthropic accepted it.
        ended_at: when Anthropic ended it.
        collected_at: when its results were in S3.
    """

    name: str
    requests: int
    status: str
    since: datetime | None = None
    sent_at: datetime | None = None
    created_at: datetime | None = None
    ended_at: datetime | None = None
    collected_at: datetime | None = None


@dataclass(frozen=True)
class Timeline:
    """The batches of a job.

    Attributes:
        begin: when the job was claimed.
        end: when it ended; the current time while it runs.
        bars: its batches, by chunk and attempt.
    """

    begin: datetime
    end: datetime
    bars: Sequence[Bar]

    def line(self, bar: Bar, width: int) -> str:
        """Draw a batch in this many characters. A phase shorter than one character is drawn as one."""
        cells = [" "] * width
        stop = bar.collected_at or self.end
        for since, until, sign in (
            (bar.since, bar.sent_at or bar.created_at, WAITING),
            (bar.sent_at, bar.created_at, SENDING),
            (bar.created_at, bar.ended_at, RUNNING),
            (bar.ended_at, bar.collected_at, COLLECTING),
        ):
            if since is not None:
                first = self._cell(since, width)
                last = max(first, self._cell(until or stop, width))  # clocks differ
                cells[first : last + 1] = sign * (last - first + 1)
                if until is None:
                    break
        return "".join(cells)

    def _cell(self, moment: datetime, width: int) -> int:
        share = (moment - self.begin) / max(self.end - self.begin, _MIN_SPAN)
        return min(max(int(share * width), 0), width - 1)


def timeline(jobs: Jobs, found_job: FoundJob, now: datetime) -> Timeline:
    """Return the timeline of a job.

    Raises:
        NotFoundError: it is not claimed yet, or its manifest is deleted.
    """
    if found_job.item is not None and found_job.item.status != JobStatus.DONE:
        begin = timestamps.parse(found_job.item.claimed_at)
        return Timeline(begin, now, [*_since(begin, map(_of_batch, jobs.batches(found_job)))])
    manifest = jobs.manifest(found_job)
    times = manifest["times"]
    # The table may have deleted the batches. As long as it has them, it knows more of their times.
    known = {batch.item: _of_batch(batch) for batch in jobs.batches(found_job)}
    bars = (known.get(entry["batch"]) or _of_entry(entry) for entry in manifest["batches"])
    begin, end = timestamps.parse(times["claimed_at"]), timestamps.parse(times["ended_at"])
    return Timeline(begin, end, [*_since(begin, bars)])


def _of_batch(batch: Batch) -> Bar:
    is_over = batch.status in FINISHED_BATCH_STATUSES
    return Bar(
        name=batch.item,
        requests=batch.requests,
        status=batch.status,
        sent_at=_parsed(batch.first_sent_at),
        created_at=_parsed(batch.created_at),
        ended_at=_parsed(batch.ended_at),
        collected_at=batch.status_since if is_over else None,
    )


def _of_entry(entry: Mapping[str, Any]) -> Bar:
    return Bar(
        name=entry["batch"],
        requests=entry["requests"],
        status=entry["status"],
        created_at=_parsed(entry["created_at"]),
        ended_at=_parsed(entry["ended_at"]),
        collected_at=_parsed(entry["ended_at"]),
    )


def _parsed(text: str | None) -> datetime | None:
    return None if text is None else timestamps.parse(text)


def _since(begin: datetime, bars: Iterable[Bar]) -> Iterator[Bar]:
    """Yield batches with the time since which they wait: the end of the attempt before, if there was one."""
    over: dict[str, datetime | None] = {}
    for bar in bars:
        chunk = bar.name.partition("-")[0]
        yield replace(bar, since=over.get(chunk) or begin)
        over[chunk] = bar.collected_at
