"""Write down that a Message Batch is ours: after a create, late or not, and after a proof."""

from aws_lambda_powertools import Logger

from functions.batches import times
from functions.batches.doors import Doors
from functions.batches.errors import RelayError
from functions.batches.items import Batch, BatchStatus, batch_key
from functions.batches.marks import Owner
from functions.batches.settings import Settings
from functions.batches.verdicts import MessageBatch

_MAY_BE_OURS = (BatchStatus.SENDING, BatchStatus.UNSURE, BatchStatus.WAITING)
_TRIES = 5
logger = Logger(child=True)


def record(doors: Doors[Settings], batch: Batch, found: MessageBatch) -> None:
    """Make a Message Batch a batch's own. It is proof, and overrides whatever was thought meanwhile.

    If another one is the batch's own by now, the requests are in two: the newer is left for poll to cancel, which
    also raises the alarm.
    """
    for _ in range(_TRIES):
        now = doors.store.batch(batch.job, batch.item)
        if now is None or now.batch_id == found.id:
            return
        if now.batch_id is None and now.status in _MAY_BE_OURS:
            done = _adopt(doors, now, found)
        else:
            done = _double(doors, now, found)
        if done:
            return
    message = f"{batch_key(batch)} changed {_TRIES} times while {found.id} was recorded"
    raise RelayError(message)


def _adopt(doors: Doors[Settings], now: Batch, found: MessageBatch) -> bool:
    changes = {
        "status": BatchStatus.IN_PROGRESS,
        "batch_id": found.id,
        "created_at": found.created_at,
        "recorded_at": times.text(doors.now()),
    }
    given = {"status": now.status, "since": now.since, "batch_id": None}
    owner = doors.store.owner_item(found.id, batch_key(now))
    return doors.store.advance(now, changes, given=given, puts=[owner])


def _double(doors: Doors[Settings], now: Batch, found: MessageBatch) -> bool:
    """Keep the older batch, where the newer is not already at work on its results; cancel the other."""
    swap = now.status == BatchStatus.IN_PROGRESS and now.created_at is not None
    swap = swap and times.parse(found.created_at) < times.parse(now.created_at or "")
    of = batch_key(now)
    if swap and now.batch_id is not None:
        extra = doors.store.owner_item(now.batch_id, of, double=True)
        done = _swap(doors, now, found, extra)
    else:
        extra = doors.store.owner_item(found.id, of, double=True)
        doors.store.own(extra)
        done = True
    if done:
        logger.error(
            "the same requests are in two batches", extra={"batch": of, "extra": extra.job}
        )
    return done


def _swap(doors: Doors[Settings], now: Batch, found: MessageBatch, extra: Owner) -> bool:
    changes = {"batch_id": found.id, "created_at": found.created_at}
    given = {"status": now.status, "batch_id": now.batch_id}
    owner = doors.store.owner_item(found.id, batch_key(now))
    return doors.store.advance(now, changes, given=given, puts=[owner], double=extra)
