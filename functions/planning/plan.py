"""Stream the upload, cut it into chunks, write each chunk's files; stop in time, and go on where it stopped."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from tempfile import TemporaryFile
from typing import IO, Any

import msgspec

from functions.adapters.s3 import ObjectStore
from functions.adapters.upload_source import source_of
from functions.errors import ObjectUnreadableError, UnreadableUploadError
from functions.model import chunk_files, events, ids, items, timestamps
from functions.model.chunk_files import ChunkFiles, ChunkKeys
from functions.model.items import Batch, BatchStatus, Checkpoint, Job, JobStatus, Step
from functions.model.rows import Position, ValidRows
from functions.model.streams import blocks_of
from functions.planning.fast_path import ValidatedRow, validate_all
from functions.readers import READERS, position_of, stored
from functions.services import Services
from functions.settings import SubmitSettings

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
    end: Position = field(init=False)

    def __post_init__(self) -> None:
        self.files = ChunkFiles(self.job.job, self.name, 1, self.body, self.rows)
        self.end = position_of(self.job)

    @property
    def name(self) -> str:
        return ids.chunk_name(self.job.checkpoint.chunk + 1)

    @property
    def checkpoint(self) -> Checkpoint:
        """The job's checkpoint behind this chunk."""
        begun = self.job.checkpoint
        return Checkpoint(
            position=stored(self.end), row=begun.row + self.files.rows, chunk=begun.chunk + 1
        )

    def add(self, rows: ValidRows | ValidatedRow) -> ValidRows | ValidatedRow | None:
        """Add what fits; gives the rest, with which the chunk is full."""
        if isinstance(rows, ValidRows):
            return self._add_plain(rows)
        record, row = rows
        if not self._takes(len(row.params or b"") + len(row.custom_id)):
            return rows
        self.files.add(self._next, record, row)
        self.end = record.end
        if row.rejection is not None:
            self.reasons[row.rejection.code] += 1
        return None

    def _add_plain(self, rows: ValidRows) -> ValidRows | None:
        count = self._fitting(rows)
        fitting, others = rows.cut(count) if count < len(rows.offsets) else (rows, None)
        if count:
            self.files.add_valid(self._next, fitting)
            self.end = fitting.end
        return others

    @property
    def _next(self) -> int:
        return self.job.checkpoint.row + self.files.rows + 1

    def _takes(self, row_size: int, ahead: int = 0, ahead_bytes: int = 0) -> bool:
        """Whether a row fits, behind so many others: chunks close by count, and by the bytes of both files."""
        rows, size = self.files.rows + ahead, self.files.size_bytes + self.files.ledger_bytes
        grown = size + ahead_bytes + chunk_files.envelope_bytes(row_size)
        full = rows >= self.job.requests_per_batch or grown > self.job.batch_bytes
        return not (full and rows)

    def _fitting(self, rows: ValidRows) -> int:
        """Say how many rows fit; all of them, nearly always, which their bytes alone tell."""
        count, grown = len(rows.offsets), sum(rows.sizes)
        if self._takes(grown + count * chunk_files.envelope_bytes(0), ahead=count - 1):
            return count
        size = 0
        for ahead, (params, own) in enumerate(zip(rows.params, rows.custom_ids, strict=True)):
            if not self._takes(len(params) + len(own), ahead, size):
                return ahead
            size += self.files.added_bytes(self._next + ahead, len(params)) + len(own)
        return count


def plan(
    services: Services[SubmitSettings], job: Job, time_left_s: Callable[[], float]
) -> Job | None:
    """Cut what is not cut yet of a job's upload; each chunk is one transaction.

    Returns:
        The job as it is now; None if it stopped for the time being, or somebody else has it.
    """
    try:
        return _plan(services, job, time_left_s)
    except UnreadableUploadError as error:
        return _end(services, job, str(error))
    except ObjectUnreadableError as error:
        if error.code in _FINAL or (error.code.startswith("KMS.") and job.checkpoint.row == 0):
            return _end(services, job, f"the upload {error.why}")
        raise


_FINAL = frozenset({"NoSuchKey", "NoSuchVersion", "MethodNotAllowed", "InvalidObjectState"})
"""Codes of S3 after which an upload stays unreadable. A key of KMS may be mended: once rows are sent, it is waited for."""


def _end(services: Services[SubmitSettings], job: Job, failure: str) -> Job | None:
    """End planning early; the chunks that were cut go on."""
    now = services.items.job(job.job)
    if now is None or now.owner != job.owner:
        return None
    return _finish(services, now, failure=failure)


