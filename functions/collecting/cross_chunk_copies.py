"""Copy results of earlier chunks to the rows that equal theirs.

Only the first of equal rows is sent, and its chunk may be answered last. The chunks with its copies do not wait for it:
they are collected, and then get one more attempt, which sends nothing. It copies the results once all requests of the
job have theirs. If they are too many for one invocation, another attempt copies the rest.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from functions.adapters.batch_reset import can_be_refetched, refetch_batch
from functions.adapters.s3 import ObjectStore
from functions.collecting.download import DEADLINE_S
from functions.collecting.result_set import ResultSet
from functions.model import timestamps
from functions.model.chunk_files import LedgerEntry
from functions.model.items.batch import FINISHED_BATCH_STATUSES, Batch, BatchStatus, CloseReason
from functions.model.items.stored_objects import StoredObject
from functions.model.items.work_item import MAX_TRIES
from functions.model.output_lines import read_output_lines
from functions.model.streams import line_blocks
from functions.model.synthetic_results import closed_result
from functions.services import Services
from functions.settings import ResultsSettings

_RECHECK_S = 60.0
"""Seconds until a batch that has to wait for other chunks is tried again."""
_DELETED = "which has results of equal rows, was deleted"


class _Source(NamedTuple):
    """An earlier chunk from which results are copied.

    Attributes:
        results: the file of its results; None if it has none.
        rows: its rows whose results are copied, in order.
        closing: why these rows have no result, if there is no file.
    """

    results: StoredObject | None
    rows: Sequence[int]
    closing: CloseReason = CloseReason.STUCK


def copy_results(
    services: Services[ResultsSettings],
    batch: Batch,
    received: ResultSet,
    entries: Iterable[LedgerEntry],
    time_left_s: Callable[[], float],
) -> set[int] | None:
    """Copy results of earlier chunks to the rows of a batch.

    Args:
        services: the services of results.
        batch: a batch that only copies results.
        received: where the results are stored.
        entries: the batch's ledger.
        time_left_s: how long this invocation may still run.

    Returns:
        The rows that still lack a result, for lack of time or disk; None if the batch was released to wait for another
        chunk.
    """
    copies = _rows_by_source(entries)
    sources = _sources(services, batch, sorted(copies))
    if sources is None:
        return None
    uncopied = {row for rows in copies.values() for row in rows}
    for row, result in _results(services.files, sources):
        if time_left_s() < DEADLINE_S or not received.copy(result, copies[row]):
            break
        uncopied.difference_update(copies[row])
    return uncopied


def _rows_by_source(entries: Iterable[LedgerEntry]) -> dict[int, list[int]]:
    """Return the copies of each row of an earlier chunk."""
    copies = defaultdict[int, list[int]](list)
    for entry in entries:
        if entry.cross_chunk_copy_of:
            copies[entry.cross_chunk_copy_of].append(entry.row)
    return copies


def _sources(
    services: Services[ResultsSettings], batch: Batch, rows: Sequence[int]
) -> list[_Source] | None:
    """Return the chunks that have these rows. If the batch must wait for one, release it and return None."""
    batches = services.items.batches(batch.job)
    if any(_must_wait_for(other, batch) for other in batches):
        services.items.release(batch, timestamps.after(services.now(), _RECHECK_S))
        return None
    sources, deleted = list[_Source](), dict[str, Batch]()
    for source in _last_attempts(batches):
        own = rows[bisect_left(rows, source.first_row) : bisect_right(rows, source.last_row)]
        results = source.previous_results if source.part is None else source.part.results
        if not own:
            continue
        if results is None or services.files.exists(results.key):
            sources.append(_Source(results, own))
        else:
            deleted[results.key] = source
            sources.append(_Source(None, own, CloseReason.LOST))
    if deleted and not _gives_up(batch):
        _wait_for(services, batch, deleted)
        return None
    return sources


def _must_wait_for(other: Batch, batch: Batch) -> bool:
    """Return whether another batch must be collected first: one with requests, or an earlier attempt of the chunk."""
    is_before = other.chunk == batch.chunk and other.attempt < batch.attempt
    is_finished = other.status in FINISHED_BATCH_STATUSES
    return not is_finished and (is_before or not other.is_copying)


def _last_attempts(batches: Iterable[Batch]) -> Iterable[Batch]:
    """Return the last attempt of each chunk. The batches are in order."""
    return {batch.chunk: batch for batch in batches if batch.status != BatchStatus.SPLIT}.values()


def _gives_up(batch: Batch) -> bool:
    """Return whether, after five tries, the last one failed on deleted results, or the chunk's own earlier ones are lost."""
    failed_on_them = batch.previous_results is None or _DELETED in (batch.last_error or "")
    return batch.tries > MAX_TRIES and failed_on_them


def _wait_for(
    services: Services[ResultsSettings], batch: Batch, deleted: Mapping[str, Batch]
) -> None:
    """Release a batch to be tried later. Fetch the deleted results again where Anthropic still has them.

    Args:
        services: the services of results.
        batch: the batch.
        deleted: key of deleted results → the batch that they belong to.
    """
    for source in deleted.values():
        if can_be_refetched(source, services.now()):
            refetch_batch(services.items, source, finished_chunk=True)
    problem = f"{min(deleted)}, {_DELETED}"
    services.items.record_failure(batch, services.settings.retry_s, problem)


def _results(files: ObjectStore, sources: Iterable[_Source]) -> Iterator[tuple[int, bytes]]:
    """Yield the rows of the chunks whose results are copied, each with its result."""
    for source in sources:
        if source.results is None:
            yield from ((row, closed_result(source.closing)) for row in source.rows)
            continue
        wanted, last = {*source.rows}, source.rows[-1]
        for block in line_blocks(files.read(files.results_object(source.results.key))):
            lines = read_output_lines(block)
            yield from ((line.row, bytes(line.result)) for line in lines if line.row in wanted)
            if lines[-1].row >= last:
                break
