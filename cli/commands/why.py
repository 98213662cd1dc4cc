"""`relay why`: what a job waits for, since when, and what would change that."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from cli import invocation, progress
from cli.jobs import Found, Jobs
from cli.output import age, pairs
from functions.model import timestamps
from functions.model.create_response import PAUSE_MESSAGES
from functions.model.items import FINISHED_BATCH_STATUSES, Batch, Job


def why(
    context: typer.Context, job: Annotated[str, typer.Argument(help="Id, key or beginning of the id.")]
) -> None:  # fmt: skip
    """Say what a job waits for, since when, and what would change that."""
    run = invocation.of(context)
    jobs = Jobs(run.deployment)
    found = jobs.find(job)
    known = progress.snapshot(jobs, found)
    waiting = [] if progress.is_over(known) else _waiting(jobs, found, known)
    now = datetime.now(UTC)
    lines = [
        f"{known['name']}: {progress.describe(known | {'waiting': None, 'waiting_for': None})}"
    ]
    if not waiting and not progress.is_over(known):
        lines.append("it waits for nothing that is known: poll looks at it every minute")
    run.output.show(
        known | {"waiting": waiting}, *lines, *(pairs(_explain(wait, now)) for wait in waiting)
    )


def _waiting(jobs: Jobs, found: Found, known: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the reasons in status.json. Earlier versions wrote none: then the table has some."""
    return known["waiting"] if "waiting" in known else [*_from_table(jobs, found)]


def _explain(wait: Mapping[str, Any], now: datetime) -> Iterator[tuple[str, str]]:
    yield "waits", f"{wait['message']}"
    if wait.get("since"):
        since = timestamps.parse(wait["since"])
        yield "since", f"{wait['since']} ({age(now - since)})"
    if wait.get("until"):
        yield "until", f"{wait['until']}, or looks again then"
    if wait.get("resolution"):
        yield "change", wait["resolution"]


def _from_table(jobs: Jobs, found: Found) -> Iterator[dict[str, Any]]:
    sending = jobs.sending()
    if sending.paused_reason is not None:
        message = PAUSE_MESSAGES.get(sending.paused_reason, sending.paused_reason)
        yield _wait("paused", f"sending is paused: {message}", sending.paused_at, sending.probe_at)
    if found.item is not None:
        unfinished = [b for b in jobs.batches(found) if b.status not in FINISHED_BATCH_STATUSES]
        yield from _from_items(found.item, unfinished)


def _from_items(job: Job, batches: list[Batch]) -> Iterator[dict[str, Any]]:
    if reason := job.waiting_for or job.held:
        yield _wait(reason, f"it waits for {reason}; docs/troubleshoot.md says what to do", None)
    unfinished: list[Job | Batch] = [job, *batches]
    for item in unfinished:
        if item.last_error is None:
            continue
        message = f"{item.next_step} failed: {item.last_error}"
        yield _wait(f"{item.next_step}_retry", message, item.first_tried_at, item.not_before)
    for status in sorted({batch.status for batch in batches}):
        several = [batch for batch in batches if batch.status == status]
        since = min(timestamps.text(batch.status_since) for batch in several)
        words = status.lower().replace("_", " ")
        yield _wait(status.lower(), f"batches: {len(several):,} {words}", since)


def _wait(
    reason: str, message: str, since: str | None, until: str | None = None
) -> dict[str, Any]:
    return {
        "reason": reason,
        "since": since,
        "message": message,
        "until": until,
        "resolution": None,
    }
