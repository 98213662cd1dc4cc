"""A job's last chunk is finished: join the chunks' parts, write the manifest, announce it."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from functions.adapters.s3 import ObjectStore
from functions.assembling.salvage import salvage
from functions.assembling.tidy import tidy
from functions.errors import RelayError
from functions.model import events
from functions.model.items import (
    Batch,
    BatchStatus,
    ChunkOutput,
    Job,
    JobStatus,
    OutcomeCounts,
    StoredObject,
)
from functions.model.outcome_counts import total
from functions.model.pricing import frozen
from functions.readers import READERS, position_of
from functions.services import Services
from functions.settings import ResultsSettings


def assemble(
    services: Services[ResultsSettings], job: Job, time_left_s: Callable[[], float]
) -> None:
    """Assemble a job that this stage owns; run again, it writes the same bytes.

    The job is done, and that is announced, before its work files are marked: that may fail, and goes on later.
    """
    batches = services.items.batches(job.job)
    last = _last_attempts(batches)
    finals = [_part(services.files, job, batch) for batch in last]
    _check_whole(job, last, [tally for _, tally in finals])
    files = _join(services, job, [part for part, _ in finals])
    tally = total([tally for _, tally in finals])
    outcome = outcome_of(job, tally)
    job = msgspec.structs.replace(job, outcome=outcome, failure=_reason(job, outcome, tally))
    manifest = _manifest(services.files.bucket, job, batches, files, tally) | {
        "retry": _retry(finals)
    }
    services.files.put(f"{job.results_prefix}/manifest.json", _pretty(manifest))
    figures = {
        "rows": sum(tally.outcomes.values()),
        "counts": tally.outcomes,
        "cost_usd": manifest["cost_usd"],
        "manifest": f"s3://{services.files.bucket}/{job.results_prefix}/manifest.json",
    }
    event = events.job_ended(job, services.files.bucket, figures, job.ended_at or job.claimed_at)
    changes = {"status": JobStatus.DONE, "outcome": job.outcome, "failure": job.failure}
    if services.items.transition(job, changes, events=[event], keep_lease=True):
        services.outbox.publish_pending(job.job)
        tidy(services, job, time_left_s)


def outcome_of(job: Job, tally: OutcomeCounts) -> str:
    """Say in a word how a job ended."""
    succeeded, rows = tally.outcomes.get("succeeded", 0), sum(tally.outcomes.values())
    if job.canceled_at is not None and succeeded < rows:
        return "canceled"
    if job.failure is not None or not succeeded:
        return "failed"
    return "succeeded" if succeeded == rows else "partial"


def _reason(job: Job, outcome: str, tally: OutcomeCounts) -> str | None:
    """Say why a job failed of which nothing succeeded: the most frequent error, and how many rows have it."""
    if job.failure is not None or outcome != "failed":
        return job.failure
    unsuccessful = {
        name: n for name, n in tally.outcomes.items() if name not in {"errored", "rejected"}
    }
    kinds = sorted((unsuccessful | tally.errors).items(), key=lambda kind: (-kind[1], kind[0]))
    rows = sum(tally.outcomes.values())
    name, count = kinds[0]
    most = f"{name} ({count:,})" if count == rows else f"mostly {name} ({count:,})"
    return f"none of the {rows:,} rows succeeded: {most}; errors.jsonl says why, row by row"


def _last_attempts(batches: Sequence[Batch]) -> list[Batch]:
    """Give each chunk's last batch, by row."""
    last = {batch.chunk: batch for batch in batches if batch.status != BatchStatus.SPLIT}
    return sorted(last.values(), key=lambda batch: batch.first_row)


def _check_whole(job: Job, last: Sequence[Batch], tallies: Sequence[OutcomeCounts]) -> None:
    """Refuse to call a job done that lacks a row: every row is in one chunk, and each chunk has all of its own.

    Raises:
        RelayError: it does; nothing of what is there is lost.
    """
    expected = 1
    for batch, tally in zip(last, tallies, strict=True):
        counted = sum(tally.outcomes.values())
        if (batch.first_row, counted) != (expected, batch.rows):
            message = f"{job.job}/{batch.item}: {counted:,} rows from {batch.first_row:,} on, expected {expected:,}"
            raise RelayError(message)
        expected = batch.last_row + 1
    if expected != job.checkpoint.row + 1:
        message = (
            f"{job.job}: chunks end at row {expected - 1:,}, the upload at {job.checkpoint.row:,}"
        )
        raise RelayError(message)


def _part(files: ObjectStore, job: Job, batch: Batch) -> tuple[ChunkOutput, OutcomeCounts]:
    if (
        batch.status == BatchStatus.COLLECTED
        and batch.part is not None
        and batch.tally is not None
    ):
        return batch.part, batch.tally
    return salvage(files, job, batch)


