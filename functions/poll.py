"""Run every minute and on request: record which batches have ended, and enqueue work that is ready."""

import os
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, partial

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.adapters.outbox import Outbox
from functions.adapters.poll_lock import PollLock
from functions.adapters.queues import WorkQueues
from functions.adapters.trigger import PollInvoker
from functions.errors import KeyUnreadableError, PublishError
from functions.model import events, timestamps
from functions.model.create_response import KEY_PROBLEMS, PAUSE_MESSAGES
from functions.model.events import Event
from functions.model.items.batch import Batch, BatchStatus, batch_key
from functions.model.items.job import Job
from functions.model.items.work_item import Step
from functions.model.records import JobsFileWrite, PollLease, Sending, Unfinished
from functions.polling.admission import Limits, admit, beyond_share
from functions.polling.budgets import affordable, budgets_in_force, reserve
from functions.polling.jobs_file import write_jobs_file
from functions.polling.ledger_file import write_ledger_files
from functions.polling.phases import Phases, place
from functions.polling.pilots import advance_pilots
from functions.polling.reconcile import reconcile
from functions.polling.recover import recover
from functions.polling.status_file import status_reader, write_status_files
from functions.polling.warmups import first_pending_warmups, waits_for_warmup
from functions.polling.watch import Watch, watch
from functions.readers import SUFFIXES
from functions.services import Services, open_services, time_left
from functions.settings import PollSettings

IN_FLIGHT = (BatchStatus.SENDING, BatchStatus.UNCONFIRMED, BatchStatus.IN_PROGRESS)
READ_TIMEOUT_S = 15.0
"""Read timeout of calls to the API. Poll has two minutes, and most of its work needs no answer."""
PROBE_MOST_S = 3600.0
"""Longest pause between probes, in seconds, so that sending resumes within an hour of a recovery."""
UNREADABLE_KEY = KeyUnreadableError.reason
LISTING_INTERVAL_S = 20.0
"""Least time between listings in requested polls. An ended batch may be noticed that much later, at most a minute."""
REST_S = 1.0
"""Least time between two polls, in seconds, however many are requested."""
ENOUGH_S = 90.0
"""With less time left than this, in seconds, a requested poll is left to another invocation."""
THREADS = 8
"""Items processed at once. Fewer than the connections that a client keeps."""
WAKES = 100
"""Most calls to SQS, of ten work messages each, for one queue in one phase. A stage handles fewer messages in a minute,
and a repeated message delays others."""
PUBLISHED_WITHIN = timedelta(minutes=15)
"""An event that SNS has not accepted within this time raises the alarm `stuck`."""
OUTBOX_GRACE = timedelta(seconds=10)
"""The stage that wrote an event publishes it itself; poll republishes only older ones."""
logger = Logger()
metrics = Metrics(namespace="claude-batch-relay")


@dataclass
class PollSummary:
    """The figures of one poll, for its log line and its metrics.

    Attributes:
        listed_at: when the last listing began, in this poll or an earlier one.
        ledger_at: when the ledger's files were last written, likewise.
        jobs_file_write: the last write of jobs.json, likewise.
        silent_since: since when Anthropic has not answered a listing; the alarm `silent-api` measures it.
    """

    skipped: bool = False
    wanted: bool = False
    listed: bool = False
    listed_at: str | None = None
    ledger_at: str | None = None
    jobs_file_write: JobsFileWrite = field(default_factory=JobsFileWrite)
    silent_since: str | None = None
    open: int = 0
    open_requests: int = 0
    waiting: int = 0
    ended: int = 0
    admitted: int = 0
    woken: int = 0
    stuck: int = 0
    passed_over: int = 0
    duplicates: int = 0
    paused: bool = False
    oldest_hours: float = 0.0

    @property
    def found_nothing(self) -> bool:
        """Return whether this poll ran and neither admitted nor woke anything."""
        return not (self.skipped or self.admitted or self.woken)


@cache
def _services() -> tuple[Services[PollSettings], WorkQueues]:
    settings = PollSettings.from_env(os.environ)
    services = open_services(settings, read_s=READ_TIMEOUT_S, quick=True)
    services.uploads.record_readers(SUFFIXES, timestamps.text(services.now()))
    # 50 seconds by default: a lost work message is replaced by the next scheduled poll.
    resend_after_s = settings.retry_s * 5 / 6
    return services, WorkQueues(
        settings.submit_queue_url, settings.results_queue_url, resend_after_s=resend_after_s
    )


