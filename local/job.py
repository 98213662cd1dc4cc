"""One job as its user sees it: the upload, its status and events, and its results."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from botocore.exceptions import ClientError

from functions.model.ids import job_id
from local.cloud import Cloud
from local.errors import LocalError

FINAL_EVENTS = frozenset({"job.completed", "job.rejected"})


@dataclass(kw_only=True)
class Job:
    """A job that this command has started.

    Attributes:
        file: the uploaded file.
        id: the job id, computed from the upload.
        folder: the prefix of its results in the results bucket.
        status: the latest status.json.
        events: events by their id, in order of arrival.
    """

    file: Path
    id: str
    folder: str
    status: Mapping[str, Any] = field(default_factory=dict)
    events: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The readable name."""
        return f"{self.file.stem}-{self.id[:8]}"

    @property
    def final_event(self) -> Mapping[str, Any] | None:
        """The event that ends the job; None until it arrives."""
        return next(
            (event for event in self.events.values() if event_type(event) in FINAL_EVENTS), None
        )

    @property
    def outcome(self) -> str:
        """The outcome in the final event."""
        return str(((self.final_event or {}).get("data") or {}).get("outcome", "unfinished"))

    @property
    def was_noticed(self) -> bool:
        """Whether the relay has reacted to the upload."""
        return bool(self.status or self.events)


def event_type(event: Mapping[str, Any]) -> str:
    """Return an event's type without its reverse domain: ``job.completed``."""
    return ".".join(str(event.get("type", "")).split(".")[-2:])


def upload(cloud: Cloud, bucket: str, file: Path) -> Job:
    """Upload a file under its own name.

    Raises:
        LocalError: the file cannot be read.
    """
    key = file.name
    try:
        cloud.s3.upload_file(str(file), bucket, key)
    except OSError as error:
        message = f"{file} cannot be read ({error.strerror}): pass the path of a JSONL file"
        raise LocalError(message) from error
    version = cloud.s3.head_object(Bucket=bucket, Key=key)["VersionId"]
    job = job_id(bucket, key, version)
    path = key.rpartition(".")[0] or key
    return Job(file=file, id=job, folder=f"results/{path}/{job}")


def refresh(cloud: Cloud, bucket: str, job: Job) -> None:
    """Read status.json again; it does not exist before the first poll."""
    try:
        answer = cloud.s3.get_object(Bucket=bucket, Key=f"{job.folder}/status.json")
    except ClientError:
        return
    job.status = json.loads(answer["Body"].read())


def download(cloud: Cloud, bucket: str, job: Job, into: Path) -> Path:
    """Download a job's results into ``into/<name>/<job>/``, replacing existing files.

    Returns:
        that folder.

    Raises:
        LocalError: a key would leave the folder.
    """
    root = into.resolve()
    target = safe_path(root, job.folder.removeprefix("results/"))
    target.mkdir(parents=True, exist_ok=True)
    for key in _keys(cloud, bucket, f"{job.folder}/"):
        path = safe_path(root, key.removeprefix("results/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        cloud.s3.download_file(bucket, key, str(path))
    return target


def safe_path(root: Path, key: str) -> Path:
    """Return the path of a key under a folder.

    Raises:
        LocalError: the key would leave the folder; an object may be named ``../../.profile``.
    """
    parts = PurePosixPath(key).parts
    safe = all(part not in {"..", "/"} and not set(part) & set("\0\\:") for part in parts)
    if not parts or not safe or not (root.joinpath(*parts)).resolve().is_relative_to(root):
        message = f"{key!r} is not a safe file name: download it with `aws s3 cp`"
        raise LocalError(message)
    return root.joinpath(*parts)


def _keys(cloud: Cloud, bucket: str, prefix: str) -> Iterator[str]:
    for page in cloud.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        yield from (item["Key"] for item in page.get("Contents", []))