def _retry(finals: Sequence[tuple[ChunkOutput, OutcomeCounts]]) -> dict[str, Any]:
    """Say which rows that did not succeed are in retry.jsonl, and why others are not."""
    rows = {True: 0, False: 0}
    for part, tally in finals:
        failed = sum(tally.outcomes.values()) - tally.outcomes.get("succeeded", 0)
        rows[part.retry_problem is None] += failed
    reasons = sorted({part.retry_problem for part, _ in finals if part.retry_problem})
    return {
        "complete": rows[False] == 0,
        "rows": rows[True],
        "missing_rows": rows[False],
        "reason": "; ".join(reasons) if rows[False] else None,
    }


def _join(
    services: Services[ResultsSettings], job: Job, parts: Sequence[ChunkOutput]
) -> dict[str, StoredObject]:
    """Join the chunks' parts into the job's files, named as in the manifest."""
    pieces = {
        "results.jsonl": [part.results for part in parts],
        "errors.jsonl": [part.errors for part in parts if part.errors is not None],
        READERS[job.parser].RETRY_NAME: _retry_pieces(services, job, parts),
    }
    joined = {}
    for file, some in pieces.items():
        name = file.partition(".")[0]
        key, scratch = f"{job.results_prefix}/{file}", f"work/{job.job}/joined/{name}"
        joined[name] = services.files.join(key, some, scratch)
    return joined


def _retry_pieces(
    services: Services[ResultsSettings], job: Job, parts: Sequence[ChunkOutput]
) -> list[StoredObject]:
    """Return the pieces of the retry file: what its format begins with, if there are rows, and the rows."""
    rows = [part.retry for part in parts if part.retry is not None]
    head = READERS[job.parser].retry_head(position_of(job))
    if head and any(piece.size for piece in rows):
        return [services.files.write(f"work/{job.job}/joined/head", [head]), *rows]
    return rows


def _manifest(
    results_bucket: str,
    job: Job,
    batches: Sequence[Batch],
    files: dict[str, StoredObject],
    tally: OutcomeCounts,
) -> dict[str, Any]:
    """Write down how the job went: made of the table alone, so that it comes out the same again."""
    return {
        "schema": 1,
        "job": job.job,
        "name": job.label,
        "outcome": job.outcome,
        "reason": job.failure,
        "upload": {"bucket": job.bucket, "key": job.key, "version": job.version, "size_bytes": job.size_bytes},
        "times": {"uploaded_at": job.uploaded_at, "claimed_at": job.claimed_at, "ended_at": job.ended_at, "canceled_at": job.canceled_at},
        "settings": {"requests_per_batch": job.requests_per_batch, "attempts": job.attempts, "api_version": job.api_version},
        "rows": sum(tally.outcomes.values()),
        "counts": tally.outcomes,
        "errors": tally.errors,
        "stop_reasons": tally.stops,
        "usage": {model: msgspec.to_builtins(used) for model, used in tally.usage.items()},
        **_cost(job, tally),
        "batches": [_about(batch) for batch in batches],
        "files": {name: _file(results_bucket, piece) for name, piece in files.items()},
    }  # fmt: skip


def _cost(job: Job, tally: OutcomeCounts) -> dict[str, Any]:
    """Price a job by the list that it was claimed under; where that is gone, nothing is said in its place."""
    prices = frozen(job.prices)
    costs = {
        model: None if prices is None else prices.cost_usd(model, used)
        for model, used in tally.usage.items()
    }
    known = [cost for cost in costs.values() if cost is not None]
    gone = f"this deployment has no price list {job.prices}, under which the job was claimed"
    return {
        "cost_usd": round(sum(known), 6) if len(known) == len(costs) else None,
        "cost_usd_by_model": {
            model: None if cost is None else round(cost, 6) for model, cost in costs.items()
        },
        "prices": {
            "version": job.prices,
            "source": None if prices is None else prices.source,
            "problem": gone if prices is None else None,
        },
    }


def _about(batch: Batch) -> dict[str, Any]:
    problem = None if batch.part is None else batch.part.problem
    return {
        "batch": batch.item, "chunk": batch.chunk, "attempt": batch.attempt, "batch_id": batch.batch_id,
        "status": batch.status, "rows": [batch.first_row, batch.last_row], "requests": batch.requests,
        "created_at": batch.created_at, "ended_at": batch.ended_at,
        **({} if problem is None else {"problem": problem}),
    }  # fmt: skip


def _file(results_bucket: str, piece: StoredObject) -> dict[str, Any]:
    key = piece.key
    return {
        "uri": f"s3://{results_bucket}/{key}",
        "size_bytes": piece.size,
        "crc32": f"{piece.crc32:08x}",
    }


def _pretty(document: dict[str, Any]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
