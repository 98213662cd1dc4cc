"""An object was created: claim it as a job, or note what a marker asks for."""

from urllib.parse import unquote_plus

import msgspec
from aws_lambda_powertools import Logger

from functions.model import items, timestamps
from functions.model.items import NO_VERSION, Step, WorkMessage
from functions.planning.duplicates import claim_unless_repeated, run_again
from functions.planning.ignored import ignore
from functions.planning.new_job import Upload, new_job
from functions.readers import parser_of
from functions.services import Services
from functions.settings import SubmitSettings

CANCEL = ".cancel"
AGAIN = ".again"
"""What a marker's key ends with, in upper or lower case: cancel the upload's jobs; run it though it repeats a job."""
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
    def upload(self) -> Upload:
        """The version of the object that was created."""
        thing = self.s3.object
        return Upload(
            self.s3.bucket.name, self.key, thing.version or NO_VERSION, thing.size, self.at
        )

    @property
    def is_folder(self) -> bool:
        """Whether it only stands for a folder, as the console makes them."""
        return self.key.endswith("/") and self.s3.object.size == 0


def receive(services: Services[SubmitSettings], created: Created) -> WorkMessage | None:
    """Claim an upload, or note what a marker asks for; the same event again changes nothing.

    Returns:
        The work message to go straight on with; None if there is nothing to plan.
    """
    bucket, key, lowered = created.s3.bucket.name, created.key, created.key.lower()
    at = timestamps.parse(created.at)
    if lowered.endswith(CANCEL):
        services.cancellations.request(bucket, key[: -len(CANCEL)], at, key)
        return None
    if lowered.endswith(AGAIN):
        return run_again(services, bucket, key[: -len(AGAIN)], timestamps.text(at))
    if parser_of(key) is None:
        if not created.is_folder:
            ignore(services.uploads, bucket, key, created.at, services.now())
        return None
    return claim(services, created.upload)


def claim(services: Services[SubmitSettings], upload: Upload) -> WorkMessage | None:
    """Claim an upload that a reader reads.

    Returns:
        The work message to go straight on with; None if there is nothing to plan.
    """
    job = new_job(services.settings, upload, parser_of(upload.key) or "", services.now())
    if services.files.exists(f"{job.results_prefix}/manifest.json"):
        logger.info("ignored: its results are there already", extra={"job": job.job})
        return None
    if services.settings.repeats == "run" or not upload.size_bytes:
        if not services.claims.claim(job):
            logger.info("upload already claimed", extra={"job": job.job})
    elif not claim_unless_repeated(services, job):
        return None
    return WorkMessage(schema=items.SCHEMA, job=job.job, item=items.JOB, next_step=Step.PLAN)
