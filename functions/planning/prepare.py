"""Decide how an upload is read and sent, before its first row is planned. The decision is frozen into the job."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec
from aws_lambda_powertools import Logger

from functions.adapters.options_files import OptionsRejectedError, find_options, save_options
from functions.adapters.upload_source import ObjectReader, object_of, source_of
from functions.errors import UnreadableUploadError
from functions.model import events, timestamps, upload_events
from functions.model.events import MAX_COLUMN_CHARS, MAX_COLUMNS, Event
from functions.model.items.job import Job, MaxTokensRaise
from functions.model.items.priority import Share
from functions.model.items.stored_objects import ObjectVersion
from functions.model.options import Options
from functions.model.upload_format import UploadFormat
from functions.planning.conversion import NATIVE, TEMPLATE, Converter, converter_of, parse_row
from functions.planning.job_budget import initial_hold
from functions.planning.preflight import MIN_THINKING_MAX_TOKENS, params_notice
from functions.planning.templates import unknown_columns
from functions.planning.waiting import wait
from functions.readers import TABLES, reader_for, records_of
from functions.readers.detect import detect
from functions.readers.text import printable
from functions.services import Services
from functions.settings import SubmitSettings
from functions.translations import TRANSLATIONS
from functions.translations.contract import ModelUnmappedError, NotTranslatableError

_SAMPLE_ROWS, _SAMPLE_BYTES = 100, 1 << 20
"""The rows that show what an upload contains: the first ones, but no more bytes than this after the first row."""
_OWN_NAMES = frozenset({"custom_id", "customId", "params"})
"""Members of a native request. A row with others, and without params, is a record for a template."""
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
    """Decide how an upload is read and sent, by its first rows and the options that govern it.

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
    sample = _first_rows(files, job, upload_format)
    row_kind = TEMPLATE if upload_format.reader in TABLES else _kind_of(sample)
    event_of_missing = _missing_options(settings, job, now, sample, row_kind, options)
    if event_of_missing is not None:
        waiting_for = event_of_missing.data["waiting_for"]
        return MissingOptions(
            waiting_for, event_of_missing, _deadline_at(job, options.deadline_hours)
        )
    notices = [*upload_format.notices, *_notices(sample, row_kind, options, job)]
    upload_format = msgspec.structs.replace(upload_format, notices=notices)
    changes = _changes(settings, job, upload_format, row_kind, options)
    return Prepared(changes, options_files, options)


def _first_rows(
    files: ObjectReader, job: Job, upload_format: UploadFormat
) -> list[dict[str, Any]]:
    reader = reader_for(upload_format)
    source = source_of(files, msgspec.structs.replace(job, format=upload_format))
    records = records_of(reader.read(source, reader.START, job.row_bytes), job.row_bytes)
    rows: list[dict[str, Any]] = []
    size = 0
    for record in islice(records, _SAMPLE_ROWS):
        size += record.size
        if rows and size > _SAMPLE_BYTES:
            break
        row = parse_row(record)
        if row is not None:
            rows.append(row)
    return rows


def _kind_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return what the rows of JSON are, from the first one that is recognized."""
    for row in rows:
        if "params" in row:
            return NATIVE
        for name, translation in TRANSLATIONS.items():
            if translation.matches(row):
                return name
    return TEMPLATE if any(row.keys() - _OWN_NAMES for row in rows) else NATIVE


def _missing_options(
    settings: SubmitSettings,
    job: Job,
    now: str,
    sample: Sequence[Mapping[str, Any]],
    row_kind: str,
    options: Options,
) -> Event | None:
    """Return the event that says what the options lack for the rows; None if they suffice.

    Raises:
        UnreadableUploadError: the template names columns that the upload lacks.
    """
    bucket = settings.results_bucket
    if row_kind == TEMPLATE:
        columns = [*dict.fromkeys(name for row in sample for name in row)]
        if "messages" not in options.request.params:  # defaults alone are not a template
            return events.job_waiting(job, bucket, columns, now)
        _check_columns(options, columns)
    models = _unmapped_models(sample, job, row_kind, options)
    return events.job_waiting_for_models(job, bucket, models, now) if models else None


def _unmapped_models(
    sample: Sequence[Mapping[str, Any]], job: Job, row_kind: str, options: Options
) -> list[str]:
    """Return the keys that the option `models` lacks for the first rows; ``*`` for names that it cannot quote.

    Later rows whose model is not mapped are rejected one by one.
    """
    convert = converter_of(row_kind, options, job.api_version, job.capability_list)
    if convert is None or row_kind not in TRANSLATIONS:
        return []
    missing = dict[str, None]()
    for row in sample:
        try:
            convert(row)
        except ModelUnmappedError as error:
            missing[error.model or "*"] = None
        except (NotTranslatableError, RecursionError):
            continue
    names = [*missing]
    return names if len(names) <= MAX_COLUMNS else [*names[: MAX_COLUMNS - 1], "*"]


def _check_columns(options: Options, columns: Sequence[str]) -> None:
    unknown = unknown_columns(options.request, columns)
    if columns and unknown:
        problem = (
            f"the template names columns that the upload does not have: {_listed(unknown)}; "
            f"it has: {_listed(columns)}"
        )
        raise UnreadableUploadError(problem)


def _listed(names: Sequence[str]) -> str:
    """Return names for a sentence. It is stored with the job, so their number and length are bounded."""
    return ", ".join(printable(name[:MAX_COLUMN_CHARS]) for name in names[:MAX_COLUMNS])


def _notices(
    sample: Sequence[Mapping[str, Any]],
    row_kind: str,
    options: Options,
    job: Job,
) -> Iterator[str]:
    """Yield what a person should know before the answers come, as the first rows show it."""
    if row_kind not in {NATIVE, TEMPLATE}:
        return
    convert = converter_of(row_kind, options, "", row_bytes=job.row_bytes)
    requests = [_params_of(row, convert) for row in sample]
    low = sum(
        params_notice(params, job.capability_list) is not None
        for params in requests
        if isinstance(params, dict)
    )
    if low:
        yield (
            f"{low} of the first {len(sample)} rows: max_tokens is below {MIN_THINKING_MAX_TOKENS:,} for a model that "
            "thinks before it answers; thinking counts toward max_tokens, so answers may be empty"
        )


def _params_of(row: Mapping[str, Any], convert: Converter | None) -> object:
    """Return what is sent for a row; None if it cannot be converted. Planning then says why, in its place."""
    try:
        return row.get("params") if convert is None else convert(row).params
    except (NotTranslatableError, RecursionError):
        return None


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
    """Return the share of the upload's first folder; None if it has none."""
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
