"""Skip uploads whose bytes another job has: a moved or copied file is not paid for twice."""

import hashlib
from datetime import datetime

import msgspec
from aws_lambda_powertools import Logger

from functions.adapters.claims import DUPLICATE, Claims, Content, Repeat
from functions.adapters.s3 import ObjectStore
from functions.adapters.work_items import WorkItems
from functions.errors import ClaimError
from functions.model import timestamps, upload_events
from functions.model.items.job import Job, JobStatus
from functions.model.items.work_item import JOB, SCHEMA, Step, status_key
from functions.model.items.work_message import WorkMessage
from functions.planning.new_job import Upload, new_job
from functions.services import Services
from functions.settings import SubmitSettings

_MAX_TRIES = 5
"""Tries of a claim that loses to a concurrent one."""
_CHECKSUMS = ("ChecksumSHA256", "ChecksumSHA1", "ChecksumCRC64NVME")
"""S3 checksums that identify an object's bytes, best first. CRC-32 is left out: it collides too often."""
logger = Logger(child=True)


def claim_unless_repeated(services: Services[SubmitSettings], job: Job) -> bool:
    """Claim an upload, or skip it if another job already has its bytes.

    Returns:
        False if the upload was skipped.

    Raises:
        ClaimError: concurrent claims of the same bytes won too often.
    """
    claims, fingerprint = services.claims, _fingerprint(services.files, job)
    for _ in range(_MAX_TRIES):
        if services.items.job(job.job) is not None:
            logger.info("upload already claimed", extra={"job": job.job})
            return True
        repeat = claims.repeat_of(job.bucket, job.key)
        content = claims.content(fingerprint) if fingerprint else None
        original = (
            None
            if repeat.awaits_upload(services.now())
            else _find_original(services.items, content, services.now())
        )
        if original is not None and _skip(services, job, original, repeat):
            return False
        if original is None and claims.claim(job, content, repeat):
            return True
    raise ClaimError(job.job)


def run_again(
    services: Services[SubmitSettings], bucket: str, key: str, marked_at: str
) -> WorkMessage | None:
    """Run the last skipped upload of a key. If none was skipped, keep the marker for the next upload.

    Args:
        services: the services of submit.
        bucket: the uploads bucket.
        key: the upload's key, without the marker's suffix.
        marked_at: when the marker was created, in UTC.

    Returns:
        The work message to process immediately; None if there is nothing to plan.

    Raises:
        ClaimError: concurrent markers and uploads won too often.
    """
    claims = services.claims
    for _ in range(_MAX_TRIES):
        repeat = claims.repeat_of(bucket, key)
        if repeat.marked_at is not None and repeat.marked_at >= marked_at:
            logger.info("marker already handled", extra={"key": key})
            return None
        skipped = services.items.job(repeat.skipped_job) if repeat.skipped_job else None
        if skipped is None or skipped.outcome != DUPLICATE:
            if claims.wait_for_upload(repeat, marked_at):
                return None
        elif claims.run_skipped(
            _renewed(services, skipped),
            _content(services.files, claims, skipped),
            repeat,
            marked_at,
        ):
            return WorkMessage(schema=SCHEMA, job=skipped.job, item=JOB, next_step=Step.PLAN)
    raise ClaimError(key)


def _content(files: ObjectStore, claims: Claims, job: Job) -> Content | None:
    fingerprint = _fingerprint(files, job)
    return claims.content(fingerprint) if fingerprint else None


def _fingerprint(files: ObjectStore, job: Job) -> str | None:
    """Return a hash of the bucket, the size and S3's checksum or ETag; None if the object is gone."""
    head = files.describe(job.source)
    if head is None:
        return None
    fields: dict[str, object] = {**head}
    name = next((name for name in _CHECKSUMS if fields.get(name)), "ETag")
    identity = f"{job.bucket}\n{head['ContentLength']}\n{name}\n{fields[name]}"
    return hashlib.sha256(identity.encode()).hexdigest()


def _find_original(work_items: WorkItems, content: Content | None, now: datetime) -> Job | None:
    """Return the job that has these bytes, if it is running or ended with results; None otherwise."""
    if content is None or content.owned_by is None or content.expires <= now.timestamp():
        return None
    job = work_items.job(content.owned_by)
    if job is None:
        return None
    if job.status == JobStatus.DONE:
        return job if job.outcome in {"succeeded", "partial"} else None
    return job if job.canceled_at is None and job.failure is None else None


def _skip(services: Services[SubmitSettings], job: Job, original: Job, repeat: Repeat) -> bool:
    """Record a job as a duplicate. Return False if the original or the marker changed meanwhile."""
    now = timestamps.text(services.now())
    event = upload_events.job_duplicate(job, original, services.files.bucket, now)
    skipped = msgspec.structs.replace(
        job, status=JobStatus.DONE, status_key=status_key(JobStatus.DONE, now), next_step=None, outcome=DUPLICATE,
        failure=event.data["message"],
    )  # fmt: skip
    if not services.claims.skip(skipped, original, repeat, event):
        return False
    logger.info(
        "upload skipped: another job has the same bytes",
        extra={"job": job.job, "of": original.job},
    )
    services.outbox.publish([event])
    return True


def _renewed(services: Services[SubmitSettings], job: Job) -> Job:
    """Return a skipped job as if it were claimed now."""
    upload = Upload(job.bucket, job.key, job.version, job.size_bytes, job.uploaded_at)
    return new_job(services.settings, upload, services.now())
