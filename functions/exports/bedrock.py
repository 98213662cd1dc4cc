"""Export results in the shape of Amazon Bedrock's batch inference.

``bedrock/<name>.out`` has one line per row, ``{"recordId", "modelInput", "modelOutput"}``, with `error` in place of
`modelOutput` where there is no answer. ``bedrock/manifest.json.out`` has the counts.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from functions.exports.contract import ExportContext, ExportRow, JobSummary
from functions.model import loose_json
from functions.translations.converse import is_converse

MANIFEST = "bedrock/manifest.json.out"
_NULL = b"null"
_STATUS = {
    "invalid_request_error": 400,
    "rejected": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "expired": 408,
    "timeout_error": 408,
    "canceled": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "overloaded_error": 503,
}
"""Type of a result or of its error → `errorCode`: the HTTP status that Bedrock has for such a failure."""
_OTHER_STATUS = 500
_SENTENCES = {
    "canceled": "the batch was canceled before this record was processed",
    "expired": "the batch expired before this record was processed",
}
_UNREADABLE = "the result of this record cannot be read"
_STOP_REASONS = {"refusal": "content_filtered", "pause_turn": "max_tokens"}
"""Stop reasons that Converse does not have → the nearest one that it has."""
_INPUT_TOKENS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


class _Record(msgspec.Struct):
    """The members of a row that are echoed, left raw."""

    record_id: msgspec.Raw = msgspec.field(default=msgspec.Raw(_NULL), name="recordId")
    model_input: msgspec.Raw = msgspec.field(default=msgspec.Raw(_NULL), name="modelInput")


class _Error(msgspec.Struct):
    """An error of the API, which wraps the actual error, or of a rejected row, which does not."""

    type: str = ""
    message: str = ""
    error: "_Error | None" = None


class _Result(msgspec.Struct):
    type: str
    message: msgspec.Raw = msgspec.Raw(_NULL)
    error: _Error = msgspec.field(default_factory=_Error)


class _Usage(msgspec.Struct):
    input_tokens: int = 0
    output_tokens: int = 0
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None


class _Message(msgspec.Struct):
    """The members of an answer that Converse has, too."""

    content: list[dict[str, Any]]
    stop_reason: str | None = None
    usage: _Usage = msgspec.field(default_factory=_Usage)


_UNREADABLE_JSON = (msgspec.DecodeError, UnicodeError, RecursionError)
_records = msgspec.json.Decoder(_Record)
_results = msgspec.json.Decoder(_Result)
_messages = msgspec.json.Decoder(_Message)
_objects = msgspec.json.Decoder(dict[str, Any])


def paths(context: ExportContext) -> tuple[str, ...]:
    """Return the path of the output file; see `contract.Export`."""
    return (_output_path(context),)


def head(_path: str, _context: ExportContext) -> bytes:
    """Return no bytes: JSON Lines has no header."""
    return b""


def lines(row: ExportRow, context: ExportContext) -> Iterator[tuple[str, bytes]]:
    """Yield the row's line; see `contract.Export`.

    `modelInput` is the row's own, byte for byte; null if the row cannot be read.
    """
    record = _record_of(row)
    ids = (_one_line(record.record_id), _one_line(row.custom_id), _generated_id(row.row))
    record_id = next(record_id for record_id in ids if record_id != _NULL)
    model_input = _one_line(record.model_input)
    line = b'{"recordId":%b,"modelInput":%b,%b}\n'
    yield _output_path(context), line % (record_id, model_input, _outcome(row.result, model_input))


def closing(summary: JobSummary, _context: ExportContext) -> dict[str, bytes]:
    """Return the manifest; see `contract.Export`.

    Expired and canceled rows count as not processed, as in a job that Bedrock stopped.
    """
    outcomes = summary.outcomes
    total, succeeded = sum(outcomes.values()), outcomes.get("succeeded", 0)
    processed = total - outcomes.get("expired", 0) - outcomes.get("canceled", 0)
    counts = {
        "totalRecordCount": total,
        "processedRecordCount": processed,
        "successRecordCount": succeeded,
        "errorRecordCount": processed - succeeded,
        "inputTokenCount": _tokens(summary, *_INPUT_TOKENS),
        "outputTokenCount": _tokens(summary, "output_tokens"),
    }
    return {MANIFEST: msgspec.json.encode(counts) + b"\n"}


def _output_path(context: ExportContext) -> str:
    return f"bedrock/{context.name}.out"


def _tokens(summary: JobSummary, *members: str) -> int:
    return sum(usage.get(member, 0) for usage in summary.usage.values() for member in members)


def _generated_id(row: int) -> bytes:
    """Return the id of a row that has none.

    Bedrock adds 11 letters and digits. These are the same each time the job is assembled.
    """
    return b'"ROW%08d"' % row


def _record_of(row: ExportRow) -> _Record:
    try:
        return _records.decode(row.record or b"{}")
    except _UNREADABLE_JSON:
        return _Record()


def _one_line(value: bytes | msgspec.Raw) -> bytes:
    """Return JSON byte for byte, but on one line: outside strings a line feed is white space.

    Return null for bytes that are not UTF-8, because they would make the whole file unreadable.
    """
    data = bytes(value)
    try:
        data.decode()
    except UnicodeError:
        return _NULL
    return data.replace(b"\r", b" ").replace(b"\n", b" ")


def _outcome(result: bytes, model_input: bytes) -> bytes:
    """Return the member `modelOutput` or `error`."""
    try:
        decoded = loose_json.decode(_results, result)
        if decoded.type == "succeeded" and bytes(decoded.message).startswith(b"{"):
            return b'"modelOutput":%b' % _answer(decoded.message, model_input)
        return _error(decoded)
    except _UNREADABLE_JSON:
        return _error(_Result(_UNREADABLE))


def _error(result: _Result) -> bytes:
    inner = result.error.error or result.error
    code = _STATUS.get(inner.type or result.type, _OTHER_STATUS)
    message = inner.message or _SENTENCES.get(result.type, _UNREADABLE)
    error = {"errorCode": code, "errorMessage": message}
    return b'"error":%b' % msgspec.json.encode(error)


def _answer(message: msgspec.Raw, model_input: bytes) -> bytes:
    """Return an answer byte for byte, or in the form of Converse if the row is for Converse."""
    if _asks_converse(model_input):
        return msgspec.json.encode(_converse_response(_messages.decode(message)))
    return _one_line(message)


def _asks_converse(model_input: bytes) -> bool:
    try:
        return is_converse(_objects.decode(model_input))
    except _UNREADABLE_JSON:
        return False


def _converse_response(message: _Message) -> Mapping[str, Any]:
    """Return the response of Converse. A batch has no latency, but the member is required."""
    blocks = [block for item in message.content if (block := _converse_block(item)) is not None]
    usage = message.usage
    read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    reason = message.stop_reason or "end_turn"
    return {
        "output": {"message": {"role": "assistant", "content": blocks}},
        "stopReason": _STOP_REASONS.get(reason, reason),
        "usage": {
            "inputTokens": usage.input_tokens,
            "outputTokens": usage.output_tokens,
            "totalTokens": usage.input_tokens + usage.output_tokens + read + written,
            "cacheReadInputTokens": read,
            "cacheWriteInputTokens": written,
        },
        "metrics": {"latencyMs": 0},
    }


def _converse_block(block: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return a content block as Converse has it; None if Converse has none of its kind."""
    match block:
        case {"type": "text", "text": text}:
            return {"text": text}
        case {"type": "tool_use", "id": tool_id, "name": name, "input": arguments}:
            return {"toolUse": {"toolUseId": tool_id, "name": name, "input": arguments}}
        case {"type": "thinking", "thinking": text, "signature": signature}:
            return {"reasoningContent": {"reasoningText": {"text": text, "signature": signature}}}
        case {"type": "redacted_thinking", "data": data}:
            return {"reasoningContent": {"redactedContent": data}}
    return None
