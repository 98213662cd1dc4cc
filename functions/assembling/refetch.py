"""Find the batches of a job whose results under work/ were deleted, and have them fetched again."""

from collections.abc import Iterable, Sequence

from functions.adapters.batch_reset import can_be_refetched, refetch_batch
from functions.model.items.batch import Batch, BatchStatus
from functions.model.items.job import Job, JobStatus
from functions.services import Services
from functions.settings import ResultsSettings


def refetch(
    services: Services[ResultsSettings],
    job: Job,
    chunks: Iterable[Sequence[Batch]],
    deleted: set[str],
) -> bool:
    """Reset batches whose results were deleted, so that they are collected again before the job is assembled.

    Args:
        services: the services of results.
        job: a job that is being assembled and is owned by this invocation.
        chunks: the batches of each chunk, by attempt.
        deleted: the keys of files that no longer exist.

    Returns:
        True if a batch is collected again, by this call or by an earlier one that was killed.
    """
    unfinished = False
    for attempts in chunks:
        batch = refetchable(services, attempts, deleted)
        if batch is not None:
            refetch_batch(services.items, batch, finished_chunk=batch is attempts[-1])
        unfinished |= batch is not None or any(b.status == BatchStatus.ENDED for b in attempts)
    if unfinished:
        services.items.transition(job, {"status": JobStatus.RUNNING, "ended_at": None})
    return unfinished


def refetchable(
    services: Services[ResultsSettings], attempts: Sequence[Batch], deleted: set[str]
) -> Batch | None:
    """Return the last batch of a chunk that has results, if collecting it again restores what was deleted of them.

    It is merged with the results of the attempt before, which are then fetched again, too, if they were deleted.
    """
    missing = list[Batch]()
    for batch in reversed(attempts):
        if batch.part is not None and batch.part.results.key not in deleted:
            break
        if batch.part is not None:
            missing.append(batch)
    now = services.now()
    return missing[0] if any(can_be_refetched(batch, now) for batch in missing) else None
