"""Fetch results again whose part was deleted: Anthropic keeps them for 29 days."""

from collections.abc import Iterable, Mapping
from typing import Any

from aws_lambda_powertools import Logger

from functions.adapters.work_items import WorkItems
from functions.model.items.batch import Batch, BatchStatus, batch_key
from functions.model.items.job import Job, JobStatus
from functions.model.items.work_item import Step
from functions.services import Services
from functions.settings import ResultsSettings

MAX_REFETCHES = 2
"""How often the results of one batch are fetched again. More deletions than that have a cause that goes on."""
logger = Logger(child=True)


def refetch(
    services: Services[ResultsSettings], job: Job, batches: Iterable[Batch], deleted: set[str]
) -> bool:
    """Have batches collected again whose results were deleted, and the job assembled after that.

    Args:
        services: those of results.
        job: a job that is being assembled and is owned by this invocation.
        batches: the last batch of each chunk.
        deleted: the keys of files that do not exist any more.

    Returns:
        True if a batch is collected again, by this call or by an earlier one that was killed.
    """
    unfinished = False
    for batch in batches:
        if can_be_refetched(services, batch, deleted):
            if collect_again(services.items, batch, {"refetches": batch.refetches + 1}):
                logger.error(
                    "deleted results are fetched again", extra={"batch": batch_key(batch)}
                )
            unfinished = True
        unfinished |= batch.status == BatchStatus.ENDED
    if unfinished:
        services.items.transition(job, {"status": JobStatus.RUNNING, "ended_at": None})
    return unfinished


def can_be_refetched(services: Services[ResultsSettings], batch: Batch, deleted: set[str]) -> bool:
    """Return whether the results of a batch were deleted and Anthropic still has them."""
    return (
        batch.status == BatchStatus.COLLECTED
        and batch.part is not None
        and batch.part.results.key in deleted
        and batch.batch_id is not None
        and batch.close_reason is None
        and batch.refetches < MAX_REFETCHES
        and not batch.results_are_deleted(services.now())
    )


def collect_again(items: WorkItems, batch: Batch, changes: Mapping[str, Any]) -> bool:
    """Have a batch collected again, with further changes. Return False if it has changed meanwhile."""
    again = {
        "status": BatchStatus.ENDED,
        "next_step": Step.COLLECT,
        "part": None,
        "tally": None,
        "expires": None,
    }
    counted = {} if batch.tally is None else batch.tally.job_increments
    return items.transition(
        batch,
        {**again, **changes},
        expected={"status": batch.status, "status_key": batch.status_key},
        job_increments={"chunks_finished": -1} | {name: -count for name, count in counted.items()},
    )