@cache
def _invoker(function: str) -> PollInvoker:
    return PollInvoker(function)


@metrics.log_metrics
@logger.inject_lambda_context
def handler(event: dict[str, object], context: LambdaContext) -> None:
    """Poll, and poll again if another poll was requested meanwhile, here or in another invocation.

    A scheduled poll always lists the batches at Anthropic. A requested one lists only if the last listing is older
    than `LISTING_INTERVAL_S`, because stages request up to a poll a second.
    """
    services, work_queues = _services()
    try:
        wanted = _poll_while_wanted(
            services, work_queues, time_left(context), requested="requested" in event
        )
    except Exception:
        if services.poll_lock.is_wanted():
            _invoker(context.function_name).fire()
        raise
    if wanted:
        _invoker(context.function_name).fire()


def _poll_while_wanted(
    services: Services[PollSettings],
    work_queues: WorkQueues,
    time_left_s: Callable[[], float],
    *,
    requested: bool,
) -> bool:
    """Poll as often as it is requested and time suffices. Return whether a request is left.

    The index that poll reads may still lack the item that a request is about. So a requested poll that finds nothing
    to do is repeated once.
    """
    wanted, first_look = True, requested
    while wanted and time_left_s() > ENOUGH_S:
        phases = Phases(time_left_s, THREADS, time.sleep)
        summary = poll(services, work_queues, phases, requested=requested)
        logger.info("poll finished", extra={"tally": vars(summary)})
        if not summary.skipped:
            _emit_metrics(summary, services.now())
            services.emit_metrics(OpenRequests=summary.open_requests)
        repeat = first_look and summary.found_nothing
        wanted, first_look, requested = summary.wanted or repeat, summary.wanted, True
    return wanted


def poll(
    services: Services[PollSettings],
    work_queues: WorkQueues,
    phases: Phases | None = None,
    *,
    requested: bool = False,
) -> PollSummary:
    """Look at everything unfinished, once. If another poll is running, request one more from it and return.

    Args:
        services: poll's.
        work_queues: the queues of the stages.
        phases: how much time each phase has; by default, enough.
        requested: whether a stage requested this poll. Such a poll lists the batches at Anthropic only if that is
            due or decides something now, and only after it has sent what is ready.
    """
    token, phases = uuid.uuid4().hex, phases or Phases()
    lease = _acquire_lease(services.poll_lock, token, services.settings.lease_s)
    if lease is None:
        return PollSummary(skipped=True)
    phases.resume_from(lease.stopped)
    summary = PollSummary(
        listed_at=lease.listed_at,
        ledger_at=lease.ledger_at,
        jobs_file_write=lease.jobs_file_write,
        silent_since=lease.silent_since,
    )
    try:
        _rest(lease, phases, services.now())
        _poll(services, work_queues, phases, summary, requested=requested)
    finally:
        ended = PollLease(
            stopped=phases.stopped,
            listed_at=summary.listed_at,
            ledger_at=summary.ledger_at,
            jobs_file_write=summary.jobs_file_write,
            silent_since=summary.silent_since,
        )
        summary.wanted = services.poll_lock.release(token, ended)
    return summary


def _acquire_lease(poll_lock: PollLock, token: str, lease_s: float) -> PollLease | None:
    """Acquire poll's lock. If another poll holds it, request one more from it and return None."""
    lease = poll_lock.acquire(token, lease_s)
    if lease is None:
        poll_lock.request_another()
        # The other poll may have ended before the request: then no other would follow.
        lease = poll_lock.acquire(token, lease_s)
    return lease


def _rest(lease: PollLease, phases: Phases, now: datetime) -> None:
    """Wait until a second has passed since the last poll. This poll then covers what became ready meanwhile."""
    if lease.ended_at is not None:
        since_s = (now - timestamps.parse(lease.ended_at)).total_seconds()
        phases.sleep(min(max(REST_S - since_s, 0.0), REST_S))


