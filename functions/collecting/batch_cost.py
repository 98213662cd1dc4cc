"""What a collected batch cost, for the counter of the day."""

from datetime import UTC

from functions.adapters.work_items import WorkItems
from functions.model import ids, timestamps
from functions.model.items import MICRO, Batch, Job, OutcomeCounts
from functions.model.outcome_counts import usage_since
from functions.model.pricing import find_price_list, total_bill


def cost_of(items: WorkItems, job: Job, batch: Batch, counts: OutcomeCounts) -> int:
    """Return what a batch cost as far as it is known, in millionths of a US dollar.

    Args:
        items: the jobs and batches.
        job: the batch's job, whose price list applies.
        batch: a batch that is being collected.
        counts: those of its chunk, earlier attempts included.
    """
    prices = find_price_list(job.price_list)
    if prices is None or batch.batch_id is None:
        return 0
    day = timestamps.parse(batch.ended_at or job.claimed_at).astimezone(UTC).date().isoformat()
    used = usage_since(counts, _earlier(items, batch))
    bill = total_bill(prices.bill(model, usage, day) for model, usage in used.items())
    return round(bill.known_usd * MICRO)


def _earlier(items: WorkItems, batch: Batch) -> OutcomeCounts:
    """Read the counts of the chunk's earlier attempts."""
    if batch.attempt == 1:
        return OutcomeCounts()
    before = items.batch(batch.job, ids.batch_name(batch.chunk, batch.attempt - 1))
    return OutcomeCounts() if before is None or before.tally is None else before.tally


def not_counted(batch: Batch, cost_micro_usd: int) -> int:
    """Return what of a batch's cost is not counted yet. Results that are fetched again are paid for once."""
    return 0 if batch.cost_micro_usd is not None else cost_micro_usd
