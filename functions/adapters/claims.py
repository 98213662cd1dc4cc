"""What the table holds about claims: the jobs of uploads, the bytes that they had, and the markers that ask for a repeat.

Each claim is one transaction: the job, and the bytes that are its own from then on. Two uploads with the same bytes at
the same moment give one job, since the second finds the first one's claim and must look again.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from functions.adapters.table import Table
from functions.model import ids, items, timestamps
from functions.model.events import Event
from functions.model.items import Job
from functions.model.records import pending_event

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

CONTENT, AGAIN = "content", "again"
DUPLICATE = "duplicate"
"""The outcome of a job that was not run, because another one has the same bytes."""
CONTENT_DAYS = 30
"""How long the bytes of a job are remembered, and that an upload was skipped for them."""
MARKER_WAITS = timedelta(days=3)
"""How long a marker waits for its upload: events come out of order, and hours late."""


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """Which job has these bytes; `owned_by` is None where none has."""

    job: str
    owned_by: str | None = None
    expires: int = 0


class Again(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be run again of a key: when its latest marker was made, whether that was used, which job was skipped."""

    job: str
    at: str | None = None
    used: bool = False
    skipped: str | None = None

    def waits(self, now: datetime) -> bool:
        """Whether a marker waits for an upload."""
        return (
            self.at is not None
            and not self.used
            and timestamps.parse(self.at) + MARKER_WAITS > now
        )


class Claims:
    """The items about claims."""

    def __init__(self, table: Table, now: Callable[[], datetime]) -> None:
        self._table, self._now = table, now

    def content(self, fingerprint: str) -> Content:
        """Read which job has these bytes."""
        name = f"{CONTENT}/{fingerprint}"
        found = self._table.get(name, CONTENT)
        return msgspec.convert(found, Content) if found else Content(job=name)

    def again(self, bucket: str, key: str) -> Again:
        """Read what is to be run again of a key."""
        name = ids.job_id(bucket, key, "")
        found = self._table.get(name, AGAIN)
        return msgspec.convert(found, Again) if found else Again(job=name)

    def claim(self, job: Job, content: Content | None = None, again: Again | None = None) -> bool:
        """Claim an upload, with the bytes that it has; a marker that waits for it is used.

        Returns:
            False, and nothing is changed, if it is claimed already, or the bytes have been claimed since they were read.
        """
        writes = [self._table.create(job), *self._bytes_of(job, content)]
        if again is not None and again.waits(self._now()):
            seen = {"at": again.at, "used": False}
            writes.append(self._table.update(again.job, AGAIN, {"used": True}, seen))
        return self._table.write(*writes)

    def skip(self, job: Job, original: Job, again: Again, event: Event) -> bool:
        """Claim an upload as one that is not run, for a later marker to find.

        Returns:
            False if a marker came meanwhile, or the job that has its bytes was canceled, has failed or has ended.
        """
        # Written without a change, so that what is expected of it holds in this very transaction. A ConditionCheck
        # would need a permission of its own.
        unchanged = {"schema": original.schema}
        seen = {
            **unchanged,
            "outcome": original.outcome,
            "canceled_at": original.canceled_at,
            "failure": original.failure,
        }
        skipped = {"skipped": job.job, "schema": items.SCHEMA, "expires": self._expires()}
        return self._table.write(
            self._table.create(job),
            self._table.update(original.job, items.JOB, unchanged, seen),
            self._table.update(again.job, AGAIN, skipped, {"at": again.at}),
            self._table.put(pending_event(event)),
        )

    def wait_for_upload(self, again: Again, at: str) -> bool:
        """Note a marker before its upload; False if an upload was skipped meanwhile."""
        changes = {
            "at": at, "used": None, "skipped": None, "schema": items.SCHEMA, "expires": self._expires()
        }  # fmt: skip
        seen = {"at": again.at, "skipped": again.skipped}
        return self._table.write(self._table.update(again.job, AGAIN, changes, seen))

    def run_skipped(self, job: Job, content: Content | None, again: Again, at: str) -> bool:
        """Let a job that was skipped begin; False if another marker did it."""
        changes = {"at": at, "used": True, "skipped": None, "expires": self._expires()}
        seen = {"at": again.at, "skipped": again.skipped}
        return self._table.write(
            self._table.put(job, {"outcome": DUPLICATE}),
            *self._bytes_of(job, content),
            self._table.update(again.job, AGAIN, changes, seen),
        )

    def _bytes_of(self, job: Job, content: Content | None) -> "list[TransactWriteItemTypeDef]":
        if content is None:
            return []
        owned = {"owned_by": job.job, "schema": items.SCHEMA, "expires": self._expires()}
        return [self._table.update(content.job, CONTENT, owned, {"owned_by": content.owned_by})]

    def _expires(self) -> int:
        return timestamps.epoch(self._now() + timedelta(days=CONTENT_DAYS))
