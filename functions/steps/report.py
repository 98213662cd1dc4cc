"""Write each job's status.json while it runs, and once more when it is done."""

import hashlib
from collections import Counter
from datetime import timedelta
from typing import Any

import msgspec
from aws_lambda_powertools import Logger

from functions.batches import times
from functions.batches.doors import Doors
from functions.batches.items import Batch, Job, JobStatus
from functions.batches.marks import Unfinished, by_job
from functions.batches.settings import PollSettings
from functions.steps.phases import Phases, place

TIDYING = timedelta(days=7)
"""So long it is tried to mark the work files of a job that has ended; a denial is mended by then, or meant."""
KEEP_DAYS = 60
"""The least time a job is remembered: longer than anything that could bring its event back."""
logger = Logger(child=True)


def report(doors: Doors[PollSettings], unfinished: Unfinished, phases: Phases) -> None:
    """Tell how each unfinished job stands, where that has changed."""
    batches = by_job(unfinished.batches)
    due = [
        job
        for job in unfinished.jobs
        if job.status == JobStatus.DONE
        or _digest(_status(job, batches.get(job.job, []))) != job.reported
    ]
    phases.each("report", due, place, lambda job: _report(doors, job, batches.get(job.job, [])))


def _digest(status: dict[str, Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(status)).hexdigest()[:16]


def _report(doors: Doors[PollSettings], seen: Job, batches: list[Batch]) -> None:
    """Write a job's status.json, then note that; one that is done leaves the index after that alone.

    The index may be behind: it may show a job as running that is done and has left it, and nobody would write its file
    again. So the table itself must say first that the job stands where the index has it.
    """
    job = doors.store.job(seen.job)
    if job is None or (job.since, job.open) != (seen.since, seen.open):
        return
    status = _status(job, batches)
    told = {**status, "at": times.text(doors.now())}
    body = msgspec.json.format(msgspec.json.encode(told), indent=2)
    doors.files.put(f"{job.folder}/status.json", body + b"\n")
    if job.status == JobStatus.DONE and _tidied(doors, job):
        days = timedelta(days=max(job.retention_days, KEEP_DAYS))
        doors.store.close(job, int((doors.now() + days).timestamp()))
    else:
        doors.store.report(job, _digest(status))


def _tidied(doors: Doors[PollSettings], job: Job) -> bool:
    """Whether a job's work files are marked, or that has failed for so long that nobody waits for it."""
    ended_at = times.parse(job.since.partition("#")[2])
    if job.next is not None and doors.now() - ended_at > TIDYING:
        logger.error("work files are not marked, and stay", extra={"job": job.job})
        return True
    return job.next is None


def _status(job: Job, batches: list[Batch]) -> dict[str, Any]:
    statuses = Counter(batch.status for batch in batches)
    return {
        "job": job.job,
        "name": job.label,
        "status": job.status,
        "outcome": job.outcome,
        "reason": job.failure,
        "canceled_at": job.canceled_at,
        "rows_planned": job.row,
        "rows_rejected": job.rejected,
        "bytes_planned": job.byte,
        "size_bytes": job.size_bytes,
        "chunks": job.chunks,
        "chunks_finished": job.finished,
        "batches": {} if job.status == JobStatus.DONE else dict(sorted(statuses.items())),
    }
