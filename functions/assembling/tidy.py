"""A job has ended and that is announced: mark its work files, which the bucket's lifecycle then removes.

A convenience: it is the last thing that is done for a job, begins again behind what it has marked, and holds nothing up.
"""

from collections.abc import Callable
from itertools import batched

from functions.model.items import Job
from functions.services import Services
from functions.settings import ResultsSettings

GROUP = 1000
"""Files between two looks at the clock: some seconds' work."""
ENOUGH_S = 60.0
"""With less time left than this, the rest is left for the next try."""


def tidy(services: Services[ResultsSettings], job: Job, time_left_s: Callable[[], float]) -> None:
    """Mark all that lies under ``work/<job>/``: also what a stage that died had written, and no item names.

    Args:
        services: those of results.
        job: has ended, and is owned by this stage.
        time_left_s: seconds of the invocation that are left.
    """
    marked = job.tidied
    keys = services.files.list_keys(f"work/{job.job}/", marked)
    for some in batched(keys, GROUP, strict=False):
        if time_left_s() < ENOUGH_S:
            services.items.transition(
                job, {"tidied": marked}
            )  # it still waits for this step: poll wakes it again
            return
        services.files.tag_done(some)
        marked = some[-1]
    services.items.transition(job, {"next_step": None})
