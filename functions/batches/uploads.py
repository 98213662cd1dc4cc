"""What the table holds about uploads beside their jobs: here, how many objects no reader claimed."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

import msgspec

from functions.batches import items, times, wire
from functions.batches.events import Event
from functions.batches.marks import RELAY
from functions.batches.table import Given, Table

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

IGNORED = "ignored"
IGNORED_DAYS = 3
"""The count of a day is forgotten so long after."""


class EventItem(Protocol):
    """Makes the write that freezes an event beside what it tells of."""

    def __call__(
        self, event: Event, job: str, given: Given | None = None
    ) -> "TransactWriteItemTypeDef":
        """Make the write; `given` is what must hold of the event that is owed already."""


class Ignored(msgspec.Struct, frozen=True, kw_only=True):
    """How many objects of a folder with a suffix were ignored on a day; `told_at`: when that was first announced."""

    item: str
    day: str
    bucket: str
    folder: str
    suffix: str
    count: int
    told_at: str | None = None


class Uploads:
    """The items about uploads."""

    def __init__(self, table: Table, event_item: EventItem) -> None:
        self._table, self._event_item = table, event_item

    def count_ignored(self, bucket: str, folder: str, suffix: str, at: datetime) -> Ignored:
        """Count one more object that is ignored; S3's event delivered twice counts twice."""
        day = times.text(at)[:10]
        name = f"{day}/{wire.job_id(bucket, folder, suffix)}"
        known = {
            "day": day, "bucket": bucket, "folder": folder, "suffix": suffix, "schema": items.SCHEMA,
            "expires": int((at + timedelta(days=IGNORED_DAYS)).timestamp()),
        }  # fmt: skip
        counted = self._table.count(IGNORED, name, known, {"count": 1})
        return msgspec.convert(counted, Ignored)

    def announce_ignored(self, ignored: Ignored, event: Event) -> bool:
        """Owe the event of the day; False if another call owes it already."""
        told = {"told_at": event.time}
        return self._table.write(
            self._table.update(IGNORED, ignored.item, told, {"told_at": None}),
            self._event_item(event, RELAY),
        )

    def raise_ignored(self, event: Event) -> None:
        """Write a higher count into the event of the day, if it is still owed."""
        self._table.write(self._event_item(event, RELAY, {"job": RELAY}))
