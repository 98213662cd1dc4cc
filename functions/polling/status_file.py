"""Write each job's status.json while it runs, and once more when it is done."""

import hashlib
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import msgspec
from aws_lambda_powertools import Logger

from functions.model import timestamps
from functions.model.items import Batch, Job, JobStatus
from functions.model.records import Unfinished, by_job
from functions.polling.phases import Phases, place
from functions.services import Services
from functions.settings import PollSettings

TIDYING = timedelta(days=7)
"""So long it is tried to mark the work files of a job that has ended; a denial is mended by then, or meant."""
KEEP_DAYS = 60
"""The least time a job is remembered: longer than anything that could bring its event back."""
logger = Logger(child=True)


def write_status_files(
    services: Services[PollSettings], unfinished: Unfinished, phases: Phases
) -> None:
    """Tell how each unfinished job stands, where that has changed."""
    batches = by_job(unfinished.batches)
    due = [
        job
        for job in unfinished.jobs
        if _digest(_status(job, batches.get(job.job, []))) != job.status_digest
        or (job.status == JobStatus.DONE and _is_tidied(job, services.now()))
    ]
    phases.each("report", due, place, lambda job: _report(services, job, batches.get(job.job, [])))


def _digest(status: dict[str, Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(status)).hexdigest()[:16]


def _report(services: Services[PollSettings], seen: Job, batches: list[Batch]) -> None:
    """Write a job's status.json, then note that; one that is done leaves the index after that alone.

    The index may be behind: it may show a job as running that is done and has left it, and nobody would write its file
    again. So the table itself must say first that the job stands where the index has it.
    """
    job = services.items.job(seen.job)
    if job is None or (job.status_key, job.open) != (seen.status_key, seen.open):
        return
    status = _status(job, batches)
    told = {**status, "at": timestamps.text(services.now())}
    body = msgspec.json.format(msgspec.json.encode(told), indent=2)
    services.files.put(f"{job.results_prefix}/status.json", body + b"\n")
    if job.status == JobStatus.DONE and _is_tidied(job, services.now()):
        if job.next_step is not None:
            logger.error("work files are not marked, and stay", extra={"job": job.job})
        days = timedelta(days=max(job.retention_days, KEEP_DAYS))
        services.items.archive(job, int((services.now() + days).timestamp()))
    else:
        services.items.save_status_digest(job, _digest(status))


def _is_tidied(job: Job, now: datetime) -> bool:
    """Whether a job's work files are marked, or that has failed for so long that nobody waits for it."""
    return job.next_step is None or now - job.status_since > TIDYING


def _status(job: Job, batches: list[Batch]) -> dict[str, Any]:
    statuses = Counter(batch.status for batch in batches)
    return {
        "job": job.job,
        "name": job.label,
        "status": job.status,
        "outcome": job.outcome,
        "reason": job.failure,
        "canceled_at": job.canceled_at,
        "rows_planned": job.checkpoint.row,
        "rows_rejected": job.rows_rejected,
        "bytes_planned": job.checkpoint.position.get("byte", 0),
        "size_bytes": job.size_bytes,
        "chunks": job.chunks,
        "chunks_finished": job.chunks_finished,
        "batches": {} if job.status == JobStatus.DONE else dict(sorted(statuses.items())),
    }
