"""What the table holds about uploads beside their jobs: what was ignored, and how far the bucket was looked through."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import msgspec

from functions.adapters.table import Table
from functions.model import ids, items, timestamps
from functions.model.events import Event
from functions.model.records import RELAY, Ignored, pending_event

IGNORED, READS, RECONCILE = "ignored", "reads/", "reconcile"
IGNORED_DAYS = 3
"""The count of a day is forgotten so long after."""


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """Where the next look through the uploads bucket begins; at its beginning where `key` is None."""

    key: str | None = None
    version: str | None = None
    runs: int = 0


class Uploads:
    """The items about uploads."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def count_ignored(self, bucket: str, folder: str, suffix: str, at: datetime) -> Ignored:
        """Count one more object that is ignored; S3's event delivered twice counts twice."""
        day = timestamps.text(at)[:10]
        name = f"{day}/{ids.job_id(bucket, folder, suffix)}"
        known = {
            "day": day, "bucket": bucket, "folder": folder, "suffix": suffix, "schema": items.SCHEMA,
            "expires": timestamps.epoch(at + timedelta(days=IGNORED_DAYS)),
        }  # fmt: skip
        counted = self._table.count(IGNORED, name, known, {"count": 1})
        return msgspec.convert(counted, Ignored)

    def announce_ignored(self, ignored: Ignored, event: Event) -> bool:
        """Owe the event of the day; False if another call owes it already."""
        told = {"told_at": event.time}
        return self._table.write(
            self._table.update(IGNORED, ignored.item, told, {"told_at": None}),
            self._table.put(pending_event(event)),
        )

    def update_ignored_event(self, event: Event) -> None:
        """Write a higher count into the event of the day, if it is still owed."""
        self._table.write(self._table.put(pending_event(event), {"job": RELAY}))

    def note_readers(self, suffixes: Iterable[str], now: str) -> None:
        """Write down since when objects with these suffixes are read; the first time counts."""
        for suffix in suffixes:
            item = {"job": RELAY, "item": READS + suffix, "schema": items.SCHEMA, "at": now}
            self._table.write(self._table.create(item))

    def read_since(self, suffix: str) -> str | None:
        """Read since when objects with a suffix are read; None if nobody has written it down."""
        found = self._table.get(RELAY, READS + suffix)
        return str(found["at"]) if found else None

    def cursor(self) -> Cursor:
        """Read where the next look through the uploads bucket begins."""
        return msgspec.convert(self._table.get(RELAY, RECONCILE) or {}, Cursor)

    def move_cursor(self, seen: Cursor, cursor: Cursor, pending_events: Sequence[Event]) -> bool:
        """Write down where the next look begins, and what is owed; False if another run has moved it meanwhile."""
        changes = {
            "key": cursor.key, "version": cursor.version, "runs": seen.runs + 1, "schema": items.SCHEMA
        }  # fmt: skip
        events = [self._table.put(pending_event(event)) for event in pending_events]
        moved = self._table.update(RELAY, RECONCILE, changes, {"runs": seen.runs})
        if self._table.write(moved, *events):
            return True
        if events:
            self._table.write(*events)
        return False
