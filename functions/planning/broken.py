"""What can still be said of a row that is no JSON: what is wrong, where, and whose it is.

A sentence quotes nothing of the row. It names a character that nobody sees, or that an editor put in.
"""

import re
import unicodedata
from typing import NamedTuple

import msgspec

from functions.errors import UNREADABLE_JSON

NULL = msgspec.Raw(b"null")
ID_BYTES = 4096
"""How long a custom_id may be, as JSON: each row's is kept on disk beside its chunk, and in results.jsonl."""
_BYTE = re.compile(r" \(byte (\d+)\)$")
_LONE_SURROGATE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.",
    re.DOTALL,
)
"""Passes over whole pairs and other escapes; its group is half of a surrogate pair."""
_NO_NUMBER = re.compile(rb"-?(NaN|Infinity)\b")
_NAMED = {"Zs": "plain spaces", "Zl": "line feeds", "Zp": "line feeds", "Cf": "plain spaces", "Cc": "plain spaces",
          "Pi": "straight quotation marks", "Pf": "straight quotation marks"}  # fmt: skip
"""Kinds of characters that are named, and what JSON takes in their place."""
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|[{}\[\]]', re.DOTALL)
_DEPTH = {b"{": 1, b"[": 1, b"}": -1, b"]": -1}
_ID = re.compile(
    rb'[ \t\r\n]*+:[ \t\r\n]*+("(?:[^"\\]|\\.)*+"|-?\d[\d.eE+-]*+)[ \t\r\n]*+[,}]', re.DOTALL
)
_FRONT = re.compile("^[\\s\ufeff\u200b-\u200f\u2028-\u202f\u2060]+")
_SEARCHED = 1 << 16
"""Bytes of a broken row that are searched for its custom_id."""
_value = msgspec.json.Decoder(str | int | float)


class Fault(NamedTuple):
    """What is wrong: a code for programs, a sentence for people, the offset in the row; None at its end."""

    code: str
    sentence: str
    at: int | None


def fault_of(data: bytes, column: int, problem: str) -> Fault:
    """Put the decoder's words and place into a sentence.

    Args:
        data: the row, in UTF-8.
        column: where it begins on its line, in bytes, from 1.
        problem: what msgspec says of it.
    """
    half = next((match for match in _LONE_SURROGATE.finditer(data) if match[1]), None)
    if half is not None:
        place = f"column {column + half.start()}"
        sentence = f"half of a surrogate pair, such as \\ud83d alone, at {place}"
        return Fault("invalid_unicode", sentence, half.start())
    found = _BYTE.search(problem)
    if found is None:
        return Fault("invalid_json", "the JSON breaks off before its end", None)
    trailing = "trailing characters" in problem
    at = int(found[1]) - trailing
    told = "more behind the JSON value" if trailing else _last_words(problem[: found.start()])
    sentence = _named(data, at, f"column {column + at}") or f"{told} at column {column + at}"
    return Fault("invalid_json", f"not JSON: {sentence}", at)


def _last_words(problem: str) -> str:
    return problem.rsplit(": ", maxsplit=1)[-1]


def _named(data: bytes, at: int, place: str) -> str | None:
    """Name what stands there, where it is no number, or a character that looks like one of JSON's or like none."""
    number = _NO_NUMBER.match(data, at) or _NO_NUMBER.match(data, max(at - 1, 0))
    if number is not None:
        word = number[1].decode()
        return f"{word} at {place}; JSON has no {word}: leave it out, or put null"
    char = data[at : at + 4].decode(errors="ignore")[:1]
    kind = _NAMED.get(unicodedata.category(char)) if char else None
    if kind is None:
        return None
    name = unicodedata.name(char, "control character").lower()
    return f"U+{ord(char):04X} ({name}) at {place}; JSON takes only {kind} there"


def readable_id(data: bytes, stop: int | None) -> msgspec.Raw:
    """Give the custom_id of a broken row: a string or a number, a member of the outermost object, before the fault.

    What comes after the fault is not trusted: a string may have been opened there that never closes.
    """
    front = _FRONT.match(data[:64].decode(errors="ignore"))
    begin = len(front[0].encode()) if front else 0
    end = _SEARCHED if stop is None or stop <= begin else stop
    depth = 0
    for token in _TOKEN.finditer(data[:end], begin):
        if depth == 1 and token[0] == b'"custom_id"':
            return _id_at(data, token.end(), end)
        depth += _DEPTH.get(token[0], 0)
    return NULL


def _id_at(data: bytes, at: int, end: int) -> msgspec.Raw:
    found = _ID.match(data, at, end)
    if found is None or len(found[1]) > ID_BYTES:
        return NULL
    try:
        _value.decode(found[1])
    except UNREADABLE_JSON:
        return NULL
    return msgspec.Raw(found[1])
