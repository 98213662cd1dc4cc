"""Read the first rows of an upload: what they are, what the options lack for them, and what a person should know."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec

from functions.adapters.upload_source import ObjectReader, source_of
from functions.errors import UnreadableUploadError
from functions.model import events
from functions.model.events import MAX_COLUMN_CHARS, MAX_COLUMNS, Event
from functions.model.items.job import Job
from functions.model.options import Options
from functions.model.upload_format import UploadFormat
from functions.planning.conversion import NATIVE, TEMPLATE, Converter, converter_of, parse_row
from functions.planning.preflight import MIN_THINKING_MAX_TOKENS, params_notice
from functions.planning.templates import unknown_columns
from functions.readers import reader_for, records_of
from functions.readers.text import printable
from functions.translations import TRANSLATIONS
from functions.translations.contract import ModelUnmappedError, NotTranslatableError

_SAMPLE_ROWS, _SAMPLE_BYTES = 100, 1 << 20
"""The rows that show what an upload contains: the first ones, but no more bytes than this after the first row."""
_OWN_NAMES = frozenset({"custom_id", "customId", "params"})
"""Members of a native request. A row with others, and without params, is a record for a template."""


def first_rows(files: ObjectReader, job: Job, upload_format: UploadFormat) -> list[dict[str, Any]]:
    """Return the first rows of an upload that are JSON objects, or rows of a table."""
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


def kind_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return what the rows of JSON are, from the first one that is recognized."""
    for row in rows:
        if "params" in row:
            return NATIVE
        for name, translation in TRANSLATIONS.items():
            if translation.matches(row):
                return name
    return TEMPLATE if any(row.keys() - _OWN_NAMES for row in rows) else NATIVE


def missing_options(
    bucket: str,
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


def row_notices(
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
