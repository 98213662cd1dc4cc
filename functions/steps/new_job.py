"""The job of an upload, as it is when it is claimed."""

from dataclasses import dataclass

from functions.batches import items, times, wire
from functions.batches.doors import Doors
from functions.batches.items import Job, JobStatus, Step
from functions.batches.prices import price_list
from functions.batches.settings import SubmitSettings
from functions.steps.replaced import EMPTY_WAITS_S


@dataclass(frozen=True)
class Upload:
    """One version of one object; `version` is ``null`` in a bucket without versions."""

    bucket: str
    key: str
    version: str
    size_bytes: int
    uploaded_at: str


def new_job(doors: Doors[SubmitSettings], upload: Upload, parser: str) -> Job:
    """Make the job, with what cuts and sends it as it is set now: a later deploy changes nothing for it."""
    now, settings = times.text(doors.now()), doors.settings
    return Job(
        job=wire.job_id(upload.bucket, upload.key, upload.version),
        item=items.JOB,
        schema=items.SCHEMA,
        status=JobStatus.PLANNING,
        since=items.since(JobStatus.PLANNING, now),
        open=items.OPEN,
        next=Step.PLAN,
        not_before=None if upload.size_bytes else times.after(doors.now(), EMPTY_WAITS_S),
        bucket=upload.bucket,
        key=upload.key,
        version=upload.version,
        size_bytes=upload.size_bytes,
        uploaded_at=upload.uploaded_at,
        claimed_at=now,
        requests_per_batch=settings.requests_per_batch,
        batch_bytes=settings.batch_bytes,
        row_bytes=settings.row_bytes,
        attempts=settings.attempts,
        api_version=settings.api_version,
        retention_days=settings.retention_days,
        parser=parser,
        prices=price_list().version,
    )
