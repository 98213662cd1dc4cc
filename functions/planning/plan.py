"""Plan a job: stream its upload, cut it into chunks and write each chunk's files.

Each chunk moves the job's checkpoint. An invocation stops before its time runs out, and the next one resumes there.
"""

from collections.abc import Callable
from tempfile import TemporaryFile
from typing import Any

import msgspec

from functions.adapters.chunk_store import store_chunk_files
from functions.adapters.options_files import load_options
from functions.adapters.tracing import traced
from functions.errors import ObjectUnreadableError, UnreadableUploadError
from functions.model import events, ids, timestamps
from functions.model.chunk_files import ChunkKeys
from functions.model.estimate import Sample, estimate
from functions.model.events import Event
from functions.model.expected_cost import known_worst_micro_usd
from functions.model.items.batch import Batch, BatchStatus
from functions.model.items.job import PILOT, Job, JobStatus
from functions.model.items.work_item import OPEN, SCHEMA, Step, status_key
from functions.planning.chunks import (
    Chunk,
    fill_chunk,
    read_rows,
    why_nothing_sendable,
    with_end_notices,
)
from functions.planning.equal_rows import key_of, open_equal_rows
from functions.planning.job_budget import find_hold
from functions.planning.prepare import prepare
from functions.planning.sampling import count_sample
from functions.planning.waiting import wait
from functions.readers import position_of, stored
from functions.services import Services
from functions.settings import SubmitSettings

MAX_PLANNING_S = 180.0
"""Seconds that one invocation plans. The limit keeps a few large uploads from delaying all sends."""
_MIN_TIME_LEFT_S = 120.0
"""Seconds that must be left to begin a chunk. Cutting and storing the largest takes several seconds."""
_PERMANENT_CODES = frozenset(
    {"NoSuchKey", "NoSuchVersion", "MethodNotAllowed", "InvalidObjectState"}
)
"""S3 error codes after which an upload stays unreadable."""


def plan(
    services: Services[SubmitSettings],
    job: Job,
    time_left_s: Callable[[], float],
    request_poll: Callable[[], None],
) -> Job | None:
    """Cut the rest of a job's upload into chunks. Each chunk is one transaction.

    Args:
        services: the services of submit.
        job: a job that this invocation owns.
        time_left_s: returns the seconds that this invocation may still run.
        request_poll: requests a poll; called after the first of several chunks.

    Returns:
        The job after planning; None if planning must continue later or another invocation owns the job.

    Raises:
        ObjectUnreadableError: S3 refuses the upload for a reason that may pass.
        DownloadError: the download failed too often.
    """
    if job.estimate is not None:  # it was held
        return _finish(services, job, failure=job.failure)
    if job.waiting_for is not None and job.canceled_at is not None:
        return _fail(services, job, "canceled before it was planned")
    try:
        prepared = prepare(services, job)
        return (
            None
            if prepared is None
            else _cut_chunks(services, prepared, time_left_s, request_poll)
        )
    except UnreadableUploadError as error:
        return _fail(services, job, str(error))
    except ObjectUnreadableError as error:
        # A KMS key may be repaired: once rows of the upload are planned, wait for it.
        unplanned_kms = error.code.startswith("KMS.") and job.checkpoint.row == 0
        if error.code in _PERMANENT_CODES or unplanned_kms:
            return _fail(services, job, f"the upload {error.why}")
        raise


def _fail(services: Services[SubmitSettings], job: Job, failure: str) -> Job | None:
    """End planning early. Chunks that exist already are still sent."""
    current = services.items.job(job.job)
    if current is None or current.owner != job.owner:
        return None
    return _finish(services, current, failure=failure)


def _cut_chunks(
    services: Services[SubmitSettings],
    job: Job,
    time_left_s: Callable[[], float],
    request_poll: Callable[[], None],
) -> Job | None:
    first_chunk = job.checkpoint.chunk + 1
    with open_equal_rows(services.files, services.files.bucket, job) as equal_rows:
        rows = read_rows(services.files, job, load_options(services.files, job))
        pending = next(rows, None)
        time_left_at_start_s = time_left_s()
        while pending is not None:
            if time_left_s() < max(_MIN_TIME_LEFT_S, time_left_at_start_s - MAX_PLANNING_S):
                services.items.release(job)
                return None
            with traced("cut chunk"), TemporaryFile() as body, TemporaryFile() as ledger:
                chunk = Chunk(job, body, ledger, equal_rows)
                pending = fill_chunk(chunk, pending, rows)
                planned = _store_chunk(services, chunk, _count_sample(services, chunk))
            if planned is None:
                return None
            job = planned
            if job.checkpoint.chunk == first_chunk and pending is not None:
                request_poll()
    return _finish(services, with_end_notices(services.files, job), failure=None)


