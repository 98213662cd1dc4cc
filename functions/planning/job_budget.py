"""Hold a job that may cost more than its budget, or whose cost is unknown, before anything of it is sent.

A held job waits at the end of its planning. A larger budget in its options, a go marker or a cancel marker wakes it.
"""

from typing import Any

from functions.adapters.options_files import OptionsRejectedError, find_options
from functions.model import events, timestamps, upload_events
from functions.model.events import Event
from functions.model.expected_cost import estimate_figures
from functions.model.items.job import ESTIMATE, PILOT, Job
from functions.model.items.work_item import MICRO
from functions.model.options import Options
from functions.services import Services
from functions.settings import SubmitSettings


def initial_hold(settings: SubmitSettings, options: Options) -> dict[str, Any]:
    """Return the attributes by which a job is held until it is estimated, if any budget is in force."""
    budget_usd = _budget_usd(settings, options)
    in_force = budget_usd or settings.day_budget_usd or settings.month_budget_usd
    first = PILOT if options.pilot_rows else None
    return {
        "held": ESTIMATE if in_force else first,
        "budget_micro_usd": _micro(budget_usd),
        "pilot_rows": options.pilot_rows,
        "pilot_auto": options.pilot_auto,
    }


def find_hold(
    services: Services[SubmitSettings], job: Job
) -> tuple[tuple[str, Event] | None, dict[str, Any]]:
    """Return why an estimated job must wait, by the options and settings that are in force now.

    Args:
        services: the services of submit.
        job: the job, with its estimate.

    Returns:
        What it waits for and the event that announces it, or None if it may be sent; and the attributes to write.
    """
    if job.held != ESTIMATE or job.canceled_at is not None or job.released_at is not None:
        return None, {}
    at = timestamps.text(services.now())
    try:
        _, options = find_options(services.files, job.bucket, job.key)
    except OptionsRejectedError as error:
        return ("valid_options", upload_events.options_rejected(error.file, str(error), at)), {}
    reason, budget = why_held(services.settings, job, options)
    frozen = {"budget_micro_usd": budget}
    if reason is None:
        return None, frozen
    return (reason, events.job_held(job, services.files.bucket, reason, budget, at)), frozen


def why_held(
    settings: SubmitSettings, job: Job, options: Options
) -> tuple[str | None, int | None]:
    """Return why an estimated job must wait, ``budget`` or ``price``, or None if it may be sent; and its budget."""
    hold = initial_hold(settings, options)
    budget, worst_usd = hold["budget_micro_usd"], _worst_usd(job)
    if hold["held"] != ESTIMATE or not job.sendable_rows:
        return None, budget
    if worst_usd is not None and (budget is None or round(worst_usd * MICRO) <= budget):
        return None, budget
    return ("price" if worst_usd is None else "budget"), budget


def _budget_usd(settings: SubmitSettings, options: Options) -> float:
    return settings.job_budget_usd if options.budget_usd is None else options.budget_usd


def _micro(budget_usd: float) -> int | None:
    return max(round(budget_usd * MICRO), 1) if budget_usd else None


def _worst_usd(job: Job) -> float | None:
    figures = estimate_figures(job)
    cost: float | None = None if figures is None else figures["cost_usd"]["worst"]
    return cost
