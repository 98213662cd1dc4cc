"""The table's items about claims: the jobs of uploads, their contents, and again markers.

One transaction claims both the job and its content. Of two simultaneous uploads with the same bytes, the
second finds the content claimed and becomes a duplicate.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from functions.adapters.table import Table
from functions.model import ids, timestamps
from functions.model.events import Event
from functions.model.items.job import Job
from functions.model.items.work_item import JOB, SCHEMA
from functions.model.records import pending_event

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

CONTENT, AGAIN = "content", "again"
DUPLICATE = "duplicate"
"""The outcome of a job that is not run because another job has the same bytes."""
CONTENT_DAYS = 30
"""Days for which a job's content, and the skipping of a duplicate, are remembered."""
MARKER_TTL = timedelta(days=3)
"""How long an again marker waits for its upload. Events arrive out of order and hours late."""


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """The job that has these bytes.

    Attributes:
        job: the partition key.
        owned_by: the job's id; None if no job has them.
        expires: when DynamoDB deletes the item, in seconds since 1970.
    """

    job: str
    owned_by: str | None = None
    expires: int = 0


class Repeat(msgspec.Struct, frozen=True, kw_only=True):
    """The last skipped duplicate of an upload key, and its again marker.

    Attributes:
        job: the partition key.
        marked_at: when the latest again marker was created; None for none.
        marker_used: whether that marker has started a job.
        skipped_job: the job that was last skipped as a duplicate.
    """

    job: str
    marked_at: str | None = None
    marker_used: bool = False
    skipped_job: str | None = None

    def awaits_upload(self, now: datetime) -> bool:
        """Return whether an again marker waits for its upload."""
        return (
            self.marked_at is not None
            and not self.marker_used
            and timestamps.parse(self.marked_at) + MARKER_TTL > now
        )


class Claims:
    """The store of claims."""

    def __init__(self, table: Table, now: Callable[[], datetime]) -> None:
        self._table, self._now = table, now

    def content(self, fingerprint: str) -> Content:
        """Read which job has the bytes with this fingerprint."""
        name = f"{CONTENT}/{fingerprint}"
        attributes = self._table.get(name, CONTENT)
        return msgspec.convert(attributes, Content) if attributes else Content(job=name)

    def repeat_of(self, bucket: str, key: str) -> Repeat:
        """Read the last skipped duplicate of an upload key, and its again marker."""
        name = ids.job_id(bucket, key, "")
        attributes = self._table.get(name, AGAIN)
        return msgspec.convert(attributes, Repeat) if attributes else Repeat(job=name)

    def claim(
        self, job: Job, content: Content | None = None, repeat: Repeat | None = None
    ) -> bool:
        """Claim an upload and its content. A waiting again marker is marked as used.

        Returns:
            False, without any change, if the upload is claimed already or the content changed since it was read.
        """
        writes = [self._table.create(job), *self._claim_content(job, content)]
        if repeat is not None and repeat.awaits_upload(self._now()):
            expected = {"marked_at": repeat.marked_at, "marker_used": False}
            writes.append(self._table.update(repeat.job, AGAIN, {"marker_used": True}, expected))
        return self._table.write(*writes)

    def skip(self, job: Job, original: Job, repeat: Repeat, event: Event) -> bool:
        """Claim an upload without running it, so that a later again marker can run it.

        Returns:
            False if an again marker arrived meanwhile, or the original job was canceled, failed or ended.
        """
        # This update changes nothing but checks the conditions. A ConditionCheck would need another IAM permission.
        unchanged = {"schema": original.schema}
        expected = {
            **unchanged,
            "outcome": original.outcome,
            "canceled_at": original.canceled_at,
            "failure": original.failure,
        }
        skipped = {"skipped_job": job.job, "schema": SCHEMA, "expires": self._expires()}
        return self._table.write(
            self._table.create(job),
            self._table.update(original.job, JOB, unchanged, expected),
            self._table.update(repeat.job, AGAIN, skipped, {"marked_at": repeat.marked_at}),
            self._table.put(pending_event(event)),
        )

    def wait_for_upload(self, repeat: Repeat, marked_at: str) -> bool:
        """Record an again marker that precedes its upload. Return False if an upload was skipped meanwhile."""
        changes = {
            "marked_at": marked_at, "marker_used": None, "skipped_job": None, "schema": SCHEMA, "expires": self._expires()
        }  # fmt: skip
        expected = {"marked_at": repeat.marked_at, "skipped_job": repeat.skipped_job}
        return self._table.write(self._table.update(repeat.job, AGAIN, changes, expected))

    def run_skipped(
        self, job: Job, content: Content | None, repeat: Repeat, marked_at: str
    ) -> bool:
        """Start a skipped job. Return False if another marker started it."""
        changes = {
            "marked_at": marked_at,
            "marker_used": True,
            "skipped_job": None,
            "expires": self._expires(),
        }
        expected = {"marked_at": repeat.marked_at, "skipped_job": repeat.skipped_job}
        return self._table.write(
            self._table.put(job, {"outcome": DUPLICATE}),
            *self._claim_content(job, content),
            self._table.update(repeat.job, AGAIN, changes, expected),
        )

    def _claim_content(
        self, job: Job, content: Content | None
    ) -> "list[TransactWriteItemTypeDef]":
        if content is None:
            return []
        owned = {"owned_by": job.job, "schema": SCHEMA, "expires": self._expires()}
        return [self._table.update(content.job, CONTENT, owned, {"owned_by": content.owned_by})]

    def _expires(self) -> int:
        return timestamps.epoch(self._now() + timedelta(days=CONTENT_DAYS))
