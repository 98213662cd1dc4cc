"""Write the batch object of OpenAI for a whole job."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from functions.errors import UNREADABLE_JSON
from functions.exports.contract import JobSummary
from functions.exports.openai.answer import members, string
from functions.exports.openai.paths import ERROR, OUTPUT
from functions.model import timestamps

_DEFAULT_ENDPOINT = "/v1/chat/completions"
_INPUT = (
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_creation_1h_input_tokens",
    "cache_read_input_tokens",
)
"""The tokens of prompts in a job's usage. Each name counts long prompts apart, as `long_…`."""
_THINKING = "output_tokens_details.thinking_tokens"


def batch_object(summary: JobSummary) -> bytes:
    """Return the batch object, as JSON."""
    status = _status(summary.outcomes)
    succeeded, total = summary.outcomes.get("succeeded", 0), sum(summary.outcomes.values())
    batch = {
        "id": f"batch_{summary.job}",
        "object": "batch",
        "endpoint": _endpoint(summary.first_record),
        "errors": _errors(summary),
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


def _endpoint(first_record: bytes | None) -> str:
    """Return the URL of the first row: OpenAI requires the same for all rows of a file."""
    try:
        url = members(msgspec.json.decode(first_record or b"{}")).get("url")
    except UNREADABLE_JSON:
        return _DEFAULT_ENDPOINT
    return string(url) or _DEFAULT_ENDPOINT


def _errors(summary: JobSummary) -> dict[str, Any] | None:
    """Return why the job failed, and why rows were not sent: one error for each code."""
    rejections = dict(summary.rejections)
    others = summary.outcomes.get("rejected", 0) - sum(rejections.values())
    if others > 0:
        rejections["rows_rejected"] = others
    errors = [
        _error(code, f"{count:,} rows were not sent; {ERROR} has the reason for each")
        for code, count in rejections.items()
    ]
    if summary.failure is not None:
        errors.insert(0, _error("job_failed", summary.failure))
    return {"object": "list", "data": errors} if errors else None


def _error(code: str, message: str) -> dict[str, str | None]:
    return {"code": code, "line": None, "message": message, "param": None}


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
    """Sum the tokens of all models. Cached tokens are part of the input, thinking of the output."""
    tokens = Counter[str]()
    for used in usage.values():
        for name, count in used.items():
            tokens[name.removeprefix("long_")] += count
    prompt = sum(tokens[name] for name in _INPUT)
    answers = tokens["output_tokens"]
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": tokens["cache_read_input_tokens"]},
        "output_tokens": answers,
        "output_tokens_details": {"reasoning_tokens": tokens[_THINKING]},
        "total_tokens": prompt + answers,
    }
