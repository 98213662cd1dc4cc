"""Write the batch object of OpenAI for a whole job."""

from collections.abc import Mapping
from typing import Any

import msgspec

from functions.exports.contract import JobSummary
from functions.exports.openai.paths import ERROR, OUTPUT
from functions.model import timestamps

_ENDPOINT = "/v1/chat/completions"
"""The endpoint in the batch object. A summary does not say for which endpoint the rows were."""


def batch_object(summary: JobSummary) -> bytes:
    """Return the batch object, as JSON."""
    status = _status(summary.outcomes)
    succeeded, total = summary.outcomes.get("succeeded", 0), sum(summary.outcomes.values())
    batch = {
        "id": f"batch_{summary.job}",
        "object": "batch",
        "endpoint": _ENDPOINT,
        "errors": _errors(summary.outcomes.get("rejected", 0)),
        "input_file_id": summary.upload,
        "completion_window": "24h",
        "status": status,
        "output_file_id": summary.files.get(OUTPUT),
        "error_file_id": summary.files.get(ERROR),
        **_times(summary.times, status),
        "request_counts": {"total": total, "completed": succeeded, "failed": total - succeeded},
        "metadata": None,
        "model": next(iter(summary.usage)) if len(summary.usage) == 1 else None,
        "usage": _usage(summary.usage),
    }
    return msgspec.json.format(msgspec.json.encode(batch), indent=2) + b"\n"


def _status(outcomes: Mapping[str, int]) -> str:
    """Derive the status from counts: a Message Batch ends without saying how."""
    if outcomes.get("succeeded"):
        return "completed"
    if outcomes.get("canceled"):
        return "cancelled"
    if outcomes.get("expired") and outcomes["expired"] == sum(outcomes.values()):
        return "expired"
    return "failed"


def _errors(rejected: int) -> dict[str, Any] | None:
    if not rejected:
        return None
    message = f"{rejected:,} rows were not sent; {ERROR} has the reason for each"
    error = {"code": "rows_rejected", "line": None, "message": message, "param": None}
    return {"object": "list", "data": [error]}


def _times(times: Mapping[str, str | None], status: str) -> dict[str, int | None]:
    """Return the times in seconds since 1970. `expires_at` has no counterpart for a whole job."""
    claimed, ended, canceled = (
        _epoch(times, name) for name in ("claimed_at", "ended_at", "canceled_at")
    )
    uploaded = _epoch(times, "uploaded_at")
    ends = ("completed", "failed", "expired", "cancelled")
    return {
        "created_at": uploaded if uploaded is not None else claimed or 0,
        "in_progress_at": claimed,
        "expires_at": None,
        "finalizing_at": ended,
        "cancelling_at": canceled,
    } | {f"{end}_at": ended if end == status else None for end in ends}


def _epoch(times: Mapping[str, str | None], name: str) -> int | None:
    written = times.get(name)
    return None if written is None else timestamps.epoch(timestamps.parse(written))


def _usage(usage: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Sum the tokens of all models. Cached tokens are part of the input."""
    sums = dict[str, int]()
    for tokens in usage.values():
        for name, count in tokens.items():
            sums[name] = sums.get(name, 0) + count
    prompt = sum(count for name, count in sums.items() if name.endswith("input_tokens"))
    cached = sum(count for name, count in sums.items() if name.endswith("cache_read_input_tokens"))
    answers = sum(count for name, count in sums.items() if name.endswith("output_tokens"))
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": answers,
        "output_tokens_details": {"reasoning_tokens": sums.get("thinking_tokens", 0)},
        "total_tokens": prompt + answers,
    }
