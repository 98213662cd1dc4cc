"""Reading the API's results: how each row ended, and which rows are worth another attempt.

Source of the result types: https://platform.claude.com/docs/en/build-with-claude/batch-processing
"""

import re
from collections.abc import Iterator
from io import BytesIO
from typing import Annotated, NamedTuple

import msgspec

from functions.errors import UNREADABLE_JSON
from functions.model.ids import ROW_DIGITS
from functions.model.rows import Rejection

RETRYABLE_ERRORS = frozenset(
    {"api_error", "overloaded_error", "timeout_error", "rate_limit_error"}
)
"""Error types that another attempt may fix. Unknown types are not retried, because a retry costs money."""

_PARSED_LEVELS = 100
"""Levels that are parsed of a value that is nested too deeply. CPython's parser reaches nearly 10,000 on Linux."""
_STRING_OR_BRACKET = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}]', re.DOTALL)
_OPENING = {b"]": b"[", b"}": b"{"}
_Tokens = Annotated[int, msgspec.Meta(ge=0, le=10**12)] | None
_NOT_JSON = "invalid UTF-8, or brackets that do not match"


class _ErrorType(msgspec.Struct, frozen=True, gc=False):
    type: str = "unknown"


class _ErrorEnvelope(msgspec.Struct, frozen=True, gc=False):
    error: _ErrorType = _ErrorType()


class _CacheCreation(msgspec.Struct, frozen=True, gc=False):
    ephemeral_1h_input_tokens: _Tokens = None


class MessageUsage(msgspec.Struct, frozen=True, gc=False):
    """The tokens of one message under the API's names; None where the API sent none."""

    input_tokens: _Tokens = None
    output_tokens: _Tokens = None
    cache_creation_input_tokens: _Tokens = None
    cache_read_input_tokens: _Tokens = None
    cache_creation: _CacheCreation | None = None

    @property
    def prompt_tokens(self) -> int:
        """All tokens of the prompt, cached ones included."""
        written, read = self.cache_creation_input_tokens or 0, self.cache_read_input_tokens or 0
        return (self.input_tokens or 0) + written + read


class _Message(msgspec.Struct, frozen=True, gc=False):
    model: str = "unknown"
    stop_reason: str | None = None
    usage: MessageUsage = MessageUsage()


class Outcome(msgspec.Struct, gc=False):
    """The fields of a result that are counted; the others are not parsed."""

    type: str
    error: msgspec.Raw = msgspec.Raw(b"{}")
    message: _Message | None = None

    @property
    def error_type(self) -> str:
        """The API's ``result.error.error.type``, or the code of a rejection, or ``unknown``."""
        try:
            if self.type == "rejected":
                return _rejection.decode(self.error).code
            return _error.decode(self.error).error.type
        except UNREADABLE_JSON:
            return "unknown"

    @property
    def retryable(self) -> bool:
        """Whether another attempt may succeed. The API does not bill such a row."""
        if self.type == "errored":
            return self.error_type in RETRYABLE_ERRORS
        return self.type == "expired"


class _ResultWithoutMessage(msgspec.Struct):
    """A result whose message has an unknown shape; it is delivered unchanged."""

    type: str
    error: msgspec.Raw = msgspec.Raw(b"{}")


class ResultLine(msgspec.Struct, gc=False):
    """One line of the API's results; `result` is kept byte for byte."""

    custom_id: str
    result: msgspec.Raw


_outcome = msgspec.json.Decoder(Outcome)
_result_without_message = msgspec.json.Decoder(_ResultWithoutMessage)
_error = msgspec.json.Decoder(_ErrorEnvelope)
_rejection = msgspec.json.Decoder(Rejection)
_line = msgspec.json.Decoder(ResultLine)


def read_result(result: bytes | msgspec.Raw) -> Outcome:
    """Read how a row ended. If the message has an unknown shape, its tokens are not counted.

    Raises:
        msgspec.DecodeError: the bytes are not a result of the API.
    """
    try:
        return _read_result(result)
    except RecursionError:
        return _read_result(_without_deep_levels(bytes(result)))


