"""Decide how an upload is read and sent, before its first row is planned. The decision is frozen into the job."""

from dataclasses import dataclass
from typing import Any

import msgspec
from aws_lambda_powertools import Logger

from functions.adapters.options_files import OptionsRejectedError, find_options, save_options
from functions.adapters.tracing import traced
from functions.adapters.upload_source import ObjectReader, object_of
from functions.model import timestamps, upload_events
from functions.model.events import Event
from functions.model.items.job import Job, MaxTokensRaise
from functions.model.items.priority import Share
from functions.model.items.stored_objects import ObjectVersion
from functions.model.options import Options
from functions.model.upload_format import UploadFormat
from functions.planning.conversion import TEMPLATE
from functions.planning.first_rows import first_rows, kind_of, missing_options, row_notices
from functions.planning.job_budget import initial_hold
from functions.planning.waiting import wait
from functions.readers import TABLES
from functions.readers.detect import detect
from functions.services import Services
from functions.settings import SubmitSettings

logger = Logger(child=True)


@dataclass(frozen=True)
class Prepared:
    """How an upload is read and sent.

    Attributes:
        changes: the attributes of its job.
        options_files: the versions of the options files that govern it, the farthest first.
        options: their merged content.
    """

    changes: dict[str, Any]
    options_files: list[ObjectVersion]
    options: Options


@dataclass(frozen=True)
class MissingOptions:
    """What an upload must wait for before it can be planned.

    Attributes:
        waiting_for: ``template``, ``models`` or ``valid_options``.
        event: announces it.
        deadline_at: when its job is canceled; None for never.
    """

    waiting_for: str
    event: Event
    deadline_at: str | None


@traced("prepare")
def prepare(services: Services[SubmitSettings], job: Job) -> Job | None:
    """Detect the format of a job's upload and read its options.

    Returns:
        The job with both; None if it must wait for options, or another invocation owns it.

    Raises:
        UnreadableUploadError: the upload cannot be read, or its template names columns that it lacks.
        ObjectUnreadableError: S3 refuses the upload, or everything in its bucket.
    """
    if job.format is not None or job.checkpoint.chunk:
        return job
    decided = decide(services.files, services.settings, job, timestamps.text(services.now()))
    if isinstance(decided, MissingOptions):
        deadline_at = decided.deadline_at
        wait(services, job, decided.waiting_for, decided.event, deadline_at=deadline_at)
        return None
    return _freeze(services, job, decided)


def decide(
    files: ObjectReader, settings: SubmitSettings, job: Job, now: str
) -> Prepared | MissingOptions:
    """Decide how an upload is read and sent, from its first rows and the options that govern it.

    Raises:
        UnreadableUploadError: the upload cannot be read, or its template names columns that it lacks.
        ObjectUnreadableError: S3 refuses the upload, or everything in its bucket.
    """
    try:
        options_files, options = find_options(files, job.bucket, job.key)
    except OptionsRejectedError as error:
        event = upload_events.options_rejected(error.file, str(error), now)
        return MissingOptions("valid_options", event, _deadline_at(job, error.deadline_hours))
    upload_format = detect(object_of(files, job), job.key)
    if upload_format.reader == "xlsx":
        upload_format = msgspec.structs.replace(upload_format, sheet=options.sheet)
    sample = first_rows(files, job, upload_format)
    row_kind = TEMPLATE if upload_format.reader in TABLES else kind_of(sample)
    event_of_missing = missing_options(
        settings.results_bucket, job, now, sample, row_kind, options
    )
    if event_of_missing is not None:
        waiting_for = event_of_missing.data["waiting_for"]
        return MissingOptions(
            waiting_for, event_of_missing, _deadline_at(job, options.deadline_hours)
        )
    notices = [*upload_format.notices, *row_notices(sample, row_kind, options, job)]
    upload_format = msgspec.structs.replace(upload_format, notices=notices)
    changes = _changes(settings, job, upload_format, row_kind, options)
    return Prepared(changes, options_files, options)


def _changes(
    settings: SubmitSettings,
    job: Job,
    upload_format: UploadFormat,
    row_kind: str,
    options: Options,
) -> dict[str, Any]:
    exports = _default_exports(upload_format, row_kind)
    return {
        "format": upload_format,
        "row_kind": row_kind,
        "api_version": options.api_version or job.api_version,
        "betas": sorted({*options.betas}),
        "exports": exports if options.outputs is None else [*options.outputs],
        **initial_hold(settings, options),
        "waiting_for": None,
        "waiting_event": None,
        "priority": options.priority,
        "share": _share_of(job, options),
        "deadline_at": _deadline_at(job, options.deadline_hours),
        "equal_rows_once": options.equal_rows == "once",
        "retry_truncated": _max_tokens_raise(job, options),
        "report": options.report or job.report,
        "warm_cache": options.warm_cache,
    }


def _freeze(services: Services[SubmitSettings], job: Job, prepared: Prepared) -> Job | None:
    """Store what was decided with the job. A deploy or another options file does not change it any more."""
    files, options = prepared.options_files, prepared.options
    changes = {
        **prepared.changes,
        "options_files": files,
        "options_key": save_options(services.files, job, options) if files else None,
    }
    if not services.items.transition(job, changes, keep_lease=True):
        return None
    return msgspec.structs.replace(job, **changes, tries=0)


def _share_of(job: Job, options: Options) -> Share | None:
    """Return the share of the upload's top-level folder; None if it has none."""
    folder = job.key.partition("/")[0]
    limits = options.shares.get(folder)
    if limits is None:
        return None
    return Share(folder=folder, open_batches=limits.open_batches, requests=limits.requests)


def _max_tokens_raise(job: Job, options: Options) -> MaxTokensRaise | None:
    """Return how far `max_tokens` is raised for truncated rows; None if they are not sent once more."""
    retry = options.retry_truncated
    if retry is None or retry.factor == 1 or job.attempts == 1:
        return None
    return MaxTokensRaise(percent=round(retry.factor * 100), limit=retry.most)


def _deadline_at(job: Job, hours: float | None) -> str | None:
    """Return when the job is canceled. The claim counts, because a job may be claimed days after its upload."""
    if hours is None:
        return None
    return timestamps.after(timestamps.parse(job.claimed_at), hours * 3600)


def _default_exports(upload_format: UploadFormat, row_kind: str) -> list[str]:
    """Return the exports in the shape of the upload."""
    if upload_format.reader in TABLES:
        return ["csv"]
    return [row_kind] if row_kind in {"openai", "bedrock"} else []
