"""`relay ls`: list the running jobs and the most recently ended ones."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import typer

from cli import invocation
from cli.jobs import Jobs
from cli.output import age, dollars, table
from functions.model import timestamps
from functions.model.cost_ledger import CostEntry
from functions.model.items.job import GO, Job


def ls(
    context: typer.Context,
    *,
    running: Annotated[bool, typer.Option("--running", help="List running jobs only.")] = False,
    last: Annotated[
        int, typer.Option(metavar="N", min=1, max=1000, help="How many ended jobs to list.")
    ] = 20,
) -> None:
    """List the running jobs and the most recently ended ones."""
    run = invocation.of(context)
    jobs = Jobs(run.deployment)
    unfinished = jobs.running()
    rows = [*map(_of_job, unfinished)]
    if not running:
        known = {job.job for job in unfinished}
        rows += [_of_entry(entry) for entry in jobs.ended(last) if entry.of_job not in known]
    columns = ("JOB", "STATE", "ROWS", "COST", "AGE", "UPLOAD")
    run.output.show(rows, table(columns, _cells(rows)) if rows else "no jobs")


def _of_job(job: Job) -> dict[str, Any]:
    return {
        "job": job.job,
        "name": job.label,
        "key": job.key,
        "status": job.status,
        "outcome": None,
        "waiting_for": job.waiting_for or (GO if job.held == GO else None),
        "canceled_at": job.canceled_at,
        "rows": job.checkpoint.row,
        "chunks": job.chunks,
        "chunks_finished": job.chunks_finished,
        "since": job.claimed_at,
    }


def _of_entry(entry: CostEntry) -> dict[str, Any]:
    fields = msgspec.to_builtins(entry)
    return {
        "job": entry.of_job,
        "name": entry.label,
        "key": entry.upload.removeprefix("s3://").partition("/")[2],
        "status": "DONE",
        "outcome": entry.outcome,
        "rows": entry.rows,
        "succeeded": entry.succeeded,
        "cost_usd": fields.get("cost_usd"),
        "since": entry.ended_at,
    }


def _cells(rows: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    now = datetime.now(UTC)
    for row in rows:
        ended = row["outcome"] is not None
        yield (
            row["name"],
            row["outcome"] or _state(row),
            f"{row['succeeded']:,} of {row['rows']:,}" if ended else f"{row['rows']:,}",
            dollars(float(row["cost_usd"])) if row.get("cost_usd") else "",
            age(now - timestamps.parse(row["since"])),
            row["key"],
        )


def _state(row: dict[str, Any]) -> str:
    if row["canceled_at"]:
        return "canceling"
    if row["waiting_for"]:
        return f"waits for {row['waiting_for']}"
    chunks = f" {row['chunks_finished']}/{row['chunks']}" if row["chunks"] else ""
    return f"{row['status'].lower()}{chunks}"
