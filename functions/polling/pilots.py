"""Measure the pilot of each job once it is answered, and send the rest when that is allowed."""

from typing import Any

from aws_lambda_powertools import Logger

from functions.model import events, timestamps
from functions.model.expected_cost import prices_of
from functions.model.items.batch import FINISHED_BATCH_STATUSES, BatchStatus
from functions.model.items.job import GO, PILOT, Job, JobStatus
from functions.model.pilot import measure
from functions.model.unfinished import Unfinished
from functions.polling.phases import Phases, place
from functions.services import Services
from functions.settings import PollSettings

logger = Logger(child=True)


def advance_pilots(
    services: Services[PollSettings], unfinished: Unfinished, phases: Phases
) -> None:
    """Continue the jobs whose rest waits for their pilot, or for a go marker after it."""
    running = {
        batch.job for batch in unfinished.batches
        if batch.is_pilot or not (batch.status == BatchStatus.WAITING or batch.is_copying)
    }  # fmt: skip
    due = [
        job
        for job in unfinished.jobs
        if job.status == JobStatus.RUNNING
        and job.canceled_at is None
        and (
            (job.held == PILOT and job.job not in running) or (job.held == GO and job.is_released)
        )
    ]
    phases.each("recover", due, place, lambda job: _advance(services, job))


def _advance(services: Services[PollSettings], job: Job) -> None:
    if job.held == GO:
        services.items.update_if_unchanged(job, {"held": None})
        return
    batches = services.items.batches(job.job)  # the index may lack a half or the next attempt
    pilot = [batch for batch in batches if batch.is_pilot]
    if any(batch.status not in FINISHED_BATCH_STATUSES for batch in pilot):
        return
    prices = prices_of(job)
    is_priced = all(prices.price_of(model) is not None for model in job.demands)
    measured = measure(job, pilot, is_priced=is_priced)
    now = timestamps.text(services.now())
    # A marker that released the budget is older than either, so it does not release the rest.
    sent_at = min((batch.first_sent_at for batch in pilot if batch.first_sent_at), default=now)
    goes_on = job.pilot_auto and measured.may_go_on(job.budget_micro_usd)
    event = events.job_pilot(job, services.files.bucket, measured, now, goes_on=goes_on)
    changes: dict[str, Any] = {
        "held": None if goes_on else GO,
        "go_since": sent_at,
        "pilot": measured,
    }
    changes |= {} if goes_on else {"waiting_since": timestamps.text(services.now())}
    expected = {"status": JobStatus.RUNNING, "held": PILOT}
    if services.items.transition(job, changes, expected=expected, events=[event]):
        logger.info("pilot answered", extra={"job": job.job, "goes_on": goes_on})
        services.outbox.publish([event])
