"""Plan a job: stream its upload, cut it into chunks and write each chunk's files.

Each chunk moves the job's checkpoint. An invocation stops before its time runs out, and the next one resumes there.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from tempfile import TemporaryFile
from typing import IO, Any

import msgspec

from functions.adapters.chunk_store import store_chunk_files
from functions.adapters.options_files import load_options
from functions.adapters.s3 import ObjectStore
from functions.adapters.upload_source import source_of
from functions.errors import ObjectUnreadableError, UnreadableUploadError
from functions.model import chunk_files, demand, events, ids, items, timestamps
from functions.model.chunk_files import ChunkKeys, ChunkWriter
from functions.model.demand import Demand, Request
from functions.model.estimate import Sample, estimate
from functions.model.events import Event
from functions.model.expected_cost import known_worst_micro_usd
from functions.model.items import PILOT, Batch, BatchStatus, Checkpoint, Job, JobStatus, Step
from functions.model.more_room import second_demand
from functions.model.rows import Position, ValidRows
from functions.planning.budget import find_hold
from functions.planning.conversion import convert_all, converter_of
from functions.planning.fast_path import ValidatedRow, validate_all
from functions.planning.preflight import Preflight
from functions.planning.prepare import prepare
from functions.planning.sampling import count_sample
from functions.planning.validation import validate
from functions.planning.waiting import wait
from functions.readers import json_values, position_of, reader_of, stored
from functions.services import Services
from functions.settings import SubmitSettings

_MAX_REJECTION_CODES = 3
"""Rejection codes whose counts a job keeps: the most frequent ones."""
_MAX_CHANGES = 50
"""Fields that a translation dropped or changed whose counts a job keeps: the most frequent ones."""
MAX_PLANNING_S = 180.0
"""Seconds that one invocation plans. The limit keeps a few large uploads from delaying all sends."""
_MIN_TIME_LEFT_S = 120.0
"""Seconds that must be left to begin a chunk. Cutting and storing the largest takes several seconds."""
_PERMANENT_CODES = frozenset(
    {"NoSuchKey", "NoSuchVersion", "MethodNotAllowed", "InvalidObjectState"}
)
"""S3 error codes after which an upload stays unreadable."""


@dataclass
class _Chunk:
    """A chunk that is being cut.

    Attributes:
        job: the job, with the checkpoint before this chunk.
        body: the temporary file of the request body.
        ledger: the temporary file of the ledger.
        files: the writer of both files.
        rejections: rejection code → number of rows.
        changes: field → rows in which its translation dropped or changed it.
        betas: values of `anthropic-beta` that its rows need beside those of the job.
        demands: what its requests may use, by model.
        second_demands: what they may use when they are sent once more with more room.
        end: the position after the last row.
    """

    job: Job
    body: IO[bytes]
    ledger: IO[bytes]
    files: ChunkWriter = field(init=False)
    rejections: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    betas: tuple[str, ...] = ()
    demands: dict[str, Demand] = field(default_factory=dict)
    second_demands: dict[str, Demand] = field(default_factory=dict)
    end: Position = field(init=False)

    def __post_init__(self) -> None:
        self.files = ChunkWriter(self.job.job, self.name, 1, self.body, self.ledger)
        self.end = position_of(self.job)

    @property
    def name(self) -> str:
        return ids.chunk_name(self.job.checkpoint.chunk + 1)

    @property
    def checkpoint(self) -> Checkpoint:
        """Return the job's checkpoint after this chunk."""
        start = self.job.checkpoint
        return Checkpoint(
            position=stored(self.end), row=start.row + self.files.rows, chunk=start.chunk + 1
        )

    def add(self, rows: ValidRows | ValidatedRow) -> ValidRows | ValidatedRow | None:
        """Add rows. Return those that did not fit; None if all did."""
        if isinstance(rows, ValidRows):
            return self._add_valid(rows)
        record, row = rows
        # All requests of a batch share its headers.
        other_betas = row.params is not None and self.files.requests and row.betas != self.betas
        if other_betas or not self._fits(len(row.params or b"") + len(row.custom_id)):
            return rows
        if row.params is not None:
            self.betas = row.betas
            self._count_requests([demand.read_request(row.params)])
        self.files.add(self._next_row, record, row)
        self.end = record.end
        if row.rejection is not None:
            self.rejections[row.rejection.code] += 1
        self.changes.update(row.changes)
        return None

    def _add_valid(self, rows: ValidRows) -> ValidRows | None:
        count = self._count_fitting(rows)
        fitting, rest = rows.cut(count) if count < len(rows.offsets) else (rows, None)
        if count:
            self.files.add_valid(self._next_row, fitting)
            sizes = map(len, fitting.params)
            self._count_requests([*zip(fitting.models, sizes, fitting.max_tokens, strict=True)])
            self.end = fitting.end
        return rest

    def _count_requests(self, requests: Sequence[Request]) -> None:
        second = second_demand(self.job, [*self.job.betas, *self.betas], requests)
        self.demands = demand.add([self.demands, demand.of_requests(requests)])
        self.second_demands = demand.add([self.second_demands, second])

    @property
    def _next_row(self) -> int:
        return self.job.checkpoint.row + self.files.rows + 1

    @property
    def _max_rows(self) -> int:
        is_pilot = self.job.pilot_rows and not self.job.checkpoint.chunk
        return min(self.job.requests_per_batch, self.job.pilot_rows if is_pilot else sys.maxsize)

    def _fits(self, row_size: int, ahead: int = 0, ahead_bytes: int = 0) -> bool:
        """Return whether a row fits. The row count and the bytes of both files are limited.

        The first row of a chunk always fits.

        Args:
            row_size: the row's params and custom_id, in bytes.
            ahead: rows that will be added before this one.
            ahead_bytes: the bytes that those rows will add.
        """
        rows, size = self.files.rows + ahead, self.files.size_bytes + self.files.ledger_bytes
        new_size = size + ahead_bytes + chunk_files.max_request_bytes(row_size)
        full = rows >= self._max_rows or new_size > self.job.batch_bytes
        return not (full and rows)

    def _count_fitting(self, rows: ValidRows) -> int:
        """Return how many of the rows fit."""
        count, size = len(rows.offsets), sum(rows.sizes)
        # Usually all of them fit, and an upper bound of their size proves it.
        if self._fits(size + count * chunk_files.max_request_bytes(0), ahead=count - 1):
            return count
        added = 0
        for ahead, (params, own) in enumerate(zip(rows.params, rows.custom_ids, strict=True)):
            if not self._fits(len(params) + len(own), ahead, added):
                return ahead
            added += self.files.added_bytes(self._next_row + ahead, len(params)) + len(own)
        return count


