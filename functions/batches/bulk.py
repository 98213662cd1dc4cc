"""Many rows checked at once, in what it takes to parse their bytes; whatever is not plain goes row by row.

`requests.check` is the one that decides and has the sentences. Here is only what surely passes it: lines of one
object each, in UTF-8, with params that no rule of its can refuse. A Python call for every row would cost several
times what the parsing does.
"""

from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any

import msgspec

from functions.batches.broken import ID_BYTES, NULL
from functions.batches.readers import jsonl
from functions.batches.readers.record import Lines, Place, Record
from functions.batches.requests import SDK_ARGUMENTS, Row, check, custom_ids_of, refused

_OPEN, _CLOSE, _RETURN = b"{}\r"
Checked = tuple[Record, Row]


class Plain(msgspec.Struct, frozen=True):
    """Rows that can be sent, each alone on its line and on the lines one after the other.

    Attributes:
        line: that of the first.
        at: the offset of each in the upload, in bytes; `sizes` are their lengths.
        custom_ids: the users' own, as JSON.
        params: what is sent, as JSON.
        ending: bytes between a row and its line feed.
    """

    line: int
    at: list[int]
    sizes: list[int]
    custom_ids: list[msgspec.Raw]
    params: list[msgspec.Raw]
    ending: int

    @property
    def end(self) -> Place:
        """Where the next record may begin."""
        size = self.sizes[-1] + self.ending
        return Place(self.at[-1] + size, self.line + len(self.at) - 1, size)

    def cut(self, count: int) -> "tuple[Plain, Plain]":
        """Give the first so many, and the others."""
        first = self._slice(slice(count), self.line)
        return first, self._slice(slice(count, None), self.line + count)

    def _slice(self, rows: slice, line: int) -> "Plain":
        return Plain(
            line, self.at[rows], self.sizes[rows], self.custom_ids[rows], self.params[rows], self.ending
        )  # fmt: skip


class _Request(msgspec.Struct, gc=False):
    params: msgspec.Raw
    custom_id: msgspec.Raw = NULL


class _Turn(msgspec.Struct, gc=False):
    """Any object."""


_requests = msgspec.json.Decoder(_Request)


def checked(
    pieces: Iterator[Lines | Record], *, row_bytes: int, api_version: str
) -> Iterator[Plain | Checked]:
    """Check everything that a reader gives, in order: `check` for each row, or what amounts to it."""
    for piece in pieces:
        if isinstance(piece, Record):
            yield piece, check(piece, row_bytes=row_bytes, api_version=api_version)
        else:
            yield from _lines(piece, row_bytes, api_version)


def _lines(lines: Lines, row_bytes: int, api_version: str) -> Iterator[Plain | Checked]:
    """Check lines together; where one is not plain, halve them until it stands alone."""
    plain = _plain(lines, row_bytes, api_version)
    if plain is not None:
        yield plain
    elif lines.breaks:
        for half in lines.halves():
            yield from _lines(half, row_bytes, api_version)
    else:
        for record in jsonl.records(lines, row_bytes):
            yield record, check(record, row_bytes=row_bytes, api_version=api_version)


def _plain(lines: Lines, row_bytes: int, api_version: str) -> Plain | None:
    text, ending = lines.text, int(lines.text.endswith(b"\r"))
    if lines.place.column or not _objects(lines, ending):
        return None
    starts = [0, *(feed + 1 for feed in lines.breaks)]
    sizes = [
        stop - start - ending
        for start, stop in zip(starts, [*lines.breaks, len(text)], strict=True)
    ]
    if max(sizes) > row_bytes or not _is_utf8(text):
        return None
    try:
        requests = _requests.decode_lines(text)
        params = [request.params for request in requests]
        _params(api_version).decode_lines(b"\n".join(params))
        custom_ids = custom_ids_of([request.custom_id for request in requests], text)
    except (msgspec.DecodeError, RecursionError):
        return None
    if len(requests) != len(sizes) or max(map(len, custom_ids)) > ID_BYTES:
        return None
    offset = lines.place.byte
    return Plain(
        lines.place.line, [start + offset for start in starts], sizes, custom_ids, params, ending,
    )  # fmt: skip


def _objects(lines: Lines, ending: int) -> bool:
    """Whether each line begins and ends with a brace.

    Then each line feed parts two objects, once all of it is known to be JSON: no string holds one, and inside
    of a value a comma would stand between the braces.
    """
    text, feeds = lines.text, lines.breaks
    if text[:1] != b"{" or text[-1 - ending : len(text) - ending] != b"}":
        return False
    if ending and any(text[at - 1] != _RETURN for at in feeds):
        return False
    return all(text[at - 1 - ending] == _CLOSE and text[at + 1] == _OPEN for at in feeds)


def _is_utf8(text: bytes) -> bool:
    try:
        return text.isascii() or bool(text.decode())
    except UnicodeDecodeError:
        return False


@cache
def _params(api_version: str) -> msgspec.json.Decoder[Any]:
    """Give a decoder that takes params which no rule can refuse, and perhaps not all of those."""
    fields: list[Any] = [("model", str), ("messages", list[_Turn])]
    fields += [("max_tokens", Annotated[int, msgspec.Meta(ge=1)]), ("stream", None, None)]
    fields += [(name, None, None) for name in refused(api_version)]
    fields += [(name, msgspec.UnsetType, msgspec.UNSET) for name in SDK_ARGUMENTS]
    return msgspec.json.Decoder(msgspec.defstruct("Params", fields, gc=False))
