"""What an upload's rows are and which can be sent, found out slowly and in another way than the product does.

Cut character by character, read by the standard library's json: the two agree, or one of them is wrong.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any

BOM = b"\xef\xbb\xbf"
SPACE = b" \t\r\0\x1a"
MAX_ID_BYTES = 4096
REFUSED = (
    "speed", "store", "previous_thread_event_id", "cache_hint", "context_hint", "fallbacks", "temperature",
    "top_p", "top_k",
)  # fmt: skip
"""What no request in a batch may carry under API version 2026-10-21."""
NEEDED, SDK_ARGUMENTS = (
    ("model", "max_tokens", "messages"),
    {"betas", "extra_body", "extra_headers"},
)
"""What each must carry, and what none may, whatever its value."""


@dataclass(frozen=True)
class Spot:
    """Where a row stands: its bytes, its offset in the upload, its line."""

    data: bytes
    at: int
    line: int


def spots(body: bytes) -> list[Spot]:
    """Cut an upload into its rows."""
    found: list[Spot] = []
    at = 0
    for line, whole_line in enumerate(body.split(b"\n"), 1):
        text = whole_line
        while text.startswith(BOM):
            text, at = text[len(BOM) :], at + len(BOM)
        edges = [*_starts(text), len(text)]
        for begin, end in pairwise(edges):
            whole = text[begin:end]
            data = whole.strip(SPACE)
            if data:
                gap = len(whole) - len(whole.lstrip(SPACE))
                found.append(Spot(data, at + begin + gap, line))
        at += len(text) + 1
    return found


def _starts(text: bytes) -> list[int]:
    """Say where a row begins on a line: at its front, and at each object right behind a whole one."""
    starts, at = [0], _skip(text, 0)
    while text[at : at + 1] == b"{":
        if at > _skip(text, 0):
            starts.append(at)
        end = _end_of_object(text, at)
        if end is None:
            break
        at = _skip(text, end)
    return starts


def _skip(text: bytes, at: int) -> int:
    while at < len(text) and text[at] in SPACE:
        at += 1
    return at


def _end_of_object(text: bytes, at: int) -> int | None:
    """Find the end of what opens here, by its brackets; None where it does not close with a brace."""
    depth, quoted = 0, False
    while at < len(text):
        char = text[at : at + 1]
        if quoted:
            at += char == b"\\"
            quoted = char != b'"'
        else:
            quoted = char == b'"'
            depth += (char in b"{[") - (char in b"}]")
            if depth == 0 and not quoted and char in b"}]":
                return at + 1 if char == b"}" else None
        at += 1
    return None


def _refuse(constant: str) -> None:
    raise ValueError(constant)


_json = json.JSONDecoder(parse_constant=_refuse, parse_int=str, parse_float=str)


def loads(data: bytes) -> Any:
    """Read JSON as the API does: UTF-8, no NaN, no half of a surrogate pair.

    Raises:
        ValueError: it is none.
    """
    text = data.decode()
    value = _json.decode(text)
    json.dumps(value, ensure_ascii=False).encode()
    return value


def members(data: bytes) -> dict[str, bytes]:
    """Give the members of a JSON object as they stand there; of the same key the last."""
    return dict(_members(data.decode()))


def _members(text: str) -> Iterator[tuple[str, bytes]]:
    at = _gap(text, text.index("{") + 1)
    while text[at] != "}":
        name, at = _json.raw_decode(text, at)
        begin = _gap(text, _gap(text, at) + 1)
        _, at = _json.raw_decode(text, begin)
        yield name, text[begin:at].encode()
        at = _gap(text, at)
        at = _gap(text, at + (text[at] == ","))


def _gap(text: str, at: int) -> int:
    while text[at] in " \t\r\n":
        at += 1
    return at


def request_of(data: bytes, row_bytes: int) -> tuple[bytes | None, bytes | None]:
    """Say which custom_id and params a row has; params are None where it cannot be sent, and the other where it is broken.

    Raises:
        RecursionError: nested too deeply to be read here.
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
    return custom_id, params if _sendable(params) else None


def _custom_id(row: dict[str, bytes]) -> bytes:
    own = row.get("custom_id", b"null")
    others = [row.get(name, b"null") for name in ("customId", "id", "recordId", "key")]
    simple = [value for value in others if value[:1] in {b'"', b"-"} or value[:1].isdigit()]
    return own if own != b"null" else next(iter(simple), b"null")


def can_be_the_id(custom_id: bytes, data: bytes) -> bool:
    """Say whether a broken row may be told under this custom_id: a string or a number that stands in it as one."""
    if custom_id == b"null":
        return True
    where = re.compile(rb'"custom_id"[ \t\r\n]*:[ \t\r\n]*' + re.escape(custom_id))
    return where.search(data) is not None and isinstance(loads(custom_id), str | int | float)


def _sendable(params: bytes) -> bool:
    if not params.startswith(b"{"):
        return False
    given = members(params)
    if given.get("stream", b"null") not in {b"null", b"false"} or _zero(given.get("max_tokens")):
        return False
    if any(given.get(name, b"null") == b"null" for name in NEEDED) or SDK_ARGUMENTS & set(given):
        return False
    return all(given.get(name, b"null") == b"null" for name in REFUSED)


def _zero(number: bytes | None) -> bool:
    if number is None or number[:1] not in b"-0123456789":
        return False
    mantissa = number.lower().partition(b"e")[0]
    return Decimal(mantissa.decode()) == 0