def _plan(
    services: Services[SubmitSettings], job: Job, time_left_s: Callable[[], float]
) -> Job | None:
    rows = _rows(services.files, job)
    pending = next(rows, None)
    began_s = time_left_s()
    while pending is not None:
        if time_left_s() < max(_NEEDED_S, began_s - TURN_S):
            services.items.release(job)
            return None
        with TemporaryFile() as body, TemporaryFile() as written:
            chunk = _Chunk(job, body, written)
            pending = _fill(chunk, pending, rows)
            planned = _leave(services, chunk)
        if planned is None:
            return None
        job = planned
    return _finish(services, job, failure=None)


TURN_S = 180.0
"""So long is planned at a time: ten large uploads at once would take every place that sending has."""
_NEEDED_S = 120.0
"""Below this, no further chunk is begun: the largest takes some seconds to cut and to store."""


def _rows(files: ObjectStore, job: Job) -> Iterator[ValidRows | ValidatedRow]:
    """Read the upload from the checkpoint on.

    Raises:
        UnreadableUploadError: the upload is not of its format.
        ObjectUnreadableError: S3 refuses the upload.
    """
    source = source_of(files, job)
    pieces = READERS[job.parser].read(source, position_of(job), job.row_bytes)
    return validate_all(pieces, row_bytes=job.row_bytes, api_version=job.api_version)


def _fill(
    chunk: _Chunk, pending: ValidRows | ValidatedRow, rows: Iterator[ValidRows | ValidatedRow]
) -> ValidRows | ValidatedRow | None:
    """Fill a chunk; give the rows that did not fit, None at the upload's end."""
    rests = (chunk.add(found) for found in chain([pending], rows))
    return next((rest for rest in rests if rest is not None), None)


def _leave(services: Services[SubmitSettings], chunk: _Chunk) -> Job | None:
    """Store a chunk's files, then the chunk and the checkpoint in one transaction."""
    job, files = chunk.job, chunk.files
    files.finish()
    folder = f"work/{job.job}/{chunk.name}-1/{job.owner}"
    keys = ChunkKeys(f"{folder}.requests.json", f"{folder}.ledger.jsonl")
    for file, key in zip((chunk.body, chunk.rows), keys, strict=True):
        file.seek(0)
        services.files.write(key, blocks_of(file))
    batch = _batch(chunk, keys, timestamps.text(services.now()))
    changes: dict[str, Any] = {
        "checkpoint": chunk.checkpoint,
        "rows_rejected": job.rows_rejected + files.rows - files.requests,
        "rejection_counts": dict(
            (Counter(job.rejection_counts) + chunk.reasons).most_common(REASONS)
        ),
    }
    expected = {"owner": job.owner, "checkpoint": job.checkpoint}
    # Added to, not set: it also grows where a refused chunk is split.
    more = {"chunks": 1}
    if not services.items.transition(
        job, changes, expected=expected, puts=[batch], increments=more, keep_lease=True
    ):
        return None
    return msgspec.structs.replace(job, **changes, tries=0)


def _batch(chunk: _Chunk, keys: ChunkKeys, now: str) -> Batch:
    """Make a chunk's first batch; rejected rows alone need no sending and wait to be collected."""
    job, files = chunk.job, chunk.files
    sendable = files.requests > 0
    status = BatchStatus.WAITING if sendable else BatchStatus.ENDED
    return Batch(
        job=job.job,
        item=ids.batch_name(chunk.name, 1),
        schema=items.SCHEMA,
        status=status,
        status_key=items.status_key(status, now),
        open=items.OPEN,
        next_step=Step.SEND if sendable else Step.COLLECT,
        chunk=chunk.name,
        attempt=1,
        first_row=job.checkpoint.row + 1,
        last_row=chunk.checkpoint.row,
        start_byte=position_of(job).byte,
        end_byte=chunk.end.byte,
        requests=files.requests,
        size_bytes=files.size_bytes,
        requests_key=keys.requests,
        ledger_key=keys.ledger,
    )


def _finish(services: Services[SubmitSettings], job: Job, failure: str | None) -> Job | None:
    """Note that the upload is read to its end, and whether anything of it can be sent."""
    failure = failure or _nothing_usable(job)
    changes = {"status": JobStatus.RUNNING, "failure": failure}
    pending_events = (
        [events.job_planned(job, services.files.bucket, timestamps.text(services.now()))]
        if job.sendable_rows
        else []
    )
    if not services.items.transition(job, changes, events=pending_events):
        return None
    services.outbox.publish_pending(job.job)
    services.items.start_assembly_if_complete(job.job)
    return services.items.job(job.job)


def _nothing_usable(job: Job) -> str | None:
    """Say why nothing of an upload can be sent; None where something can."""
    if job.sendable_rows:
        return None
    if job.checkpoint.row == 0:
        return "the upload is empty: put one request on each line"
    reasons = ", ".join(f"{code} ({count:,})" for code, count in job.rejection_counts.items())
    return f"none of the {job.checkpoint.row:,} rows can be sent: {reasons}; results.jsonl says why, row by row"
