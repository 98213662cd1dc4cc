"""What a collected batch cost, for the counter of the day."""

from collections.abc import Iterable
from datetime import UTC

import msgspec

from functions.adapters.work_items import WorkItems
from functions.model import ids, timestamps
from functions.model.items.batch import Batch
from functions.model.items.counts import (
    LOST_ROWS,
    UNKNOWN_RESULT_ROWS,
    UNREADABLE_ROWS,
    OutcomeCounts,
    Usage,
)
from functions.model.items.job import Job
from functions.model.items.work_item import MICRO
from functions.model.lost_rows import lost_rows
from functions.model.pricing import find_price_list, total_bill


def cost_of(items: WorkItems, job: Job, batch: Batch, counts: OutcomeCounts) -> int:
    """Return what a batch counts as spent, in millionths of a US dollar: what it cost as far as that is known.

    If rows may have been billed of which no usage is known, it is at least what was reserved.

    Args:
        items: the jobs and batches.
        job: the batch's job, whose price list applies.
        batch: a batch that is being collected.
        counts: those of its chunk, earlier attempts included.
    """
    if batch.batch_id is None:
        return 0
    prices = find_price_list(job.price_list)
    if prices is None:
        return batch.worst_micro_usd
    day = timestamps.parse(batch.ended_at or job.claimed_at).astimezone(UTC).date().isoformat()
    earlier = _earlier(items, batch)
    bill = total_bill(prices.bill(model, usage, day) for model, usage in counts.usage.items())
    known = round(bill.known_usd * MICRO)
    lost = lost_rows(msgspec.structs.replace(batch, tally=counts), earlier)
    is_unknown = lost or _is_unreadable(counts.usage.values())
    return max(known, batch.worst_micro_usd) if is_unknown else known


def _is_unreadable(used: Iterable[Usage]) -> bool:
    return any(usage.keys() & {UNREADABLE_ROWS, UNKNOWN_RESULT_ROWS, LOST_ROWS} for usage in used)


def _earlier(items: WorkItems, batch: Batch) -> OutcomeCounts:
    """Read the counts of the chunk's earlier attempts."""
    if batch.attempt == 1:
        return OutcomeCounts()
    before = items.batch(batch.job, ids.batch_name(batch.chunk, batch.attempt - 1))
    return OutcomeCounts() if before is None or before.tally is None else before.tally


def not_counted(batch: Batch, cost_micro_usd: int) -> int:
    """Return what of a batch's cost is not counted yet. Results that are fetched again are paid for once."""
    return 0 if batch.cost_micro_usd is not None else cost_micro_usd
