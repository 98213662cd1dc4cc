"""Ask the API once for all open batches: note the ended ones, cancel what is to be canceled."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

import msgspec
from aws_lambda_powertools import Logger

from functions.batches import events, times
from functions.batches.doors import Doors
from functions.batches.errors import (
    ClaudeRefusesError,
    ClaudeUnavailableError,
    KeyMissingError,
    NoResultsError,
    RelayError,
)
from functions.batches.items import Batch, BatchStatus, Step, batch_key
from functions.batches.marks import Owner, Unfinished
from functions.batches.settings import PollSettings
from functions.batches.verdicts import (
    ARCHIVED,
    ENDS_WITHIN,
    GONE_LISTINGS,
    PARKED,
    MessageBatch,
)
from functions.steps.phases import Phases, place

logger = Logger(child=True)


@dataclass
class Watch:
    """What was learned from the API.

    Attributes:
        listed: every batch of the window, by id; None where it could not be asked.
        ended: batches that wait to be collected from now on.
        trouble: a reason to park, where the API refuses the key.
    """

    listed: dict[str, MessageBatch] | None = None
    ended: list[Batch] = field(default_factory=list)
    trouble: str | None = None
    needed: bool = True

    @property
    def succeeded(self) -> bool:
        """Whether the API told what had to be known."""
        return self.listed is not None or not self.needed


def watch(doors: Doors[PollSettings], unfinished: Unfinished, phases: Phases) -> Watch:
    """Look at all open batches, in one listing."""
    begins = [_window(doors, unfinished), _of_doubles(doors, unfinished)]
    begin = min((one for one in begins if one is not None), default=None)
    if begin is None:
        return Watch(needed=False)
    seen = _ask(doors, begin, phases)
    if seen.listed is not None:
        _apply(doors, unfinished, seen, phases)
    return seen


def _window(doors: Doors[PollSettings], unfinished: Unfinished) -> datetime | None:
    """Say since when batches are of interest: the oldest open or unsure one, less the clocks' difference.

    Where none is, but one could not be sent, the API is asked all the same: a wrong address would not show otherwise.
    """
    open_ = unfinished.of(BatchStatus.IN_PROGRESS, BatchStatus.UNSURE) + _not_found(unfinished)
    begun = [
        times.parse(batch.created_at or batch.intent_at or batch.since.partition("#")[2])
        for batch in open_
    ]
    if begun:
        return min(begun) - timedelta(seconds=doors.settings.skew_s)
    waits = any(batch.begun_at for batch in unfinished.of(BatchStatus.WAITING))
    return doors.now() if waits else None


def _of_doubles(doors: Doors[PollSettings], unfinished: Unfinished) -> datetime | None:
    """Say since when doubles are of interest: any that still runs was created within a day before it was flagged."""
    flagged = [times.parse((one.since or "").partition("#")[2]) for one in unfinished.doubles]
    if not flagged:
        return None
    return min(flagged) - ENDS_WITHIN - timedelta(seconds=doors.settings.skew_s)


def _ask(doors: Doors[PollSettings], begin: datetime, phases: Phases) -> Watch:
    """List the window; after a refusal of the key once more, with the key read anew."""
    trouble = "key_missing"
    for _ in range(2):
        try:
            found = doors.claude.listing(begin, partial(phases.has_time, "listing"))
            return Watch({batch.id: batch for batch in found})
        except KeyMissingError as error:
            trouble = error.reason
        except ClaudeRefusesError as error:
            trouble = "key_refused" if error.status == _UNAUTHORIZED else "no_permission"
        except (ClaudeUnavailableError, NoResultsError, msgspec.DecodeError) as error:
            logger.warning("no listing now", extra={"problem": type(error).__name__})
            return Watch()
        doors.claude.renew_key()
    logger.warning("no listing: the key", extra={"problem": PARKED[trouble]})
    return Watch(trouble=trouble)


_UNAUTHORIZED = 401


def _apply(
    doors: Doors[PollSettings], unfinished: Unfinished, seen: Watch, phases: Phases
) -> None:
    listed = seen.listed or {}

    def look(batch: Batch) -> None:
        moved = _look(doors, batch, listed)
        if moved is not None:
            seen.ended.append(moved)

    due = [
        batch
        for batch in unfinished.of(BatchStatus.IN_PROGRESS)
        if (found := listed.get(batch.batch_id or "")) is None or found.ended or batch.unlisted
    ]
    phases.each("look", due, place, look)
    lost = _not_found(unfinished)
    phases.each("look", lost, place, lambda batch: _look_for(doors, batch, listed))
    _cancel(doors, unfinished, listed, phases)


def _cancel(
    doors: Doors[PollSettings],
    unfinished: Unfinished,
    listed: Mapping[str, MessageBatch],
    phases: Phases,
) -> None:
    """Cancel what the listing shows as running and should not; doubles, which are paid for twice, first.

    Nothing of ours says that a cancel was heard: it is asked again until the listing shows it.
    """
    phases.each(
        "cancel double", unfinished.doubles, place, lambda one: _end_double(doors, one, listed)
    )
    canceled = {job.job for job in unfinished.jobs if job.canceled_at is not None}
    running = [
        batch
        for batch in unfinished.of(BatchStatus.IN_PROGRESS)
        if batch.job in canceled
        and (found := listed.get(batch.batch_id or "")) is not None
        and found.running
    ]
    phases.each("cancel", running, place, lambda batch: _canceled(doors, batch.batch_id or ""))


def _end_double(
    doors: Doors[PollSettings], double: Owner, listed: Mapping[str, MessageBatch]
) -> None:
    """Cancel a double; it is closed only when it is seen canceling or ended, or must have ended by now."""
    found = listed.get(double.job)
    over = found is not None and not found.running
    flagged_at = times.parse((double.since or "").partition("#")[2])
    if over or _canceled(doors, double.job) or doors.now() - flagged_at > ENDS_WITHIN:
        doors.store.close_double(double)


def _canceled(doors: Doors[PollSettings], batch_id: str) -> bool:
    """Ask for a cancel; False where the answer, or that there is none, does not show that it was heard."""
    try:
        return doors.claude.cancel(batch_id)
    except RelayError as error:
        facts = {"batch_id": batch_id, "problem": type(error).__name__}
        logger.warning("not canceled yet", extra=facts)
        return False


def _look(
    doors: Doors[PollSettings], batch: Batch, listed: Mapping[str, MessageBatch]
) -> Batch | None:
    """Note what the listing says of one open batch; give it back if it can be collected now."""
    found = listed.get(batch.batch_id or "")
    if found is None:
        return _unlisted(doors, batch)
    if found.ended:
        counts = msgspec.to_builtins(found.request_counts)
        ended_at = found.ended_at or times.text(doors.now())
        event = events.batch_ended(batch, counts, ended_at)
        return _ended(doors, batch, ended_at, [event])
    _listed_again(doors, batch)
    return None


def _listed_again(doors: Doors[PollSettings], batch: Batch) -> None:
    if batch.unlisted:
        doors.store.note(batch, {"unlisted": None, "missing_since": None})


def _look_for(
    doors: Doors[PollSettings], batch: Batch, listed: Mapping[str, MessageBatch]
) -> None:
    """Note whether the listing has an ended batch whose results were not found."""
    found = listed.get(batch.batch_id or "")
    there = found is not None and found.archived_at is None
    (_listed_again if there else _count_miss)(doors, batch)


def _not_found(unfinished: Unfinished) -> list[Batch]:
    """Return the ended batches whose results were not found: they are gone only if no listing has them, either."""
    return [batch for batch in unfinished.of(BatchStatus.ENDED) if batch.not_found]


def _unlisted(doors: Doors[PollSettings], batch: Batch) -> Batch | None:
    """Ask for the results of an open batch that several listings lack, once it must have ended."""
    misses = _count_miss(doors, batch)
    if misses < GONE_LISTINGS:
        return None
    logger.error("a batch is missing from Anthropic's list", extra={"batch": batch_key(batch)})
    return _ended(doors, batch, times.text(doors.now()), [])


def _count_miss(doors: Doors[PollSettings], batch: Batch) -> int:
    """Count a listing that lacks a batch; under another key it counts only after a month.

    Returns:
        How many listings lack it so far, `GONE_LISTINGS` at the most: no more are needed.
    """
    now = doors.now()
    same_key = batch.fingerprint == doors.claude.fingerprint
    age = now - times.parse(batch.created_at or times.text(now))
    if age <= (ENDS_WITHIN if same_key else ARCHIVED):
        return 0
    misses = min(batch.unlisted + 1, GONE_LISTINGS)
    if misses > batch.unlisted:
        since = batch.missing_since or times.text(now)
        doors.store.note(batch, {"unlisted": misses, "missing_since": since})
    return misses


def _ended(
    doors: Doors[PollSettings], batch: Batch, ended_at: str, owed: list[events.Event]
) -> Batch | None:
    changes = {"status": BatchStatus.ENDED, "next": Step.COLLECT, "ended_at": ended_at}
    given = {"status": BatchStatus.IN_PROGRESS, "batch_id": batch.batch_id}
    if not doors.store.advance(batch, changes, given=given, events=owed):
        return None
    doors.notify.pay(doors.store, owed)
    return msgspec.structs.replace(batch, **changes)
