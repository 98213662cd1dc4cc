"""Reset batches, so that their results are collected again: Anthropic keeps them for 29 days."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from aws_lambda_powertools import Logger

from functions.adapters.table import Conditions
from functions.adapters.work_items import WorkItems
from functions.model.items.batch import Batch, BatchStatus, batch_key
from functions.model.items.work_item import Step

MAX_REFETCHES = 2
"""How often the results of one batch are fetched again. What deletes them more often would do so again."""
logger = Logger(child=True)


def can_be_refetched(batch: Batch, now: datetime) -> bool:
    """Return whether a collected batch may be collected again, because Anthropic or earlier chunks still have its results."""
    return (
        batch.status == BatchStatus.COLLECTED
        and (batch.batch_id is not None or batch.is_copying)
        and batch.close_reason is None
        and batch.refetches < MAX_REFETCHES
        and not batch.results_are_deleted(now)
    )


def refetch_batch(items: WorkItems, batch: Batch, *, finished_chunk: bool) -> None:
    """Reset a batch whose results under work/ were deleted. The arguments are those of `reset_batch`."""
    refetches = {"refetches": batch.refetches + 1}
    if reset_batch(items, batch, refetches, finished_chunk=finished_chunk):
        logger.error("deleted results are fetched again", extra={"batch": batch_key(batch)})


def reset_batch(
    items: WorkItems,
    batch: Batch,
    changes: Mapping[str, Any],
    *,
    finished_chunk: bool = True,
    job_expected: Conditions | None = None,
) -> bool:
    """Reset a batch, so that it is collected again.

    Args:
        items: the store of batches.
        batch: the batch as it was read.
        changes: further changes.
        finished_chunk: whether its job counts the rows of this batch. If not, a later attempt of the chunk does, and
            until this one is collected, it counts as one more chunk.
        job_expected: conditions on its job.

    Returns:
        False, without any change, if the batch has changed meanwhile, or a condition fails.
    """
    again = {
        "status": BatchStatus.ENDED,
        "next_step": Step.COLLECT,
        "part": None,
        "tally": None,
        "expires": None,
    }
    counted = {} if batch.tally is None else batch.tally.job_increments
    uncounted = {name: -count for name, count in counted.items()}
    return items.transition(
        batch,
        {**again, **changes},
        expected={"status": batch.status, "status_key": batch.status_key},
        job_increments={"chunks_finished": -1, **uncounted} if finished_chunk else {"chunks": 1},
        job_expected=job_expected,
    )
