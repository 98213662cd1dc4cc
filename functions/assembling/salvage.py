"""Account for the rows of a chunk whose results could not be collected."""

from collections.abc import Iterator

from functions.adapters.export_parts import export_parts
from functions.adapters.retry_rows import retry_part
from functions.adapters.s3 import ObjectStore
from functions.adapters.upload_source import source_of
from functions.model.api_results import read_result
from functions.model.items import Batch, ChunkOutput, CloseReason, Job, OutcomeCounts
from functions.model.outcome_counts import OutcomeCounter
from functions.model.output_lines import output_line
from functions.model.synthetic_results import closed_result
from functions.readers import reader_of

_STUCK_RESULT = closed_result(CloseReason.STUCK)
_NO_RETRY = (
    "a chunk that got stuck in a later attempt is left out, because rows that had succeeded would be paid for again; "
    "the manifest names its batches"
)


def salvage(files: ObjectStore, job: Job, batch: Batch) -> tuple[ChunkOutput, OutcomeCounts]:
    """Write an error line for each row of a stuck chunk, and its rows for a retry.

    The chunk's own files are not read: they may be why it is stuck. After a first attempt the
    retry rows are the chunk's bytes of the upload. After a later attempt there are none, because
    rows that had succeeded would be paid for again.
    """
    counter = OutcomeCounter()
    counter.add([read_result(_STUCK_RESULT)] * batch.rows)
    stem = f"work/{job.job}/{batch.item}/{job.owner}.stuck"
    results = files.write(f"{stem}.results.jsonl", _error_lines(batch))
    if batch.attempt == 1:
        reader, source = reader_of(job), source_of(files, job)
        size_bytes = batch.end_byte - batch.start_byte
        rows = reader.retry_rows(source, [batch.start_byte], [size_bytes])
        retry, problem = retry_part(files, f"{stem}.{reader.RETRY_NAME}", rows, job.tries)
    else:
        retry, problem = None, _NO_RETRY
    exports, export_problem = export_parts(files, job, batch, results, stem, job.tries)
    part = ChunkOutput(
        results=results,
        errors=results,
        retry=retry,
        retry_problem=problem,
        exports=exports,
        export_problem=export_problem,
    )
    return part, counter.tally()


def _error_lines(batch: Batch) -> Iterator[bytes]:
    for row in range(batch.first_row, batch.last_row + 1):
        yield output_line(row, b"null", _STUCK_RESULT)
