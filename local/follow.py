"""Follow jobs until each has ended or waits for options."""

import time
from collections.abc import Sequence

from local import interruption
from local.display import Display
from local.environment import LocalEnvironment
from local.errors import LocalError
from local.polling import Polling
from local.started_job import StartedJob, event_type, refresh
from local.subscriber import Subscriber

POLL_INTERVAL_S = 0.3
UNNOTICED_S = 120.0
"""Unpacking the functions and the first cold start take over 60 s on a busy machine."""
FINAL_STATUS_S = 20.0
ALL_SENDING = "sending"  # the subject of events that pause or resume all sending


def follow(
    environment: LocalEnvironment,
    jobs: Sequence[StartedJob],
    subscriber: Subscriber,
    display: Display,
) -> None:
    """Invoke poll and show events and statuses until every job has ended or waits for options.

    Raises:
        LocalError: an upload is not noticed, or poll fails repeatedly.
    """
    started = time.monotonic()
    with Polling(environment.cloud, environment.outputs) as polling:
        while not all(job.is_over for job in jobs):
            polling.tick()
            _read_events_and_status(environment, jobs, subscriber, display)
            display.show(jobs)
            _raise_if_unnoticed(jobs, time.monotonic() - started)
            interruption.pause(POLL_INTERVAL_S)
        _wait_for_final_status(environment, jobs, polling)


def _wait_for_final_status(
    environment: LocalEnvironment, jobs: Sequence[StartedJob], polling: Polling
) -> None:
    """Invoke poll until status.json of each ended job says so, but not longer than `FINAL_STATUS_S`."""
    deadline = time.monotonic() + FINAL_STATUS_S
    while not all(job.has_final_status for job in jobs) and time.monotonic() < deadline:
        polling.tick()
        interruption.pause(POLL_INTERVAL_S)
        for job in jobs:
            refresh(environment.cloud, environment.outputs["ResultsBucket"], job)


def _read_events_and_status(
    environment: LocalEnvironment,
    jobs: Sequence[StartedJob],
    subscriber: Subscriber,
    display: Display,
) -> None:
    for delivery in subscriber.receive():
        concerned = [job for job in jobs if job.is_concerned(delivery.event)]
        for job in concerned:
            job.events.setdefault(str(delivery.event["id"]), delivery.event)
        if concerned or delivery.event.get("subject") == ALL_SENDING:
            display.print_line(f"{event_type(delivery.event):<17}{delivery.subject}")
    for job in jobs:
        if job.final_event is None:
            refresh(environment.cloud, environment.outputs["ResultsBucket"], job)


def _raise_if_unnoticed(jobs: Sequence[StartedJob], waited_s: float) -> None:
    unnoticed = [job for job in jobs if not job.was_noticed]
    if unnoticed and waited_s > UNNOTICED_S:
        names = ", ".join(job.file.name for job in unnoticed)
        message = (
            f"nothing has processed {names} within {UNNOTICED_S:.0f} s: "
            "see .local/cloud/emulator.log, or try again when the machine is less busy"
        )
        raise LocalError(message)
