"""Stream the upload, cut it into chunks, write each chunk's files; stop in time, and go on where it stopped."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from tempfile import TemporaryFile
from typing import IO, Any

import msgspec

from functions.batches import events, items, ledger, times, wire
from functions.batches.blocks import blocks_of
from functions.batches.bulk import Checked, Plain, checked
from functions.batches.doors import Doors
from functions.batches.errors import ObjectUnreadableError, UnreadableUploadError
from functions.batches.files import Source
from functions.batches.items import Batch, BatchStatus, Job, JobStatus, Step
from functions.batches.ledger import ChunkFiles, ChunkKeys
from functions.batches.readers import READERS
from functions.batches.readers.record import Place
from functions.batches.requests import check_text
from functions.batches.settings import SubmitSettings

HEAD_BYTES = 64 * 1024
REASONS = 3
"""How many kinds of rejection a job remembers the counts of, beyond which they are lumped together."""


@dataclass
class _Chunk:
    """A chunk that is being cut: its two files on disk, and what the job's checkpoint will be."""

    job: Job
    body: IO[bytes]
    rows: IO[bytes]
    files: ChunkFiles = field(init=False)
    reasons: Counter[str] = field(default_factory=Counter)
    end: Place = field(init=False)

    def __post_init__(self) -> None:
        self.files = ChunkFiles(self.job.job, self.name, 1, self.body, self.rows)
        self.end = Place(self.job.byte, self.job.line, self.job.column)

    @property
    def name(self) -> str:
        return wire.chunk_name(self.job.chunk + 1)

    def add(self, rows: Plain | Checked) -> Plain | Checked | None:
        """Add what fits; gives the rest, with which the chunk is full."""
        if isinstance(rows, Plain):
            return self._add_plain(rows)
        record, row = rows
        if not self._takes(len(row.params or b"") + len(row.custom_id)):
            return rows
        self.files.add(self._next, record, row)
        self.end = record.end
        if row.rejection is not None:
            self.reasons[row.rejection.code] += 1
        return None

    def _add_plain(self, rows: Plain) -> Plain | None:
        count = self._fitting(rows)
        fitting, others = rows.cut(count) if count < len(rows.at) else (rows, None)
        if count:
            self.files.add_plain(self._next, fitting)
            self.end = fitting.end
        return others

    @property
    def _next(self) -> int:
        return self.job.row + self.files.rows + 1

    def _takes(self, row_size: int, ahead: int = 0, ahead_bytes: int = 0) -> bool:
        """Whether a row fits, behind so many others: chunks close by count, and by the bytes of both files."""
        rows, size = self.files.rows + ahead, self.files.size_bytes + self.files.ledger_bytes
        grown = size + ahead_bytes + ledger.envelope_bytes(row_size)
        full = rows >= self.job.requests_per_batch or grown > self.job.batch_bytes
        return not (full and rows)

    def _fitting(self, rows: Plain) -> int:
        """Say how many rows fit; all of them, nearly always, which their bytes alone tell."""
        count, grown = len(rows.at), sum(rows.sizes)
        if self._takes(grown + count * ledger.envelope_bytes(0), ahead=count - 1):
            return count
        size = 0
        for ahead, (params, own) in enumerate(zip(rows.params, rows.custom_ids, strict=True)):
            if not self._takes(len(params) + len(own), ahead, size):
                return ahead
            size += self.files.added_bytes(self._next + ahead, len(params)) + len(own)
        return count


def plan(doors: Doors[SubmitSettings], job: Job, time_left_s: Callable[[], float]) -> Job | None:
    """Cut what is not cut yet of a job's upload; each chunk is one transaction.

    Returns:
        The job as it is now; None if it stopped for the time being, or somebody else has it.
    """
    try:
        return _plan(doors, job, time_left_s)
    except UnreadableUploadError as error:
        return _end(doors, job, str(error))
    except ObjectUnreadableError as error:
        if error.code in _FINAL or (error.code.startswith("KMS.") and job.row == 0):
            return _end(doors, job, f"the upload {error.why}")
        raise


_FINAL = frozenset({"NoSuchKey", "NoSuchVersion", "MethodNotAllowed", "InvalidObjectState"})
"""Codes of S3 after which an upload stays unreadable. A key of KMS may be mended: once rows are sent, it is waited for."""


def _end(doors: Doors[SubmitSettings], job: Job, failure: str) -> Job | None:
    """End planning early; the chunks that were cut go on."""
    now = doors.store.job(job.job)
    if now is None or now.owner != job.owner:
        return None
    return _finish(doors, now, failure=failure)


def _plan(doors: Doors[SubmitSettings], job: Job, time_left_s: Callable[[], float]) -> Job | None:
    source = Source(job.bucket, job.key, job.version if job.version != "null" else None)
    rows = _rows(doors, job, source)
    pending = next(rows, None)
    began_s = time_left_s()
    while pending is not None:
        if time_left_s() < max(_NEEDED_S, began_s - TURN_S):
            doors.store.release(job)
            return None
        with TemporaryFile() as body, TemporaryFile() as written:
            chunk = _Chunk(job, body, written)
            pending = _fill(chunk, pending, rows)
            planned = _leave(doors, chunk)
        if planned is None:
            return None
        job = planned
    return _finish(doors, job, failure=None)


