"""`relay cancel`, `go` and `retry`: cancel, release or resend a job."""

from typing import Annotated, Any

import typer

from cli import invocation
from cli.commands.watch import finish
from cli.deployment import Deployment
from cli.errors import CommandError, NotFoundError, UsageError
from cli.invocation import Invocation, JobName
from cli.jobs import FoundJob, Jobs, uploaded_job
from functions.model.ids import stem_of
from functions.model.items.batch import CloseReason
from functions.model.items.job import Job
from functions.planning.claim import CANCEL, GO
from functions.readers import suffix_of

_LOST = (
    *(CloseReason.GONE, CloseReason.MISSING, CloseReason.UNREADABLE),
    *(CloseReason.STUCK, CloseReason.LOST),
)
"""Errors of rows that were sent, or an equal row was, and whose results were never received, or are deleted."""


def cancel(context: typer.Context, job: JobName) -> None:
    """Cancel a job. Answers that it already has are delivered."""
    run = invocation.of(context)
    found_job, item = _unfinished(run, job)
    if item.canceled_at is not None:
        message = f"{found_job.name} was canceled at {item.canceled_at}: `relay why {found_job.id[:8]}` says what it waits for"
        raise UsageError(message)
    _create_marker(run, found_job, CANCEL, "is canceled at the next poll, within a minute")


def go(context: typer.Context, job: JobName) -> None:
    """Release a job that is held.

    This sends the rest after its pilot, or a job that may cost more than its budget.
    """
    run = invocation.of(context)
    found_job, item = _unfinished(run, job)
    if item.waiting_for is not None and item.estimate is None:
        message = (
            f"{found_job.name} waits for an options file ({item.waiting_for}), which `relay go` cannot replace: "
            f"`relay why {found_job.id[:8]}` says what to upload"
        )
        raise UsageError(message)
    if item.held is None and item.waiting_for is None:
        message = f"nothing of {found_job.name} is held: `relay why {found_job.id[:8]}` says what it waits for"
        raise UsageError(message)
    _create_marker(run, found_job, GO, "is released at the next poll, within a minute")


def retry(
    context: typer.Context,
    job: JobName,
    *,
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow the new job until it ends.")
    ] = False,
) -> None:
    """Resend the rows that did not succeed.

    They are a new upload with the same options.
    """
    run = invocation.of(context)
    jobs = Jobs(run.deployment)
    found_job = jobs.find(job)
    manifest = jobs.manifest(found_job)
    retry_file = _retry_file(manifest, found_job)
    if lost := sum(manifest["errors"].get(reason, 0) for reason in _LOST):
        run.output.note(
            f"{lost:,} of these rows may be billed already, and their results were lost: "
            f"`relay recollect {found_job.id[:8]}` fetches what Anthropic still has of them"
        )
    deployment = run.deployment
    source = retry_file.removeprefix(f"s3://{deployment.results}/")
    stem = stem_of(found_job.key)
    key = f"{stem}-retry-{found_job.id[:8]}{suffix_of(source) or ''}"
    _copy_options(deployment, found_job.key, key)
    deployment.s3.copy({"Bucket": deployment.results, "Key": source}, deployment.uploads, key)
    new = uploaded_job(deployment, key)
    sent = {"job": new.id, "name": new.name, "key": key, "retries": found_job.id}
    run.output.line(sent, f"{retry_file} → s3://{deployment.uploads}/{key}  job {new.name}")
    if wait:
        finish(jobs, [new], run.output)


def _unfinished(run: Invocation, name: str) -> tuple[FoundJob, Job]:
    """Return a job that can still be changed.

    Raises:
        NotFoundError: there is no such job, or the table does not have it any more.
        UsageError: it has ended.
    """
    found_job = Jobs(run.deployment).find(name)
    if found_job.item is None:
        message = f"{found_job.name} is not claimed yet, or ended long ago: `relay why {found_job.key}` shows which"
        raise NotFoundError(message)
    if found_job.item.outcome is not None:
        message = f"{found_job.name} has ended ({found_job.item.outcome})"
        raise UsageError(message)
    return found_job, found_job.item


def _create_marker(run: Invocation, found_job: FoundJob, suffix: str, sentence: str) -> None:
    """Create a marker. It counts for every unfinished job of the key."""
    key = found_job.key + suffix
    run.deployment.s3.put_object(Bucket=run.deployment.uploads, Key=key, Body=b"")
    others = [job for job in Jobs(run.deployment).running() if job.key == found_job.key]
    several = f", with {len(others) - 1} other jobs of {found_job.key}" if len(others) > 1 else ""
    data = {
        "job": found_job.id,
        "name": found_job.name,
        "marker": key,
        "jobs": [o.job for o in others],
    }
    run.output.show(data, f"{found_job.name} {sentence}{several}")


def _retry_file(manifest: dict[str, Any], found_job: FoundJob) -> str:
    """Return the address of the retry file.

    Raises:
        CommandError: there is nothing in it.
    """
    entry = manifest["files"].get("retry")
    if entry is None or not entry["size_bytes"]:
        reason = (manifest.get("retry") or {}).get("reason")
        why = reason or "every row succeeded"
        message = f"{found_job.name} has no rows to send again: {why}"
        raise CommandError(message)
    uri: str = entry["uri"]
    return uri


def _copy_options(deployment: Deployment, key: str, new_key: str) -> None:
    """Copy the options file of the upload alone, if there is one. Those of folders govern the new key, too."""
    prefix = f"{key}.relay."
    answer = deployment.s3.list_objects_v2(Bucket=deployment.uploads, Prefix=prefix)
    for entry in answer.get("Contents", []):
        source = {"Bucket": deployment.uploads, "Key": entry["Key"]}
        copied = f"{new_key}.relay.{entry['Key'].removeprefix(prefix)}"
        deployment.s3.copy(source, deployment.uploads, copied)  # type: ignore[arg-type]
