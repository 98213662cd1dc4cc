"""Crashed stages, stuck items, requests to cancel: what no stage can mend by itself, poll does here."""

from datetime import datetime, timedelta
from typing import Any

import msgspec
from aws_lambda_powertools import Logger

from functions.adapters.circuit import Circuit
from functions.adapters.work_items import WorkItems
from functions.model import events, items, timestamps
from functions.model.create_response import RESULTS_RETENTION
from functions.model.items import Batch, BatchStatus, CloseReason, Job, JobStatus, Step
from functions.model.records import Unfinished
from functions.polling.cancel_jobs import cancel_jobs
from functions.polling.phases import Phases, place
from functions.services import Services
from functions.settings import PollSettings

VAIN_FOR = timedelta(days=3)
"""A batch that was created in vain, or a try that was killed, for longer than this is no passing trouble."""
logger = Logger(child=True)


def recover(
    services: Services[PollSettings], unfinished: Unfinished, phases: Phases
) -> tuple[list[Batch], int]:
    """Mend what stands still.

    Returns:
        The batches that wait to be collected from now on, and how many items are stuck.
    """
    now = services.now()
    dead = [batch for batch in unfinished.of(BatchStatus.SENDING) if batch.is_idle(now)]
    phases.each("mend", dead, place, lambda batch: _unconfirmed(services.items, batch))
    full = [
        job
        for job in unfinished.jobs
        if job.status == JobStatus.RUNNING and job.chunks_finished >= job.chunks
    ]
    phases.each(
        "mend", full, place, lambda job: services.items.start_assembly_if_complete(job.job)
    )
    cancel_jobs(services, unfinished, phases)
    closed = _close_canceled(services, unfinished, now, phases)
    held: list[Job | Batch] = [*unfinished.jobs, *unfinished.batches]
    stuck: list[Job | Batch] = []

    def look(item: Job | Batch) -> None:
        if _is_stuck(services.circuit, item, now):
            stuck.append(item)
            _handle_stuck(services, item, now)

    phases.each("quarantine", [item for item in held if _waits(item, now)], place, look)
    return closed, len(stuck)


def _unconfirmed(work_items: WorkItems, batch: Batch) -> None:
    """A stage died between its intent and an answer: the batch may exist."""
    expected = {"status": BatchStatus.SENDING, "owner": batch.owner}
    work_items.transition(batch, {"status": BatchStatus.UNCONFIRMED}, expected=expected)


def _close_canceled(
    services: Services[PollSettings], unfinished: Unfinished, now: datetime, phases: Phases
) -> list[Batch]:
    """End what a canceled job has not sent yet; its rows are collected as canceled."""
    canceled = unfinished.canceled
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

    free = [
        batch
        for batch in unfinished.of(BatchStatus.WAITING)
        if batch.job in canceled and not batch.is_leased(now)
    ]
    phases.each("mend", free, place, close)
    return closed


def _handle_stuck(services: Services[PollSettings], item: Job | Batch, now: datetime) -> None:
    """Announce once what gets no further; give it up where waiting can no longer help, and its job goes on without it."""
    if item.stuck_at is None:
        event = events.stuck(item, _problem(item), timestamps.text(now))
        if services.items.announce_stuck(item, event):
            logger.error("stuck", extra={"job": item.job, "item": item.item})
            services.outbox.publish([event])
    if _is_hopeless(services.circuit, item, now):
        _give_up(services, item, now)


def _waits(item: Job | Batch, now: datetime) -> bool:
    """Return whether an item waits for a step, in vain so far, and nobody works on it.

    Of a job that is done, only tidying is left.
    """
    in_vain = isinstance(item, Batch) and item.inconclusive_creates >= items.TRIES
    tried = item.tries >= items.TRIES or in_vain
    return (
        tried
        and item.next_step is not None
        and item.status != JobStatus.DONE
        and not item.is_leased(now)
    )


def _is_stuck(circuit: Circuit, item: Job | Batch, now: datetime) -> bool:
    return item.tries >= items.TRIES or _is_in_vain(circuit, item, now)


