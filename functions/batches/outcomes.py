"""How rows end: which results are worth another attempt, and how a chunk's rows are counted.

Source of the classes: https://platform.claude.com/docs/en/build-with-claude/batch-processing
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Annotated

import msgspec

from functions.batches.items import Closing, Tally, Usage
from functions.batches.prices import is_long
from functions.batches.requests import Rejection

RETRIABLE_ERRORS = frozenset(
    {"api_error", "overloaded_error", "timeout_error", "rate_limit_error"}
)
"""Error types that another attempt may mend; an unknown one may not, and is not paid for again."""

NAMES, NAME_MOST = 50, 100
"""Kinds that are counted apart in a chunk, and how long their names may be: a tally has to fit into an item."""
OTHER = "other"

_Tokens = Annotated[int, msgspec.Meta(ge=0, le=10**12)] | None
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_NOT_JSON = "broken UTF-8, or nested too deeply"
_NOT_LINES = "not one on each line"
_CLOSING_SENTENCES = {
    Closing.GONE: "the batch was deleted or archived at Anthropic before its results were fetched",
    Closing.MISSING: "the batch ended without a result for this row, in several downloads",
    Closing.STUCK: "the relay could not process this row's batch in several tries; see its logs",
}


_WITH_ERROR = frozenset({"errored", "rejected"})
_TOKENS = (
    "input_tokens",
    "output_tokens",
    "cache_creation_input_tokens",
    "cache_creation_1h_input_tokens",
    "cache_read_input_tokens",
)


class _Inner(msgspec.Struct, frozen=True, gc=False):
    type: str = "unknown"


class _Error(msgspec.Struct, frozen=True, gc=False):
    error: _Inner = _Inner()


class _CacheCreation(msgspec.Struct, frozen=True, gc=False):
    ephemeral_1h_input_tokens: _Tokens = None


class _Usage(msgspec.Struct, frozen=True, gc=False):
    input_tokens: _Tokens = None
    output_tokens: _Tokens = None
    cache_creation_input_tokens: _Tokens = None
    cache_read_input_tokens: _Tokens = None
    cache_creation: _CacheCreation | None = None


class _Message(msgspec.Struct, frozen=True, gc=False):
    model: str = "unknown"
    stop_reason: str | None = None
    usage: _Usage = _Usage()


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


def read_lines(text: bytes) -> tuple[list[str], list[msgspec.Raw], list[Outcome]]:
    """Read whole lines of the API's results at once: their ids, their results as they came, and as they are read.

    Raises:
        msgspec.DecodeError: one of them is none, or they are not what lines they seem.
    """
    try:
        read = _line.decode_lines(text)
        results = [one.result for one in read]
        outcomes = _outcome.decode_lines(b"\n".join(results))
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(_NOT_JSON) from error
    if len(read) - 1 != text.count(b"\n"):
        raise msgspec.DecodeError(_NOT_LINES)
    return [one.custom_id for one in read], results, outcomes


def closing_result(closing: Closing) -> bytes:
    """Give the result of a row for which the API has none, in the shape of the API's own."""
    if closing is Closing.CANCELED:
        return b'{"type":"canceled"}'
    error = {"type": closing.value, "message": _CLOSING_SENTENCES[closing]}
    inner = {"type": "error", "error": error, "request_id": None}
    return msgspec.json.encode({"type": "errored", "error": inner})


def rejected_result(rejection: Rejection) -> bytes:
    """Give the result of a row that was never sent."""
    return msgspec.json.encode({"type": "rejected", "error": rejection})


def output_line(row: int, custom_id: bytes | msgspec.Raw, result: bytes | msgspec.Raw) -> bytes:
    """Write a line of results.jsonl: the user's custom_id and the result, byte for byte."""
    return b'{"row":%d,"custom_id":%b,"result":%b}\n' % (row, bytes(custom_id), bytes(result))


class Counting:
    """Counts outcomes, and tokens by model, while results pass."""

    def __init__(self) -> None:
        self._outcomes, self._errors, self._stops = Counter[str](), Counter[str](), Counter[str]()
        self._usage: dict[str, list[int]] = defaultdict(lambda: [0] * 2 * len(_TOKENS))

    def add(self, outcome: Outcome) -> None:
        """Count one row."""
        self._outcomes[_name(outcome.type, self._outcomes)] += 1
        if outcome.message is not None:
            self._stops[_name(outcome.message.stop_reason or "none", self._stops)] += 1
            self._count_tokens(outcome.message)
        if outcome.type in _WITH_ERROR:
            self._errors[_name(outcome.error_type, self._errors)] += 1

    def _count_tokens(self, message: _Message) -> None:
        used = message.usage
        put_in, put_out = used.input_tokens or 0, used.output_tokens or 0
        written, read = used.cache_creation_input_tokens or 0, used.cache_read_input_tokens or 0
        made = used.cache_creation
        hour = (made.ephemeral_1h_input_tokens or 0) if made is not None else 0
        sums = self._usage[_name(message.model, self._usage)]
        at = len(_TOKENS) if is_long(message.model, put_in + written + read) else 0
        sums[at] += put_in
        sums[at + 1] += put_out
        sums[at + 2] += written - hour
        sums[at + 3] += hour
        sums[at + 4] += read

    def tally(self) -> Tally:
        """Give the counts so far."""
        names = (*_TOKENS, *("long_" + name for name in _TOKENS))
        return Tally(
            outcomes=dict(self._outcomes),
            errors=dict(self._errors),
            stops=dict(self._stops),
            usage={
                model: msgspec.convert(dict(zip(names, sums, strict=True)), Usage)
                for model, sums in self._usage.items()
            },
        )


def _name(name: str, counted: Mapping[str, object]) -> str:
    """Give the name under which something is counted."""
    if name in counted:
        return name
    fits = 0 < len(name) <= NAME_MOST and len(counted) < NAMES
    return name if fits else OTHER


def total(tallies: list[Tally]) -> Tally:
    """Add up the tallies of chunks."""
    sums = [Counter[str](), Counter[str](), Counter[str]()]
    usage: dict[str, Counter[str]] = defaultdict(Counter)
    for tally in tallies:
        for counts, more in zip(sums, (tally.outcomes, tally.errors, tally.stops), strict=True):
            counts.update(more)
        for model, used in tally.usage.items():
            usage[model].update(msgspec.to_builtins(used))
    outcomes, errors, stops = ({name: c[name] for name in sorted(c)} for c in sums)
    models = {model: msgspec.convert(dict(usage[model]), Usage) for model in sorted(usage)}
    return Tally(outcomes=outcomes, errors=errors, stops=stops, usage=models)