TURN_S = 180.0
"""So long is planned at a time: ten large uploads at once would take every place that sending has."""
_NEEDED_S = 120.0
"""Below this, no further chunk is begun: the largest takes some seconds to cut and to store."""


def _rows(doors: Doors[SubmitSettings], job: Job, source: Source) -> Iterator[Plain | Checked]:
    """Read the upload from the checkpoint on.

    Raises:
        UnreadableUploadError: it is no text.
        ObjectUnreadableError: S3 refuses it.
    """
    blocks = doors.files.read(source, job.byte)
    if job.byte == 0:
        head = b""
        while len(head) < HEAD_BYTES and (block := next(blocks, b"")):
            head += block
        check_text(head[:HEAD_BYTES])
        blocks = chain([head], blocks)
    place = Place(job.byte, job.line, job.column)
    pieces = READERS[job.parser](blocks, place, job.row_bytes)
    return checked(pieces, row_bytes=job.row_bytes, api_version=job.api_version)


def _fill(
    chunk: _Chunk, pending: Plain | Checked, rows: Iterator[Plain | Checked]
) -> Plain | Checked | None:
    """Fill a chunk; give the rows that did not fit, None at the upload's end."""
    rests = (chunk.add(found) for found in chain([pending], rows))
    return next((rest for rest in rests if rest is not None), None)


def _leave(doors: Doors[SubmitSettings], chunk: _Chunk) -> Job | None:
    """Store a chunk's files, then the chunk and the checkpoint in one transaction."""
    job, files = chunk.job, chunk.files
    files.finish()
    folder = f"work/{job.job}/{chunk.name}-1/{job.owner}"
    keys = ChunkKeys(f"{folder}.requests.json", f"{folder}.ledger.jsonl")
    for file, key in zip((chunk.body, chunk.rows), keys, strict=True):
        file.seek(0)
        doors.files.write(key, blocks_of(file))
    batch = _batch(chunk, keys, times.text(doors.now()))
    checkpoint: dict[str, Any] = {
        "byte": chunk.end.byte,
        "line": chunk.end.line,
        "column": chunk.end.column,
        "row": job.row + files.rows,
        "chunk": job.chunk + 1,
        "rejected": job.rejected + files.rows - files.requests,
        "reasons": dict((Counter(job.reasons) + chunk.reasons).most_common(REASONS)),
    }
    given = {"owner": job.owner, "chunk": job.chunk}
    # Added to, not set: it also grows where a refused chunk is split.
    more = {"chunks": 1}
    if not doors.store.advance(job, checkpoint, given=given, puts=[batch], add=more, keep=True):
        return None
    return msgspec.structs.replace(job, **checkpoint, tries=0)


def _batch(chunk: _Chunk, keys: ChunkKeys, now: str) -> Batch:
    """Make a chunk's first batch; rejected rows alone need no sending and wait to be collected."""
    job, files = chunk.job, chunk.files
    sendable = files.requests > 0
    status = BatchStatus.WAITING if sendable else BatchStatus.ENDED
    return Batch(
        job=job.job,
        item=wire.batch_name(chunk.name, 1),
        schema=items.SCHEMA,
        status=status,
        since=items.since(status, now),
        open=items.OPEN,
        next=Step.SEND if sendable else Step.COLLECT,
        chunk=chunk.name,
        attempt=1,
        first_row=job.row + 1,
        last_row=job.row + files.rows,
        start_byte=job.byte,
        end_byte=chunk.end.byte,
        line=job.line,
        requests=files.requests,
        size_bytes=files.size_bytes,
        requests_key=keys.requests,
        ledger_key=keys.ledger,
    )


def _finish(doors: Doors[SubmitSettings], job: Job, failure: str | None) -> Job | None:
    """Note that the upload is read to its end, and whether anything of it can be sent."""
    failure = failure or _nothing_usable(job)
    changes = {"status": JobStatus.RUNNING, "failure": failure}
    owed = (
        [events.job_planned(job, doors.files.bucket, times.text(doors.now()))]
        if job.usable
        else []
    )
    if not doors.store.advance(job, changes, events=owed):
        return None
    doors.pay(job.job)
    doors.store.settle(job.job)
    return doors.store.job(job.job)


def _nothing_usable(job: Job) -> str | None:
    """Say why nothing of an upload can be sent; None where something can."""
    if job.usable:
        return None
    if job.row == 0:
        return "the upload is empty: put one request on each line"
    reasons = ", ".join(f"{code} ({count:,})" for code, count in job.reasons.items())
    return (
        f"none of the {job.row:,} rows can be sent: {reasons}; results.jsonl says why, row by row"
    )
