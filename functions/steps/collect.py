"""A batch has ended: put its results in row order, exactly one for each row sent; what is worth it goes again."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import repeat
from tempfile import TemporaryFile
from typing import IO, Any

import msgspec
from aws_lambda_powertools import Logger

from functions.batches import times
from functions.batches.doors import Doors
from functions.batches.errors import GoneError
from functions.batches.files import blocks_of
from functions.batches.items import (
    KEEPING,
    Batch,
    BatchStatus,
    Closing,
    Job,
    Part,
    Piece,
    batch_key,
)
from functions.batches.ledger import Entry, read_ledger
from functions.batches.outcomes import (
    Counting,
    closing_result,
    output_line,
    read_result,
    rejected_result,
)
from functions.batches.settings import ResultsSettings
from functions.batches.spool import Spool
from functions.steps import slices
from functions.steps.fetch import fetch
from functions.steps.split import rewrite, waiting

logger = Logger(child=True)


class BaseLine(msgspec.Struct):
    """A line of an earlier attempt's part."""

    row: int
    result: msgspec.Raw


_base = msgspec.json.Decoder(BaseLine)


@dataclass
class _Merge:
    """What is learned while a chunk's rows pass, in order."""

    counting: Counting = field(default_factory=Counting)
    again: set[int] = field(default_factory=set)
    failed: list[Entry] = field(default_factory=list)


def collect(doors: Doors[ResultsSettings], batch: Batch) -> bool:
    """Collect a batch that this stage owns.

    Returns:
        True if the batch is collected; False if it waits, or somebody else has it.
    """
    job = doors.store.job(batch.job)
    if job is None:
        return False
    entries = list(read_ledger(doors.files.lines(doors.files.own(batch.ledger_key))))
    with TemporaryFile() as file, TemporaryFile() as errors:
        spool = Spool(file, batch.first_row, batch.rows)
        ready = fetch(doors, batch, entries, spool)
        if ready is None:
            return False
        file.flush()
        merge = _Merge()
        rows = _merged(doors, batch, entries, spool, ready)
        stem = f"work/{batch.job}/{batch.item}/{batch.owner}"
        results = doors.files.write(f"{stem}.results.jsonl", _passing(rows, merge, errors))
        more = ready not in KEEPING and batch.attempt < job.attempts and job.canceled_at is None
        if merge.again and more:
            return _go_again(doors, batch, entries, merge, results)
        part = _leave(doors, job, stem, results, merge, errors)
    return _finish(doors, batch, merge, part)


def _merged(
    doors: Doors[ResultsSettings],
    batch: Batch,
    entries: list[Entry],
    spool: Spool,
    closing: Closing,
) -> Iterator[tuple[Entry, bytes]]:
    """Give each row of the chunk with the result it has now: new, rejected, or an earlier attempt's."""
    keep = batch.attempt > 1 and closing in KEEPING
    closed = closing_result(closing) if closing in _SENTENCED and not keep else None
    for entry, before in zip(entries, _before(doors, batch.base), strict=batch.base is not None):
        if entry.rejection is not None:
            yield entry, rejected_result(entry.rejection)
        elif entry.sent and (new := spool.get(entry.row) or closed) is not None:
            yield entry, new
        else:
            yield entry, before


_SENTENCED = frozenset({Closing.CANCELED, Closing.GONE, Closing.MISSING, Closing.STUCK})


def _before(doors: Doors[ResultsSettings], base: Piece | None) -> Iterable[bytes]:
    """Give the results of the chunk's earlier attempts, in row order; nothing where there were none."""
    if base is None:
        return repeat(b"null")
    return (
        bytes(_base.decode(line).result) for line in doors.files.lines(doors.files.own(base.key))
    )


def _passing(
    rows: Iterable[tuple[Entry, bytes]], merge: _Merge, errors: IO[bytes]
) -> Iterator[bytes]:
    """Write each row as a line, and note what is to be known of it."""
    for entry, result in rows:
        outcome = read_result(result)
        merge.counting.add(outcome)
        line = output_line(entry.row, entry.custom_id, result)
        if outcome.type != "succeeded":
            errors.write(line)
            merge.failed.append(entry)
            if entry.sent and outcome.retriable:
                merge.again.add(entry.row)
        yield line


def _go_again(
    doors: Doors[ResultsSettings],
    batch: Batch,
    entries: list[Entry],
    merge: _Merge,
    results: Piece,
) -> bool:
    """Make the rows that are worth it the chunk's next attempt."""
    chosen = (entry if entry.row in merge.again else unsent(entry) for entry in entries)
    attempt = batch.attempt + 1
    keys, files = rewrite(doors, batch, batch.chunk, attempt, chosen)
    following = waiting(batch, batch.chunk, attempt, keys, files, times.text(doors.now()))
    following = msgspec.structs.replace(following, base=results)
    changes = _collected(merge, Part(results=results))
    done = doors.store.advance(batch, changes, puts=[following])
    logger.info("collected", extra={"batch": batch_key(batch), "again": len(merge.again)})
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
    merge: _Merge,
    errors: IO[bytes],
) -> Part:
    """Leave what did not succeed: as lines of results, and as lines of the upload."""
    errors.seek(0)
    failed = doors.files.write(f"{stem}.errors.jsonl", blocks_of(errors))
    try:
        rows = slices.of_upload(doors, job, merge.failed)
        retry = doors.files.write(f"{stem}.retry.jsonl", rows)
    except GoneError:  # the user has removed it: no reason to keep answers back
        logger.warning("no retry.jsonl: the upload is gone", extra={"job": job.job})
        retry = None
    return Part(results=results, errors=failed, retry=retry)


def _finish(doors: Doors[ResultsSettings], batch: Batch, merge: _Merge, part: Part) -> bool:
    """Note that the chunk is finished."""
    done = doors.store.advance(batch, _collected(merge, part), job={"finished": 1})
    logger.info("collected", extra={"batch": batch_key(batch), "finished": done})
    return done


def _collected(merge: _Merge, part: Part) -> dict[str, Any]:
    return {
        "status": BatchStatus.COLLECTED,
        "part": part,
        "tally": merge.counting.tally(),
    }