def _count_sample(services: Services[SubmitSettings], chunk: Chunk) -> dict[str, Sample]:
    """Count the input tokens of some rows of one chunk. The estimate scales them to the whole upload."""
    job = chunk.job
    if not chunk.is_sample:
        return job.samples
    rows, betas = services.settings.estimate_rows, sorted({*job.betas, *chunk.betas})
    return count_sample(services.claude, job, rows, chunk.body, chunk.ledger, betas)


def _store_chunk(
    services: Services[SubmitSettings], chunk: Chunk, samples: dict[str, Sample]
) -> Job | None:
    """Write a chunk's files, then its batch and the job's checkpoint in one transaction.

    Returns:
        The job with the new checkpoint; None if another invocation owns it.
    """
    job = chunk.job
    keys = store_chunk_files(services.files, job, chunk.name, 1, chunk.body, chunk.ledger)
    if job.equal_rows_once:
        services.files.write(key_of(job, chunk.name), [bytes(chunk.digests)])
    worst = known_worst_micro_usd(job, chunk.demands, samples)
    batch = _build_batch(chunk, keys, worst, timestamps.text(services.now()))
    changes = chunk.changes(samples)
    expected = {"owner": job.owner, "checkpoint": job.checkpoint}
    # Increment `chunks` instead of setting it, because splitting a refused batch increments it too.
    if not services.items.transition(
        job, changes, expected=expected, puts=[batch], increments={"chunks": 1}, keep_lease=True
    ):
        return None
    return msgspec.structs.replace(job, **changes, tries=0)


def _build_batch(chunk: Chunk, keys: ChunkKeys, worst_micro_usd: int, now: str) -> Batch:
    """Build a chunk's first batch. A chunk with only rejected rows goes straight to collect."""
    job, files = chunk.job, chunk.writer
    sendable = files.requests > 0
    status = BatchStatus.WAITING if sendable else BatchStatus.ENDED
    return Batch(
        job=job.job,
        item=ids.batch_name(chunk.name, 1),
        schema=SCHEMA,
        status=status,
        status_key=status_key(status, now),
        open=OPEN,
        next_step=Step.SEND if sendable else Step.COLLECT,
        chunk=chunk.name,
        attempt=1,
        first_row=job.checkpoint.row + 1,
        last_row=chunk.checkpoint.row,
        start_byte=position_of(job).byte,
        end_byte=chunk.end.byte,
        requests=files.requests,
        copies=files.copies,
        cross_chunk_copies=files.cross_chunk_copies,
        size_bytes=files.size_bytes,
        requests_key=keys.requests,
        ledger_key=keys.ledger,
        betas=sorted({*job.betas, *chunk.betas}),
        worst_micro_usd=worst_micro_usd,
        start=stored(position_of(job)),
        priority=job.priority,
        share=job.share,
        is_warmup=chunk.is_warmup,
    )


def _finish(services: Services[SubmitSettings], job: Job, failure: str | None) -> Job | None:
    """End planning: set the job's status and failure, unless its cost holds it. Publish ``job.planned`` once."""
    job, pending_events = _estimated(services, job, failure or why_nothing_sendable(job))
    changes: dict[str, Any] = {
        "failure": job.failure,
        "format": job.format,
        "estimate": job.estimate,
    }
    hold, frozen = find_hold(services, job)
    changes |= frozen
    if hold is not None:
        wait(services, job, *hold, others=pending_events, **changes)
        return None
    changes |= {
        "status": JobStatus.RUNNING,
        "held": PILOT if job.pilot_rows and job.checkpoint.chunk > 1 else None,
        "waiting_for": None,
        "waiting_event": None,
    }
    if not services.items.transition(job, changes, events=pending_events):
        return None
    services.outbox.publish_pending(job.job)
    services.items.start_assembly_if_complete(job.job)
    return services.items.job(job.job)


@traced("estimate")
def _estimated(
    services: Services[SubmitSettings], job: Job, failure: str | None
) -> tuple[Job, list[Event]]:
    """Return a job that is read to its end with its estimate, and the events that announce it."""
    if job.estimate is not None:
        return job, []
    past_usage = services.usage_history.of(job, job.demands)
    expected = estimate(job.demands, job.samples, past_usage, job.second_demands)
    job = msgspec.structs.replace(job, estimate=expected, failure=failure)
    if not job.sendable_rows:
        return job, []
    return job, [events.job_planned(job, services.files.bucket, timestamps.text(services.now()))]
