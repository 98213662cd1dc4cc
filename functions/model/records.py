"""The table's other items, and all unfinished items sorted by kind."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
from aws_lambda_powertools import Logger

from functions.errors import NewerSchemaError
from functions.model import timestamps
from functions.model.cost_ledger import LEDGER, CostEntry
from functions.model.events import SUBJECTS_WITHOUT_JOB, Event
from functions.model.items import read, work_item
from functions.model.items.batch import Batch, BatchStatus
from functions.model.items.job import Job, JobStatus
from functions.model.items.work_item import OPEN, SCHEMA, Step, status_since

EVENT = "event/"
RELAY = "relay"
OWNER = "owner"
FOREIGN = "foreign"
CANCEL, GO = "cancel", "go"
"""The partition keys of what markers request."""
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(3000, 1, 1, tzinfo=UTC)
_UNREADABLE = (
    *(NewerSchemaError, msgspec.MsgspecError),
    *(KeyError, ValueError, TypeError, AttributeError),
)
logger = Logger(child=True)


@dataclass
class Unfinished:
    """All unfinished items, as the index returns them (eventually consistent).

    Attributes:
        not_admitted: job → why batches of it that could be sent were not admitted (``day_budget``, ``month_budget``,
            ``warm_up``, ``share`` or ``room``) → since when the oldest of them waits.
        budgets_until: ``day_budget`` or ``month_budget`` → when this day or month ends.
        unreadable: items that cannot be parsed, or that a newer version wrote, and that were passed over.
        whole: whether all items were read; if not, waiting batches are missing.
    """

    jobs: list[Job] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    requests: list["MarkerRequest"] = field(default_factory=list)
    duplicates: list["Owner"] = field(default_factory=list)
    cost_entries: list[CostEntry] = field(default_factory=list)
    not_admitted: dict[str, dict[str, str]] = field(default_factory=dict)
    budgets_until: dict[str, str] = field(default_factory=dict)
    unreadable: int = 0
    whole: bool = True

    @property
    def canceled(self) -> set[str]:
        """The ids of the jobs that are being canceled."""
        return {job.job for job in self.jobs if job.canceled_at is not None}

    def pass_over(self, batches: Iterable[Batch], reason: str) -> None:
        """Record why batches that could be sent are not admitted."""
        for batch in batches:
            since = self.not_admitted.setdefault(batch.job, {})
            waits_since = timestamps.text(batch.status_since)
            since[reason] = min(since.get(reason, waits_since), waits_since)

    def of(self, *statuses: BatchStatus) -> list[Batch]:
        """Return the batches with these statuses, oldest first."""
        return [batch for batch in self.batches if batch.status in statuses]

    @property
    def not_found(self) -> list[Batch]:
        """The ended batches whose results were not found. They are gone only if unlisted too."""
        return [batch for batch in self.of(BatchStatus.ENDED) if batch.not_found]


class Ignored(msgspec.Struct, frozen=True, kw_only=True):
    """The objects of one folder and suffix that were ignored on one day.

    Attributes:
        count: how many were ignored.
        announced_at: when they were first announced.
    """

    item: str
    day: str
    bucket: str
    folder: str
    suffix: str
    count: int
    announced_at: str | None = None


class MarkerRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request to cancel or release every job whose upload has this key and is older than `at`.

    Attributes:
        job: ``cancel`` or ``go``.
        marker: the key of the marker.
        matched: the key of the uploads whose jobs it was applied to; None if there were none.
        announced_at: when `cancel.unmatched` or `go.unmatched` was announced.
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
    announced_at: str | None = None


class Owner(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The owner of a Message Batch; kept longer than Anthropic keeps the batch.

    Attributes:
        job: the Message Batch's id.
        owned_by: ``job/item`` or ``foreign``.
        open: set while a duplicate must be canceled.
    """

    job: str
    item: str
    schema: int
    expires: int
    owned_by: str
    open: str | None = None
    status_key: str | None = None

    @property
    def flagged_at(self) -> datetime:
        """When it was recorded as a duplicate."""
        return status_since(self.status_key or "")


class PendingEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event that is not published yet, as JSON. It is deleted once it is published."""

    job: str
    item: str
    schema: int
    open: str
    status_key: str
    event: str


class JobsFileWrite(msgspec.Struct, frozen=True, kw_only=True):
    """The last write of jobs.json.

    Attributes:
        digest: of the unfinished jobs that it listed; None if there were none.
        written_at: when it was written.
    """

    digest: str | None = None
    written_at: str | None = None


class PollLease(msgspec.Struct, frozen=True, kw_only=True):
    """Poll's own item.

    Attributes:
        stopped: where the phases of the last poll stopped.
        ended_at: when it ended.
        listed_at: when the last listing began, whether it succeeded or not.
        wanted: whether another poll was requested.
        ledger_at: when the ledger's files were last written.
        jobs_file_write: the last write of jobs.json.
        silent_since: since when the API has not answered a listing; None if the last one was answered.
    """

    stopped: dict[str, str] = {}
    ended_at: str | None = None
    listed_at: str | None = None
    wanted: bool = False
    ledger_at: str | None = None
    jobs_file_write: JobsFileWrite = JobsFileWrite()
    silent_since: str | None = None


class Sending(msgspec.Struct, frozen=True, kw_only=True):
    """The circuit breaker's state, shared by all jobs.

    Attributes:
        paused_reason: why sending is paused; None if it is not.
        paused_at: when it was paused.
        probe_at: when the next probe may be sent.
        probes: probes sent during this pause.
        probe: the batch that may be sent once as a probe.
        not_before: when the API's rate limit allows the next create.
        limited: consecutive rate-limit responses, since `limited_at`.
        accepted_at: when the most recently accepted batch was sent.
        accepted_by: the key's fingerprint and the API version of that batch.
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
    """Add an item to the list of its kind. Log and count an item that cannot be parsed, or is of a newer version."""
    try:
        _sort(item, unfinished)
    except _UNREADABLE as error:
        unfinished.unreadable += 1
        facts = {name: str(item.get(name)) for name in ("job", "item", "schema")}
        logger.error("unreadable item", extra={**facts, "problem": type(error).__name__})  # noqa: TRY400 - a traceback could quote its content


def _sort(item: dict[str, Any], unfinished: Unfinished) -> None:
    if item["item"].startswith(EVENT):
        unfinished.events.append(read_event(item))
    elif item["item"] == OWNER:
        duplicate = msgspec.convert(item, Owner)
        _check_times(_status_time(duplicate.status_key or ""))
        unfinished.duplicates.append(duplicate)
    elif item["job"] in {CANCEL, GO}:
        unfinished.requests.append(msgspec.convert(item, MarkerRequest))
    elif item["job"].startswith(LEDGER):
        unfinished.cost_entries.append(msgspec.convert(item, CostEntry))
    else:
        _sort_work(read(item), unfinished)


def _sort_work(item: Job | Batch, unfinished: Unfinished) -> None:
    since = _status_time(item.status_key)
    if isinstance(item, Job):
        _check_step(JobStatus(item.status), item.next_step)
        _check_times(since, item.uploaded_at)
        unfinished.jobs.append(item)
    else:
        _check_step(BatchStatus(item.status), item.next_step)
        _check_times(
            *(since, item.created_at, item.intent_at),
            *(item.first_sent_at, item.first_tried_at, item.first_missed_at),
        )
        unfinished.batches.append(item)


def _check_step(status: JobStatus | BatchStatus, step: str | None) -> None:
    """Reject a step here that would otherwise fail later, when poll handles all items together.

    Raises:
        ValueError: the step is invalid, or missing.
    """
    if step is not None or status == BatchStatus.WAITING:
        Step(step or "")


def _check_times(*times: str | None) -> None:
    """Reject times here that would otherwise fail later, when poll compares those of all items.

    Raises:
        ValueError: a time is invalid, or so far away that arithmetic with it fails.
        TypeError: a time has no time zone.
    """
    for time in times:
        if time is not None and not _EARLIEST < timestamps.parse(time) < _LATEST:
            message = "time out of range"
            raise ValueError(message)


def _status_time(key: str) -> str:
    """Return the time in an item's `status_key`, unparsed."""
    return key.partition("#")[2]


def pending_event(event: Event) -> PendingEvent:
    """Build the item that keeps an event until it is published."""
    return PendingEvent(
        job=RELAY if event.subject in SUBJECTS_WITHOUT_JOB else event.subject,
        item=EVENT + event.id,
        schema=SCHEMA,
        open=OPEN,
        status_key=work_item.status_key("EVENT", event.time),
        event=msgspec.json.encode(event).decode(),
    )


def read_event(item: Mapping[str, Any]) -> Event:
    """Read the event from its item."""
    return msgspec.json.decode(item["event"], type=Event)


def by_job(batches: Iterable[Batch]) -> dict[str, list[Batch]]:
    """Group batches by job."""
    grouped: dict[str, list[Batch]] = {}
    for batch in batches:
        grouped.setdefault(batch.job, []).append(batch)
    return grouped
