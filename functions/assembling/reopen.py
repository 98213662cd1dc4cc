"""Open a job again on request: to join its results again, or to download what Anthropic still has.

The command line invokes results for this. A job is opened only if no delivered result can get lost. Those of each chunk
must still be under ``work/``, or at Anthropic with all that they are merged with under ``work/``.
"""

import re
from collections.abc import Sequence
from contextlib import closing

from aws_lambda_powertools import Logger

from functions.adapters.anthropic_api import Claude
from functions.adapters.batch_reset import can_be_refetched, reset_batch
from functions.assembling.assemble import attempts_by_chunk
from functions.assembling.refetch import refetchable
from functions.assembling.salvage import deleted_files
from functions.errors import (
    ApiKeyRejectedError,
    ApiNotFoundError,
    ApiUnavailableError,
    DownloadError,
    KeyMissingError,
    NewerSchemaError,
)
from functions.model import timestamps
from functions.model.items.batch import Batch, BatchStatus, CloseReason, batch_key
from functions.model.items.counts import OutcomeCounts
from functions.model.items.job import Job, JobStatus
from functions.model.items.work_item import SCHEMA
from functions.model.lost_rows import lost_rows
from functions.model.nouns import count_of
from functions.services import Services
from functions.settings import ResultsSettings

REASSEMBLE, RECOLLECT = "reassemble", "recollect"
_UNFETCHED = frozenset({CloseReason.GONE, CloseReason.STUCK})
"""Reasons for closing a batch before its results were downloaded. Anthropic may still have them."""
_NEVER_RUN = frozenset({"replaced", "duplicate"})
"""Outcomes of jobs that end before they are planned."""
_OF_ASSEMBLING = re.compile(
    r"none of the [\d,]+ rows succeeded: |the results could not be assembled |canceled after all rows were done"
)
"""The beginnings of failures of assembling. Earlier versions stored them in place of the failure of planning."""
_BUSY = "a stage works on it now; try again in a quarter of an hour"
TIDY_AFTER_S = 960.0
"""Seconds after which tidy continues if this invocation died: no invocation lives longer than 15 minutes."""
_REOPENING = ""
"""The value of `tidied` while a request reopens a job. If the request dies, tidy starts again from the first key."""
logger = Logger(child=True)


def reopen(services: Services[ResultsSettings], verb: str, job_id: str) -> dict[str, object]:
    """Reopen a job, so that it is assembled again; for ``recollect``, its results are collected again first.

    Batches are opened first, each with the count of its chunk, then the job. After a crash in between, repeating the
    request opens the job, and otherwise tidy does.

    Args:
        services: the services of results.
        verb: ``reassemble`` or ``recollect``.
        job_id: the job.

    Returns:
        ``accepted``: whether anything was opened; ``message``: a sentence.
    """
    job = services.items.job(job_id)
    if job is None:
        return _refused(f"there is no job {job_id} in the table any more")
    if refusal := _refusal(services, job):
        return _refused(refusal)
    try:
        return _reopen(services, verb, job)
    except NewerSchemaError as error:
        return _refused(str(error))
    except (ApiUnavailableError, ApiKeyRejectedError, KeyMissingError, DownloadError) as error:
        return _refused(f"the results cannot be downloaded now ({error}); try again later")


def _reopen(services: Services[ResultsSettings], verb: str, job: Job) -> dict[str, object]:
    batches = services.items.batches(job.job)
    chunks = attempts_by_chunk(batches)
    last = [attempts[-1] for attempts in chunks]
    deleted = deleted_files(services.files, job, batches)
    sent = [[b for b in attempts if not b.is_copying] for attempts in chunks]
    fetched = [
        attempts[-1]
        for attempts in sent
        if verb == RECOLLECT and _is_fetchable(services, attempts, deleted)
    ]
    # The results that they copied may be replaced now.
    copying = [
        b for b in batches if fetched and b.is_copying and b.status == BatchStatus.COLLECTED
    ]
    if refusal := _loss(services, job, chunks, deleted, [*fetched, *copying]):
        return _refused(refusal)
    opens_job = verb == REASSEMBLE or _was_killed(job, batches)
    if job.status == JobStatus.DONE and (opens_job or fetched):
        kept = _keep_work_files(services, job)
        if kept is None:
            return _refused(_BUSY)
        job = kept
    # Open those that copy first, so that a request that dies in between can be repeated.
    _open_batches(services, job, copying, last)
    opened = _open_batches(services, job, fetched, last)
    moved = _clear_delay(services, [b for b in batches if b.status == BatchStatus.ENDED])
    if opens_job or opened:
        moved |= _open_job(services, job)
    if not moved and not opened:
        return _refused(_BUSY if fetched else _nothing_to_do(job, verb))
    logger.info("job reopened", extra={"job": job.job, "request": verb, "batches": opened})
    return {"accepted": True, "batches": opened, "message": _opened(opened)}


