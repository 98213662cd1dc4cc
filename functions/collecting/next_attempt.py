"""Write the files of a chunk's next attempt: it sends rows again, or only copies results of earlier chunks."""

from collections.abc import Collection, Iterator

import msgspec

from functions.adapters.rewrite import new_batch, rewrite
from functions.adapters.s3 import ObjectStore
from functions.collecting.merge import MergedChunk
from functions.collecting.second_answers import NextParams
from functions.model import timestamps
from functions.model.chunk_files import LedgerEntry, read_all
from functions.model.items.batch import Batch, BatchStatus
from functions.model.items.job import Job
from functions.model.items.work_item import Step, status_key
from functions.model.streams import line_blocks
from functions.services import Services
from functions.settings import ResultsSettings


def entries_of(files: ObjectStore, batch: Batch) -> Iterator[LedgerEntry]:
    """Read the chunk's ledger. It is read again each time, because 100,000 entries do not fit in memory."""
    return read_all(line_blocks(files.read(files.results_object(batch.ledger_key))))


def next_attempt(
    services: Services[ResultsSettings],
    job: Job,
    batch: Batch,
    merged: MergedChunk,
    uncopied: Collection[int],
    *,
    may_be_sent: bool,
) -> Batch | None:
    """Write the files of the chunk's next attempt: it sends rows again, or else copies results of earlier chunks.

    Returns:
        Its batch; None if the chunk is finished.
    """
    following = _sending_attempt(services, job, batch, merged) if may_be_sent else None
    if following is None and uncopied:
        return _copying_attempt(services, job, batch, merged, uncopied)
    return following


def _sending_attempt(
    services: Services[ResultsSettings], job: Job, batch: Batch, merged: MergedChunk
) -> Batch | None:
    """Write the files of an attempt that sends rows again. Return its batch; None if no row is worth one."""
    if not any(merged.retry_mask):
        return None
    chosen = (
        entry
        if merged.retry_mask[entry.request_row - batch.first_row]
        else entry.without_request()
        for entry in entries_of(services.files, batch)
    )
    attempt, change = batch.attempt + 1, NextParams(job, batch, merged.retry_mask)
    rewritten = rewrite(services.files, job, batch, batch.chunk, attempt, chosen, change)
    following = new_batch(batch, batch.chunk, attempt, rewritten, timestamps.text(services.now()))
    if not following.requests:
        return None
    return msgspec.structs.replace(
        following, previous_results=merged.results, raised_requests=change.raised_requests
    )


def _copying_attempt(
    services: Services[ResultsSettings],
    job: Job,
    batch: Batch,
    merged: MergedChunk,
    uncopied: Collection[int],
) -> Batch:
    """Write the files of an attempt that only copies results of earlier chunks. Return its batch."""
    entries = (
        msgspec.structs.replace(
            entry.without_request(),
            cross_chunk_copy_of=entry.cross_chunk_copy_of if entry.row in uncopied else 0,
        )
        for entry in entries_of(services.files, batch)
    )
    rewritten = rewrite(services.files, job, batch, batch.chunk, batch.attempt + 1, entries)
    now = timestamps.text(services.now())
    following = new_batch(batch, batch.chunk, batch.attempt + 1, rewritten, now)
    return msgspec.structs.replace(
        following,
        status=BatchStatus.ENDED,
        status_key=status_key(BatchStatus.ENDED, now),
        next_step=Step.COLLECT,
        previous_results=merged.results,
        ended_at=batch.ended_at or now,
    )
