"""JSON Lines, as files really are: BOM, CRLF, blank lines, no last newline, records run together on one line."""

import re
from collections.abc import Iterator

import msgspec

from functions.batches.readers.record import Place, Record

_BOM = b"\xef\xbb\xbf"
_SPACE = b" \t\r\n"
_JOINED = re.compile(rb"\}[ \t\r]*\{")
_OPENS = re.compile(rb"[ \t\r\n]*+\{")
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|["{}\[\]]', re.DOTALL)
_DEPTH = {b"{": 1, b"[": 1, b"}": -1, b"]": -1}
_value = msgspec.json.Decoder(msgspec.Raw)


def read(blocks: Iterator[bytes], place: Place, row_bytes: int) -> Iterator[Record]:
    """Read an upload: one record a row, in file order.

    Args:
        blocks: the upload's bytes from ``place.byte`` on, in blocks of any size.
        place: where the blocks begin; ``Place()`` for the whole upload.
        row_bytes: how long a row may be; of a longer one only the place and size are told, and memory
            stays below a few times this.

    Yields:
        Every record that is not white space; whether its bytes are JSON is not checked here.
    """
    held = b""
    began: Place | None = None  # where a row began that is longer than a row may be
    for block in blocks:
        *lines, held = (held + block).split(b"\n")
        for line in lines:
            yield from _line(line, place, began, row_bytes)
            place, began = place.along(len(line)).next_line(), None
        while began is None and len(held) > row_bytes:
            ends = list(_ends_of_objects(held))
            if ends:
                yield from _pieces(held[: ends[-1]], ends[:-1], place, row_bytes)
                place, held = place.along(ends[-1]), held[ends[-1] :]
            else:
                began = place
        if began is not None:
            place, held = place.along(len(held)), b""
    yield from _line(held, place, began, row_bytes)


def _line(line: bytes, place: Place, began: Place | None, row_bytes: int) -> Iterator[Record]:
    """Give the records of what is left of a line; of a row too long, that it is."""
    if began is None:
        yield from _records(line, place, row_bytes)
    else:
        end = place.along(len(line))
        size = end.byte - began.byte
        yield Record(began.line, began.column + 1, began.byte, size, None, end)


def _records(line: bytes, place: Place, row_bytes: int) -> Iterator[Record]:
    """Cut a line into its records: nearly always one."""
    if place.byte == 0 and line.startswith(_BOM):
        line, place = line[len(_BOM) :], Place(len(_BOM))
    yield from _pieces(line, _cuts(line), place, row_bytes)


def _pieces(line: bytes, cuts: list[int], place: Place, row_bytes: int) -> Iterator[Record]:
    for start, stop in zip([0, *cuts], [*cuts, len(line)], strict=True):
        piece = line[start:stop]
        data = piece.strip(_SPACE)
        if data:
            at = place.along(start + len(piece) - len(piece.lstrip(_SPACE)))
            told = data if len(data) <= row_bytes else None
            yield Record(at.line, at.column + 1, at.byte, len(data), told, place.along(stop))


def _cuts(line: bytes) -> list[int]:
    """Say where a line of objects that run together is to be cut; nowhere, if it is one JSON value."""
    if _JOINED.search(line) is None or _whole(line):
        return []
    return [end for end in _ends_of_objects(line) if _OPENS.match(line, end)]


def _whole(line: bytes) -> bool:
    try:
        _value.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _ends_of_objects(text: bytes) -> Iterator[int]:
    """Find where each object ends, of those that stand whole and side by side at the front."""
    end = 0
    while (opens := _OPENS.match(text, end)) is not None:
        found = _end_of_object(text, opens.end() - 1)
        if found is None:
            return
        yield (end := found)


def _end_of_object(text: bytes, start: int) -> int | None:
    """Find where the object that opens here ends; None where it does not."""
    depth = 0
    for token in _TOKEN.finditer(text, start):
        if token[0] == b'"':
            return None
        depth += _DEPTH.get(token[0], 0)
        if depth == 0:
            return token.end()
    return None
