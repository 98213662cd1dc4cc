"""A batch has ended: put its results in row order, exactly one for each row sent; what is worth it goes again."""

from collections.abc import Callable, Iterator, Sequence
from tempfile import TemporaryFile
from typing import Any

import msgspec
from aws_lambda_powertools import Logger

from functions.batches import times
from functions.batches.blocks import blocks_of, texts
from functions.batches.doors import Doors
from functions.batches.items import KEEPING, Batch, BatchStatus, Job, Part, Piece, batch_key
from functions.batches.ledger import Entry, read_all
from functions.batches.received import Received
from functions.batches.settings import ResultsSettings
from functions.batches.spool import Spool
from functions.steps import slices
from functions.steps.fetch import fetch
from functions.steps.merge import Merge
from functions.steps.split import rewrite, waiting

logger = Logger(child=True)


def collect(doors: Doors[ResultsSettings], batch: Batch, time_left_s: Callable[[], float]) -> bool:
    """Collect a batch that this stage owns.

    Args:
        doors: those of results.
        batch: as it was taken.
        time_left_s: how long this invocation may still run.

    Returns:
        True if the batch is collected; False if it waits, or somebody else has it.
    """
    job = doors.store.job(batch.job)
    if job is None:
        return False
    most = doors.settings.disk_bytes
    with TemporaryFile() as file, TemporaryFile() as errors:
        spool = Spool(file, batch.first_row, batch.rows, most // 2)
        received = Received(batch, _sent(doors, batch), spool, job.prices)
        closing = fetch(doors, batch, received, time_left_s)
        if closing is None:
            return False
        merge = Merge(doors, batch, received, closing, errors, most // 4)
        stem = f"work/{batch.job}/{batch.item}/{batch.owner}"
        lines = merge.lines(_entries(doors, batch))
        results = doors.files.write(f"{stem}.results.jsonl", lines)
        more = closing not in KEEPING and batch.attempt < job.attempts and job.canceled_at is None
        if more and any(merge.again):
            return _go_again(doors, batch, merge, results)
        part = _leave(doors, job, stem, results, merge)
    return _finish(doors, batch, merge, part)


def _sent(doors: Doors[ResultsSettings], batch: Batch) -> Sequence[bool]:
    """Say of each row of the chunk whether it was sent; nearly always, all were."""
    if batch.requests == batch.rows:
        return [True] * batch.rows
    return [entry.sent for entry in _entries(doors, batch)]


def _entries(doors: Doors[ResultsSettings], batch: Batch) -> Iterator[Entry]:
    """Read the chunk's ledger: a row is small, a hundred thousand are not, so it is read as often as it is needed."""
    return read_all(texts(doors.files.read(doors.files.own(batch.ledger_key))))


def _go_again(
    doors: Doors[ResultsSettings],
    batch: Batch,
    merge: Merge,
    results: Piece,
) -> bool:
    """Make the rows that are worth it the chunk's next attempt."""
    chosen = (
        entry if again else unsent(entry)
        for entry, again in zip(_entries(doors, batch), merge.again, strict=True)
    )  # fmt: skip
    attempt = batch.attempt + 1
    keys, files = rewrite(doors, batch, batch.chunk, attempt, chosen)
    following = waiting(batch, batch.chunk, attempt, keys, files, times.text(doors.now()))
    following = msgspec.structs.replace(following, base=results)
    changes = _collected(merge, Part(results=results))
    done = doors.store.advance(batch, changes, puts=[following])
    logger.info("collected", extra={"batch": batch_key(batch), "again": sum(merge.again)})
    return done


def unsent(entry: Entry) -> Entry:
    """Give a ledger's entry for an attempt that does not send it."""
    return Entry(
        entry.row, entry.line, entry.at, entry.size, entry.custom_id, rejection=entry.rejection
    )


def _leave(
    doors: Doors[ResultsSettings],
    job: Job,
    stem: str,
    results: Piece,
    merge: Merge,
) -> Part:
    """Leave what did not succeed: as lines of results, and as lines of the upload."""
    merge.errors.seek(0)
    failed = doors.files.write(f"{stem}.errors.jsonl", blocks_of(merge.errors))
    rows = slices.of_upload(doors, job, merge.failed.at, merge.failed.size)
    key = f"{stem}.retry.jsonl"
    retry, problem = slices.retry_part(doors, key, rows, merge.batch.tries)
    return Part(results=results, errors=failed, retry=retry, retry_problem=problem)


def _finish(doors: Doors[ResultsSettings], batch: Batch, merge: Merge, part: Part) -> bool:
    """Note that the chunk is finished."""
    done = doors.store.advance(batch, _collected(merge, part), job={"finished": 1})
    logger.info("collected", extra={"batch": batch_key(batch), "finished": done})
    return done


def _collected(merge: Merge, part: Part) -> dict[str, Any]:
    return {
        "status": BatchStatus.COLLECTED,
        "part": part,
        "tally": merge.counting.tally(),
    }
