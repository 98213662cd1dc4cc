"""Rows of the upload as they stood there: what retry.jsonl is made of."""

from collections.abc import Iterable, Iterator, Sequence

from functions.batches.doors import Doors
from functions.batches.files import Source
from functions.batches.items import Job
from functions.batches.settings import ResultsSettings

GAP = 1 << 20
"""Rows that lie closer than this are read in one request: its price is that of reading so much."""


def of_upload(
    doors: Doors[ResultsSettings], job: Job, at: Sequence[int], sizes: Sequence[int]
) -> Iterator[bytes]:
    """Read rows of the upload, one a line, byte for byte.

    Args:
        doors: those of results.
        job: whose upload.
        at: the offset of each row, in order.
        sizes: the length of each.
    """
    source = Source(job.bucket, job.key, job.version if job.version != "null" else None)
    for run in _runs(at, sizes):
        stop = at[run.stop - 1] + sizes[run.stop - 1]
        blocks = doors.files.read(source, at[run.start], stop)
        yield from _cut(blocks, at[run.start], ((at[row], sizes[row]) for row in run))


def _runs(at: Sequence[int], sizes: Sequence[int]) -> Iterator[range]:
    """Group rows that lie near one another, by their indices."""
    first = 0
    for row in range(1, len(at)):
        if at[row] - (at[row - 1] + sizes[row - 1]) > GAP:
            yield range(first, row)
            first = row
    if at:
        yield range(first, len(at))


def _cut(blocks: Iterator[bytes], at: int, run: Iterable[tuple[int, int]]) -> Iterator[bytes]:
    """Cut rows out of a stream that begins at the first; a row longer than a block passes in pieces."""
    held = b""
    for begin, size in run:
        while begin > at + len(held):
            at, held = at + len(held), next(blocks)
        held, at = held[begin - at :], begin
        left = size
        while left > len(held):
            yield held
            left, at, held = left - len(held), at + len(held), next(blocks)
        yield held[:left] + b"\n"
        held, at = held[left:], at + left
