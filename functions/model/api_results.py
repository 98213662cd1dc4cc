"""Reading the API's results: how each row ended, and which rows are worth another attempt.

Source of the result types: https://platform.claude.com/docs/en/build-with-claude/batch-processing
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from io import BytesIO
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from functions.errors import UNREADABLE_JSON
from functions.model.ids import ROW_DIGITS
from functions.model.loose_json import STRING, parsable
from functions.model.rows import Rejection

RETRYABLE_ERRORS = frozenset(
    {"api_error", "overloaded_error", "timeout_error", "rate_limit_error"}
)
"""Error types that another attempt may fix. Unknown types are not retried, because a retry costs money."""

_PARSED_LEVELS = 100
"""Levels that are parsed of a value that is nested too deeply. CPython's parser reaches nearly 10,000 on Linux."""
_STRING_OR_BRACKET = re.compile(STRING + rb"|[\[\]{}]", re.DOTALL)
_OPENING = {b"]": b"[", b"}": b"{"}
_NOT_JSON = "invalid UTF-8, or brackets that do not match"
MAX_COUNT = 10**12
"""The largest plausible count of tokens. A larger one is an error, and DynamoDB might not store its sums."""
_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]
_TEXT = re.compile(rb'\{"type":"text","text":"[^"\\\s]')
"""The beginning of a block with text, as the API writes it. No JSON string contains these bytes."""
_BLANK_STRING = re.compile(rb'"(?:\s|\\[nrt])*"')
_THINKING = frozenset({"thinking", "redacted_thinking"})


class _ErrorType(msgspec.Struct, frozen=True, gc=False):
    type: str = "unknown"


class _ErrorEnvelope(msgspec.Struct, frozen=True, gc=False):
    error: _ErrorType = _ErrorType()


class CacheCreation(msgspec.Struct, frozen=True, gc=False):
    """The tokens that a request wrote to the cache, by lifetime."""

    ephemeral_5m_input_tokens: _Count | None = None
    ephemeral_1h_input_tokens: _Count | None = None


class MessageUsage(msgspec.Struct, frozen=True, gc=False):
    """The tokens of one message under the API's names; None where the API sent null or nothing."""

    input_tokens: _Count | None = None
    output_tokens: _Count | None = None
    cache_creation_input_tokens: _Count | None = None
    cache_read_input_tokens: _Count | None = None
    cache_creation: CacheCreation | None = None


class TokenUsage(MessageUsage, frozen=True, gc=False, kw_only=True):
    """The tokens of one message whose cost can be known."""

    input_tokens: _Count
    output_tokens: _Count


class _PlainCreation(CacheCreation, frozen=True, gc=False, forbid_unknown_fields=True):
    pass


