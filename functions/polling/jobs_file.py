"""Write ``jobs.json`` at the root of the results bucket: the jobs that run, and the last thousand that ended.

It is best effort. Its source for the running jobs is the index of unfinished items. A job that ends stays in that
index until its last status.json is written, which is after this file. So it is listed as ended before it leaves. The
jobs that ended earlier are read from the file itself. If that is lost, `ended_since` is the time from which they are listed.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec
from aws_lambda_powertools import Logger

from functions.model import timestamps
from functions.model.items.job import Job, JobStatus
from functions.model.records import JobsFileWrite
from functions.polling.phases import Phases
from functions.services import Services
from functions.settings import PollSettings

KEY = "jobs.json"
MAX_RUNNING, MAX_ENDED = 10_000, 1_000
MAX_BYTES = 64 << 20
"""The most that is read of the file. Poll itself writes less, even if all keys are as long as S3 allows."""
INTERVAL_S = 50.0
"""Least seconds between two writes, unless a job has ended. A scheduled poll is a minute after the last one."""
logger = Logger(child=True)


def write_jobs_file(
    services: Services[PollSettings],
    unfinished: Sequence[Job],
    phases: Phases,
    status_of: Callable[[Job], dict[str, Any]],
    last_write: JobsFileWrite,
) -> JobsFileWrite:
    """Write the file if a job in it has changed.

    Args:
        services: the services of poll.
        unfinished: all unfinished jobs.
        phases: how much time is left.
        status_of: returns what status.json says of a job.
        last_write: the last write.

    Returns:
        The last write now.
    """
    if not phases.has_time("jobs file"):
        return last_write
    bucket = services.files.bucket
    entries = [
        phases.attempt("jobs file", partial(_entry, bucket, job, status_of), None, job.job)
        for job in unfinished
    ]
    listed = [entry for entry in entries if entry is not None]
    digest = hashlib.sha256(msgspec.json.encode(listed)).hexdigest()[:16] if listed else None
    now = services.now()
    has_ended = any(entry["status"] == JobStatus.DONE for entry in listed)
    age_s = (
        None
        if last_write.written_at is None
        else (now - timestamps.parse(last_write.written_at)).total_seconds()
    )
    if digest == last_write.digest or (
        not has_ended and age_s is not None and 0 <= age_s < INTERVAL_S
    ):
        return last_write
    written = phases.attempt("jobs file", partial(_write, services, listed), default=False)
    return JobsFileWrite(digest=digest, written_at=timestamps.text(now)) if written else last_write


def _entry(bucket: str, job: Job, status_of: Callable[[Job], dict[str, Any]]) -> dict[str, Any]:
    """Return one job as the file lists it."""
    status = status_of(job)
    return {
        "job": job.job,
        "name": status["name"],
        "status": status["status"],
        "outcome": status["outcome"],
        "since": status["since"],
        "claimed_at": status["claimed_at"],
        "ended_at": job.ended_at,
        "rows": status["rows_planned"],
        "counts": {outcome: count for outcome, count in status["rows"].items() if count},
        "cost_usd_known": status["cost_usd_known"],
        "waiting": [wait["reason"] for wait in status["waiting"]],
        "links": {"upload": job.source.uri, "results": f"s3://{bucket}/{job.results_prefix}/"},
    }


def _write(services: Services[PollSettings], listed: list[dict[str, Any]]) -> bool:
    """Merge the jobs of the index into the file. Return False if another poll has written it since it was read."""
    etag, before = _read(services)
    now = timestamps.text(services.now())
    latest = {entry["job"]: entry for entry in before["ended"]}
    for entry in listed:
        # The index may be behind, and still show a job as running that has ended.
        if entry["job"] not in latest or latest[entry["job"]]["since"] <= entry["since"]:
            latest[entry["job"]] = entry
    newest_first = sorted(latest.values(), key=lambda entry: entry["since"], reverse=True)
    running = [entry for entry in newest_first if entry["status"] != JobStatus.DONE]
    ended = [entry for entry in newest_first if entry["status"] == JobStatus.DONE]
    document = {
        "at": now,
        "running": running[:MAX_RUNNING],
        "running_not_listed": max(len(running) - MAX_RUNNING, 0),
        "ended": ended[:MAX_ENDED],
        "ended_since": before["ended_since"] or now,
    }
    body = msgspec.json.encode(document)
    written = services.files.put_if_unchanged(KEY, body + b"\n", etag)
    if not written:
        logger.warning("jobs.json was not replaced, it has changed or cannot be read")
    return written


def _read(services: Services[PollSettings]) -> tuple[str | None, dict[str, Any]]:
    """Read the file. Return its ETag and content; None and an empty one if it cannot be read, or does not exist."""
    nothing: dict[str, Any] = {"ended": [], "ended_since": None}
    found = services.files.read_with_etag(KEY, MAX_BYTES)
    if found is None:
        return None, nothing
    etag, body = found
    try:
        return etag, msgspec.structs.asdict(msgspec.json.decode(body, type=_Before))
    except msgspec.MsgspecError:
        logger.warning("jobs.json cannot be read and is rewritten without earlier ended jobs")
        return etag, nothing


class _Ended(msgspec.Struct, frozen=True):
    job: str
    since: str


class _Before(msgspec.Struct, frozen=True, kw_only=True):
    ended: list[dict[str, Any]]
    ended_since: str

    def __post_init__(self) -> None:
        """Reject entries that the merge cannot sort.

        Raises:
            ValidationError: an entry has no job, time or status.
        """
        msgspec.convert(self.ended, list[_Ended])
