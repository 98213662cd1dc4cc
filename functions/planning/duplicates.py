"""The same bytes again: an upload that was moved, copied or touched is not paid twice, unless it is asked for."""

import hashlib
from datetime import datetime

import msgspec
from aws_lambda_powertools import Logger

from functions.adapters.claims import DUPLICATE, Again, Claims, Content
from functions.adapters.s3 import ObjectStore
from functions.adapters.work_items import WorkItems
from functions.errors import ClaimError
from functions.model import items, timestamps, upload_events
from functions.model.items import Job, JobStatus, Step, WorkMessage
from functions.planning.new_job import Upload, new_job
from functions.services import Services
from functions.settings import SubmitSettings

LOOKS = 5
"""Times that a claim is made anew because another one came in between."""
CHECKSUMS = ("ChecksumSHA256", "ChecksumSHA1", "ChecksumCRC64NVME")
"""What S3 may know of an object's bytes. CRC-32 is too short to tell many uploads of one size apart."""
logger = Logger(child=True)


def claim_unless_repeated(services: Services[SubmitSettings], job: Job) -> bool:
    """Claim an upload, or skip it if a job has its bytes already.

    Returns:
        False if there is nothing to plan.

    Raises:
        ClaimError: other claims of the same bytes came in between again and again.
    """
    claims, fingerprint = services.claims, _fingerprint(services.files, job)
    for _ in range(LOOKS):
        if services.items.job(job.job) is not None:
            logger.info("upload already claimed", extra={"job": job.job})
            return True
        again = claims.again(job.bucket, job.key)
        content = claims.content(fingerprint) if fingerprint else None
        original = (
            None
            if again.waits(services.now())
            else _original(services.items, content, services.now())
        )
        if original is not None and _skip(services, job, original, again):
            return False
        if original is None and claims.claim(job, content, again):
            return True
    raise ClaimError(job.job)


def run_again(
    services: Services[SubmitSettings], bucket: str, key: str, at: str
) -> WorkMessage | None:
    """Run the upload of a key that was skipped last; if none was, note the marker for the next one.

    Raises:
        ClaimError: other markers and uploads came in between again and again.
    """
    claims = services.claims
    for _ in range(LOOKS):
        again = claims.again(bucket, key)
        if again.at is not None and again.at >= at:
            logger.info("this marker was read before", extra={"key": key})
            return None
        skipped = services.items.job(again.skipped) if again.skipped else None
        if skipped is None or skipped.outcome != DUPLICATE:
            if claims.wait_for_upload(again, at):
                return None
        elif claims.run_skipped(
            _anew(services, skipped), _content(services.files, claims, skipped), again, at
        ):
            return WorkMessage(
                schema=items.SCHEMA, job=skipped.job, item=items.JOB, next_step=Step.PLAN
            )
    raise ClaimError(key)


def _content(files: ObjectStore, claims: Claims, job: Job) -> Content | None:
    fingerprint = _fingerprint(files, job)
    return claims.content(fingerprint) if fingerprint else None


def _fingerprint(files: ObjectStore, job: Job) -> str | None:
    """Name an upload's bytes by what S3 knows of them; None where it says nothing."""
    head = files.describe(job.source)
    if head is None:
        return None
    known: dict[str, object] = {**head}
    name = next((name for name in CHECKSUMS if known.get(name)), "ETag")
    told = f"{job.bucket}\n{head['ContentLength']}\n{name}\n{known[name]}"
    return hashlib.sha256(told.encode()).hexdigest()


def _original(work_items: WorkItems, content: Content | None, now: datetime) -> Job | None:
    """Find the job that has these bytes and runs, or ended with answers."""
    if content is None or content.owned_by is None or content.expires <= now.timestamp():
        return None
    job = work_items.job(content.owned_by)
    if job is None:
        return None
    if job.status == JobStatus.DONE:
        return job if job.outcome in {"succeeded", "partial"} else None
    return job if job.canceled_at is None and job.failure is None else None


def _skip(services: Services[SubmitSettings], job: Job, original: Job, again: Again) -> bool:
    now = timestamps.text(services.now())
    event = upload_events.job_duplicate(job, original, services.files.bucket, now)
    skipped = msgspec.structs.replace(
        job, status=JobStatus.DONE, status_key=items.status_key(JobStatus.DONE, now), next_step=None, outcome=DUPLICATE,
        failure=event.data["message"],
    )  # fmt: skip
    if not services.claims.skip(skipped, original, again, event):
        return False
    logger.info("skipped: the bytes of another job", extra={"job": job.job, "of": original.job})
    services.outbox.publish([event])
    return True


def _anew(services: Services[SubmitSettings], job: Job) -> Job:
    upload = Upload(job.bucket, job.key, job.version, job.size_bytes, job.uploaded_at)
    return new_job(services.settings, upload, job.parser, services.now())
