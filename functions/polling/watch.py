"""Ask the API once for all open batches: note the ended ones, cancel what is to be canceled."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

import msgspec
from aws_lambda_powertools import Logger

from functions.adapters.anthropic_api import Claude
from functions.adapters.work_items import WorkItems
from functions.errors import (
    ApiKeyRejectedError,
    ApiNotFoundError,
    ApiUnavailableError,
    KeyMissingError,
    RelayError,
)
from functions.model import events, timestamps
from functions.model.create_response import (
    ENDS_WITHIN,
    GONE_LISTINGS,
    PAUSE_MESSAGES,
    MessageBatch,
)
from functions.model.items import Batch, BatchStatus, Step, batch_key
from functions.model.records import Owner, Unfinished
from functions.polling.phases import Phases, place
from functions.polling.reconcile import is_last_miss
from functions.services import Services
from functions.settings import PollSettings

RETRIEVES = 20
"""Batches that one poll looks at one by one, where the listing does not reach them; the next poll goes on behind them."""
logger = Logger(child=True)


@dataclass
class Watch:
    """What was learned from the API.

    Attributes:
        listed: every batch of the window, by id, and older ones that were looked at one by one; None where it could not be
            asked.
        since: from when on `listed` is complete: later than the window's begin where there was no time for all.
        ended: batches that wait to be collected from now on.
        key_problem: a reason to pause, where the API refuses the key.
    """

    listed: dict[str, MessageBatch] | None = None
    ended: list[Batch] = field(default_factory=list)
    key_problem: str | None = None
    since: datetime | None = None
    needed: bool = True

    @property
    def succeeded(self) -> bool:
        """Whether the API told what had to be known."""
        return self.listed is not None or not self.needed


def watch(
    services: Services[PollSettings],
    unfinished: Unfinished,
    phases: Phases,
    *,
    no_key: bool = False,
    list_due: bool = True,
) -> Watch:
    """Look at all open batches, in one listing.

    Args:
        services: poll's.
        unfinished: all that is not at its end.
        phases: poll's.
        no_key: the key is missing or refused. List in any case: that shows when there is one again.
        list_due: False leaves the listing to a later poll, unless it decides something now.
    """
    begins = [_window(services, unfinished), _duplicates_since(services.settings, unfinished)]
    begins += [services.now()] if no_key else []
    begin = min((one for one in begins if one is not None), default=None)
    if begin is None:
        return Watch(needed=False)
    if not (list_due or no_key or _decides_now(services, unfinished)):
        return Watch()
    seen = _ask(services.claude, begin, phases)
    if seen.listed is not None:
        _apply(services, unfinished, seen, phases)
    return seen


def _decides_now(services: Services[PollSettings], unfinished: Unfinished) -> bool:
    """Return whether a listing now cancels something that costs money, or may prove that a create failed."""
    canceled = unfinished.canceled
    return (
        bool(unfinished.duplicates)
        or any(batch.job in canceled for batch in unfinished.of(BatchStatus.IN_PROGRESS))
        or any(
            is_last_miss(services.settings, batch, services.now())
            for batch in unfinished.of(BatchStatus.UNCONFIRMED)
        )
    )


def _window(services: Services[PollSettings], unfinished: Unfinished) -> datetime | None:
    """Say since when batches are of interest: the oldest open or unconfirmed one, less the clocks' difference.

    Where none is, but one could not be sent, the API is asked all the same: a wrong address would not show otherwise.
    """
    open_ = unfinished.of(BatchStatus.IN_PROGRESS, BatchStatus.UNCONFIRMED) + _not_found(
        unfinished
    )
    begun = [_since(batch) for batch in open_]
    if begun:
        return min(begun) - timedelta(seconds=services.settings.skew_s)
    waits = any(batch.first_sent_at for batch in unfinished.of(BatchStatus.WAITING))
    return services.now() if waits else None


def _duplicates_since(settings: PollSettings, unfinished: Unfinished) -> datetime | None:
    """Say since when duplicates are of interest: any that still runs was created within a day before it was flagged."""
    flagged = [one.flagged_at for one in unfinished.duplicates]
    if not flagged:
        return None
    return min(flagged) - ENDS_WITHIN - timedelta(seconds=settings.skew_s)


def _ask(claude: Claude, begin: datetime, phases: Phases) -> Watch:
    """List the window; after a refusal of the key once more, with the key read anew."""
    trouble = "key_missing"
    for _ in range(2):
        try:
            found, since = claude.listing(begin, partial(phases.has_time, "listing"))
            if since > begin:
                facts = {"batches": len(found), "since": timestamps.text(since)}
                logger.warning("no time for the rest of the list", extra=facts)
            return Watch({batch.id: batch for batch in found}, since=since)
        except KeyMissingError as error:
            trouble = error.reason
        except ApiKeyRejectedError as error:
            trouble = "key_refused" if error.status == _UNAUTHORIZED else "no_permission"
        except (ApiUnavailableError, ApiNotFoundError, msgspec.DecodeError) as error:
            logger.warning("no listing now", extra={"problem": type(error).__name__})
            return Watch()
        claude.reload_key()
    logger.warning("no listing: the key", extra={"problem": PAUSE_MESSAGES[trouble]})
    return Watch(key_problem=trouble)


_UNAUTHORIZED = 401


def _apply(
    services: Services[PollSettings], unfinished: Unfinished, seen: Watch, phases: Phases
) -> None:
    listed = seen.listed if seen.listed is not None else {}
    unknown = _retrieve(services, unfinished, seen, phases)

    def look(batch: Batch) -> None:
        moved = _look(services, batch, listed)
        if moved is not None:
            seen.ended.append(moved)

    due = [
        batch
        for batch in unfinished.of(BatchStatus.IN_PROGRESS)
        if batch.batch_id not in unknown
        and (
            (found := listed.get(batch.batch_id or "")) is None
            or found.ended
            or batch.listing_misses
        )
    ]
    phases.each("look", due, place, look)
    lost = [batch for batch in _not_found(unfinished) if batch.batch_id not in unknown]
    phases.each("look", lost, place, lambda batch: _look_for(services, batch, listed))
    _cancel(services, unfinished, listed, phases)


def _retrieve(
    services: Services[PollSettings], unfinished: Unfinished, seen: Watch, phases: Phases
) -> set[str | None]:
    """Look one by one at batches that are older than the listing reaches, some in each poll; a 404 counts as one that lacks it.

    Returns:
        The ids of those that were not looked at: nothing is known of them now.
    """
    listed = seen.listed if seen.listed is not None else {}
    sought = [*unfinished.of(BatchStatus.IN_PROGRESS), *_not_found(unfinished)]
    old = [
        batch
        for batch in sought
        if seen.since is not None and _since(batch) < seen.since and batch.batch_id not in listed
    ]
    unknown = {batch.batch_id for batch in old}

    def retrieve(batch: Batch) -> None:
        found = services.claude.retrieve(batch.batch_id or "")
        if found is not None:
            listed[found.id] = found
        unknown.discard(batch.batch_id)

    phases.each("retrieve", old, place, retrieve, RETRIEVES)
    return unknown


def _since(batch: Batch) -> datetime:
    """Return since when a batch may be at Anthropic."""
    return timestamps.parse(
        batch.created_at or batch.intent_at or batch.status_key.partition("#")[2]
    )


def _cancel(
    services: Services[PollSettings],
    unfinished: Unfinished,
    listed: Mapping[str, MessageBatch],
    phases: Phases,
) -> None:
    """Cancel what the listing shows as running and should not; duplicates, which are paid for twice, first.

    Nothing of ours says that a cancel was heard: it is asked again until the listing shows it.
    """
    phases.each(
        "cancel duplicate",
        unfinished.duplicates,
        place,
        lambda one: _end_duplicate(services, one, listed),
    )
    canceled = unfinished.canceled
    running = [
        batch
        for batch in unfinished.of(BatchStatus.IN_PROGRESS)
        if batch.job in canceled
        and (found := listed.get(batch.batch_id or "")) is not None
        and found.running
    ]
    phases.each(
        "cancel", running, place, lambda batch: _canceled(services.claude, batch.batch_id or "")
    )


def _end_duplicate(
    services: Services[PollSettings], duplicate: Owner, listed: Mapping[str, MessageBatch]
) -> None:
    """Cancel a duplicate; it is closed only when it is seen canceling or ended, or must have ended by now."""
    found = listed.get(duplicate.job)
    over = found is not None and not found.running
    if (
        over
        or _canceled(services.claude, duplicate.job)
        or services.now() - duplicate.flagged_at > ENDS_WITHIN
    ):
        services.ownership.resolve_duplicate(duplicate)


def _canceled(claude: Claude, batch_id: str) -> bool:
    """Ask for a cancel; False where the answer, or that there is none, does not show that it was heard."""
    try:
        return claude.cancel(batch_id)
    except RelayError as error:
        facts = {"batch_id": batch_id, "problem": type(error).__name__}
        logger.warning("not canceled yet", extra=facts)
        return False


def _look(
    services: Services[PollSettings], batch: Batch, listed: Mapping[str, MessageBatch]
) -> Batch | None:
    """Note what the listing says of one open batch; give it back if it can be collected now."""
    found = listed.get(batch.batch_id or "")
    if found is None:
        return _unlisted(services, batch)
    if found.ended:
        counts = msgspec.to_builtins(found.request_counts)
        ended_at = found.ended_at or timestamps.text(services.now())
        event = events.batch_ended(batch, counts, ended_at)
        return _ended(services, batch, ended_at, [event])
    _listed_again(services.items, batch)
    return None


def _listed_again(items: WorkItems, batch: Batch) -> None:
    if batch.listing_misses:
        items.update_if_unchanged(batch, {"listing_misses": None, "missing_since": None})


def _look_for(
    services: Services[PollSettings], batch: Batch, listed: Mapping[str, MessageBatch]
) -> None:
    """Note whether the listing has an ended batch whose results were not found."""
    found = listed.get(batch.batch_id or "")
    there = found is not None and found.archived_at is None
    if there:
        _listed_again(services.items, batch)
    else:
        _count_miss(services, batch)


def _not_found(unfinished: Unfinished) -> list[Batch]:
    """Return the ended batches whose results were not found: they are gone only if no listing has them, either."""
    return [batch for batch in unfinished.of(BatchStatus.ENDED) if batch.not_found]


def _unlisted(services: Services[PollSettings], batch: Batch) -> Batch | None:
    """Ask for the results of an open batch that several listings lack, once it must have ended."""
    misses = _count_miss(services, batch)
    if misses < GONE_LISTINGS:
        return None
    logger.error("a batch is missing from Anthropic's list", extra={"batch": batch_key(batch)})
    return _ended(services, batch, timestamps.text(services.now()), [])


def _count_miss(services: Services[PollSettings], batch: Batch) -> int:
    """Count a listing that lacks a batch; under another key it counts only after a month.

    Returns:
        How many listings lack it so far, `GONE_LISTINGS` at the most: no more are needed.
    """
    now = services.now()
    same_key = batch.fingerprint == services.claude.fingerprint
    if not (batch.must_have_ended(now) if same_key else batch.results_are_deleted(now)):
        return 0
    misses = min(batch.listing_misses + 1, GONE_LISTINGS)
    if misses > batch.listing_misses:
        since = batch.missing_since or timestamps.text(now)
        services.items.update_if_unchanged(
            batch, {"listing_misses": misses, "missing_since": since}
        )
    return misses


def _ended(
    services: Services[PollSettings],
    batch: Batch,
    ended_at: str,
    pending_events: list[events.Event],
) -> Batch | None:
    changes = {"status": BatchStatus.ENDED, "next_step": Step.COLLECT, "ended_at": ended_at}
    expected = {"status": BatchStatus.IN_PROGRESS, "batch_id": batch.batch_id}
    if not services.items.transition(batch, changes, expected=expected, events=pending_events):
        return None
    services.outbox.publish(pending_events)
    return msgspec.structs.replace(batch, **changes)
