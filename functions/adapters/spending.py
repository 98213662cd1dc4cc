"""The counters of what was spent, in the table."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from functions.adapters.table import Table
from functions.model import spending, timestamps
from functions.model.events import Event
from functions.model.items.work_item import SCHEMA
from functions.model.records import pending_event
from functions.model.spending import KEPT_DAYS, SPENT, Counter

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef


class Spending:
    """The store of counters. `WorkItems.transition` adds to them."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def counters(self, month: str) -> list[Counter]:
        """Read the counters of a month, with strong consistency."""
        found = self._table.query("job = :job", {":job": SPENT + month})
        return [msgspec.convert(item, Counter) for item in found]

    def announce(self, period: str, event: Event, now: datetime) -> bool:
        """Queue the event that a budget is reached. Return False if it was announced before."""
        changes = {"reached_at": event.time, **_lifetime(now)}
        key = f"{SPENT}{period[:7]}"
        return self._table.write(
            self._table.update(key, period, changes, {"reached_at": None}),
            self._table.put(pending_event(event)),
        )


def count(table: Table, micro_usd: int, now: datetime) -> "TransactWriteItemTypeDef":
    """Build the write that adds a batch's cost to the counter of the day on which it is collected."""
    key = SPENT + spending.month_of(now)
    return table.update(
        key, spending.day_of(now), _lifetime(now), {}, increments={"micro_usd": micro_usd}
    )


def _lifetime(now: datetime) -> dict[str, int]:
    return {
        "schema": SCHEMA,
        "expires": timestamps.epoch(now + timedelta(days=KEPT_DAYS)),
    }
