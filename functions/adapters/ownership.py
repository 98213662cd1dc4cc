"""The owners of Message Batches, and the duplicates to cancel."""

from collections.abc import Callable
from datetime import datetime, timedelta

from functions.adapters.table import Table
from functions.model import timestamps
from functions.model.items.work_item import OPEN, SCHEMA, status_key
from functions.model.records import OWNER, Owner

OWNER_DAYS = 60
"""Days for which an owner is remembered. Anthropic keeps the batch for 29 days."""


class Ownership:
    """The store of owners."""

    def __init__(self, table: Table, now: Callable[[], datetime]) -> None:
        self._table, self._now = table, now

    def owner_of(self, batch_id: str) -> str | None:
        """Return the owner of a Message Batch: ``job/item`` or ``foreign``; None if it is unknown."""
        record = self._table.get(batch_id, OWNER)
        return str(record["owned_by"]) if record else None

    def build(self, batch_id: str, owned_by: str, *, duplicate: bool = False) -> Owner:
        """Build the ownership record of a Message Batch. Poll cancels a duplicate."""
        now = self._now()
        index_keys = (
            {"open": OPEN, "status_key": status_key("DUPLICATE", timestamps.text(now))}
            if duplicate
            else {}
        )
        return Owner(
            job=batch_id,
            item=OWNER,
            schema=SCHEMA,
            expires=timestamps.epoch(now + timedelta(days=OWNER_DAYS)),
            owned_by=owned_by,
            **index_keys,
        )

    def record(self, owner: Owner) -> bool:
        """Record the owner of a Message Batch. Return False if it is already recorded."""
        return self._table.write(self._table.create(owner))

    def resolve_duplicate(self, owner: Owner) -> None:
        """Record that a duplicate is canceled or has ended."""
        changes = {"open": None, "status_key": None}
        self._table.write(
            self._table.update(owner.job, owner.item, changes, {"owned_by": owner.owned_by})
        )
