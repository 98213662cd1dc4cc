"""Every minute: note which batches have ended, and wake whatever can go on."""

import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache, partial

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.adapters.anthropic_api import Claude
from functions.adapters.outbox import Outbox
from functions.adapters.poll_lock import PollLock
from functions.adapters.queues import WorkQueues
from functions.errors import KeyMissingError, KeyUnreadableError, PublishError
from functions.model import events, timestamps
from functions.model.create_response import KEY_PROBLEMS, PAUSE_MESSAGES
from functions.model.events import Event
from functions.model.items import Batch, BatchStatus, Job, Step, batch_key, status_key
from functions.model.records import PollLease, Sending, Unfinished
from functions.polling.admission import PATIENCE, Limits, admit
from functions.polling.phases import Phases, place
from functions.polling.reconcile import reconcile
from functions.polling.recover import recover
from functions.polling.status_file import write_status_files
from functions.polling.watch import Watch, watch
from functions.readers import READERS
from functions.services import Services, open_services, time_left
from functions.settings import PollSettings

IN_FLIGHT = (BatchStatus.SENDING, BatchStatus.UNCONFIRMED, BatchStatus.IN_PROGRESS)
READ_TIMEOUT_S = 15.0
"""Poll waits no longer for the API's answers: it has two minutes, and much to do that needs none."""
PROBE_MOST_S = 3600.0
"""While sending is paused, a batch is let through at least so often: a stop lasts hours, and then goes on by itself."""
UNREADABLE_KEY = KeyUnreadableError.reason
LISTING_INTERVAL_S = 20.0
"""Least time between listings in requested polls. An ended batch may be noticed that much later, at most a minute."""
REST_S = 1.0
"""Between two polls, however many are asked for."""
ENOUGH_S = 90.0
"""With less of its Lambda's time left than this, poll leaves what is asked for to the next one."""
THREADS = 8
"""Items that poll works on at once, where it only waits for answers: fewer than a client keeps connections."""
WAKES = 100
"""Calls to SQS of ten work messages each, for one queue in one phase: a stage does less in a minute, and what is woken twice
stands in the way of others."""
PUBLISHED_WITHIN = timedelta(minutes=15)
"""An event that SNS has not taken for so long is an alarm."""
OUTBOX_GRACE = timedelta(seconds=10)
"""An event younger than this is probably being published by the stage that owes it."""
logger = Logger()
metrics = Metrics(namespace="claude-batch-relay")


@dataclass
class PollSummary:
    """What one poll saw and did; logged, and the source of the metrics."""

    skipped: bool = False
    wanted: bool = False
    listed: bool = False
    succeeded: bool = False
    open: int = 0
    waiting: int = 0
    ended: int = 0
    admitted: int = 0
    woken: int = 0
    stuck: int = 0
    passed_over: int = 0
    duplicates: int = 0
    paused: bool = False
    oldest_hours: float = 0.0


@cache
def _services() -> tuple[Services[PollSettings], WorkQueues]:
    settings = PollSettings.from_env(os.environ)
    services = open_services(settings, read_s=READ_TIMEOUT_S)
    services.uploads.record_readers(READERS, timestamps.text(services.now()))
    # 50 seconds by default: a lost work message is replaced by the next scheduled poll.
    resend_after_s = settings.retry_s * 5 / 6
    return services, WorkQueues(
        settings.submit_queue_url, settings.results_queue_url, resend_after_s=resend_after_s
    )


@metrics.log_metrics
@logger.inject_lambda_context
def handler(event: dict[str, object], context: LambdaContext) -> None:
    """Poll, and poll again if another poll was requested meanwhile.

    A scheduled poll always lists the batches at Anthropic. A requested one lists only if this container's last listing
    is older than `LISTING_INTERVAL_S`, because stages request up to a poll a second.
    """
    time_left_s, wanted = time_left(context), True
    services, work_queues = _services()
    requested = "requested" in event
    while wanted and time_left_s() > ENOUGH_S:
        list_due = not requested or services.claude.listing_age_s >= LISTING_INTERVAL_S
        phases = Phases(time_left_s, THREADS, time.sleep)
        summary = poll(services, work_queues, phases, list_due=list_due)
        logger.info("poll finished", extra={"tally": vars(summary)})
        if not summary.skipped:
            _measure(summary)
        wanted, requested = summary.wanted, True


