"""Join the parts of a job's exports, and write their closing files. Their failure never delays results."""

from collections.abc import Mapping, Sequence

import msgspec
from aws_lambda_powertools import Logger

from functions.adapters.export_parts import (
    FAILURES,
    context_of,
    exports_of,
    first_record,
    may_pass,
)
from functions.adapters.retry_rows import MAX_WAITING_TRIES
from functions.adapters.s3 import JSON_LINES_TYPE, ObjectStore
from functions.adapters.tracing import traced
from functions.assembling.results_parquet import write_parquet
from functions.errors import RelayError
from functions.exports import parquet
from functions.exports.contract import Export, ExportContext, JobSummary
from functions.model.items.counts import OutcomeCounts
from functions.model.items.job import Job
from functions.model.items.stored_objects import ChunkOutput, StoredObject
from functions.services import Services
from functions.settings import ResultsSettings

_CSV_TYPE = "text/csv; charset=utf-8"
logger = Logger(child=True)


@traced("exports")
def join_exports(
    services: Services[ResultsSettings],
    job: Job,
    parts: Sequence[ChunkOutput],
    tally: OutcomeCounts,
    tries: int,
) -> tuple[dict[str, StoredObject], str | None]:
    """Join the parts of each export. An export that lacks a part would mislead, so it is left out.

    Args:
        services: the services of results.
        job: the job.
        parts: the files of its chunks.
        tally: the counts of all its rows.
        tries: the tries of the exports, including this one.

    Returns:
        Path of the export → file; and a sentence that says why some are missing.

    Raises:
        Exception: a fault of AWS that may pass before one of the next tries.
    """
    exports = exports_of(job)
    problem = next((part.export_problem for part in parts if part.export_problem), None)
    if not exports or problem is not None:
        return {}, problem
    files = services.files
    if tries > MAX_WAITING_TRIES:
        return {}, f"not joined in {MAX_WAITING_TRIES} tries"
    try:
        context = context_of(files, job)
        joined = _join(files, job, parts, exports, context)
        summary = _summary(files, job, joined, tally)
        for export in exports:
            _write_closing(files, job, export, context, summary)
    except FAILURES as error:
        if may_pass(error, tries):
            raise
        return {}, _log_problem(job, error)
    return joined, _replace_by_parquet(files, job, joined, context, tries)


def _replace_by_parquet(
    files: ObjectStore,
    job: Job,
    joined: dict[str, StoredObject],
    context: ExportContext,
    tries: int,
) -> str | None:
    """Replace the joined lines of results.parquet, if it is wanted, by the file itself.

    Returns:
        A sentence that says why there is none.

    Raises:
        Exception: a fault of AWS that may pass before one of the next tries.
    """
    lines = joined.pop(parquet.PATH, None)
    if lines is None:
        return None
    if (
        tries == MAX_WAITING_TRIES
    ):  # it may have killed this function; the last try is for the other exports
        return f"{parquet.PATH}: not written in {tries - 1} tries"
    try:
        key = f"{job.results_prefix}/{parquet.PATH}"
        joined[parquet.PATH] = write_parquet(files, job, lines, context, key)
    except FAILURES as error:
        if may_pass(error, tries):
            raise
        return _log_problem(job, error)
    return None


def _log_problem(job: Job, error: Exception) -> str:
    problem = str(error) if isinstance(error, RelayError) else type(error).__name__
    logger.warning("exports not joined", extra={"job": job.job, "problem": problem})
    return problem


def _join(
    files: ObjectStore,
    job: Job,
    parts: Sequence[ChunkOutput],
    exports: Sequence[Export],
    context: ExportContext,
) -> dict[str, StoredObject]:
    joined = {}
    for path, head in [
        (path, export.head(path, context)) for export in exports for path in export.paths(context)
    ]:
        scratch = f"work/{job.job}/joined/{path.replace('/', '.')}"
        first = [files.write(f"{scratch}.head", [head])] if head else []
        pieces = [*first, *(part.exports[path] for part in parts)]
        content_type = _CSV_TYPE if path.endswith(".csv") else JSON_LINES_TYPE
        key = f"{scratch}.jsonl" if path == parquet.PATH else f"{job.results_prefix}/{path}"
        joined[path] = files.join(key, pieces, scratch, content_type)
    return joined


def _write_closing(
    files: ObjectStore, job: Job, export: Export, context: ExportContext, summary: JobSummary
) -> None:
    for path, content in export.closing(summary, context).items():
        files.put(f"{job.results_prefix}/{path}", content)


def _summary(
    files: ObjectStore, job: Job, joined: Mapping[str, StoredObject], tally: OutcomeCounts
) -> JobSummary:
    return JobSummary(
        job=job.job,
        outcome=job.outcome or "failed",
        outcomes=tally.outcomes,
        usage={model: msgspec.to_builtins(usage) for model, usage in tally.usage.items()},
        times={
            "uploaded_at": job.uploaded_at,
            "claimed_at": job.claimed_at,
            "ended_at": job.ended_at,
            "canceled_at": job.canceled_at,
        },
        files={path: f"s3://{files.bucket}/{file.key}" for path, file in joined.items()},
        upload=job.source.uri,
        failure=None if job.outcome == "succeeded" else job.failure,
        rejections=job.rejection_counts,
        first_record=first_record(files, job),
    )
