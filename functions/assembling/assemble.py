"""Join the chunks' parts of a job, write its manifest and announce its end."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from functions.adapters.tracing import traced
from functions.assembling.exports import join_exports
from functions.assembling.job_outcome import with_outcome
from functions.assembling.job_report import OFF, DeliveredChunk, write_report
from functions.assembling.manifest import build_manifest, file_entry, pretty_json, retry_figures
from functions.assembling.refetch import refetch
from functions.assembling.salvage import chunk_output, deleted_files
from functions.assembling.tidy import tidy
from functions.errors import RelayError
from functions.model import events, timestamps
from functions.model.cost_ledger import cost_entry
from functions.model.items.batch import Batch, BatchStatus
from functions.model.items.counts import OutcomeCounts
from functions.model.items.job import Job, JobStatus
from functions.model.items.stored_objects import ChunkOutput, StoredObject
from functions.model.items.work_item import MAX_TRIES
from functions.model.outcome_counter import billed_usage, total
from functions.model.pricing import undated
from functions.readers import position_of, reader_of
from functions.services import Services
from functions.settings import ResultsSettings


def assemble(
    services: Services[ResultsSettings], job: Job, time_left_s: Callable[[], float]
) -> None:
    """Assemble a job that this invocation owns. A repeated call writes the same bytes.

    The job is done and announced before its work files are tagged, because tagging may fail. Results that were
    deleted are fetched again. If that is not possible, deleted files are left out after five tries, so that all
    others are delivered.
    """
    batches = services.items.batches(job.job)
    chunks = attempts_by_chunk(batches)
    deleted = deleted_files(services.files, job, batches) if job.tries > 1 else set[str]()
    last_batches = [attempts[-1] for attempts in chunks]
    if refetch(services, job, chunks, deleted):
        return
    if job.tries <= MAX_TRIES:
        deleted = set()
    outputs = [chunk_output(services, job, attempts, deleted) for attempts in chunks]
    parts, tallies = [part for part, _ in outputs], [tally for _, tally in outputs]
    _check_complete(job, last_batches, tallies)
    tally = msgspec.structs.replace(total(tallies), usage=billed_usage(batches))
    files = _join(services, job, parts)
    job = with_outcome(job, tally)
    has_conveniences = job.exports or job.report != OFF
    tries = services.items.count_convenience(job).tries if has_conveniences else 0
    exported, problem = join_exports(services, job, parts, tally, tries)
    delivered = _with_parts(batches, last_batches, parts)
    manifest = build_manifest(services.files.bucket, job, delivered, files | exported, tally) | {
        "retry": retry_figures(parts, tallies),
        "exports": {"complete": problem is None, "reason": problem},
    }
    delivered_chunks = [*map(DeliveredChunk, chunks, tallies)]
    report, problem = write_report(services.files, job, delivered_chunks, tally, manifest, tries)
    manifest["files"] |= {
        name: file_entry(services.files.bucket, file) for name, file in report.items()
    }
    manifest["report"] = {"content": job.report, "reason": problem}
    services.files.put(f"{job.results_prefix}/manifest.json", pretty_json(manifest))
    if _announce(services, job, tally, manifest):
        if not job.reopened:
            _measure(services, batches)
            _learn(services, job, tally)
        with traced("tidy"):
            tidy(services, job, time_left_s)


def _announce(
    services: Services[ResultsSettings],
    job: Job,
    tally: OutcomeCounts,
    manifest: Mapping[str, Any],
) -> bool:
    """End the job: announce it, and record its cost. Return False if another invocation owns it."""
    figures = {
        "rows": sum(tally.outcomes.values()),
        "counts": tally.outcomes,
        "empty_answers": tally.empty_answers,
        "truncated": tally.truncated,
        "cost_usd": manifest["cost_usd"],
        "manifest": f"s3://{services.files.bucket}/{job.results_prefix}/manifest.json",
    }
    event = events.job_ended(job, services.files.bucket, figures, job.ended_at or job.claimed_at)
    changes = {
        "status": JobStatus.DONE, "outcome": job.outcome, "failure": job.failure, "planning_failure": job.planning_failure
    }  # fmt: skip
    entry = cost_entry(
        job,
        figures,
        manifest["usage"].values(),
        manifest["cost_usd_known"],
        manifest["prices"]["problem"],
    )
    if not services.items.transition(job, changes, events=[event], puts=[entry], keep_lease=True):
        return False
    services.outbox.publish_pending(job.job)
    return True


def _measure(services: Services[ResultsSettings], batches: Sequence[Batch]) -> None:
    """Measure the time since the last batch ended at Anthropic."""
    ended_at = max((batch.ended_at for batch in batches if batch.ended_at), default=None)
    if ended_at is not None:
        waited = services.now() - timestamps.parse(ended_at)
        services.emit_metrics(CompletedAfterSeconds=waited.total_seconds())


def attempts_by_chunk(batches: Sequence[Batch]) -> list[list[Batch]]:
    """Return the batches of each chunk, by attempt, and the chunks by row."""
    chunks: dict[str, list[Batch]] = defaultdict(list)
    for batch in batches:
        if batch.status != BatchStatus.SPLIT:
            chunks[batch.chunk].append(batch)
    return sorted(chunks.values(), key=lambda attempts: attempts[0].first_row)


def _with_parts(
    batches: Sequence[Batch], last_batches: Sequence[Batch], parts: Sequence[ChunkOutput]
) -> list[Batch]:
    """Return the batches with the parts that are delivered, whose problems the manifest names."""
    parts_by_item = {batch.item: part for batch, part in zip(last_batches, parts, strict=True)}
    return [
        msgspec.structs.replace(batch, part=parts_by_item.get(batch.item, batch.part))
        for batch in batches
    ]


def _check_complete(
    job: Job, last_batches: Sequence[Batch], tallies: Sequence[OutcomeCounts]
) -> None:
    """Check that the chunks are contiguous, cover the upload and count each of their rows.

    Raises:
        RelayError: a row is missing; the job keeps its status.
    """
    expected_row = 1
    for batch, tally in zip(last_batches, tallies, strict=True):
        counted = sum(tally.outcomes.values())
        if (batch.first_row, counted) != (expected_row, batch.rows):
            message = (
                f"{job.job}/{batch.item}: {counted:,} rows starting at row {batch.first_row:,}; "
                f"expected {batch.rows:,} rows starting at row {expected_row:,}"
            )
            raise RelayError(message)
        expected_row = batch.last_row + 1
    if expected_row != job.checkpoint.row + 1:
        message = f"{job.job}: chunks end at row {expected_row - 1:,}, the upload ends at row {job.checkpoint.row:,}"
        raise RelayError(message)


@traced("join")
def _join(
    services: Services[ResultsSettings], job: Job, parts: Sequence[ChunkOutput]
) -> dict[str, StoredObject]:
    """Join the parts into the files of the job. Return them by their name in the manifest."""
    pieces_by_file = {
        "results.jsonl": [part.results for part in parts],
        "errors.jsonl": [part.errors for part in parts if part.errors is not None],
        reader_of(job).RETRY_NAME: _retry_pieces(services, job, parts),
    }
    joined = {}
    for file, pieces in pieces_by_file.items():
        name = file.partition(".")[0]
        key, scratch = f"{job.results_prefix}/{file}", f"work/{job.job}/joined/{name}"
        joined[name] = services.files.join(key, pieces, scratch)
    return joined


def _retry_pieces(
    services: Services[ResultsSettings], job: Job, parts: Sequence[ChunkOutput]
) -> list[StoredObject]:
    """Return the pieces of the retry file: the header of its format, if any, and the rows."""
    rows = [part.retry for part in parts if part.retry is not None]
    head = reader_of(job).retry_head(position_of(job))
    if head and any(piece.size for piece in rows):
        return [services.files.write(f"work/{job.job}/joined/head", [head]), *rows]
    return rows


def _learn(services: Services[ResultsSettings], job: Job, tally: OutcomeCounts) -> None:
    """Add the job's answers to the usage history, for later estimates."""
    succeeded = tally.outcomes.get("succeeded", 0)
    output = Counter[str]()
    for model, usage in tally.usage.items():
        tokens = usage.get("output_tokens", 0) + usage.get("long_output_tokens", 0)
        output[undated(model)] += tokens
    for model, demand in job.demands.items():
        # The counts do not say how many rows of each model succeeded.
        answers = round(demand.requests * succeeded / job.sendable_rows)
        if answers:
            services.usage_history.add(job, model, answers, output[undated(model)])
