"""Follow jobs until SNS says that each is over."""

import time
from collections.abc import Sequence

from local import job as jobs
from local.display import Display
from local.environment import Running
from local.errors import LocalError
from local.job import Job, kind
from local.polling import Polling
from local.subscriber import Subscriber

LOOK_S = 0.3
UNSEEN_S = 60.0
EVERYBODY = "sending"  # whom an event is about that stops or resumes all sending


def follow(
    running: Running,
    asked: Sequence[Job],
    subscriber: Subscriber,
    display: Display,
) -> None:
    """Drive poll, read what S3 and SNS tell, and show it, until every job is over.

    Raises:
        LocalError: nothing takes an upload up, or poll fails again and again.
    """
    began = time.monotonic()
    with Polling(running.cloud, running.outputs) as polling:
        while any(job.last is None for job in asked):
            polling.tick()
            _look(running, asked, subscriber, display)
            display.show(asked)
            _complain_of_unseen(asked, time.monotonic() - began)
            time.sleep(LOOK_S)


def _look(
    running: Running, asked: Sequence[Job], subscriber: Subscriber, display: Display
) -> None:
    ours = {job.id: job for job in asked}
    for delivery in subscriber.receive():
        about = str(delivery.event.get("subject"))
        if about in ours:
            ours[about].events.setdefault(str(delivery.event["id"]), delivery.event)
        if about in {*ours, EVERYBODY}:
            display.say(f"{kind(delivery.event):<17}{delivery.subject}")
    for job in asked:
        if job.last is None:
            jobs.refresh(running.cloud, running.outputs["ResultsBucket"], job)


def _complain_of_unseen(asked: Sequence[Job], waited_s: float) -> None:
    unseen = [job for job in asked if not job.seen]
    if unseen and waited_s > UNSEEN_S:
        names = ", ".join(job.file.name for job in unseen)
        message = (
            f"nothing took up {names} within {UNSEEN_S:.0f} s: uploads are JSONL files whose "
            "names end in .jsonl; the log group of submit says what it made of them"
        )
        raise LocalError(message)
