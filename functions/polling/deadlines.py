"""Cancel jobs whose deadline has passed, as a cancel marker does."""

from collections.abc import Sequence

from aws_lambda_powertools import Logger

from functions.model import timestamps
from functions.model.items.job import Job, JobStatus
from functions.polling.phases import Phases, place
from functions.services import Services
from functions.settings import PollSettings

RUNS = frozenset({JobStatus.PLANNING, JobStatus.RUNNING})
"""Statuses in which a deadline cancels a job. In later ones each row has its result, and nothing is left to cancel."""
logger = Logger(child=True)


def cancel_overdue_jobs(
    services: Services[PollSettings], jobs: Sequence[Job], phases: Phases
) -> None:
    """Cancel the jobs whose deadline has passed, unless they are canceled already."""
    now = timestamps.text(services.now())
    overdue = [job for job in jobs if _is_overdue(job, now)]
    phases.each("recover", overdue, place, lambda job: _cancel(services, job, now))


def _is_overdue(job: Job, now: str) -> bool:
    return (
        job.deadline_at is not None
        and job.deadline_at <= now
        and job.canceled_at is None
        and job.status in RUNS
    )


def _cancel(services: Services[PollSettings], job: Job, now: str) -> None:
    reason = f"its deadline passed at {job.deadline_at}"
    if services.cancellations.cancel_overdue(job, now, reason):
        logger.info("job canceled", extra={"job": job.job, "key": job.key, "reason": reason})
