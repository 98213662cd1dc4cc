"""Recover items after a crash, apply markers and deadlines, and announce or close stuck items."""

from datetime import datetime, timedelta
from typing import Any

import msgspec
from aws_lambda_powertools import Logger

from functions.adapters.circuit import Circuit
from functions.adapters.work_items import WorkItems
from functions.model import events, timestamps
from functions.model.cost_ledger import CostEntry, cost_entry
from functions.model.create_response import RESULTS_RETENTION
from functions.model.items.batch import Batch, BatchStatus, CloseReason
from functions.model.items.job import ESTIMATE, Job, JobStatus
from functions.model.items.work_item import MAX_TRIES, Step
from functions.model.unfinished import Unfinished
from functions.model.waiting_reasons import describe_killed
from functions.polling.apply_markers import apply_markers
from functions.polling.deadlines import cancel_overdue_jobs
from functions.polling.phases import Phases, place
from functions.services import Services
from functions.settings import PollSettings

PERMANENT_AFTER = timedelta(days=3)
"""Inconclusive creates or killed attempts over longer than this are not transient."""
logger = Logger(child=True)


def recover(
    services: Services[PollSettings], unfinished: Unfinished, phases: Phases
) -> tuple[list[Batch], int]:
    """Recover items that no stage will continue.

    Returns:
        The batches that were closed and now wait to be collected, and the number of stuck items.
    """
    now = services.now()
    crashed = [batch for batch in unfinished.of(BatchStatus.SENDING) if batch.is_idle(now)]
    phases.each("recover", crashed, place, lambda batch: _mark_unconfirmed(services.items, batch))
    complete = [
        job
        for job in unfinished.jobs
        if job.status == JobStatus.RUNNING and job.chunks_finished >= job.chunks
    ]
    phases.each(
        "recover", complete, place, lambda job: services.items.start_assembly_if_complete(job.job)
    )
    apply_markers(services, unfinished, phases)
    cancel_overdue_jobs(services, unfinished.jobs, phases)
    closed = _close_canceled(services, unfinished, now, phases)
    unfinished_items: list[Job | Batch] = [*unfinished.jobs, *unfinished.batches]
    suspects = [item for item in unfinished_items if _may_be_stuck(item, now)]
    stuck: list[Job | Batch] = []

    def check(item: Job | Batch) -> None:
        if _is_stuck(services.circuit, item, now):
            stuck.append(item)
            _handle_stuck(services, item, now)

    phases.each("quarantine", suspects, place, check)
    return closed, len(stuck)


def _mark_unconfirmed(work_items: WorkItems, batch: Batch) -> None:
    """Mark a batch whose stage crashed between its intent and an answer: it may exist."""
    expected = {"status": BatchStatus.SENDING, "owner": batch.owner}
    work_items.transition(batch, {"status": BatchStatus.UNCONFIRMED}, expected=expected)


def _close_canceled(
    services: Services[PollSettings], unfinished: Unfinished, now: datetime, phases: Phases
) -> list[Batch]:
    """Close the unsent batches of canceled jobs; their rows are collected as canceled."""
    closed: list[Batch] = []
    changes = {
        "status": BatchStatus.ENDED,
        "next_step": Step.COLLECT,
        "close_reason": CloseReason.CANCELED,
    }

    def close(batch: Batch) -> None:
        expected = {"status": batch.status, "status_key": batch.status_key, "owner": batch.owner}
        if services.items.transition(batch, changes, expected=expected):
            closed.append(msgspec.structs.replace(batch, **changes))

    unsent = [
        batch
        for batch in unfinished.of(BatchStatus.WAITING)
        if batch.job in unfinished.canceled and not batch.is_leased(now)
    ]
    phases.each("recover", unsent, place, close)
    return closed


def _handle_stuck(services: Services[PollSettings], item: Job | Batch, now: datetime) -> None:
    """Announce a stuck item once. Give it up if waiting cannot help, so that its job can end."""
    if item.stuck_at is None:
        event = events.stuck(item, _problem(item), timestamps.text(now))
        if services.items.announce_stuck(item, event):
            logger.error("item stuck", extra={"job": item.job, "item": item.item})
            services.outbox.publish([event])
    if _is_hopeless(services.circuit, item, now):
        _give_up(services, item, now)


def _may_be_stuck(item: Job | Batch, now: datetime) -> bool:
    """Return True if an unowned item has used up its tries. A job that is done only needs tidying."""
    inconclusive = isinstance(item, Batch) and item.inconclusive_creates >= MAX_TRIES
    tried = item.tries >= MAX_TRIES or inconclusive
    return (
        tried
        and item.next_step is not None
        and item.status != JobStatus.DONE
        and not item.is_leased(now)
    )


def _is_stuck(circuit: Circuit, item: Job | Batch, now: datetime) -> bool:
    return item.tries >= MAX_TRIES or _is_never_created(circuit, item, now)


def _problem(item: Job | Batch) -> str:
    """Return the last error of a stuck item, or what having none means."""
    if item.last_error is not None:
        return item.last_error
    if isinstance(item, Batch) and item.next_step == Step.SEND and item.tries < MAX_TRIES:
        return (
            f"{item.inconclusive_creates} creates over {PERMANENT_AFTER.days} days returned neither a batch "
            "nor a reason; see submit's log"
        )
    return describe_killed(item)


