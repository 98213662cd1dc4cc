"""Read an upload into chunks: validated rows, as many as fit into one Message Batch."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import IO, Any

import msgspec

from functions.adapters.upload_source import ObjectReader, source_of
from functions.model import chunk_files, demand, ids
from functions.model.chunk_files import ChunkWriter
from functions.model.demand import Demand, RequestDemand
from functions.model.estimate import Sample
from functions.model.expected_cost import prices_of
from functions.model.items.job import Checkpoint, Job
from functions.model.options import Options
from functions.model.raised_max_tokens import second_demand
from functions.model.request_demand import read_request, read_requests
from functions.model.rows import Position, Record, Row, ValidRows
from functions.planning.conversion import convert_all, converter_of
from functions.planning.equal_rows import EqualRows, digest_of, record_of
from functions.planning.fast_path import ValidatedRow, validate_all
from functions.planning.preflight import Preflight
from functions.planning.shared_prefixes import mark_warmups
from functions.planning.validation import validate
from functions.readers import json_values, position_of, reader_of, records_of, stored

_MAX_REJECTION_CODES = 3
"""Rejection codes whose counts a job keeps: the most frequent ones."""
_MAX_CHANGES = 50
"""Fields that a translation dropped or changed whose counts a job keeps: the most frequent ones."""
_MANY_BETA_CHANGES = 10
"""With this many changes of `anthropic_beta` from row to row, or more, a notice says so."""


@dataclass
class Chunk:
    """A chunk that is being cut.

    Attributes:
        job: the job, with the checkpoint before this chunk.
        body: the temporary file of the request body.
        ledger: the temporary file of the ledger.
        equal_rows: the rows of the upload that are sent so far; None unless equal rows share a request.
        writer: the writer of both files.
        rejections: rejection code → number of rows.
        changed_fields: field → rows in which its translation dropped or changed it.
        betas: values of `anthropic-beta` that its rows need beside those of the job.
        ended_by_betas: whether the next row needs others.
        demands: what its requests may use, by model.
        second_demands: what they may use when they are sent once more with a larger `max_tokens`.
        warmed_prefixes: the prefixes that its rows put into the cache.
        digests: the digests of the rows that it sends, as S3 stores them; empty unless equal rows share a request.
        end: the position after the last row.
    """

    job: Job
    body: IO[bytes]
    ledger: IO[bytes]
    equal_rows: EqualRows | None = None
    writer: ChunkWriter = field(init=False)
    rejections: Counter[str] = field(default_factory=Counter)
    changed_fields: Counter[str] = field(default_factory=Counter)
    betas: tuple[str, ...] = ()
    ended_by_betas: bool = False
    demands: dict[str, Demand] = field(default_factory=dict)
    second_demands: dict[str, Demand] = field(default_factory=dict)
    warmed_prefixes: list[str] = field(default_factory=list)
    digests: bytearray = field(default_factory=bytearray)
    end: Position = field(init=False)

    def __post_init__(self) -> None:
        self.writer = ChunkWriter(self.job.job, self.name, 1, self.body, self.ledger)
        self.end = position_of(self.job)

    @property
    def name(self) -> str:
        """Return its name: ``00001`` for the first."""
        return ids.chunk_name(self.job.checkpoint.chunk + 1)

    @property
    def is_pilot(self) -> bool:
        """Whether it is the pilot of its job."""
        return bool(self.job.pilot_rows) and not self.job.checkpoint.chunk

    @property
    def is_warmup(self) -> bool:
        """Whether it is sent before later chunks. A pilot is sent first anyway, with all of its rows."""
        return bool(self.warmed_prefixes) and not self.is_pilot

    @property
    def is_sample(self) -> bool:
        """Whether the estimate counts input tokens in its rows. Those that warm up prefixes are too few."""
        return awaits_sample(self.job) and not self.is_warmup

    @property
    def checkpoint(self) -> Checkpoint:
        """Return the job's checkpoint after this chunk."""
        start = self.job.checkpoint
        return Checkpoint(
            position=stored(self.end), row=start.row + self.writer.rows, chunk=start.chunk + 1
        )

    def add(self, rows: ValidRows | ValidatedRow) -> ValidRows | ValidatedRow | None:
        """Add rows. Return those that did not fit; None if all did."""
        if self.is_warmup or (self.writer.rows and self._must_begin_a_chunk(rows)):
            return rows
        if isinstance(rows, ValidRows):
            return self._add_valid(rows)
        record, row = rows
        # All requests of a batch share its headers.
        betas = tuple(beta for beta in row.betas if beta not in self.job.betas)
        digest = self._digest(row, betas)
        equal_row = self._equal_row(row, digest)
        params = None if equal_row else row.params
        if params is not None and self.writer.requests and betas != self.betas:
            self.ended_by_betas = True
            return rows
        if not self._fits(len(params or b"") + len(row.custom_id)):
            return rows
        if params is not None:
            self.betas = betas
            self._add_demands([read_request(params, prices_of(self.job))])
            self.digests += record_of(digest, self._next_row) if digest else b""
        is_here = equal_row > self.job.checkpoint.row
        copies = {"copy_of": equal_row} if is_here else {"cross_chunk_copy_of": equal_row}
        self.writer.add(self._next_row, record, row, **copies)
        self._count_row(record, row)
        return None

    def _digest(self, row: Row, betas: Sequence[str]) -> bytes:
        """Return the digest by which equal rows are found; empty if the row cannot share a request."""
        params = row.own_params or row.params
        return b"" if params is None or self.equal_rows is None else digest_of(params, betas)

    def _equal_row(self, row: Row, digest: bytes) -> int:
        """Return the earlier row whose request the next row shares; 0 if it needs its own, as one that warms up a prefix does."""
        if self.equal_rows is None or not digest:
            return 0
        first_row = self.equal_rows.first_row(digest, self._next_row)
        return 0 if first_row == self._next_row or row.warmup_prefix else first_row

    def _count_row(self, record: Record, row: Row) -> None:
        self.end = record.end
        if row.rejection is not None:
            self.rejections[row.rejection.code] += 1
        self.changed_fields.update(row.changes)
        self.warmed_prefixes += [row.warmup_prefix] if row.warmup_prefix else []

    def _must_begin_a_chunk(self, rows: ValidRows | ValidatedRow) -> bool:
        is_marked = not isinstance(rows, ValidRows) and rows[1].warmup_prefix is not None
        return is_marked and not self.is_pilot

    def _add_valid(self, rows: ValidRows) -> ValidRows | None:
        count = self._count_fitting(rows)
        fitting, rest = rows.cut(count) if count < len(rows.offsets) else (rows, None)
        if count:
            self.writer.add_valid(self._next_row, fitting)
            columns = fitting.models, fitting.params, fitting.max_tokens
            self._add_demands(read_requests(*columns, prices_of(self.job)))
            self.end = fitting.end
        return rest

    def _add_demands(self, requests: Sequence[RequestDemand]) -> None:
        second = second_demand(self.job, [*self.job.betas, *self.betas], requests)
        self.demands = demand.add([self.demands, demand.of_requests(requests)])
        self.second_demands = demand.add([self.second_demands, second])

    @property
    def _next_row(self) -> int:
        return self.job.checkpoint.row + self.writer.rows + 1

    @property
    def _max_rows(self) -> int:
        return min(
            self.job.requests_per_batch, self.job.pilot_rows if self.is_pilot else sys.maxsize
        )

    def _fits(self, row_size: int, ahead: int = 0, ahead_bytes: int = 0) -> bool:
        """Return whether a row fits. The row count and the bytes of both files are limited.

        The first row of a chunk always fits.

        Args:
            row_size: the row's params and custom_id, in bytes.
            ahead: rows that will be added before this one.
            ahead_bytes: the bytes that those rows will add.
        """
        rows, size = self.writer.rows + ahead, self.writer.size_bytes + self.writer.ledger_bytes
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
            added += self.writer.added_bytes(self._next_row + ahead, len(params)) + len(own)
        return count

    def changes(self, samples: dict[str, Sample]) -> dict[str, Any]:
        """Return the attributes of its job that change once this chunk is planned.

        Args:
            samples: the requests of the first chunk whose input tokens were counted.
        """
        job, writer = self.job, self.writer
        rejected = Counter(job.rejection_counts) + self.rejections
        changed = Counter(job.translation_changes) + self.changed_fields
        copies = writer.copies + writer.cross_chunk_copies
        return {
            "checkpoint": self.checkpoint,
            "rows_rejected": job.rows_rejected + writer.rows - writer.requests - copies,
            "copies": job.copies + copies,
            "beta_changes": job.beta_changes + self.ended_by_betas,
            "rejection_counts": dict(rejected.most_common(_MAX_REJECTION_CODES)),
            "demands": demand.add([job.demands, self.demands]),
            "second_demands": demand.add([job.second_demands, self.second_demands]),
            "samples": samples,
            "translation_changes": dict(changed.most_common(_MAX_CHANGES)),
            "warmed_prefixes": [*job.warmed_prefixes, *self.warmed_prefixes],
        }


