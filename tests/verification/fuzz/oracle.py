"""An independent, slow implementation of how an upload is cut into rows and validated.

It cuts character by character and uses the standard library's json.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any

BOM = b"\xef\xbb\xbf"
WHITESPACE = b" \t\r\0\x1a"
MAX_ID_BYTES = 4096
UNSUPPORTED = (
    "speed", "store", "previous_thread_event_id", "cache_hint", "context_hint", "fallbacks", "temperature",
    "top_p", "top_k",
)  # fmt: skip
"""Parameters that no request of a batch may have under API version 2026-10-21."""
REQUIRED, SDK_ARGUMENTS = (
    ("model", "max_tokens", "messages"),
    {"betas", "extra_body", "extra_headers"},
)
"""Parameters that every request needs, and those that none may have with any value."""


@dataclass(frozen=True)
class ExpectedRow:
    """An expected row: its bytes, its offset in the upload, and its line."""

    data: bytes
    offset: int
    line: int


def expected_rows(body: bytes) -> list[ExpectedRow]:
    """Cut an upload into its rows."""
    rows: list[ExpectedRow] = []
    offset = 0
    for line, raw_line in enumerate(body.split(b"\n"), 1):
        text = raw_line
        while text.startswith(BOM):
            text, offset = text[len(BOM) :], offset + len(BOM)
        bounds = [*_row_starts(text), len(text)]
        for start, end in pairwise(bounds):
            segment = text[start:end]
            data = segment.strip(WHITESPACE)
            if data:
                indent = len(segment) - len(segment.lstrip(WHITESPACE))
                rows.append(ExpectedRow(data, offset + start + indent, line))
        offset += len(text) + 1
    return rows


def _row_starts(text: bytes) -> list[int]:
    """Return where rows begin on a line: at its start, and after each complete object."""
    starts, offset = [0], _skip_space(text, 0)
    while text[offset : offset + 1] == b"{":
        if offset > _skip_space(text, 0):
            starts.append(offset)
        end = _end_of_object(text, offset)
        if end is None:
            break
        offset = _skip_space(text, end)
    return starts


def _skip_space(text: bytes, offset: int) -> int:
    while offset < len(text) and text[offset] in WHITESPACE:
        offset += 1
    return offset


def _end_of_object(text: bytes, offset: int) -> int | None:
    """Return the end of the value that opens here, or None if no brace closes it."""
    depth, in_string = 0, False
    while offset < len(text):
        char = text[offset : offset + 1]
        if in_string:
            offset += char == b"\\"
            in_string = char != b'"'
        else:
            in_string = char == b'"'
            depth += (char in b"{[") - (char in b"}]")
            if depth == 0 and not in_string and char in b"}]":
                return offset + 1 if char == b"}" else None
        offset += 1
    return None


def _refuse(constant: str) -> None:
    raise ValueError(constant)


_json = json.JSONDecoder(parse_constant=_refuse, parse_int=str, parse_float=str)


def loads(data: bytes) -> Any:
    """Parse JSON as the API does: UTF-8, no NaN, no lone surrogates.

    Raises:
        ValueError: The data is not such JSON.
    """
    text = data.decode()
    value = _json.decode(text)
    json.dumps(value, ensure_ascii=False).encode()
    return value


def members(data: bytes) -> dict[str, bytes]:
    """Return the raw members of a JSON object; of a repeated key the last."""
    return dict(_members(data.decode()))


def _members(text: str) -> Iterator[tuple[str, bytes]]:
    offset = _skip_json_space(text, text.index("{") + 1)
    while text[offset] != "}":
        name, offset = _json.raw_decode(text, offset)
        start = _skip_json_space(text, _skip_json_space(text, offset) + 1)
        _, offset = _json.raw_decode(text, start)
        yield name, text[start:offset].encode()
        offset = _skip_json_space(text, offset)
        offset = _skip_json_space(text, offset + (text[offset] == ","))


def _skip_json_space(text: str, offset: int) -> int:
    while text[offset] in " \t\r\n":
        offset += 1
    return offset


def request_of(data: bytes, row_bytes: int) -> tuple[bytes | None, bytes | None]:
    """Return a row's custom_id, or None if it is broken, and its params, or None if unsendable.

    Raises:
        RecursionError: The row is nested too deeply for this parser.
    """
    if len(data) > row_bytes:
        return b"null", None
    try:
        if not isinstance(loads(data), dict):
            return b"null", None
    except ValueError:
        return None, None
    row = members(data)
    params, custom_id = row.get("params", b"null"), _custom_id(row)
    if len(custom_id) > MAX_ID_BYTES:
        return b"null", None
    return custom_id, params if _is_sendable(params) else None


def _custom_id(row: dict[str, bytes]) -> bytes:
    custom_id = row.get("custom_id", b"null")
    alternatives = [row.get(name, b"null") for name in ("customId", "id", "recordId", "key")]
    scalars = [value for value in alternatives if value[:1] in {b'"', b"-"} or value[:1].isdigit()]
    return custom_id if custom_id != b"null" else next(iter(scalars), b"null")


def can_be_the_id(custom_id: bytes, data: bytes) -> bool:
    """Return whether a broken row may be reported under this custom_id, which must occur in it."""
    if custom_id == b"null":
        return True
    pattern = re.compile(rb'"custom_id"[ \t\r\n]*:[ \t\r\n]*' + re.escape(custom_id))
    return pattern.search(data) is not None and isinstance(loads(custom_id), str | int | float)


def _is_sendable(params: bytes) -> bool:
    if not params.startswith(b"{"):
        return False
    values = members(params)
    if values.get("stream", b"null") not in {b"null", b"false"} or _is_zero(
        values.get("max_tokens")
    ):
        return False
    if any(values.get(name, b"null") == b"null" for name in REQUIRED) or SDK_ARGUMENTS & set(
        values
    ):
        return False
    return all(values.get(name, b"null") == b"null" for name in UNSUPPORTED)


def _is_zero(number: bytes | None) -> bool:
    if number is None or number[:1] not in b"-0123456789":
        return False
    mantissa = number.lower().partition(b"e")[0]
    return Decimal(mantissa.decode()) == 0