class _OutputDetails(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    thinking_tokens: _Count | None = None


class _ServerToolUse(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    web_search_requests: _Count | None = None
    web_fetch_requests: _Count | None = None


class PlainUsage(TokenUsage, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True):
    """The usage of a request with nothing unknown, and of which all members can be counted by column."""

    cache_creation: _PlainCreation | None = None
    output_tokens_details: _OutputDetails | None = None
    server_tool_use: _ServerToolUse | None = None
    service_tier: Literal["batch"] | None = None
    inference_geo: Literal["global", "not_available", "us"] | None = None
    speed: Literal["standard"] | None = None
    iterations: None = None


class Message(msgspec.Struct, frozen=True, gc=False):
    """The members of an answer that are counted."""

    model: str = "unknown"
    stop_reason: str | None = None
    content: msgspec.Raw = msgspec.Raw(b"")


class PlainMessage(Message, frozen=True, gc=False, kw_only=True):
    """An answer that ran no code and whose usage is plain, as nearly all are."""

    usage: PlainUsage
    container: None = None


class OddMessage(Message, frozen=True, gc=False):
    """Any other answer. It takes longer to count.

    Attributes:
        usage: what the API sent.
        container: the container in which code ran.
    """

    usage: Any = None
    container: Any = None


class _Block(msgspec.Struct, gc=False):
    """A block of an answer's content."""

    type: str
    text: msgspec.Raw = msgspec.Raw(b'""')

    @property
    def is_answer(self) -> bool:
        """Whether the block is more than thinking and blank text."""
        if self.type == "text":
            return _BLANK_STRING.fullmatch(self.text) is None
        return self.type not in _THINKING


class Outcome(msgspec.Struct, gc=False):
    """The fields of a result that are counted; the others are not parsed."""

    type: str
    error: msgspec.Raw = msgspec.Raw(b"{}")
    message: Message | None = None

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


class _PlainOutcome(Outcome):
    message: PlainMessage | None = None


class _OddOutcome(Outcome):
    message: OddMessage | None = None


class _ResultWithoutMessage(msgspec.Struct):
    """A result whose message has an unknown shape; it is delivered unchanged."""

    type: str
    error: msgspec.Raw = msgspec.Raw(b"{}")


class ResultLine(msgspec.Struct, gc=False):
    """One line of the API's results; `result` is kept byte for byte."""

    custom_id: str
    result: msgspec.Raw


_plain_outcome = msgspec.json.Decoder(_PlainOutcome)
_odd_outcome = msgspec.json.Decoder(_OddOutcome)
_result_without_message = msgspec.json.Decoder(_ResultWithoutMessage)
_error = msgspec.json.Decoder(_ErrorEnvelope)
_rejection = msgspec.json.Decoder(Rejection)
_content = msgspec.json.Decoder(list[_Block])
_line = msgspec.json.Decoder(ResultLine)


def read_result(result: bytes | msgspec.Raw) -> Outcome:
    """Read how a row ended. A message of an unknown shape is left out: nobody can say what it cost.

    Raises:
        msgspec.DecodeError: the bytes are not a result of the API.
    """
    try:
        return _read_result(result)
    except (msgspec.DecodeError, RecursionError):
        return _read_result(_readable(bytes(result)))


def count_empty(messages: Sequence[Message]) -> int:
    """Return how many answers have neither text nor tool use. Content of an unknown shape is not called empty.

    Content is parsed only where a search finds no text, which takes a third of the time.
    """
    text_in = _TEXT.search
    return sum(_is_empty(message) for message in messages if text_in(message.content) is None)


def _is_empty(message: Message) -> bool:
    try:
        blocks = _content.decode(message.content)
    except UNREADABLE_JSON:
        return False
    return not any(block.is_answer for block in blocks)


def _read_result(result: bytes | msgspec.Raw) -> Outcome:
    try:
        for decoder in (_plain_outcome, _odd_outcome):
            with suppress(msgspec.DecodeError):
                return decoder.decode(result)
        known = _result_without_message.decode(result)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(_NOT_JSON) from error
    return Outcome(known.type, known.error)


def read_line(line: bytes) -> ResultLine:
    """Read one line of the API's results.

    Raises:
        msgspec.DecodeError: the bytes are not such a line.
    """
    try:
        try:
            return _line.decode(line)
        except (msgspec.DecodeError, RecursionError):
            return _read_odd_line(line)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(_NOT_JSON) from error


def _read_odd_line(line: bytes) -> ResultLine:
    """Read a line that cannot be parsed as it is, if it has the form that the API uses today."""
    readable = _readable(line)
    known = _line.decode(readable)
    head = b'{"custom_id":"%b","result":' % known.custom_id.encode()
    if not line.startswith(head) or readable != head + bytes(known.result) + b"}":
        raise msgspec.DecodeError(_NOT_JSON)
    return ResultLine(known.custom_id, msgspec.Raw(line[len(head) : -1]))


def _readable(text: bytes) -> bytes:
    """Return a copy with other values where the parser fails, although Python's own parser would not.

    Raises:
        msgspec.DecodeError: the brackets do not match.
    """
    return _without_deep_levels(parsable(text))


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


class ParsedResults(NamedTuple):
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
    outcomes: Sequence[Outcome]


def parse_uniform_lines(text: bytes, wire_ids: bytes) -> ParsedResults | None:
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
        outcomes = _read_results(joined)
    except (ValueError, *UNREADABLE_JSON):
        return None
    if len(outcomes) != len(rows):
        return None
    return ParsedResults(rows, joined, list(map(len, results)), outcomes)


def _read_results(lines: bytes) -> Sequence[Outcome]:
    """Read the results of several rows; see `read_result`.

    Raises:
        msgspec.DecodeError: a line is not a result, or its message has an unknown shape.
    """
    try:
        return _plain_outcome.decode_lines(lines)
    except msgspec.DecodeError:
        return _odd_outcome.decode_lines(lines)
