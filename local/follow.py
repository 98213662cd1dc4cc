"""Follow jobs until each has ended or waits for options."""

import time
from collections.abc import Sequence

from local.display import Display
from local.environment import LocalEnvironment
from local.errors import LocalError
from local.job import Job, event_type, refresh
from local.polling import Polling
from local.subscriber import Subscriber

POLL_INTERVAL_S = 0.3
UNNOTICED_S = 60.0
ALL_SENDING = "sending"  # the subject of events that pause or resume all sending


def follow(
    environment: LocalEnvironment,
    jobs: Sequence[Job],
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
            time.sleep(POLL_INTERVAL_S)


def _read_events_and_status(
    environment: LocalEnvironment, jobs: Sequence[Job], subscriber: Subscriber, display: Display
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


def _raise_if_unnoticed(jobs: Sequence[Job], waited_s: float) -> None:
    unnoticed = [job for job in jobs if not job.was_noticed]
    if unnoticed and waited_s > UNNOTICED_S:
        names = ", ".join(job.file.name for job in unnoticed)
        message = f"nothing has processed {names} within {UNNOTICED_S:.0f} s: see the log group of submit"
        raise LocalError(message)
