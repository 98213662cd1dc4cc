"""The API's results as they are read: how each row ended, and which are worth another attempt.

Source of the classes: https://platform.claude.com/docs/en/build-with-claude/batch-processing
"""

from collections.abc import Sequence
from io import BytesIO
from typing import Annotated, NamedTuple

import msgspec

from functions.model.ids import ROW_DIGITS
from functions.model.rows import Rejection, can_be_reparsed

RETRIABLE_ERRORS = frozenset(
    {"api_error", "overloaded_error", "timeout_error", "rate_limit_error"}
)
"""Error types that another attempt may mend; an unknown one may not, and is not paid for again."""

LONG = 10_000
"""A result shorter than this, in bytes, has 5,000 levels at the most; the parser goes to nearly 10,000, CPython's on Linux."""
_Tokens = Annotated[int, msgspec.Meta(ge=0, le=10**12)] | None
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_NOT_JSON = "broken UTF-8, or nested too deeply"


class _Inner(msgspec.Struct, frozen=True, gc=False):
    type: str = "unknown"


class _Error(msgspec.Struct, frozen=True, gc=False):
    error: _Inner = _Inner()


class _CacheCreation(msgspec.Struct, frozen=True, gc=False):
    ephemeral_1h_input_tokens: _Tokens = None


class MessageUsage(msgspec.Struct, frozen=True, gc=False):
    """The tokens of one message, in the API's own words; None where they are missing."""

    input_tokens: _Tokens = None
    output_tokens: _Tokens = None
    cache_creation_input_tokens: _Tokens = None
    cache_read_input_tokens: _Tokens = None
    cache_creation: _CacheCreation | None = None

    @property
    def prompt_tokens(self) -> int:
        """All tokens of the prompt, wherever they came from."""
        written, read = self.cache_creation_input_tokens or 0, self.cache_read_input_tokens or 0
        return (self.input_tokens or 0) + written + read


class _Message(msgspec.Struct, frozen=True, gc=False):
    model: str = "unknown"
    stop_reason: str | None = None
    usage: MessageUsage = MessageUsage()


class Outcome(msgspec.Struct, gc=False):
    """What is read of a result: enough to count it; the rest passes on unread."""

    type: str
    error: msgspec.Raw = msgspec.Raw(b"{}")
    message: _Message | None = None

    @property
    def error_type(self) -> str:
        """The API's own error type: ``result.error.error.type``; a rejection's code; else ``unknown``."""
        try:
            if self.type == "rejected":
                return _rejection.decode(self.error).code
            return _error.decode(self.error).error.type
        except _UNREADABLE:
            return "unknown"

    @property
    def retriable(self) -> bool:
        """Whether another attempt may succeed; what ended so was not billed."""
        if self.type == "errored":
            return self.error_type in RETRIABLE_ERRORS
        return self.type == "expired"


class _Bare(msgspec.Struct):
    """A result whose message has a shape that nobody knows yet: it is delivered all the same."""

    type: str
    error: msgspec.Raw = msgspec.Raw(b"{}")


class ResultLine(msgspec.Struct, gc=False):
    """One line of the API's results; `result` stays as it came."""

    custom_id: str
    result: msgspec.Raw


_outcome = msgspec.json.Decoder(Outcome)
_bare = msgspec.json.Decoder(_Bare)
_error = msgspec.json.Decoder(_Error)
_rejection = msgspec.json.Decoder(Rejection)
_line = msgspec.json.Decoder(ResultLine)


def read_result(result: bytes | msgspec.Raw) -> Outcome:
    """Read how a row ended; tokens are not counted where a message tells them in a way that nobody knows.

    Raises:
        msgspec.DecodeError: it is no result of the API.
    """
    try:
        try:
            return _outcome.decode(result)
        except msgspec.ValidationError:
            bare = _bare.decode(result)
            return Outcome(bare.type, bare.error)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(_NOT_JSON) from error


def read_line(line: bytes) -> ResultLine:
    """Read one line of the API's results.

    Raises:
        msgspec.DecodeError: it is none.
    """
    try:
        return _line.decode(line)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(_NOT_JSON) from error


class Results(NamedTuple):
    """Results of some rows, whole and as they are read.

    Attributes:
        rows: whose they are.
        text: the results as they came, with a byte between one and the next.
        sizes: how long each is there.
        outcomes: how each ended.
    """

    rows: list[int]
    text: bytes
    sizes: list[int]
    outcomes: list[Outcome]


def parse_uniform_lines(text: bytes, wire_ids: bytes) -> Results | None:
    """Read lines of the API's results at once, if each is written as it always writes those of one batch.

    Then all that is to be parsed are the results, once: what stands before and after each is known. They are told
    apart by the line feeds. Each begins and ends with a brace, so a line holds an object at least; were a feed
    inside of one, it would stand in a string or want a comma, which is no JSON.

    Args:
        text: whole lines, without the last one's line feed.
        wire_ids: what ``% row`` makes a custom_id of.

    Returns:
        None if a line is any other: `read_line` says whether it is good all the same.
    """
    head = b'{"custom_id":"%b","result":{' % wire_ids
    at, begin = head.index(b"%"), len(head % 0) - 1
    lines = BytesIO(text + b"\n").readlines()  # several times as fast as to split
    try:
        rows = [int(line[at : at + ROW_DIGITS]) for line in lines]
        heads = [head % row for row in rows]
        headed = all(map(bytes.startswith, lines, heads))
        if not headed or {line[-3:] for line in lines} != {b"}}\n"}:
            return None
        results = [line[begin:-2] for line in lines]
        joined = b"\n".join(results)
        outcomes = _outcome.decode_lines(joined)
    except (ValueError, *_UNREADABLE):
        return None
    if len(outcomes) != len(rows) or not results_can_be_reparsed(results):
        return None
    return Results(rows, joined, list(map(len, results)), outcomes)


def results_can_be_reparsed(results: Sequence[bytes]) -> bool:
    """Whether results can surely be read again, in another attempt or where the disk is short; only long ones can not."""
    long = [result for result in results if len(result) >= LONG]
    return not long or can_be_reparsed(long)
