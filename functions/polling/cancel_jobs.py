"""Apply each cancellation request to its jobs, and announce requests that match none."""

from collections.abc import Sequence

from aws_lambda_powertools import Logger

from functions.model import timestamps, upload_events
from functions.model.ids import stem_of
from functions.model.items import Job
from functions.model.records import CancellationRequest, Unfinished
from functions.polling.phases import Phases, place
from functions.services import Services
from functions.settings import PollSettings

ANNOUNCE_AFTER_S = 600
"""Announce a request that has matched no job for this long. Poll keeps looking for its job."""
logger = Logger(child=True)


def cancel_jobs(services: Services[PollSettings], unfinished: Unfinished, phases: Phases) -> None:
    """Apply each cancellation request to the matching jobs that were uploaded before it."""
    phases.each(
        "mend",
        unfinished.cancels,
        place,
        lambda cancellation: _process(services, cancellation, unfinished.jobs),
    )


def _process(
    services: Services[PollSettings], cancellation: CancellationRequest, unfinished: Sequence[Job]
) -> None:
    jobs = _matching_jobs(cancellation, unfinished)
    keys = sorted({job.key for job in jobs})
    if len(keys) == 1:
        _cancel(services, cancellation, jobs)
    elif cancellation.matched is None and cancellation.announced_at is None:
        _announce_unmatched(services, cancellation, keys)
    if timestamps.after(
        timestamps.parse(cancellation.at), services.settings.cancellation_window_s
    ) < timestamps.text(services.now()):
        services.cancellations.delete(cancellation)


def _matching_jobs(cancellation: CancellationRequest, jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs that the marker names: by full key, otherwise by the key without suffix."""
    requested_at = timestamps.parse(cancellation.at)
    key = cancellation.matched or cancellation.key
    candidates = [job for job in jobs if _is_candidate(cancellation, job)]
    matches = [job for job in candidates if job.key == key]
    if not matches and not cancellation.matched:
        matches = [job for job in candidates if stem_of(job.key) == key]
    return [job for job in matches if timestamps.parse(job.uploaded_at) <= requested_at]


def _is_candidate(cancellation: CancellationRequest, job: Job) -> bool:
    return (
        job.bucket == cancellation.bucket
        and job.outcome is None
        and job.key.startswith(cancellation.key)
    )


def _cancel(
    services: Services[PollSettings], cancellation: CancellationRequest, jobs: Sequence[Job]
) -> None:
    for job in jobs:
        is_new = job.canceled_at is None or cancellation.matched is None
        if is_new and services.cancellations.apply(cancellation, job):
            logger.info(
                "job canceled",
                extra={"job": job.job, "key": job.key, "marker": cancellation.marker},
            )


def _announce_unmatched(
    services: Services[PollSettings], cancellation: CancellationRequest, candidates: Sequence[str]
) -> None:
    """Announce once that a request has matched no single upload for `ANNOUNCE_AFTER_S` seconds."""
    now, window_s = services.now(), services.settings.cancellation_window_s
    requested_at = timestamps.parse(cancellation.at)
    if timestamps.after(requested_at, min(ANNOUNCE_AFTER_S, window_s)) > timestamps.text(now):
        return
    until = timestamps.after(requested_at, window_s)
    event = upload_events.cancel_unmatched(cancellation, candidates, until, timestamps.text(now))
    if services.cancellations.announce_unmatched(cancellation, event):
        logger.warning("cancel marker matches no job", extra={"marker": cancellation.marker})
        services.outbox.publish([event])
