"""Join the chunks' parts of a job, write its manifest and announce its end."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC
from typing import Any

import msgspec

from functions.adapters.options_files import uris_of
from functions.assembling.exports import join_exports
from functions.assembling.job_report import OFF, DeliveredChunk, write_report
from functions.assembling.refetch import refetch
from functions.assembling.salvage import chunk_output, deleted_files
from functions.assembling.tidy import tidy
from functions.errors import RelayError
from functions.model import events, timestamps
from functions.model.cache_use import cache_figures
from functions.model.cost_ledger import cost_entry
from functions.model.expected_cost import estimate_figures
from functions.model.items.batch import Batch, BatchStatus
from functions.model.items.counts import DUPLICATE_ROWS, LOST_ROWS, OutcomeCounts, Usage
from functions.model.items.job import Job, JobStatus
from functions.model.items.stored_objects import ChunkOutput, StoredObject
from functions.model.items.work_item import MAX_TRIES
from functions.model.lost_rows import lost_rows
from functions.model.outcome_counter import NO_MODEL, billed_usage, sum_usage, total
from functions.model.pricing import (
    Bill,
    PriceList,
    find_price_list,
    kind_of,
    total_bill,
    undated,
)
from functions.readers import format_of, position_of, reader_of
from functions.services import Services
from functions.settings import ResultsSettings

MAX_PROBLEMS = 5
CANCELED_TOO_LATE = "canceled after all rows were done, so the cancel changed nothing"
"""Reasons that a manifest gives for an unknown cost."""


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
    if refetch(services, job, [attempts[-1] for attempts in chunks], deleted):
        return
    if job.tries <= MAX_TRIES:
        deleted = set()
    last_batches, parts, tallies = [], [], []
    for attempts in chunks:
        part, tally = chunk_output(services, job, attempts, deleted)
        last_batches.append(attempts[-1])
        parts.append(part)
        tallies.append(tally)
    _check_complete(job, last_batches, tallies)
    tally = msgspec.structs.replace(total(tallies), usage=billed_usage(batches))
    files = _join(services, job, parts)
    outcome = outcome_of(job, tally)
    job = msgspec.structs.replace(job, outcome=outcome, failure=_reason(job, outcome, tally))
    has_conveniences = job.exports or job.report != OFF
    tries = services.items.count_convenience(job).tries if has_conveniences else 0
    exported, problem = join_exports(services, job, parts, tally, tries)
    delivered = _with_parts(batches, last_batches, parts)
    manifest = _manifest(services.files.bucket, job, delivered, files | exported, tally) | {
        "retry": _retry(parts, tallies),
        "exports": {"complete": problem is None, "reason": problem},
    }
    delivered_chunks = [*map(DeliveredChunk, chunks, tallies)]
    report, problem = write_report(services.files, job, delivered_chunks, tally, manifest, tries)
    manifest["files"] |= {
        name: _file_entry(services.files.bucket, file) for name, file in report.items()
    }
    manifest["report"] = {"content": job.report, "reason": problem}
    services.files.put(f"{job.results_prefix}/manifest.json", _pretty_json(manifest))
    figures = {
        "rows": sum(tally.outcomes.values()),
        "counts": tally.outcomes,
        "empty_answers": tally.empty_answers,
        "truncated": tally.truncated,
        "cost_usd": manifest["cost_usd"],
        "manifest": f"s3://{services.files.bucket}/{job.results_prefix}/manifest.json",
    }
    event = events.job_ended(job, services.files.bucket, figures, job.ended_at or job.claimed_at)
    changes = {"status": JobStatus.DONE, "outcome": job.outcome, "failure": job.failure}
    entry = cost_entry(
        job,
        figures,
        manifest["usage"].values(),
        manifest["cost_usd_known"],
        manifest["prices"]["problem"],
    )
    if services.items.transition(job, changes, events=[event], puts=[entry], keep_lease=True):
        services.outbox.publish_pending(job.job)
        if not job.reopened:
            _measure(services, batches)
            _learn(services, job, tally)
        tidy(services, job, time_left_s)


def _measure(services: Services[ResultsSettings], batches: Sequence[Batch]) -> None:
    """Measure the time since the last batch ended at Anthropic."""
    ended_at = max((batch.ended_at for batch in batches if batch.ended_at), default=None)
    if ended_at is not None:
        waited = services.now() - timestamps.parse(ended_at)
        services.emit_metrics(CompletedAfterSeconds=waited.total_seconds())


def outcome_of(job: Job, tally: OutcomeCounts) -> str:
    """Return the outcome of a job: succeeded, partial, failed or canceled."""
    succeeded, rows = tally.outcomes.get("succeeded", 0), sum(tally.outcomes.values())
    if job.canceled_at is not None and (succeeded < rows or not rows):
        return "canceled"
    if job.failure is not None or not succeeded:
        return "failed"
    return "succeeded" if succeeded == rows else "partial"


def _reason(job: Job, outcome: str, tally: OutcomeCounts) -> str | None:
    """Return why a job failed, or was canceled without a marker, or that its cancel came too late.

    If no row succeeded, name the most frequent error.
    """
    if outcome == "canceled" and job.cancel_reason is not None:
        return job.cancel_reason if job.failure is None else f"{job.cancel_reason}; {job.failure}"
    if job.canceled_at is not None and job.failure is None and "canceled" not in tally.outcomes:
        return CANCELED_TOO_LATE
    if job.failure is not None or outcome != "failed":
        return job.failure
    other_ends = {
        name: count
        for name, count in tally.outcomes.items()
        if name not in {"errored", "rejected"}
    }
    causes = sorted((other_ends | tally.errors).items(), key=lambda cause: (-cause[1], cause[0]))
    rows = sum(tally.outcomes.values())
    name, count = causes[0]
    cause = f"{name} ({count:,})" if count == rows else f"mostly {name} ({count:,})"
    return f"none of the {rows:,} rows succeeded: {cause}; errors.jsonl says why, row by row"


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


def _retry(parts: Sequence[ChunkOutput], tallies: Sequence[OutcomeCounts]) -> dict[str, Any]:
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


def _manifest(
    results_bucket: str,
    job: Job,
    batches: Sequence[Batch],
    files: dict[str, StoredObject],
    tally: OutcomeCounts,
) -> dict[str, Any]:
    """Build the manifest from the table alone, so that a repeated call builds the same bytes."""
    used = _used_by(batches)
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
        "copies": sum(batch.copies for batch in batches if batch.attempt == 1 and batch.status != BatchStatus.SPLIT),
        "sent_with_raised_max_tokens": sum(batch.raised_requests for batch in batches if batch.batch_id),
        "usage": sum_usage(used.values()),
        "format": msgspec.to_builtins(format_of(job)),
        "row_kind": job.row_kind,
        "options": uris_of(job.options_files),
        "capabilities": {"version": job.capability_list},
        "translated": {"changes": job.translation_changes},
        "cache": cache_figures(sum_usage(used.values()).values(), len(job.warmed_prefixes)),
        **(cost := _cost(job, batches, used)),
        "estimate": _estimate(job, cost["cost_usd"]),
        "batches": [_batch_entry(batch) for batch in batches],
        "files": {name: _file_entry(results_bucket, file) for name, file in files.items()},
    }  # fmt: skip


def _retry_truncated(job: Job) -> dict[str, float] | None:
    """Return the option of this name as it was written; None if it was off."""
    increase = job.retry_truncated
    return None if increase is None else {"factor": increase.percent / 100, "most": increase.limit}


def _used_by(batches: Sequence[Batch]) -> dict[str, dict[str, Usage]]:
    """Return what each batch used, and how many of its rows may have been billed although their results were lost."""
    tallies = {(batch.chunk, batch.attempt): batch.tally or OutcomeCounts() for batch in batches}
    used = {}
    for batch in batches:
        earlier = tallies.get((batch.chunk, batch.attempt - 1), OutcomeCounts())
        own = tallies[batch.chunk, batch.attempt].usage
        lost = lost_rows(batch, earlier)
        unknown = {LOST_ROWS: lost} if lost else dict[str, int]()
        if batch.duplicate_id is not None:
            unknown[DUPLICATE_ROWS] = batch.requests
        used[batch.item] = sum_usage([own, {NO_MODEL: unknown}]) if unknown else own
    return used


def _cost(
    job: Job, batches: Sequence[Batch], used: Mapping[str, Mapping[str, Usage]]
) -> dict[str, Any]:
    """Build the cost fields from the price list that the job was claimed under; null where it is unknown."""
    prices = find_price_list(job.price_list)
    no_list = (
        f"this deployment has no price list {job.price_list}, under which the job was claimed"
    )
    listed = prices or PriceList(version=job.price_list, source="", cache={}, models={})
    bills = [
        (batch, model, listed.bill(model, usage, _day(job, batch)))
        for batch in batches
        for model, usage in used[batch.item].items()
    ]
    sent = [(batch, "", Bill()) for batch in batches if batch.batch_id]
    total = total_bill(bill for _, _, bill in bills)
    whole = total_bill(
        listed.bill(*model_usage) for model_usage in sum_usage(used.values()).items()
    )
    return {
        "cost_usd": _usd(total),
        "cost_usd_known": _rounded(total.known_usd),
        "cost_usd_by_model": _by((model, bill) for _, model, bill in bills),
        "cost_usd_by_kind": _by_kind(listed, job, used, batches),
        "cost_usd_by_attempt": _by(
            (str(batch.attempt), bill) for batch, _, bill in [*bills, *sent]
        ),
        "cost_usd_by_batch": _by((batch.item, bill) for batch, _, bill in [*bills, *sent]),
        "saved_usd": {
            "batch_price": _rounded(total.batch_saved_usd),
            "caching": _rounded(total.cache_saved_usd),
        },
        "prices": {
            "version": job.price_list,
            "source": None if prices is None else prices.source,
            "problem": no_list if prices is None else _joined(whole.problems),
        },
    }


def _estimate(job: Job, cost_usd: float | None) -> dict[str, Any] | None:
    """Return the estimate that was made before sending, and by what share the cost exceeded the expected one."""
    figures = estimate_figures(job)
    if figures is None:
        return None
    expected = figures["cost_usd"]["expected"]
    known = expected and cost_usd is not None
    return figures | {"off_by": round(cost_usd / expected - 1, 3) if known else None}


def _learn(services: Services[ResultsSettings], job: Job, tally: OutcomeCounts) -> None:
    """Add the job's answers to the experience for later estimates."""
    succeeded = tally.outcomes.get("succeeded", 0)
    output = Counter[str]()
    for model, usage in tally.usage.items():
        tokens = usage.get("output_tokens", 0) + usage.get("long_output_tokens", 0)
        output[undated(model)] += tokens
    for model, demand in job.demands.items():
        # The counts do not say how many rows of each model succeeded.
        answers = round(demand.requests * succeeded / job.sendable_rows)
        if answers:
            services.experiences.add(job, model, answers, output[undated(model)])


