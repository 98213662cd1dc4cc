"""Requests to cancel: one item for each upload key, applied by poll."""

from datetime import datetime, timedelta

from functions.adapters.table import LessThan, Table
from functions.model import ids, items, timestamps
from functions.model.events import Event
from functions.model.items import Job
from functions.model.records import CancellationRequest, pending_event

CANCELLATION_TTL_DAYS = 3
"""A request to cancel that poll never met is forgotten after so long."""


class CancellationRequests:
    """The requests to cancel."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def request(self, bucket: str, key: str, at: datetime, marker: str) -> None:
        """Record that the jobs of an upload are to be canceled; the latest request counts, in any order of arrival."""
        cancel = CancellationRequest(
            job="cancel", item=ids.job_id(bucket, key, ""), schema=items.SCHEMA, open=items.OPEN,
            status_key=items.status_key("CANCEL", timestamps.text(at)), bucket=bucket, key=key, at=timestamps.text(at),
            expires=timestamps.epoch(at + timedelta(days=CANCELLATION_TTL_DAYS)), marker=marker,
        )  # fmt: skip
        self._table.write(self._table.put(cancel, {"at": LessThan(cancel.at)}))

    def delete(self, cancel: CancellationRequest) -> None:
        """Delete a request whose window is over."""
        self._table.write(self._table.delete(cancel.job, cancel.item, {"at": cancel.at}))

    def apply(self, cancel: CancellationRequest, job: Job) -> bool:
        """Record on a job that it is to be canceled, if it is not yet, and on the request that it has met one."""
        expected = {"canceled_at": job.canceled_at, "outcome": None}
        canceled = {"canceled_at": job.canceled_at or cancel.at}
        return self._table.write(
            self._table.update(job.job, items.JOB, canceled, expected),
            self._table.update(cancel.job, cancel.item, {"matched": job.key}, {"at": cancel.at}),
        )

    def announce_unmatched(self, cancel: CancellationRequest, event: Event) -> bool:
        """Owe the event that a request has met no job. Return False if it has met one since."""
        expected = {"at": cancel.at, "matched": None, "told_at": None}
        return self._table.write(
            self._table.update(cancel.job, cancel.item, {"told_at": event.time}, expected),
            self._table.put(pending_event(event)),
        )
