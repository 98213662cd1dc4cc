"""Crashed stages, stuck items, wishes to cancel: what no stage can mend by itself, poll does here."""

from datetime import timedelta
from typing import Any

import msgspec
from aws_lambda_powertools import Logger

from functions.batches import events, items, times
from functions.batches.doors import Doors
from functions.batches.items import Batch, BatchStatus, Closing, Job, JobStatus, Step
from functions.batches.marks import Unfinished
from functions.batches.settings import PollSettings
from functions.batches.verdicts import ARCHIVED
from functions.steps.cancellations import cancel_jobs
from functions.steps.phases import Phases, place

VAIN_FOR = timedelta(days=3)
"""A batch that was created in vain, or a try that was killed, for longer than this is no passing trouble."""
logger = Logger(child=True)


def idle(item: Job | Batch, now: str) -> bool:
    """Whether nobody works on an item, and it need not wait any longer."""
    leased = item.lease is not None and item.lease >= now
    return not leased and (item.not_before is None or item.not_before <= now)


def recover(
    doors: Doors[PollSettings], unfinished: Unfinished, phases: Phases
) -> tuple[list[Batch], int]:
    """Mend what stands still.

    Returns:
        The batches that wait to be collected from now on, and how many items are stuck.
    """
    now = times.text(doors.now())
    dead = [batch for batch in unfinished.of(BatchStatus.SENDING) if idle(batch, now)]
    phases.each("mend", dead, place, lambda batch: _unsure(doors, batch))
    full = [
        job
        for job in unfinished.jobs
        if job.status == JobStatus.RUNNING and job.finished >= job.chunks
    ]
    phases.each("mend", full, place, lambda job: doors.store.settle(job.job))
    cancel_jobs(doors, unfinished, phases)
    closed = _close_canceled(doors, unfinished, now, phases)
    held: list[Job | Batch] = [*unfinished.jobs, *unfinished.batches]
    stuck: list[Job | Batch] = []

    def look(item: Job | Batch) -> None:
        if _is_stuck(doors, item):
            stuck.append(item)
            _set_aside(doors, item, now)

    phases.each("set aside", [item for item in held if _waits(item, now)], place, look)
    return closed, len(stuck)


def _unsure(doors: Doors[PollSettings], batch: Batch) -> None:
    """A stage died between its intent and an answer: the batch may exist."""
    given = {"status": BatchStatus.SENDING, "owner": batch.owner}
    doors.store.advance(batch, {"status": BatchStatus.UNSURE}, given=given)


def _close_canceled(
    doors: Doors[PollSettings], unfinished: Unfinished, now: str, phases: Phases
) -> list[Batch]:
    """End what a canceled job has not sent yet; its rows are collected as canceled."""
    canceled = {job.job for job in unfinished.jobs if job.canceled_at is not None}
    closed: list[Batch] = []
    changes = {"status": BatchStatus.ENDED, "next": Step.COLLECT, "closing": Closing.CANCELED}

    def close(batch: Batch) -> None:
        given = {"status": batch.status, "since": batch.since, "owner": batch.owner}
        if doors.store.advance(batch, changes, given=given):
            closed.append(msgspec.structs.replace(batch, **changes))

    free = [
        batch
        for batch in unfinished.of(BatchStatus.WAITING)
        if batch.job in canceled and not (batch.lease is not None and batch.lease >= now)
    ]
    phases.each("mend", free, place, close)
    return closed


def _set_aside(doors: Doors[PollSettings], item: Job | Batch, now: str) -> None:
    """Announce once what gets no further; give it up where waiting can no longer help, and its job goes on without it."""
    if item.stuck_at is None:
        event = events.stuck(item, _problem(item), now)
        if doors.store.announce_stuck(item, event):
            logger.error("stuck", extra={"job": item.job, "item": item.item})
            doors.notify.pay(doors.store, [event])
    if _is_hopeless(doors, item):
        _give_up(doors, item, now)


def _waits(item: Job | Batch, now: str) -> bool:
    """Return whether an item waits for a step, in vain so far, and nobody works on it.

    Of a job that is done, only tidying is left.
    """
    leased = item.lease is not None and item.lease >= now
    in_vain = isinstance(item, Batch) and item.vain >= items.TRIES
    tried = item.tries >= items.TRIES or in_vain
    return tried and item.next is not None and item.status != JobStatus.DONE and not leased


