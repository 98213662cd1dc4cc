"""Collect an ended batch: write its results in row order, exactly one for each row sent, and resend retryable rows."""

from collections.abc import Callable, Collection, Iterator, Sequence
from tempfile import TemporaryFile

import msgspec
from aws_lambda_powertools import Logger

from functions.adapters.batch_reset import can_be_refetched, refetch_batch
from functions.adapters.export_parts import export_parts
from functions.adapters.retry_rows import retry_part
from functions.adapters.s3 import ObjectStore
from functions.adapters.tracing import traced
from functions.adapters.upload_source import source_of
from functions.collecting.batch_cost import cost_of, not_counted
from functions.collecting.cross_chunk_copies import copy_results
from functions.collecting.download import download
from functions.collecting.lost_ledger import deliver, is_lost
from functions.collecting.merge import MergedChunk, RowOffsets
from functions.collecting.next_attempt import entries_of, next_attempt
from functions.collecting.result_set import ResultSet
from functions.collecting.second_answers import merge_type
from functions.collecting.spool import Spool
from functions.errors import DownloadError
from functions.model.ids import batch_name
from functions.model.items.batch import (
    KEEPS_PREVIOUS_RESULT,
    Batch,
    BatchStatus,
    CloseReason,
    batch_key,
)
from functions.model.items.counts import OUTCOMES
from functions.model.items.job import Job
from functions.model.items.stored_objects import ChunkOutput, StoredObject
from functions.model.items.work_item import MICRO
from functions.readers import reader_of
from functions.services import Services
from functions.settings import ResultsSettings

_NOT_COPIED = "the results of equal rows in other batches do not fit into the time or disk of one invocation; raise resultsDiskMib"
logger = Logger(child=True)


