"""Admit only what fits the budgets of the day and the month, and announce once that one is reached.

What a batch may cost is reserved on its item when it is admitted. The transaction that collects it ends the
reservation and counts what it cost. Poll reads the batches before the counters, so a batch that is collected in between
counts twice until the next poll, but is never missed.
"""

from collections.abc import Sequence

import msgspec
from aws_lambda_powertools import Logger

from functions.model import events, spending, timestamps
from functions.model.items.batch import Batch
from functions.model.spending import Budget
from functions.model.unfinished import Unfinished
from functions.services import Services
from functions.settings import PollSettings

MAX_RESERVED = 300
"""Batches that are reserved at once. Each takes a write, and other phases of poll need time, too."""
logger = Logger(child=True)


def budgets_in_force(
    services: Services[PollSettings], unfinished: Unfinished, admitted: Sequence[Batch]
) -> list[Budget]:
    """Return the budgets of the day and the month, with what is spent and reserved; empty if there are none.

    Args:
        services: the services of poll.
        unfinished: all unfinished items.
        admitted: what this poll has admitted already.
    """
    settings, now = services.settings, services.now()
    if not settings.day_budget_usd and not settings.month_budget_usd:
        return []
    just_reserved = {(batch.job, batch.item): batch for batch in admitted}
    batches = [just_reserved.get((batch.job, batch.item), batch) for batch in unfinished.batches]
    return spending.budgets(
        now,
        services.spending.counters(spending.month_of(now)),
        spending.reserved_by(batches, now),
        settings.day_budget_usd,
        settings.month_budget_usd,
    )


def affordable(
    services: Services[PollSettings],
    unfinished: Unfinished,
    budgets: Sequence[Budget],
    waiting: Sequence[Batch],
) -> list[Batch]:
    """Return the batches that fit each budget by themselves. Announce a budget that others do not fit."""
    for budget in budgets:
        too_costly = [batch for batch in waiting if not _fits(budget, batch)]
        unfinished.pass_over(too_costly, f"{budget.scope}_budget")
        unfinished.budgets_until[f"{budget.scope}_budget"] = budget.until
        if too_costly and not budget.is_announced:
            _announce(services, budget, too_costly)
    return [batch for batch in waiting if all(_fits(budget, batch) for budget in budgets)]


def _fits(budget: Budget, batch: Batch) -> bool:
    return batch.is_reserved or budget.fits(batch.worst_micro_usd)


def _announce(services: Services[PollSettings], budget: Budget, waiting: Sequence[Batch]) -> None:
    now = services.now()
    needed = min(batch.worst_micro_usd for batch in waiting)
    event = events.budget_reached(budget, needed, len(waiting), timestamps.text(now))
    if services.spending.announce(budget.period, event, now):
        logger.warning("budget reached", extra={"scope": budget.scope, "period": budget.period})
        services.outbox.publish([event])


def reserve(
    services: Services[PollSettings], budgets: Sequence[Budget], chosen: Sequence[Batch]
) -> list[Batch]:
    """Record on the chosen batches that what they may cost is reserved, before they are sent.

    Without the record, a batch whose work message is under way would not count at the next poll.

    Returns:
        The batches that are reserved, in the same order. The next poll reserves those beyond `MAX_RESERVED`.
    """
    if not budgets:
        return [*chosen]
    reserved, left = list[Batch](), MAX_RESERVED
    for batch in spending.within(budgets, chosen):
        if not batch.is_reserved:
            left -= 1
            if left < 0 or not services.items.update_if_unchanged(batch, {"is_reserved": True}):
                continue
        reserved.append(msgspec.structs.replace(batch, is_reserved=True))
    return reserved
