"""Every minute: note which batches have ended, and wake whatever can go on."""

import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.batches import events, times
from functions.batches.admission import PATIENCE, Limits, admit
from functions.batches.doors import Doors, open_doors
from functions.batches.events import Event
from functions.batches.hints import Hints
from functions.batches.items import Batch, BatchStatus, Job, Step, batch_key, since
from functions.batches.marks import Flight, Sending, Unfinished
from functions.batches.readers import READERS
from functions.batches.settings import PollSettings
from functions.batches.verdicts import KEY_TROUBLE, PARKED
from functions.steps.phases import Phases, place
from functions.steps.prove import prove
from functions.steps.recover import idle, recover
from functions.steps.report import report
from functions.steps.watch import Watch, watch

AT_ANTHROPIC = (BatchStatus.SENDING, BatchStatus.UNSURE, BatchStatus.IN_PROGRESS)
SILENCE_S = 15.0
"""Poll waits no longer for the API's answers: it has two minutes, and much to do that needs none."""
PROBE_MOST_S = 3600.0
"""While sending is parked, a batch is let through at least so often: a stop lasts hours, and then goes on by itself."""
REST_S = 1.0
"""Between two polls, however many are asked for."""
ENOUGH_S = 90.0
"""With less of its Lambda's time left than this, poll leaves what is asked for to the next one."""
THREADS = 8
"""Items that poll works on at once, where it only waits for answers: fewer than a client keeps connections."""
WAKES = 100
"""Calls to SQS of ten hints each, for one queue in one phase: a stage does less in a minute, and what is woken twice
stands in the way of others."""
SETTLING = timedelta(seconds=10)
"""An event younger than this is probably being published by the stage that owes it."""
logger = Logger()
metrics = Metrics(namespace="claude-batch-relay")


@dataclass
class Tally:
    """What one poll saw and did; logged, and the source of the metrics."""

    skipped: bool = False
    wanted: bool = False
    succeeded: bool = False
    open: int = 0
    waiting: int = 0
    ended: int = 0
    admitted: int = 0
    woken: int = 0
    stuck: int = 0
    passed_over: int = 0
    doubles: int = 0
    parked: bool = False
    oldest_hours: float = 0.0


@cache
def _doors() -> tuple[Doors[PollSettings], Hints]:
    settings = PollSettings.from_env(os.environ)
    doors = open_doors(settings, read_s=SILENCE_S)
    doors.store.uploads.note_readers(READERS, times.text(doors.now()))
    return doors, Hints(settings.submit_queue_url, settings.results_queue_url)


@metrics.log_metrics
@logger.inject_lambda_context
def handler(_event: object, context: LambdaContext) -> None:
    """Poll; and again, where somebody asked for it meanwhile."""

    def time_left_s() -> float:
        return context.get_remaining_time_in_millis() / 1000

    wanted = True
    while wanted and time_left_s() > ENOUGH_S:
        tally = poll(*_doors(), Phases(time_left_s, THREADS, time.sleep))
        logger.info("polled", extra={"tally": vars(tally)})
        if not tally.skipped:
            _measure(tally)
        wanted = tally.wanted


def poll(doors: Doors[PollSettings], hints: Hints, phases: Phases | None = None) -> Tally:
    """Look at everything unfinished, once; only one poll at a time, which then is asked for another one."""
    token, phases = uuid.uuid4().hex, phases or Phases()
    flight = _take_off(doors, token)
    if flight is None:
        return Tally(skipped=True)
    phases.go_on_from(flight.stopped)
    tally = Tally()
    try:
        _rest(doors, flight, phases)
        _poll(doors, hints, phases, tally)
    finally:
        tally.wanted = doors.store.end_flight(token, phases.stopped)
    return tally


def _take_off(doors: Doors[PollSettings], token: str) -> Flight | None:
    """Be the only poll; None where another one is at work, which has been asked for another one."""
    flight = doors.store.single_flight(token, doors.settings.lease_s)
    if flight is None:
        doors.store.want_flight()
        # It may have ended just before it was asked: then nobody else would.
        flight = doors.store.single_flight(token, doors.settings.lease_s)
    return flight


