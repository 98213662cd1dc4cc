"""Tag the work files of a finished job, so that the bucket's lifecycle removes them.

This is the last step of a job and nothing waits for it. A repeated call resumes after the last
tagged file.
"""

from collections.abc import Callable
from itertools import batched

from functions.model.items.job import Job
from functions.services import Services
from functions.settings import ResultsSettings

GROUP = 1000
"""Files tagged between two checks of the time left; they take some seconds."""
ENOUGH_S = 60.0
"""With fewer seconds left, the next attempt continues."""


def tidy(services: Services[ResultsSettings], job: Job, time_left_s: Callable[[], float]) -> None:
    """Tag every file under ``work/<job>/``, including files of crashed stages that no item names.

    Args:
        services: the services of results.
        job: a job that has ended and is owned by this invocation.
        time_left_s: returns the seconds until the Lambda timeout.
    """
    last_tagged = job.tidied
    keys = services.files.list_keys(f"work/{job.job}/", last_tagged)
    for group in batched(keys, GROUP, strict=False):
        if time_left_s() < ENOUGH_S:
            # `next_step` is still tidy, so poll wakes the job again.
            services.items.transition(job, {"tidied": last_tagged})
            return
        services.files.tag_done(group)
        last_tagged = group[-1]
    services.items.transition(job, {"next_step": None})
