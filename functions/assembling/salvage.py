"""A chunk whose results could not be collected: account for its rows all the same."""

from collections.abc import Iterator

from functions.adapters.retry_rows import retry_part
from functions.adapters.s3 import ObjectStore
from functions.adapters.upload_source import source_of
from functions.model.api_results import read_result
from functions.model.items import Batch, ChunkOutput, CloseReason, Job, OutcomeCounts
from functions.model.outcome_counts import OutcomeCounter
from functions.model.output_lines import output_line
from functions.model.synthetic_results import closing_result
from functions.readers import READERS

_RESULT = closing_result(CloseReason.STUCK)
_SENT_BEFORE = (
    "a chunk that got stuck in a later attempt is left out: its rows that had succeeded would be paid for again; "
    "the manifest names its batches"
)


def salvage(files: ObjectStore, job: Job, batch: Batch) -> tuple[ChunkOutput, OutcomeCounts]:
    """Give each row of a stuck chunk a line that says so, and the chunk's own bytes of the upload for a retry.

    Nothing of the chunk's files is read: they may be what it got stuck on. After a first attempt there is no
    retry: rows that succeeded then would be paid for again; the manifest names the batches.
    """
    counting = OutcomeCounter()
    counting.add([read_result(_RESULT)] * batch.rows)
    stem = f"work/{job.job}/{batch.item}/{job.owner}.stuck"
    results = files.write(f"{stem}.results.jsonl", _lines(batch))
    if batch.attempt == 1:
        reader, source = READERS[job.parser], source_of(files, job)
        size = batch.end_byte - batch.start_byte
        rows = reader.retry_rows(source, [batch.start_byte], [size])
        retry, problem = retry_part(files, f"{stem}.{reader.RETRY_NAME}", rows, job.tries)
    else:
        retry, problem = None, _SENT_BEFORE
    part = ChunkOutput(results=results, errors=results, retry=retry, retry_problem=problem)
    return part, counting.tally()


def _lines(batch: Batch) -> Iterator[bytes]:
    for row in range(batch.first_row, batch.last_row + 1):
        yield output_line(row, b"null", _RESULT)
