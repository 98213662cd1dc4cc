"""How rows end: which results are worth another attempt, and how a chunk's rows are counted.

Source of the classes: https://platform.claude.com/docs/en/build-with-claude/batch-processing
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Annotated, NamedTuple

import msgspec

from functions.model.ids import ROW_DIGITS
from functions.model.items import CloseReason, OutcomeCounts, Usage
from functions.model.pricing import long_above
from functions.model.rows import Rejection, can_be_reparsed

RETRIABLE_ERRORS = frozenset(
    {"api_error", "overloaded_error", "timeout_error", "rate_limit_error"}
)
"""Error types that another attempt may mend; an unknown one may not, and is not paid for again."""

LONG = 10_000
"""A result shorter than this, in bytes, has 5,000 levels at the most; the parser goes to nearly 10,000, CPython's on Linux."""
NAMES, NAME_MOST = 50, 100
"""Kinds that are counted apart in a chunk, and how long their names may be: a tally has to fit into an item."""
OTHER = "other"

_Tokens = Annotated[int, msgspec.Meta(ge=0, le=10**12)] | None
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_NOT_JSON = "broken UTF-8, or nested too deeply"
_CLOSING_SENTENCES = {
    CloseReason.GONE: "the batch was deleted or archived at Anthropic before its results were fetched",
    CloseReason.MISSING: "the batch ended without a result for this row, in several downloads",
    CloseReason.STUCK: "the relay could not process this row's batch in several tries; see its logs",
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

    @property
    def prompt_tokens(self) -> int:
        """All tokens of the prompt, wherever they came from."""
        written, read = self.cache_creation_input_tokens or 0, self.cache_read_input_tokens or 0
        return (self.input_tokens or 0) + written + read


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


def closing_result(closing: CloseReason) -> bytes:
    """Give the result of a row for which the API has none, in the shape of the API's own."""
    if closing is CloseReason.CANCELED:
        return b'{"type":"canceled"}'
    error = {"type": closing.value, "message": _CLOSING_SENTENCES[closing]}
    inner = {"type": "error", "error": error, "request_id": None}
    return msgspec.json.encode({"type": "errored", "error": inner})


def rejected_result(rejection: Rejection) -> bytes:
    """Give the result of a row that was never sent."""
    return msgspec.json.encode({"type": "rejected", "error": rejection})


LINE_END = b"}\n"


def line_head(row: int, custom_id: bytes | msgspec.Raw) -> bytes:
    """Write what stands before the result in a line of results.jsonl: the row, and the user's custom_id byte for byte."""
    return b'{"row":%d,"custom_id":%b,"result":' % (row, custom_id)


def output_line(row: int, custom_id: bytes | msgspec.Raw, result: bytes) -> bytes:
    """Write a line of results.jsonl; the result, too, is as it came."""
    return b"".join((line_head(row, custom_id), result, LINE_END))


class OutcomeCounter:
    """Counts outcomes, and tokens by model, while results pass.

    Args:
        prices: the price list that says which prompts are long; the newest if left out.
    """

    def __init__(self, prices: str | None = None) -> None:
        self._prices = prices
        self._outcomes, self._errors, self._stops = Counter[str](), Counter[str](), Counter[str]()
        self._usage: dict[str, list[int]] = defaultdict(lambda: [0] * 2 * len(_TOKENS))

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Count rows, one thing of all of them after the other: row by row, it would take twice as long."""
        messages = [outcome.message for outcome in outcomes if outcome.message is not None]
        _count([outcome.type for outcome in outcomes], self._outcomes)
        _count([message.stop_reason or "none" for message in messages], self._stops)
        _count([one.error_type for one in outcomes if one.type in _WITH_ERROR], self._errors)
        used = defaultdict[str, list[_Usage]](list)
        for message in messages:
            used[message.model].append(message.usage)
        for model, usages in used.items():
            self._count_tokens(model, usages)

    def _count_tokens(self, model: str, usages: Sequence[_Usage]) -> None:
        above = long_above(model, self._prices)
        short, long = usages, list[_Usage]()
        if above is not None:
            short = [used for used in usages if used.prompt_tokens <= above]
            long = [used for used in usages if used.prompt_tokens > above]
        sums = self._usage[_name(model, self._usage)]
        for place, tokens in enumerate((*_sums(short), *_sums(long))):
            sums[place] += tokens

    def tally(self) -> OutcomeCounts:
        """Give the counts so far."""
        names = (*_TOKENS, *("long_" + name for name in _TOKENS))
        return OutcomeCounts(
            outcomes=dict(self._outcomes),
            errors=dict(self._errors),
            stops=dict(self._stops),
            usage={
                model: msgspec.convert(dict(zip(names, sums, strict=True)), Usage)
                for model, sums in self._usage.items()
            },
        )


def _count(names: Sequence[str], counts: Counter[str]) -> None:
    for name, times in Counter(names).items():
        counts[_name(name, counts)] += times


def _sums(usages: Sequence[_Usage]) -> tuple[int, int, int, int, int]:
    """Add up tokens, in the order of their names."""
    made = [used.cache_creation for used in usages if used.cache_creation is not None]
    hour = sum([one.ephemeral_1h_input_tokens or 0 for one in made])
    return (
        sum([used.input_tokens or 0 for used in usages]),
        sum([used.output_tokens or 0 for used in usages]),
        sum([used.cache_creation_input_tokens or 0 for used in usages]) - hour,
        hour,
        sum([used.cache_read_input_tokens or 0 for used in usages]),
    )


def _name(name: str, counted: Mapping[str, object]) -> str:
    """Give the name under which something is counted."""
    if name in counted:
        return name
    fits = 0 < len(name) <= NAME_MOST and len(counted) < NAMES
    return name if fits else OTHER


def total(tallies: list[OutcomeCounts]) -> OutcomeCounts:
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
    return OutcomeCounts(outcomes=outcomes, errors=errors, stops=stops, usage=models)