def collect(
    services: Services[ResultsSettings], batch: Batch, time_left_s: Callable[[], float]
) -> bool:
    """Collect a batch that this stage owns.

    Args:
        services: the services of results.
        batch: as it was acquired.
        time_left_s: how long this invocation may still run.

    Returns:
        True if the batch is collected; False if it was released, or another invocation owns it.
    """
    job = services.items.job(batch.job)
    if job is None or _refetch_previous(services, batch):
        return False
    later = _later_attempt(services, batch)
    needs_ledger = batch.awaits_results or batch.is_copying
    if later is None and needs_ledger and is_lost(services.files, batch, batch.ledger_key):
        delivered = deliver(services, job, batch, time_left_s)
        return delivered is not None and _record(services, job, batch, *delivered)
    batch, problem = _without_lost_files(services.files, batch)
    disk_bytes = services.settings.disk_bytes
    with TemporaryFile() as file, TemporaryFile() as errors:
        spool = Spool(file, batch.first_row, batch.rows, disk_bytes // 2)
        received = ResultSet(batch, _sent(services.files, batch), spool, job.price_list)
        closing = download(services, batch, received, time_left_s)
        uncopied = (
            None if closing is None else _copy(services, batch, received, later, time_left_s)
        )
        if closing is None or uncopied is None:
            return False
        merge = merge_type(job)(services, batch, received, closing, errors, disk_bytes // 4)
        entries = entries_of(services.files, batch)
        merged = merge.write(_results_key(batch, later), entries, time_left_s)
        following = None
        if later is None:
            may_be_sent = problem is None and _may_be_sent(job, batch, closing)
            following = next_attempt(
                services, job, batch, merged, uncopied, may_be_sent=may_be_sent
            )
        if following is not None or later is not None:
            return _record(services, job, batch, merged, None, following, problem)
        failed = merge.write_errors(f"{_stem(batch)}.errors.jsonl")
    problem = "; ".join(filter(None, (problem, merge.errors_problem))) or None
    return _complete(services, job, batch, merged, failed, problem)


def _complete(
    services: Services[ResultsSettings],
    job: Job,
    batch: Batch,
    merged: MergedChunk,
    failed: StoredObject | None,
    problem: str | None,
) -> bool:
    """Write the retry rows and the exports of a chunk, and record that it is finished."""
    counted = batch
    if merged.failed.offsets or job.exports:
        counted = services.items.count_convenience(batch)
    with services.releasing_on_error(counted), traced("retry and exports"):
        retry, retry_problem = _write_retry(services.files, job, counted, merged.failed)
        exports, export_problem = export_parts(
            services.files, job, batch, merged.results, _stem(batch), counted.tries
        )
    part = ChunkOutput(
        results=merged.results,
        errors=failed,
        retry=retry,
        retry_problem=retry_problem,
        exports=exports,
        export_problem=export_problem,
        problem=problem,
    )
    return _record(services, job, batch, merged, part)


def _refetch_previous(services: Services[ResultsSettings], batch: Batch) -> bool:
    """Reset the attempt before if its results were deleted. Return whether this batch waits for them."""
    previous = batch.previous_results
    if previous is None or services.files.exists(previous.key):
        return False
    earlier = services.items.batch(batch.job, batch_name(batch.chunk, batch.attempt - 1))
    if earlier is None:
        return False
    if can_be_refetched(earlier, services.now()) and services.files.exists(earlier.ledger_key):
        refetch_batch(services.items, earlier, finished_chunk=False)
    elif earlier.status != BatchStatus.ENDED:
        return False
    problem = "the results of the attempt before were deleted and are fetched again"
    services.items.record_failure(batch, services.settings.retry_s, problem)
    return True


def _later_attempt(services: Services[ResultsSettings], batch: Batch) -> Batch | None:
    """Return the attempt after a batch that is collected again."""
    if not batch.refetches:
        return None
    return services.items.batch(batch.job, batch_name(batch.chunk, batch.attempt + 1))


def _results_key(batch: Batch, later: Batch | None) -> str:
    """Return the key for a batch's results. If there is a later attempt, it is the key that this one reads."""
    if later is not None and later.previous_results is not None:
        return later.previous_results.key
    return f"{_stem(batch)}.results.jsonl"


def _stem(batch: Batch) -> str:
    """Return the beginning of the keys of all files that this invocation writes."""
    return f"work/{batch.job}/{batch.item}/{batch.owner}"


def _without_lost_files(files: ObjectStore, batch: Batch) -> tuple[Batch, str | None]:
    """Return the batch without earlier results that are lost, and a sentence if no further attempt is possible."""
    rows = f"rows {batch.first_row:,} to {batch.last_row:,}"
    previous = batch.previous_results
    if previous is not None and is_lost(files, batch, previous.key):
        problem = (
            f"{rows}: the earlier results {previous.key} were deleted; rows that were not resent are lost, and rows "
            "that did not succeed were not resent again and are not in the retry file"
        )
        return msgspec.structs.replace(batch, previous_results=None), problem
    if is_lost(files, batch, batch.requests_key):
        problem = f"{rows}: the request body {batch.requests_key} was deleted; rows that did not succeed were not resent"
        return batch, problem
    return batch, None


def _sent(files: ObjectStore, batch: Batch) -> Sequence[bool]:
    """Return for each row of the chunk whether it was sent. Nearly always, all were."""
    if batch.requests == batch.rows:
        return [True] * batch.rows
    return [entry.sent for entry in entries_of(files, batch)]


def _copies(files: ObjectStore, batch: Batch) -> Iterator[tuple[int, int]]:
    """Yield each row that shares a request of this batch, and the row that has the request."""
    entries = entries_of(files, batch) if batch.copies else iter(())
    return ((entry.row, entry.copy_of) for entry in entries if entry.copy_of)


def _copy(
    services: Services[ResultsSettings],
    batch: Batch,
    received: ResultSet,
    later: Batch | None,
    time_left_s: Callable[[], float],
) -> Collection[int] | None:
    """Share the results of the batch with its copies. If it only copies results, copy those of earlier chunks.

    Returns:
        The rows that may still lack the result of an earlier chunk; None if the batch was released to wait for one.

    Raises:
        DownloadError: too few results could be copied, for lack of time or disk.
    """
    received.share(_copies(services.files, batch))
    if batch.is_copying:
        entries = entries_of(services.files, batch)
        uncopied = copy_results(services, batch, received, entries, time_left_s)
        max_uncopied = batch.cross_chunk_copies - 1 if later is None else later.cross_chunk_copies
        if uncopied is not None and len(uncopied) > max_uncopied:
            raise DownloadError(_NOT_COPIED)
        return uncopied
    return range(batch.first_row, batch.last_row + 1) if batch.cross_chunk_copies else range(0)


def _may_be_sent(job: Job, batch: Batch, closing: CloseReason) -> bool:
    """Return whether rows of a batch may be sent again."""
    return (
        closing not in KEEPS_PREVIOUS_RESULT
        and batch.attempt < job.attempts
        and job.canceled_at is None
    )


def _write_retry(
    files: ObjectStore, job: Job, batch: Batch, failed: RowOffsets
) -> tuple[StoredObject | None, str | None]:
    """Write the rows that did not succeed into a part of the retry file; see `retry_part`.

    Without earlier results there is none: rows that had succeeded would be paid for again. If no row failed, the
    upload is not read.
    """
    if not failed.offsets:
        return None, None
    if batch.attempt > 1 and batch.previous_results is None:
        return None, "the results of an earlier attempt were deleted; the manifest names them"
    reader, source = reader_of(job), source_of(files, job)
    rows = reader.retry_rows(source, failed.offsets, failed.sizes)
    key = f"{_stem(batch)}.{reader.RETRY_NAME}"
    return retry_part(files, key, rows, batch.tries)


def _record(  # noqa: PLR0913, PLR0917 - all that is recorded of a batch
    services: Services[ResultsSettings],
    job: Job,
    batch: Batch,
    merged: MergedChunk,
    part: ChunkOutput | None,
    following: Batch | None = None,
    problem: str | None = None,
) -> bool:
    """Record that the batch is collected, and that its chunk is finished or has a next attempt.

    Args:
        services: the services of results.
        job: the batch's job.
        batch: as it was acquired.
        merged: the chunk's rows.
        part: the files of a finished chunk; None if there is a next attempt.
        following: the next attempt, which now waits; None if there is none, or if the batch was collected again and
            counted as one more chunk meanwhile.
        problem: what the manifest says of a batch whose chunk is not finished.
    """
    cost_micro_usd = cost_of(services.items, job, batch, merged.counts)
    spent = not_counted(batch, cost_micro_usd)
    increments = {"cost_micro_usd": spent} if spent else {}
    if part is not None:
        increments |= {"chunks_finished": 1, **merged.counts.job_increments}
    elif following is None:
        increments |= {"chunks": -1}
    done = services.items.transition(
        batch,
        {
            "status": BatchStatus.COLLECTED,
            "part": part or ChunkOutput(results=merged.results, problem=problem),
            "tally": merged.counts,
            "pieces": None,
            "pieces_ended": None,
            "cost_micro_usd": cost_micro_usd,
        },
        puts=[] if following is None else [following],
        job_increments=increments,
        spent_micro_usd=spent,
    )
    retryable = 0 if following is None else following.requests
    facts = {"batch": batch_key(batch), "recorded": done, "retryable": retryable}
    logger.info("collected", extra=facts)
    if done:
        services.emit_metrics(CostUsd=spent / MICRO)
    if done and part is not None:
        counts = merged.counts.outcomes
        services.emit_metrics(**{f"Rows{name.title()}": counts.get(name, 0) for name in OUTCOMES})
    return done
