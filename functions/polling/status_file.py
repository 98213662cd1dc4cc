"""Write the status.json of each job while it runs, and a last time when it is done."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import msgspec
from aws_lambda_powertools import Logger

from functions.model import timestamps
from functions.model.expected_cost import estimate_figures
from functions.model.items.batch import Batch, BatchStatus
from functions.model.items.counts import OUTCOMES
from functions.model.items.job import GO, Job, JobStatus
from functions.model.items.work_item import MICRO
from functions.model.pilot import pilot_figures
from functions.model.records import Sending
from functions.model.unfinished import Unfinished
from functions.model.waiting_reasons import OF_ALL_JOBS, Obstacles, waiting_reasons
from functions.polling.phases import Phases, place
from functions.services import Services
from functions.settings import PollSettings

TIDY_FOR = timedelta(days=7)
"""Archive a job after this long even if its work files could not be tagged."""
MIN_RETENTION_DAYS = 60
"""Minimum days that a done job stays in the table. No event of its upload can arrive later."""
_STATES = {
    BatchStatus.WAITING: "waiting",
    BatchStatus.SENDING: "unconfirmed",
    BatchStatus.UNCONFIRMED: "unconfirmed",
    BatchStatus.IN_PROGRESS: "processing",
}
"""Status of a batch → state of its requests, until it ends. Then Anthropic counts them."""
logger = Logger(child=True)


def status_reader(
    unfinished: Unfinished, sending: Sending | None, now: datetime
) -> Callable[[Job], dict[str, Any]]:
    """Return a function that returns what status.json says of a job.

    Args:
        unfinished: all unfinished items.
        sending: the circuit breaker; None if it could not be read.
        now: the time.
    """
    batches = defaultdict[str, list[Batch]](list)
    for batch in unfinished.batches:
        batches[batch.job].append(batch)

    def status(job: Job) -> dict[str, Any]:
        obstacles = Obstacles(
            sending=sending,
            not_admitted=unfinished.not_admitted.get(job.job, {}),
            until=unfinished.budgets_until,
        )
        return _status(job, batches[job.job], obstacles, now)

    return status


def write_status_files(
    services: Services[PollSettings],
    unfinished: Unfinished,
    phases: Phases,
    status: Callable[[Job], dict[str, Any]],
) -> None:
    """Write status.json for each unfinished job whose status has changed."""
    due = [
        job
        for job in unfinished.jobs
        if phases.attempt(
            "status files",
            partial(_is_due, job, status, services.now()),
            default=False,
            item_name=job.job,
        )
    ]
    phases.each("status files", due, place, lambda job: _write_status(services, job, status))


def _is_due(job: Job, status: Callable[[Job], dict[str, Any]], now: datetime) -> bool:
    return _digest(status(job)) != job.status_digest or (
        job.status == JobStatus.DONE and _can_be_archived(job, now)
    )


def _digest(status: dict[str, Any]) -> str:
    """Return a digest of what a status says, without times that would change it for nothing."""
    waiting = [
        wait | {"until": None} if wait["reason"] in OF_ALL_JOBS else wait
        for wait in status["waiting"]
    ]
    compared = status | {"waiting": waiting, "next_look_at": None}
    return hashlib.sha256(msgspec.json.encode(compared)).hexdigest()[:16]


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


def _status(job: Job, batches: list[Batch], obstacles: Obstacles, now: datetime) -> dict[str, Any]:
    statuses = Counter(batch.status for batch in batches)
    waiting = waiting_reasons(job, batches, obstacles, now)
    budget = next((name for name in obstacles.not_admitted if name.endswith("_budget")), None)
    return {
        "job": job.job,
        "name": job.label,
        "status": job.status,
        "outcome": job.outcome,
        "reason": job.failure or job.cancel_reason,
        "canceled_at": job.canceled_at,
        "deadline_at": job.deadline_at,
        "since": timestamps.text(job.status_since),
        "claimed_at": job.claimed_at,
        "first_sent_at": min(
            filter(None, (batch.first_sent_at for batch in batches)), default=None
        ),
        "waiting_for": job.waiting_for or (GO if job.held == GO else budget),
        "waiting": [msgspec.to_builtins(wait) for wait in waiting],
        "next_look_at": min((wait.until for wait in waiting if wait.until), default=None),
        "rows_planned": job.checkpoint.row,
        "rows_rejected": job.rows_rejected,
        "bytes_planned": job.checkpoint.position.get("byte", 0),
        "size_bytes": job.size_bytes,
        "rows": {name: getattr(job, f"collected_{name}") for name in OUTCOMES},
        "requests": _requests(batches),
        "cost_usd_known": job.cost_micro_usd / MICRO,
        "estimate": estimate_figures(job),
        "pilot": None if job.pilot is None else pilot_figures(job.pilot),
        "chunks": job.chunks,
        "chunks_finished": job.chunks_finished,
        "batches": {} if job.status == JobStatus.DONE else dict(sorted(statuses.items())),
    }


def _requests(batches: list[Batch]) -> dict[str, int]:
    """Count the requests of unfinished batches by state, as Anthropic has them, and those that are not there yet."""
    counts = Counter(dict.fromkeys(("waiting", "unconfirmed", "processing", *OUTCOMES[:4]), 0))
    for batch in batches:
        if batch.status == BatchStatus.ENDED:
            counts.update(batch.request_counts)
        else:
            counts[_STATES[BatchStatus(batch.status)]] += batch.requests
    return dict(counts)