def _problem(item: Job | Batch) -> str:
    """Return what went wrong the last time, or what its silence means."""
    if item.last_error is not None:
        return item.last_error
    if isinstance(item, Batch) and item.next_step == Step.SEND and item.tries < items.TRIES:
        return f"{item.inconclusive_creates} creates gave no batch and no reason, over {VAIN_FOR.days} days; see the log of submit"
    return "every attempt was killed before it finished (timeout or out of memory)"


def _is_in_vain(circuit: Circuit, item: Job | Batch, now: datetime) -> bool:
    """Return whether creates of a batch gave neither a batch nor a reason for days, while others were accepted."""
    if (
        not isinstance(item, Batch)
        or item.next_step != Step.SEND
        or item.inconclusive_creates < items.TRIES
    ):
        return False
    begun_at = item.first_sent_at or timestamps.text(now)
    others_pass = (circuit.read().accepted_at or "") > begun_at
    return others_pass and now - timestamps.parse(begun_at) > VAIN_FOR


def _is_hopeless(circuit: Circuit, item: Job | Batch, now: datetime) -> bool:
    """Return whether waiting can no longer help.

    What was paid for waits until Anthropic has deleted it: an ended batch, a chunk with an earlier attempt, a job's
    parts. Anything else is given up where the problem lies in the item itself, or if for three days every try was
    killed before it could say what was wrong. A fault of the environment is waited for as long as answers are kept:
    the answers to a job's other rows come with the job. An upload whose job is canceled is not waited for.
    """
    if isinstance(item, Batch) and item.awaits_results:
        return item.results_are_deleted(now)
    since = timestamps.parse(item.first_tried_at) if item.first_tried_at else now
    if _holds_answers(item):
        return item.at_fault and now - since > RESULTS_RETENTION
    if _is_in_vain(circuit, item, now):
        return True
    if item.tries < items.TRIES:
        return False
    unwanted = isinstance(item, Job) and item.canceled_at is not None
    killed = item.last_error is None and now - since > VAIN_FOR
    return item.at_fault or unwanted or killed or now - since > RESULTS_RETENTION


def _holds_answers(item: Job | Batch) -> bool:
    """Return whether answers that were paid for are in the item's files, and nowhere else."""
    if isinstance(item, Job):
        return item.status == JobStatus.ASSEMBLING
    return item.previous_results is not None and item.next_step == Step.COLLECT


def _give_up(services: Services[PollSettings], item: Job | Batch, now: datetime) -> None:
    expected = {"status": item.status, "status_key": item.status_key, "tries": item.tries}
    counted = {"chunks_finished": 1} if _is_last_resort(item) else None
    pending_events = _end(services.files.bucket, item, now)
    if services.items.transition(
        item,
        _give_up_changes(item),
        expected=expected,
        job_increments=counted,
        events=pending_events,
    ):
        logger.error("given up", extra={"job": item.job, "item": item.item})
        services.outbox.publish(pending_events)


def _end(results_bucket: str, item: Job | Batch, now: datetime) -> list[events.Event]:
    """Build the event of a job that ends by being given up."""
    if isinstance(item, Batch) or item.status != JobStatus.ASSEMBLING:
        return []
    ended = msgspec.structs.replace(item, **_give_up_changes(item))
    figures = {"rows": item.checkpoint.row, "counts": {}, "cost_usd": None, "manifest": None}
    return [events.job_ended(ended, results_bucket, figures, timestamps.text(now))]


def _is_last_resort(item: Job | Batch) -> bool:
    """Whether not even closing the batch worked: its rows are accounted for when the job is assembled."""
    return isinstance(item, Batch) and item.close_reason == CloseReason.STUCK


def _give_up_changes(item: Job | Batch) -> dict[str, Any]:
    """Say what becomes of an item that is given up."""
    if isinstance(item, Batch):
        if _is_last_resort(item):
            return {"status": BatchStatus.STUCK}
        return {
            "status": BatchStatus.ENDED,
            "next_step": Step.COLLECT,
            "close_reason": CloseReason.STUCK,
        }
    if item.status == JobStatus.PLANNING:
        sentence = (
            f"the upload could not be read past row {item.checkpoint.row:,}: {_problem(item)}"
        )
        return {"status": JobStatus.RUNNING, "failure": sentence}
    sentence = "the results could not be assembled for a month: files under work/ are gone"
    return {"status": JobStatus.DONE, "outcome": "failed", "failure": sentence}
