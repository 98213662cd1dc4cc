"""Apply what each cancel marker and go marker requests to its jobs, and announce markers that match none."""

from collections.abc import Sequence
from datetime import datetime

from aws_lambda_powertools import Logger

from functions.adapters.marker_requests import MarkerRequests, is_applied
from functions.model import timestamps, upload_events
from functions.model.ids import stem_of
from functions.model.items.job import Job
from functions.model.records import GO, MarkerRequest
from functions.model.unfinished import Unfinished
from functions.polling.phases import Phases, place
from functions.services import Services
from functions.settings import PollSettings

ANNOUNCE_AFTER_S = 600
"""Announce a request that has matched no job for this long. Poll keeps looking for its job."""
logger = Logger(child=True)


def apply_markers(
    services: Services[PollSettings], unfinished: Unfinished, phases: Phases
) -> None:
    """Apply each request to the matching jobs that were uploaded before it."""
    phases.each(
        "recover",
        unfinished.requests,
        place,
        lambda request: _process(services, request, unfinished.jobs),
    )


def _process(
    services: Services[PollSettings], request: MarkerRequest, unfinished: Sequence[Job]
) -> None:
    jobs = _matching_jobs(request, unfinished)
    keys = sorted({job.key for job in jobs})
    requests = services.releases if request.job == GO else services.cancellations
    if len(keys) == 1:
        _apply(requests, request, jobs)
    elif request.matched is None and request.announced_at is None:
        _announce_unmatched(services, requests, request, keys)
    if timestamps.after(
        timestamps.parse(request.at), services.settings.cancellation_window_s
    ) < timestamps.text(services.now()):
        requests.delete(request)


def _matching_jobs(request: MarkerRequest, jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs that the marker names: by full key, otherwise by the key without suffix.

    A job that was reopened after the marker was created had ended by then.
    """
    requested_at = timestamps.parse(request.at)
    key = request.matched or request.key
    candidates = [job for job in jobs if _is_candidate(request, job)]
    matches = [job for job in candidates if job.key == key]
    if not matches and not request.matched:
        matches = [job for job in candidates if stem_of(job.key) == key]
    return [job for job in matches if _began_at(job) <= requested_at]


def _began_at(job: Job) -> datetime:
    return job.status_since if job.reopened else timestamps.parse(job.uploaded_at)


def _is_candidate(request: MarkerRequest, job: Job) -> bool:
    return job.bucket == request.bucket and job.outcome is None and job.key.startswith(request.key)


def _apply(requests: MarkerRequests, request: MarkerRequest, jobs: Sequence[Job]) -> None:
    for job in jobs:
        if not is_applied(request, job) and requests.apply(request, job):
            logger.info(
                "job released" if request.job == GO else "job canceled",
                extra={"job": job.job, "key": job.key, "marker": request.marker},
            )


def _announce_unmatched(
    services: Services[PollSettings],
    requests: MarkerRequests,
    request: MarkerRequest,
    candidates: Sequence[str],
) -> None:
    """Announce once that a request has matched no single upload for `ANNOUNCE_AFTER_S` seconds."""
    now, window_s = services.now(), services.settings.cancellation_window_s
    requested_at = timestamps.parse(request.at)
    if timestamps.after(requested_at, min(ANNOUNCE_AFTER_S, window_s)) > timestamps.text(now):
        return
    until = timestamps.after(requested_at, window_s)
    event = upload_events.marker_unmatched(request, candidates, until, timestamps.text(now))
    if requests.announce_unmatched(request, event):
        logger.warning("marker matches no job", extra={"marker": request.marker})
        services.outbox.publish([event])
