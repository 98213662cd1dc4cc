"""The adapter for the table: two verbs carry every stage.

`acquire` is the first act of a stage on an item: a conditional write that makes it its owner for a while. `transition`
is the last: one transaction that moves the item on, puts the items that follow and the events it owes. A write
that failed only because the SDK repeated it is recognized by its own mark.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from functions.adapters.claims import Claims
from functions.adapters.table import Conditions, LessThan, Table
from functions.adapters.uploads import Uploads
from functions.model import ids, items, timestamps
from functions.model.events import NO_JOB, Event
from functions.model.items import Batch, Job, JobStatus, WorkMessage
from functions.model.records import (
    EVENT,
    OWNER,
    RELAY,
    CancellationRequest,
    Flight,
    Owner,
    Sending,
    Unfinished,
    read_event,
    sort,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

INDEX = "unfinished"
PAGE = 100
"""Batches of a job that are read at once."""
OWNER_DAYS = 60
"""How long it is remembered whose a Message Batch is: past the 29 days that Anthropic keeps it."""
MAX_ERROR_CHARS = 300
"""Characters that are kept of what went wrong."""
BACKOFF_FACTOR = 6
"""Delays of 1, 6, 36 and 216 minutes outlast a four-hour outage."""
MAX_PAUSE_S = 6 * 3600.0
"""No pause between tries is longer, however many there were."""
BATCH_DAYS = 400
"""A batch is forgotten so long after its end: past any job that was paused half-way."""
CANCELLATION_TTL_DAYS = 3
"""A request to cancel that poll never met is forgotten after so long."""
_LEASE_IS_FREE = "(attribute_not_exists(#lease) OR #lease < :now)"
_PROGRESS = ("tries", "tried_since", "last_error", "at_fault", "stuck_at", "not_before")
"""Attributes that a failure leaves on an item and the next progress removes."""


class Store:
    """The table, in the domain's words."""

    def __init__(
        self,
        table_name: str,
        *,
        client: "DynamoDBClient | None" = None,
        now: Callable[[], datetime] = timestamps.now,
    ) -> None:
        self._table = Table(table_name, client)
        self.now = now
        self.claims = Claims(self._table, self._event_item, now)
        self.uploads = Uploads(self._table, self._event_item)

    # -- reading

    def job(self, job: str) -> Job | None:
        """Read a job; None if there is none."""
        found = self._table.get(job, items.JOB)
        return msgspec.convert(found, Job) if found else None

    def batch(self, job: str, item: str) -> Batch | None:
        """Read a batch; None if there is none."""
        found = self._table.get(job, item)
        return msgspec.convert(found, Batch) if found else None

    def batches(self, job: str) -> list[Batch]:
        """Read all batches of a job, by chunk and attempt."""
        condition = "job = :job AND #item BETWEEN :low AND :high"
        found = self._table.query(condition, {":job": job, ":low": "0", ":high": ":"}, limit=PAGE)
        return [msgspec.convert(item, Batch) for item in found]

    def unfinished(self, has_time: Callable[[], bool] = lambda: True) -> Unfinished:
        """Read all that is not at its end: what grows is what is open, never history.

        In the order of the index, what waits to be sent comes last, the oldest first: of that alone the end is left
        unread where there is no time for it, until what is before it has been sent.
        """
        unfinished = Unfinished()
        for item in self._table.query("#open = :open", {":open": items.OPEN}, INDEX):
            sort(item, unfinished)
            if not has_time():
                unfinished.whole = False
                break
        return unfinished

    def owner(self, batch_id: str) -> str | None:
        """Say whose a Message Batch is: ``job/item``, ``foreign``, or None where nobody knows."""
        found = self._table.get(batch_id, OWNER)
        return str(found["owned_by"]) if found else None

    def sending(self) -> Sending:
        """Read whether requests may be sent at all."""
        return msgspec.convert(self._table.get(RELAY, "sending") or {}, Sending)

    # -- canceling

    def request_cancellation(self, bucket: str, key: str, at: datetime, marker: str) -> None:
        """Note that the jobs of an upload are to be canceled; poll does it. The latest request counts, whichever comes last."""
        cancel = CancellationRequest(
            job="cancel", item=ids.job_id(bucket, key, ""), schema=items.SCHEMA, open=items.OPEN,
            status_key=items.status_key("CANCEL", timestamps.text(at)), bucket=bucket, key=key, at=timestamps.text(at),
            expires=_epoch(at + timedelta(days=CANCELLATION_TTL_DAYS)), marker=marker,
        )  # fmt: skip
        self._table.write(self._table.put(cancel, {"at": LessThan(cancel.at)}))

    def delete_cancellation(self, cancel: CancellationRequest) -> None:
        """Delete a cancellation request whose window is over."""
        self._table.write(self._table.delete(cancel.job, cancel.item, {"at": cancel.at}))

    # -- acquire and transition

    def acquire(
        self, work_message: WorkMessage, lease_s: float, retry_s: float = 60.0
    ) -> Job | Batch | None:
        """Make this stage the item's owner, if it waits for that step and nobody else works on it.

        Args:
            work_message: which item, and the step it waits for.
            lease_s: how long this stage owns it.
            retry_s: the first pause, should this try be killed; each later one is longer.

        Returns:
            The item as it is now, with the token in `owner`; None if there is nothing to do.
        """
        now = self.now()
        taken = self._table.acquire(
            work_message.job,
            work_message.item,
            f"#next_step = :next_step AND {_LEASE_IS_FREE}"
            " AND (attribute_not_exists(#not_before) OR #not_before <= :now)",
            {
                ":token": uuid.uuid4().hex, ":until": timestamps.after(now, lease_s),
                ":now": timestamps.text(now), ":next_step": work_message.next_step,
            },
        )  # fmt: skip
        item = items.read(taken) if taken else None
        if item is not None and item.tries > 1:
            self._pause_after_crash(item, retry_s)
        return item

    def _pause_after_crash(self, item: Job | Batch, retry_s: float) -> None:
        """Make the next try wait as after a failure, in case this one is killed before it says anything."""
        until = timestamps.parse(item.lease or timestamps.text(self.now()))
        later = timestamps.after(until, pause_s(item.tries, retry_s))
        self._table.write(
            self._table.update(item.job, item.item, {"not_before": later}, {"owner": item.owner})
        )

    def transition(  # noqa: PLR0913 - one transaction is one call; all but two are keywords
        self,
        item: Job | Batch,
        changes: Mapping[str, Any],
        *,
        expected: Conditions | None = None,
        increments: Mapping[str, int] | None = None,
        job_increments: Mapping[str, int] | None = None,
        puts: Sequence[Job | Batch | Owner] = (),
        duplicate: Owner | None = None,
        events: Sequence[Event] = (),
        keep_lease: bool = False,
    ) -> bool:
        """Move an item on, in one transaction with all that follows from it.

        Args:
            item: as it was taken or read.
            changes: its attributes from now on; None removes one.
            expected: what must still hold; if left out, that this stage owns the item.
            increments: what to add to counters of the item itself.
            job_increments: what to add to counters of the item's job.
            puts: items to create; one that is there already undoes the whole.
            duplicate: a batch that was taken for ours before, for poll to cancel.
            events: what is owed to whoever listens.
            keep_lease: go on owning the item, as a stage does that has made progress.

        Returns:
            False, and nothing is changed, if it no longer holds.
        """
        held = {"owner": item.owner} if expected is None else expected
        release: dict[str, Any] = dict.fromkeys(_PROGRESS)
        if not keep_lease:
            release |= {"owner": None, "lease": None}
        writes = [
            self._table.update(
                item.job,
                item.item,
                {**release, **self._status(changes), **changes},
                held,
                increments,
            ),
            *(self._table.put(put) for put in puts),
            *(self._event_item(event, item.job) for event in events),
        ]
        if job_increments:
            writes.append(self._table.add(item.job, items.JOB, job_increments))
        if duplicate is not None:
            marks = {"open": duplicate.open, "status_key": duplicate.status_key}
            writes.append(
                self._table.update(
                    duplicate.job, duplicate.item, marks, {"owned_by": duplicate.owned_by}
                )
            )
        return self._table.write(*writes)

    def _status(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Give the keys of the index that go with a new status."""
        status = changes.get("status")
        if status is None:
            return {}
        now = self.now()
        # However a job has ended, its work files are left to be marked.
        step = items.Step.TIDY if status == JobStatus.DONE else None
        keys = {"status_key": items.status_key(status, timestamps.text(now)), "next_step": step}
        if status in items.FINISHED:
            return keys | {"open": None, "expires": _epoch(now + timedelta(days=BATCH_DAYS))}
        return keys | {"open": items.OPEN}

    def archive(self, job: Job, expires: int) -> bool:
        """Take a job that is done out of the index; it is forgotten much later."""
        changes = {"open": None, "expires": expires}
        return self.transition(job, changes, expected={"status": JobStatus.DONE})

    def save_status_digest(self, job: Job, digest: str) -> None:
        """Note what was last told of a job in its status.json."""
        self._table.write(
            self._table.update(
                job.job, items.JOB, {"status_digest": digest}, {"status": job.status}
            )
        )

    def cancel(self, job: Job, cancellation: CancellationRequest) -> bool:
        """Note that a job is to be canceled, if it is not yet, and on the request that it has met one."""
        expected = {"canceled_at": job.canceled_at, "outcome": None}
        canceled = {"canceled_at": job.canceled_at or cancellation.at}
        return self._table.write(
            self._table.update(job.job, items.JOB, canceled, expected),
            self._table.update(
                cancellation.job, cancellation.item, {"matched": job.key}, {"at": cancellation.at}
            ),
        )

    def tell_unmatched(self, cancellation: CancellationRequest, event: Event) -> bool:
        """Note that it is announced that a request to cancel has met no job; False if it has met one since."""
        expected = {"at": cancellation.at, "matched": None, "told_at": None}
        return self._table.write(
            self._table.update(
                cancellation.job, cancellation.item, {"told_at": event.time}, expected
            ),
            self._event_item(event, RELAY),
        )

    def update_if_unchanged(self, item: Job | Batch, changes: Mapping[str, Any]) -> bool:
        """Change what poll counts on an item, if it still stands where poll saw it."""
        expected = {"status": item.status, "status_key": item.status_key}
        return self._table.write(self._table.update(item.job, item.item, changes, expected))

    def release(
        self, item: Job | Batch, not_before: str | None = None, **changes: str | int
    ) -> None:
        """Give an item back through no fault of its own: the try does not count."""
        self.transition(item, {"not_before": not_before, **changes})

    def record_failure(
        self,
        item: Job | Batch,
        retry_s: float,
        problem: str,
        *,
        at_fault: bool = False,
        noted: Mapping[str, Any] | None = None,
    ) -> None:
        """Give an item back after a failure: the try counts, and each pause is longer than the last.

        Not one that is being sent: whether its batch exists is not known, and its lease shows that.

        Args:
            item: as it was taken.
            retry_s: the first pause, in seconds.
            problem: a sentence, or an error's name.
            at_fault: whether the problem may lie in the item itself; its environment is charged to no item.
            noted: what else to note on the item.
        """
        failed = {
            "owner": None, "lease": None, "last_error": problem[:MAX_ERROR_CHARS], "at_fault": at_fault or None,
            "not_before": timestamps.after(self.now(), pause_s(item.tries, retry_s)), **(noted or {}),
        }  # fmt: skip
        expected = {"owner": item.owner, "status": item.status}
        self._table.write(self._table.update(item.job, item.item, failed, expected))

    def announce_stuck(self, item: Job | Batch, event: Event) -> bool:
        """Note that `batch.stuck` is owed for an item that goes on waiting; False if it is noted already."""
        expected = {"status": item.status, "status_key": item.status_key, "stuck_at": None}
        changes = {"stuck_at": event.time}
        return self._table.write(
            self._table.update(item.job, item.item, changes, expected),
            self._event_item(event, item.job),
        )

    def start_assembly_if_complete(self, job_id: str) -> bool:
        """Let a job be assembled if it is planned and all its chunks are finished; the one place that decides."""
        job = self.job(job_id)
        if job is None or job.status != JobStatus.RUNNING or job.chunks_finished < job.chunks:
            return False
        expected = {
            "status": JobStatus.RUNNING,
            "chunks_finished": job.chunks_finished,
            "chunks": job.chunks,
        }
        changes = {
            "status": JobStatus.ASSEMBLING, "next_step": items.Step.ASSEMBLE, "ended_at": timestamps.text(self.now())
        }  # fmt: skip
        return self.transition(job, changes, expected=expected)

    # -- whose batch, and may we send

    def ownership_record(self, batch_id: str, owned_by: str, *, duplicate: bool = False) -> Owner:
        """Make the item that says whose a Message Batch is; a duplicate is to be canceled by poll."""
        now = self.now()
        keys = (
            {"open": items.OPEN, "status_key": items.status_key("DUPLICATE", timestamps.text(now))}
            if duplicate
            else {}
        )
        expires = _epoch(now + timedelta(days=OWNER_DAYS))
        return Owner(
            job=batch_id,
            item=OWNER,
            schema=items.SCHEMA,
            expires=expires,
            owned_by=owned_by,
            **keys,
        )

    def record_ownership(self, owner: Owner) -> bool:
        """Note whose a Message Batch is; False if that is known already."""
        return self._table.write(self._table.put(owner))

    def resolve_duplicate(self, owner: Owner) -> None:
        """Note that a duplicate batch is canceled or has ended."""
        self._table.write(
            self._table.update(
                owner.job,
                owner.item,
                {"open": None, "status_key": None},
                {"owned_by": owner.owned_by},
            )
        )

    def pause(self, event: Event, reason: str, probe_at: str) -> bool:
        """Stop sending, for all jobs; False if it is stopped already."""
        changes = {
            "paused_reason": reason,
            "paused_at": event.time,
            "probe_at": probe_at,
            "schema": items.SCHEMA,
        }
        return self._table.write(
            self._table.update(RELAY, "sending", changes, {"paused_reason": None}),
            self._event_item(event, RELAY),
        )

    def probe(self, sending: Sending, batch: str, probe_at: str) -> bool:
        """Let one batch through to see whether sending works again; False if another poll did."""
        changes = {"probe": batch, "probe_at": probe_at, "probes": sending.probes + 1}
        expected = {"paused_reason": sending.paused_reason, "probe_at": sending.probe_at}
        return self._table.write(self._table.update(RELAY, "sending", changes, expected))

    def use_probe(self, batch: str) -> bool:
        """Use up the leave that poll gave this batch to be sent while sending is paused; False if it has none."""
        return self._table.write(
            self._table.update(RELAY, "sending", {"probe": None}, {"probe": batch})
        )

    def resume(self, sending: Sending, event: Event) -> bool:
        """Send again, for all jobs."""
        changes = dict.fromkeys(
            ("paused_reason", "paused_at", "probe_at", "probes", "probe", "not_before", "limited", "limited_at")
        )  # fmt: skip
        expected = {"paused_reason": sending.paused_reason, "paused_at": sending.paused_at}
        return self._table.write(
            self._table.update(RELAY, "sending", changes, expected), self._event_item(event, RELAY)
        )

    def accepted(self, sent_at: str, who: str) -> None:
        """Note that a create that was sent then was accepted, under this key and version of the API."""
        changes = {
            "accepted_at": sent_at, "accepted_by": who, "limited": None, "limited_at": None, "schema": items.SCHEMA,
        }  # fmt: skip
        later = {"accepted_at": LessThan(sent_at)}
        self._table.write(self._table.update(RELAY, "sending", changes, later))

    def throttle_until(self, until: str, **counted: int | str) -> None:
        """Send nothing before then, for all jobs; nor before what somebody else was told, where that is later."""
        changes = {"not_before": until, "schema": items.SCHEMA, **counted}
        later = {"not_before": LessThan(until)}
        self._table.write(self._table.update(RELAY, "sending", changes, later))

    def single_flight(self, token: str, lease_s: float) -> Flight | None:
        """Be the only poll for a while; None if another one is at work."""
        now = self.now()
        values = {
            ":token": token,
            ":until": timestamps.after(now, lease_s),
            ":now": timestamps.text(now),
        }
        found = self._table.acquire(RELAY, "poll", _LEASE_IS_FREE, values)
        return None if found is None else msgspec.convert(found, Flight)

    def want_flight(self) -> None:
        """Ask the poll that is at work for another one when it ends."""
        self._table.write(self._table.update(RELAY, "poll", {"wanted": True}, {}))

    def release_poll_lease(self, token: str, stopped: Mapping[str, str]) -> bool:
        """Let the next poll begin, and say where this one stopped.

        Returns:
            Whether somebody asked for another one meanwhile.
        """
        changes = {
            "owner": None, "lease": None, "stopped": stopped or None, "ended_at": timestamps.text(self.now())
        }  # fmt: skip
        unasked = self._table.update(RELAY, "poll", changes, {"owner": token, "wanted": None})
        asked = self._table.update(RELAY, "poll", {**changes, "wanted": None}, {"owner": token})
        return not self._table.write(unasked) and self._table.write(asked)

    # -- events

    def _event_item(
        self, event: Event, job: str, given: Conditions | None = None
    ) -> "TransactWriteItemTypeDef":
        """Freeze an event beside what it tells of."""
        item = {
            "job": job, "item": EVENT + event.id, "schema": items.SCHEMA, "open": items.OPEN,
            "status_key": items.status_key("EVENT", event.time), "event": msgspec.json.encode(event).decode(),
        }  # fmt: skip
        return self._table.put(item, expected=given or {})

    def pending_events(self, job: str) -> list[Event]:
        """Read the events that are owed for a job."""
        condition = "job = :job AND begins_with(#item, :event)"
        found = self._table.query(condition, {":job": job, ":event": EVENT})
        return [read_event(item) for item in found]

    def delete_event(self, event: Event) -> None:
        """Forget an event that has been published."""
        job = RELAY if event.subject in NO_JOB else event.subject
        self._table.write(self._table.delete(job, EVENT + event.id, {}))


def pause_s(tries: int, retry_s: float) -> float:
    """Return how long to wait after so many tries without progress, in seconds."""
    return min(retry_s * float(BACKOFF_FACTOR ** min(max(tries, 1) - 1, 10)), MAX_PAUSE_S)


def _epoch(moment: datetime) -> int:
    return int(moment.timestamp())
