"""Diagnose rows that are not JSON: what is wrong, where, and the `custom_id` if it can be read.

Sentences never quote the row, because it may hold a prompt. They name at most one character: one that is
invisible, or one that an editor may have substituted.
"""

import re
import unicodedata
from typing import NamedTuple

import msgspec

from functions.errors import UNREADABLE_JSON
from functions.model.loose_json import LONE_SURROGATE, STRING

NULL = msgspec.Raw(b"null")
MAX_ID_BYTES = 4096
"""Maximum length of a custom_id as JSON, in bytes. A ledger and results.jsonl store each of them."""
_BYTE = re.compile(r" \(byte (\d+)\)$")
_NON_FINITE = re.compile(rb"-?(NaN|Infinity)\b")
_ALLOWED_INSTEAD = {
    "Zs": "plain spaces",
    "Zl": "line feeds",
    "Zp": "line feeds",
    "Cf": "plain spaces",
    "Cc": "plain spaces",
    "Pi": "straight quotation marks",
    "Pf": "straight quotation marks",
}
"""Unicode categories of confusable characters, and what JSON allows instead."""
_TOKEN = re.compile(STRING + rb"|[{}\[\]]", re.DOTALL)
_DEPTH = {b"{": 1, b"[": 1, b"}": -1, b"]": -1}
_ID_MEMBER = re.compile(
    rb'[ \t\r\n]*+:[ \t\r\n]*+("(?:[^"\\]|\\.)*+"|-?\d[\d.eE+-]*+)[ \t\r\n]*+[,}]', re.DOTALL
)
_LEADING_SPACE = re.compile("^[\\s\ufeff\u200b-\u200f\u2028-\u202f\u2060]+")
_SEARCH_BYTES = 1 << 16
"""Leading bytes of a broken row that are searched for its custom_id."""
_id_decoder = msgspec.json.Decoder(str | int | float)


class JsonFault(NamedTuple):
    """Why a row is not JSON.

    Attributes:
        code: the rejection code, for programs.
        sentence: the reason, for people.
        offset: where in the row the fault is, in bytes from 0; None if the row is cut off.
    """

    code: str
    sentence: str
    offset: int | None


def place_of(data: bytes, offset: int, line: int, column: int) -> str:
    """Return where a byte of a row is: ``column 5``. For a row over several lines, name both lines.

    Args:
        data: the row.
        offset: the byte, from 0.
        line: the line on which the row begins.
        column: where the row begins on this line, in bytes, from 1.
    """
    feeds = data.count(b"\n", 0, offset)
    if not feeds:
        return f"column {column + offset}"
    own_column = offset - data.rfind(b"\n", 0, offset)
    return f"line {line + feeds}, column {own_column} (the row begins at line {line}, column {column})"


def fault_of(data: bytes, line: int, column: int, problem: str) -> JsonFault:
    """Translate a decoder error into a code, a sentence and an offset.

    Args:
        data: the row, in UTF-8.
        line: the line on which the row begins.
        column: where the row begins on this line, in bytes, from 1.
        problem: the message of msgspec's `DecodeError`.
    """
    matches = LONE_SURROGATE.finditer(data)
    surrogate = next((match for match in matches if match[1]), None)
    if surrogate is not None:
        place = place_of(data, surrogate.start(), line, column)
        sentence = f"unpaired surrogate escape, such as \\ud83d alone, at {place}"
        return JsonFault("invalid_unicode", sentence, surrogate.start())
    position = _BYTE.search(problem)
    if position is None:
        return JsonFault(
            "invalid_json", "the JSON is incomplete; check whether the row is cut off", None
        )
    trailing = "trailing characters" in problem
    offset = int(position[1]) - trailing
    reason = (
        "extra characters after the JSON value"
        if trailing
        else _reason(problem[: position.start()])
    )
    place = place_of(data, offset, line, column)
    sentence = _describe_character(data, offset, place) or f"{reason} at {place}"
    return JsonFault("invalid_json", f"not valid JSON: {sentence}", offset)


def _reason(problem: str) -> str:
    """Return the last part of msgspec's message, without its prefix."""
    return problem.rsplit(": ", maxsplit=1)[-1]


def _describe_character(data: bytes, offset: int, place: str) -> str | None:
    """Describe a NaN, an Infinity or a confusable character at the offset; None for anything else."""
    number = _NON_FINITE.match(data, offset) or _NON_FINITE.match(data, max(offset - 1, 0))
    if number is not None:
        return f"{number[1].decode()} at {place} is not a JSON number; remove it or use null"
    char = data[offset : offset + 4].decode(errors="ignore")[:1]
    allowed = _ALLOWED_INSTEAD.get(unicodedata.category(char)) if char else None
    if allowed is None:
        return None
    name = unicodedata.name(char, "control character").lower()
    return f"U+{ord(char):04X} ({name}) at {place}; JSON allows only {allowed} there"


def readable_id(data: bytes, stop: int | None) -> msgspec.Raw:
    """Return the custom_id of a broken row as JSON; ``null`` if there is none before the fault.

    Only a string or a number that is a member of the outermost object counts. Bytes after the fault are
    ignored: an unclosed string may make text look like a member.

    Args:
        data: the row.
        stop: the offset of the fault, in bytes; None if it is unknown.
    """
    leading = _LEADING_SPACE.match(data[:64].decode(errors="ignore"))
    begin = len(leading[0].encode()) if leading else 0
    end = _SEARCH_BYTES if stop is None or stop <= begin else stop
    depth = 0
    for token in _TOKEN.finditer(data[:end], begin):
        if depth == 1 and token[0] == b'"custom_id"':
            return _parse_id(data, token.end(), end)
        depth += _DEPTH.get(token[0], 0)
    return NULL


def _parse_id(data: bytes, start: int, end: int) -> msgspec.Raw:
    member = _ID_MEMBER.match(data, start, end)
    if member is None or len(member[1]) > MAX_ID_BYTES:
        return NULL
    try:
        _id_decoder.decode(member[1])
    except UNREADABLE_JSON:
        return NULL
    return msgspec.Raw(member[1])
