"""`relay cancel`, `go` and `retry`: what changes the course of a job."""

from typing import Annotated, Any

import typer

from cli import invocation
from cli.commands.watching import finish
from cli.deployment import Deployment
from cli.errors import NotFoundError, RelayError, UsageError
from cli.invocation import Invocation
from cli.jobs import Found, Jobs
from functions.model.ids import job_id, stem_of
from functions.model.items import NO_VERSION, Job, results_prefix
from functions.planning.claim import CANCEL, GO
from functions.readers import suffix_of

Name = Annotated[str, typer.Argument(metavar="JOB", help="Id, key or beginning of the id.")]


def cancel(context: typer.Context, job: Name) -> None:
    """Cancel a job: it ends with the answers that it has by then."""
    run = invocation.of(context)
    found, item = _unfinished(run, job)
    if item.canceled_at is not None:
        message = f"{found.name} was canceled at {item.canceled_at}: `relay why {found.id[:8]}` says what it waits for"
        raise UsageError(message)
    _mark(run, found, CANCEL, "is canceled at the next poll, within a minute")


def go(context: typer.Context, job: Name) -> None:
    """Release a job that is held: the rest after its pilot, or what may cost more than its budget."""
    run = invocation.of(context)
    found, item = _unfinished(run, job)
    if item.held is None and item.waiting_for is None:
        message = (
            f"nothing of {found.name} is held: `relay why {found.id[:8]}` says what it waits for"
        )
        raise UsageError(message)
    _mark(run, found, GO, "is released at the next poll, within a minute")


def retry(
    context: typer.Context,
    job: Name,
    *,
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow the new job until it ends.")
    ] = False,
) -> None:
    """Send the rows that did not succeed again, as a new upload with the same options."""
    run = invocation.of(context)
    jobs = Jobs(run.deployment)
    found = jobs.find(job)
    retry_file = _retry_file(jobs.manifest(found), found)
    deployment = run.deployment
    source = retry_file.removeprefix(f"s3://{deployment.results}/")
    stem = stem_of(found.key)
    key = f"{stem}-retry-{found.id[:8]}{suffix_of(source) or ''}"
    _copy_options(deployment, found.key, key)
    deployment.s3.copy({"Bucket": deployment.results, "Key": source}, deployment.uploads, key)
    version = deployment.s3.head_object(Bucket=deployment.uploads, Key=key).get("VersionId")
    new_id = job_id(deployment.uploads, key, version or NO_VERSION)
    new = Found(new_id, key, results_prefix(key, new_id))
    sent = {"job": new.id, "name": new.name, "key": key, "retries": found.id}
    run.output.line(sent, f"{retry_file} → s3://{deployment.uploads}/{key}  job {new.name}")
    if wait:
        finish(jobs, [new], run.output)


def _unfinished(run: Invocation, name: str) -> tuple[Found, Job]:
    """Return a job that can still be steered.

    Raises:
        NotFoundError: there is no such job, or the table does not have it any more.
        UsageError: it has ended.
    """
    found = Jobs(run.deployment).find(name)
    if found.item is None:
        message = f"{found.name} ended long ago"
        raise NotFoundError(message)
    if found.item.outcome is not None:
        message = f"{found.name} has ended ({found.item.outcome})"
        raise UsageError(message)
    return found, found.item


def _mark(run: Invocation, found: Found, suffix: str, sentence: str) -> None:
    """Create a marker. It counts for every unfinished job of the key."""
    key = found.key + suffix
    run.deployment.s3.put_object(Bucket=run.deployment.uploads, Key=key, Body=b"")
    others = [job for job in Jobs(run.deployment).running() if job.key == found.key]
    several = f", with {len(others) - 1} other jobs of {found.key}" if len(others) > 1 else ""
    data = {"job": found.id, "name": found.name, "marker": key, "jobs": [o.job for o in others]}
    run.output.show(data, f"{found.name} {sentence}{several}")


def _retry_file(manifest: dict[str, Any], found: Found) -> str:
    """Return the address of the retry file.

    Raises:
        RelayError: there is nothing in it.
    """
    entry = manifest["files"].get("retry")
    if entry is None or not entry["size_bytes"]:
        reason = (manifest.get("retry") or {}).get("reason")
        why = reason or "every row succeeded"
        message = f"{found.name} has no rows to send again: {why}"
        raise RelayError(message)
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
