"""List the open batches at the API once: record which ended, and cancel canceled ones."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import Any

import msgspec
from aws_lambda_powertools import Logger

from functions.adapters.anthropic_api import Claude
from functions.adapters.work_items import WorkItems
from functions.errors import (
    ApiKeyRejectedError,
    ApiNotFoundError,
    ApiUnavailableError,
    KeyMissingError,
)
from functions.model import events, timestamps
from functions.model.create_response import (
    MAX_BATCH_AGE,
    MIN_MISSING_LISTINGS,
    PAUSE_MESSAGES,
    MessageBatch,
)
from functions.model.items.batch import Batch, BatchStatus, batch_key
from functions.model.items.work_item import Step
from functions.model.unfinished import Unfinished
from functions.polling.canceling import cancel_batches
from functions.polling.phases import Phases, place
from functions.polling.reconcile import is_last_miss
from functions.polling.workspace_keys import keys_of_workspace
from functions.services import Services
from functions.settings import PollSettings

LISTING_INTERVAL_S = 20.0
"""Least time between listings in requested polls. An ended batch may be noticed that much later, at most a minute."""
MAX_RETRIEVES = 20
"""Batches older than the listing that one poll retrieves one by one; the next poll continues after them."""
_UNAUTHORIZED = 401
logger = Logger(child=True)


@dataclass
class Watch:
    """What one poll learned from the API.

    Attributes:
        listed: Message Batches by id: all of the window, and retrieved older ones; None if the
            listing failed.
        ended: batches that now wait to be collected.
        key_problem: the reason to pause if the API refuses the key.
        since: `listed` is complete from this time on. Later than the start of the window if time
            ran out.
        needed: False if nothing had to be listed.
        begun_at: when the listing began; None if there was none.
        keys: the fingerprints of the keys whose workspace was listed.
    """

    listed: dict[str, MessageBatch] | None = None
    ended: list[Batch] = field(default_factory=list)
    key_problem: str | None = None
    since: datetime | None = None
    needed: bool = True
    begun_at: str | None = None
    keys: Collection[str] = frozenset()

    def silent_since(self, before: str | None) -> str | None:
        """Return when the API stopped answering listings; None if it has answered, or none was needed.

        Args:
            before: this time, as the last poll knew it.
        """
        if self.listed is not None or self.key_problem is not None or not self.needed:
            return None
        return before or self.begun_at

    def find(self, batch: Batch) -> MessageBatch | None:
        """Return the Message Batch of a batch; None if it was not listed."""
        return (self.listed or {}).get(batch.batch_id or "")


def is_listing_due(listed_at: str | None, services: Services[PollSettings]) -> bool:
    """Return whether the last listing is old enough for another one. A time in the future is another clock's: list again."""
    if listed_at is None:
        return True
    age_s = (services.now() - timestamps.parse(listed_at)).total_seconds()
    return not 0 <= age_s < LISTING_INTERVAL_S * services.settings.pause_share


def watch(
    services: Services[PollSettings],
    unfinished: Unfinished,
    phases: Phases,
    *,
    no_key: bool,
    list_due: bool,
) -> Watch:
    """Look at all open batches in one listing.

    Args:
        services: the services of poll.
        unfinished: all unfinished items.
        phases: the phases of this poll.
        no_key: the key is missing or refused. List even if no batch is open: a listing that succeeds
            shows that a key works again.
        list_due: False leaves the listing to a later poll, unless it decides something now.
    """
    if no_key:
        services.claude.reload_key()  # an old key that still works proves nothing about the one in the secret
    services.claude.reload_key_if_stale()
    starts = [_window(services, unfinished), _duplicates_since(services.settings, unfinished)]
    starts += [services.now()] if no_key else []
    start = min((start for start in starts if start is not None), default=None)
    if start is None:
        return Watch(needed=False)
    if not (list_due or no_key or _decides_now(services, unfinished)):
        return Watch()
    begun_at = timestamps.text(services.now())
    seen = _list_batches(services.claude, start, phases)
    seen.begun_at = begun_at
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
    """Return the creation time of the oldest batch to look for, minus the clock skew.

    If nothing is open but a batch could not be sent, return the current time: the listing then
    reveals a wrong address.
    """
    sought = [
        *unfinished.of(BatchStatus.IN_PROGRESS, BatchStatus.UNCONFIRMED),
        *unfinished.not_found,
    ]
    if sought:
        return min(map(_since, sought)) - timedelta(seconds=services.settings.skew_s)
    unsent = any(batch.first_sent_at for batch in unfinished.of(BatchStatus.WAITING))
    return services.now() if unsent else None


