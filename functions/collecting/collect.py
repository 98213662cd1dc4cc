"""A batch has ended: put its results in row order, exactly one for each row sent; what is worth it goes again."""

from collections.abc import Callable, Iterator, Sequence
from tempfile import TemporaryFile
from typing import Any

import msgspec
from aws_lambda_powertools import Logger

from functions.adapters import retry_rows
from functions.adapters.rewrite import new_batch, rewrite
from functions.collecting.download import download
from functions.collecting.merge import Merge
from functions.collecting.result_set import ResultSet
from functions.collecting.spool import Spool
from functions.model import timestamps
from functions.model.chunk_files import LedgerEntry, read_all
from functions.model.items import (
    KEEPS_PREVIOUS_RESULT,
    Batch,
    BatchStatus,
    ChunkOutput,
    Job,
    StoredObject,
    batch_key,
)
from functions.model.streams import blocks_of, line_blocks
from functions.services import Services
from functions.settings import ResultsSettings

logger = Logger(child=True)


def collect(
    services: Services[ResultsSettings], batch: Batch, time_left_s: Callable[[], float]
) -> bool:
    """Collect a batch that this stage owns.

    Args:
        services: those of results.
        batch: as it was taken.
        time_left_s: how long this invocation may still run.

    Returns:
        True if the batch is collected; False if it waits, or somebody else has it.
    """
    job = services.store.job(batch.job)
    if job is None:
        return False
    most = services.settings.disk_bytes
    with TemporaryFile() as file, TemporaryFile() as errors:
        spool = Spool(file, batch.first_row, batch.rows, most // 2)
        received = ResultSet(batch, _sent(services, batch), spool, job.prices)
        closing = download(services, batch, received, time_left_s)
        if closing is None:
            return False
        merge = Merge(services, batch, received, closing, errors, most // 4)
        stem = f"work/{batch.job}/{batch.item}/{batch.owner}"
        lines = merge.lines(_entries(services, batch))
        results = services.files.write(f"{stem}.results.jsonl", lines)
        more = (
            closing not in KEEPS_PREVIOUS_RESULT
            and batch.attempt < job.attempts
            and job.canceled_at is None
        )
        if more and any(merge.retry_mask):
            return _go_again(services, batch, merge, results)
        part = _leave(services, job, stem, results, merge)
    return _finish(services, batch, merge, part)


def _sent(services: Services[ResultsSettings], batch: Batch) -> Sequence[bool]:
    """Say of each row of the chunk whether it was sent; nearly always, all were."""
    if batch.requests == batch.rows:
        return [True] * batch.rows
    return [entry.sent for entry in _entries(services, batch)]


def _entries(services: Services[ResultsSettings], batch: Batch) -> Iterator[LedgerEntry]:
    """Read the chunk's ledger: a row is small, a hundred thousand are not, so it is read as often as it is needed."""
    return read_all(
        line_blocks(services.files.read(services.files.results_object(batch.ledger_key)))
    )


def _go_again(
    services: Services[ResultsSettings],
    batch: Batch,
    merge: Merge,
    results: StoredObject,
) -> bool:
    """Make the rows that are worth it the chunk's next attempt."""
    chosen = (
        entry if again else unsent(entry)
        for entry, again in zip(_entries(services, batch), merge.retry_mask, strict=True)
    )  # fmt: skip
    attempt = batch.attempt + 1
    keys, files = rewrite(services.files, batch, batch.chunk, attempt, chosen)
    following = new_batch(
        batch, batch.chunk, attempt, keys, files, timestamps.text(services.now())
    )
    following = msgspec.structs.replace(following, previous_results=results)
    changes = _collected(merge, ChunkOutput(results=results))
    done = services.store.transition(batch, changes, puts=[following])
    logger.info("collected", extra={"batch": batch_key(batch), "again": sum(merge.retry_mask)})
    return done


def unsent(entry: LedgerEntry) -> LedgerEntry:
    """Give a ledger's entry for an attempt that does not send it."""
    return LedgerEntry(
        entry.row, entry.line, entry.offset, entry.size, entry.custom_id, rejection=entry.rejection
    )


def _leave(
    services: Services[ResultsSettings],
    job: Job,
    stem: str,
    results: StoredObject,
    merge: Merge,
) -> ChunkOutput:
    """Leave what did not succeed: as lines of results, and as lines of the upload."""
    merge.errors.seek(0)
    failed = services.files.write(f"{stem}.errors.jsonl", blocks_of(merge.errors))
    rows = retry_rows.of_upload(services.files, job, merge.failed.offsets, merge.failed.sizes)
    key = f"{stem}.retry.jsonl"
    retry, problem = retry_rows.retry_part(services.files, key, rows, merge.batch.tries)
    return ChunkOutput(results=results, errors=failed, retry=retry, retry_problem=problem)


def _finish(
    services: Services[ResultsSettings], batch: Batch, merge: Merge, part: ChunkOutput
) -> bool:
    """Note that the chunk is finished."""
    done = services.store.transition(
        batch, _collected(merge, part), job_increments={"chunks_finished": 1}
    )
    logger.info("collected", extra={"batch": batch_key(batch), "finished": done})
    return done


def _collected(merge: Merge, part: ChunkOutput) -> dict[str, Any]:
    return {
        "status": BatchStatus.COLLECTED,
        "part": part,
        "tally": merge.counting.tally(),
        "pieces": None,
    }
