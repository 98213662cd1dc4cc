"""Settle what is unconfirmed: prove, then adopt. Absence needs several complete listings over time.

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

from functions.adapters.adopt import adopt
from functions.adapters.anthropic_api import Claude
from functions.adapters.ownership import Ownership
from functions.adapters.work_items import WorkItems
from functions.errors import IncompleteResultsError, RelayError
from functions.model import timestamps
from functions.model.api_results import read_line
from functions.model.create_response import RESULTS_RETENTION, MessageBatch
from functions.model.ids import RequestId
from functions.model.items import Batch, BatchStatus, CloseReason, Step, batch_key
from functions.model.records import FOREIGN, Unfinished
from functions.model.streams import lines
from functions.polling.phases import Phases, place
from functions.services import Services
from functions.settings import PollSettings

logger = Logger(child=True)

MAX_LINES_CHECKED = 100
"""Lines that must all be strangers' before a batch is foreign: an ours taken for foreign is paid for twice."""


def reconcile(
    services: Services[PollSettings],
    unfinished: Unfinished,
    listed: Mapping[str, MessageBatch],
    since: datetime,
    phases: Phases,
) -> None:
    """Adopt each unconfirmed batch that is found, and send again what is proved to be absent.

    Args:
        services: poll's.
        unfinished: the batches whose create lost its answer, and those that have a batch of their own.
        listed: the batches at Anthropic.
        since: from when on they are complete; what may have been created before is not proved absent.
        phases: poll's.
    """
    unconfirmed = unfinished.of(BatchStatus.UNCONFIRMED)
    by_size = _by_size(listed.values())
    sought = {place(batch): _matches(services.settings, batch, by_size) for batch in unconfirmed}
    decided = {batch.batch_id: True for batch in unfinished.batches if batch.batch_id is not None}
    unknown = {one.id: one for found in sought.values() for one in found if one.id not in decided}
    phases.each(
        "owners", unknown.values(), _created, partial(_ask_owner, services.ownership, decided)
    )

    def settle(batch: Batch) -> None:
        for found in sought[place(batch)]:
            if found.id not in decided:
                decided[found.id] = _resolve(services, found, partial(phases.has_time, "prove"))
        settled = all(decided[found.id] for found in sought[place(batch)])
        if settled and _window(services.settings, batch)[0] >= since:
            _absent(services, batch)

    phases.each("prove", unconfirmed, place, settle)


Known = list[tuple[datetime, MessageBatch]]


def _by_size(listed: Iterable[MessageBatch]) -> dict[int, Known]:
    """Group batches by their requests; each group by age."""
    grouped: defaultdict[int, Known] = defaultdict(list)
    for found in listed:
        grouped[found.request_counts.total].append((timestamps.parse(found.created_at), found))
    return {size: sorted(group, key=_created_at) for size, group in grouped.items()}


def _created_at(one: tuple[datetime, MessageBatch]) -> datetime:
    return one[0]


def _created(found: MessageBatch) -> str:
    """Name a Message Batch, so that names sort by age."""
    return f"{found.created_at} {found.id}"


def _matches(
    settings: PollSettings, batch: Batch, by_size: Mapping[int, Known]
) -> list[MessageBatch]:
    """Give the batches at Anthropic that have the size and the age of the one that is sought."""
    group = by_size.get(batch.requests, [])
    first, last = _window(settings, batch)
    low, high = (
        bisect_left(group, first, key=_created_at),
        bisect_right(group, last, key=_created_at),
    )
    return [found for _, found in group[low:high]]


def _window(settings: PollSettings, batch: Batch) -> tuple[datetime, datetime]:
    """Return between which times a batch was created whose create lost its answer."""
    lost_at = batch.status_since
    intent_at = timestamps.parse(batch.intent_at or timestamps.text(lost_at))
    return (
        intent_at - timedelta(seconds=settings.skew_s),
        lost_at + timedelta(seconds=settings.skew_s + settings.absent_s),
    )


def _ask_owner(ownership: Ownership, decided: dict[str, bool], found: MessageBatch) -> None:
    """Find out whether it is known whose a batch is."""
    if ownership.owner_of(found.id) is not None:
        decided[found.id] = True


