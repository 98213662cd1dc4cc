"""Build the manifest of a job: how its rows ended, what they used and cost, and where its files are."""

from collections.abc import Sequence
from typing import Any

import msgspec

from functions.adapters.options_files import uris_of
from functions.assembling.job_cost import cost_figures, used_by
from functions.model.cache_use import cache_figures
from functions.model.expected_cost import estimate_figures
from functions.model.items.batch import Batch, BatchStatus
from functions.model.items.counts import OutcomeCounts
from functions.model.items.job import Job
from functions.model.items.stored_objects import ChunkOutput, StoredObject
from functions.model.outcome_counter import sum_usage
from functions.readers import format_of


def build_manifest(
    results_bucket: str,
    job: Job,
    batches: Sequence[Batch],
    files: dict[str, StoredObject],
    tally: OutcomeCounts,
) -> dict[str, Any]:
    """Build the manifest from the table alone, so that a repeated call builds the same bytes."""
    used = used_by(batches)
    return {
        "schema": 1,
        "job": job.job,
        "name": job.label,
        "outcome": job.outcome,
        "reason": job.failure,
        "upload": {"bucket": job.bucket, "key": job.key, "version": job.version, "size_bytes": job.size_bytes},
        "times": {"uploaded_at": job.uploaded_at, "claimed_at": job.claimed_at, "ended_at": job.ended_at, "canceled_at": job.canceled_at, "deadline_at": job.deadline_at},
        "settings": {"requests_per_batch": job.requests_per_batch, "attempts": job.attempts, "api_version": job.api_version, "priority": job.priority, "share": msgspec.to_builtins(job.share), "equal_rows": "once" if job.equal_rows_once else "each", "retry_truncated": _retry_truncated(job)},
        "rows": sum(tally.outcomes.values()),
        "counts": tally.outcomes,
        "errors": tally.errors,
        "stop_reasons": tally.stops,
        "empty_answers": tally.empty_answers,
        "truncated": tally.truncated,
        "requests": sum(batch.requests for batch in batches if batch.batch_id),
        "copies": sum(batch.copies + batch.cross_chunk_copies for batch in batches if batch.attempt == 1 and batch.status != BatchStatus.SPLIT),
        "sent_with_raised_max_tokens": sum(batch.raised_requests for batch in batches if batch.batch_id),
        "usage": sum_usage(used.values()),
        "format": msgspec.to_builtins(format_of(job)),
        "row_kind": job.row_kind,
        "options": uris_of(job.options_files),
        "capabilities": {"version": job.capability_list},
        "translated": {"changes": job.translation_changes},
        "cache": cache_figures(sum_usage(used.values()).values(), len(job.warmed_prefixes)),
        **(cost := cost_figures(job, batches, used)),
        "estimate": _estimate(job, cost["cost_usd"]),
        "batches": [_batch_entry(batch) for batch in batches],
        "files": {name: file_entry(results_bucket, file) for name, file in files.items()},
    }  # fmt: skip


def retry_figures(
    parts: Sequence[ChunkOutput], tallies: Sequence[OutcomeCounts]
) -> dict[str, Any]:
    """Build the manifest's `retry`: how many failed rows are in retry.jsonl, and why others are not."""
    included = missing = 0
    for part, tally in zip(parts, tallies, strict=True):
        failed = sum(tally.outcomes.values()) - tally.outcomes.get("succeeded", 0)
        if part.retry_problem is None:
            included += failed
        else:
            missing += failed
    reasons = sorted({part.retry_problem for part in parts if part.retry_problem})
    return {
        "complete": missing == 0,
        "rows": included,
        "missing_rows": missing,
        "reason": "; ".join(reasons) if missing else None,
    }


def _retry_truncated(job: Job) -> dict[str, float] | None:
    """Return the option of this name as it was written; None if it was off."""
    increase = job.retry_truncated
    return None if increase is None else {"factor": increase.percent / 100, "most": increase.limit}


def _estimate(job: Job, cost_usd: float | None) -> dict[str, Any] | None:
    """Return the estimate that was made before sending, and by what share the cost exceeded the expected one."""
    figures = estimate_figures(job)
    if figures is None:
        return None
    expected = figures["cost_usd"]["expected"]
    known = expected and cost_usd is not None
    return figures | {"off_by": round(cost_usd / expected - 1, 3) if known else None}


def _batch_entry(batch: Batch) -> dict[str, Any]:
    problem = None if batch.part is None else batch.part.problem
    return {
        "batch": batch.item, "chunk": batch.chunk, "attempt": batch.attempt, "batch_id": batch.batch_id,
        "status": batch.status, "rows": [batch.first_row, batch.last_row], "requests": batch.requests,
        "created_at": batch.created_at, "ended_at": batch.ended_at,
        **({"raised_requests": batch.raised_requests} if batch.raised_requests else {}),
        **({} if problem is None else {"problem": problem}),
    }  # fmt: skip


def file_entry(results_bucket: str, file: StoredObject) -> dict[str, Any]:
    """Return what the manifest says about a file."""
    return {
        "uri": f"s3://{results_bucket}/{file.key}",
        "size_bytes": file.size,
        "crc32": f"{file.crc32:08x}",
    }


def pretty_json(document: dict[str, Any]) -> bytes:
    """Return a document as JSON that a person can read."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
