"""Decide which batches wait for a warm-up: until its batch has ended, whatever the answer, or for hours."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from functions.model import timestamps
from functions.model.items.batch import Batch, BatchStatus

MAX_WAIT = timedelta(hours=6)
"""Longest wait for a batch to be sent since the first try, and then to end. Most batches end within an hour."""
_PENDING = frozenset(
    {BatchStatus.WAITING, BatchStatus.SENDING, BatchStatus.UNCONFIRMED, BatchStatus.IN_PROGRESS}
)


def first_pending_warmups(batches: Iterable[Batch], now: datetime) -> dict[str, str]:
    """Return the first chunk of each job that warms up a prefix and has not ended.

    Nothing is stored about the wait. It is over as soon as this no longer returns the job.
    """
    first: dict[str, str] = {}
    for batch in batches:
        is_pending = batch.status in _PENDING and not _takes_too_long(batch, now)
        if batch.is_warmup and batch.attempt == 1 and is_pending:
            first[batch.job] = min(batch.chunk, first.get(batch.job, batch.chunk))
    return first


def _takes_too_long(batch: Batch, now: datetime) -> bool:
    """Return whether a batch has been tried or processed for `MAX_WAIT`.

    One that was never tried waits for a budget, a decision or room, and so do the later ones of its job.
    """
    if batch.status != BatchStatus.WAITING:
        return now - batch.status_since >= MAX_WAIT
    tried_at = batch.first_sent_at or batch.first_tried_at
    return tried_at is not None and now - timestamps.parse(tried_at) >= MAX_WAIT


def waits_for_warmup(batch: Batch, first: dict[str, str]) -> bool:
    """Return whether a batch must wait for an earlier one of its job to end.

    Args:
        batch: a batch that waits to be sent.
        first: as `first_pending_warmups` returns it.
    """
    is_later = batch.chunk > first.get(batch.job, batch.chunk)
    return is_later and batch.attempt == 1 and not batch.is_warmup
