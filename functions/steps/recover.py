"""Crashed stages, stuck items, wishes to cancel: what no stage can mend by itself, poll does here."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import msgspec
from aws_lambda_powertools import Logger

from functions.batches import events, items, times
from functions.batches.doors import Doors
from functions.batches.items import Batch, BatchStatus, Closing, Job, JobStatus, Step
from functions.batches.marks import Unfinished
from functions.batches.settings import PollSettings

VAIN_FOR = timedelta(days=3)
"""So long may creates of a batch give neither a batch nor a reason: Anthropic's own trouble is over by then."""
logger = Logger(child=True)


def idle(item: Job | Batch, now: str) -> bool:
    """Whether nobody works on an item, and it need not wait any longer."""
    leased = item.lease is not None and item.lease >= now
    return not leased and (item.not_before is None or item.not_before <= now)


def recover(doors: Doors[PollSettings], unfinished: Unfinished) -> tuple[list[Batch], int]:
    """Mend what stands still.

    Returns:
        The batches that wait to be collected from now on, and how many items were set aside as stuck.
    """
    now = times.text(doors.now())
    for batch in unfinished.of(BatchStatus.SENDING):
        if idle(batch, now):
            _unsure(doors, batch)
    for job in unfinished.jobs:
        if job.status == JobStatus.RUNNING and job.finished >= job.chunks:
            doors.store.settle(job.job)
    _cancel_jobs(doors, unfinished)
    closed = _close_canceled(doors, unfinished, now)
    return closed, _set_aside(doors, [*unfinished.jobs, *unfinished.batches], now)


def _unsure(doors: Doors[PollSettings], batch: Batch) -> None:
    """A stage died between its intent and an answer: the batch may exist."""
    given = {"status": BatchStatus.SENDING, "owner": batch.owner}
    doors.store.advance(batch, {"status": BatchStatus.UNSURE}, given=given)


def _cancel_jobs(doors: Doors[PollSettings], unfinished: Unfinished) -> None:
    """Note each wish to cancel on the jobs that it means: those uploaded before it."""
    for wish in unfinished.cancels:
        for job in unfinished.jobs:
            meant = (job.bucket, job.key) == (wish.bucket, wish.key)
            if (
                meant
                and job.canceled_at is None
                and times.parse(job.uploaded_at) <= times.parse(wish.at)
            ):
                doors.store.cancel(job, wish.at)
                logger.info("canceled", extra={"job": job.job})
        if times.parse(wish.at) + timedelta(seconds=doors.settings.wish_s) < doors.now():
            doors.store.forget_cancel(wish)


def _close_canceled(doors: Doors[PollSettings], unfinished: Unfinished, now: str) -> list[Batch]:
    """End what a canceled job has not sent yet; its rows are collected as canceled."""
    canceled = {job.job for job in unfinished.jobs if job.canceled_at is not None}
    closed: list[Batch] = []
    changes = {"status": BatchStatus.ENDED, "next": Step.COLLECT, "closing": Closing.CANCELED}
    for batch in unfinished.of(BatchStatus.WAITING):
        leased = batch.lease is not None and batch.lease >= now
        given = {"status": batch.status, "since": batch.since, "owner": batch.owner}
        if (
            batch.job in canceled
            and not leased
            and doors.store.advance(batch, changes, given=given)
        ):
            closed.append(msgspec.structs.replace(batch, **changes))
    return closed


def _set_aside(doors: Doors[PollSettings], held: Iterable[Job | Batch], now: str) -> int:
    """Set aside what was tried too often; the job goes on, with its rows accounted for."""
    stuck = [
        (item, problem)
        for item in held
        if item.next is not None and (item.lease is None or item.lease < now)
        if (problem := _stuck(doors, item)) is not None
    ]
    for item, problem in stuck:
        owed = _owed(doors, item, problem, now)
        given = {"status": item.status, "since": item.since, "tries": item.tries}
        counted = {"finished": 1} if _is_last_resort(item) else None
        if doors.store.advance(item, _aside(item), given=given, job=counted, events=owed):
            logger.error("set aside", extra={"job": item.job, "item": item.item})
            doors.notify.pay(doors.store, owed)
    return len(stuck)


def _stuck(doors: Doors[PollSettings], item: Job | Batch) -> str | None:
    """Say why an item gets no further; None where it may still."""
    if item.tries >= items.TRIES:
        return item.problem or "no try came to its end: out of time or memory"
    if not isinstance(item, Batch) or item.next != Step.SEND:
        return None
    if item.parks >= items.TRIES:
        return f"{item.parks} times the API refused it as if for all, and took others: is it their content?"
    begun = times.parse(item.begun_at) if item.begun_at else doors.now()
    if item.vain >= items.TRIES and doors.now() - begun > VAIN_FOR:
        return f"{item.vain} creates gave no batch and no reason, over {VAIN_FOR.days} days; see the log of submit"
    return None


def _owed(
    doors: Doors[PollSettings], item: Job | Batch, problem: str, now: str
) -> list[events.Event]:
    """Tell once that an item is set aside; of a job that ends by that, also that it has ended."""
    if _is_last_resort(item):
        return []
    owed = [events.stuck(item, problem, now)]
    if isinstance(item, Job) and item.status == JobStatus.ASSEMBLING:
        ended = msgspec.structs.replace(item, **_aside(item))
        figures = {"rows": item.row, "counts": {}, "cost_usd": None, "manifest": None}
        owed.append(events.job_ended(ended, doors.files.bucket, figures, now))
    return owed


def _is_last_resort(item: Job | Batch) -> bool:
    """Whether not even closing the batch worked: its rows are accounted for when the job is assembled."""
    return isinstance(item, Batch) and item.closing == Closing.STUCK


def _aside(item: Job | Batch) -> dict[str, Any]:
    """Say what becomes of a stuck item."""
    if isinstance(item, Batch):
        if _is_last_resort(item):
            return {"status": BatchStatus.STUCK}
        return {"status": BatchStatus.ENDED, "next": Step.COLLECT, "closing": Closing.STUCK}
    if item.status == JobStatus.PLANNING:
        sentence = f"the upload could not be read past row {item.row:,}, line {item.line:,}, in several tries"
        return {"status": JobStatus.RUNNING, "failure": sentence}
    sentence = (
        "the results could not be assembled in several tries; the parts are kept under work/"
    )
    return {"status": JobStatus.DONE, "outcome": "failed", "failure": sentence}