def poll(
    services: Services[PollSettings],
    work_queues: WorkQueues,
    phases: Phases | None = None,
    *,
    list_due: bool = True,
) -> PollSummary:
    """Look at everything unfinished, once. If another poll is running, request one more from it and return.

    Args:
        services: poll's.
        work_queues: the queues of the stages.
        phases: how much time each phase has; by default, enough.
        list_due: False leaves out the listing at Anthropic, unless it decides something now.
    """
    token, phases = uuid.uuid4().hex, phases or Phases()
    lease = _acquire_lease(services.poll_lock, token, services.settings.lease_s)
    if lease is None:
        return PollSummary(skipped=True)
    phases.resume_from(lease.stopped)
    tally = PollSummary()
    try:
        _rest(lease, phases, services.now())
        _poll(services, work_queues, phases, tally, list_due=list_due)
    finally:
        tally.wanted = services.poll_lock.release(token, phases.stopped)
    return tally


def _acquire_lease(poll_lock: PollLock, token: str, lease_s: float) -> PollLease | None:
    """Be the only poll; None where another one is at work, which has been asked for another one."""
    lease = poll_lock.acquire(token, lease_s)
    if lease is None:
        poll_lock.request_another()
        # It may have ended just before it was asked: then nobody else would.
        lease = poll_lock.acquire(token, lease_s)
    return lease


def _rest(lease: PollLease, phases: Phases, now: datetime) -> None:
    """Let a second pass between two polls: what becomes ready meanwhile is this one's, too."""
    if lease.ended_at is not None:
        since_s = (now - timestamps.parse(lease.ended_at)).total_seconds()
        phases.sleep(min(max(REST_S - since_s, 0.0), REST_S))


def _poll(
    services: Services[PollSettings],
    work_queues: WorkQueues,
    phases: Phases,
    tally: PollSummary,
    *,
    list_due: bool,
) -> None:
    """Go through the phases. What is due already is woken first: it needs no answer of the API's."""
    unfinished = services.items.unfinished(partial(phases.has_time, "read"))
    _count(unfinished, tally, services.now())
    sending = phases.attempt("sending", services.circuit.read, None)
    waiting = _waiting(services.claude, unfinished, sending, services.now())
    tally.woken = _wake(work_queues, "wake", waiting, phases)
    seen = phases.attempt(
        "watch",
        lambda: _watch(services, unfinished, sending, phases, list_due=list_due),
        Watch(),
    )
    closed, tally.stuck = recover(services, unfinished, phases)
    sending = phases.attempt("pause", lambda: _sending(services, unfinished, sending, seen), None)
    admitted = phases.attempt(
        "admit", lambda: _admitted(services, unfinished, sending, seen.ended), list[Batch]()
    )
    ready: list[Job | Batch] = [*seen.ended, *closed, *admitted]
    tally.woken += _wake(work_queues, "ready", ready, phases)
    pending_events = _pending_events(unfinished, services.now())
    phases.each(
        "events",
        pending_events,
        place,
        lambda event: _publish(services.outbox, event, services.now()),
    )
    write_status_files(services, unfinished, phases)
    if seen.listed is not None and seen.since is not None:
        # Last: it may have to wait for what nothing else here needs.
        reconcile(services, unfinished, seen.listed, seen.since, phases)
    tally.listed = seen.listed is not None
    tally.succeeded, tally.ended, tally.admitted = seen.succeeded, len(seen.ended), len(admitted)
    tally.passed_over = unfinished.unreadable + phases.failed
    tally.paused = sending is not None and sending.paused_reason is not None


def _publish(outbox: Outbox, event: Event, now: datetime) -> None:
    """Publish an event that is owed.

    Raises:
        PublishError: SNS has not taken it for a quarter of an hour; the alarm `stuck` counts it.
    """
    published = outbox.publish([event])
    if not published and timestamps.parse(event.time) + PUBLISHED_WITHIN < now:
        raise PublishError(event.id)