def _is_stuck(doors: Doors[PollSettings], item: Job | Batch) -> bool:
    return item.tries >= items.TRIES or _is_in_vain(doors, item)


def _problem(item: Job | Batch) -> str:
    """Return what went wrong the last time, or what its silence means."""
    if item.problem is not None:
        return item.problem
    if isinstance(item, Batch) and item.next == Step.SEND and item.tries < items.TRIES:
        return f"{item.vain} creates gave no batch and no reason, over {VAIN_FOR.days} days; see the log of submit"
    return "every attempt was killed before it finished (timeout or out of memory)"


def _is_in_vain(doors: Doors[PollSettings], item: Job | Batch) -> bool:
    """Return whether creates of a batch gave neither a batch nor a reason for days, while others were accepted."""
    if not isinstance(item, Batch) or item.next != Step.SEND or item.vain < items.TRIES:
        return False
    begun_at = item.begun_at or times.text(doors.now())
    others_pass = (doors.store.sending().accepted_at or "") > begun_at
    return others_pass and doors.now() - times.parse(begun_at) > VAIN_FOR


def _is_hopeless(doors: Doors[PollSettings], item: Job | Batch) -> bool:
    """Return whether waiting can no longer help.

    What was paid for waits until Anthropic has deleted it: an ended batch, a chunk with an earlier attempt, a job's
    parts. Anything else is given up where the problem lies in the item itself, or if for three days every try was
    killed before it could say what was wrong. A fault of the environment gives up nothing.
    """
    now = doors.now()
    if isinstance(item, Batch) and item.awaits_results:
        return item.created_at is not None and now - times.parse(item.created_at) > ARCHIVED
    since = times.parse(item.tried_since) if item.tried_since else now
    if _holds_answers(item):
        return item.at_fault and now - since > ARCHIVED
    killed = item.problem is None and now - since > VAIN_FOR
    return _is_in_vain(doors, item) or (item.tries >= items.TRIES and (item.at_fault or killed))


def _holds_answers(item: Job | Batch) -> bool:
    """Return whether answers that were paid for are in the item's files, and nowhere else."""
    if isinstance(item, Job):
        return item.status == JobStatus.ASSEMBLING
    return item.base is not None and item.next == Step.COLLECT


def _give_up(doors: Doors[PollSettings], item: Job | Batch, now: str) -> None:
    given = {"status": item.status, "since": item.since, "tries": item.tries}
    counted = {"finished": 1} if _is_last_resort(item) else None
    owed = _end(doors, item, now)
    if doors.store.advance(item, _aside(item), given=given, job=counted, events=owed):
        logger.error("given up", extra={"job": item.job, "item": item.item})
        doors.notify.pay(doors.store, owed)


def _end(doors: Doors[PollSettings], item: Job | Batch, now: str) -> list[events.Event]:
    """Build the event of a job that ends by being given up."""
    if isinstance(item, Batch) or item.status != JobStatus.ASSEMBLING:
        return []
    ended = msgspec.structs.replace(item, **_aside(item))
    figures = {"rows": item.row, "counts": {}, "cost_usd": None, "manifest": None}
    return [events.job_ended(ended, doors.files.bucket, figures, now)]


def _is_last_resort(item: Job | Batch) -> bool:
    """Whether not even closing the batch worked: its rows are accounted for when the job is assembled."""
    return isinstance(item, Batch) and item.closing == Closing.STUCK


def _aside(item: Job | Batch) -> dict[str, Any]:
    """Say what becomes of an item that is given up."""
    if isinstance(item, Batch):
        if _is_last_resort(item):
            return {"status": BatchStatus.STUCK}
        return {"status": BatchStatus.ENDED, "next": Step.COLLECT, "closing": Closing.STUCK}
    if item.status == JobStatus.PLANNING:
        sentence = f"the upload could not be read past row {item.row:,}, line {item.line:,}, in several tries"
        return {"status": JobStatus.RUNNING, "failure": sentence}
    sentence = "the results could not be assembled for a month: files under work/ are gone"
    return {"status": JobStatus.DONE, "outcome": "failed", "failure": sentence}
