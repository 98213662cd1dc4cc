"""One job as its user sees it: the upload, its status and events, and its results."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

from botocore.exceptions import ClientError

from functions.model.ids import job_id, stem_of
from functions.model.options import governs, options_file_keys
from local.cloud import Cloud
from local.errors import LocalError

FINAL_EVENTS = frozenset({"job.completed", "job.rejected"})
PLANNED_EVENTS = frozenset({"job.planned"})
RELEASABLE = frozenset({"budget", "price", "go"})
"""What a job waits for until `relay go`."""
DECISIONS = RELEASABLE | {"template", "models", "valid_options"}
"""What a job waits for until a person acts, as status.json names it."""
WAITING_EVENTS = frozenset({"job.waiting", "options.rejected"})


@dataclass(kw_only=True)
class StartedJob:
    """A job that this command has started.

    Attributes:
        file: the uploaded file.
        key: its key in the uploads bucket.
        id: the job id, computed from the upload.
        folder: the prefix of its results in the results bucket.
        status: the latest status.json.
        events: events by their id, in order of arrival.
    """

    file: Path
    key: str
    id: str
    folder: str
    status: Mapping[str, Any] = field(default_factory=dict)
    events: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The readable name."""
        return f"{stem_of(self.file.name)}-{self.id[:8]}"

    @property
    def final_event(self) -> Mapping[str, Any] | None:
        """The event that ends the job; None until it arrives."""
        return self._first_event(FINAL_EVENTS)

    @property
    def waiting_event(self) -> Mapping[str, Any] | None:
        """The event that the job waits for options; None if it does not."""
        return self._first_event(WAITING_EVENTS)

    @property
    def decision(self) -> Mapping[str, Any] | None:
        """Why it waits for a person, as status.json says; None if it does not."""
        waiting = self.status.get("waiting", ())
        return next((wait for wait in waiting if wait["reason"] in DECISIONS), None)

    @property
    def requests_planned(self) -> int | None:
        """Its requests, which are fewer than its rows if some are equal; None until all are planned."""
        event = self._first_event(PLANNED_EVENTS)
        return None if event is None else int(event["data"]["requests"])

    @property
    def is_over(self) -> bool:
        """Whether following it further is useless: it has ended, or waits for a person."""
        return bool(self.final_event or self.waiting_event)

    @property
    def has_final_status(self) -> bool:
        """Whether nothing changes status.json any more; poll writes it after the final event."""
        return self.final_event is None or self.status.get("status") == "DONE"

    @property
    def outcome(self) -> str:
        """The outcome in the final event."""
        return str(((self.final_event or {}).get("data") or {}).get("outcome", "unfinished"))

    @property
    def was_noticed(self) -> bool:
        """Whether the relay has reacted to the upload."""
        return bool(self.status or self.events)

    def is_concerned(self, event: Mapping[str, Any]) -> bool:
        """Return whether an event is about this job, or about options that govern it."""
        if event_type(event) == "options.rejected":
            return governs(event["data"]["options"]["key"], self.key)
        return event.get("subject") == self.id

    def _first_event(self, types: frozenset[str]) -> Mapping[str, Any] | None:
        return next((event for event in self.events.values() if event_type(event) in types), None)


def event_type(event: Mapping[str, Any]) -> str:
    """Return an event's type without its reverse domain: ``job.completed``."""
    return ".".join(str(event.get("type", "")).split(".")[-2:])


def upload(cloud: Cloud, bucket: str, file: Path) -> StartedJob:
    """Upload a file under the names of its folder and its own, after the options files beside it.

    Raises:
        LocalError: a file cannot be read.
    """
    key = key_of(file)
    try:
        _upload_options(cloud, bucket, file, key)
        cloud.s3.upload_file(str(file), bucket, key)
    except OSError as error:
        message = (
            f"{error.filename or file} cannot be read ({error.strerror}): check its permissions"
        )
        raise LocalError(message) from error
    version = cloud.s3.head_object(Bucket=bucket, Key=key)["VersionId"]
    job = job_id(bucket, key, version)
    return StartedJob(file=file, key=key, id=job, folder=f"results/{stem_of(key)}/{job}")


def key_of(file: Path) -> str:
    """Return the key of a file: its folder and its name, so that only the options beside it govern it."""
    path = file.resolve()
    return f"{path.parent.name or 'files'}/{path.name}"


def _upload_options(cloud: Cloud, bucket: str, file: Path, key: str) -> None:
    """Upload the options files of a file and of its folder; delete those of an earlier run."""
    _root, *places = options_file_keys(key)
    for options_key in chain.from_iterable(places):
        options = file.resolve().parent / PurePosixPath(options_key).name
        if options.is_file():
            cloud.s3.upload_file(str(options), bucket, options_key)
        else:
            cloud.s3.delete_object(Bucket=bucket, Key=options_key)


def cancel(cloud: Cloud, bucket: str, job: StartedJob) -> None:
    """Cancel a job that waits, so that the options of a later run do not start it, too."""
    cloud.s3.put_object(Bucket=bucket, Key=f"{job.key}.cancel", Body=b"")


def refresh(cloud: Cloud, bucket: str, job: StartedJob) -> None:
    """Read status.json again; it does not exist before the first poll."""
    try:
        answer = cloud.s3.get_object(Bucket=bucket, Key=f"{job.folder}/status.json")
    except ClientError:
        return
    job.status = json.loads(answer["Body"].read())


def download(cloud: Cloud, bucket: str, job: StartedJob, into: Path) -> Path:
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
    safe = all(
        part not in {"..", "/"} and not set(part) & set("\0\\") and part[1:2] != ":"  # C:
        for part in parts
    )
    if not parts or not safe or not (root.joinpath(*parts)).resolve().is_relative_to(root):
        message = f"{key!r} is not a safe file name: download it with `aws s3 cp`"
        raise LocalError(message)
    return root.joinpath(*parts)


def _keys(cloud: Cloud, bucket: str, prefix: str) -> Iterator[str]:
    for page in cloud.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        yield from (item["Key"] for item in page.get("Contents", []))