def _duplicates_since(settings: PollSettings, unfinished: Unfinished) -> datetime | None:
    """Return the earliest creation time of a duplicate that still runs; None without duplicates.

    A batch runs for a day at most, so it was created within a day before it was flagged.
    """
    flagged_at = [duplicate.flagged_at for duplicate in unfinished.duplicates]
    if not flagged_at:
        return None
    return min(flagged_at) - MAX_BATCH_AGE - timedelta(seconds=settings.skew_s)


def _list_batches(claude: Claude, start: datetime, phases: Phases) -> Watch:
    """List the batches created since `start`; if the key is refused, reload it and retry once."""
    key_problem = "key_missing"
    for _ in range(2):
        try:
            batches, since = claude.list_batches(start, partial(phases.has_time, "listing"))
            if since > start:
                facts = {"batches": len(batches), "since": timestamps.text(since)}
                logger.warning("listing stopped, out of time", extra=facts)
            return Watch({batch.id: batch for batch in batches}, since=since)
        except KeyMissingError as error:
            key_problem = error.reason
        except ApiKeyRejectedError as error:
            key_problem = "key_refused" if error.status == _UNAUTHORIZED else "no_permission"
        except (ApiUnavailableError, ApiNotFoundError, msgspec.DecodeError) as error:
            logger.warning("listing failed", extra={"problem": type(error).__name__})
            return Watch()
        claude.reload_key()
    logger.warning("listing refused", extra={"problem": PAUSE_MESSAGES[key_problem]})
    return Watch(key_problem=key_problem)


def _apply(
    services: Services[PollSettings], unfinished: Unfinished, seen: Watch, phases: Phases
) -> None:
    listed = seen.listed if seen.listed is not None else {}
    unknown = _retrieve(services, unfinished, seen, phases)
    seen.keys = keys_of_workspace(services, unfinished, listed, phases)

    def record(batch: Batch) -> None:
        ended = _record_state(services, batch, seen)
        if ended is not None:
            seen.ended.append(ended)

    changed = [
        batch
        for batch in unfinished.of(BatchStatus.IN_PROGRESS)
        if batch.batch_id not in unknown
        and (
            (message_batch := listed.get(batch.batch_id or "")) is None
            or message_batch.ended
            or batch.listing_misses
        )
    ]
    phases.each("record states", changed, place, record)
    not_found = [batch for batch in unfinished.not_found if batch.batch_id not in unknown]
    phases.each("record states", not_found, place, lambda batch: _look_for(services, batch, seen))
    cancel_batches(services, unfinished, listed, phases)


def _retrieve(
    services: Services[PollSettings], unfinished: Unfinished, seen: Watch, phases: Phases
) -> set[str | None]:
    """Retrieve batches older than the listing, `MAX_RETRIEVES` a poll; a 404 counts as not listed.

    Returns:
        The ids of the batches that were not retrieved: their state is unknown.
    """
    listed = seen.listed if seen.listed is not None else {}
    sought = [*unfinished.of(BatchStatus.IN_PROGRESS), *unfinished.not_found]
    old = [
        batch
        for batch in sought
        if seen.since is not None and _since(batch) < seen.since and batch.batch_id not in listed
    ]
    unknown = {batch.batch_id for batch in old}

    def retrieve(batch: Batch) -> None:
        message_batch = services.claude.retrieve(batch.batch_id or "")
        if message_batch is not None:
            listed[message_batch.id] = message_batch
        unknown.discard(batch.batch_id)

    phases.each("retrieve", old, place, retrieve, MAX_RETRIEVES)
    return unknown


