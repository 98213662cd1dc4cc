"""Handle creates that the API refuses because of a row: reject the row that it names, or halve the chunk.

A refused create is free. A later attempt is never split: each of its rows keeps the result of the earlier attempt.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from functions.adapters.rewrite import new_batch, rewrite
from functions.adapters.s3 import ObjectStore
from functions.errors import RelayError
from functions.model import timestamps
from functions.model.chunk_files import ChunkWriter, LedgerEntry, read_ledger
from functions.model.create_response import Refused
from functions.model.items.batch import Batch, BatchStatus, CloseReason
from functions.model.items.job import Job
from functions.model.items.work_item import Step
from functions.model.rows import Rejection
from functions.sending.copies import with_own_requests
from functions.services import Services
from functions.settings import SubmitSettings


def handle_refusal(services: Services[SubmitSettings], batch: Batch, verdict: Refused) -> None:
    """Reject the invalid row if it is known, otherwise halve the batch. Close a later attempt."""
    index = 0 if batch.requests == 1 else verdict.index
    named_before = batch.named_refusals and batch.requests > 1
    if batch.attempt > 1:
        changes = {
            "status": BatchStatus.ENDED,
            "next_step": Step.COLLECT,
            "close_reason": CloseReason.KEPT,
        }
        services.items.transition(batch, changes)
    elif index is None or index >= batch.requests or named_before:
        halve(services, batch)
    else:
        _reject_row(services, batch, index, verdict)


def _reject_row(
    services: Services[SubmitSettings], batch: Batch, index: int, verdict: Refused
) -> None:
    """Reject the row of a request with the API's message, and rewrite the batch without it.

    If the API then names another row, the batch is halved. That bounds the creates for a chunk of invalid rows.

    Args:
        services: the services of submit.
        batch: the refused batch.
        index: the request that the API names, from 0.
        verdict: the refusal.
    """
    entries = _without_request(_entries(services.files, batch), index, verdict)
    job = _job_of(services, batch)
    keys, files, worst = rewrite(services.files, job, batch, batch.chunk, 1, entries)
    changes = {
        "requests_key": keys.requests, "ledger_key": keys.ledger, "requests": files.requests, "worst_micro_usd": worst,
        "copies": files.copies, "size_bytes": files.size_bytes, "named_refusals": batch.named_refusals + 1, "intent_at": None,
    }  # fmt: skip
    services.items.transition(batch, changes | _state_after_rewrite(files))


def _job_of(services: Services[SubmitSettings], batch: Batch) -> Job:
    job = services.items.job(batch.job)
    if job is None:
        message = f"{batch.job} was deleted while a batch of it was sent"
        raise RelayError(message)
    return job


def _state_after_rewrite(files: ChunkWriter) -> dict[str, str]:
    """Return the status and next step of a rewritten batch. Rejected rows alone need no sending."""
    if files.requests:
        return {"status": BatchStatus.WAITING, "next_step": Step.SEND}
    return {"status": BatchStatus.ENDED, "next_step": Step.COLLECT}


def _without_request(
    entries: Iterable[LedgerEntry], index: int, verdict: Refused
) -> Iterator[LedgerEntry]:
    """Reject the row of a request, and all rows that share it."""
    rejected_row, position = None, 0
    for entry in entries:
        if entry.sent and position == index:
            rejected_row = entry.row
        position += entry.sent
        yield _rejected(entry, verdict) if entry.request_row == rejected_row else entry


def _rejected(entry: LedgerEntry, verdict: Refused) -> LedgerEntry:
    reason = verdict.message or "no reason given"
    message = f"line {entry.line}: refused by the API ({verdict.status}): {reason}"
    return LedgerEntry(
        entry.row, entry.line, entry.offset, entry.size, entry.custom_id,
        rejection=Rejection("refused", message, entry.line),
    )  # fmt: skip


def _enumerate_asked(entries: Iterable[LedgerEntry]) -> Iterator[tuple[int, LedgerEntry]]:
    """Yield each entry with the number of rows before it that a request answers."""
    position = 0
    for entry in entries:
        yield position, entry
        position += entry.is_asked


def halve(services: Services[SubmitSettings], batch: Batch) -> None:
    """Replace a batch with two, each with half of the rows that a request answers, in one transaction."""
    job, now = _job_of(services, batch), timestamps.text(services.now())
    middle = (batch.requests + batch.copies) // 2
    # Two passes over the ledger, so that no half is kept in memory.
    first_pass = _enumerate_asked(_entries(services.files, batch))
    second_pass = _enumerate_asked(_entries(services.files, batch))
    first = (entry for position, entry in first_pass if position < middle)
    second: Iterator[LedgerEntry]
    second = (entry for position, entry in second_pass if position >= middle)
    if batch.copies:
        second = with_own_requests(second, _entries(services.files, batch), batch)
    halves = [
        _write_half(services.files, job, batch, letter, entries, now)
        for letter, entries in (("a", first), ("b", second))
    ]
    services.items.transition(
        batch, {"status": BatchStatus.SPLIT}, job_increments={"chunks": 1}, puts=halves
    )


@dataclass
class _EndsRecorder:
    """Passes entries through and records the first and the last one."""

    entries: Iterator[LedgerEntry]
    first: LedgerEntry = field(init=False)
    last: LedgerEntry = field(init=False)

    def __iter__(self) -> Iterator[LedgerEntry]:
        self.first = self.last = next(self.entries)
        yield self.first
        for entry in self.entries:
            self.last = entry
            yield entry


def _write_half(
    files: ObjectStore,
    job: Job,
    batch: Batch,
    letter: str,
    entries: Iterator[LedgerEntry],
    now: str,
) -> Batch:
    """Write the files of a half and build its batch. Its chunk is named with the letter ``a`` or ``b``."""
    chunk, recorder = batch.chunk + letter, _EndsRecorder(entries)
    rewritten = rewrite(files, job, batch, chunk, 1, recorder)
    first, last = recorder.first, recorder.last
    return msgspec.structs.replace(
        new_batch(batch, chunk, 1, rewritten, now),
        first_row=first.row,
        last_row=last.row,
        start_byte=first.offset,
        end_byte=last.offset + last.size,
        pauses_caused=batch.pauses_caused,
        accepted_between=batch.accepted_between,
        refused_at=batch.refused_at,
    )


def _entries(files: ObjectStore, batch: Batch) -> Iterator[LedgerEntry]:
    return read_ledger(files.lines(files.results_object(batch.ledger_key)))
