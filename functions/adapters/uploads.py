"""The table's items about uploads without a job: counts of ignored ones, and the reconciliation's cursor."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import msgspec

from functions.adapters.table import Table
from functions.model import ids, timestamps
from functions.model.events import Event
from functions.model.items.work_item import SCHEMA
from functions.model.records import RELAY, Ignored, pending_event

IGNORED, READS, RECONCILE, ANNOUNCED = "ignored", "reads/", "reconcile", "announced/"
IGNORED_DAYS = 3
"""Days after which a day's count is deleted."""
ANNOUNCED_DAYS = 1
"""Days after which the same event about an options file may be queued again, for another upload."""


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """The position where the next reconciliation of the uploads bucket begins; the start if `key` is None."""

    key: str | None = None
    version: str | None = None
    runs: int = 0


class Uploads:
    """The store of ignored uploads, reader suffixes and the cursor."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def count_ignored(self, bucket: str, folder: str, suffix: str, at: datetime) -> Ignored:
        """Count an ignored object. A repeated delivery of its event counts twice."""
        day = timestamps.text(at)[:10]
        name = f"{day}/{ids.job_id(bucket, folder, suffix)}"
        attributes = {
            "day": day, "bucket": bucket, "folder": folder, "suffix": suffix, "schema": SCHEMA,
            "expires": timestamps.epoch(at + timedelta(days=IGNORED_DAYS)),
        }  # fmt: skip
        counted = self._table.count(IGNORED, name, attributes, {"count": 1})
        return msgspec.convert(counted, Ignored)

    def announce_ignored(self, ignored: Ignored, event: Event) -> bool:
        """Queue the event of the day. Return False if it was queued before."""
        changes = {"announced_at": event.time}
        return self._table.write(
            self._table.update(IGNORED, ignored.item, changes, {"announced_at": None}),
            self._table.put(pending_event(event)),
        )

    def update_ignored_event(self, event: Event) -> None:
        """Write a higher count into the event of the day, if it is not published yet."""
        self._table.write(self._table.put(pending_event(event), {"job": RELAY}))

    def announce_once(self, event: Event) -> bool:
        """Queue an event, unless one with its id was queued within a day. Return whether it was queued."""
        expires = timestamps.epoch(timestamps.parse(event.time) + timedelta(days=ANNOUNCED_DAYS))
        record = {
            "job": RELAY, "item": ANNOUNCED + event.id, "schema": SCHEMA, "expires": expires
        }  # fmt: skip
        return self._table.write(self._table.create(record), self._table.put(pending_event(event)))

    def record_readers(self, suffixes: Iterable[str], now: str) -> None:
        """Record when these suffixes were first accepted. The first record is kept."""
        for suffix in suffixes:
            item = {"job": RELAY, "item": READS + suffix, "schema": SCHEMA, "at": now}
            self._table.write(self._table.create(item))

    def accepted_since(self, suffix: str) -> str | None:
        """Return when a suffix was first accepted; None if that is not recorded."""
        record = self._table.get(RELAY, READS + suffix)
        return str(record["at"]) if record else None

    def cursor(self) -> Cursor:
        """Read where the next reconciliation begins."""
        return msgspec.convert(self._table.get(RELAY, RECONCILE) or {}, Cursor)

    def move_cursor(self, seen: Cursor, cursor: Cursor, pending_events: Sequence[Event]) -> bool:
        """Move the cursor and queue events. If another run moved the cursor, only queue the events and return False."""
        changes = {
            "key": cursor.key, "version": cursor.version, "runs": seen.runs + 1, "schema": SCHEMA
        }  # fmt: skip
        events = [self._table.put(pending_event(event)) for event in pending_events]
        moved = self._table.update(RELAY, RECONCILE, changes, {"runs": seen.runs})
        if self._table.write(moved, *events):
            return True
        if events:
            self._table.write(*events)
        return False