def finish_reopening(services: Services[ResultsSettings], job: Job) -> bool:
    """Open the job of batches that a killed request has opened. Return False if there was no such request.

    Args:
        services: the services of results.
        job: a job that waits to be tidied; this invocation owns it.
    """
    was_killed = job.tidied == _REOPENING and _was_killed(job, services.items.batches(job.job))
    return was_killed and _open_job(services, job)


def _was_killed(job: Job, batches: Sequence[Batch]) -> bool:
    """Return whether an earlier request was killed after it opened batches, before it opened their job."""
    return job.status == JobStatus.DONE and any(
        batch.status == BatchStatus.ENDED or batch.status_since > job.status_since
        for batch in batches
    )


def _refusal(services: Services[ResultsSettings], job: Job) -> str | None:
    """Return why a job cannot be opened in its current state."""
    if job.schema > SCHEMA:
        return str(NewerSchemaError())
    if job.status == JobStatus.PLANNING or job.outcome in _NEVER_RUN:
        return "no batch of it was collected yet"
    if job.is_leased(services.now()):
        return _BUSY
    return None


def _loss(
    services: Services[ResultsSettings],
    job: Job,
    chunks: Sequence[Sequence[Batch]],
    deleted: set[str],
    fetched: Sequence[Batch],
) -> str | None:
    """Return which rows would lose the results that were delivered."""
    lost = _lost(services, chunks, deleted, fetched) if job.status == JobStatus.DONE else None
    if lost is None:
        return None
    return (
        f"rows {lost.first_row:,} to {lost.last_row:,} cannot be joined again as they were delivered: some of their "
        "files under work/ are deleted, and Anthropic does not have all of the contents; the results in S3 stay as they are"
    )


def _keep_work_files(services: Services[ResultsSettings], job: Job) -> Job | None:
    """Remove the tags by which the bucket's lifecycle would delete work files while the job is open.

    No stage acquires the job for `TIDY_AFTER_S`. If this invocation dies before the job is open, tidy then opens it if
    batches were opened, and otherwise tags the files again. If an earlier request died, the time of the job's status is
    kept, because batches that were opened are recognized by it.

    Returns:
        The job, which waits to be tidied; None if a stage works on it now.
    """
    is_begun = job.open is not None and job.next_step is not None and job.tidied == _REOPENING
    changes = {"tidied": _REOPENING, "not_before": timestamps.after(services.now(), TIDY_AFTER_S)}
    changes |= {} if is_begun else {"status": JobStatus.DONE}
    expected = {"status_key": job.status_key, "owner": job.owner}
    if not services.items.transition(job, changes, expected=expected):
        return None
    services.files.tag_done(services.files.list_keys(f"work/{job.job}/"), done=False)
    return services.items.job(job.job)


def _refused(message: str) -> dict[str, object]:
    return {"accepted": False, "batches": 0, "message": message}


def _opened(batches: int) -> str:
    if not batches:
        return "it continues at the next poll, within a minute"
    return f"the results of {count_of(batches, 'batch')} are downloaded again, and then all are joined"


def _nothing_to_do(job: Job, verb: str) -> str:
    if verb == RECOLLECT:
        return "no batch lacks results that Anthropic still has"
    return f"it is {job.status.lower()} and continues automatically"


def _is_fetchable(
    services: Services[ResultsSettings], attempts: Sequence[Batch], deleted: set[str]
) -> bool:
    """Return whether the last batch of a chunk lacks results that Anthropic still has."""
    *earlier, batch = attempts
    at_anthropic = batch.batch_id is not None and not batch.results_are_deleted(services.now())
    counted = (earlier[-1].tally if earlier else None) or OutcomeCounts()
    lacks_results = batch.status == BatchStatus.STUCK or (
        batch.status == BatchStatus.COLLECTED
        and (
            batch.close_reason in _UNFETCHED
            or lost_rows(batch, counted) > 0
            or _is_deleted(batch, deleted)
        )
    )
    return at_anthropic and lacks_results and _has_results(services.claude, batch)


def _has_results(claude: Claude, batch: Batch) -> bool:
    """Return whether Anthropic sends the results of a batch now, before what was delivered of them is replaced."""
    claude.reload_key_if_stale()
    try:
        with closing(claude.results(batch.batch_id or "")) as blocks:
            next(blocks, None)
    except ApiNotFoundError:
        return False
    return True