def plan(
    services: Services[SubmitSettings],
    job: Job,
    time_left_s: Callable[[], float],
    request_poll: Callable[[], None],
) -> Job | None:
    """Cut the rest of a job's upload into chunks. Each chunk is one transaction.

    Args:
        services: those of submit.
        job: a job that this invocation owns.
        time_left_s: returns the seconds that this invocation may still run.
        request_poll: requests a poll; called after the first of several chunks.

    Returns:
        The job after planning; None if planning must continue later or another invocation owns the job.

    Raises:
        ObjectUnreadableError: S3 refuses the upload for a reason that may pass.
        DownloadError: the download failed too often.
    """
    if job.estimate is not None:  # it was held
        return _finish(services, job, failure=job.failure)
    if job.waiting_for is not None and job.canceled_at is not None:
        return _fail(services, job, "canceled before it was planned")
    try:
        prepared = prepare(services, job)
        return (
            None
            if prepared is None
            else _cut_chunks(services, prepared, time_left_s, request_poll)
        )
    except UnreadableUploadError as error:
        return _fail(services, job, str(error))
    except ObjectUnreadableError as error:
        # A KMS key may be repaired: once rows of the upload are planned, wait for it.
        unplanned_kms = error.code.startswith("KMS.") and job.checkpoint.row == 0
        if error.code in _PERMANENT_CODES or unplanned_kms:
            return _fail(services, job, f"the upload {error.why}")
        raise


