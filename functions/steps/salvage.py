"""A chunk whose results could not be collected: account for its rows all the same."""

from collections.abc import Iterator

from functions.batches.doors import Doors
from functions.batches.items import Batch, Closing, Job, Part, Tally
from functions.batches.outcomes import Counting, closing_result, output_line, read_result
from functions.batches.settings import ResultsSettings
from functions.steps.slices import retry_part, upload_of

_RESULT = closing_result(Closing.STUCK)
_SENT_BEFORE = (
    "a chunk that got stuck in a later attempt is left out: its rows that had succeeded would be paid for again; "
    "the manifest names its batches"
)


def salvage(doors: Doors[ResultsSettings], job: Job, batch: Batch) -> tuple[Part, Tally]:
    """Give each row of a stuck chunk a line that says so, and the chunk's own bytes of the upload for a retry.

    Nothing of the chunk's files is read: they may be what it got stuck on. After a first attempt there is no
    retry: rows that succeeded then would be paid for again; the manifest names the batches.
    """
    counting = Counting()
    counting.add([read_result(_RESULT)] * batch.rows)
    stem = f"work/{job.job}/{batch.item}/{job.owner}.stuck"
    results = doors.files.write(f"{stem}.results.jsonl", _lines(batch))
    if batch.attempt == 1:
        rows = _range(doors, job, batch)
        retry, problem = retry_part(doors, f"{stem}.retry.jsonl", rows, job.tries)
    else:
        retry, problem = None, _SENT_BEFORE
    part = Part(results=results, errors=results, retry=retry, retry_problem=problem)
    return part, counting.tally()


def _lines(batch: Batch) -> Iterator[bytes]:
    for row in range(batch.first_row, batch.last_row + 1):
        yield output_line(row, b"null", _RESULT)


def _range(doors: Doors[ResultsSettings], job: Job, batch: Batch) -> Iterator[bytes]:
    yield from doors.files.read(upload_of(job), batch.start_byte, batch.end_byte)
    yield b"\n"