def _is_listing_due(listed_at: str | None, now: datetime) -> bool:
    """Return whether the last listing is old enough for another one. One in the future, by another clock, is."""
    if listed_at is None:
        return True
    age_s = (now - timestamps.parse(listed_at)).total_seconds()
    return not 0 <= age_s < LISTING_INTERVAL_S


def _poll(
    services: Services[PollSettings],
    work_queues: WorkQueues,
    phases: Phases,
    summary: PollSummary,
    *,
    requested: bool,
) -> None:
    """Run the phases. Enqueue first what is due already, because that needs no answer from the API.

    A requested poll also admits first. It admits again after the listing, which may find room.
    """
    unfinished = services.items.unfinished(partial(phases.has_time, "read"))
    _count(unfinished, summary, services.now())
    sending = phases.attempt("sending", services.circuit.read, None)
    waiting = _waiting(unfinished, services.now())
    no_key = sending is not None and sending.paused_reason in KEY_PROBLEMS
    held_back = [item for item in waiting if no_key and _needs_key(item)]
    due = [item for item in waiting if not (no_key and _needs_key(item))]
    summary.woken = _wake(work_queues, "wake", due, phases)
    admitted: list[Batch] = []

    def admit_more(ended: list[Batch]) -> list[Batch]:
        more = phases.attempt(
            "admit",
            lambda: _admitted(services, unfinished, sending, ended, admitted),
            list[Batch](),
        )
        admitted.extend(more)
        return more

    if requested and sending is not None and sending.paused_reason is None:
        summary.woken += _wake(work_queues, "ready", admit_more([]), phases)
    list_due = not requested or _is_listing_due(summary.listed_at, services.now())
    seen = phases.attempt(
        "watch",
        lambda: _watch(services, unfinished, phases, no_key=no_key, list_due=list_due),
        Watch(),
    )
    summary.listed_at = seen.begun_at or summary.listed_at
    summary.silent_since = seen.silent_since(summary.silent_since)
    closed, summary.stuck = recover(services, unfinished, phases)
    advance_pilots(services, unfinished, phases)
    sending = phases.attempt("pause", lambda: _sending(services, unfinished, sending, seen), None)
    ready: list[Job | Batch] = [*seen.ended, *closed, *admit_more(seen.ended)]
    if seen.listed is not None:  # the key works, so results can be downloaded
        ready += held_back
    summary.woken += _wake(work_queues, "ready", ready, phases)
    pending_events = _pending_events(unfinished, services.now())
    phases.each(
        "events",
        pending_events,
        place,
        lambda event: _publish(services.outbox, event, services.now()),
    )
    status_of = status_reader(unfinished, sending, services.now())
    # Before the last status.json of a job, after which the job leaves the index.
    summary.jobs_file_write = write_jobs_file(
        services, unfinished.jobs, phases, status_of, summary.jobs_file_write
    )
    write_status_files(services, unfinished, phases, status_of)
    summary.ledger_at = write_ledger_files(services, unfinished, phases, summary.ledger_at)
    if seen.listed is not None and seen.since is not None:
        # Last, because it may wait long for results that no other phase needs.
        reconcile(services, unfinished, seen.listed, seen.since, seen.keys, phases)
    summary.listed = seen.listed is not None
    summary.ended, summary.admitted = len(seen.ended), len(admitted)
    summary.passed_over = unfinished.unreadable + phases.failures
    summary.paused = sending is not None and sending.paused_reason is not None


def _publish(outbox: Outbox, event: Event, now: datetime) -> None:
    """Publish a pending event.

    Raises:
        PublishError: SNS has not accepted it for 15 minutes; the alarm `stuck` counts it.
    """
    published = outbox.publish([event])
    if not published and timestamps.parse(event.time) + PUBLISHED_WITHIN < now:
        raise PublishError(event.id)