def _is_never_created(circuit: Circuit, item: Job | Batch, now: datetime) -> bool:
    """Return True if a batch had only inconclusive creates for days while others were accepted."""
    if (
        not isinstance(item, Batch)
        or item.next_step != Step.SEND
        or item.inconclusive_creates < MAX_TRIES
    ):
        return False
    first_sent_at = item.first_sent_at or timestamps.text(now)
    others_accepted = (circuit.read().accepted_at or "") > first_sent_at
    return others_accepted and now - timestamps.parse(first_sent_at) > PERMANENT_AFTER


def _is_hopeless(circuit: Circuit, item: Job | Batch, now: datetime) -> bool:
    """Return True if waiting cannot help.

    - Paid results (an ended batch, an earlier attempt, a job's parts) wait until Anthropic has
      deleted them.
    - Anything else is hopeless if its own content may have caused the last five failures, if every
      attempt was killed for three days, or if its job is canceled and not planned yet.
    - After a fault of the environment, an item waits as long as Anthropic keeps results, because
      its job's other rows wait with it.
    """
    if isinstance(item, Batch) and item.awaits_results:
        return item.results_are_deleted(now)
    failing_for = (
        now - timestamps.parse(item.first_tried_at) if item.first_tried_at else timedelta()
    )
    at_fault = item.faults >= MAX_TRIES
    if _holds_results(item):
        return at_fault and failing_for > RESULTS_RETENTION
    if _is_never_created(circuit, item, now):
        return True
    if item.tries < MAX_TRIES:
        return False
    unwanted = isinstance(item, Job) and item.canceled_at is not None
    killed = item.last_error is None and failing_for > PERMANENT_AFTER
    return at_fault or unwanted or killed or failing_for > RESULTS_RETENTION


def _holds_results(item: Job | Batch) -> bool:
    """Return True if only the files of this item hold results that were paid for."""
    if isinstance(item, Job):
        return item.status == JobStatus.ASSEMBLING
    holds = item.previous_results is not None or bool(item.pieces)
    return holds and item.next_step == Step.COLLECT


def _give_up(services: Services[PollSettings], item: Job | Batch, now: datetime) -> None:
    expected = {"status": item.status, "status_key": item.status_key, "tries": item.tries}
    job_increments = {"chunks_finished": 1} if _closing_failed(item) else None
    pending_events, entries = _end_of_job(services.files.bucket, item, now)
    changes = _give_up_changes(item, now)
    if services.items.transition(
        item,
        changes,
        expected=expected,
        job_increments=job_increments,
        puts=entries,
        events=pending_events,
        spent_micro_usd=changes.get("cost_micro_usd", 0),
    ):
        logger.error("item given up", extra={"job": item.job, "item": item.item})
        services.outbox.publish(pending_events)


def _end_of_job(
    results_bucket: str, item: Job | Batch, now: datetime
) -> tuple[list[events.Event], list[CostEntry]]:
    """Build the event `job.completed` and the cost entry if giving up this item ends its job."""
    if isinstance(item, Batch) or item.status != JobStatus.ASSEMBLING:
        return [], []
    ended = msgspec.structs.replace(item, **_give_up_changes(item, now))
    figures = {"rows": item.checkpoint.row, "counts": {}, "cost_usd": None, "manifest": None}
    event = events.job_ended(ended, results_bucket, figures, timestamps.text(now))
    return [event], [cost_entry(ended, figures, [], 0.0, "the results were not assembled")]


def _closing_failed(item: Job | Batch) -> bool:
    """Return True if collecting the closed batch failed too; assembly then salvages its rows."""
    return isinstance(item, Batch) and item.close_reason == CloseReason.STUCK


def _give_up_changes(item: Job | Batch, now: datetime) -> dict[str, Any]:
    """Return the attributes to set on an item that is given up."""
    if isinstance(item, Batch):
        if _closing_failed(item):
            # It may be billed, and nothing says how much. So what was reserved counts as spent.
            is_counted = item.batch_id is None or item.cost_micro_usd is not None
            cost = {} if is_counted else {"cost_micro_usd": item.worst_micro_usd}
            return {"status": BatchStatus.STUCK, **cost}
        return {
            "status": BatchStatus.ENDED,
            "next_step": Step.COLLECT,
            "close_reason": CloseReason.STUCK,
        }
    if item.status == JobStatus.PLANNING:
        failure = (
            f"the upload could not be read past row {item.checkpoint.row:,}: {_problem(item)}"
        )
        # Without an estimate, nothing shows that a held job fits its budget. So nothing of it is sent.
        canceled = {} if item.held != ESTIMATE else {"canceled_at": timestamps.text(now)}
        return {"status": JobStatus.RUNNING, "failure": failure, **canceled}
    failure = (
        f"the results could not be assembled for a month ({_problem(item)}); the results of each chunk are kept "
        f"under work/{item.job}/"
    )
    # Without the step tidy, nothing tags these files for deletion.
    return {
        "status": JobStatus.DONE,
        "next_step": None,
        "outcome": "failed",
        "failure": failure,
        "planning_failure": item.failure or "",
    }
