"""Decide how a job ended, and why."""

import msgspec

from functions.model.items.counts import OutcomeCounts
from functions.model.items.job import Job

CANCELED_TOO_LATE = "canceled after all rows were done, so the cancel changed nothing"


def with_outcome(job: Job, tally: OutcomeCounts) -> Job:
    """Return the job with its outcome, and with the reason for it in `failure`. The failure of planning is kept."""
    outcome = _outcome(job, tally)
    return msgspec.structs.replace(
        job,
        outcome=outcome,
        failure=_reason(job, outcome, tally),
        planning_failure=job.failure or "",
    )


def _outcome(job: Job, tally: OutcomeCounts) -> str:
    """Return the outcome of a job: succeeded, partial, failed or canceled."""
    succeeded, rows = tally.outcomes.get("succeeded", 0), sum(tally.outcomes.values())
    if job.canceled_at is not None and (succeeded < rows or not rows):
        return "canceled"
    if job.failure is not None or not succeeded:
        return "failed"
    return "succeeded" if succeeded == rows else "partial"


def _reason(job: Job, outcome: str, tally: OutcomeCounts) -> str | None:
    """Return why a job failed, or was canceled without a marker, or that its cancel came too late.

    If no row succeeded, name the most frequent error.
    """
    if outcome == "canceled" and job.cancel_reason is not None:
        return job.cancel_reason if job.failure is None else f"{job.cancel_reason}; {job.failure}"
    if job.canceled_at is not None and job.failure is None and "canceled" not in tally.outcomes:
        return CANCELED_TOO_LATE
    if job.failure is not None or outcome != "failed":
        return job.failure
    other_ends = {
        name: count
        for name, count in tally.outcomes.items()
        if name not in {"errored", "rejected"}
    }
    causes = sorted((other_ends | tally.errors).items(), key=lambda cause: (-cause[1], cause[0]))
    rows = sum(tally.outcomes.values())
    name, count = causes[0]
    cause = f"{name} ({count:,})" if count == rows else f"mostly {name} ({count:,})"
    return f"none of the {rows:,} rows succeeded: {cause}; errors.jsonl says why, row by row"
