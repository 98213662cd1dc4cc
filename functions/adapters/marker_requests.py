"""What cancel markers and go markers request: one item for each upload key, which poll applies.

Poll cancels overdue jobs without one.
"""

from datetime import datetime, timedelta
from typing import Any, Literal

from functions.adapters.table import LessThan, Table
from functions.model import ids, timestamps
from functions.model.events import Event
from functions.model.items.job import Job
from functions.model.items.work_item import JOB, OPEN, SCHEMA, status_key
from functions.model.records import CANCEL, GO, MarkerRequest, pending_event

REQUEST_TTL_DAYS = 3
"""Days after which DynamoDB deletes a request that poll never handled."""


class MarkerRequests:
    """The store of what markers of one kind request.

    Args:
        table: the table.
        kind: ``cancel`` or ``go``; the partition key.
    """

    def __init__(self, table: Table, kind: Literal["cancel", "go"]) -> None:
        self._table, self._kind = table, kind

    def request(self, bucket: str, key: str, at: datetime, marker: str) -> None:
        """Record what a marker requests for an upload's jobs. The latest marker wins, in any order of arrival."""
        request = MarkerRequest(
            job=self._kind, item=ids.job_id(bucket, key, ""), schema=SCHEMA, open=OPEN,
            status_key=status_key(self._kind.upper(), timestamps.text(at)), bucket=bucket, key=key,
            at=timestamps.text(at), expires=timestamps.epoch(at + timedelta(days=REQUEST_TTL_DAYS)), marker=marker,
        )  # fmt: skip
        self._table.write(self._table.put(request, {"at": LessThan(request.at)}))

    def delete(self, request: MarkerRequest) -> None:
        """Delete a request whose window has ended."""
        self._table.write(self._table.delete(request.job, request.item, {"at": request.at}))

    def apply(self, request: MarkerRequest, job: Job) -> bool:
        """Record the request on the job, and the match on the request. Return False if either has changed.

        A job that waits to end planning checks again immediately.
        """
        changes: dict[str, Any]
        if self._kind == CANCEL:
            changes = {"canceled_at": job.canceled_at or request.at}
            expected = {"canceled_at": job.canceled_at}
        else:
            changes, expected = {"released_at": request.at}, {"released_at": job.released_at}
        changes |= _look_again(job)
        return self._table.write(
            self._table.update(job.job, JOB, changes, {**expected, "outcome": None}),
            self._table.update(
                request.job, request.item, {"matched": job.key}, {"at": request.at}
            ),
        )

    def cancel_overdue(self, job: Job, at: str, reason: str) -> bool:
        """Cancel a job because of its deadline. Return False if it was canceled, went on or changed its deadline."""
        expected = {"status": job.status, "canceled_at": None, "deadline_at": job.deadline_at}
        changes = {"canceled_at": at, "cancel_reason": reason, **_look_again(job)}
        return self._table.write(self._table.update(job.job, JOB, changes, expected))

    def announce_unmatched(self, request: MarkerRequest, event: Event) -> bool:
        """Queue the event that the request matches no job. Return False if a job has matched since."""
        expected = {"at": request.at, "matched": None, "announced_at": None}
        return self._table.write(
            self._table.update(request.job, request.item, {"announced_at": event.time}, expected),
            self._table.put(pending_event(event)),
        )


def _look_again(job: Job) -> dict[str, Any]:
    """Return the attributes that end the wait of a job for options, a larger budget or a marker."""
    return {} if job.waiting_for is None else {"not_before": None}


def is_applied(request: MarkerRequest, job: Job) -> bool:
    """Return whether a request that has matched before is recorded on this job, too."""
    if request.job == GO:
        return job.released_at is not None and job.released_at >= request.at
    return job.canceled_at is not None and request.matched is not None
