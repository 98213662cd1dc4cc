"""Handle a created object: claim an upload as a job, or record what a marker requests."""

from urllib.parse import unquote_plus

import msgspec
from aws_lambda_powertools import Logger

from functions.adapters.marker_requests import MarkerRequests
from functions.model import timestamps, upload_events
from functions.model.items.stored_objects import NO_VERSION, ObjectVersion
from functions.model.items.work_item import JOB, SCHEMA, Step
from functions.model.items.work_message import WorkMessage
from functions.model.options import is_options_file, name_problem
from functions.planning.duplicates import claim_unless_repeated, run_again
from functions.planning.ignored import ignore
from functions.planning.new_job import Upload, new_job
from functions.planning.waiting import wake_waiting_jobs
from functions.readers import suffix_of
from functions.services import Services
from functions.settings import SubmitSettings

CANCEL = ".cancel"
GO = ".go"
AGAIN = ".again"
"""Suffixes of marker keys, in upper or lower case. CANCEL cancels an upload's jobs, GO sends held ones; AGAIN runs a skipped repeat."""
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


class S3EventRecord(msgspec.Struct):
    """One record of an S3 event: https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html."""

    s3: _S3
    event_time: str = msgspec.field(name="eventTime")

    @property
    def key(self) -> str:
        """Return the object's key, decoded: S3 URL-encodes it in events."""
        return unquote_plus(self.s3.object.key)

    @property
    def upload(self) -> Upload:
        """Return the version of the object that was created."""
        version = self.s3.object.version or NO_VERSION
        return Upload(self.s3.bucket.name, self.key, version, self.s3.object.size, self.event_time)

    @property
    def is_folder(self) -> bool:
        """Return whether the object is a folder placeholder, as the S3 console creates them."""
        return self.key.endswith("/") and self.s3.object.size == 0


def handle_created_object(
    services: Services[SubmitSettings], created: S3EventRecord
) -> WorkMessage | None:
    """Claim an upload, or record what a marker requests. A repeated event changes nothing.

    Returns:
        The work message to process immediately; None if there is nothing to plan.

    Raises:
        ClaimError: concurrent claims of the same bytes won too often.
    """
    bucket, key = created.s3.bucket.name, created.key
    if requests := _requests_of(services, key):
        stem, _, _ = key.rpartition(".")
        requests.request(bucket, stem, timestamps.parse(created.event_time), key)
        return None
    if key.lower().endswith(AGAIN):
        marked_at = timestamps.text(timestamps.parse(created.event_time))
        return run_again(services, bucket, key[: -len(AGAIN)], marked_at)
    if is_options_file(key) or name_problem(key):
        _handle_options_file(services, created)
        return None
    if suffix_of(key) is None:
        if not created.is_folder:
            ignore(services.uploads, bucket, key, created.event_time, services.now())
        return None
    return claim(services, created.upload)


def _handle_options_file(services: Services[SubmitSettings], created: S3EventRecord) -> None:
    """Wake the jobs that wait for an options file, or announce that its name is not read."""
    file = ObjectVersion(created.s3.bucket.name, created.key, created.s3.object.version)
    problem = name_problem(file.key)
    if problem is None:
        wake_waiting_jobs(services, file.bucket, file.key)
        return
    event = upload_events.options_misnamed(file, problem, timestamps.text(services.now()))
    if services.uploads.announce_once(event):
        services.outbox.publish([event])


def _requests_of(services: Services[SubmitSettings], key: str) -> MarkerRequests | None:
    """Return where a marker's request is recorded; None if the key is not that of such a marker."""
    if key.lower().endswith(CANCEL):
        return services.cancellations
    return services.releases if key.lower().endswith(GO) else None


def claim(services: Services[SubmitSettings], upload: Upload) -> WorkMessage | None:
    """Claim an upload whose suffix is read.

    Returns:
        The work message to process immediately; None if there is nothing to plan.

    Raises:
        ClaimError: concurrent claims of the same bytes won too often.
    """
    job = new_job(services.settings, upload, services.now())
    if services.files.exists(f"{job.results_prefix}/manifest.json"):
        logger.info("upload ignored: its results already exist", extra={"job": job.job})
        return None
    if services.settings.repeats == "run" or not upload.size_bytes:
        if not services.claims.claim(job):
            logger.info("upload already claimed", extra={"job": job.job})
    elif not claim_unless_repeated(services, job):
        return None
    return WorkMessage(schema=SCHEMA, job=job.job, item=JOB, next_step=Step.PLAN)
