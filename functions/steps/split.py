"""A create was refused because of its rows: reject the one that the API names, or halve the chunk until it is alone.

A refused create is free. A chunk's later attempt is not split: its rows have a result each, and keep it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
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
    """Do what a refusal of the rows asks for: reject the one at fault, or halve to find it."""
    index = 0 if batch.requests == 1 else verdict.index
    named_before = batch.named and batch.requests > 1
    if batch.attempt > 1:
        kept = {"status": BatchStatus.ENDED, "next": Step.COLLECT, "closing": Closing.KEPT}
        doors.store.advance(batch, kept)
    elif index is None or index >= batch.requests or named_before:
        halve(doors, batch)
    else:
        _reject(doors, batch, index, verdict)


def _reject(doors: Doors[SubmitSettings], batch: Batch, index: int, verdict: Refused) -> None:
    """Make a request a rejected row, with the API's own sentence; the batch goes on without it.

    If the API names another one then, the batch is halved: a chunk full of bad rows is not sent whole once for each.
    """
    entries = (
        _rejected(entry, verdict) if entry.sent and ahead == index else entry
        for ahead, entry in _counted(_entries(doors, batch))
    )
    keys, files = rewrite(doors, batch, batch.chunk, 1, entries)
    changes = {
        "requests_key": keys.requests, "ledger_key": keys.ledger, "requests": files.requests,
        "size_bytes": files.size_bytes, "named": batch.named + 1, "intent_at": None,
    }  # fmt: skip
    doors.store.advance(batch, changes | _next_step(files))


def _next_step(files: ChunkFiles) -> dict[str, str]:
    """Say what waits for a chunk that was rewritten: rejected rows alone need no sending."""
    if files.requests:
        return {"status": BatchStatus.WAITING, "next": Step.SEND}
    return {"status": BatchStatus.ENDED, "next": Step.COLLECT}


def _rejected(entry: Entry, verdict: Refused) -> Entry:
    words = verdict.message or "it gave no reason"
    message = f"line {entry.line}: refused by the API ({verdict.status}): {words}"
    return Entry(
        entry.row, entry.line, entry.at, entry.size, entry.custom_id,
        rejection=Rejection("refused", message, entry.line),
    )  # fmt: skip


def _counted(entries: Iterable[Entry]) -> Iterator[tuple[int, Entry]]:
    """Give each entry with the number of requests before it."""
    ahead = 0
    for entry in entries:
        yield ahead, entry
        ahead += entry.sent


def halve(doors: Doors[SubmitSettings], batch: Batch) -> None:
    """Put two batches in the place of one, in one transaction."""
    middle = batch.requests // 2
    first = (e for ahead, e in _counted(_entries(doors, batch)) if ahead < middle)
    second = (e for ahead, e in _counted(_entries(doors, batch)) if ahead >= middle)
    halves = [_half(doors, batch, "a", first), _half(doors, batch, "b", second)]
    doors.store.advance(batch, {"status": BatchStatus.SPLIT}, job={"chunks": 1}, puts=halves)


@dataclass
class _Passing:
    """Entries that pass, the first and the last of which are wanted afterwards."""

    entries: Iterator[Entry]
    first: Entry = field(init=False)
    last: Entry = field(init=False)

    def __iter__(self) -> Iterator[Entry]:
        self.first = self.last = next(self.entries)
        yield self.first
        for entry in self.entries:
            self.last = entry
            yield entry


def _half(
    doors: Doors[SubmitSettings], batch: Batch, letter: str, entries: Iterator[Entry]
) -> Batch:
    chunk, passing = batch.chunk + letter, _Passing(entries)
    keys, files = rewrite(doors, batch, chunk, 1, passing)
    first, last = passing.first, passing.last
    return msgspec.structs.replace(
        waiting(batch, chunk, 1, keys, files, times.text(doors.now())),
        first_row=first.row,
        last_row=last.row,
        start_byte=first.at,
        end_byte=last.at + last.size,
        line=first.line,
        parks=batch.parks,
        judged=batch.judged,
        refused_at=batch.refused_at,
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