def _is_deleted(batch: Batch, deleted: set[str]) -> bool:
    return batch.part is not None and batch.part.results.key in deleted


def _lost(
    services: Services[ResultsSettings],
    chunks: Sequence[Sequence[Batch]],
    deleted: set[str],
    fetched: Sequence[Batch],
) -> Batch | None:
    """Return a batch whose delivered results cannot be restored."""
    for attempts in chunks:
        number = max(
            (n for n, batch in enumerate(attempts) if batch.part is not None), default=None
        )
        if number is None:
            continue
        delivered = attempts[number]
        is_incomplete = bool(_files_of(delivered) & deleted)
        is_fetched = delivered in fetched or (
            is_incomplete and refetchable(services, attempts, deleted) is delivered
        )
        if not is_fetched and is_incomplete:
            return delivered
        if is_fetched and not _can_be_merged(services, attempts[: number + 1], deleted):
            return delivered
    return None


def _files_of(batch: Batch) -> set[str]:
    part = batch.part
    return set() if part is None else {stored.key for stored in part.objects}


def _can_be_merged(
    services: Services[ResultsSettings], attempts: Sequence[Batch], deleted: set[str]
) -> bool:
    """Return whether all that collecting the last attempt needs is under ``work/``, or at Anthropic, or can be copied.

    It needs the rows' ids, and the results of the attempt before.
    """
    *earlier, batch = attempts
    if batch.ledger_key in deleted:
        return False
    previous = batch.previous_results
    if previous is None or previous.key not in deleted:
        return True
    return (
        bool(earlier)
        and can_be_refetched(earlier[-1], services.now())
        and (earlier[-1].is_copying or _has_results(services.claude, earlier[-1]))
        and _can_be_merged(services, earlier, deleted)
    )


def _open_batches(
    services: Services[ResultsSettings], job: Job, batches: Sequence[Batch], last: Sequence[Batch]
) -> int:
    """Reset batches to be collected again. Return how many have not changed meanwhile.

    Args:
        services: the services of results.
        job: their job.
        batches: the batches.
        last: the last attempt of each chunk, whose rows the job counts.
    """
    return sum([_open_batch(services, job, batch, is_last=batch in last) for batch in batches])


def _open_batch(
    services: Services[ResultsSettings], job: Job, batch: Batch, *, is_last: bool
) -> bool:
    """Reset a batch to be collected again. Return False if it or its job, which may be assembled now, has changed."""
    forgotten = (
        *("close_reason", "not_found", "not_found_since", "not_found_key", "pieces"),
        *("incomplete_downloads", "first_download_at", "convenience_tries"),
    )
    changes = {**dict.fromkeys(forgotten), "refetches": batch.refetches + (not is_last)}
    unchanged = {"status_key": job.status_key, "owner": job.owner}
    opened = reset_batch(
        services.items, batch, changes, finished_chunk=is_last, job_expected=unchanged
    )
    if opened:
        logger.warning("results are fetched again on request", extra={"batch": batch_key(batch)})
    return opened


def _open_job(services: Services[ResultsSettings], job: Job) -> bool:
    """Reset a job to be assembled again once its batches are collected. Return False if that will happen anyway."""
    if job.status != JobStatus.DONE:
        return job.status == JobStatus.ASSEMBLING and _clear_delay(services, [job])
    changes = {
        "status": JobStatus.RUNNING, "next_step": None, "ended_at": None, "outcome": None, "failure": _failure_before(job),
        "tidied": None, "expires": None, "deadline_at": None, "convenience_tries": None,
        "first_ended_at": job.first_ended_at or job.ended_at, "reopened": job.reopened + 1,
    }  # fmt: skip
    expected = {"status_key": job.status_key, "owner": job.owner}
    return services.items.transition(job, changes, expected=expected)


def _failure_before(job: Job) -> str | None:
    """Return the failure that was known before the job was assembled."""
    if job.planning_failure is not None:
        return job.planning_failure or None
    failure = (job.failure or "").removeprefix(job.cancel_reason or "").removeprefix("; ")
    return None if not failure or _OF_ASSEMBLING.match(failure) else failure


def _clear_delay(services: Services[ResultsSettings], waiting: Sequence[Job | Batch]) -> bool:
    """Remove the delay of items that wait after a failure. Return whether there were any."""
    now = services.now()
    delayed = [item for item in waiting if item.not_before is not None and not item.is_leased(now)]
    woken = [services.items.update_if_unchanged(item, {"not_before": None}) for item in delayed]
    return any(woken)
