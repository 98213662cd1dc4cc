"""Cancellation requests: apply each to its jobs; announce one that matches none."""

from collections.abc import Sequence

from aws_lambda_powertools import Logger

from functions.model import timestamps, upload_events
from functions.model.items import Job
from functions.model.records import CancellationRequest, Unfinished
from functions.polling.phases import Phases, place
from functions.services import Services
from functions.settings import PollSettings

TELL_AFTER_S = 600
"""A request that has met no job so long after its marker is announced; it goes on being looked for."""
logger = Logger(child=True)


def cancel_jobs(services: Services[PollSettings], unfinished: Unfinished, phases: Phases) -> None:
    """Note each request to cancel on the jobs that it means: those uploaded before it."""
    phases.each(
        "mend",
        unfinished.cancels,
        place,
        lambda cancellation: _meet(services, cancellation, unfinished.jobs),
    )


def _meet(
    services: Services[PollSettings], cancellation: CancellationRequest, unfinished: Sequence[Job]
) -> None:
    jobs = _meant(cancellation, unfinished)
    keys = sorted({job.key for job in jobs})
    if len(keys) == 1:
        _cancel(services, cancellation, jobs)
    elif cancellation.matched is None and cancellation.told_at is None:
        _tell(services, cancellation, keys)
    if timestamps.after(
        timestamps.parse(cancellation.at), services.settings.cancellation_window_s
    ) < timestamps.text(services.now()):
        services.cancellations.delete(cancellation)


def _meant(cancellation: CancellationRequest, jobs: Sequence[Job]) -> list[Job]:
    """Find the jobs of the upload that the marker names, or else those whose key is that name and a suffix."""
    at, key = timestamps.parse(cancellation.at), cancellation.matched or cancellation.key
    exact = [job for job in jobs if _may_be(cancellation, job) and job.key == key]
    stems = [
        job for job in jobs if _may_be(cancellation, job) and job.key.rpartition(".")[0] == key
    ]
    found = exact if exact or cancellation.matched else stems
    return [job for job in found if timestamps.parse(job.uploaded_at) <= at]


def _may_be(cancellation: CancellationRequest, job: Job) -> bool:
    return (
        job.bucket == cancellation.bucket
        and job.outcome is None
        and job.key.startswith(cancellation.key)
    )


def _cancel(
    services: Services[PollSettings], cancellation: CancellationRequest, jobs: Sequence[Job]
) -> None:
    for job in jobs:
        news = job.canceled_at is None or cancellation.matched is None
        if news and services.cancellations.apply(cancellation, job):
            logger.info(
                "canceled", extra={"job": job.job, "key": job.key, "marker": cancellation.marker}
            )


def _tell(
    services: Services[PollSettings], cancellation: CancellationRequest, candidates: Sequence[str]
) -> None:
    """Announce once that a request has met no job, when it has waited for a while."""
    now, window_s = services.now(), services.settings.cancellation_window_s
    marked_at = timestamps.parse(cancellation.at)
    if timestamps.after(marked_at, min(TELL_AFTER_S, window_s)) > timestamps.text(now):
        return
    until = timestamps.after(marked_at, window_s)
    event = upload_events.cancel_unmatched(cancellation, candidates, until, timestamps.text(now))
    if services.cancellations.announce_unmatched(cancellation, event):
        logger.warning("a cancel marker meets no job", extra={"marker": cancellation.marker})
        services.outbox.publish([event])
