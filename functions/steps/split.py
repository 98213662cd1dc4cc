"""A create was refused because of its rows: halve the chunk, down to the one row that is at fault.

A refused create is free. A chunk's later attempt is not split: its rows have a result each, and keep it.
"""

from collections.abc import Iterable, Iterator, Sequence
from tempfile import TemporaryFile

import msgspec

from functions.batches import items, times, wire
from functions.batches.blocks import blocks_of
from functions.batches.doors import Doors
from functions.batches.items import Batch, BatchStatus, Closing, Step
from functions.batches.ledger import ChunkFiles, ChunkKeys, Entry, read_ledger
from functions.batches.requests import Rejection
from functions.batches.settings import Settings, SubmitSettings
from functions.batches.verdicts import Refused


def refused(doors: Doors[SubmitSettings], batch: Batch, verdict: Refused) -> None:
    """Do what a 400 or 413 asks for."""
    if batch.attempt > 1:
        kept = {"status": BatchStatus.ENDED, "next": Step.COLLECT, "closing": Closing.KEPT}
        doors.store.advance(batch, kept)
    elif batch.requests == 1:
        _reject(doors, batch, verdict)
    else:
        _halve(doors, batch)


def _reject(doors: Doors[SubmitSettings], batch: Batch, verdict: Refused) -> None:
    """Make the one row that is at fault a rejected row, with the API's own sentence."""
    ledger = [
        _rejected(entry, verdict) if entry.sent else entry for entry in _entries(doors, batch)
    ]
    key = f"work/{batch.job}/{batch.item}/{batch.owner}.refused.jsonl"
    doors.files.write(key, (msgspec.json.encode(entry) + b"\n" for entry in ledger))
    changes = {"status": BatchStatus.ENDED, "next": Step.COLLECT, "ledger_key": key, "requests": 0}
    doors.store.advance(batch, changes)


def _rejected(entry: Entry, verdict: Refused) -> Entry:
    message = f"line {entry.line}: refused by the API ({verdict.status}): {verdict.message}"
    return Entry(
        entry.row, entry.line, entry.at, entry.size, entry.custom_id,
        rejection=Rejection("refused", message, entry.line),
    )  # fmt: skip


def _halve(doors: Doors[SubmitSettings], batch: Batch) -> None:
    """Put two batches in the place of one, in one transaction."""
    entries = list(_entries(doors, batch))
    middle = _middle(entries)
    halves = [
        _half(doors, batch, batch.chunk + letter, half)
        for letter, half in (("a", entries[:middle]), ("b", entries[middle:]))
    ]
    doors.store.advance(batch, {"status": BatchStatus.SPLIT}, job={"chunks": 1}, puts=halves)


def _middle(entries: Sequence[Entry]) -> int:
    """Find the index that halves what was sent."""
    sent = [index for index, entry in enumerate(entries) if entry.sent]
    return sent[len(sent) // 2]


def _half(
    doors: Doors[SubmitSettings], batch: Batch, chunk: str, entries: Sequence[Entry]
) -> Batch:
    keys, files = rewrite(doors, batch, chunk, 1, entries)
    now = times.text(doors.now())
    last = entries[-1]
    return msgspec.structs.replace(
        waiting(batch, chunk, 1, keys, files, now),
        first_row=entries[0].row,
        last_row=last.row,
        start_byte=entries[0].at,
        end_byte=last.at + last.size,
        line=entries[0].line,
    )


def rewrite(
    doors: Doors[Settings], batch: Batch, chunk: str, attempt: int, entries: Iterable[Entry]
) -> tuple[ChunkKeys, ChunkFiles]:
    """Write the files of another chunk or attempt, from those of this batch, under this stage's own token."""
    folder = f"work/{batch.job}/{wire.batch_name(chunk, attempt)}/{batch.owner}"
    keys = ChunkKeys(f"{folder}.requests.json", f"{folder}.ledger.jsonl")
    with TemporaryFile() as body, TemporaryFile() as rows:
        files = ChunkFiles(batch.job, chunk, attempt, body, rows)
        for entry, params in _with_params(doors, batch, entries):
            files.put(entry, params)
        files.finish()
        for file, key in zip((body, rows), keys, strict=True):
            file.seek(0)
            doors.files.write(key, blocks_of(file))
    return keys, files


def _with_params(
    doors: Doors[Settings], batch: Batch, entries: Iterable[Entry]
) -> Iterator[tuple[Entry, bytes | None]]:
    """Read the params of entries, which come in order, in one pass over the body."""
    held, at = bytearray(), 0
    blocks = doors.files.read(doors.files.own(batch.requests_key))
    for entry in entries:
        if not entry.sent:
            yield entry, None
            continue
        while at + len(held) < entry.params_at + entry.params_size:
            if entry.params_at > at + len(held):
                at, held = at + len(held), bytearray()
            held += next(blocks)
        del held[: entry.params_at - at]
        at = entry.params_at
        yield entry, bytes(held[: entry.params_size])


def waiting(
    batch: Batch, chunk: str, attempt: int, keys: ChunkKeys, files: ChunkFiles, now: str
) -> Batch:
    """Make a batch that waits to be sent, for the same chunk or a part of it."""
    return Batch(
        job=batch.job,
        item=wire.batch_name(chunk, attempt),
        schema=items.SCHEMA,
        status=BatchStatus.WAITING,
        since=items.since(BatchStatus.WAITING, now),
        open=items.OPEN,
        next=Step.SEND,
        chunk=chunk,
        attempt=attempt,
        first_row=batch.first_row,
        last_row=batch.last_row,
        start_byte=batch.start_byte,
        end_byte=batch.end_byte,
        line=batch.line,
        requests=files.requests,
        size_bytes=files.size_bytes,
        requests_key=keys.requests,
        ledger_key=keys.ledger,
    )


def _entries(doors: Doors[SubmitSettings], batch: Batch) -> Iterator[Entry]:
    return read_ledger(doors.files.lines(doors.files.own(batch.ledger_key)))