def awaits_sample(job: Job) -> bool:
    """Return whether only rows that warm up prefixes are sent so far: tokens are counted in the next chunk of others."""
    return job.requests <= len(job.warmed_prefixes)


def read_rows(
    files: ObjectReader, job: Job, options: Options
) -> Iterator[ValidRows | ValidatedRow]:
    """Read and validate the upload from the checkpoint on.

    Args:
        files: where the upload is.
        job: its job.
        options: the options that were frozen when planning began.

    Raises:
        UnreadableUploadError: the upload is not in its format.
        ObjectUnreadableError: S3 refuses the upload.
    """
    pieces = reader_of(job).read(source_of(files, job), position_of(job), job.row_bytes)
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
        if job.equal_rows_once:  # each row is compared on its own
            pieces = records_of(pieces, job.row_bytes)
        rows = validate_all(pieces, **rules)
    else:
        rows = convert_all(pieces, convert, partial(validate, **rules), job.row_bytes)
    return mark_warmups(rows, job.warmed_prefixes, job.capability_list) if job.warm_cache else rows


def fill_chunk(
    chunk: Chunk, pending: ValidRows | ValidatedRow, rows: Iterator[ValidRows | ValidatedRow]
) -> ValidRows | ValidatedRow | None:
    """Fill a chunk. Return the rows that did not fit; None at the end of the upload."""
    rests = (chunk.add(piece) for piece in chain([pending], rows))
    rest = next((rest for rest in rests if rest is not None), None)
    chunk.writer.finish()
    return rest


