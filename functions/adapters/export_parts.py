"""Write a chunk's part of each export. Exports are best effort: their failure never delays results."""

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain, dropwhile, islice
from tempfile import TemporaryFile
from typing import IO

import msgspec
from aws_lambda_powertools import Logger
from botocore.exceptions import BotoCoreError, ClientError

from functions.adapters.options_files import load_options
from functions.adapters.retry_rows import MAX_WAITING_TRIES
from functions.adapters.s3 import ObjectStore
from functions.adapters.upload_source import source_of
from functions.errors import (
    UNREADABLE_JSON,
    DownloadError,
    ObjectUnreadableError,
    RelayError,
)
from functions.exports import EXPORTS
from functions.exports.contract import Export, ExportContext, ExportRow
from functions.model import timestamps
from functions.model.items.batch import Batch
from functions.model.items.job import Job
from functions.model.items.stored_objects import StoredObject
from functions.model.output_lines import read_output_lines
from functions.model.rows import Record
from functions.model.streams import line_blocks, read_blocks
from functions.readers import position_of, reader_of, records_of

FAILURES = (
    RelayError,
    ClientError,
    BotoCoreError,
    OSError,
    KeyError,
    ValueError,
    *UNREADABLE_JSON,
)
"""Errors that cost the exports, not the results."""
logger = Logger(child=True)


def exports_of(job: Job) -> list[Export]:
    """Return the exports of a job."""
    return [EXPORTS[name] for name in job.exports if name in EXPORTS]


def context_of(files: ObjectStore, job: Job) -> ExportContext:
    """Return what all rows of a job's exports share."""
    output = load_options(files, job).request.params.get("output_config")
    output_format = output.get("format") if isinstance(output, dict) else None
    schema = output_format.get("schema") if isinstance(output_format, dict) else None
    return ExportContext(
        name=job.key.rpartition("/")[2],
        columns=tuple(reader_of(job).columns(position_of(job))),
        schema=schema if isinstance(schema, dict) else None,
    )


def first_record(files: ObjectStore, job: Job) -> bytes | None:
    """Return the first row of a job's upload, as JSON; None if it cannot be read."""
    reader = reader_of(job)
    try:
        pieces = reader.read(source_of(files, job), reader.START, job.row_bytes)
        record = next(records_of(pieces, job.row_bytes), None)
    except FAILURES as error:
        logger.warning("upload not read", extra={"job": job.job, "problem": type(error).__name__})
        return None
    return None if record is None or record.fault is not None else record.data


def export_parts(
    files: ObjectStore, job: Job, batch: Batch, results: StoredObject, stem: str, tries: int
) -> tuple[dict[str, StoredObject], str | None]:
    """Write the parts of a chunk's exports from its results and its rows of the upload.

    A try that is killed counts, so that an export that exceeds the time or the memory is omitted in the end.

    Args:
        files: the object store.
        job: the chunk's job.
        batch: the last batch of the chunk.
        results: the chunk's lines of results.jsonl.
        stem: the first characters of the parts' keys.
        tries: the tries of the exports, including this one.

    Returns:
        Path of the export → part; and a sentence that says why there are none.

    Raises:
        Exception: a fault of AWS that may pass before one of the next tries.
    """
    exports = exports_of(job)
    if not exports:
        return {}, None
    if tries > MAX_WAITING_TRIES:
        return {}, f"not written in {MAX_WAITING_TRIES} tries"
    try:
        return _write(files, job, batch, results, stem, exports), None
    except FAILURES as error:
        if may_pass(error, tries):
            raise
        problem = str(error) if isinstance(error, RelayError) else type(error).__name__
        logger.warning("exports not written", extra={"job": job.job, "problem": problem})
        return {}, problem


def may_pass(error: Exception, tries: int) -> bool:
    """Return whether a failed export is worth another try: AWS failed, not the export itself."""
    refused = isinstance(error, ObjectUnreadableError)
    of_aws = isinstance(error, ClientError | BotoCoreError | DownloadError) and not refused
    return of_aws and tries < MAX_WAITING_TRIES


def _write(
    files: ObjectStore,
    job: Job,
    batch: Batch,
    results: StoredObject,
    stem: str,
    exports: list[Export],
) -> dict[str, StoredObject]:
    context = context_of(files, job)
    with ExitStack() as stack:
        paths = [path for export in exports for path in export.paths(context)]
        parts: dict[str, IO[bytes]] = {
            path: stack.enter_context(TemporaryFile()) for path in paths
        }
        for row in _rows(files, job, batch, results):
            for export in exports:
                for path, line in export.lines(row, context):
                    parts[path].write(line)
        written = {}
        for path, part in parts.items():
            part.seek(0)
            written[path] = files.write(f"{stem}.{path.replace('/', '.')}", read_blocks(part))
    return written


def _rows(
    files: ObjectStore, job: Job, batch: Batch, results: StoredObject
) -> Iterator[ExportRow]:
    """Yield the rows of a chunk: each line of its results with the record that it answers."""
    ended_at = timestamps.epoch(timestamps.parse(batch.ended_at or job.claimed_at))
    blocks = line_blocks(files.read(files.results_object(results.key)))
    lines = chain.from_iterable(map(read_output_lines, blocks))
    for line, record in zip(lines, chunk_records(files, job, batch), strict=True):
        data = None if record.fault is not None else record.data
        yield ExportRow(
            job.job, line.row, bytes(line.custom_id), bytes(line.result), data, ended_at
        )


def chunk_records(files: ObjectStore, job: Job, batch: Batch) -> Iterator[Record]:
    """Read the chunk's rows of the upload again. Half of a split chunk begins after the chunk's position."""
    reader = reader_of(job)
    position = msgspec.convert(batch.start, type(reader.START))
    pieces = reader.read(source_of(files, job), position, job.row_bytes)
    records = dropwhile(
        lambda record: record.offset < batch.start_byte, records_of(pieces, job.row_bytes)
    )
    return islice(records, batch.rows)
