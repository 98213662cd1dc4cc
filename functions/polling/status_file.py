"""Write the status.json of each job while it runs, and a last time when it is done."""

import hashlib
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec
from aws_lambda_powertools import Logger

from functions.model import timestamps
from functions.model.expected_cost import estimate_figures
from functions.model.items import GO, Batch, Job, JobStatus
from functions.model.records import Unfinished, by_job
from functions.polling.phases import Phases, place
from functions.services import Services
from functions.settings import PollSettings

TIDY_FOR = timedelta(days=7)
"""Archive a job after this long even if its work files could not be tagged."""
MIN_RETENTION_DAYS = 60
"""Minimum days that a done job stays in the table. No event of its upload can arrive later."""
logger = Logger(child=True)


def write_status_files(
    services: Services[PollSettings], unfinished: Unfinished, phases: Phases
) -> None:
    """Write status.json for each unfinished job whose status has changed."""
    batches = by_job(unfinished.batches)

    def status(job: Job) -> dict[str, Any]:
        budget = unfinished.over_budget.get(job.job)
        return _status(job, batches.get(job.job, []), budget)

    due = [
        job
        for job in unfinished.jobs
        if _digest(status(job)) != job.status_digest
        or (job.status == JobStatus.DONE and _can_be_archived(job, services.now()))
    ]
    phases.each("report", due, place, lambda job: _write_status(services, job, status))


def _digest(status: dict[str, Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(status)).hexdigest()[:16]


def _write_status(
    services: Services[PollSettings], indexed: Job, status_of: Callable[[Job], dict[str, Any]]
) -> None:
    """Write status.json, then save its digest. Archive a job that is done and tidied.

    The index may lag behind the table and show a finished job as running. Writing that state would
    replace the final file, so skip the job unless the table agrees with the index.
    """
    job = services.items.job(indexed.job)
    if job is None or (job.status_key, job.open) != (indexed.status_key, indexed.open):
        return
    status = status_of(job)
    document = {**status, "at": timestamps.text(services.now())}
    body = msgspec.json.format(msgspec.json.encode(document), indent=2)
    services.files.put(f"{job.results_prefix}/status.json", body + b"\n")
    if job.status == JobStatus.DONE and _can_be_archived(job, services.now()):
        if job.next_step is not None:
            logger.error("work files not tagged, S3 keeps them", extra={"job": job.job})
        expires_at = services.now() + timedelta(days=max(job.retention_days, MIN_RETENTION_DAYS))
        services.items.archive(job, int(expires_at.timestamp()))
    else:
        services.items.save_status_digest(job, _digest(status))


def _can_be_archived(job: Job, now: datetime) -> bool:
    """Return True if the work files of a job are tagged, or tagging has failed for `TIDY_FOR`."""
    return job.next_step is None or now - job.status_since > TIDY_FOR


def _status(job: Job, batches: list[Batch], over_budget: str | None) -> dict[str, Any]:
    statuses = Counter(batch.status for batch in batches)
    return {
        "job": job.job,
        "name": job.label,
        "status": job.status,
        "outcome": job.outcome,
        "reason": job.failure or job.cancel_reason,
        "canceled_at": job.canceled_at,
        "deadline_at": job.deadline_at,
        "waiting_for": job.waiting_for or (GO if job.held == GO else over_budget),
        "rows_planned": job.checkpoint.row,
        "rows_rejected": job.rows_rejected,
        "bytes_planned": job.checkpoint.position.get("byte", 0),
        "size_bytes": job.size_bytes,
        "estimate": estimate_figures(job),
        "chunks": job.chunks,
        "chunks_finished": job.chunks_finished,
        "batches": {} if job.status == JobStatus.DONE else dict(sorted(statuses.items())),
    }
