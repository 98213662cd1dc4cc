"""Once a day: uploads that have no job, since their event never came, are claimed.

Money decides what counts. An upload is claimed only if it is the latest version of its key, was made after its suffix
was read here for the first time, in the last fourteen days, and more than an hour ago; and if it has no job, no manifest
and no cancel marker. A job is remembered for at least sixty days, so that one that was forgotten is always too old.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec
from aws_lambda_powertools import Logger

from functions.adapters.s3 import Listed, ObjectStore
from functions.adapters.uploads import Cursor, Uploads
from functions.model import ids, timestamps, upload_events
from functions.model.items import ObjectVersion
from functions.planning.claim import CANCEL, claim
from functions.planning.new_job import Upload
from functions.readers import READERS, parser_of
from functions.services import Services
from functions.settings import SubmitSettings

YOUNGEST = timedelta(hours=1)
"""The event of a younger upload may be under way."""
OLDEST = timedelta(days=14)
"""SQS keeps an event so long; and every job is remembered four times as long."""
NEEDED_S = 60.0
"""Below this, no further page is begun: one takes some seconds, and some claims."""
KEYS = 10
"""Keys of what was found that are named."""
logger = Logger(child=True)


@dataclass
class Reconciled:
    """What one run looked at, found and did.

    Attributes:
        pages: requests that listed the bucket.
        listed: object versions on these pages.
        looked_up: jobs that were looked for in the table.
        found: uploads that had no job.
        claimed: of these, the ones that run now; the others repeat a job.
        keys: the first keys of what was found.
        complete: whether the end of the bucket was reached.
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
) -> Reconciled:
    """List the uploads bucket from where the last run stopped, at most so many pages, and claim what has no job."""
    cursor, since = services.uploads.cursor(), _read_since(services.uploads, services.now())
    run, begun = Reconciled(), cursor
    try:
        while run.pages < pages and not run.complete and time_left_s() > NEEDED_S:
            cursor = _page(services, cursor, since, run)
            run.complete = cursor.key is None
    finally:
        _note(services, begun, cursor, run)
    return run


def _read_since(uploads: Uploads, now: datetime) -> dict[str, datetime]:
    """Give from when on uploads count, by suffix: what was made before it was read here was never meant to run."""
    known = {suffix: uploads.read_since(suffix) for suffix in READERS}
    return {suffix: max(timestamps.parse(at), now - OLDEST) for suffix, at in known.items() if at}


def _page(
    services: Services[SubmitSettings],
    cursor: Cursor,
    since: Mapping[str, datetime],
    run: Reconciled,
) -> Cursor:
    """Look through one page; gives where the next one begins."""
    listed, after = services.files.versions(
        services.settings.uploads_bucket, cursor.key, cursor.version
    )
    run.pages += 1
    run.listed += len(listed)
    for version in listed:
        if _counts(version, since, services.now() - YOUNGEST):
            _try(services, version, run)
    return msgspec.structs.replace(cursor, key=after[0], version=after[1])


def _try(services: Services[SubmitSettings], version: Listed, run: Reconciled) -> None:
    """Look at one version; whatever goes wrong, the others have their turn, and the next round comes to it again."""
    try:
        _look(services, version, run)
    except Exception as error:  # noqa: BLE001 - one upload stops no other
        facts = {"key": version.key, "problem": type(error).__name__}
        logger.error("an upload was passed over", extra=facts)  # noqa: TRY400 - nothing of its content


def _counts(version: Listed, since: Mapping[str, datetime], until: datetime) -> bool:
    """Whether a version may lack its job: events of the others were not meant, or may still come."""
    begin = since.get(parser_of(version.key) or "")
    return version.latest and begin is not None and begin < version.made_at < until


def _look(services: Services[SubmitSettings], version: Listed, run: Reconciled) -> None:
    bucket = services.settings.uploads_bucket
    run.looked_up += 1
    name = ids.job_id(bucket, version.key, version.version)
    if services.items.job(name) is not None or _is_canceled(services.files, bucket, version):
        return
    made_at = timestamps.text(version.made_at)
    upload = Upload(bucket, version.key, version.version, version.size_bytes, made_at)
    work_message = claim(services, upload)  # poll wakes what is claimed
    if work_message is None and services.items.job(name) is None:
        return  # its results are there
    run.found += 1
    run.claimed += work_message is not None
    run.keys = [*run.keys, version.key][:KEYS]
    logger.warning(
        "an upload without a job", extra={"key": version.key, "runs": work_message is not None}
    )


def _is_canceled(files: ObjectStore, bucket: str, version: Listed) -> bool:
    """Whether a cancel marker lies beside an upload: poll may have forgotten it by now."""
    stem = version.key.rpartition(".")[0]
    markers = [name + end for name in (version.key, stem) for end in (CANCEL, CANCEL.upper())]
    for marker in markers:
        found = files.describe(ObjectVersion(bucket, marker))
        if found is not None and found["LastModified"] >= version.made_at:
            return True
    return False


def _note(
    services: Services[SubmitSettings], begun: Cursor, cursor: Cursor, run: Reconciled
) -> None:
    """Write down where the next run goes on, and owe the event if anything was found."""
    now = timestamps.text(services.now())
    found: dict[str, Any] = {**vars(run)}
    pending_events = [upload_events.uploads_reconciled(found, now)] if run.found else []
    services.uploads.move_cursor(begun, cursor, pending_events)
    logger.info("uploads reconciled", extra={"reconciled": found})
    services.outbox.publish(pending_events)