def _wake(
    work_queues: WorkQueues, phase: str, waiting: Sequence[Job | Batch], phases: Phases
) -> int:
    """Wake the stage that each item waits for; of many, so many at once as a stage may do before the next poll.

    Returns:
        How many wait to be woken now: not those that were a moment ago.
    """
    due = work_queues.slices(waiting)
    for name, slices in due.items():
        phases.each(
            f"{phase} {name}",
            slices,
            lambda some: place(some[0]),
            partial(work_queues.send, name),
            WAKES,
        )
    return sum(len(some) for slices in due.values() for some in slices)


def _count(unfinished: Unfinished, tally: PollSummary, now: datetime) -> None:
    """Count what is unfinished."""
    tally.open = len(unfinished.of(*IN_FLIGHT))
    tally.waiting = len(unfinished.of(BatchStatus.WAITING))
    tally.duplicates = len(unfinished.duplicates)
    tally.oldest_hours = _oldest_hours(unfinished, now)


def _watch(
    services: Services[PollSettings],
    unfinished: Unfinished,
    sending: Sending | None,
    phases: Phases,
    *,
    list_due: bool,
) -> Watch:
    no_key = sending is not None and sending.paused_reason in KEY_PROBLEMS
    if no_key:
        services.claude.reload_key()  # what poll may do with an old one says nothing of the secret's
    services.claude.reload_key_if_stale()
    return watch(services, unfinished, phases, no_key=no_key, list_due=list_due)


def _pending_events(unfinished: Unfinished, now: datetime) -> list[Event]:
    """Give the events that their stage has not published, oldest first."""
    before = timestamps.text(now - OUTBOX_GRACE)
    pending_events = [event for event in unfinished.events if event.time < before]
    return sorted(pending_events, key=lambda event: event.time)


def _waiting(
    claude: Claude, unfinished: Unfinished, sending: Sending | None, now: datetime
) -> list[Job | Batch]:
    """Give what waits for a stage and is nobody's.

    What waits to be sent must be admitted first. Without a key, results cannot be downloaded.
    """
    no_key = _has_no_key(claude, sending)
    batches = [batch for batch in unfinished.batches if not (no_key and batch.awaits_results)]
    held: list[Job | Batch] = [*unfinished.jobs, *batches]
    return [item for item in held if item.next_step not in {None, Step.SEND} and item.is_idle(now)]


def _has_no_key(claude: Claude, sending: Sending | None) -> bool:
    """Return whether results cannot be downloaded; a secret that submit cannot read may be readable for others."""
    if sending is None or sending.paused_reason != UNREADABLE_KEY:
        return sending is not None and sending.paused_reason in KEY_PROBLEMS
    claude.reload_key()
    try:
        return not claude.fingerprint
    except KeyMissingError:
        return True


def _sending(
    services: Services[PollSettings], unfinished: Unfinished, sending: Sending | None, seen: Watch
) -> Sending | None:
    """Pause when the key is refused; go on when a batch was sent and accepted since, or the key works again."""
    if sending is None:
        return None
    now = services.now()
    if seen.key_problem is not None:
        return (
            sending if sending.paused_reason is not None else _paused(services, seen.key_problem)
        )
    if sending.paused_reason is not None and sending.paused_at is not None:
        paused_at = sending.paused_at
        accepted = any(_sent_since(batch, paused_at) for batch in unfinished.batches)
        if accepted or _key_works(unfinished, sending, seen):
            event = events.resumed(sending.paused_reason, sending.paused_at, timestamps.text(now))
            if services.circuit.resume(sending, event):
                services.outbox.publish([event])
            return services.circuit.read()
    return sending


def _key_works(unfinished: Unfinished, sending: Sending, seen: Watch) -> bool:
    """Return whether a listing shows that sending need not be paused for the key any longer.

    That poll can read the secret does not show that submit can: while anything waits to be sent, that pause is lifted
    only by a batch that is accepted.
    """
    if sending.paused_reason == UNREADABLE_KEY and unfinished.of(BatchStatus.WAITING):
        return False
    return sending.paused_reason in KEY_PROBLEMS and seen.listed is not None


