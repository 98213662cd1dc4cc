"""`relay send`: check files, then upload them with their options."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from cli import invocation
from cli.commands.watch import finish
from cli.deployment import Deployment
from cli.errors import UsageError
from cli.jobs import FoundJob, Jobs, uploaded_job
from cli.local_files import check_file_names, check_options, check_upload
from cli.output import Output
from functions.readers import suffix_of
from local.errors import LocalError
from local.started_job import safe_path

SUFFIXES = (".relay.toml", ".relay.json")


@dataclass(frozen=True)
class _Upload:
    """A file, its key, and the options file that is sent before it."""

    file: Path
    key: str
    options: Path | None


def send(
    context: typer.Context,
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE", help="JSON Lines, CSV, Excel or another format of docs/formats.md."
        ),
    ],
    *,
    as_: Annotated[
        str | None,
        typer.Option("--as", metavar="KEY", help="The key in the bucket; ending in /, a folder."),
    ] = None,
    options: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="An options file; by default FILE.relay.toml."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the jobs until they end.")] = False,
) -> None:
    """Upload files. None is uploaded if one of them would be ignored or could not be read."""
    check_file_names(files)
    uploads = [_Upload(file, key, _options_of(file, options)) for file, key in _keys(files, as_)]
    for upload in uploads:
        check_upload(upload.file)
        if upload.options is not None:
            check_options(upload.options)
    run = invocation.of(context)
    for upload in uploads:
        _check_options_in_bucket(run.deployment, upload, run.output)
    jobs = [_send(run.deployment, upload, run.output) for upload in uploads]
    if wait:
        finish(Jobs(run.deployment), jobs, run.output)


def _keys(files: Sequence[Path], as_: str | None) -> list[tuple[Path, str]]:
    """Return each file with its key.

    Raises:
        UsageError: two files have one key, or the key is not read, or `get` could not use it as a path.
    """
    if as_ is not None and (as_.startswith("s3://") or not _is_path(as_)):
        message = f"--as {as_} is not a key that `relay get` could use as a path: write one such as team/march.jsonl"
        raise UsageError(message)
    if as_ is None or as_.endswith("/"):
        pairs = [(file, f"{as_ or ''}{file.name}") for file in files]
    elif len(files) == 1:
        pairs = [(files[0], as_)]
    else:
        message = f"--as {as_} names one key for {len(files)} files: end it in / to name a folder"
        raise UsageError(message)
    if len({key for _, key in pairs}) < len(pairs):
        message = "two files would have the same key: send them one by one, with --as"
        raise UsageError(message)
    if as_ is not None and not as_.endswith("/") and suffix_of(as_) is None:
        message = f"an upload {as_} would be ignored: give the key a suffix that is read, as in {files[0].name}"
        raise UsageError(message)
    return pairs


def _is_path(key: str) -> bool:
    """Return whether the results of a key can be saved under a folder."""
    with suppress(LocalError):
        return bool(safe_path(Path("/"), key))
    return False


def _options_of(file: Path, options: Path | None) -> Path | None:
    beside = (file.with_name(file.name + suffix) for suffix in SUFFIXES)
    return options or next((path for path in beside if path.is_file()), None)


def _check_options_in_bucket(deployment: Deployment, upload: _Upload, output: Output) -> None:
    """Note options of an earlier upload that would govern this one, too.

    Raises:
        UsageError: there would be two options files, which the relay rejects.
    """
    answer = deployment.s3.list_objects_v2(
        Bucket=deployment.uploads, Prefix=f"{upload.key}.relay."
    )
    present = {entry["Key"] for entry in answer.get("Contents", [])}
    present &= {upload.key + suffix for suffix in SUFFIXES}
    if upload.options is None and present:
        output.note(f"{', '.join(sorted(present))} in the bucket governs {upload.key}")
    elif upload.options is not None and (other := present - {_options_key(upload)}):
        message = f"{other.pop()} is in the bucket, too, and an upload has one options file: delete it first"
        raise UsageError(message)


def _options_key(upload: _Upload) -> str:
    is_json = upload.options is not None and upload.options.suffix.lower() == ".json"
    return upload.key + SUFFIXES[is_json]


def _send(deployment: Deployment, upload: _Upload, output: Output) -> FoundJob:
    """Upload the options, then the file."""
    bucket = deployment.uploads
    if upload.options is not None:
        deployment.s3.put_object(
            Bucket=bucket, Key=_options_key(upload), Body=check_options(upload.options)
        )
    with output.progress() as progress:
        task = progress.add_task(upload.file.name, total=upload.file.stat().st_size)
        deployment.s3.upload_file(
            str(upload.file),
            bucket,
            upload.key,
            Callback=lambda count: progress.advance(task, count),
        )
    found_job = uploaded_job(deployment, upload.key)
    sent = {
        "job": found_job.id,
        "name": found_job.name,
        "key": upload.key,
        "file": str(upload.file),
    }
    output.line(sent, f"{upload.file} → s3://{bucket}/{upload.key}  job {found_job.name}")
    return found_job
