"""Account for the rows of a chunk whose results could not be collected, or whose files were deleted afterwards."""

from collections.abc import Iterator, Sequence

import msgspec

from functions.adapters.export_parts import chunk_records, export_parts
from functions.adapters.retry_rows import retry_part
from functions.adapters.s3 import ObjectStore
from functions.adapters.upload_source import source_of
from functions.errors import UnreadableUploadError
from functions.model.api_results import read_result
from functions.model.items.batch import Batch, BatchStatus, CloseReason
from functions.model.items.counts import OutcomeCounts
from functions.model.items.job import Job
from functions.model.items.stored_objects import ChunkOutput
from functions.model.outcome_counter import OutcomeCounter
from functions.model.output_lines import output_line
from functions.model.synthetic_results import closed_result
from functions.readers import reader_of
from functions.services import Services
from functions.settings import ResultsSettings

_NO_RETRY = (
    "a chunk that got stuck in a later attempt is left out, because rows that had succeeded would be paid for again; "
    "the manifest names its batches"
)


def deleted_files(files: ObjectStore, job: Job, batches: Sequence[Batch]) -> set[str]:
    """Return the keys of a job's parts and ledgers that do not exist any more. This lists the work files of the job."""
    parts = [batch.part for batch in batches if batch.part is not None]
    keys = {stored.key for part in parts for stored in part.objects}
    keys |= {batch.ledger_key for batch in batches}
    keys.difference_update(files.list_keys(f"work/{job.job}/"))
    return keys


def chunk_output(
    services: Services[ResultsSettings], job: Job, attempts: Sequence[Batch], deleted: set[str]
) -> tuple[ChunkOutput, OutcomeCounts]:
    """Return the files and counts of a chunk: those of its last attempt whose results exist.

    Args:
        services: the services of results.
        job: the job.
        attempts: the chunk's batches, by attempt.
        deleted: the keys of files that do not exist any more.
    """
    last = attempts[-1]
    for batch in reversed(attempts):
        part, tally = batch.part, batch.tally
        if batch.status != BatchStatus.COLLECTED or part is None or tally is None:
            continue
        if part.results.key not in deleted:
            part = _without(part, deleted)
            return (part if batch is last else _earlier_part(part, batch, last)), tally
    return _salvage(services, job, last)


def _without(part: ChunkOutput, deleted: set[str]) -> ChunkOutput:
    """Return a chunk's files without those that are deleted and hold no answers."""
    if part.errors is not None and part.errors.key in deleted:
        problem = f"{part.errors.key} was deleted; errors.jsonl lacks its lines"
        part = msgspec.structs.replace(part, errors=None, problem=problem)
    if part.retry is not None and part.retry.key in deleted:
        problem = f"{part.retry.key} was deleted"
        part = msgspec.structs.replace(part, retry=None, retry_problem=problem)
    return part


def _earlier_part(part: ChunkOutput, batch: Batch, last: Batch) -> ChunkOutput:
    """Return the results of an earlier attempt, which has no other files."""
    problem = (
        f"rows {batch.first_row:,} to {batch.last_row:,}: {_cause(last)}; their results are those of attempt "
        f"{batch.attempt}, and errors.jsonl and the retry file lack those that did not succeed"
    )
    return ChunkOutput(
        results=part.results, retry_problem=problem, export_problem=problem, problem=problem
    )


def _cause(batch: Batch) -> str:
    """Return why a batch's results cannot be delivered."""
    if batch.part is not None:
        return f"{batch.part.results.key} was deleted"
    return f"the results of attempt {batch.attempt} could not be collected"


def _salvage(
    services: Services[ResultsSettings], job: Job, batch: Batch
) -> tuple[ChunkOutput, OutcomeCounts]:
    """Write an error line for each row of a chunk without results, and its rows for a retry.

    The chunk's own files are not read: they may be why it is stuck. After a first attempt the
    retry rows are the chunk's bytes of the upload. After a later attempt there are none, because
    rows that had succeeded would be paid for again.
    """
    files, tries = services.files, services.items.count_convenience(batch).tries
    closing = CloseReason.STUCK if batch.part is None else CloseReason.LOST
    result = closed_result(closing)
    counter = OutcomeCounter()
    counter.add([read_result(result)] * batch.rows)
    stem = f"work/{job.job}/{batch.item}/{job.owner}.stuck"
    results = files.write(f"{stem}.results.jsonl", _error_lines(batch, result))
    if batch.attempt == 1:
        key = f"{stem}.{reader_of(job).RETRY_NAME}"
        retry, retry_problem = retry_part(files, key, _retry_rows(files, job, batch), tries)
    else:
        retry, retry_problem = None, _NO_RETRY
    problem = None
    if batch.part is not None:
        problem = f"rows {batch.first_row:,} to {batch.last_row:,} are lost: {_cause(batch)}"
    exports, export_problem = export_parts(files, job, batch, results, stem, tries)
    part = ChunkOutput(
        results=results,
        errors=results,
        retry=retry,
        retry_problem=retry_problem,
        exports=exports,
        export_problem=export_problem,
        problem=problem,
    )
    return part, counter.tally()


def _retry_rows(files: ObjectStore, job: Job, batch: Batch) -> Iterator[bytes]:
    """Stream the chunk's bytes of the upload from its first row on. A header may precede it."""
    first = next(chunk_records(files, job, batch), None)
    if first is None:
        message = "the upload is shorter than it was when it was planned"
        raise UnreadableUploadError(message)
    sizes = [batch.end_byte - first.offset]
    yield from reader_of(job).retry_rows(source_of(files, job), [first.offset], sizes)


def _error_lines(batch: Batch, result: bytes) -> Iterator[bytes]:
    for row in range(batch.first_row, batch.last_row + 1):
        yield output_line(row, b"null", result)
