"""An object was created: claim it as a job, or note the wish to cancel one."""

from urllib.parse import unquote_plus

import msgspec
from aws_lambda_powertools import Logger

from functions.batches import items, times, wire
from functions.batches.doors import Doors
from functions.batches.items import Hint, Job, JobStatus, Step
from functions.batches.prices import price_list
from functions.batches.readers import parser_of
from functions.batches.settings import SubmitSettings
from functions.steps.ignored import ignore
from functions.steps.replaced import EMPTY_WAITS_S

CANCEL = ".cancel"
"""What a cancel marker's key ends with, in upper or lower case."""
logger = Logger(child=True)


class _Bucket(msgspec.Struct):
    name: str


class _Object(msgspec.Struct):
    key: str
    size: int = 0
    version: str | None = msgspec.field(default=None, name="versionId")


class _S3(msgspec.Struct):
    bucket: _Bucket
    object: _Object


class Created(msgspec.Struct):
    """One record of an S3 event: https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html."""

    s3: _S3
    at: str = msgspec.field(name="eventTime")

    @property
    def key(self) -> str:
        """The object's key, as it was before S3 encoded it for the event."""
        return unquote_plus(self.s3.object.key)

    @property
    def is_folder(self) -> bool:
        """Whether it only stands for a folder, as the console makes them."""
        return self.key.endswith("/") and self.s3.object.size == 0


def receive(doors: Doors[SubmitSettings], created: Created) -> Hint | None:
    """Claim an upload; the same event again changes nothing.

    Returns:
        The hint to go straight on with; None if there is nothing to plan.
    """
    bucket, key = created.s3.bucket.name, created.key
    if key.lower().endswith(CANCEL):
        upload = key[: -len(CANCEL)]
        doors.store.ask_to_cancel(bucket, upload, times.parse(created.at), key)
        return None
    parser = parser_of(key)
    if parser is None:
        if not created.is_folder:
            ignore(doors, bucket, key, created.at)
        return None
    job = _job(doors, created, parser)
    if doors.files.exists(f"{job.folder}/manifest.json"):
        logger.info("ignored: its results are there already", extra={"job": job.job})
        return None
    if not doors.store.claim(job):
        logger.info("claimed before", extra={"job": job.job})
    return Hint(schema=items.SCHEMA, job=job.job, item=items.JOB, next=Step.PLAN)


def _job(doors: Doors[SubmitSettings], created: Created, parser: str) -> Job:
    """Make the job, with what cuts and sends it as it is set now: a later deploy changes nothing for it."""
    now, settings = times.text(doors.now()), doors.settings
    bucket, key, version = created.s3.bucket.name, created.key, created.s3.object.version or "null"
    empty = created.s3.object.size == 0
    return Job(
        job=wire.job_id(bucket, key, version),
        item=items.JOB,
        schema=items.SCHEMA,
        status=JobStatus.PLANNING,
        since=items.since(JobStatus.PLANNING, now),
        open=items.OPEN,
        next=Step.PLAN,
        not_before=times.after(doors.now(), EMPTY_WAITS_S) if empty else None,
        bucket=bucket,
        key=key,
        version=version,
        size_bytes=created.s3.object.size,
        uploaded_at=created.at,
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
