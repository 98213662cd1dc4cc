"""Jobs and batches in the table: two verbs carry every stage.

`acquire` is the first act of a stage on an item: a conditional write that makes it its owner for a while. `transition`
is the last: one transaction that moves the item on, puts the items that follow and the events it owes. A write
that failed only because the SDK repeated it is recognized by its own mark.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from functions.adapters.table import Conditions, Lease, Table
from functions.model import items, timestamps
from functions.model.events import Event
from functions.model.items import Batch, Job, JobStatus, WorkMessage
from functions.model.records import Owner, Unfinished, pending_event, sort

PAGE = 100
"""Batches of a job that are read at once."""
MAX_ERROR_CHARS = 300
"""Characters that are kept of what went wrong."""
BACKOFF_FACTOR = 6
"""Delays of 1, 6, 36 and 216 minutes outlast a four-hour outage."""
MAX_PAUSE_S = 6 * 3600.0
"""No pause between tries is longer, however many there were."""
BATCH_DAYS = 400
"""A batch is forgotten so long after its end: past any job that was paused half-way."""
_PROGRESS = ("tries", "first_tried_at", "last_error", "at_fault", "stuck_at", "not_before")
"""Attributes that a failure leaves on an item and the next progress removes."""


class WorkItems:
    """The jobs, and their batches."""

    def __init__(self, table: Table, now: Callable[[], datetime] = timestamps.now) -> None:
        self._table, self.now = table, now

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
        for item in self._table.query("#open = :open", {":open": items.OPEN}, items.UNFINISHED):
            sort(item, unfinished)
            if not has_time():
                unfinished.whole = False
                break
        return unfinished

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
        lease = Lease.begin(self.now(), lease_s, uuid.uuid4().hex)
        taken = self._table.acquire(
            work_message.job, work_message.item, lease, next_step=work_message.next_step
        )
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
            *(self._table.create(put) for put in puts),
            *(self._table.put(pending_event(event)) for event in events),
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
            return keys | {
                "open": None,
                "expires": timestamps.epoch(now + timedelta(days=BATCH_DAYS)),
            }
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
            self._table.put(pending_event(event)),
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


def pause_s(tries: int, retry_s: float) -> float:
    """Return how long to wait after so many tries without progress, in seconds."""
    return min(retry_s * float(BACKOFF_FACTOR ** min(max(tries, 1) - 1, 10)), MAX_PAUSE_S)
