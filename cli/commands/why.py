"""`relay why`: what a job waits for, since when, and what would change that."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import typer

from cli import invocation, progress
from cli.invocation import JobName
from cli.jobs import FoundJob, Jobs
from cli.output import age, name_value_table
from functions.model import timestamps
from functions.model.items.batch import FINISHED_BATCH_STATUSES
from functions.model.waiting_reasons import Obstacles, waiting_reasons

_UNCLAIMED = "it is not claimed yet: a new upload becomes a job within seconds, and a copy of an earlier one is skipped"
_UNKNOWN = "no reason is known; poll checks it every minute"


def why(context: typer.Context, job: JobName) -> None:
    """Explain what a job waits for, and what would change that."""
    run = invocation.of(context)
    jobs = Jobs(run.deployment)
    found_job = jobs.find(job)
    state = progress.snapshot(jobs, found_job)
    waiting = [] if progress.is_over(state) else _waiting(jobs, found_job, state)
    now = datetime.now(UTC)
    lines = [
        f"{state['name']}: {progress.describe(state | {'waiting': None, 'waiting_for': None})}"
    ]
    if not waiting and not progress.is_over(state):
        lines.append(_UNCLAIMED if state["status"] == progress.UPLOADED else _UNKNOWN)
    run.output.show(
        state | {"waiting": waiting},
        *lines,
        *(name_value_table(_explain(wait, now)) for wait in waiting),
    )


def _waiting(jobs: Jobs, found_job: FoundJob, state: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the reasons in status.json. Earlier versions wrote none: then the table has some."""
    return state["waiting"] if "waiting" in state else _from_table(jobs, found_job)


def _explain(wait: Mapping[str, Any], now: datetime) -> Iterator[tuple[str, str]]:
    yield "waits", f"{wait['message']}"
    if wait.get("since"):
        since = timestamps.parse(wait["since"])
        yield "since", f"{wait['since']} ({age(now - since)})"
    if wait.get("until"):
        yield "until", f"{wait['until']}, when it is checked again"
    if wait.get("resolution"):
        yield "change", wait["resolution"]


def _from_table(jobs: Jobs, found_job: FoundJob) -> list[dict[str, Any]]:
    """Return the reasons that the table shows: all but a lack of room, which poll alone computes."""
    if found_job.item is None:
        return []
    batches = [b for b in jobs.batches(found_job) if b.status not in FINISHED_BATCH_STATUSES]
    obstacles = Obstacles(sending=jobs.sending())
    reasons: list[dict[str, Any]] = msgspec.to_builtins(
        waiting_reasons(found_job.item, batches, obstacles, datetime.now(UTC))
    )
    return reasons
