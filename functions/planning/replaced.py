"""End jobs of empty versions that were replaced: mounted buckets write an empty object first."""

from aws_lambda_powertools import Logger

from functions.adapters.s3 import ObjectStore
from functions.adapters.work_items import WorkItems
from functions.model.items.job import Job, JobStatus
from functions.model.items.stored_objects import NO_VERSION, ObjectVersion

EMPTY_WAITS_S = 60.0
"""Delay between the claim of an empty upload and its planning, in seconds."""
REPLACED = "replaced"
"""The outcome of a job whose upload is empty and no longer the latest version."""
logger = Logger(child=True)


def is_replaced(files: ObjectStore, items: WorkItems, job: Job) -> bool:
    """End the job of an empty upload, without an event, if its object has a later version.

    Returns:
        False if the upload must be planned: it is not empty, or it is still the latest version.
    """
    if job.size_bytes > 0:
        return False
    latest = files.describe(ObjectVersion(job.bucket, job.key))
    if latest is None or latest.get("VersionId", NO_VERSION) == job.version:
        return False
    reason = "the upload is an empty version that a later version replaced"
    changes = {"status": JobStatus.DONE, "outcome": REPLACED, "failure": reason}
    items.transition(job, changes)
    logger.info("empty version replaced", extra={"job": job.job, "key": job.key})
    return True
