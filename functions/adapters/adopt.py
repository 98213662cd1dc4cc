"""Record the Message Batch that belongs to a batch: after a create or after a reconciliation."""

from aws_lambda_powertools import Logger

from functions.adapters.ownership import Ownership
from functions.adapters.work_items import WorkItems
from functions.errors import RelayError
from functions.model import timestamps
from functions.model.create_response import MessageBatch
from functions.model.items.batch import Batch, BatchStatus, batch_key
from functions.model.records import Owner

_UNASSIGNED = (BatchStatus.SENDING, BatchStatus.UNCONFIRMED, BatchStatus.WAITING)
_TRIES = 5
logger = Logger(child=True)


def adopt(
    items: WorkItems, ownership: Ownership, batch: Batch, message_batch: MessageBatch
) -> None:
    """Record a Message Batch as the batch's own. This is proof and overrides any earlier assumption.

    If the batch already has another Message Batch, one of the two is a duplicate. Poll cancels the duplicate,
    which also raises an alarm.

    Raises:
        RelayError: the batch changed during each of several tries.
    """
    for _ in range(_TRIES):
        current = items.batch(batch.job, batch.item)
        if current is None or message_batch.id in {current.batch_id, current.duplicate_id}:
            return
        if current.batch_id is None and current.status in _UNASSIGNED:
            recorded = _record_created(items, ownership, current, message_batch)
        else:
            recorded = _record_duplicate(items, ownership, current, message_batch)
        if recorded:
            return
    message = f"{batch_key(batch)} changed {_TRIES} times while {message_batch.id} was recorded"
    raise RelayError(message)


def _record_created(
    items: WorkItems, ownership: Ownership, current: Batch, message_batch: MessageBatch
) -> bool:
    changes = {
        "status": BatchStatus.IN_PROGRESS,
        "batch_id": message_batch.id,
        "created_at": message_batch.created_at,
        "recorded_at": timestamps.text(items.now()),
    }
    expected = {"status": current.status, "status_key": current.status_key, "batch_id": None}
    owner = ownership.build(message_batch.id, batch_key(current))
    return items.transition(current, changes, expected=expected, puts=[owner])


def _record_duplicate(
    items: WorkItems, ownership: Ownership, current: Batch, message_batch: MessageBatch
) -> bool:
    """Keep the older Message Batch unless the newer one's results are being processed. Mark the other as a duplicate."""
    replace = current.status == BatchStatus.IN_PROGRESS and current.created_at is not None
    replace = replace and timestamps.parse(message_batch.created_at) < timestamps.parse(
        current.created_at or ""
    )
    owner_key, recorded_owner = batch_key(current), ownership.owner_of(message_batch.id)
    if replace and current.batch_id is not None:
        duplicate_owner = ownership.build(current.batch_id, owner_key, duplicate=True)
        recorded = _replace_recorded(items, ownership, current, message_batch, duplicate_owner)
    elif recorded_owner == owner_key:
        return True  # an earlier adoption recorded and counted it
    else:
        duplicate_owner = ownership.build(message_batch.id, owner_key, duplicate=True)
        recorded = items.record_duplicate(current, duplicate_owner, recorded_owner)
    if recorded:
        logger.error(
            "duplicate Message Batch", extra={"batch": owner_key, "extra": duplicate_owner.job}
        )
    return recorded


def _replace_recorded(
    items: WorkItems,
    ownership: Ownership,
    current: Batch,
    message_batch: MessageBatch,
    duplicate_owner: Owner,
) -> bool:
    changes = {
        "batch_id": message_batch.id,
        "created_at": message_batch.created_at,
        "duplicate_id": current.batch_id,
    }
    expected = {"status": current.status, "batch_id": current.batch_id}
    owner = ownership.build(message_batch.id, batch_key(current))
    return items.transition(
        current,
        changes,
        expected=expected,
        puts=[owner],
        increments={"duplicates": 1},
        duplicate=duplicate_owner,
        spent_micro_usd=current.worst_micro_usd,
    )