def _rest(doors: Doors[PollSettings], flight: Flight, phases: Phases) -> None:
    """Let a second pass between two polls: what becomes ready meanwhile is this one's, too."""
    if flight.ended_at is not None:
        since_s = (doors.now() - times.parse(flight.ended_at)).total_seconds()
        phases.sleep(min(max(REST_S - since_s, 0.0), REST_S))


def _poll(doors: Doors[PollSettings], hints: Hints, phases: Phases, tally: Tally) -> None:
    """Go through the phases. What is due already is woken first: it needs no answer of the API's."""
    unfinished = doors.store.unfinished(partial(phases.has_time, "read"))
    _count(doors, unfinished, tally)
    sending = phases.attempt("sending", doors.store.sending, None)
    waiting = _waiting(doors, unfinished, sending)
    tally.woken = _wake(hints, "wake", waiting, phases)
    seen = phases.attempt("watch", lambda: _watch(doors, unfinished, sending, phases), Watch())
    closed, tally.stuck = recover(doors, unfinished, phases)
    sending = phases.attempt("park", lambda: _sending(doors, unfinished, sending, seen), None)
    admitted = phases.attempt(
        "admit", lambda: _admitted(doors, unfinished, sending, seen.ended), list[Batch]()
    )
    ready: list[Job | Batch] = [*seen.ended, *closed, *admitted]
    tally.woken += _wake(hints, "ready", ready, phases)
    owed = _owed(doors, unfinished)
    phases.each("events", owed, place, lambda event: doors.notify.pay(doors.store, [event]))
    report(doors, unfinished, phases)
    if seen.listed is not None:  # last: it may have to wait for what nothing else here needs
        prove(doors, unfinished, seen.listed, phases)
    tally.succeeded, tally.ended, tally.admitted = seen.succeeded, len(seen.ended), len(admitted)
    tally.passed_over = unfinished.unreadable + phases.failed
    tally.parked = sending is not None and sending.parked is not None


def _wake(hints: Hints, phase: str, waiting: Sequence[Job | Batch], phases: Phases) -> int:
    """Wake the stage that each item waits for; of many, so many at once as a stage may do before the next poll.

    Returns:
        How many wait to be woken now: not those that were a moment ago.
    """
    due = hints.slices(waiting)
    for name, slices in due.items():
        phases.each(
            f"{phase} {name}",
            slices,
            lambda some: place(some[0]),
            partial(hints.send, name),
            WAKES,
        )
    return sum(len(some) for slices in due.values() for some in slices)


def _count(doors: Doors[PollSettings], unfinished: Unfinished, tally: Tally) -> None:
    """Count what is unfinished."""
    tally.open = len(unfinished.of(*AT_ANTHROPIC))
    tally.waiting = len(unfinished.of(BatchStatus.WAITING))
    tally.doubles = len(unfinished.doubles)
    tally.oldest_hours = _oldest_hours(doors, unfinished)


def _watch(
    doors: Doors[PollSettings], unfinished: Unfinished, sending: Sending | None, phases: Phases
) -> Watch:
    if sending is not None and sending.parked in KEY_TROUBLE:
        doors.claude.renew_key()  # what poll may do with an old one says nothing of the secret's
    doors.claude.freshen_key()
    return watch(doors, unfinished, phases)


def _owed(doors: Doors[PollSettings], unfinished: Unfinished) -> list[Event]:
    """Give the events that their stage has not published, oldest first."""
    before = times.text(doors.now() - SETTLING)
    owed = [event for event in unfinished.events if event.time < before]
    return sorted(owed, key=lambda event: event.time)


def _waiting(
    doors: Doors[PollSettings], unfinished: Unfinished, sending: Sending | None
) -> list[Job | Batch]:
    """Give what waits for a stage and is nobody's.

    What waits to be sent must be admitted first. Without a key, results cannot be downloaded.
    """
    now = times.text(doors.now())
    no_key = sending is not None and sending.parked in KEY_TROUBLE
    batches = [batch for batch in unfinished.batches if not (no_key and batch.awaits_results)]
    held: list[Job | Batch] = [*unfinished.jobs, *batches]
    return [item for item in held if item.next not in {None, Step.SEND} and idle(item, now)]


