"""What was spent on a day and in a month, in millionths of a US dollar: one counter for each day, in UTC.

Collecting a batch adds its cost in the same transaction, so each batch counts once. The days of a month share a
partition: their sum is what the month has cost.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

from functions.model import timestamps
from functions.model.items.batch import Batch, BatchStatus
from functions.model.items.work_item import MICRO

SPENT = "spent/"
"""The beginning of a month's partition key: ``spent/2026-11``."""
KEPT_DAYS = 400
Scope = Literal["day", "month"]


class Counter(msgspec.Struct, frozen=True, kw_only=True):
    """What was spent on one day, and which budgets are known to be reached.

    Attributes:
        job: the partition key: ``spent/2026-11``.
        item: the sort key: ``2026-11-23``; ``2026-11`` for the month itself, which counts nothing.
        micro_usd: what the batches cost that were collected on this day.
        reached_at: when `budget.reached` was announced for this day or month.
    """

    job: str
    item: str
    schema: int = 0
    expires: int = 0
    micro_usd: int = 0
    reached_at: str | None = None


def day_of(moment: datetime) -> str:
    """Return the day of a moment in UTC: ``2026-11-23``."""
    return f"{moment.astimezone(UTC):%Y-%m-%d}"


def month_of(moment: datetime) -> str:
    """Return the month of a moment in UTC: ``2026-11``."""
    return day_of(moment)[:7]


@dataclass(frozen=True)
class Budget:
    """What may still be sent on a day or in a month.

    Attributes:
        scope: ``day`` or ``month``.
        period: the day or the month.
        limit: the budget, in millionths of a US dollar.
        spent: what the batches cost that were collected in this time.
        reserved: what the batches may cost that are sent and not collected yet.
        is_announced: whether `budget.reached` was announced.
    """

    scope: Scope
    period: str
    limit: int
    spent: int
    reserved: int
    is_announced: bool

    def fits(self, micro_usd: int) -> bool:
        """Return whether this much more may be spent."""
        return self.spent + self.reserved + micro_usd <= self.limit

    @property
    def until(self) -> str:
        """When the next day or month begins."""
        day = f"{self.period}-01" if self.scope == "month" else self.period
        start = timestamps.parse(f"{day}T00:00:00.000Z")
        following = start + timedelta(days=32 if self.scope == "month" else 1)
        return timestamps.text(following.replace(day=1) if self.scope == "month" else following)


def budgets(
    now: datetime, counters: Iterable[Counter], reserved: int, day_usd: int, month_usd: int
) -> list[Budget]:
    """Return the budgets in force.

    Args:
        now: the time.
        counters: those of the month.
        reserved: what the batches may cost that are sent and not collected yet. They count on the day when they are
            collected, so all of them may count today.
        day_usd: the budget of a day, in US dollars; 0 for none.
        month_usd: that of a month.
    """
    by_item = {counter.item: counter for counter in counters}
    spent = {item: counter.micro_usd for item, counter in by_item.items()}
    day, month = day_of(now), month_of(now)
    limits: list[tuple[Scope, str, int, int]] = [
        ("day", day, day_usd, spent.get(day, 0)),
        ("month", month, month_usd, sum(spent.values())),
    ]
    return [
        Budget(
            scope=scope,
            period=period,
            limit=limit_usd * MICRO,
            spent=so_far,
            reserved=reserved,
            is_announced=period in by_item and by_item[period].reached_at is not None,
        )
        for scope, period, limit_usd, so_far in limits
        if limit_usd
    ]


def reserved_by(batches: Iterable[Batch], now: datetime) -> int:
    """Return what unfinished batches may cost that are, or may soon be, at Anthropic."""
    return sum(
        batch.worst_micro_usd
        for batch in batches
        if batch.cost_micro_usd is None
        and (batch.status != BatchStatus.WAITING or batch.is_reserved or batch.is_leased(now))
    )


def within(budgets_in_force: Sequence[Budget], chosen: Sequence[Batch]) -> list[Batch]:
    """Return the batches that fit the budgets together, in their order. What is reserved already needs nothing."""
    added, fitting = 0, list[Batch]()
    for batch in chosen:
        more = 0 if batch.is_reserved else batch.worst_micro_usd
        if batch.is_reserved or all(budget.fits(added + more) for budget in budgets_in_force):
            added += more
            fitting.append(batch)
    return fitting