def _fail(services: Services[SubmitSettings], job: Job, failure: str) -> Job | None:
    """End planning early. Chunks that exist already are still sent."""
    current = services.items.job(job.job)
    if current is None or current.owner != job.owner:
        return None
    return _finish(services, current, failure=failure)


def _cut_chunks(
    services: Services[SubmitSettings],
    job: Job,
    time_left_s: Callable[[], float],
    request_poll: Callable[[], None],
) -> Job | None:
    first_chunk = job.checkpoint.chunk + 1
    rows = _read_rows(services.files, job)
    pending = next(rows, None)
    time_left_at_start_s = time_left_s()
    while pending is not None:
        if time_left_s() < max(_MIN_TIME_LEFT_S, time_left_at_start_s - MAX_PLANNING_S):
            services.items.release(job)
            return None
        with TemporaryFile() as body, TemporaryFile() as ledger:
            chunk = _Chunk(job, body, ledger)
            pending = _fill_chunk(chunk, pending, rows)
            planned = _store_chunk(services, chunk, _count_sample(services, chunk))
        if planned is None:
            return None
        job = planned
        if job.checkpoint.chunk == first_chunk and pending is not None:
            request_poll()
    return _finish(services, _with_end_notices(services.files, job), failure=None)


def _with_end_notices(files: ObjectStore, job: Job) -> Job:
    """Return the job with a notice of what its upload holds beside the rows. The upload is read to its end.

    Raises:
        ObjectUnreadableError: S3 refuses the upload.
    """
    position = position_of(job)
    if job.format is None or not isinstance(position, json_values.JsonPosition):
        return job
    if not position.wrapped and not position.others:
        return job
    names = json_values.other_members(source_of(files, job), position)
    if not names:
        return job
    notice = f'members beside "requests" are not sent: {", ".join(names)}; options files set what all rows share'
    notices = [*job.format.notices, notice]
    return msgspec.structs.replace(
        job, format=msgspec.structs.replace(job.format, notices=notices)
    )


def _read_rows(files: ObjectStore, job: Job) -> Iterator[ValidRows | ValidatedRow]:
    """Read and validate the upload from the checkpoint on.

    Raises:
        UnreadableUploadError: the upload is not in its format.
        ObjectUnreadableError: S3 refuses the upload.
    """
    pieces = reader_of(job).read(source_of(files, job), position_of(job), job.row_bytes)
    options = load_options(files, job)
    convert = converter_of(
        job.row_kind, options, job.api_version, job.capability_list, job.row_bytes
    )
    rules: Any = {
        "row_bytes": job.row_bytes,
        "api_version": job.api_version,
        "preflight": Preflight(
            job.claimed_at[:10],
            frozenset(job.betas),
            frozenset(options.skip_checks),
            job.capability_list,
        ),
    }
    if convert is None:
        return validate_all(pieces, **rules)
    return convert_all(pieces, convert, partial(validate, **rules), job.row_bytes)


def _fill_chunk(
    chunk: _Chunk, pending: ValidRows | ValidatedRow, rows: Iterator[ValidRows | ValidatedRow]
) -> ValidRows | ValidatedRow | None:
    """Fill a chunk. Return the rows that did not fit; None at the end of the upload."""
    rests = (chunk.add(piece) for piece in chain([pending], rows))
    rest = next((rest for rest in rests if rest is not None), None)
    chunk.files.finish()
    return rest


def _count_sample(services: Services[SubmitSettings], chunk: _Chunk) -> dict[str, Sample]:
    """Count the input tokens of some rows of the first chunk. The estimate scales them to the whole upload."""
    job = chunk.job
    if job.checkpoint.chunk:
        return job.samples
    rows, betas = services.settings.estimate_rows, sorted({*job.betas, *chunk.betas})
    return count_sample(services.claude, job, rows, chunk.body, chunk.ledger, betas)


