"""Record the Message Batch that belongs to a batch: after a create or after a reconciliation."""

from aws_lambda_powertools import Logger

from functions.adapters.ownership import Ownership
from functions.adapters.work_items import WorkItems
from functions.errors import RelayError
from functions.model import timestamps
from functions.model.create_response import MessageBatch
from functions.model.items import Batch, BatchStatus, batch_key
from functions.model.records import Owner

_MAY_BE_OURS = (BatchStatus.SENDING, BatchStatus.UNCONFIRMED, BatchStatus.WAITING)
_TRIES = 5
logger = Logger(child=True)


def adopt(items: WorkItems, ownership: Ownership, batch: Batch, found: MessageBatch) -> None:
    """Record a Message Batch as the batch's own. This is proof and overrides any earlier assumption.

    If the batch already has another Message Batch, one of the two is a duplicate. Poll cancels the duplicate,
    which also raises an alarm.

    Raises:
        RelayError: the batch changed during each of several tries.
    """
    for _ in range(_TRIES):
        now = items.batch(batch.job, batch.item)
        if now is None or now.batch_id == found.id:
            return
        if now.batch_id is None and now.status in _MAY_BE_OURS:
            done = _adopt(items, ownership, now, found)
        else:
            done = _duplicate(items, ownership, now, found)
        if done:
            return
    message = f"{batch_key(batch)} changed {_TRIES} times while {found.id} was recorded"
    raise RelayError(message)


def _adopt(items: WorkItems, ownership: Ownership, now: Batch, found: MessageBatch) -> bool:
    changes = {
        "status": BatchStatus.IN_PROGRESS,
        "batch_id": found.id,
        "created_at": found.created_at,
        "recorded_at": timestamps.text(items.now()),
    }
    expected = {"status": now.status, "status_key": now.status_key, "batch_id": None}
    owner = ownership.build(found.id, batch_key(now))
    return items.transition(now, changes, expected=expected, puts=[owner])


def _duplicate(items: WorkItems, ownership: Ownership, now: Batch, found: MessageBatch) -> bool:
    """Keep the older Message Batch unless the newer one's results are being processed. Mark the other as a duplicate."""
    swap = now.status == BatchStatus.IN_PROGRESS and now.created_at is not None
    swap = swap and timestamps.parse(found.created_at) < timestamps.parse(now.created_at or "")
    of = batch_key(now)
    if swap and now.batch_id is not None:
        extra = ownership.build(now.batch_id, of, duplicate=True)
        done = _swap(items, ownership, now, found, extra)
    else:
        extra = ownership.build(found.id, of, duplicate=True)
        ownership.record(extra)
        done = True
    if done:
        logger.error(
            "the same requests are in two batches", extra={"batch": of, "extra": extra.job}
        )
    return done


def _swap(
    items: WorkItems, ownership: Ownership, now: Batch, found: MessageBatch, extra: Owner
) -> bool:
    changes = {"batch_id": found.id, "created_at": found.created_at}
    expected = {"status": now.status, "batch_id": now.batch_id}
    owner = ownership.build(found.id, batch_key(now))
    return items.transition(now, changes, expected=expected, puts=[owner], duplicate=extra)
