"""Write down that a Message Batch is ours: after a create, late or not, and after a proof."""

from aws_lambda_powertools import Logger

from functions.adapters.store import Store
from functions.errors import RelayError
from functions.model import timestamps
from functions.model.create_response import MessageBatch
from functions.model.items import Batch, BatchStatus, batch_key
from functions.model.records import Owner

_MAY_BE_OURS = (BatchStatus.SENDING, BatchStatus.UNCONFIRMED, BatchStatus.WAITING)
_TRIES = 5
logger = Logger(child=True)


def adopt(store: Store, batch: Batch, found: MessageBatch) -> None:
    """Make a Message Batch a batch's own. It is proof, and overrides whatever was thought meanwhile.

    If another one is the batch's own by now, the requests are in two: the newer is left for poll to cancel, which
    also raises the alarm.
    """
    for _ in range(_TRIES):
        now = store.batch(batch.job, batch.item)
        if now is None or now.batch_id == found.id:
            return
        if now.batch_id is None and now.status in _MAY_BE_OURS:
            done = _adopt(store, now, found)
        else:
            done = _duplicate(store, now, found)
        if done:
            return
    message = f"{batch_key(batch)} changed {_TRIES} times while {found.id} was recorded"
    raise RelayError(message)


def _adopt(store: Store, now: Batch, found: MessageBatch) -> bool:
    changes = {
        "status": BatchStatus.IN_PROGRESS,
        "batch_id": found.id,
        "created_at": found.created_at,
        "recorded_at": timestamps.text(store.now()),
    }
    expected = {"status": now.status, "status_key": now.status_key, "batch_id": None}
    owner = store.ownership_record(found.id, batch_key(now))
    return store.transition(now, changes, expected=expected, puts=[owner])


def _duplicate(store: Store, now: Batch, found: MessageBatch) -> bool:
    """Keep the older batch, where the newer is not already at work on its results; cancel the other."""
    swap = now.status == BatchStatus.IN_PROGRESS and now.created_at is not None
    swap = swap and timestamps.parse(found.created_at) < timestamps.parse(now.created_at or "")
    of = batch_key(now)
    if swap and now.batch_id is not None:
        extra = store.ownership_record(now.batch_id, of, duplicate=True)
        done = _swap(store, now, found, extra)
    else:
        extra = store.ownership_record(found.id, of, duplicate=True)
        store.record_ownership(extra)
        done = True
    if done:
        logger.error(
            "the same requests are in two batches", extra={"batch": of, "extra": extra.job}
        )
    return done


def _swap(store: Store, now: Batch, found: MessageBatch, extra: Owner) -> bool:
    changes = {"batch_id": found.id, "created_at": found.created_at}
    expected = {"status": now.status, "batch_id": now.batch_id}
    owner = store.ownership_record(found.id, batch_key(now))
    return store.transition(now, changes, expected=expected, puts=[owner], duplicate=extra)