def with_end_notices(files: ObjectReader, job: Job) -> Job:
    """Return the job with notices that need the whole upload: it is read to its end.

    Raises:
        ObjectUnreadableError: S3 refuses the upload.
    """
    if job.format is None:
        return job
    notices = [*job.format.notices, *_beta_notice(job), *_members_notice(files, job)]
    return msgspec.structs.replace(
        job, format=msgspec.structs.replace(job.format, notices=notices)
    )


def _beta_notice(job: Job) -> Iterator[str]:
    if job.beta_changes >= _MANY_BETA_CHANGES:
        yield (
            f"the rows are sent in {job.checkpoint.chunk:,} batches, because anthropic_beta changes {job.beta_changes:,} "
            "times from row to row; sort the rows by it, or set all of its values as the option betas"
        )


def _members_notice(files: ObjectReader, job: Job) -> Iterator[str]:
    position = position_of(job)
    if not isinstance(position, json_values.JsonPosition):
        return
    if not position.wrapped and not position.others:
        return
    names = json_values.other_members(source_of(files, job), position)
    if names:
        yield f'members other than "requests" are not sent: {", ".join(names)}; options files set what all rows share'


def why_nothing_sendable(job: Job) -> str | None:
    """Return why no row of the upload can be sent; None if some can."""
    if job.sendable_rows:
        return None
    if job.checkpoint.row == 0:
        return "the upload is empty: put one request on each line"
    reasons = ", ".join(f"{code} ({count:,})" for code, count in job.rejection_counts.items())
    return f"none of the {job.checkpoint.row:,} rows can be sent: {reasons}; results.jsonl says why, row by row"