def _store_chunk(
    services: Services[SubmitSettings], chunk: _Chunk, samples: dict[str, Sample]
) -> Job | None:
    """Write a chunk's files, then its batch and the job's checkpoint in one transaction.

    Returns:
        The job with the new checkpoint; None if another invocation owns it.
    """
    job, files = chunk.job, chunk.files
    keys = store_chunk_files(services.files, job, chunk.name, 1, chunk.body, chunk.ledger)
    worst = known_worst_micro_usd(job.price_list, estimate(chunk.demands, samples, {}).models)
    batch = _build_batch(chunk, keys, worst, timestamps.text(services.now()))
    changes: dict[str, Any] = {
        "checkpoint": chunk.checkpoint,
        "rows_rejected": job.rows_rejected + files.rows - files.requests,
        "rejection_counts": dict(
            (Counter(job.rejection_counts) + chunk.rejections).most_common(_MAX_REJECTION_CODES)
        ),
        "demands": demand.add([job.demands, chunk.demands]),
        "second_demands": demand.add([job.second_demands, chunk.second_demands]),
        "samples": samples,
        "translation_changes": dict(
            (Counter(job.translation_changes) + chunk.changes).most_common(_MAX_CHANGES)
        ),
    }
    expected = {"owner": job.owner, "checkpoint": job.checkpoint}
    # Increment `chunks` instead of setting it, because splitting a refused batch increments it too.
    if not services.items.transition(
        job, changes, expected=expected, puts=[batch], increments={"chunks": 1}, keep_lease=True
    ):
        return None
    return msgspec.structs.replace(job, **changes, tries=0)


def _build_batch(chunk: _Chunk, keys: ChunkKeys, worst_micro_usd: int, now: str) -> Batch:
    """Build a chunk's first batch. A chunk with only rejected rows goes straight to collect."""
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
        betas=sorted({*job.betas, *chunk.betas}),
        worst_micro_usd=worst_micro_usd,
        start=stored(position_of(job)),
        priority=job.priority,
        share=job.share,
    )


def _finish(services: Services[SubmitSettings], job: Job, failure: str | None) -> Job | None:
    """End planning: set the job's status and failure, unless its cost holds it. Publish ``job.planned`` once."""
    job, pending_events = _estimated(services, job, failure or _why_nothing_sendable(job))
    changes: dict[str, Any] = {
        "failure": job.failure,
        "format": job.format,
        "estimate": job.estimate,
    }
    hold, frozen = find_hold(services, job)
    changes |= frozen
    if hold is not None:
        wait(services, job, *hold, others=pending_events, **changes)
        return None
    changes |= {
        "status": JobStatus.RUNNING,
        "held": PILOT if job.pilot_rows and job.checkpoint.chunk > 1 else None,
        "waiting_for": None,
        "waiting_event": None,
    }
    if not services.items.transition(job, changes, events=pending_events):
        return None
    services.outbox.publish_pending(job.job)
    services.items.start_assembly_if_complete(job.job)
    return services.items.job(job.job)


def _estimated(
    services: Services[SubmitSettings], job: Job, failure: str | None
) -> tuple[Job, list[Event]]:
    """Return a job that is read to its end with its estimate, and the events that announce it."""
    if job.estimate is not None:
        return job, []
    experience = services.experiences.of(job, job.demands)
    expected = estimate(job.demands, job.samples, experience)
    second = estimate(job.second_demands, job.samples, {}).models
    expected = msgspec.structs.replace(expected, second=second)
    job = msgspec.structs.replace(job, estimate=expected, failure=failure)
    if not job.sendable_rows:
        return job, []
    return job, [events.job_planned(job, services.files.bucket, timestamps.text(services.now()))]


def _why_nothing_sendable(job: Job) -> str | None:
    """Return why no row of the upload can be sent; None if some can."""
    if job.sendable_rows:
        return None
    if job.checkpoint.row == 0:
        return "the upload is empty: put one request on each line"
    reasons = ", ".join(f"{code} ({count:,})" for code, count in job.rejection_counts.items())
    return f"none of the {job.checkpoint.row:,} rows can be sent: {reasons}; results.jsonl says why, row by row"
