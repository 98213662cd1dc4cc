"""Make a job wait until its options change or it is released."""

from collections.abc import Sequence
from typing import Any

from aws_lambda_powertools import Logger

from functions.model import events, timestamps
from functions.model.events import Event
from functions.model.items.job import Job
from functions.model.options import governs
from functions.services import Services
from functions.settings import SubmitSettings

OPTIONS_RECHECK_S, MAX_OPTIONS_RECHECK_S = 300.0, 6 * 3600.0
"""The shortest and the longest time after which a job is checked again, in seconds. An options file or a marker wakes it
immediately. Only one that arrives during a check, or a file that is deleted, is noticed later."""
_RECHECK_SHARE = 10
"""Between the two, a job is checked again after this share of the time that it has waited, because each check costs money."""
logger = Logger(child=True)


def wait(
    services: Services[SubmitSettings],
    job: Job,
    reason: str,
    event: Event,
    *,
    others: Sequence[Event] = (),
    **changes: Any,  # noqa: ANN401 - attributes of the job
) -> None:
    """Release a job until it is woken. Announce it unless the last announcement said the same.

    An event about an options file is published once, however many jobs wait for the file.

    Args:
        services: the services of submit.
        job: a job that this invocation owns.
        reason: what it waits for.
        event: announces it.
        others: further events to publish.
        changes: further attributes to write.
    """
    waited = services.now() - timestamps.parse(job.claimed_at)
    pause_s = min(
        max(waited.total_seconds() / _RECHECK_SHARE, OPTIONS_RECHECK_S), MAX_OPTIONS_RECHECK_S
    )
    changes |= {
        "waiting_for": reason,
        "waiting_event": event.id,
        "waiting_since": job.waiting_since
        if job.waiting_for == reason
        else timestamps.text(services.now()),
        "not_before": timestamps.after(services.now(), pause_s),
    }
    new_events = [*others, *([event] if _is_new(services, job, event) else [])]
    if services.items.transition(job, changes, events=new_events):
        logger.info("job waits", extra={"job": job.job, "reason": reason})
        services.outbox.publish(new_events)


def _is_new(services: Services[SubmitSettings], job: Job, event: Event) -> bool:
    if job.waiting_event == event.id:
        return False
    return event.subject != events.UPLOADS or services.uploads.announce_once(event)


def wake_waiting_jobs(services: Services[SubmitSettings], bucket: str, options_key: str) -> None:
    """End the delay of jobs that wait for options, because an options file arrived that may govern them."""
    for job in services.items.planning():
        if job.waiting_for is not None and (
            job.bucket == bucket and governs(options_key, job.key)
        ):
            services.items.update_if_unchanged(job, {"not_before": None})
