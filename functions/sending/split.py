"""A create was refused because of its rows: reject the one that the API names, or halve the chunk until it is alone.

A refused create is free. A chunk's later attempt is not split: its rows have a result each, and keep it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from functions.adapters.rewrite import new_batch, rewrite
from functions.adapters.s3 import ObjectStore
from functions.model import timestamps
from functions.model.chunk_files import ChunkFiles, LedgerEntry, read_ledger
from functions.model.create_response import Refused
from functions.model.items import Batch, BatchStatus, CloseReason, Step
from functions.model.rows import Rejection
from functions.services import Services
from functions.settings import SubmitSettings


def refused(services: Services[SubmitSettings], batch: Batch, verdict: Refused) -> None:
    """Do what a refusal of the rows asks for: reject the one at fault, or halve to find it."""
    index = 0 if batch.requests == 1 else verdict.index
    named_before = batch.named and batch.requests > 1
    if batch.attempt > 1:
        kept = {
            "status": BatchStatus.ENDED,
            "next_step": Step.COLLECT,
            "close_reason": CloseReason.KEPT,
        }
        services.items.transition(batch, kept)
    elif index is None or index >= batch.requests or named_before:
        halve(services, batch)
    else:
        _reject(services, batch, index, verdict)


def _reject(
    services: Services[SubmitSettings], batch: Batch, index: int, verdict: Refused
) -> None:
    """Make a request a rejected row, with the API's own sentence; the batch goes on without it.

    If the API names another one then, the batch is halved: a chunk full of bad rows is not sent whole once for each.
    """
    entries = (
        _rejected(entry, verdict) if entry.sent and ahead == index else entry
        for ahead, entry in _counted(_entries(services.files, batch))
    )
    keys, files = rewrite(services.files, batch, batch.chunk, 1, entries)
    changes = {
        "requests_key": keys.requests, "ledger_key": keys.ledger, "requests": files.requests,
        "size_bytes": files.size_bytes, "named": batch.named + 1, "intent_at": None,
    }  # fmt: skip
    services.items.transition(batch, changes | _next_step(files))


def _next_step(files: ChunkFiles) -> dict[str, str]:
    """Say what waits for a chunk that was rewritten: rejected rows alone need no sending."""
    if files.requests:
        return {"status": BatchStatus.WAITING, "next_step": Step.SEND}
    return {"status": BatchStatus.ENDED, "next_step": Step.COLLECT}


def _rejected(entry: LedgerEntry, verdict: Refused) -> LedgerEntry:
    words = verdict.message or "it gave no reason"
    message = f"line {entry.line}: refused by the API ({verdict.status}): {words}"
    return LedgerEntry(
        entry.row, entry.line, entry.offset, entry.size, entry.custom_id,
        rejection=Rejection("refused", message, entry.line),
    )  # fmt: skip


def _counted(entries: Iterable[LedgerEntry]) -> Iterator[tuple[int, LedgerEntry]]:
    """Give each entry with the number of requests before it."""
    ahead = 0
    for entry in entries:
        yield ahead, entry
        ahead += entry.sent


def halve(services: Services[SubmitSettings], batch: Batch) -> None:
    """Put two batches in the place of one, in one transaction."""
    middle, now = batch.requests // 2, timestamps.text(services.now())
    first = (e for ahead, e in _counted(_entries(services.files, batch)) if ahead < middle)
    second = (e for ahead, e in _counted(_entries(services.files, batch)) if ahead >= middle)
    halves = [
        _half(services.files, batch, letter, entries, now)
        for letter, entries in (("a", first), ("b", second))
    ]
    services.items.transition(
        batch, {"status": BatchStatus.SPLIT}, job_increments={"chunks": 1}, puts=halves
    )


@dataclass
class _Passing:
    """Entries that pass, the first and the last of which are wanted afterwards."""

    entries: Iterator[LedgerEntry]
    first: LedgerEntry = field(init=False)
    last: LedgerEntry = field(init=False)

    def __iter__(self) -> Iterator[LedgerEntry]:
        self.first = self.last = next(self.entries)
        yield self.first
        for entry in self.entries:
            self.last = entry
            yield entry


def _half(
    files: ObjectStore, batch: Batch, letter: str, entries: Iterator[LedgerEntry], now: str
) -> Batch:
    chunk, passing = batch.chunk + letter, _Passing(entries)
    keys, written = rewrite(files, batch, chunk, 1, passing)
    first, last = passing.first, passing.last
    return msgspec.structs.replace(
        new_batch(batch, chunk, 1, keys, written, now),
        first_row=first.row,
        last_row=last.row,
        start_byte=first.offset,
        end_byte=last.offset + last.size,
        pauses_caused=batch.pauses_caused,
        judged=batch.judged,
        refused_at=batch.refused_at,
    )


def _entries(files: ObjectStore, batch: Batch) -> Iterator[LedgerEntry]:
    return read_ledger(files.lines(files.results_object(batch.ledger_key)))
