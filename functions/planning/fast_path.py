"""Validate many rows at once, at little more than the cost of parsing their bytes.

`validation.validate` defines the rules and the sentences. The fast path accepts only rows that are sure to pass
it: lines of one object each, in UTF-8, with params that no rule refuses. All other rows go through `validate`
one by one. A Python call per row costs several times as much as the parsing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

import msgspec

from functions.errors import UNREADABLE_JSON
from functions.model.rows import LineBlock, Record, Row, ValidRows
from functions.planning.json_faults import MAX_ID_BYTES, NULL
from functions.planning.preflight import Preflight
from functions.planning.validation import (
    SDK_ARGUMENTS,
    custom_ids_of,
    unsupported_params,
    validate,
)
from functions.readers import jsonl

_MAX_PLAIN_BYTES = 1 << 20
"""A longer row may have a large image, or more messages than fit into the memory."""
_SHORTEST_BLOCK = len('[{"type":"text"}]')
_OPEN, _CLOSE, _RETURN = b"{}\r"
ValidatedRow = tuple[Record, Row]


class _Request(msgspec.Struct, gc=False):
    params: msgspec.Raw
    custom_id: msgspec.Raw = NULL


class _Message(msgspec.Struct, gc=False):
    role: str = ""
    content: msgspec.Raw = NULL


_requests = msgspec.json.Decoder(_Request)


def validate_all(
    pieces: Iterator[LineBlock | Record],
    *,
    row_bytes: int,
    api_version: str,
    preflight: Preflight | None = None,
) -> Iterator[ValidRows | ValidatedRow]:
    """Validate everything that a reader yields, in order. The result equals `validate` for each row.

    Args:
        pieces: line blocks and records of one upload.
        row_bytes: the maximum length of a row in bytes.
        api_version: the value of the `anthropic-version` header.
        preflight: the checks of the model and the messages; None for none.

    Yields:
        `ValidRows` for rows that were accepted together, otherwise one record with its `Row`.
    """
    rules = _Rules(row_bytes, api_version, preflight)
    for piece in pieces:
        if isinstance(piece, Record):
            yield piece, rules.validate(piece)
        else:
            yield from _validate_block(piece, rules)


@dataclass(frozen=True)
class _Rules:
    row_bytes: int
    api_version: str
    preflight: Preflight | None

    @property
    def unsupported(self) -> tuple[str, ...]:
        return unsupported_params(self.api_version, self.preflight)

    def validate(self, record: Record) -> Row:
        return validate(
            record,
            row_bytes=self.row_bytes,
            api_version=self.api_version,
            preflight=self.preflight,
        )


def _validate_block(lines: LineBlock, rules: _Rules) -> Iterator[ValidRows | ValidatedRow]:
    """Validate lines together. Halve the block until a line that needs `validate` is alone."""
    rows = _validate_together(lines, rules)
    if rows is not None:
        yield rows
    elif lines.breaks:
        for half in lines.split():
            yield from _validate_block(half, rules)
    else:
        for record in jsonl.split_records(lines, rules.row_bytes):
            yield record, rules.validate(record)


def _validate_together(lines: LineBlock, rules: _Rules) -> ValidRows | None:
    """Return the rows of a block; None if any of them may be invalid or is not alone on its line."""
    text, ending = lines.text, int(lines.text.endswith(b"\r"))
    if lines.position.column or not _are_objects(lines, ending):
        return None
    starts = [0, *(feed + 1 for feed in lines.breaks)]
    sizes = [
        stop - start - ending
        for start, stop in zip(starts, [*lines.breaks, len(text)], strict=True)
    ]
    if max(sizes) > min(rules.row_bytes, _MAX_PLAIN_BYTES) or not _is_utf8(text):
        return None
    try:
        requests = _requests.decode_lines(text)
        params = [request.params for request in requests]
        checked = _params_decoder(rules.unsupported).decode_lines(b"\n".join(params))
        custom_ids = custom_ids_of([request.custom_id for request in requests], text)
    except UNREADABLE_JSON:
        return None
    if len(requests) != len(sizes) or max(map(len, custom_ids)) > MAX_ID_BYTES:
        return None
    if rules.preflight is not None and not _is_plain(text, checked, rules.preflight):
        return None
    offset = lines.position.byte
    return ValidRows(
        lines.position.line, [start + offset for start in starts], sizes, custom_ids, params,
        [request.model for request in checked], [request.max_tokens for request in checked], ending,
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


def _is_plain(text: bytes, checked: Sequence[Any], preflight: Preflight) -> bool:
    """Return whether `preflight` is sure to accept all rows of a block.

    Args:
        text: the block. In it, ``""`` may be an empty text.
        checked: the params of its rows.
        preflight: the checks.
    """
    if b'""' in text:
        return False
    largest = dict[str, int]()
    for params in checked:
        messages = params.messages
        if not messages or messages[-1].role == "assistant" or params.tool_choice != NULL:
            return False
        if any(_may_be_empty(message.content) for message in messages):
            return False
        largest[params.model] = max(largest.get(params.model, 0), params.max_tokens)
    return all(preflight.accepts_plain(*model) for model in largest.items())


def _may_be_empty(content: msgspec.Raw) -> bool:
    """Return whether content may be an empty list or null. The caller searches the whole block for empty strings."""
    return len(content) < _SHORTEST_BLOCK and bytes(content)[:1] != b'"'


def _is_utf8(text: bytes) -> bool:
    try:
        return text.isascii() or bool(text.decode())
    except UnicodeDecodeError:
        return False


@cache
def _params_decoder(unsupported: tuple[str, ...]) -> msgspec.json.Decoder[Any]:
    """Build a decoder that accepts only valid params. It may also refuse some valid ones."""
    fields: list[Any] = [("model", str), ("messages", list[_Message])]
    fields += [("max_tokens", Annotated[int, msgspec.Meta(ge=1)]), ("stream", None, None)]
    fields += [("tool_choice", msgspec.Raw, NULL)]
    fields += [(name, None, None) for name in unsupported]
    fields += [(name, msgspec.UnsetType, msgspec.UNSET) for name in SDK_ARGUMENTS]
    return msgspec.json.Decoder(msgspec.defstruct("Params", fields, gc=False))
