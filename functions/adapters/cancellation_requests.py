"""The requests to cancel: one item for each upload key, which poll applies. Poll cancels overdue jobs without one."""

from datetime import datetime, timedelta
from typing import Any

from functions.adapters.table import LessThan, Table
from functions.model import ids, items, timestamps
from functions.model.events import Event
from functions.model.items import Job
from functions.model.records import CancellationRequest, pending_event

CANCELLATION_TTL_DAYS = 3
"""Days after which DynamoDB deletes a request that poll never handled."""


class CancellationRequests:
    """The store of the requests to cancel."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def request(self, bucket: str, key: str, at: datetime, marker: str) -> None:
        """Record that an upload's jobs must be canceled. The latest request wins, in any order of arrival."""
        cancel = CancellationRequest(
            job="cancel", item=ids.job_id(bucket, key, ""), schema=items.SCHEMA, open=items.OPEN,
            status_key=items.status_key("CANCEL", timestamps.text(at)), bucket=bucket, key=key, at=timestamps.text(at),
            expires=timestamps.epoch(at + timedelta(days=CANCELLATION_TTL_DAYS)), marker=marker,
        )  # fmt: skip
        self._table.write(self._table.put(cancel, {"at": LessThan(cancel.at)}))

    def delete(self, cancel: CancellationRequest) -> None:
        """Delete a request whose window has ended."""
        self._table.write(self._table.delete(cancel.job, cancel.item, {"at": cancel.at}))

    def apply(self, cancel: CancellationRequest, job: Job) -> bool:
        """Record the cancellation on the job, and the match on the request. Return False if either has changed."""
        expected = {"canceled_at": job.canceled_at, "outcome": None}
        changes = _canceled(job, job.canceled_at or cancel.at)
        return self._table.write(
            self._table.update(job.job, items.JOB, changes, expected),
            self._table.update(cancel.job, cancel.item, {"matched": job.key}, {"at": cancel.at}),
        )

    def cancel_overdue(self, job: Job, at: str, reason: str) -> bool:
        """Cancel a job because of its deadline. Return False if it was canceled, went on or changed its deadline."""
        expected = {"status": job.status, "canceled_at": None, "deadline_at": job.deadline_at}
        changes = {**_canceled(job, at), "cancel_reason": reason}
        return self._table.write(self._table.update(job.job, items.JOB, changes, expected))

    def announce_unmatched(self, cancel: CancellationRequest, event: Event) -> bool:
        """Queue the event that the request matches no job. Return False if a job has matched since."""
        expected = {"at": cancel.at, "matched": None, "announced_at": None}
        return self._table.write(
            self._table.update(cancel.job, cancel.item, {"announced_at": event.time}, expected),
            self._table.put(pending_event(event)),
        )


def _canceled(job: Job, at: str) -> dict[str, Any]:
    """Return the attributes of a canceled job. One that waits for options is ended at once, not at its next look."""
    waits = job.waiting_for is not None
    return {"canceled_at": at} | ({"not_before": None} if waits else {})
