"""Write report.html. It is best effort: its failure never delays results.

When the job is assembled, its files are read: the first rows, the first ones that did not succeed, and their
requests. Each reading is bounded, so that neither memory nor time grows with the job.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec
from aws_lambda_powertools import Logger

from functions.adapters.export_parts import may_pass
from functions.adapters.retry_rows import MAX_WAITING_TRIES
from functions.adapters.s3 import ObjectStore
from functions.adapters.tracing import traced
from functions.errors import ObjectNotFoundError, ObjectUnreadableError, RelayError
from functions.model import timestamps
from functions.model.chunk_files import LedgerEntry, read_all
from functions.model.items.batch import Batch
from functions.model.items.counts import OutcomeCounts
from functions.model.items.job import Job
from functions.model.items.stored_objects import StoredObject
from functions.model.outcome_counter import total
from functions.model.output_lines import read_output_lines
from functions.model.streams import line_blocks
from functions.report.excerpts import ReportRow, group_errors, prompt_of, read_row
from functions.report.page import ReportData, render

PATH = "report.html"
OFF, FULL = "off", "full"
MAX_ROWS = 1000
"""The first rows shown, and the first ones that did not succeed."""
MAX_READ_BYTES = 64_000_000
"""Most bytes of results.jsonl and of errors.jsonl that are read."""
MAX_PARAMS_BYTES, GAP_BYTES, READ_BYTES = 256_000, 64_000, 1_000_000
"""The longest request of which a prompt is shown; bytes between two requests that are read together; and most bytes
that are read together."""
MAX_READINGS = 200
"""Most ledgers, and most ranges of request bodies, that are read."""
BINS = 48
"""Parts of the job's time for which rows are counted."""
_TOO_LONG = "(the request has {:,} bytes; see the upload)"
_TYPE = "text/html; charset=utf-8"
_REJECTED = "rejected"
logger = Logger(child=True)


class DeliveredChunk(msgspec.Struct, frozen=True):
    """A chunk as it is delivered: its batches by attempt, and the counts of its rows."""

    attempts: Sequence[Batch]
    tally: OutcomeCounts


@traced("report")
def write_report(
    files: ObjectStore,
    job: Job,
    chunks: Sequence[DeliveredChunk],
    tally: OutcomeCounts,
    manifest: Mapping[str, Any],
    tries: int,
) -> tuple[dict[str, StoredObject], str | None]:
    """Write the report of a job.

    Args:
        files: the object store.
        job: the job.
        chunks: its chunks, in row order.
        tally: the counts of all its rows.
        manifest: its manifest, without the report.
        tries: the tries of the exports and the report, including this one.

    Returns:
        The file by its name in the manifest; and a sentence that says why there is none.

    Raises:
        Exception: a fault of AWS that may pass before one of the next tries.
    """
    if job.report == OFF:
        return {}, None
    if tries >= MAX_WAITING_TRIES:  # the last try is for the exports
        return {}, f"not written in {MAX_WAITING_TRIES - 1} tries"
    try:
        page = render(_gather(files, job, chunks, tally, manifest))
        key = f"{job.results_prefix}/{PATH}"
        return {"report": files.put(key, page, _TYPE)}, None
    except Exception as error:  # whatever is wrong with it, the answers are not
        if may_pass(error, tries):
            raise
        problem = str(error) if isinstance(error, RelayError) else type(error).__name__
        logger.warning("report not written", extra={"job": job.job, "problem": problem})
        return {}, problem


def _gather(
    files: ObjectStore,
    job: Job,
    chunks: Sequence[DeliveredChunk],
    tally: OutcomeCounts,
    manifest: Mapping[str, Any],
) -> ReportData:
    has_content = job.report == FULL
    location = f"s3://{files.bucket}/{job.results_prefix}"
    first: list[ReportRow] = []
    prompts: dict[int, str] = {}
    errors = _error_counts(tally)
    attempts = [batch.tally for chunk in chunks for batch in chunk.attempts]
    answered = total([*filter(None, attempts)])
    found = [*_failed_rows(files, job, errors)] if errors else []
    failed = found[:MAX_ROWS]
    if not has_content:  # sentences may quote the row
        found = [msgspec.structs.replace(row, answer="") for row in found]
    if has_content:
        lines = _read_lines(files, f"{job.results_prefix}/results.jsonl")
        first = [*map(_read_row, islice(lines, MAX_ROWS))]
        wanted = sorted({row.row for row in (*first, *failed)})
        prompts = _read_prompts(files, chunks, wanted)
    return ReportData(
        manifest=manifest,
        location=location,
        has_content=has_content,
        input_sizes=answered.input_sizes,
        output_sizes=answered.output_sizes,
        progress=progress_of(job, chunks),
        errors=group_errors(errors, found),
        first_rows=first,
        failed_rows=failed if has_content else (),
        prompts=prompts,
    )


def _error_counts(tally: OutcomeCounts) -> dict[str, int]:
    """Return error → rows; rows without an error count under their outcome: expired, canceled."""
    named = {"succeeded", "errored", _REJECTED}
    return tally.errors | {
        name: count for name, count in tally.outcomes.items() if name not in named
    }