def _wake(
    work_queues: WorkQueues, phase: str, waiting: Sequence[Job | Batch], phases: Phases
) -> int:
    """Enqueue each item for the stage that it waits for, up to `WAKES` calls for a queue.

    Returns:
        How many items are due. Items whose message was sent recently are not counted.
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


def _count(unfinished: Unfinished, summary: PollSummary, now: datetime) -> None:
    """Count the unfinished items."""
    in_flight = unfinished.of(*IN_FLIGHT)
    summary.open, summary.open_requests = len(in_flight), sum(b.requests for b in in_flight)
    summary.waiting = len(unfinished.of(BatchStatus.WAITING))
    summary.duplicates = len(unfinished.duplicates)
    summary.oldest_hours = _oldest_hours(unfinished, now)


def _watch(
    services: Services[PollSettings],
    unfinished: Unfinished,
    phases: Phases,
    *,
    no_key: bool,
    list_due: bool,
) -> Watch:
    if no_key:
        services.claude.reload_key()  # an old key that still works proves nothing about the one in the secret
    services.claude.reload_key_if_stale()
    return watch(services, unfinished, phases, no_key=no_key, list_due=list_due)


def _pending_events(unfinished: Unfinished, now: datetime) -> list[Event]:
    """Return the events that their stage has not published, oldest first."""
    before = timestamps.text(now - OUTBOX_GRACE)
    pending_events = [event for event in unfinished.events if event.time < before]
    return sorted(pending_events, key=lambda event: event.time)


def _waiting(unfinished: Unfinished, now: datetime) -> list[Job | Batch]:
    """Return the items that wait for a stage and are not leased. Batches that wait to be sent must be admitted first."""
    items: list[Job | Batch] = [*unfinished.jobs, *unfinished.batches]
    return [
        item for item in items if item.next_step not in {None, Step.SEND} and item.is_idle(now)
    ]


def _needs_key(item: Job | Batch) -> bool:
    """Return whether results must be downloaded, which takes a key."""
    return isinstance(item, Batch) and item.awaits_results


def _sending(
    services: Services[PollSettings], unfinished: Unfinished, sending: Sending | None, seen: Watch
) -> Sending | None:
    """Pause sending if the key is refused. Resume it if a batch sent since was accepted, or the key works again."""
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
    """Return whether a listing shows that a pause because of the key can end.

    Poll may be able to read a secret that submit cannot. So while a batch waits to be sent, only an accepted batch
    ends that pause.
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
    """Return whether a batch was both sent and accepted since then. One sent earlier proves nothing."""
    sent_at, accepted_at = batch.intent_at or "", batch.recorded_at or ""
    return sent_at > paused_at and accepted_at > paused_at


def _admitted(
    services: Services[PollSettings],
    unfinished: Unfinished,
    sending: Sending | None,
    ended: list[Batch],
    admitted: list[Batch],
) -> list[Batch]:
    """Choose the batches to send now: within the limits, jobs in turn. While sending is paused, choose one as a probe.

    Batches that this poll has seen end no longer take up room; those that it has admitted already do. A batch waits
    while its job cannot be read, because the job may be held or canceled.
    """
    if sending is None:
        return []
    unfinished.not_admitted.clear()
    now, canceled = services.now(), unfinished.canceled
    jobs = {job.job: job for job in unfinished.jobs}
    written = timestamps.text(now)
    moved = {(batch.job, batch.item) for batch in [*ended, *admitted]}
    waiting = [
        batch for batch in unfinished.of(BatchStatus.WAITING)
        if batch.is_idle(now) and batch.job not in canceled and (batch.job, batch.item) not in moved
        and batch.job in jobs and not jobs[batch.job].holds(batch)
    ]  # fmt: skip
    waiting = _not_waiting_for_warmup(unfinished, ended, waiting, now)
    if not waiting or (sending.not_before is not None and sending.not_before > written):
        return []
    limits = Limits(services.settings.open_batches, services.settings.queued_requests)
    in_flight = [
        batch for batch in unfinished.batches
        if _takes_up_room(batch, now) and (batch.job, batch.item) not in moved
    ]  # fmt: skip
    budgets = budgets_in_force(services, unfinished, admitted)
    waiting = affordable(services, unfinished, budgets, waiting)
    chosen = admit(waiting, [*in_flight, *admitted], limits, now)
    _pass_over(unfinished, waiting, [*in_flight, *admitted], chosen)
    return reserve(services, budgets, _probes(services, sending, waiting, chosen))


