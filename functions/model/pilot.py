"""Measure the pilot of a job, and project what the rest will cost."""

from collections.abc import Sequence
from typing import Any

from functions.model.items.batch import Batch
from functions.model.items.counts import OutcomeCounts
from functions.model.items.job import Job
from functions.model.items.measured_pilot import Pilot
from functions.model.items.work_item import MICRO
from functions.model.lost_rows import lost_rows
from functions.model.nouns import count_of, dollars
from functions.model.outcome_counter import billed_usage, total
from functions.model.pricing import find_price_list

_INPUTS = (
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_creation_1h_input_tokens",
    "cache_read_input_tokens",
)


def measure(job: Job, attempts: Sequence[Batch], *, is_priced: bool) -> Pilot:
    """Return what a pilot used.

    Args:
        job: the job, planned to its end.
        attempts: all batches of the pilot's chunks, by chunk and attempt.
        is_priced: whether each of the job's models has a price.
    """
    is_priced = is_priced and all(_is_cost_known(job, batch) for batch in attempts)
    last = {batch.chunk: batch for batch in attempts if batch.tally is not None}
    counts = total([batch.tally for batch in last.values() if batch.tally is not None])
    usages = list(billed_usage(attempts).values())
    sent = sum(batch.requests for batch in attempts if batch.attempt == 1 and batch.batch_id)
    ends = {name: n for name, n in counts.outcomes.items() if name in {"canceled", "expired"}}
    return Pilot(
        rows=sum(counts.outcomes.values()),
        sent=sent,
        succeeded=counts.outcomes.get("succeeded", 0),
        errors=counts.errors | ends,
        truncated=counts.truncated,
        input_tokens=sum(_tokens(used, _INPUTS) for used in usages),
        output_tokens=sum(_tokens(used, ("output_tokens",)) for used in usages),
        cost_micro_usd=sum(batch.cost_micro_usd or 0 for batch in attempts) if is_priced else None,
        rest_rows=job.requests - sent,
    )


def _is_cost_known(job: Job, batch: Batch) -> bool:
    """Return whether the cost of a finished batch is known: nothing that may be billed is lost or has no price."""
    if batch.batch_id is None:
        return True
    prices = find_price_list(job.price_list)
    if prices is None or batch.tally is None or lost_rows(batch, OutcomeCounts()):
        return False
    return all(prices.cost_usd(*used) is not None for used in batch.tally.usage.items())


def _tokens(used: dict[str, int], names: Sequence[str]) -> int:
    return sum(used.get(name, 0) + used.get(f"long_{name}", 0) for name in names)


def usd(micro_usd: int | None) -> float | None:
    """Return an amount in US dollars."""
    return None if micro_usd is None else micro_usd / MICRO


def pilot_figures(measured: Pilot) -> dict[str, Any]:
    """Return what a pilot used, as users read it, in status.json and `job.pilot`. Unknown figures are None."""
    return {
        "rows": measured.rows,
        "succeeded": measured.succeeded,
        "errors": measured.errors,
        "truncated": measured.truncated,
        "input_tokens_per_row": measured.input_tokens_per_answer,
        "output_tokens_per_row": measured.output_tokens_per_answer,
        "cost_usd": usd(measured.cost_micro_usd),
        "rest_rows": measured.rest_rows,
        "rest_cost_usd": usd(measured.rest_micro_usd),
    }


def describe_rest(measured: Pilot) -> str:
    """Return the rest and its projected cost, for a sentence: ``the other 980 rows, for about $1.92,``."""
    rest_usd = usd(measured.rest_micro_usd)
    cost = "at an unknown price" if rest_usd is None else f"for about {dollars(rest_usd)}"
    return f"the other {count_of(measured.rest_rows, 'row')}, {cost},"
