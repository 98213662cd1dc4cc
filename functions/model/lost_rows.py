"""Rows that may have been billed although their results were never received."""

from collections import Counter

from functions.model.api_results import RETRYABLE_ERRORS
from functions.model.items.batch import Batch, BatchStatus, CloseReason
from functions.model.items.counts import OutcomeCounts


def lost_rows(batch: Batch, earlier: OutcomeCounts) -> int:
    """Return how many such rows a batch has.

    Args:
        batch: the batch, with the counts of its chunk.
        earlier: the counts of the chunk after the attempt before.
    """
    if batch.tally is None:
        return batch.requests if batch.status == BatchStatus.STUCK and batch.batch_id else 0
    errors = Counter(batch.tally.errors) - Counter(earlier.errors)
    never_received = (CloseReason.GONE, CloseReason.MISSING, CloseReason.UNREADABLE)
    lost = sum(errors[reason] for reason in never_received)
    if batch.close_reason == CloseReason.STUCK and batch.batch_id:
        lost += errors[CloseReason.STUCK] + (_kept_rows(batch.tally) if batch.attempt > 1 else 0)
    return min(lost, batch.requests)  # copies are not billed


def _kept_rows(tally: OutcomeCounts) -> int:
    """Return how many rows may have kept the result of an earlier attempt: those that would be sent again."""
    retryable = sum(tally.errors.get(error, 0) for error in RETRYABLE_ERRORS)
    return retryable + tally.outcomes.get("expired", 0)
