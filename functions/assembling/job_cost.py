"""Work out what a job cost: by model, kind of token, attempt and batch."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC
from typing import Any

from functions.model import timestamps
from functions.model.items.batch import Batch
from functions.model.items.counts import DUPLICATE_ROWS, LOST_ROWS, OutcomeCounts, Usage
from functions.model.items.job import Job
from functions.model.lost_rows import lost_rows
from functions.model.outcome_counter import NO_MODEL, sum_usage
from functions.model.pricing import Bill, PriceList, find_price_list, kind_of, total_bill

MAX_PROBLEMS = 5
"""Most reasons that a manifest gives for an unknown cost."""


def used_by(batches: Sequence[Batch]) -> dict[str, dict[str, Usage]]:
    """Return what each batch used, and how many of its rows may have been billed although their results were lost."""
    tallies = {(batch.chunk, batch.attempt): batch.tally or OutcomeCounts() for batch in batches}
    used = {}
    for batch in batches:
        earlier = tallies.get((batch.chunk, batch.attempt - 1), OutcomeCounts())
        own = tallies[batch.chunk, batch.attempt].usage
        lost = lost_rows(batch, earlier)
        unknown = {LOST_ROWS: lost} if lost else dict[str, int]()
        if batch.duplicate_id is not None:
            # An earlier version did not count them.
            unknown[DUPLICATE_ROWS] = batch.requests * max(batch.duplicates, 1)
        used[batch.item] = sum_usage([own, {NO_MODEL: unknown}]) if unknown else own
    return used


def cost_figures(
    job: Job, batches: Sequence[Batch], used: Mapping[str, Mapping[str, Usage]]
) -> dict[str, Any]:
    """Build the cost fields from the price list that the job was claimed under; null where it is unknown."""
    prices = find_price_list(job.price_list)
    no_list = (
        f"this deployment has no price list {job.price_list}, under which the job was claimed"
    )
    listed = prices or PriceList(version=job.price_list, source="", cache={}, models={})
    bills = [
        (batch, model, listed.bill(model, usage, _day(job, batch)))
        for batch in batches
        for model, usage in used[batch.item].items()
    ]
    sent = [(batch, "", Bill()) for batch in batches if batch.batch_id]
    total = total_bill(bill for _, _, bill in bills)
    whole = total_bill(
        listed.bill(*model_usage) for model_usage in sum_usage(used.values()).items()
    )
    return {
        "cost_usd": _usd(total),
        "cost_usd_known": _rounded(total.known_usd),
        "cost_usd_by_model": _by((model, bill) for _, model, bill in bills),
        "cost_usd_by_kind": _by_kind(listed, job, used, batches),
        "cost_usd_by_attempt": _by(
            (str(batch.attempt), bill) for batch, _, bill in [*bills, *sent]
        ),
        "cost_usd_by_batch": _by((batch.item, bill) for batch, _, bill in [*bills, *sent]),
        "saved_usd": {
            "batch_price": _rounded(total.batch_saved_usd),
            "caching": _rounded(total.cache_saved_usd),
        },
        "prices": {
            "version": job.price_list,
            "source": None if prices is None else prices.source,
            "problem": no_list if prices is None else _joined(whole.problems),
        },
    }


def _day(job: Job, batch: Batch) -> str:
    """Return the day by whose prices a batch is billed, in UTC."""
    return timestamps.parse(batch.ended_at or job.claimed_at).astimezone(UTC).date().isoformat()


def _by(bills: Iterable[tuple[str, Bill]]) -> dict[str, float | None]:
    """Return the cost by name."""
    by_name = defaultdict[str, list[Bill]](list)
    for name, bill in bills:
        by_name[name].append(bill)
    return {name: _usd(total_bill(by_name[name])) for name in sorted(by_name)}


def _by_kind(
    prices: PriceList,
    job: Job,
    used: Mapping[str, Mapping[str, Usage]],
    batches: Sequence[Batch],
) -> dict[str, dict[str, float | None]]:
    """Return the cost by model and kind of token."""
    bills = defaultdict[str, list[tuple[str, Bill]]](list)
    for batch in batches:
        for model, usage in used[batch.item].items():
            for member, number in usage.items():
                bill = prices.bill(model, {member: number}, _day(job, batch))
                bills[model].append((kind_of(member), bill))
    return {model: _by(bills[model]) for model in sorted(bills)}


def _usd(bill: Bill) -> float | None:
    return None if bill.usd is None else _rounded(bill.usd)


def _rounded(usd: float) -> float:
    return round(usd, 6) + 0.0  # without the sign of -0.0


def _joined(problems: Sequence[str]) -> str | None:
    """Return the first problems in one line."""
    more = len(problems) - MAX_PROBLEMS
    return (
        "; ".join([*problems[:MAX_PROBLEMS], *([f"and {more:,} more"] if more > 0 else [])])
        or None
    )
