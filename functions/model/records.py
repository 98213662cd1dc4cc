"""The table's other items: requests of markers, owners, pending events, and the state of poll and of sending."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from functions.model.events import SUBJECTS_WITHOUT_JOB, Event
from functions.model.items import work_item
from functions.model.items.work_item import OPEN, SCHEMA, status_since

EVENT = "event/"
RELAY = "relay"
OWNER = "owner"
FOREIGN = "foreign"
CANCEL, GO = "cancel", "go"
"""The partition keys of what markers request."""


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


class LedgerCheck(msgspec.Struct, frozen=True, kw_only=True):
    """The last comparison of the ledger with Anthropic's usage report.

    Attributes:
        checked_at: when it was tried; None if it never was.
        problem: why it failed, in a sentence; None if it did not.
    """

    checked_at: str | None = None
    problem: str | None = None


class PollLease(msgspec.Struct, frozen=True, kw_only=True):
    """Poll's own item.

    Attributes:
        stopped: where the phases of the last poll stopped.
        ended_at: when it ended.
        listed_at: when the last listing began, whether it succeeded or not.
        wanted: whether another poll was requested.
        ledger_at: when the ledger's files were last written.
        jobs_file_write: the last write of jobs.json.
        ledger_check: the last comparison of the ledger with Anthropic's usage report.
        silent_since: when the API stopped answering listings; None if it answered the last one.
    """

    stopped: dict[str, str] = {}
    ended_at: str | None = None
    listed_at: str | None = None
    wanted: bool = False
    ledger_at: str | None = None
    jobs_file_write: JobsFileWrite = JobsFileWrite()
    ledger_check: LedgerCheck = LedgerCheck()
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
