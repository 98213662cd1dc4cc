"""Run every minute and on request: record which batches have ended, and enqueue work that is ready."""

import os
import time
from collections.abc import Callable
from datetime import datetime
from functools import cache, partial

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from functions.adapters.metrics import NAMESPACE
from functions.adapters.queues import WorkQueues
from functions.adapters.trigger import PollInvoker
from functions.model import timestamps
from functions.model.create_response import KEY_PROBLEMS
from functions.model.items.batch import Batch
from functions.polling.jobs_file import write_jobs_file
from functions.polling.ledger_check import check_ledger
from functions.polling.ledger_file import write_ledger_files
from functions.polling.next_batches import NextBatches
from functions.polling.pausing import pause_or_resume
from functions.polling.pending_events import publish_pending_events
from functions.polling.phases import Phases
from functions.polling.pilots import advance_pilots
from functions.polling.poll_summary import PollSummary
from functions.polling.reconcile import reconcile
from functions.polling.recover import recover
from functions.polling.single_flight import single_flight
from functions.polling.status_file import status_reader, write_status_files
from functions.polling.waking import due_items, wake
from functions.polling.watch import Watch, is_listing_due, watch
from functions.readers import SUFFIXES
from functions.services import Services, open_services, time_left
from functions.settings import PollSettings

READ_TIMEOUT_S = 15.0
"""Read timeout of calls to the API. Poll has two minutes, and most of its work needs no answer."""
ENOUGH_S = 90.0
"""With less time left than this, in seconds, a requested poll is left to another invocation."""
THREADS = 8
"""Items processed at once. Fewer than the connections that a client keeps."""
logger = Logger()
metrics = Metrics(namespace=NAMESPACE)


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

    A scheduled poll always lists the batches at Anthropic. A requested one lists only if the last listing is old
    enough, because stages request up to a poll a second.
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
        logger.info("poll finished", extra={"summary": vars(summary)})
        if not summary.skipped:
            _emit_metrics(summary, services.now())
            services.emit_metrics(OpenRequests=summary.open_requests)
        repeat = first_look and summary.found_nothing
        wanted, first_look, requested = summary.wanted or repeat, summary.wanted, True
    return wanted


def _emit_metrics(summary: PollSummary, now: datetime) -> None:
    for name, value in summary.metric_values(now).items():
        unit = MetricUnit.NoUnit if name.endswith(("Hours", "Minutes")) else MetricUnit.Count
        metrics.add_metric(name, unit, value)


def poll(
    services: Services[PollSettings],
    work_queues: WorkQueues,
    phases: Phases | None = None,
    *,
    requested: bool = False,
) -> PollSummary:
    """Look at everything unfinished, once. If another poll is running, request one more from it and return.

    Args:
        services: the services of poll.
        work_queues: the queues of the stages.
        phases: how much time each phase has; by default, enough.
        requested: whether a stage requested this poll. Such a poll lists the batches at Anthropic only if that is
            due or decides something now, and only after it has sent what is ready.
    """
    phases = phases or Phases()
    with single_flight(services, phases) as summary:
        if not summary.skipped:
            _poll(services, work_queues, phases, summary, requested=requested)
    return summary


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
    summary.count(unfinished, services.now())
    sending = phases.attempt("sending", services.circuit.read, None)
    no_key = sending is not None and sending.paused_reason in KEY_PROBLEMS
    due, held_back = due_items(unfinished, services.now(), no_key=no_key)
    summary.woken = wake(work_queues, "wake", due, phases)

    batches = NextBatches(services, unfinished)
    if requested and sending is not None and sending.paused_reason is None:
        early = phases.attempt("admit", lambda: batches.admit(sending, []), list[Batch]())
        summary.woken += wake(work_queues, "ready", early, phases)

    list_due = not requested or is_listing_due(summary.listed_at, services)
    seen = phases.attempt(
        "watch",
        lambda: watch(services, unfinished, phases, no_key=no_key, list_due=list_due),
        Watch(),
    )
    summary.listed_at = seen.begun_at or summary.listed_at
    summary.silent_since = seen.silent_since(summary.silent_since)
    closed, summary.stuck = recover(services, unfinished, phases)
    advance_pilots(services, unfinished, phases)
    sending = phases.attempt(
        "pause", lambda: pause_or_resume(services, unfinished, sending, seen), None
    )
    more = phases.attempt("admit", lambda: batches.admit(sending, seen.ended), list[Batch]())
    ready = [*seen.ended, *closed, *more]
    if seen.listed is not None:  # the key works, so results can be downloaded
        ready += held_back
    summary.woken += wake(work_queues, "ready", ready, phases)

    publish_pending_events(services, unfinished, phases)
    status_of = status_reader(unfinished, sending, services.now())
    # Before the last status.json of a job, after which the job leaves the index.
    summary.jobs_file_write = write_jobs_file(
        services, unfinished.jobs, phases, status_of, summary.jobs_file_write
    )
    write_status_files(services, unfinished, phases, status_of)
    summary.ledger_at = write_ledger_files(services, unfinished, phases, summary.ledger_at)
    if seen.listed is not None and seen.since is not None:
        # Late, because it may wait long for results that no other phase needs.
        reconcile(services, unfinished, seen.listed, seen.since, seen.keys, phases)
    summary.ledger_check = check_ledger(services, unfinished, phases, summary.ledger_check)

    summary.listed = seen.listed is not None
    summary.ended, summary.admitted = len(seen.ended), len(batches.admitted)
    summary.passed_over = unfinished.unreadable + phases.failures
    summary.paused = sending is not None and sending.paused_reason is not None
