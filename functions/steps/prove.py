"""Settle what is unsure: prove, then adopt. Absence needs several complete listings over time.

While a batch of the same size that nobody owns lies in the window, wait until it ends and read its results: the
first `custom_id` that names a batch of ours proves whose it is; if none of the first lines does, it is foreign.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from itertools import islice, takewhile

import msgspec
from aws_lambda_powertools import Logger

from functions.batches import times
from functions.batches.blocks import lines
from functions.batches.doors import Doors
from functions.batches.errors import IncompleteResultsError, RelayError
from functions.batches.items import Batch, BatchStatus, Closing, Step, batch_key
from functions.batches.marks import FOREIGN, Unfinished
from functions.batches.outcomes import read_line
from functions.batches.settings import PollSettings
from functions.batches.verdicts import ARCHIVED, MessageBatch
from functions.batches.wire import WireId
from functions.steps.phases import Phases, place
from functions.steps.record import record

logger = Logger(child=True)

WITNESSES = 100
"""Lines that must all be strangers' before a batch is foreign: an ours taken for foreign is paid for twice."""


def prove(
    doors: Doors[PollSettings],
    unfinished: Unfinished,
    listed: Mapping[str, MessageBatch],
    phases: Phases,
) -> None:
    """Adopt each unsure batch that is found, and send again what is proved to be absent.

    Args:
        doors: poll's.
        unfinished: the batches whose create lost its answer, and those that have a batch of their own.
        listed: every batch at Anthropic since before the first of them, complete.
        phases: poll's.
    """
    unsure = unfinished.of(BatchStatus.UNSURE)
    by_size = _by_size(listed.values())
    sought = {place(batch): _may_be(doors, batch, by_size) for batch in unsure}
    decided = {batch.batch_id: True for batch in unfinished.batches if batch.batch_id is not None}
    unknown = {one.id: one for found in sought.values() for one in found if one.id not in decided}
    phases.each("owners", unknown.values(), _created, partial(_ask_owner, doors, decided))

    def settle(batch: Batch) -> None:
        for found in sought[place(batch)]:
            if found.id not in decided:
                decided[found.id] = _decided(doors, found, partial(phases.has_time, "prove"))
        if all(decided[found.id] for found in sought[place(batch)]):
            _absent(doors, batch)

    phases.each("prove", unsure, place, settle)


Known = list[tuple[datetime, MessageBatch]]


def _by_size(listed: Iterable[MessageBatch]) -> dict[int, Known]:
    """Group batches by their requests; each group by age."""
    grouped: defaultdict[int, Known] = defaultdict(list)
    for found in listed:
        grouped[found.request_counts.total].append((times.parse(found.created_at), found))
    return {size: sorted(group, key=_created_at) for size, group in grouped.items()}


def _created_at(one: tuple[datetime, MessageBatch]) -> datetime:
    return one[0]


def _created(found: MessageBatch) -> str:
    """Name a Message Batch, so that names sort by age."""
    return f"{found.created_at} {found.id}"


def _may_be(
    doors: Doors[PollSettings], batch: Batch, by_size: Mapping[int, Known]
) -> list[MessageBatch]:
    """Give the batches at Anthropic that have the size and the age of the one that is sought."""
    settings, group = doors.settings, by_size.get(batch.requests, [])
    lost_at = times.parse(batch.since.partition("#")[2])
    first = times.parse(batch.intent_at or times.text(lost_at)) - timedelta(
        seconds=settings.skew_s
    )
    last = lost_at + timedelta(seconds=settings.skew_s + settings.absent_s)
    low, high = (
        bisect_left(group, first, key=_created_at),
        bisect_right(group, last, key=_created_at),
    )
    return [found for _, found in group[low:high]]


def _ask_owner(doors: Doors[PollSettings], decided: dict[str, bool], found: MessageBatch) -> None:
    """Find out whether it is known whose a batch is."""
    if doors.store.owner(found.id) is not None:
        decided[found.id] = True


def _decided(
    doors: Doors[PollSettings], found: MessageBatch, has_time: Callable[[], bool]
) -> bool:
    """Find out whose a batch is; False while that cannot be known."""
    if found.processing_status != "ended":
        return False
    try:
        batch = _whose(doors, found, has_time)
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


def _whose(
    doors: Doors[PollSettings], found: MessageBatch, has_time: Callable[[], bool]
) -> Batch | None:
    """Read a batch's results until a `custom_id` names one of our batches, which proves it; None: it is not ours.

    Raises:
        IncompleteResultsError: the results end before they have told enough; that proves nothing.
    """
    read, strangers = 0, set[tuple[str, str]]()
    stream = doors.claude.results(found.id)
    try:
        for line in islice(lines(takewhile(lambda _: has_time(), stream)), WITNESSES):
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
