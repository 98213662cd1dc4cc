"""JSON as Python's json module writes it: with NaN, and with the escape of half a character. Other parsers refuse both.

An answer may contain them, such as in the input of a tool. It is delivered byte for byte, and parsed from a copy.
"""

import re

import msgspec

LONE_SURROGATE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.",
    re.DOTALL,
)
"""Matches escapes from left to right. Group 1 is set only for a surrogate without its pair."""
STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)'
"""A pattern of a string; also of one that is cut off, so that no search begins again at each of its escaped quotes."""
_STRING_OR_REFUSED = re.compile(STRING + rb"|NaN|Infinity", re.DOTALL)


def parsable(text: bytes) -> bytes:
    """Return a copy of the same length that has other values where only a parser of such JSON accepts the text."""
    return _STRING_OR_REFUSED.sub(_replacement, text)


def decode[T](decoder: msgspec.json.Decoder[T], text: bytes) -> T:
    """Decode a text that may need a copy; see `parsable`.

    Raises:
        DecodeError: it is not JSON in either form, or has another shape.
    """
    try:
        return decoder.decode(text)
    except msgspec.DecodeError:
        return decoder.decode(parsable(text))


def _replacement(token: re.Match[bytes]) -> bytes:
    if not token[0].startswith(b'"'):
        return b"0." + b"0" * (len(token[0]) - 2)
    return LONE_SURROGATE.sub(
        lambda escape: rb"\ufffd" if escape[1] is not None else escape[0], token[0]
    )
