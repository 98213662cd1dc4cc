"""Write results as OpenAI's Batch API returns them: an output file, an error file and the batch object."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from functions.errors import UNREADABLE_JSON
from functions.exports.contract import ExportContext, ExportRow, JobSummary
from functions.exports.openai.answer import members, read_answer, string
from functions.exports.openai.batch_object import batch_object
from functions.exports.openai.bodies import Body, body_of
from functions.exports.openai.paths import BATCH, ERROR, OUTPUT
from functions.model import loose_json
from functions.translations.openai.endpoints import Endpoint, endpoint_of

_any: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
_STATUS_CODES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "overloaded_error": 529,
}
_UNANSWERED = {
    "expired": (
        "batch_expired",
        "This request could not be executed before the completion window expired.",
    ),
    "canceled": ("batch_cancelled", "This request was canceled before it was executed."),
}


def paths(_context: ExportContext) -> tuple[str, ...]:
    """Return the paths of the files with lines; see `contract.Export`."""
    return OUTPUT, ERROR


def head(_path: str, _context: ExportContext) -> bytes:
    """Return no bytes: JSON Lines has no header."""
    return b""


def lines(row: ExportRow, _context: ExportContext) -> Iterator[tuple[str, bytes]]:
    """Yield the line of a row; see `contract.Export`."""
    try:
        path, outcome = _outcome(row)
        line = msgspec.json.encode(_identity(row) | outcome)
    except UNREADABLE_JSON:
        message = "The result of this row cannot be read; results.jsonl has it unchanged."
        failed = _failed(
            500, {"type": "api_error", "message": message, "code": "unreadable_result"}
        )
        path, line = ERROR, msgspec.json.encode(_identity(row) | failed)
    yield path, line + b"\n"


def closing(summary: JobSummary, _context: ExportContext) -> dict[str, bytes]:
    """Return the batch object; see `contract.Export`."""
    return {BATCH: batch_object(summary)}


def _identity(row: ExportRow) -> Body:
    return {"id": f"batch_req_{row.job}_{row.row}", "custom_id": msgspec.Raw(row.custom_id)}


def _outcome(row: ExportRow) -> tuple[str, Body]:
    """Return the path and the other members of a row's line."""
    result = loose_json.decode(_any, row.result)
    kind = string(members(result).get("type"))
    if kind == "succeeded":
        return OUTPUT, _succeeded(row, members(result).get("message"))
    if kind in _UNANSWERED:
        return ERROR, _unanswered(*_UNANSWERED[kind])
    error = members(members(result).get("error"))
    if kind == "rejected":
        return ERROR, _failed(400, {**error, "type": "invalid_request_error"})
    error = members(error.get("error"))
    if error.get("type") == "timeout_error":
        return ERROR, _unanswered("request_timeout", string(error.get("message")))
    status = _STATUS_CODES.get(string(error.get("type")), 500)
    return ERROR, _failed(status, error)


def _succeeded(row: ExportRow, message: object) -> Body:
    answer = read_answer(message)
    endpoint, request = _request(row.record)
    body = body_of(endpoint, request, answer, row.ended_at)
    return {
        "response": {"status_code": 200, "request_id": answer.id, "body": body},
        "error": None,
    }


def _failed(status_code: int, error: Mapping[str, Any]) -> Body:
    body = {
        "message": string(error.get("message")),
        "type": string(error.get("type")) or "api_error",
        "param": None,
        "code": string(error.get("code")) or None,
    }
    response = {"status_code": status_code, "request_id": None, "body": {"error": body}}
    return {"response": response, "error": None}


def _unanswered(code: str, message: str) -> Body:
    return {"response": None, "error": {"code": code, "message": message}}


def _request(record: bytes | None) -> tuple[Endpoint, Mapping[str, Any]]:
    """Return the endpoint and the body of a row; those of chat completions if the row cannot be read."""
    try:
        row = members(msgspec.json.decode(record or b"{}"))
    except UNREADABLE_JSON:
        return Endpoint.CHAT, {}
    return endpoint_of(row) or Endpoint.CHAT, members(row.get("body"))