def _day(job: Job, batch: Batch) -> str:
    """Return the day by whose prices a batch is billed, in UTC."""
    return timestamps.parse(batch.ended_at or job.claimed_at).astimezone(UTC).date().isoformat()


def _by(bills: Iterable[tuple[str, Bill]]) -> dict[str, float | None]:
    """Return the cost by name."""
    by_name = defaultdict[str, list[Bill]](list)
    for name, bill in bills:
        by_name[name].append(bill)
    return {name: _usd(total_bill(by_name[name])) for name in sorted(by_name)}


def _by_kind(
    prices: PriceList,
    job: Job,
    used: Mapping[str, Mapping[str, Usage]],
    batches: Sequence[Batch],
) -> dict[str, dict[str, float | None]]:
    """Return the cost by model and kind of token."""
    bills = defaultdict[str, list[tuple[str, Bill]]](list)
    for batch in batches:
        for model, usage in used[batch.item].items():
            for member, number in usage.items():
                bill = prices.bill(model, {member: number}, _day(job, batch))
                bills[model].append((kind_of(member), bill))
    return {model: _by(bills[model]) for model in sorted(bills)}


def _usd(bill: Bill) -> float | None:
    return None if bill.usd is None else _rounded(bill.usd)


def _rounded(usd: float) -> float:
    return round(usd, 6) + 0.0  # without the sign of -0.0


def _joined(problems: Sequence[str]) -> str | None:
    """Return the first problems in one line."""
    more = len(problems) - MAX_PROBLEMS
    return (
        "; ".join([*problems[:MAX_PROBLEMS], *([f"and {more:,} more"] if more > 0 else [])])
        or None
    )


def _batch_entry(batch: Batch) -> dict[str, Any]:
    problem = None if batch.part is None else batch.part.problem
    return {
        "batch": batch.item, "chunk": batch.chunk, "attempt": batch.attempt, "batch_id": batch.batch_id,
        "status": batch.status, "rows": [batch.first_row, batch.last_row], "requests": batch.requests,
        "created_at": batch.created_at, "ended_at": batch.ended_at,
        **({"raised_requests": batch.raised_requests} if batch.raised_requests else {}),
        **({} if problem is None else {"problem": problem}),
    }  # fmt: skip


def _file_entry(results_bucket: str, file: StoredObject) -> dict[str, Any]:
    return {
        "uri": f"s3://{results_bucket}/{file.key}",
        "size_bytes": file.size,
        "crc32": f"{file.crc32:08x}",
    }


def _pretty_json(document: dict[str, Any]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
