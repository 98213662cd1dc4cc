"""What the table holds beside jobs and batches, and all that is unfinished, sorted by kind."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from aws_lambda_powertools import Logger

from functions.model import items, timestamps
from functions.model.events import NO_JOB, Event
from functions.model.items import Batch, BatchStatus, Job, JobStatus, Step

EVENT = "event/"
RELAY = "relay"
OWNER = "owner"
FOREIGN = "foreign"
logger = Logger(child=True)


@dataclass
class Unfinished:
    """All that is not at its end, as the index has it (which may be a moment behind).

    Attributes:
        unreadable: items that were passed over: what cannot be read stops no other.
        whole: whether there was time to read all that waits to be sent.
    """

    jobs: list[Job] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    cancels: list["CancellationRequest"] = field(default_factory=list)
    duplicates: list["Owner"] = field(default_factory=list)
    unreadable: int = 0
    whole: bool = True

    @property
    def canceled(self) -> set[str]:
        """The jobs that are to be canceled, by id."""
        return {job.job for job in self.jobs if job.canceled_at is not None}

    def of(self, *statuses: BatchStatus) -> list[Batch]:
        """Give the batches of these statuses, oldest first."""
        return [batch for batch in self.batches if batch.status in statuses]


class Ignored(msgspec.Struct, frozen=True, kw_only=True):
    """How many objects of a folder with a suffix were ignored on a day; `told_at`: when that was first announced."""

    item: str
    day: str
    bucket: str
    folder: str
    suffix: str
    count: int
    told_at: str | None = None


class CancellationRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request to cancel: every job of this upload key that was uploaded before then.

    `marker` is the object that asked for it, `matched` the key of the uploads that it canceled; `told_at` is when it
    was announced that it has met none.
    """

    job: str
    item: str
    schema: int
    open: str
    status_key: str
    bucket: str
    key: str
    at: str
    expires: int
    marker: str | None = None
    matched: str | None = None
    told_at: str | None = None


class Owner(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whose a Message Batch is: kept longer than Anthropic keeps the batch."""

    job: str
    item: str
    schema: int
    expires: int
    owned_by: str
    open: str | None = None
    status_key: str | None = None

    @property
    def flagged_at(self) -> datetime:
        """When it was found to be a duplicate."""
        return items.status_since(self.status_key or "")


class PendingEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event that is owed, as JSON, beside what it tells of; deleted when it is published."""

    job: str
    item: str
    schema: int
    open: str
    status_key: str
    event: str


class PollLease(msgspec.Struct, frozen=True, kw_only=True):
    """Poll's own item: where the phases of the last poll stopped, and when it ended."""

    stopped: dict[str, str] = {}
    ended_at: str | None = None


class Sending(msgspec.Struct, frozen=True, kw_only=True):
    """Whether requests may be sent at all: the same for every job.

    Attributes:
        paused_reason: why not, and `paused_at` since when.
        probe_at: when a batch may be let through to see; `probes` counts those that were.
        probe: the batch that may be sent now, once, though sending is paused.
        not_before: no create before then, by the API's word; `limited` counts such words in a row, from `limited_at` on.
        accepted_at: when the batch was sent that was accepted last, and `accepted_by` its key and version of the API.
    """

    paused_reason: str | None = None
    paused_at: str | None = None
    probe_at: str | None = None
    probes: int = 0
    probe: str | None = None
    not_before: str | None = None
    limited: int = 0
    limited_at: str | None = None
    accepted_at: str | None = None
    accepted_by: str | None = None


def sort(item: dict[str, Any], unfinished: Unfinished) -> None:
    """Put an item where its kind belongs; one that cannot be read is logged by its keys, and counted."""
    try:
        _sort(item, unfinished)
    except (msgspec.MsgspecError, KeyError, ValueError, TypeError, AttributeError) as error:
        unfinished.unreadable += 1
        facts = {name: str(item.get(name)) for name in ("job", "item", "schema")}
        logger.error("unreadable item", extra={**facts, "problem": type(error).__name__})  # noqa: TRY400 - its content may not be quoted


def _sort(item: dict[str, Any], unfinished: Unfinished) -> None:
    if item["item"].startswith(EVENT):
        unfinished.events.append(read_event(item))
    elif item["item"] == OWNER:
        duplicate = msgspec.convert(item, Owner)
        items.status_since(duplicate.status_key or "")  # raises where it is no time
        unfinished.duplicates.append(duplicate)
    elif item["job"] == "cancel":
        unfinished.cancels.append(msgspec.convert(item, CancellationRequest))
    elif item["item"] == items.JOB:
        job = msgspec.convert(item, Job)
        _check(JobStatus(job.status), job.next_step, [job.uploaded_at])
        unfinished.jobs.append(job)
    else:
        batch = msgspec.convert(item, Batch)
        at = [
            batch.created_at,
            batch.intent_at,
            batch.first_sent_at,
        ]
        items.status_since(batch.status_key)
        _check(BatchStatus(batch.status), batch.next_step, at)
        unfinished.batches.append(batch)


def _check(status: JobStatus | BatchStatus, step: str | None, at: Iterable[str | None]) -> None:
    """Refuse what poll would stumble over later, where it looks at all items together.

    Raises:
        ValueError: the status or the step is of no known kind, or a time is none.
    """
    if step is not None or status == BatchStatus.WAITING:
        Step(step or "")
    for moment in at:
        if moment is not None:
            timestamps.parse(moment)


def pending_event(event: Event) -> PendingEvent:
    """Build the item that keeps an event until it is published."""
    return PendingEvent(
        job=RELAY if event.subject in NO_JOB else event.subject,
        item=EVENT + event.id,
        schema=items.SCHEMA,
        open=items.OPEN,
        status_key=items.status_key("EVENT", event.time),
        event=msgspec.json.encode(event).decode(),
    )


def read_event(item: Mapping[str, Any]) -> Event:
    """Read an event that is owed."""
    return msgspec.json.decode(item["event"], type=Event)


def by_job(batches: Iterable[Batch]) -> dict[str, list[Batch]]:
    """Group batches by job."""
    grouped: dict[str, list[Batch]] = {}
    for batch in batches:
        grouped.setdefault(batch.job, []).append(batch)
    return grouped
