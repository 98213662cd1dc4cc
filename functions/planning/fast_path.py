"""Validate many rows at once, at little more than the cost of parsing their bytes.

`validation.validate` defines the rules and the sentences. The fast path accepts only rows that are sure to pass
it: lines of one object each, in UTF-8, with params that no rule refuses. All other rows go through `validate`
one by one. A Python call per row costs several times as much as the parsing.
"""

from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any

import msgspec

from functions.errors import UNREADABLE_JSON
from functions.model.rows import LineBlock, Record, Row, ValidRows
from functions.planning.broken import MAX_ID_BYTES, NULL
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


class _AnyObject(msgspec.Struct, gc=False):
    """A JSON object with any members."""


_requests = msgspec.json.Decoder(_Request)


def validate_all(
    pieces: Iterator[LineBlock | Record], *, row_bytes: int, api_version: str
) -> Iterator[ValidRows | ValidatedRow]:
    """Validate everything that a reader yields, in order. The result equals `validate` for each row.

    Args:
        pieces: line blocks and records of one upload.
        row_bytes: the maximum length of a row in bytes.
        api_version: the value of the `anthropic-version` header.

    Yields:
        `ValidRows` for rows that were accepted together, otherwise one record with its `Row`.
    """
    for piece in pieces:
        if isinstance(piece, Record):
            yield piece, validate(piece, row_bytes=row_bytes, api_version=api_version)
        else:
            yield from _validate_block(piece, row_bytes, api_version)


def _validate_block(
    lines: LineBlock, row_bytes: int, api_version: str
) -> Iterator[ValidRows | ValidatedRow]:
    """Validate lines together. Halve the block until a line that needs `validate` is alone."""
    rows = _validate_together(lines, row_bytes, api_version)
    if rows is not None:
        yield rows
    elif lines.breaks:
        for half in lines.split():
            yield from _validate_block(half, row_bytes, api_version)
    else:
        for record in jsonl.split_records(lines, row_bytes):
            yield record, validate(record, row_bytes=row_bytes, api_version=api_version)


def _validate_together(lines: LineBlock, row_bytes: int, api_version: str) -> ValidRows | None:
    """Return the rows of a block; None if any of them may be invalid or is not alone on its line."""
    text, ending = lines.text, int(lines.text.endswith(b"\r"))
    if lines.position.column or not _are_objects(lines, ending):
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
        _params_decoder(api_version).decode_lines(b"\n".join(params))
        custom_ids = custom_ids_of([request.custom_id for request in requests], text)
    except UNREADABLE_JSON:
        return None
    if len(requests) != len(sizes) or max(map(len, custom_ids)) > MAX_ID_BYTES:
        return None
    offset = lines.position.byte
    return ValidRows(
        lines.position.line, [start + offset for start in starts], sizes, custom_ids, params, ending,
    )  # fmt: skip


def _are_objects(lines: LineBlock, ending: int) -> bool:
    """Return whether each line begins and ends with a brace.

    If the block also parses as JSON, each line feed then separates two objects. A JSON string cannot contain a
    raw line feed, and inside a value there would be a comma between the two braces.

    Args:
        lines: the block.
        ending: 1 if the lines end with CRLF, 0 if they end with LF.
    """
    text, feeds = lines.text, lines.breaks
    if text[:1] != b"{" or text[-1 - ending : len(text) - ending] != b"}":
        return False
    if ending and any(text[feed - 1] != _RETURN for feed in feeds):
        return False
    return all(text[feed - 1 - ending] == _CLOSE and text[feed + 1] == _OPEN for feed in feeds)


def _is_utf8(text: bytes) -> bool:
    try:
        return text.isascii() or bool(text.decode())
    except UnicodeDecodeError:
        return False


@cache
def _params_decoder(api_version: str) -> msgspec.json.Decoder[Any]:
    """Build a decoder that accepts only valid params. It may also refuse some valid ones."""
    fields: list[Any] = [("model", str), ("messages", list[_AnyObject])]
    fields += [("max_tokens", Annotated[int, msgspec.Meta(ge=1)]), ("stream", None, None)]
    fields += [(name, None, None) for name in unsupported_params(api_version)]
    fields += [(name, msgspec.UnsetType, msgspec.UNSET) for name in SDK_ARGUMENTS]
    return msgspec.json.Decoder(msgspec.defstruct("Params", fields, gc=False))
