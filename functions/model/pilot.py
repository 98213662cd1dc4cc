"""The pilot of a job: its first rows, which are sent alone to see what the others will cost."""

from collections.abc import Sequence

import msgspec

from functions.model.items.batch import Batch
from functions.model.items.counts import OutcomeCounts
from functions.model.items.job import Job
from functions.model.items.work_item import MICRO
from functions.model.lost_rows import lost_rows
from functions.model.outcome_counter import billed_usage, total
from functions.model.pricing import find_price_list

MAX_FAILED_SHARE = 0.1
"""The rest goes on by itself only if a smaller share of the pilot's rows failed."""
_INPUTS = (
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_creation_1h_input_tokens",
    "cache_read_input_tokens",
)


class Pilot(msgspec.Struct, frozen=True, kw_only=True):
    """What the pilot of a job took.

    Attributes:
        rows: its rows, rejected ones included.
        sent: the rows that were sent.
        succeeded: the rows with an answer.
        errors: error type, ``canceled`` or ``expired`` → rows.
        truncated: the answers that ended because no token was left.
        input_tokens: those of all answers, cached ones included.
        output_tokens: likewise.
        cost_micro_usd: what it cost; None if a part of that is unknown.
        rest_rows: the rows that can still be sent; without copies, which cost nothing.
    """

    rows: int
    sent: int
    succeeded: int
    errors: dict[str, int]
    truncated: int
    input_tokens: int
    output_tokens: int
    cost_micro_usd: int | None
    rest_rows: int

    @property
    def rest_micro_usd(self) -> int | None:
        """What the rest costs if each of its rows costs as much as a row of the pilot; None if that is unknown."""
        if self.cost_micro_usd is None or not self.sent:
            return None
        return round(self.cost_micro_usd * self.rest_rows / self.sent)

    def may_go_on(self, budget_micro_usd: int | None) -> bool:
        """Return whether the rest may be sent without asking: few rows failed, and all fits the budget."""
        if not self.sent or self.sent - self.succeeded >= MAX_FAILED_SHARE * self.sent:
            return False
        if budget_micro_usd is None:
            return True
        rest = self.rest_micro_usd
        return rest is not None and (self.cost_micro_usd or 0) + rest <= budget_micro_usd


def measure(job: Job, attempts: Sequence[Batch], *, is_priced: bool) -> Pilot:
    """Return what a pilot took.

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
