"""Every minute: note which batches have ended, and wake whatever can go on."""

import os
import uuid
from dataclasses import dataclass
from datetime import timedelta
from functools import cache

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.batches import events, times
from functions.batches.admission import Limits, admit
from functions.batches.doors import Doors, open_doors
from functions.batches.hints import Hints
from functions.batches.items import Batch, BatchStatus, Job, Step, batch_key
from functions.batches.marks import Sending, Unfinished
from functions.batches.readers import READERS
from functions.batches.settings import PollSettings
from functions.batches.verdicts import KEY_TROUBLE, PARKED
from functions.steps.prove import prove
from functions.steps.recover import idle, recover
from functions.steps.report import report
from functions.steps.watch import Watch, watch

AT_ANTHROPIC = (BatchStatus.SENDING, BatchStatus.UNSURE, BatchStatus.IN_PROGRESS)
SILENCE_S = 15.0
"""Poll waits no longer for the API's answers: it has two minutes, and much to do that needs none."""
PROBE_MOST_S = 3600.0
"""While sending is parked, a batch is let through at least so often: a stop lasts hours, and then goes on by itself."""
SETTLING = timedelta(seconds=10)
"""An event younger than this is probably being published by the stage that owes it."""
logger = Logger()
metrics = Metrics(namespace="claude-batch-relay")


@dataclass
class Tally:
    """What one poll saw and did; logged, and the source of the metrics."""

    skipped: bool = False
    succeeded: bool = False
    open: int = 0
    waiting: int = 0
    ended: int = 0
    admitted: int = 0
    woken: int = 0
    stuck: int = 0
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
def handler(_event: object, _context: LambdaContext) -> None:
    """Poll once."""
    tally = poll(*_doors())
    logger.info("polled", extra={"tally": vars(tally)})
    if not tally.skipped:
        _measure(tally)


def poll(doors: Doors[PollSettings], hints: Hints) -> Tally:
    """Look at everything unfinished, once; only one poll at a time."""
    token = uuid.uuid4().hex
    if not doors.store.single_flight(token, doors.settings.lease_s):
        return Tally(skipped=True)
    unfinished, sending = doors.store.unfinished(), doors.store.sending()
    if sending.parked in KEY_TROUBLE:
        doors.claude.renew_key()  # what poll may do with an old one says nothing of the secret's
    doors.claude.freshen_key()
    seen = watch(doors, unfinished)
    closed, stuck = recover(doors, unfinished)
    sending = _sending(doors, unfinished, sending, seen)
    admitted = _admitted(doors, unfinished, sending)
    due = [*_waiting(doors, unfinished), *seen.ended, *closed, *admitted]
    hints.wake(due)
    now = doors.now()
    owed = [event for event in unfinished.events if times.parse(event.time) + SETTLING < now]
    doors.notify.pay(doors.store, owed)
    report(doors, unfinished)
    if seen.listed is not None:  # last: it may have to wait for what nothing else here needs
        prove(doors, unfinished.of(BatchStatus.UNSURE), seen.listed)
    doors.store.end_flight(token)
    return Tally(
        succeeded=seen.succeeded,
        open=len(unfinished.of(*AT_ANTHROPIC)),
        waiting=len(unfinished.of(BatchStatus.WAITING)),
        ended=len(seen.ended),
        admitted=len(admitted),
        woken=len(due),
        stuck=stuck,
        doubles=len(unfinished.doubles),
        parked=sending.parked is not None,
        oldest_hours=_oldest_hours(doors, unfinished),
    )


def _waiting(doors: Doors[PollSettings], unfinished: Unfinished) -> list[Job | Batch]:
    """Give what waits for a stage and is nobody's; what waits to be sent must be admitted first."""
    now = times.text(doors.now())
    held: list[Job | Batch] = [*unfinished.jobs, *unfinished.batches]
    return [item for item in held if item.next not in {None, Step.SEND} and idle(item, now)]


def _sending(
    doors: Doors[PollSettings], unfinished: Unfinished, sending: Sending, seen: Watch
) -> Sending:
    """Park when the key is refused; go on when a batch was sent and accepted since, or the key works again."""
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


def _admitted(doors: Doors[PollSettings], unfinished: Unfinished, sending: Sending) -> list[Batch]:
    """Choose what may be sent now: within the limits, jobs in turns; one batch at a time to see if a stop is over."""
    now = times.text(doors.now())
    canceled = {job.job for job in unfinished.jobs if job.canceled_at is not None}
    waiting = [
        batch for batch in unfinished.of(BatchStatus.WAITING)
        if idle(batch, now) and batch.job not in canceled
    ]  # fmt: skip
    if not waiting or (sending.not_before is not None and sending.not_before > now):
        return []
    limits = Limits(doors.settings.open_batches, doors.settings.queued_requests)
    admitted = admit(waiting, unfinished.of(*AT_ANTHROPIC), limits)
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
        "OpenBatches": tally.open, "Waiting": tally.waiting, "Stuck": tally.stuck, "Double": tally.doubles,
        "Parked": int(tally.parked),
    }  # fmt: skip
    for name, count in figures.items():
        metrics.add_metric(name, MetricUnit.Count, count)
    metrics.add_metric("OldestBatchHours", MetricUnit.NoUnit, tally.oldest_hours)
    if tally.succeeded:
        metrics.add_metric("PollSucceeded", MetricUnit.Count, 1)
