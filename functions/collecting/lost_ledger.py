"""Deliver the results of a batch whose ledger is gone.

The ledger has each row's `custom_id`, its place in the upload, and the reason why it was rejected. The answers need none
of these, because the wire id of each result names its row. They are delivered from the sixth try on, about ten hours
after the first; `batch.stuck` is announced before. S3 is strongly consistent, so the first 404 is true. The wait is for
people: a ledger that somebody restores loses nothing, and this delivery is final.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from tempfile import TemporaryFile

import msgspec
from aws_lambda_powertools import Logger

from functions.adapters.s3 import ObjectStore
from functions.collecting.download import download
from functions.collecting.merge import MergedChunk
from functions.collecting.result_set import MISSING, ResultSet
from functions.collecting.second_answers import ended_at_max_tokens, merge_type
from functions.collecting.spool import Spool
from functions.model.api_results import read_result
from functions.model.chunk_files import LedgerEntry
from functions.model.items.batch import Batch, batch_key
from functions.model.items.job import Job
from functions.model.items.stored_objects import ChunkOutput
from functions.model.items.work_item import MAX_TRIES
from functions.model.output_lines import OutputLine, read_output_lines
from functions.model.rows import Rejection
from functions.model.streams import line_blocks
from functions.services import Services
from functions.settings import ResultsSettings

REASON_LOST = Rejection(
    "reason_lost",
    "this row was not sent: it was rejected, or it is equal to another row; the reason is lost with a file that was "
    "deleted under work/",
    0,
)
_NO_ID = msgspec.Raw(b"null")
logger = Logger(child=True)


def is_lost(files: ObjectStore, batch: Batch, key: str) -> bool:
    """Return whether, after five tries, the last one failed on an object of a batch that is still gone."""
    failed_on_it = key in (batch.last_error or "")
    return batch.tries > MAX_TRIES and failed_on_it and not files.exists(key)


def deliver(
    services: Services[ResultsSettings],
    job: Job,
    batch: Batch,
    time_left_s: Callable[[], float],
) -> tuple[MergedChunk, ChunkOutput] | None:
    """Write the results of a batch without its ledger.

    Args:
        services: the services of results.
        job: the batch's job.
        batch: as it was acquired.
        time_left_s: how long this invocation may still run.

    Returns:
        The chunk's rows; None if the batch was released, to be downloaded later.
    """
    previous = batch.previous_results
    if previous is not None and not services.files.exists(previous.key):
        batch = msgspec.structs.replace(batch, previous_results=None)
    disk_bytes = services.settings.disk_bytes
    with TemporaryFile() as file, TemporaryFile() as errors:
        spool = Spool(file, batch.first_row, batch.rows, disk_bytes // 2)
        received = ResultSet(batch, [True] * batch.rows, spool, job.price_list)
        received.sent = received.missing = (
            batch.requests
        )  # which rows were sent is lost, not how many
        closing = download(services, batch, received, time_left_s)
        if closing is None:
            return None
        merge = merge_type(job)(services, batch, received, closing, errors, disk_bytes // 4)
        stem = f"work/{batch.job}/{batch.item}/{batch.owner}"
        entries = _entries(services.files, batch, received)
        merged = merge.write(f"{stem}.results.jsonl", entries, time_left_s)
        failed = merge.write_errors(f"{stem}.errors.jsonl")
    logger.error("delivered without a ledger", extra={"batch": batch_key(batch)})
    problem = _problem(batch)
    return merged, ChunkOutput(
        results=merged.results,
        errors=failed,
        retry_problem=problem,
        export_problem=problem,
        problem="; ".join(filter(None, (problem, merge.errors_problem))),
    )


def _problem(batch: Batch) -> str:
    """Build the sentence of the manifest that names what is lacking."""
    ids = (
        "their custom_id is null"
        if batch.previous_results is None
        else "their custom_id is that of the earlier attempt"
    )
    return (
        f"rows {batch.first_row:,} to {batch.last_row:,}: the ledger {batch.ledger_key} was deleted; {ids}, "
        "the reasons of rejected rows are lost, and rows that did not succeed were not resent and are not in the "
        "retry file"
    )


def _entries(files: ObjectStore, batch: Batch, received: ResultSet) -> Iterator[LedgerEntry]:
    """Build an entry for each row of the chunk from what the results say."""
    rows = range(batch.first_row, batch.last_row + 1)
    for row, earlier in zip(
        rows, _earlier(files, batch), strict=batch.previous_results is not None
    ):
        arrived = received.states[row - batch.first_row] != MISSING
        custom_id = _NO_ID if earlier is None else earlier.custom_id
        if arrived or (received.missing and _may_be_sent(batch, earlier)):
            yield LedgerEntry(row, 0, 0, 0, custom_id, params_size=1)
        else:
            rejection = REASON_LOST if earlier is None else None
            yield LedgerEntry(row, 0, 0, 0, custom_id, rejection=rejection)


def _may_be_sent(batch: Batch, earlier: OutputLine | None) -> bool:
    """Return whether a row without a result may have been sent, if results are missing."""
    if earlier is None or read_result(earlier.result).retryable:
        return True
    return batch.raised_requests > 0 and ended_at_max_tokens(bytes(earlier.result))


def _earlier(files: ObjectStore, batch: Batch) -> Iterable[OutputLine | None]:
    """Read the chunk's rows as the earlier attempt left them, in row order; None for each where there is none."""
    if batch.previous_results is None:
        return repeat(None)
    texts = line_blocks(files.read(files.results_object(batch.previous_results.key)))
    return (line for text in texts for line in read_output_lines(text))