def _not_waiting_for_warmup(
    unfinished: Unfinished, ended: list[Batch], waiting: list[Batch], now: datetime
) -> list[Batch]:
    """Return the batches that need not wait for the first row of a shared prefix to be answered."""
    just_ended = {batch_key(batch) for batch in ended}
    first = first_pending_warmups(
        (batch for batch in unfinished.batches if batch_key(batch) not in just_ended), now
    )
    unfinished.pass_over([batch for batch in waiting if waits_for_warmup(batch, first)], "warm_up")
    return [batch for batch in waiting if not waits_for_warmup(batch, first)]


def _pass_over(
    unfinished: Unfinished, waiting: list[Batch], in_flight: list[Batch], chosen: list[Batch]
) -> None:
    """Record for status.json which batches wait for room, and which for room in the share of their folder."""
    admitted = {batch_key(batch) for batch in chosen}
    left = [batch for batch in waiting if batch_key(batch) not in admitted]
    beyond = beyond_share(left, [*in_flight, *chosen])
    unfinished.pass_over(beyond, "share")
    keys = {batch_key(batch) for batch in beyond}
    unfinished.pass_over([batch for batch in left if batch_key(batch) not in keys], "room")


def _probes(
    services: Services[PollSettings],
    sending: Sending,
    waiting: Sequence[Batch],
    chosen: list[Batch],
) -> list[Batch]:
    """Return the chosen batches, or only one as a probe while sending is paused."""
    now = services.now()
    if sending.paused_reason is None:
        return chosen
    if sending.probe is not None and sending.probe in {batch_key(batch) for batch in waiting}:
        # The probe was not used: its message was lost, or was suppressed as a repeat.
        return [batch for batch in waiting if batch_key(batch) == sending.probe]
    # The batch refused least often: a faulty one would hold up all others.
    chosen = sorted(chosen, key=lambda batch: batch.pauses_caused)[:1]
    due = sending.probe_at is None or sending.probe_at <= timestamps.text(now)
    probe_at = timestamps.after(now, _probe_pause_s(services.settings.probe_s, sending))
    return (
        chosen
        if due and chosen and services.circuit.probe(sending, batch_key(chosen[0]), probe_at)
        else []
    )


def _takes_up_room(batch: Batch, now: datetime) -> bool:
    """Return whether a batch is or may be at Anthropic, or submit has acquired it to send it."""
    return batch.status in IN_FLIGHT or (
        batch.status == BatchStatus.WAITING and batch.is_leased(now)
    )


def _probe_pause_s(probe_s: float, sending: Sending) -> float:
    """Return the pause after a probe, in seconds. It doubles each time, but not for a key problem: a new key is tried soon."""
    retry_delay_s = float(probe_s)
    if sending.paused_reason in KEY_PROBLEMS:
        return retry_delay_s
    return max(retry_delay_s, min(retry_delay_s * (1 << min(sending.probes, 20)), PROBE_MOST_S))


def _oldest_hours(unfinished: Unfinished, now: datetime) -> float:
    """Return the hours since the oldest batch was first sent, including one whose create never succeeds."""
    first_sent = [
        timestamps.parse(batch.first_sent_at)
        for batch in unfinished.batches
        if batch.first_sent_at
    ]
    return max(((now - sent_at).total_seconds() / 3600 for sent_at in first_sent), default=0.0)


def metric_values(summary: PollSummary, now: datetime) -> dict[str, float]:
    """Return the values of poll's metrics, which the alarms watch. A metric without a value costs nothing."""
    silent = {}
    if summary.silent_since is not None:
        silent_s = (now - timestamps.parse(summary.silent_since)).total_seconds()
        silent = {"SilentMinutes": silent_s / 60}
    return {
        "OpenBatches": summary.open, "Waiting": summary.waiting, "Stuck": summary.stuck + summary.passed_over,
        "Duplicate": summary.duplicates, "Paused": int(summary.paused), "PollSucceeded": 1,
        "OldestBatchHours": summary.oldest_hours, **silent,
    }  # fmt: skip


def _emit_metrics(summary: PollSummary, now: datetime) -> None:
    for name, value in metric_values(summary, now).items():
        unit = MetricUnit.NoUnit if name.endswith(("Hours", "Minutes")) else MetricUnit.Count
        metrics.add_metric(name, unit, value)