def _sending(
    doors: Doors[PollSettings], unfinished: Unfinished, sending: Sending | None, seen: Watch
) -> Sending | None:
    """Park when the key is refused; go on when a batch was sent and accepted since, or the key works again."""
    if sending is None:
        return None
    now = doors.now()
    if seen.trouble is not None:
        return sending if sending.parked is not None else _parked(doors, seen.trouble)
    if sending.parked is not None and sending.parked_at is not None:
        key_works = sending.parked in KEY_TROUBLE and seen.listed is not None
        if key_works or any(_sent_since(batch, sending.parked_at) for batch in unfinished.batches):
            event = events.resumed(sending.parked, sending.parked_at, times.text(now))
            if doors.store.resume(sending, event):
                doors.notify.pay(doors.store, [event])
            return doors.store.sending()
    return sending


def _parked(doors: Doors[PollSettings], trouble: str) -> Sending:
    now = doors.now()
    event = events.parked(trouble, PARKED[trouble], times.text(now))
    if doors.store.park(event, trouble, times.after(now, doors.settings.probe_s)):
        doors.notify.pay(doors.store, [event])
    return doors.store.sending()


def _sent_since(batch: Batch, parked_at: str) -> bool:
    """Whether a batch was accepted that went out since: one that was under way before proves nothing."""
    sent_at, accepted_at = batch.intent_at or "", batch.recorded_at or ""
    return sent_at > parked_at and accepted_at > parked_at


def _admitted(
    doors: Doors[PollSettings], unfinished: Unfinished, sending: Sending | None, ended: list[Batch]
) -> list[Batch]:
    """Choose what may be sent now: within the limits, jobs in turns; one batch at a time to see if a stop is over.

    What this poll has seen end makes room already.
    """
    if sending is None:
        return []
    now = times.text(doors.now())
    canceled = {job.job for job in unfinished.jobs if job.canceled_at is not None}
    waiting = [
        batch for batch in unfinished.of(BatchStatus.WAITING)
        if idle(batch, now) and batch.job not in canceled
    ]  # fmt: skip
    if not waiting or (sending.not_before is not None and sending.not_before > now):
        return []
    limits = Limits(doors.settings.open_batches, doors.settings.queued_requests)
    old = since(BatchStatus.WAITING, times.text(doors.now() - PATIENCE))
    over = {(batch.job, batch.item) for batch in ended}
    there = [one for one in unfinished.of(*AT_ANTHROPIC) if (one.job, one.item) not in over]
    admitted = admit(waiting, there, limits, old)
    if sending.parked is None:
        return admitted
    # The one that was refused least often: a batch at fault would hold all others up.
    chosen = sorted(admitted, key=lambda batch: batch.parks)[:1]
    due = sending.probe_at is None or sending.probe_at <= now
    probe_at = times.after(doors.now(), _probe_pause_s(doors, sending))
    return (
        chosen
        if due and chosen and doors.store.probe(sending, batch_key(chosen[0]), probe_at)
        else []
    )


def _probe_pause_s(doors: Doors[PollSettings], sending: Sending) -> float:
    """Say how long to wait after a probe: ever longer, but not for a key, which is asked for the minute it is there."""
    pause_s = float(doors.settings.probe_s)
    if sending.parked in KEY_TROUBLE:
        return pause_s
    return max(pause_s, min(pause_s * (1 << min(sending.probes, 20)), PROBE_MOST_S))


def _oldest_hours(doors: Doors[PollSettings], unfinished: Unfinished) -> float:
    """Say how long the oldest batch has been on its way, from the first try to send it: also one that never arrives."""
    begun = [times.parse(batch.begun_at) for batch in unfinished.batches if batch.begun_at]
    return max(((doors.now() - at).total_seconds() / 3600 for at in begun), default=0.0)


def _measure(tally: Tally) -> None:
    figures = {
        "OpenBatches": tally.open, "Waiting": tally.waiting, "Stuck": tally.stuck + tally.passed_over,
        "Double": tally.doubles,
        "Parked": int(tally.parked),
    }  # fmt: skip
    for name, count in figures.items():
        metrics.add_metric(name, MetricUnit.Count, count)
    metrics.add_metric("OldestBatchHours", MetricUnit.NoUnit, tally.oldest_hours)
    if tally.succeeded:
        metrics.add_metric("PollSucceeded", MetricUnit.Count, 1)
