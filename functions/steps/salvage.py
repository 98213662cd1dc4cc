"""A chunk whose results could not be collected: account for its rows all the same."""

from collections.abc import Iterator

from functions.batches.doors import Doors
from functions.batches.errors import GoneError
from functions.batches.files import Source
from functions.batches.items import Batch, Closing, Job, Part, Tally
from functions.batches.outcomes import Counting, closing_result, output_line, read_result
from functions.batches.settings import ResultsSettings

_RESULT = closing_result(Closing.STUCK)


def salvage(doors: Doors[ResultsSettings], job: Job, batch: Batch) -> tuple[Part, Tally]:
    """Give each row of a stuck chunk a line that says so, and the chunk's own bytes of the upload for a retry.

    Nothing of the chunk's files is read: they may be what it got stuck on. After a first attempt there is no
    retry: rows that succeeded then would be paid for again; the manifest names the batches.
    """
    counting = Counting()
    counting.add([read_result(_RESULT)] * batch.rows)
    stem = f"work/{job.job}/{batch.item}/{job.owner}.stuck"
    results = doors.files.write(f"{stem}.results.jsonl", _lines(batch))
    source = Source(job.bucket, job.key, job.version if job.version != "null" else None)
    try:
        retry = doors.files.write(f"{stem}.retry.jsonl", _range(doors, source, batch))
    except GoneError:  # the user has removed the upload
        retry = None
    return Part(results=results, errors=results, retry=retry), counting.tally()


def _lines(batch: Batch) -> Iterator[bytes]:
    for row in range(batch.first_row, batch.last_row + 1):
        yield output_line(row, b"null", _RESULT)


def _range(doors: Doors[ResultsSettings], source: Source, batch: Batch) -> Iterator[bytes]:
    if batch.attempt == 1:
        yield from doors.files.read(source, batch.start_byte, batch.end_byte)
        yield b"\n"