def _read_result(result: bytes | msgspec.Raw) -> Outcome:
    try:
        return _outcome.decode(result)
    except msgspec.ValidationError:
        known = _result_without_message.decode(result)
        return Outcome(known.type, known.error)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(_NOT_JSON) from error


def read_line(line: bytes) -> ResultLine:
    """Read one line of the API's results.

    Raises:
        msgspec.DecodeError: the bytes are not such a line.
    """
    try:
        return _line.decode(line)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(_NOT_JSON) from error
    except RecursionError:
        return _read_deep_line(line)


def _read_deep_line(line: bytes) -> ResultLine:
    """Read a line whose result is nested too deeply to parse, if it has the form that the API uses today."""
    shallow = _without_deep_levels(line)
    known = _line.decode(shallow)
    head = b'{"custom_id":"%b","result":' % known.custom_id.encode()
    if not line.startswith(head) or shallow != head + bytes(known.result) + b"}":
        raise msgspec.DecodeError(_NOT_JSON)
    return ResultLine(known.custom_id, msgspec.Raw(line[len(head) : -1]))


def _without_deep_levels(text: bytes) -> bytes:
    """Replace each value below the first levels with ``0``, so that the others can be parsed.

    Raises:
        msgspec.DecodeError: the brackets do not match.
    """
    outer = [bracket for bracket, depth in _brackets(text) if depth == _PARSED_LEVELS]
    starts = [0, *(bracket.end() for bracket in outer[1::2])]
    ends = [*(bracket.start() for bracket in outer[::2]), len(text)]
    return b"0".join(text[start:end] for start, end in zip(starts, ends, strict=True))


def _brackets(text: bytes) -> Iterator[tuple[re.Match[bytes], int]]:
    """Yield each bracket outside of strings, and the number of pairs around it."""
    opened: list[bytes] = []
    for match in _STRING_OR_BRACKET.finditer(text):
        token = match[0]
        if token in _OPENING.values():
            yield match, len(opened)
            opened.append(token)
        elif token in _OPENING:
            if not opened or opened.pop() != _OPENING[token]:
                raise msgspec.DecodeError(_NOT_JSON)
            yield match, len(opened)
    if opened:
        raise msgspec.DecodeError(_NOT_JSON)


class Results(NamedTuple):
    """The results of several rows, as bytes and parsed.

    Attributes:
        rows: the number of each row.
        text: the results byte for byte, separated by line feeds.
        sizes: the length of each result in `text`, in bytes.
        outcomes: how each row ended.
    """

    rows: list[int]
    text: bytes
    sizes: list[int]
    outcomes: list[Outcome]


def parse_uniform_lines(text: bytes, wire_ids: bytes) -> Results | None:
    """Parse many lines of the API's results at once, if all have the form that the API uses today.

    Only the results are parsed, since the bytes before and after each are known. A raw line feed inside a
    result cannot pass as the end of a line: the pieces would have to be JSON objects, and the whole be invalid.

    Args:
        text: whole lines, without the last line feed.
        wire_ids: the template of the custom_ids; ``wire_ids % row`` is the custom_id of a row.

    Returns:
        The results; None if a line has another form. `read_line` then decides whether it is valid.
    """
    head = b'{"custom_id":"%b","result":{' % wire_ids
    row_start, result_start = head.index(b"%"), len(head % 0) - 1
    lines = BytesIO(text + b"\n").readlines()  # several times as fast as bytes.split
    try:
        rows = [int(line[row_start : row_start + ROW_DIGITS]) for line in lines]
        heads = [head % row for row in rows]
        heads_match = all(map(bytes.startswith, lines, heads))
        if not heads_match or {line[-3:] for line in lines} != {b"}}\n"}:
            return None
        results = [line[result_start:-2] for line in lines]
        joined = b"\n".join(results)
        outcomes = _outcome.decode_lines(joined)
    except (ValueError, *UNREADABLE_JSON):
        return None
    if len(outcomes) != len(rows):
        return None
    return Results(rows, joined, list(map(len, results)), outcomes)
