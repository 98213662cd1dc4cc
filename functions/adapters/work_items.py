"""The jobs and batches in the table. Each step begins with `acquire` and ends with `transition`.

`acquire` is a conditional write that records the step's invocation as the owner. `transition` is one
transaction: it changes the item, creates the items that follow and stores the events. A write that failed
only because the SDK repeated it is recognized by its token.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from functions.adapters import spending
from functions.adapters.table import Conditions, Lease, Table
from functions.model import items, timestamps
from functions.model.cost_ledger import CostEntry, duplicate_entry
from functions.model.events import Event
from functions.model.items.batch import FINISHED_BATCH_STATUSES, Batch
from functions.model.items.job import Job, JobStatus
from functions.model.items.work_item import JOB, OPEN, UNFINISHED_INDEX, Step, status_key
from functions.model.items.work_message import WorkMessage
from functions.model.records import Owner, pending_event
from functions.model.unfinished import Unfinished

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

PAGE = 100
"""Batches of a job that are read per page."""
MAX_ERROR_CHARS = 300
"""Characters of an error that are stored."""
BACKOFF_FACTOR = 6
"""Backoff factor. Delays of 1, 6, 36 and 216 minutes outlast a four-hour outage."""
MAX_PAUSE_S = 6 * 3600.0
"""The longest delay between two tries, in seconds."""
BATCH_DAYS = 400
"""Days after its end when a batch is deleted: longer than a job can be paused."""
_PROGRESS = ("tries", "first_tried_at", "last_error", "faults", "stuck_at", "not_before")
"""Attributes that a failure sets and the next progress removes."""


class WorkItems:
    """The store of jobs and batches."""

    def __init__(self, table: Table, now: Callable[[], datetime] = timestamps.now) -> None:
        self._table, self.now = table, now

    def job(self, job: str) -> Job | None:
        """Read a job, of any version: many callers only ask whether it exists. Return None if it does not."""
        attributes = self._table.get(job, JOB)
        return msgspec.convert(attributes, Job) if attributes else None

    def batch(self, job: str, item: str) -> Batch | None:
        """Read a batch. Return None if it does not exist.

        Raises:
            NewerSchemaError: a newer version of the relay wrote it.
        """
        attributes = self._table.get(job, item)
        return items.read_batch(attributes) if attributes else None

    def batches(self, job: str) -> list[Batch]:
        """Read all batches of a job, by chunk and attempt.

        Raises:
            NewerSchemaError: a newer version of the relay wrote one of them.
        """
        condition = "job = :job AND #item BETWEEN :low AND :high"
        values = {":job": job, ":low": "0", ":high": ":"}
        stored = self._table.query(condition, values, limit=PAGE)
        # The table has the tenth attempt before the second.
        return sorted(
            map(items.read_batch, stored), key=lambda batch: (batch.chunk, batch.attempt)
        )

    def unfinished(self, has_time: Callable[[], bool] = lambda: True) -> Unfinished:
        """Read all unfinished items from the sparse index, which contains no finished ones.

        Waiting batches come last in the index, oldest first. If the time runs out, only waiting batches are left
        unread, and a later poll reads them.
        """
        unfinished = Unfinished()
        for item in self._table.query("#open = :open", {":open": OPEN}, UNFINISHED_INDEX):
            unfinished.add(item)
            if not has_time():
                unfinished.whole = False
                break
        return unfinished

    def planning(self) -> Iterator[Job]:
        """Yield the jobs that are being planned or wait for it, from the index."""
        condition = "#open = :open AND begins_with(status_key, :status)"
        values = {":open": OPEN, ":status": status_key(JobStatus.PLANNING, "")}
        for item in self._table.query(condition, values, UNFINISHED_INDEX):
            found = Unfinished()
            found.add(item)
            yield from found.jobs

    def acquire(
        self, work_message: WorkMessage, lease_s: float, retry_s: float = 60.0
    ) -> Job | Batch | None:
        """Record this invocation as the item's owner, if the item waits for the step and is not leased.

        Args:
            work_message: the item and the step.
            lease_s: the length of the lease, in seconds.
            retry_s: the delay if this first try is killed, in seconds; later delays grow.

        Returns:
            The item with the token in `owner`; None if it is not available.
        """
        lease = Lease.begin(self.now(), lease_s, uuid.uuid4().hex)
        attributes = self._table.acquire(
            work_message.job, work_message.item, lease, next_step=work_message.next_step
        )
        item = items.read(attributes) if attributes else None
        if item is not None and item.tries > 1:
            self._delay_next_try(item, retry_s)
        return item

    def _delay_next_try(self, item: Job | Batch, retry_s: float) -> None:
        """Set the delay of the next try now, since a killed invocation cannot."""
        until = timestamps.parse(item.lease or timestamps.text(self.now()))
        not_before = timestamps.after(until, retry_delay_s(item.tries, retry_s))
        self._table.write(
            self._table.update(
                item.job, item.item, {"not_before": not_before}, {"owner": item.owner}
            )
        )

    def transition(  # noqa: PLR0913 - one transaction is one call; all but two are keywords
        self,
        item: Job | Batch,
        changes: Mapping[str, Any],
        *,
        expected: Conditions | None = None,
        increments: Mapping[str, int] | None = None,
        job_increments: Mapping[str, int] | None = None,
        job_expected: Conditions | None = None,
        puts: Sequence[Job | Batch | Owner | CostEntry] = (),
        duplicate: Owner | None = None,
        events: Sequence[Event] = (),
        keep_lease: bool = False,
        spent_micro_usd: int = 0,
    ) -> bool:
        """Change an item, and write everything that follows from it, in one transaction.

        Args:
            item: the item as it was acquired or read.
            changes: the new attribute values; None removes one.
            expected: the conditions; by default, that this invocation owns the item.
            increments: the amounts to add to counters of the item.
            job_increments: the amounts to add to counters of the item's job.
            job_expected: the conditions on the job whose counters change.
            puts: the items to create; if one exists, nothing is written. A cost entry is replaced.
            duplicate: an ownership record to mark as a duplicate, which poll cancels.
            events: the events to publish.
            keep_lease: whether to keep owning the item, because the step continues.
            spent_micro_usd: what to add to the counter of this day, in millionths of a US dollar.

        Returns:
            False, without any change, if a condition fails.
        """
        conditions = {"owner": item.owner} if expected is None else expected
        release: dict[str, Any] = dict.fromkeys(_PROGRESS)
        if not keep_lease:
            release |= {"owner": None, "lease": None}
        writes = [
            self._table.update(
                item.job,
                item.item,
                {**release, **self._status_attributes(changes), **changes},
                conditions,
                increments,
            ),
            *(self._put(put) for put in puts),
            *(self._table.put(pending_event(event)) for event in events),
        ]
        if spent_micro_usd:
            writes.append(spending.count(self._table, spent_micro_usd, self.now()))
        if job_increments:
            writes.append(self._table.add(item.job, JOB, job_increments, job_expected))
        if duplicate is not None:
            duplicate_keys = {"open": duplicate.open, "status_key": duplicate.status_key}
            writes.append(
                self._table.update(
                    duplicate.job, duplicate.item, duplicate_keys, {"owned_by": duplicate.owned_by}
                )
            )
        return self._table.write(*writes)

    def _put(self, item: Job | Batch | Owner | CostEntry) -> "TransactWriteItemTypeDef":
        """Build the write of a new item. Its key makes a cost entry one for each job, so it may be replaced."""
        return self._table.put(item) if isinstance(item, CostEntry) else self._table.create(item)

    def _status_attributes(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Return the index keys and the next step that belong to a new status."""
        status = changes.get("status")
        if status is None:
            return {}
        now = self.now()
        # The work files of every finished job must still be tagged.
        step = Step.TIDY if status == JobStatus.DONE else None
        keys = {"status_key": status_key(status, timestamps.text(now)), "next_step": step}
        if status in FINISHED_BATCH_STATUSES:
            return keys | {
                "open": None,
                "expires": timestamps.epoch(now + timedelta(days=BATCH_DAYS)),
            }
        return keys | {"open": OPEN}

    def archive(self, job: Job, expires: int) -> bool:
        """Remove a finished job from the index, and set when DynamoDB deletes it.

        Returns:
            False, without any change, if the job was reopened, or is about to be.
        """
        changes = {"open": None, "expires": expires}
        expected = {"status": JobStatus.DONE, "status_key": job.status_key}
        return self.transition(job, changes, expected=expected)

    def save_status_digest(self, job: Job, digest: str) -> None:
        """Record the digest of the job's last status.json."""
        self._table.write(
            self._table.update(job.job, JOB, {"status_digest": digest}, {"status": job.status})
        )

    def update_if_unchanged(self, item: Job | Batch, changes: Mapping[str, Any]) -> bool:
        """Update an item's attributes if its status has not changed since it was read."""
        expected = {"status": item.status, "status_key": item.status_key}
        return self._table.write(self._table.update(item.job, item.item, changes, expected))

    def record_duplicate(
        self, batch: Batch, duplicate: Owner, recorded_owner: str | None = None
    ) -> bool:
        """Record a Message Batch that has the same rows as the one of this batch.

        What it has answered until it is canceled is billed, but the API does not say how much. So the budgets count all that
        it may cost. If the manifest may be written already, the cost ledger gets an entry for the duplicate.

        Args:
            batch: the batch as it was read.
            duplicate: the ownership record by which poll cancels the duplicate.
            recorded_owner: the owner of the duplicate that is recorded now; None if there is none.

        Returns:
            False, without any change, if the batch, the status of its job or the recorded owner has changed.
        """
        job, now = self.job(batch.job), self.now()
        expected = {"status": batch.status, "status_key": batch.status_key}
        changes, increments = {"duplicate_id": duplicate.job}, {"duplicates": 1}
        writes = [
            self._table.update(batch.job, batch.item, changes, expected, increments),
            self._table.put(duplicate, {"owned_by": recorded_owner}),
            spending.count(self._table, batch.worst_micro_usd, now),
        ]
        if job is not None:
            # It changes nothing but checks that no manifest is begun meanwhile, which would lack the duplicate.
            unchanged = {"schema": job.schema}
            writes.append(self._table.update(job.job, JOB, unchanged, {"status": job.status}))
            if job.status in {JobStatus.ASSEMBLING, JobStatus.DONE}:
                entry = duplicate_entry(job, batch, duplicate.job, timestamps.text(now))
                writes.append(self._table.create(entry))
        return self._table.write(*writes)

    def release(
        self, item: Job | Batch, not_before: str | None = None, **changes: str | int
    ) -> None:
        """Release an item without counting the try, because the item is not the cause."""
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
        """Release an item after a failure. The try counts, and each delay is longer than the last.

        Nothing is written if the item is being sent. It keeps its lease, because its Message Batch may exist.

        Args:
            item: the item as it was acquired.
            retry_s: the first delay, in seconds.
            problem: a sentence, or an error's name.
            at_fault: whether the item itself may be the cause, not its environment.
            noted: further attributes to set.
        """
        failure = {
            "owner": None, "lease": None, "last_error": problem[:MAX_ERROR_CHARS], "faults": item.faults + 1 if at_fault else None,
            "not_before": timestamps.after(self.now(), retry_delay_s(item.tries, retry_s)), **(noted or {}),
        }  # fmt: skip
        expected = {"owner": item.owner, "status": item.status}
        self._table.write(self._table.update(item.job, item.item, failure, expected))

    def count_convenience[T: (Job, Batch)](self, item: T) -> T:
        """Count a try of the retry file and the exports before it begins, so that a killed one counts too.

        Returns:
            The item with these tries in `tries`. Failed downloads are not among them.
        """
        tries = item.convenience_tries + 1
        self.update_if_unchanged(item, {"convenience_tries": tries})
        return msgspec.structs.replace(item, tries=tries, convenience_tries=tries)

    def announce_stuck(self, item: Job | Batch, event: Event) -> bool:
        """Queue `batch.stuck` for an item that continues to wait. Return False if it was announced before."""
        expected = {"status": item.status, "status_key": item.status_key, "stuck_at": None}
        changes = {"stuck_at": event.time}
        return self._table.write(
            self._table.update(item.job, item.item, changes, expected),
            self._table.put(pending_event(event)),
        )

    def start_assembly_if_complete(self, job_id: str) -> bool:
        """Start assembling a job if it is planned and all its chunks are finished. No other code decides this."""
        job = self.job(job_id)
        if job is None or job.status != JobStatus.RUNNING or job.chunks_finished < job.chunks:
            return False
        expected = {
            "status": JobStatus.RUNNING,
            "chunks_finished": job.chunks_finished,
            "chunks": job.chunks,
        }
        changes = {
            "status": JobStatus.ASSEMBLING, "next_step": Step.ASSEMBLE, "ended_at": timestamps.text(self.now())
        }  # fmt: skip
        return self.transition(job, changes, expected=expected)


def retry_delay_s(tries: int, retry_s: float) -> float:
    """Return the delay after this many tries without progress, in seconds."""
    return min(retry_s * float(BACKOFF_FACTOR ** min(max(tries, 1) - 1, 10)), MAX_PAUSE_S)
