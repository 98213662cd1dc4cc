"""The events about uploads that start no job and about markers without a job."""

from collections.abc import Mapping, Sequence
from typing import Any

from functions.model import events, ids
from functions.model.events import Event, folder_of
from functions.model.items.job import Job
from functions.model.items.stored_objects import NO_VERSION, ObjectVersion
from functions.model.records import CANCEL, GO, Ignored, MarkerRequest

MAX_PROBLEM_CHARS = 500
CANDIDATES = 10
"""The most keys that an event names."""
_AMBIGUOUS = (
    "several uploads match; name the marker after one of them, with its suffix: march.jsonl.{kind}"
)
_UNMATCHED = (
    "no unfinished job matches; name the marker after the upload, with its suffix: march.jsonl.{kind}. Only uploads "
    "older than the marker match. A finished job cannot be {effect}"
)
_EFFECTS = {CANCEL: "canceled", GO: "released"}


def upload_ignored(
    ignored: Ignored, upload: Mapping[str, str], reads: Sequence[str], at: str
) -> Event:
    """Build the event that objects of a folder are ignored because no reader accepts their suffix; one a day."""
    suffix, count = ignored.suffix or "no known suffix", f"{ignored.count:,}"
    objects = "object" if ignored.count == 1 else "objects"
    readable = ", ".join(suffix for suffix in reads if suffix.count(".") == 1)
    data = {
        "upload": dict(upload),
        "suffix": ignored.suffix,
        "day": ignored.day,
        "count": ignored.count,
        "reads": list(reads),
        "message": f"objects with {suffix} are ignored; upload a file that ends in {readable}; docs/formats.md says what is read",
    }
    return Event(
        id=f"ignored/{ignored.item}", type="upload.ignored", time=at, subject=events.UPLOADS,
        headline=f"Ignored {count} {objects} with {suffix} in {ignored.folder or 'the top folder'}; supported: {readable}",
        attributes={"folder": ignored.folder, "suffix": ignored.suffix}, data=data,
    )  # fmt: skip


def options_rejected(file: ObjectVersion, problem: str, at: str) -> Event:
    """Build the event that an options file cannot be used. The uploads that it governs wait for another version."""
    advice = "Uploads that it governs wait; correct it and upload it again, or delete it"
    return _options_rejected(file, problem, advice, at)


def options_misnamed(file: ObjectVersion, problem: str, at: str) -> Event:
    """Build the event that a file is meant as options, but that its name is not read."""
    return _options_rejected(file, problem, "Uploads run without it", at)


def _options_rejected(file: ObjectVersion, problem: str, advice: str, at: str) -> Event:
    problem = problem[:MAX_PROBLEM_CHARS]
    data = {
        "options": {"bucket": file.bucket, "key": file.key, "version": file.version or NO_VERSION},
        "problem": problem,
        "message": f"{file.uri} cannot be used: {problem}. {advice}",
    }
    version = ids.job_id(file.bucket, file.key, file.version or NO_VERSION)
    return Event(
        id=f"options/{version}", type="options.rejected", time=at, subject=events.UPLOADS,
        headline=f"{file.key.rpartition('/')[2]} cannot be used: {problem}",
        attributes={"folder": folder_of(file.key)}, data=data,
    )  # fmt: skip


def marker_unmatched(
    request: MarkerRequest, candidates: Sequence[str], until: str, at: str
) -> Event:
    """Build the event that a cancel marker or a go marker matches no job.

    Args:
        request: what the marker requests.
        candidates: keys of uploads that the marker may have meant.
        until: when the search for a job ended.
        at: the event's time.
    """
    kind, effect = request.job, _EFFECTS[request.job]
    message = (_AMBIGUOUS if candidates else _UNMATCHED).format(kind=kind, effect=effect)
    data = {
        "upload": {"bucket": request.bucket, "key": request.key},
        "marker": request.marker or f"{request.key}.{kind}",
        "marked_at": request.at,
        "looked_for_until": until,
        "candidates": list(candidates[:CANDIDATES]),
        "message": message,
    }
    return Event(
        id=f"{kind}/{request.item}/{request.at}", type=f"{kind}.unmatched", time=at, subject=events.UPLOADS,
        headline=f"Nothing {effect} by {data['marker']}: {message}",
        attributes={"folder": folder_of(request.key)}, data=data,
    )  # fmt: skip


def uploads_reconciled(figures: Mapping[str, Any], at: str) -> Event:
    """Build the event that uploads without a job were found, and what became of them."""
    repeats = figures["found"] - figures["claimed"]
    message = (
        f"{figures['claimed']:,} started, {repeats:,} skipped as repeats. Their events were not processed: check the "
        "dead-letter queue of uploads, and whether submit's event source is enabled"
    )
    return Event(
        id=f"reconciled/{at}", type="uploads.reconciled", time=at, subject=events.UPLOADS,
        headline=f"Found {figures['found']:,} uploads without a job: {message}", attributes={},
        data={**figures, "message": message},
    )  # fmt: skip


def job_duplicate(job: Job, original: Job, results_bucket: str, at: str) -> Event:
    """Build the event that an upload is not run because another job has its bytes."""
    results = f"s3://{results_bucket}/{original.results_prefix}/"
    original_upload = {"bucket": original.bucket, "key": original.key, "version": original.version}
    data = {
        "job": job.job,
        "name": job.label,
        "upload": {"bucket": job.bucket, "key": job.key, "version": job.version},
        "duplicate_of": {
            "job": original.job, "name": original.label, "upload": original_upload, "results": results,
            "outcome": original.outcome,
        },
        "message": f"not run: {original.label} has the same bytes, and its results are in {results}. To run this upload "
        f"anyway, upload an empty object with the upload's name and the suffix .again",
    }  # fmt: skip
    return Event(
        id=f"{job.job}/duplicate", type="job.duplicate", time=at, subject=job.job,
        headline=f"{job.label}: not run, same bytes as {original.label}",
        attributes={"folder": folder_of(job.key)}, data=data,
    )  # fmt: skip
