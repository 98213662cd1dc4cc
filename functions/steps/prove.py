"""Settle what is unsure: prove, then adopt. Absence needs several complete listings over time.

While a batch of the same size that nobody owns lies in the window, wait until it ends and read one result line: its
`custom_id` names the owner, or marks it foreign.
"""

from collections.abc import Iterable
from datetime import timedelta

import msgspec
from aws_lambda_powertools import Logger

from functions.batches import times
from functions.batches.doors import Doors
from functions.batches.errors import RelayError
from functions.batches.files import lines
from functions.batches.items import Batch, BatchStatus, Closing, Step, batch_key
from functions.batches.marks import FOREIGN
from functions.batches.outcomes import read_line
from functions.batches.settings import PollSettings
from functions.batches.verdicts import ARCHIVED, MessageBatch
from functions.batches.wire import WireId
from functions.steps.record import record

logger = Logger(child=True)


def prove(
    doors: Doors[PollSettings], unsure: Iterable[Batch], listed: dict[str, MessageBatch]
) -> None:
    """Adopt each unsure batch that is found, and send again what is proved to be absent.

    Args:
        doors: poll's.
        unsure: batches whose create lost its answer.
        listed: every batch at Anthropic since before the first of them, complete.
    """
    for batch in unsure:
        candidates = [found for found in listed.values() if _may_be(doors, batch, found)]
        undecided = [found for found in candidates if not _decided(doors, found)]
        if not undecided:
            _absent(doors, batch)


def _may_be(doors: Doors[PollSettings], batch: Batch, found: MessageBatch) -> bool:
    """Whether a batch at Anthropic has the size and the age of the one that is sought."""
    settings = doors.settings
    created = times.parse(found.created_at)
    lost_at = times.parse(batch.since.partition("#")[2])
    first = times.parse(batch.intent_at or times.text(lost_at)) - timedelta(
        seconds=settings.skew_s
    )
    last = lost_at + timedelta(seconds=settings.skew_s + settings.absent_s)
    return found.request_counts.total == batch.requests and first <= created <= last


def _decided(doors: Doors[PollSettings], found: MessageBatch) -> bool:
    """Find out whose a batch is; False while that cannot be known."""
    if doors.store.owner(found.id) is not None:
        return True
    if found.processing_status != "ended":
        return False
    try:
        whose = _whose(doors, found)
    except (RelayError, msgspec.DecodeError) as error:
        logger.warning(
            "no proof yet", extra={"batch_id": found.id, "problem": type(error).__name__}
        )
        return found.archived_at is not None
    batch = doors.store.batch(whose.job, whose.batch) if whose else None
    if batch is None:
        doors.store.own(doors.store.owner_item(found.id, FOREIGN))
    else:
        logger.info("adopted by proof", extra={"batch": batch_key(batch), "batch_id": found.id})
        record(doors, batch, found)
    return True


def _whose(doors: Doors[PollSettings], found: MessageBatch) -> WireId | None:
    """Read one line of a batch's results: its custom_id names the owner, if that is us."""
    stream = doors.claude.results(found.id)
    try:
        line = next(lines(stream), b"")
    finally:
        stream.close()
    return WireId.parse(read_line(line).custom_id)


def _absent(doors: Doors[PollSettings], batch: Batch) -> None:
    """Count a complete listing without the batch; after enough of them over enough time, send it again."""
    settings, now = doors.settings, doors.now()
    current = doors.store.batch(batch.job, batch.item)
    if current is None or (current.status, current.since) != (BatchStatus.UNSURE, batch.since):
        return  # what was listed was another create's window
    if current.fingerprint != doors.claude.fingerprint:
        _out_of_sight(doors, current)
        return
    lost_at = times.parse(batch.since.partition("#")[2])
    if now < lost_at + timedelta(seconds=settings.skew_s):
        return
    count, first = current.absent + 1, current.absent_since or times.text(now)
    waited_s = (now - times.parse(first)).total_seconds()
    if count < settings.absent_listings or waited_s < settings.absent_s:
        doors.store.note(current, {"absent": count, "absent_since": first})
        return
    again = {"status": BatchStatus.WAITING, "next": Step.SEND}
    given = {"status": BatchStatus.UNSURE, "since": current.since, "batch_id": None}
    if doors.store.advance(current, again, given=given):
        logger.warning("absent, sent again", extra={"batch": batch_key(batch), "listings": count})


def _out_of_sight(doors: Doors[PollSettings], batch: Batch) -> None:
    """Another key may see another workspace, and proves no absence: wait until no key could find it any more."""
    lost_at = times.parse(batch.since.partition("#")[2])
    if doors.now() <= lost_at + ARCHIVED:
        return
    changes = {"status": BatchStatus.ENDED, "next": Step.COLLECT, "closing": Closing.GONE}
    given = {"status": BatchStatus.UNSURE, "since": batch.since, "batch_id": None}
    if doors.store.advance(batch, changes, given=given):
        logger.error("never found under this key", extra={"batch": batch_key(batch)})
