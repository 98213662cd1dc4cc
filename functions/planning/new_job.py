"""Build the job of an upload at the moment of its claim."""

from dataclasses import dataclass
from datetime import datetime

from functions.model import ids, timestamps
from functions.model.capabilities import newest_list
from functions.model.items.job import Checkpoint, Job, JobStatus
from functions.model.items.work_item import JOB, OPEN, SCHEMA, Step, status_key
from functions.model.pricing import newest_price_list
from functions.planning.replaced import EMPTY_WAITS_S
from functions.settings import SubmitSettings


@dataclass(frozen=True)
class Upload:
    """One version of one object.

    Attributes:
        bucket: the uploads bucket.
        key: the object's key, decoded.
        version: the version id; ``null`` in a bucket without versioning.
        size_bytes: the object's length.
        uploaded_at: when the version was created, in UTC.
    """

    bucket: str
    key: str
    version: str
    size_bytes: int
    uploaded_at: str


def new_job(settings: SubmitSettings, upload: Upload, now: datetime) -> Job:
    """Build the job. It keeps a copy of the settings, so a later deploy does not change a running job.

    Args:
        settings: the settings of submit.
        upload: the version to plan.
        now: the time of the claim.
    """
    return Job(
        job=ids.job_id(upload.bucket, upload.key, upload.version),
        item=JOB,
        schema=SCHEMA,
        status=JobStatus.PLANNING,
        status_key=status_key(JobStatus.PLANNING, timestamps.text(now)),
        open=OPEN,
        next_step=Step.PLAN,
        not_before=None if upload.size_bytes else timestamps.after(now, EMPTY_WAITS_S),
        bucket=upload.bucket,
        key=upload.key,
        version=upload.version,
        size_bytes=upload.size_bytes,
        uploaded_at=upload.uploaded_at,
        claimed_at=timestamps.text(now),
        requests_per_batch=settings.requests_per_batch,
        batch_bytes=settings.batch_bytes,
        row_bytes=settings.row_bytes,
        attempts=settings.attempts,
        api_version=settings.api_version,
        retention_days=settings.retention_days,
        checkpoint=Checkpoint(),
        price_list=newest_price_list().version,
        capability_list=newest_list().version,
        report=settings.report,
    )
