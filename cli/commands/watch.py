"""`relay watch`: follow a job until it ends."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli import invocation, progress
from cli.errors import ExitCode, NotFoundError
from cli.jobs import FoundJob, Jobs
from cli.output import Output, dollars


def watch(
    context: typer.Context,
    job: Annotated[str, typer.Argument(metavar="JOB|KEY|FILE", help="A job, or a file as it was sent.")],
) -> None:  # fmt: skip
    """Follow a job until it ends. The exit code is 1 unless all its rows succeeded."""
    run = invocation.of(context)
    jobs = Jobs(run.deployment)
    try:
        found_job = jobs.find(job)
    except NotFoundError:
        if not Path(job).is_file():
            raise
        found_job = jobs.find(Path(job).name)
    finish(jobs, [found_job], run.output)


def finish(jobs: Jobs, found_jobs: list[FoundJob], output: Output) -> None:
    """Follow jobs, and exit with 1 unless all their rows succeeded."""
    states = progress.follow(jobs, found_jobs, output)
    for found_job, state in zip(found_jobs, states, strict=True):
        if not output.as_json:
            output.show(state, _summary(jobs, found_job, state))
    if any(state.get("outcome") != "succeeded" for state in states):
        raise typer.Exit(ExitCode.FAILURES)


def _summary(jobs: Jobs, found_job: FoundJob, state: dict[str, Any]) -> str:
    """Return how a job ended, what it cost, and how to get its results."""
    line = f"{state['name']}: {progress.describe(state)}"
    try:
        manifest = jobs.manifest(found_job)
    except NotFoundError:
        return line
    counts = ", ".join(f"{count:,} {name}" for name, count in manifest["counts"].items())
    cost = dollars(manifest.get("cost_usd"), digits=4)
    return f"{line}\n  rows   {counts}\n  cost   {cost}\n  files  relay get {found_job.id[:8]}"
