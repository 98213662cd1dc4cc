"""Many rows checked at once, in what it takes to parse their bytes; whatever is not plain goes row by row.

`validation.validate` is the one that decides and has the sentences. Here is only what surely passes it: lines of one
object each, in UTF-8, with params that no rule of its can refuse. A Python call for every row would cost several
times what the parsing does.
"""

from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any

import msgspec

from functions.errors import UNREADABLE_JSON
from functions.model.rows import LineBlock, Record, Row, ValidRows
from functions.planning.broken import ID_BYTES, NULL
from functions.planning.validation import (
    SDK_ARGUMENTS,
    custom_ids_of,
    unsupported_params,
    validate,
)
from functions.readers import jsonl

_OPEN, _CLOSE, _RETURN = b"{}\r"
ValidatedRow = tuple[Record, Row]


class _Request(msgspec.Struct, gc=False):
    params: msgspec.Raw
    custom_id: msgspec.Raw = NULL


class _Turn(msgspec.Struct, gc=False):
    """Any object."""


_requests = msgspec.json.Decoder(_Request)


def validate_all(
    pieces: Iterator[LineBlock | Record], *, row_bytes: int, api_version: str
) -> Iterator[ValidRows | ValidatedRow]:
    """Check everything that a reader gives, in order: `validate` for each row, or what amounts to it."""
    for piece in pieces:
        if isinstance(piece, Record):
            yield piece, validate(piece, row_bytes=row_bytes, api_version=api_version)
        else:
            yield from _lines(piece, row_bytes, api_version)


def _lines(
    lines: LineBlock, row_bytes: int, api_version: str
) -> Iterator[ValidRows | ValidatedRow]:
    """Check lines together; where one is not plain, halve them until it stands alone."""
    plain = _plain(lines, row_bytes, api_version)
    if plain is not None:
        yield plain
    elif lines.breaks:
        for half in lines.split():
            yield from _lines(half, row_bytes, api_version)
    else:
        for record in jsonl.records_of(lines, row_bytes):
            yield record, validate(record, row_bytes=row_bytes, api_version=api_version)


def _plain(lines: LineBlock, row_bytes: int, api_version: str) -> ValidRows | None:
    text, ending = lines.text, int(lines.text.endswith(b"\r"))
    if lines.position.column or not _objects(lines, ending):
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
    except UNREADABLE_JSON:
        return None
    if len(requests) != len(sizes) or max(map(len, custom_ids)) > ID_BYTES:
        return None
    offset = lines.position.byte
    return ValidRows(
        lines.position.line, [start + offset for start in starts], sizes, custom_ids, params, ending,
    )  # fmt: skip


def _objects(lines: LineBlock, ending: int) -> bool:
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
    fields += [(name, None, None) for name in unsupported_params(api_version)]
    fields += [(name, msgspec.UnsetType, msgspec.UNSET) for name in SDK_ARGUMENTS]
    return msgspec.json.Decoder(msgspec.defstruct("Params", fields, gc=False))
