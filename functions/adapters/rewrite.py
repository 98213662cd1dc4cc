"""Rewrite a chunk's files: for half of a batch, for its next attempt, or without some rows."""

from collections.abc import Callable, Iterable, Iterator
from tempfile import TemporaryFile

from functions.adapters.chunk_store import store_chunk_files
from functions.adapters.s3 import ObjectStore
from functions.model import demand, ids
from functions.model.chunk_files import ChunkKeys, ChunkWriter, LedgerEntry
from functions.model.demand import Demand
from functions.model.expected_cost import known_worst_micro_usd, prices_of
from functions.model.items.batch import Batch, BatchStatus
from functions.model.items.job import Job
from functions.model.items.work_item import OPEN, SCHEMA, Step, status_key
from functions.model.request_demand import read_request

type ChangeParams = Callable[[LedgerEntry, bytes], bytes | None]


def _unchanged(_: LedgerEntry, params: bytes) -> bytes:
    return params


def rewrite(  # noqa: PLR0913, PLR0917 - all that a chunk's files are made of
    files: ObjectStore,
    job: Job,
    batch: Batch,
    chunk: str,
    attempt: int,
    entries: Iterable[LedgerEntry],
    change: ChangeParams = _unchanged,
) -> tuple[ChunkKeys, ChunkWriter, int]:
    """Write the files of a new chunk or attempt from those of this batch.

    Args:
        files: the object store.
        job: the job.
        batch: the batch whose files are read.
        chunk: the name of the new chunk.
        attempt: its attempt.
        entries: the ledger of the new files, in order. Params are those that the body has for sent rows.
        change: returns the params with which a row is sent; None to leave it out.

    Returns:
        Their keys, what was written, and what the requests may cost, in millionths of a US dollar.
    """
    demands, prices = dict[str, Demand](), prices_of(job)
    with TemporaryFile() as body, TemporaryFile() as ledger:
        written = ChunkWriter(batch.job, chunk, attempt, body, ledger)
        # In half of a split chunk, copies may get requests of their own from the other half.
        is_mixed = batch.copies > 0 and chunk != batch.chunk
        read = _with_params_in_any_order if is_mixed else _with_params
        for entry, params in read(files, batch, entries):
            changed = None if params is None else change(entry, params)
            written.put(entry, changed)
            if changed is not None:
                demands = demand.add(
                    [demands, demand.of_requests([read_request(changed, prices)])]
                )
        written.finish()
        keys = store_chunk_files(files, batch, chunk, attempt, body, ledger)
    return keys, written, known_worst_micro_usd(job, demands, job.samples)


def _with_params(
    files: ObjectStore, batch: Batch, entries: Iterable[LedgerEntry]
) -> Iterator[tuple[LedgerEntry, bytes | None]]:
    """Yield each entry with its params, in one pass over the body. The entries must be in order."""
    buffer, offset = bytearray(), 0
    blocks = files.read(files.results_object(batch.requests_key))
    for entry in entries:
        if not entry.sent:
            yield entry, None
            continue
        while offset + len(buffer) < entry.params_offset + entry.params_size:
            if entry.params_offset > offset + len(buffer):
                offset, buffer = offset + len(buffer), bytearray()
            buffer += next(blocks)
        del buffer[: entry.params_offset - offset]
        offset = entry.params_offset
        yield entry, bytes(buffer[: entry.params_size])


def _with_params_in_any_order(
    files: ObjectStore, batch: Batch, entries: Iterable[LedgerEntry]
) -> Iterator[tuple[LedgerEntry, bytes | None]]:
    """Yield each entry with its params, from a body that is first copied to the disk."""
    with TemporaryFile() as body:
        for block in files.read(files.results_object(batch.requests_key)):
            body.write(block)
        for entry in entries:
            body.seek(entry.params_offset)
            yield entry, body.read(entry.params_size) if entry.sent else None


def new_batch(
    batch: Batch,
    chunk: str,
    attempt: int,
    rewritten: tuple[ChunkKeys, ChunkWriter, int],
    now: str,
) -> Batch:
    """Build a waiting batch, for the same chunk or a part of it, from what `rewrite` returned."""
    keys, files, worst_micro_usd = rewritten
    return Batch(
        job=batch.job,
        item=ids.batch_name(chunk, attempt),
        schema=SCHEMA,
        status=BatchStatus.WAITING,
        status_key=status_key(BatchStatus.WAITING, now),
        open=OPEN,
        next_step=Step.SEND,
        chunk=chunk,
        attempt=attempt,
        first_row=batch.first_row,
        last_row=batch.last_row,
        start_byte=batch.start_byte,
        end_byte=batch.end_byte,
        requests=files.requests,
        copies=files.copies,
        cross_chunk_copies=files.cross_chunk_copies,
        size_bytes=files.size_bytes,
        requests_key=keys.requests,
        ledger_key=keys.ledger,
        betas=batch.betas,
        worst_micro_usd=worst_micro_usd,
        start=batch.start,
        priority=batch.priority,
        share=batch.share,
    )
