"""Rows of the upload as they stood there: what retry.jsonl is made of."""

from collections.abc import Iterator

from functions.batches.doors import Doors
from functions.batches.files import Source
from functions.batches.items import Job
from functions.batches.ledger import Entry
from functions.batches.settings import ResultsSettings

GAP = 1 << 20
"""Rows that lie closer than this are read in one request: its price is that of reading so much."""


def of_upload(doors: Doors[ResultsSettings], job: Job, entries: list[Entry]) -> Iterator[bytes]:
    """Read rows of the upload, one a line, byte for byte."""
    source = Source(job.bucket, job.key, job.version if job.version != "null" else None)
    for run in _runs(entries):
        start, stop = run[0].at, run[-1].at + run[-1].size
        blocks = doors.files.read(source, start, stop)
        yield from _cut(blocks, start, run)


def _runs(entries: list[Entry]) -> Iterator[list[Entry]]:
    """Group rows that lie near one another."""
    run: list[Entry] = []
    for entry in entries:
        if run and entry.at - (run[-1].at + run[-1].size) > GAP:
            yield run
            run = []
        run.append(entry)
    if run:
        yield run


def _cut(blocks: Iterator[bytes], at: int, run: list[Entry]) -> Iterator[bytes]:
    """Cut rows out of a stream that begins at the first; a row longer than a block passes in pieces."""
    held = b""
    for entry in run:
        while entry.at > at + len(held):
            at, held = at + len(held), next(blocks)
        held, at = held[entry.at - at :], entry.at
        left = entry.size
        while left > len(held):
            yield held
            left, at, held = left - len(held), at + len(held), next(blocks)
        yield held[:left] + b"\n"
        held, at = held[left:], at + left