def _paused(services: Services[PollSettings], trouble: str) -> Sending:
    now = services.now()
    event = events.paused(trouble, PAUSE_MESSAGES[trouble], timestamps.text(now))
    if services.circuit.pause(event, trouble, timestamps.after(now, services.settings.probe_s)):
        services.outbox.publish([event])
    return services.circuit.read()


def _sent_since(batch: Batch, paused_at: str) -> bool:
    """Whether a batch was accepted that went out since: one that was under way before proves nothing."""
    sent_at, accepted_at = batch.intent_at or "", batch.recorded_at or ""
    return sent_at > paused_at and accepted_at > paused_at


def _admitted(
    services: Services[PollSettings],
    unfinished: Unfinished,
    sending: Sending | None,
    ended: list[Batch],
) -> list[Batch]:
    """Choose what may be sent now: within the limits, jobs in turns; one batch at a time to see if a stop is over.

    What this poll has seen end makes room already.
    """
    if sending is None:
        return []
    now, canceled = services.now(), unfinished.canceled
    written = timestamps.text(now)
    waiting = [
        batch for batch in unfinished.of(BatchStatus.WAITING)
        if batch.is_idle(now) and batch.job not in canceled
    ]  # fmt: skip
    if not waiting or (sending.not_before is not None and sending.not_before > written):
        return []
    limits = Limits(services.settings.open_batches, services.settings.queued_requests)
    old = status_key(BatchStatus.WAITING, timestamps.text(now - PATIENCE))
    over = {(batch.job, batch.item) for batch in ended}
    there = [one for one in unfinished.of(*IN_FLIGHT) if (one.job, one.item) not in over]
    admitted = admit(waiting, there, limits, old)
    if sending.paused_reason is None:
        return admitted
    if sending.probe is not None and sending.probe in {batch_key(batch) for batch in waiting}:
        # Its leave is not used: its message may be lost, or was taken for one that was sent a moment before.
        return [batch for batch in waiting if batch_key(batch) == sending.probe]
    # The one that was refused least often: a batch at fault would hold all others up.
    chosen = sorted(admitted, key=lambda batch: batch.pauses_caused)[:1]
    due = sending.probe_at is None or sending.probe_at <= written
    probe_at = timestamps.after(now, _probe_pause_s(services.settings.probe_s, sending))
    return (
        chosen
        if due and chosen and services.circuit.probe(sending, batch_key(chosen[0]), probe_at)
        else []
    )


def _probe_pause_s(probe_s: float, sending: Sending) -> float:
    """Say how long to wait after a probe: ever longer, but not for a key, which is asked for the minute it is there."""
    retry_delay_s = float(probe_s)
    if sending.paused_reason in KEY_PROBLEMS:
        return retry_delay_s
    return max(retry_delay_s, min(retry_delay_s * (1 << min(sending.probes, 20)), PROBE_MOST_S))


def _oldest_hours(unfinished: Unfinished, now: datetime) -> float:
    """Say how long the oldest batch has been on its way, from the first try to send it: also one that never arrives."""
    begun = [
        timestamps.parse(batch.first_sent_at)
        for batch in unfinished.batches
        if batch.first_sent_at
    ]
    return max(((now - at).total_seconds() / 3600 for at in begun), default=0.0)


def _measure(tally: PollSummary) -> None:
    figures = {
        "OpenBatches": tally.open, "Waiting": tally.waiting, "Stuck": tally.stuck + tally.passed_over,
        "Duplicate": tally.duplicates,
        "Paused": int(tally.paused),
    }  # fmt: skip
    for name, count in figures.items():
        metrics.add_metric(name, MetricUnit.Count, count)
    metrics.add_metric("OldestBatchHours", MetricUnit.NoUnit, tally.oldest_hours)
    if tally.succeeded:
        metrics.add_metric("PollSucceeded", MetricUnit.Count, 1)
