"""Check a file as planning would: with its own code, without AWS, and without sending anything."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any

import msgspec

from cli.errors import CommandError
from cli.local_bucket import LocalBucket, local_bucket_of
from cli.local_files import check_name
from functions.errors import ObjectUnreadableError, UnreadableUploadError
from functions.model import timestamps
from functions.model.estimate import estimate
from functions.model.expected_cost import UNKNOWN_WORST, estimate_figures
from functions.model.items.work_item import MICRO
from functions.model.nouns import dollars
from functions.model.rows import Rejection, ValidRows
from functions.planning.chunks import (
    Chunk,
    awaits_sample,
    fill_chunk,
    read_rows,
    why_nothing_sendable,
    with_end_notices,
)
from functions.planning.equal_rows import open_equal_rows
from functions.planning.job_budget import why_held
from functions.planning.new_job import Upload, new_job
from functions.planning.prepare import MissingOptions, Prepared, decide
from functions.planning.sampling import count_sample
from functions.settings import SubmitSettings

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from functions.adapters.anthropic_api import Claude
    from functions.model.estimate import Sample
    from functions.model.items.job import Job
    from functions.planning.fast_path import ValidatedRow

MAX_SENTENCES = 5
"""Messages that are kept for each rejection code."""
SETTINGS = SubmitSettings(
    table_name="",
    uploads_bucket="",
    results_bucket="",
    topic_arn="",
    secret_name="",
    queue_url="",
)
"""The settings of a stack that changes none."""


@dataclass(kw_only=True)
class RejectedRows:
    """The rows of one kind that would not be sent.

    Attributes:
        rows: their number.
        messages: why, for the first of them; each names its line.
    """

    rows: int = 0
    messages: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class Checked:
    """How planning would read and send a file.

    Attributes:
        file: its path as it was named.
        format: how it is read: ``jsonl``, ``csv, gzip``; None if it is not.
        row_kind: what its rows are.
        rows: its rows.
        requests: those that would be sent.
        copies: rows that would share the request of an earlier row.
        batches: the Message Batches in which they would be sent.
        rejected: rejection code → its rows.
        changed_fields: field → rows in which a translation dropped or changed it.
        notices: notices about the upload, as in `job.planned`.
        options: the options files that apply, the farthest first.
        pilot_rows: the rows that would be sent first, alone.
        failure: why the rest of the file, or all of it, would not be read; None if it would.
        waiting_for: what its job would wait for: ``template``, ``models``, ``valid_options``, ``budget`` or ``price``.
        message: what to do about that.
        example: an options file to copy.
        estimate: what all requests are expected to use and cost.
    """

    file: str
    format: str | None = None
    row_kind: str | None = None
    rows: int = 0
    requests: int = 0
    copies: int = 0
    batches: int = 0
    rejected: dict[str, RejectedRows] = field(default_factory=dict)
    changed_fields: dict[str, int] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    pilot_rows: int = 0
    failure: str | None = None
    waiting_for: str | None = None
    message: str | None = None
    example: str | None = None
    estimate: dict[str, Any] | None = None

    @property
    def is_fully_sendable(self) -> bool:
        """Whether every row would be sent, without waiting for a person."""
        return not (self.rejected or self.failure or self.waiting_for)


def check(
    file: Path,
    *,
    options: Path | None = None,
    claude: Claude | None = None,
    on_read: Callable[[int], None] = lambda _count: None,
) -> Checked:
    """Read, validate, translate and estimate a file as planning would. The memory does not grow with its size.

    Args:
        file: the file.
        options: the options file of this file alone; None for the one beside it.
        claude: the API, to count the input tokens of some rows; None to estimate them by their length.
        on_read: called with the number of bytes of each block that is read.
    """
    checked = Checked(file=str(file))
    try:
        check_name(file)
    except CommandError as error:
        checked.failure = str(error)
        return checked
    bucket, key = local_bucket_of(file, options, on_read)
    now = timestamps.now()
    upload = Upload("", key, "", file.stat().st_size, timestamps.text(now))
    job = new_job(SETTINGS, upload, now)
    try:
        decided = decide(bucket, SETTINGS, job, timestamps.text(now))
        if isinstance(decided, MissingOptions):
            _add_missing(checked, decided)
        else:
            job = msgspec.structs.replace(job, **decided.changes)
            _add_plan(checked, bucket, job, decided, claude)
    except UnreadableUploadError as error:
        checked.failure = str(error)
    except ObjectUnreadableError as error:
        checked.failure = f"the upload {error.why}"
    # An unreadable byte or record ends planning before the chunk around it, whose rows are not counted.
    checked.rejected = {code: rows for code, rows in checked.rejected.items() if rows.rows}
    return checked


def _add_missing(checked: Checked, missing: MissingOptions) -> None:
    """Add what a job would wait for before it is planned."""
    data = missing.event.data
    checked.waiting_for = missing.waiting_for
    if "example" in data:
        checked.example = data["example"]
        checked.message = (
            f"{data['message'].partition(';')[0]}; save one like the example beside the file, as "
            f"{checked.file}.relay.toml"
        )
    else:
        checked.message = f"{data['options']['key']} cannot be used: {data['problem']}"


def _add_plan(
    checked: Checked, bucket: LocalBucket, job: Job, prepared: Prepared, claude: Claude | None
) -> None:
    """Add what planning would write, chunk by chunk, so that what precedes an unreadable place is counted."""
    checked.options = [str(bucket.path_of(options.key)) for options in prepared.options_files]
    checked.row_kind, checked.pilot_rows = job.row_kind, job.pilot_rows
    _add_format(checked, job)
    for planned, batches, rejections in _plan(bucket, job, prepared, checked, claude):
        job = planned
        checked.rows, checked.requests = job.checkpoint.row, job.requests
        checked.copies = job.copies
        checked.batches += batches
        checked.changed_fields = job.translation_changes
        for code, rows in rejections.items():
            checked.rejected[code].rows += rows
    job = with_end_notices(bucket, job)
    _add_format(checked, job)
    expected = estimate(job.demands, job.samples, {}, job.second_demands)
    job = msgspec.structs.replace(job, estimate=expected)
    checked.failure = why_nothing_sendable(job)
    checked.estimate = estimate_figures(job) if job.sendable_rows else None
    _add_hold(checked, job, prepared)


def _add_format(checked: Checked, job: Job) -> None:
    if job.format is not None:
        parts = (job.format.reader, job.format.container, job.format.encoding)
        checked.format = ", ".join(part for part in parts if part not in {None, "utf-8"})
        checked.notices = job.format.notices


def _add_hold(checked: Checked, job: Job, prepared: Prepared) -> None:
    checked.waiting_for, budget = why_held(SETTINGS, job, prepared.options)
    if checked.waiting_for is None:
        return
    release = "send it and release it with `relay go`"
    if checked.waiting_for == "price" or checked.estimate is None:
        problem = f"a budget is in force, and the cost has no known bound: {UNKNOWN_WORST}"
        checked.message = f"{problem}: {release}"  # no budget is large enough
        return
    worst, limit = checked.estimate["cost_usd"]["worst"], (budget or 0) / MICRO
    problem = (
        f"the file may cost up to {dollars(worst)}, more than its budget_usd of {dollars(limit)}"
    )
    checked.message = f"{problem}: raise budget_usd in the options, or {release}"


def _plan(
    bucket: LocalBucket, job: Job, prepared: Prepared, checked: Checked, claude: Claude | None
) -> Iterator[tuple[Job, int, Counter[str]]]:
    """Cut the file into chunks. Yield the job after each, its batches and its rejections."""
    with open_equal_rows(bucket, "", job) as equal_rows:
        rows = _with_messages_kept(read_rows(bucket, job, prepared.options), checked)
        pending = next(rows, None)
        while pending is not None:
            kept = claude is not None and awaits_sample(job)
            with _open_chunk_file(kept=kept) as body, _open_chunk_file(kept=kept) as ledger:
                chunk = Chunk(job, body, ledger, equal_rows)
                pending = fill_chunk(chunk, pending, rows)
                changes = chunk.changes(_count(claude, chunk) if claude else {})
            job = msgspec.structs.replace(job, **changes)
            yield job, int(chunk.writer.requests > 0), chunk.rejections


def _open_chunk_file(*, kept: bool) -> IO[bytes]:
    """Open a file of a chunk. Only tokens are counted from it, so otherwise it is discarded."""
    return TemporaryFile() if kept else open(os.devnull, "w+b")  # noqa: PTH123


def _count(claude: Claude, chunk: Chunk) -> dict[str, Sample]:
    if not chunk.is_sample:
        return chunk.job.samples
    betas = sorted({*chunk.job.betas, *chunk.betas})
    return count_sample(claude, chunk.job, SETTINGS.estimate_rows, chunk.body, chunk.ledger, betas)


def _with_messages_kept(
    rows: Iterator[ValidRows | ValidatedRow], checked: Checked
) -> Iterator[ValidRows | ValidatedRow]:
    """Yield rows as they are, and keep the first sentences of each kind of rejection."""
    for piece in rows:
        if not isinstance(piece, ValidRows) and piece[1].rejection is not None:
            _keep_message(piece[1].rejection, checked)
        yield piece


def _keep_message(rejection: Rejection, checked: Checked) -> None:
    rejected = checked.rejected.setdefault(rejection.code, RejectedRows())
    if len(rejected.messages) < MAX_SENTENCES:
        rejected.messages.append(rejection.message)