def _resolve(
    services: Services[PollSettings], found: MessageBatch, has_time: Callable[[], bool]
) -> bool:
    """Find out whose a batch is; False while that cannot be known."""
    if found.processing_status != "ended":
        return False
    try:
        batch = _whose(services.claude, services.items, found, has_time)
    except (RelayError, msgspec.DecodeError) as error:
        logger.warning(
            "ownership still undetermined",
            extra={"batch_id": found.id, "problem": type(error).__name__},
        )
        return found.archived_at is not None
    if batch is None:
        services.ownership.record(services.ownership.build(found.id, FOREIGN))
    else:
        logger.info("adopted by proof", extra={"batch": batch_key(batch), "batch_id": found.id})
        adopt(services.items, services.ownership, batch, found)
    return True


def _whose(
    claude: Claude, items: WorkItems, found: MessageBatch, has_time: Callable[[], bool]
) -> Batch | None:
    """Read a batch's results until a `custom_id` names one of our batches, which proves it; None: it is not ours.

    Raises:
        IncompleteResultsError: the results end before they have told enough; that proves nothing.
    """
    read, strangers = 0, set[tuple[str, str]]()
    stream = claude.results(found.id)
    try:
        for line in islice(lines(takewhile(lambda _: has_time(), stream)), MAX_LINES_CHECKED):
            read += 1
            named = RequestId.parse(read_line(line).custom_id)
            if named is None or (named.job, named.batch) in strangers:
                continue
            if batch := items.batch(named.job, named.batch):
                return batch
            strangers.add((named.job, named.batch))
    finally:
        stream.close()
    if read < min(MAX_LINES_CHECKED, found.request_counts.total):
        message = f"the results end after {read:,} lines"
        raise IncompleteResultsError(message)
    return None


def _absent(services: Services[PollSettings], batch: Batch) -> None:
    """Count a complete listing without the batch; after enough of them over enough time, send it again."""
    settings, now = services.settings, services.now()
    current = services.items.batch(batch.job, batch.item)
    if current is None or (current.status, current.status_key) != (
        BatchStatus.UNCONFIRMED,
        batch.status_key,
    ):
        return  # what was listed was another create's window
    if current.fingerprint != services.claude.fingerprint:
        _out_of_sight(services.items, current, now)
        return
    lost_at = batch.status_since
    if now < lost_at + timedelta(seconds=settings.skew_s):
        return
    count, first = current.reconcile_misses + 1, current.first_missed_at or timestamps.text(now)
    if not is_last_miss(settings, current, now):
        services.items.update_if_unchanged(
            current, {"reconcile_misses": count, "first_missed_at": first}
        )
        return
    again = {
        "status": BatchStatus.WAITING,
        "next_step": Step.SEND,
        "inconclusive_creates": current.inconclusive_creates + 1,
    }
    expected = {
        "status": BatchStatus.UNCONFIRMED,
        "status_key": current.status_key,
        "batch_id": None,
    }
    if services.items.transition(current, again, expected=expected):
        logger.warning(
            "batch not found, resending", extra={"batch": batch_key(batch), "listings": count}
        )


def is_last_miss(settings: PollSettings, batch: Batch, now: datetime) -> bool:
    """Return whether one more complete listing without an unconfirmed batch proves that it was never created."""
    first = timestamps.parse(batch.first_missed_at) if batch.first_missed_at else now
    return (
        now >= batch.status_since + timedelta(seconds=settings.skew_s)
        and batch.reconcile_misses + 1 >= settings.absent_listings
        and now - first >= timedelta(seconds=settings.absent_s)
    )


def _out_of_sight(items: WorkItems, batch: Batch, now: datetime) -> None:
    """Another key may see another workspace, and proves no absence: wait until no key could find it any more."""
    lost_at = batch.status_since
    if now <= lost_at + RESULTS_RETENTION:
        return
    changes = {
        "status": BatchStatus.ENDED,
        "next_step": Step.COLLECT,
        "close_reason": CloseReason.GONE,
    }
    expected = {
        "status": BatchStatus.UNCONFIRMED,
        "status_key": batch.status_key,
        "batch_id": None,
    }
    if items.transition(batch, changes, expected=expected):
        logger.error("never found under this key", extra={"batch": batch_key(batch)})