def _failed_rows(files: ObjectStore, job: Job, errors: Mapping[str, int]) -> Iterator[ReportRow]:
    """Yield the first rows of errors.jsonl, then the first row of each further error that is not too far."""
    missing = {error: error.encode() for error in errors}
    lines = _read_lines(files, f"{job.results_prefix}/errors.jsonl")
    for row in map(_read_row, islice(lines, MAX_ROWS)):
        missing.pop(row.error, None)
        yield row
    while missing:
        line = next(
            (line for line in lines if any(name in line for name in missing.values())), None
        )
        if line is None:
            return
        row = _read_row(line)
        if missing.pop(row.error, None) is not None:
            yield row


def _read_row(line: bytes) -> ReportRow:
    return read_row(read_output_lines(line)[0])


def _read_lines(files: ObjectStore, key: str) -> Iterator[bytes]:
    """Read results.jsonl or errors.jsonl from the first line on, up to `MAX_READ_BYTES`."""
    size = 0
    for line in files.lines(files.results_object(key)):
        size += len(line)
        if size > MAX_READ_BYTES:
            return
        yield line


def _read_prompts(
    files: ObjectStore, chunks: Sequence[DeliveredChunk], rows: Sequence[int]
) -> dict[int, str]:
    """Return the prompts of rows, as they were sent first. Rows that were not sent, or are too far apart, have none."""
    prompts: dict[int, str] = {}
    readings = MAX_READINGS
    for chunk in chunks:
        batch = chunk.attempts[0]
        wanted = {row for row in rows if batch.first_row <= row <= batch.last_row}
        if not wanted:
            continue
        try:
            entries = [
                entry
                for entry in _entries(files, batch, max(wanted))
                if entry.row in wanted and entry.sent
            ]
            prompts |= {
                entry.row: _TOO_LONG.format(entry.params_size)
                for entry in entries
                if entry.params_size > MAX_PARAMS_BYTES
            }
            ranges = [*islice(_ranges(entries), readings)]
            for group in ranges:
                prompts |= _read_range(files, batch, group)
        except (ObjectNotFoundError, ObjectUnreadableError):
            continue  # the work file was deleted
        readings -= len(ranges) + 1
        if readings <= 0:
            break
    return prompts


def _entries(files: ObjectStore, batch: Batch, last_row: int) -> Iterator[LedgerEntry]:
    """Read the ledger of a chunk up to a row."""
    blocks = line_blocks(files.read(files.results_object(batch.ledger_key)))
    for entry in read_all(blocks):
        if entry.row > last_row:
            return
        yield entry


def _ranges(entries: Sequence[LedgerEntry]) -> Iterator[list[LedgerEntry]]:
    """Group rows whose requests are close together in the body. Long requests are left out."""
    group: list[LedgerEntry] = []
    for entry in entries:
        if entry.params_size > MAX_PARAMS_BYTES:
            continue
        end = entry.params_offset + entry.params_size
        if group and (
            entry.params_offset - group[-1].params_offset - group[-1].params_size > GAP_BYTES
            or end - group[0].params_offset > READ_BYTES
        ):
            yield group
            group = []
        group.append(entry)
    if group:
        yield group


def _read_range(files: ObjectStore, batch: Batch, group: Sequence[LedgerEntry]) -> dict[int, str]:
    start = group[0].params_offset
    stop = group[-1].params_offset + group[-1].params_size
    body = b"".join(files.read(files.results_object(batch.requests_key), start, stop))
    return {
        entry.row: prompt_of(
            body[entry.params_offset - start : entry.params_offset - start + entry.params_size]
        )
        for entry in group
    }


def progress_of(job: Job, chunks: Sequence[DeliveredChunk]) -> list[dict[str, int]]:
    """Return the rows by outcome that became final in each part of the job's time.

    A row that succeeds is final immediately; any other is final when the last attempt of its chunk ends. Rows that were never
    sent are left out.
    """
    bins = [Counter[str]() for _ in range(BINS)]
    begin = timestamps.parse(job.claimed_at)
    whole = (timestamps.parse(job.ended_at or job.claimed_at) - begin).total_seconds() or 1.0
    for chunk in chunks:
        earlier: Mapping[str, int] = {}
        for batch in chunk.attempts:
            is_last = batch is chunk.attempts[-1]
            counts = chunk.tally if is_last else batch.tally
            if counts is None or batch.ended_at is None:
                continue
            share = (timestamps.parse(batch.ended_at) - begin).total_seconds() / whole
            final = bins[min(max(int(share * BINS), 0), BINS - 1)]
            final["succeeded"] += counts.outcomes.get("succeeded", 0) - earlier.get("succeeded", 0)
            if is_last:
                final.update(
                    {
                        name: count
                        for name, count in counts.outcomes.items()
                        if name not in {"succeeded", _REJECTED}
                    }
                )
            earlier = counts.outcomes
    return [dict(+final) for final in bins]
