"""Settle what is unsure: prove, then adopt. Absence needs several complete listings over time.

While a batch of the same size that nobody owns lies in the window, wait until it ends and read its results: the
first `custom_id` that names a batch of ours proves whose it is; if none of the first lines does, it is foreign.
"""

from collections.abc import Iterable
from datetime import timedelta
from itertools import islice

import msgspec
from aws_lambda_powertools import Logger

from functions.batches import times
from functions.batches.blocks import lines
from functions.batches.doors import Doors
from functions.batches.errors import IncompleteResultsError, RelayError
from functions.batches.items import Batch, BatchStatus, Closing, Step, batch_key
from functions.batches.marks import FOREIGN
from functions.batches.outcomes import read_line
from functions.batches.settings import PollSettings
from functions.batches.verdicts import ARCHIVED, MessageBatch
from functions.batches.wire import WireId
from functions.steps.record import record

logger = Logger(child=True)

BUDGET = timedelta(seconds=60)
"""No further proof is begun after so long: each may wait for an answer, and poll has two minutes."""
WITNESSES = 100
"""Lines that must all be strangers' before a batch is foreign: an ours taken for foreign is paid for twice."""


def prove(
    doors: Doors[PollSettings], unsure: Iterable[Batch], listed: dict[str, MessageBatch]
) -> None:
    """Adopt each unsure batch that is found, and send again what is proved to be absent.

    Args:
        doors: poll's.
        unsure: batches whose create lost its answer.
        listed: every batch at Anthropic since before the first of them, complete.
    """
    until = doors.now() + BUDGET
    for batch in unsure:
        if doors.now() > until:
            logger.warning("no time left for proofs: the next poll goes on")
            return
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
        batch = _whose(doors, found)
    except (RelayError, msgspec.DecodeError) as error:
        logger.warning(
            "no proof yet", extra={"batch_id": found.id, "problem": type(error).__name__}
        )
        return found.archived_at is not None
    if batch is None:
        doors.store.own(doors.store.owner_item(found.id, FOREIGN))
    else:
        logger.info("adopted by proof", extra={"batch": batch_key(batch), "batch_id": found.id})
        record(doors, batch, found)
    return True


def _whose(doors: Doors[PollSettings], found: MessageBatch) -> Batch | None:
    """Read a batch's results until a `custom_id` names one of our batches, which proves it; None: it is not ours.

    Raises:
        IncompleteResultsError: the results end before they have told enough; that proves nothing.
    """
    read, strangers = 0, set[tuple[str, str]]()
    stream = doors.claude.results(found.id)
    try:
        for line in islice(lines(stream), WITNESSES):
            read += 1
            named = WireId.parse(read_line(line).custom_id)
            if named is None or (named.job, named.batch) in strangers:
                continue
            if batch := doors.store.batch(named.job, named.batch):
                return batch
            strangers.add((named.job, named.batch))
    finally:
        stream.close()
    if read < min(WITNESSES, found.request_counts.total):
        message = f"the results end after {read:,} lines"
        raise IncompleteResultsError(message)
    return None


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
    again = {"status": BatchStatus.WAITING, "next": Step.SEND, "vain": current.vain + 1}
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