def _since(batch: Batch) -> datetime:
    """Return the earliest time at which a batch may have been created at Anthropic."""
    created_at = batch.created_at or batch.intent_at
    return batch.status_since if created_at is None else timestamps.parse(created_at)


def _record_state(services: Services[PollSettings], batch: Batch, seen: Watch) -> Batch | None:
    """Record the listed state of an open batch. Return the batch if it can be collected now."""
    message_batch = seen.find(batch)
    if message_batch is None:
        return _unlisted(services, batch, seen.keys)
    if message_batch.ended:
        counts = msgspec.to_builtins(message_batch.request_counts)
        ended_at = message_batch.ended_at or timestamps.text(services.now())
        event = events.batch_ended(batch, counts, ended_at)
        return _end(services, batch, ended_at, [event], counts)
    _reset_misses(services.items, batch)
    return None


def _reset_misses(items: WorkItems, batch: Batch) -> None:
    if batch.listing_misses:
        changes = dict.fromkeys(("listing_misses", "missing_since", "missing_key"))
        items.update_if_unchanged(batch, changes)


def _look_for(services: Services[PollSettings], batch: Batch, seen: Watch) -> None:
    """Record whether an ended batch is listed whose results were not found."""
    message_batch = seen.find(batch)
    if message_batch is not None and message_batch.archived_at is None:
        _reset_misses(services.items, batch)
    else:
        _count_miss(services, batch, seen.keys)


def _unlisted(
    services: Services[PollSettings], batch: Batch, keys: Collection[str]
) -> Batch | None:
    """End an open batch that several listings lack, so that collect asks for its results."""
    misses = _count_miss(services, batch, keys)
    if misses < MIN_MISSING_LISTINGS:
        return None
    logger.error("batch missing from Anthropic's listing", extra={"batch": batch_key(batch)})
    return _end(services, batch, timestamps.text(services.now()), [])


def _count_miss(services: Services[PollSettings], batch: Batch, keys: Collection[str]) -> int:
    """Count a listing that lacks a batch once it must have ended.

    A listing of another workspace proves nothing: then count only after Anthropic has deleted the results.

    Args:
        services: the services of poll.
        batch: the batch that was not listed.
        keys: the fingerprints of the keys whose workspace was listed.

    Returns:
        The number of listings that lack the batch, at most `MIN_MISSING_LISTINGS`.
    """
    now, key = services.now(), services.claude.fingerprint
    same_workspace = batch.fingerprint in keys
    if not (batch.must_have_ended(now) if same_workspace else batch.results_are_deleted(now)):
        return 0
    misses = min(batch.listing_misses + 1, MIN_MISSING_LISTINGS)
    new_key = same_workspace and batch.missing_key != key
    if misses > batch.listing_misses or new_key:
        since = batch.missing_since or timestamps.text(now)
        changes = {"listing_misses": misses, "missing_since": since}
        changes |= {"missing_key": key} if new_key else {}
        services.items.update_if_unchanged(batch, changes)
    return misses


def _end(
    services: Services[PollSettings],
    batch: Batch,
    ended_at: str,
    pending_events: list[events.Event],
    counts: Mapping[str, int] = MappingProxyType({}),
) -> Batch | None:
    changes: dict[str, Any] = {
        "status": BatchStatus.ENDED,
        "next_step": Step.COLLECT,
        "ended_at": ended_at,
    }
    if counts:
        changes["request_counts"] = {state: count for state, count in counts.items() if count}
    expected = {"status": BatchStatus.IN_PROGRESS, "batch_id": batch.batch_id}
    if not services.items.transition(batch, changes, expected=expected, events=pending_events):
        return None
    services.outbox.publish(pending_events)
    return msgspec.structs.replace(batch, **changes)
