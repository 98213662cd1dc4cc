"""Claim uploads that have no job because their S3 event was lost. Runs once a day.

Every claim costs money, so an upload is claimed only if all of this is true:

- It is the latest version of its key, between one hour and fourteen days old.
- It was created after this deployment first read its suffix.
- It has no job, no manifest and no cancel marker.

The table keeps jobs for at least sixty days. An upload whose job has expired is therefore always too old.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec
from aws_lambda_powertools import Logger

from functions.adapters.s3 import ListedVersion, ObjectStore
from functions.adapters.uploads import Cursor, Uploads
from functions.model import ids, timestamps, upload_events
from functions.model.items.stored_objects import ObjectVersion
from functions.planning.claim import CANCEL, claim
from functions.planning.new_job import Upload
from functions.readers import SUFFIXES, suffix_of
from functions.services import Services
from functions.settings import SubmitSettings

YOUNGEST = timedelta(hours=1)
"""The event of a younger upload may still arrive."""
OLDEST = timedelta(days=14)
"""SQS keeps a message for at most 14 days. The table keeps a job at least four times as long."""
_MIN_TIME_LEFT_S = 60.0
"""Seconds that must be left to begin a page. A page takes several seconds, plus its claims."""
_MAX_KEYS = 10
"""Maximum number of keys in the event and the log."""
logger = Logger(child=True)


@dataclass
class ReconciliationSummary:
    """The counts of one run.

    Attributes:
        pages: listing requests.
        listed: object versions on these pages.
        looked_up: versions whose job was looked up in the table.
        found: uploads that had no job.
        claimed: found uploads that now run; the others repeat a job.
        keys: the keys of the first ten found uploads.
        complete: True if the run reached the end of the bucket.
    """

    pages: int = 0
    listed: int = 0
    looked_up: int = 0
    found: int = 0
    claimed: int = 0
    keys: list[str] = field(default_factory=list)
    complete: bool = False


def reconcile_uploads(
    services: Services[SubmitSettings], pages: int, time_left_s: Callable[[], float]
) -> ReconciliationSummary:
    """List the uploads bucket from where the last run stopped, and claim uploads without a job.

    Args:
        services: the services of submit.
        pages: the maximum number of pages, of 1,000 versions each.
        time_left_s: returns the seconds that this invocation may still run.
    """
    cursor, since = services.uploads.cursor(), _eligible_since(services.uploads, services.now())
    run, start = ReconciliationSummary(), cursor
    try:
        while run.pages < pages and not run.complete and time_left_s() > _MIN_TIME_LEFT_S:
            cursor = _reconcile_page(services, cursor, since, run)
            run.complete = cursor.key is None
    finally:
        _save_progress(services, start, cursor, run)
    return run


def _eligible_since(uploads: Uploads, now: datetime) -> dict[str, datetime]:
    """Return for each suffix the time after which an upload is eligible.

    Objects from before the relay read their suffix were never meant to run.
    """
    first_read = {suffix: uploads.accepted_since(suffix) for suffix in SUFFIXES}
    return {
        suffix: max(timestamps.parse(since), now - OLDEST)
        for suffix, since in first_read.items()
        if since
    }


def _reconcile_page(
    services: Services[SubmitSettings],
    cursor: Cursor,
    since: Mapping[str, datetime],
    run: ReconciliationSummary,
) -> Cursor:
    """Claim the eligible uploads of one page. Return the cursor of the next page."""
    versions, (next_key, next_version) = services.files.versions(
        services.settings.uploads_bucket, cursor.key, cursor.version
    )
    run.pages += 1
    run.listed += len(versions)
    for version in versions:
        if _is_eligible(version, since, services.now() - YOUNGEST):
            _claim_or_log(services, version, run)
    return msgspec.structs.replace(cursor, key=next_key, version=next_version)


def _claim_or_log(
    services: Services[SubmitSettings], version: ListedVersion, run: ReconciliationSummary
) -> None:
    """Claim one version if it has no job. Log an error and continue; the next round tries it again."""
    try:
        _claim_if_missing(services, version, run)
    except Exception as error:  # noqa: BLE001 - one upload must not stop the others
        facts = {"key": version.key, "problem": type(error).__name__}
        logger.error("upload skipped after an error", extra=facts)  # noqa: TRY400 - a traceback may quote content


def _is_eligible(version: ListedVersion, since: Mapping[str, datetime], until: datetime) -> bool:
    """Return whether a version is the latest one, has a reader and is of the right age."""
    after = since.get(suffix_of(version.key) or "")
    return version.latest and after is not None and after < version.made_at < until


def _claim_if_missing(
    services: Services[SubmitSettings], version: ListedVersion, run: ReconciliationSummary
) -> None:
    bucket = services.settings.uploads_bucket
    run.looked_up += 1
    job_id = ids.job_id(bucket, version.key, version.version)
    if services.items.job(job_id) is not None or _is_canceled(services.files, bucket, version):
        return
    made_at = timestamps.text(version.made_at)
    upload = Upload(bucket, version.key, version.version, version.size_bytes, made_at)
    work_message = claim(services, upload)  # poll enqueues the claimed job
    if work_message is None and services.items.job(job_id) is None:
        return  # its results exist
    run.found += 1
    run.claimed += work_message is not None
    run.keys = [*run.keys, version.key][:_MAX_KEYS]
    logger.warning(
        "upload without a job", extra={"key": version.key, "runs": work_message is not None}
    )


def _is_canceled(files: ObjectStore, bucket: str, version: ListedVersion) -> bool:
    """Return whether a later cancel marker exists.

    Look in the bucket, because the table's record of a marker expires.
    """
    stem = ids.stem_of(version.key)
    markers = [name + end for name in (version.key, stem) for end in (CANCEL, CANCEL.upper())]
    for marker in markers:
        head = files.describe(ObjectVersion(bucket, marker))
        if head is not None and head["LastModified"] >= version.made_at:
            return True
    return False


def _save_progress(
    services: Services[SubmitSettings], start: Cursor, cursor: Cursor, run: ReconciliationSummary
) -> None:
    """Save where the next run starts, and publish an event if uploads were found."""
    now = timestamps.text(services.now())
    summary: dict[str, Any] = {**vars(run)}
    pending_events = [upload_events.uploads_reconciled(summary, now)] if run.found else []
    services.uploads.move_cursor(start, cursor, pending_events)
    logger.info("uploads reconciled", extra={"reconciled": summary})
    services.outbox.publish(pending_events)
