"""Resolve unconfirmed batches: adopt the Message Batch if it exists, otherwise send again.

A create counts as failed after several complete listings without its batch, over some time. While
an unowned Message Batch of the same size and age exists, poll waits until it ends, then reads its
results. The first `custom_id` of ours proves the owner. If no checked line has one, the batch is
foreign.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from itertools import islice, takewhile
from typing import Any

import msgspec
from aws_lambda_powertools import Logger

from functions.adapters.adopt import adopt
from functions.adapters.anthropic_api import Claude
from functions.adapters.ownership import Ownership
from functions.adapters.work_items import WorkItems
from functions.errors import IncompleteResultsError, RelayError
from functions.model import timestamps
from functions.model.api_results import read_line
from functions.model.create_response import RESULTS_RETENTION, MessageBatch
from functions.model.ids import RequestId
from functions.model.items.batch import Batch, BatchStatus, CloseReason, batch_key
from functions.model.items.work_item import Step
from functions.model.records import FOREIGN
from functions.model.streams import lines
from functions.model.unfinished import Unfinished
from functions.polling.phases import Phases, place
from functions.services import Services
from functions.settings import PollSettings

logger = Logger(child=True)

MAX_LINES_CHECKED = 100
"""Lines to check before a batch is foreign. Our own batch, if taken for foreign, is paid twice."""

type SizeGroup = list[tuple[datetime, MessageBatch]]
"""Message Batches of one size with their creation times, oldest first."""


def reconcile(
    services: Services[PollSettings],
    unfinished: Unfinished,
    listed: Mapping[str, MessageBatch],
    since: datetime,
    keys: Collection[str],
    phases: Phases,
) -> None:
    """Adopt each unconfirmed batch that exists at Anthropic; send again each that does not.

    Args:
        services: the services of poll.
        unfinished: the unfinished items.
        listed: the Message Batches at Anthropic, by id.
        since: `listed` is complete from this time on; it proves nothing about earlier creates.
        keys: the fingerprints of the keys of the workspace that was listed. The listing proves nothing about others.
        phases: the phases of this poll.
    """
    unconfirmed = unfinished.of(BatchStatus.UNCONFIRMED)
    by_size = _by_size(listed.values())
    candidates = {
        place(batch): _matches(services.settings, batch, by_size) for batch in unconfirmed
    }
    resolved = {batch.batch_id: True for batch in unfinished.batches if batch.batch_id is not None}
    unknown = {
        candidate.id: candidate
        for matches in candidates.values()
        for candidate in matches
        if candidate.id not in resolved
    }
    phases.each(
        "owners", unknown.values(), _age_name, partial(_read_owner, services.ownership, resolved)
    )

    has_time = partial(phases.has_time, "reconcile")

    def settle(batch: Batch) -> None:
        matches = candidates[place(batch)]
        for candidate in matches:
            if candidate.id not in resolved:
                if not has_time():
                    return  # a single answer may take all the time that is left
                resolved[candidate.id] = _resolve(services, candidate, has_time)
        if (
            all(resolved[candidate.id] for candidate in matches)
            and _window(services.settings, batch)[0] >= since
        ):
            _count_reconcile_miss(services, batch, keys)

    phases.each("reconcile", unconfirmed, place, settle)


def _by_size(listed: Iterable[MessageBatch]) -> dict[int, SizeGroup]:
    """Group Message Batches by their number of requests, oldest first."""
    groups: defaultdict[int, SizeGroup] = defaultdict(list)
    for message_batch in listed:
        created_at = timestamps.parse(message_batch.created_at)
        groups[message_batch.request_counts.total].append((created_at, message_batch))
    return {size: sorted(group, key=_created_at) for size, group in groups.items()}


def _created_at(entry: tuple[datetime, MessageBatch]) -> datetime:
    return entry[0]


def _age_name(message_batch: MessageBatch) -> str:
    """Return a name that sorts by creation time."""
    return f"{message_batch.created_at} {message_batch.id}"


def _matches(
    settings: PollSettings, batch: Batch, by_size: Mapping[int, SizeGroup]
) -> list[MessageBatch]:
    """Return the Message Batches that have the size and the age of an unconfirmed batch."""
    group = by_size.get(batch.requests, [])
    earliest, latest = _window(settings, batch)
    low = bisect_left(group, earliest, key=_created_at)
    high = bisect_right(group, latest, key=_created_at)
    return [message_batch for _, message_batch in group[low:high]]


def _window(settings: PollSettings, batch: Batch) -> tuple[datetime, datetime]:
    """Return the earliest and the latest time at which a lost create made its batch."""
    lost_at = batch.status_since
    intent_at = timestamps.parse(batch.intent_at or timestamps.text(lost_at))
    return (
        intent_at - timedelta(seconds=settings.skew_s),
        lost_at + timedelta(seconds=settings.skew_s + settings.absent_s),
    )


def _read_owner(
    ownership: Ownership, resolved: dict[str, bool], message_batch: MessageBatch
) -> None:
    """Mark a Message Batch as resolved if the table has its owner."""
    if ownership.owner_of(message_batch.id) is not None:
        resolved[message_batch.id] = True


def _resolve(
    services: Services[PollSettings], message_batch: MessageBatch, has_time: Callable[[], bool]
) -> bool:
    """Adopt a Message Batch or record it as foreign. Return False if its owner is not known yet."""
    if message_batch.processing_status != "ended":
        return False
    try:
        batch = _find_owner(services.claude, services.items, message_batch, has_time)
    except (RelayError, msgspec.DecodeError) as error:
        logger.warning(
            "ownership still undetermined",
            extra={"batch_id": message_batch.id, "problem": type(error).__name__},
        )
        return message_batch.archived_at is not None
    if batch is None:
        services.ownership.record(services.ownership.build(message_batch.id, FOREIGN))
    else:
        facts = {"batch": batch_key(batch), "batch_id": message_batch.id}
        logger.info("batch adopted after reading its results", extra=facts)
        adopt(services.items, services.ownership, batch, message_batch)
    return True


def _find_owner(
    claude: Claude, items: WorkItems, message_batch: MessageBatch, has_time: Callable[[], bool]
) -> Batch | None:
    """Return our batch that the first matching `custom_id` in the results names; None if foreign.

    Raises:
        IncompleteResultsError: the results ended too early to prove anything.
    """
    lines_read, strangers = 0, set[tuple[str, str]]()
    stream = claude.results(message_batch.id)
    try:
        for line in islice(lines(takewhile(lambda _: has_time(), stream)), MAX_LINES_CHECKED):
            lines_read += 1
            request_id = RequestId.parse(read_line(line).custom_id)
            if request_id is None or (request_id.job, request_id.batch) in strangers:
                continue
            if batch := items.batch(request_id.job, request_id.batch):
                return batch
            strangers.add((request_id.job, request_id.batch))
    finally:
        stream.close()
    if lines_read < min(MAX_LINES_CHECKED, message_batch.request_counts.total):
        message = f"the results ended after {lines_read:,} lines"
        raise IncompleteResultsError(message)
    return None


def _count_reconcile_miss(
    services: Services[PollSettings], batch: Batch, keys: Collection[str]
) -> None:
    """Count a complete listing without the batch; after enough of them over time, send it again.

    Args:
        services: the services of poll.
        batch: the unconfirmed batch, as the index has it.
        keys: the fingerprints of the keys of the workspace that was listed. The listing proves nothing about others.
    """
    settings, now = services.settings, services.now()
    current = services.items.batch(batch.job, batch.item)
    if current is None or (current.status, current.status_key) != (
        BatchStatus.UNCONFIRMED,
        batch.status_key,
    ):
        return  # the candidates belong to an earlier create
    if current.fingerprint not in keys:
        _close_if_results_deleted(services.items, current, now)
        return
    if now < batch.status_since + timedelta(seconds=settings.skew_s):
        return
    misses = current.reconcile_misses + 1
    first_missed_at = current.first_missed_at or timestamps.text(now)
    if not is_last_miss(settings, current, now):
        services.items.update_if_unchanged(
            current, {"reconcile_misses": misses, "first_missed_at": first_missed_at}
        )
        return
    changes = {
        "status": BatchStatus.WAITING,
        "next_step": Step.SEND,
        "inconclusive_creates": current.inconclusive_creates + 1,
    }
    if services.items.transition(current, changes, expected=_still_unconfirmed(current)):
        logger.warning(
            "batch not found, resending", extra={"batch": batch_key(batch), "listings": misses}
        )


def is_last_miss(settings: PollSettings, batch: Batch, now: datetime) -> bool:
    """Return whether one more complete listing without an unconfirmed batch proves that it was never created."""
    first = timestamps.parse(batch.first_missed_at) if batch.first_missed_at else now
    return (
        now >= batch.status_since + timedelta(seconds=settings.skew_s)
        and batch.reconcile_misses + 1 >= settings.absent_listings
        and now - first >= timedelta(seconds=settings.absent_s)
    )


def _close_if_results_deleted(items: WorkItems, batch: Batch, now: datetime) -> None:
    """Close a batch sent under another key once Anthropic has deleted its results.

    The current key may belong to another workspace, whose listings prove nothing.
    """
    if now <= batch.status_since + RESULTS_RETENTION:
        return
    changes = {
        "status": BatchStatus.ENDED,
        "next_step": Step.COLLECT,
        "close_reason": CloseReason.GONE,
    }
    if items.transition(batch, changes, expected=_still_unconfirmed(batch)):
        logger.error("batch never found under the new key", extra={"batch": batch_key(batch)})


def _still_unconfirmed(batch: Batch) -> dict[str, Any]:
    return {
        "status": BatchStatus.UNCONFIRMED,
        "status_key": batch.status_key,
        "batch_id": None,
    }
