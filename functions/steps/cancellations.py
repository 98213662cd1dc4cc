"""Wishes to cancel: poll notes each on the jobs that it means, and announces one that meets none."""

from collections.abc import Sequence

from aws_lambda_powertools import Logger

from functions.batches import times, upload_events
from functions.batches.doors import Doors
from functions.batches.items import Job
from functions.batches.marks import Cancel, Unfinished
from functions.batches.settings import PollSettings
from functions.steps.phases import Phases, place

TELL_AFTER_S = 600
"""A wish that has met no job so long after its marker is announced; it goes on being looked for."""
logger = Logger(child=True)


def cancel_jobs(doors: Doors[PollSettings], unfinished: Unfinished, phases: Phases) -> None:
    """Note each wish to cancel on the jobs that it means: those uploaded before it."""
    phases.each(
        "mend", unfinished.cancels, place, lambda wish: _meet(doors, wish, unfinished.jobs)
    )


def _meet(doors: Doors[PollSettings], wish: Cancel, unfinished: Sequence[Job]) -> None:
    jobs = _meant(wish, unfinished)
    keys = sorted({job.key for job in jobs})
    if len(keys) == 1:
        _cancel(doors, wish, jobs)
    elif wish.matched is None and wish.told_at is None:
        _tell(doors, wish, keys)
    if times.after(times.parse(wish.at), doors.settings.wish_s) < times.text(doors.now()):
        doors.store.forget_cancel(wish)


def _meant(wish: Cancel, jobs: Sequence[Job]) -> list[Job]:
    """Find the jobs of the upload that the marker names, or else those whose key is that name and a suffix."""
    at, key = times.parse(wish.at), wish.matched or wish.key
    exact = [job for job in jobs if _may_be(wish, job) and job.key == key]
    stems = [job for job in jobs if _may_be(wish, job) and job.key.rpartition(".")[0] == key]
    found = exact if exact or wish.matched else stems
    return [job for job in found if times.parse(job.uploaded_at) <= at]


def _may_be(wish: Cancel, job: Job) -> bool:
    return job.bucket == wish.bucket and job.outcome is None and job.key.startswith(wish.key)


def _cancel(doors: Doors[PollSettings], wish: Cancel, jobs: Sequence[Job]) -> None:
    for job in jobs:
        news = job.canceled_at is None or wish.matched is None
        if news and doors.store.cancel(job, wish):
            logger.info("canceled", extra={"job": job.job, "key": job.key, "marker": wish.marker})


def _tell(doors: Doors[PollSettings], wish: Cancel, candidates: Sequence[str]) -> None:
    """Announce once that a wish has met no job, when it has waited for a while."""
    now, window_s = doors.now(), doors.settings.wish_s
    marked_at = times.parse(wish.at)
    if times.after(marked_at, min(TELL_AFTER_S, window_s)) > times.text(now):
        return
    until = times.after(marked_at, window_s)
    event = upload_events.cancel_unmatched(wish, candidates, until, times.text(now))
    if doors.store.tell_unmatched(wish, event):
        logger.warning("a cancel marker meets no job", extra={"marker": wish.marker})
        doors.notify.pay(doors.store, [event])
