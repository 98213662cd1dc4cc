"""Read the rows and errors that a report shows: few, and each shortened."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from functions.errors import UNREADABLE_JSON
from functions.model import loose_json
from functions.model.api_results import count_empty, read_result
from functions.model.items.counts import TRUNCATED_STOPS
from functions.model.output_lines import OutputLine

MAX_ID_CHARS, MAX_PROMPT_CHARS, MAX_ANSWER_CHARS = 64, 300, 400
MAX_SENTENCES, MAX_FIRST_ROWS = 3, 5
"""Sentences shown for one error, and rows shown for each."""
NO_TEXT = "(not text; see results.jsonl)"
_NUMBER = re.compile(r"\d+")
_SENTENCES = {
    "expired": "The Message Batch ended before the API answered this row.",
    "canceled": "The row was canceled before the API answered it.",
}
_NO_PROMPT = "(no text in the last message)"


class ReportRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row as the report shows it.

    Attributes:
        row: its number, from 1.
        custom_id: the user's, shortened; empty if there is none.
        outcome: succeeded, errored, expired, canceled or rejected.
        flags: what else to know: its error, ``truncated``, ``empty``.
        answer: the answer, or the error's sentence, shortened.
        tokens: input and output tokens; None if there are none.
    """

    row: int
    custom_id: str
    outcome: str
    flags: tuple[str, ...]
    answer: str
    tokens: tuple[int, int] | None = None

    @property
    def error(self) -> str:
        """The type of its error, the code of its rejection, or its outcome if it has neither."""
        return self.flags[0] if self.flags else self.outcome


class ErrorGroup(msgspec.Struct, kw_only=True):
    """The rows that ended with one error.

    Attributes:
        error: the type of the error, the code of the rejection, or the outcome of a row without either.
        count: how many rows.
        sentences: sentence → the first rows that have it; only of rows that were read.
    """

    error: str
    count: int
    sentences: dict[str, list[int]]


class _Block(msgspec.Struct, frozen=True, gc=False):
    type: str = ""
    text: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw(b"")


class _Usage(msgspec.Struct, frozen=True, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None


class _Message(msgspec.Struct, frozen=True, gc=False):
    content: list[_Block] = []
    stop_reason: str | None = None
    usage: _Usage = _Usage()


class _Error(msgspec.Struct, frozen=True, gc=False):
    """The error of a rejection, or the API's: an envelope around another one."""

    message: str | None = None
    error: "_Error | None" = None


class _Result(msgspec.Struct, frozen=True, gc=False):
    message: _Message | None = None
    error: _Error = _Error()


class _Turn(msgspec.Struct, frozen=True, gc=False):
    role: str = ""
    content: str | list[_Block] = ""


class _Params(msgspec.Struct, frozen=True, gc=False):
    messages: list[_Turn] = []


_result = msgspec.json.Decoder(_Result)
_params = msgspec.json.Decoder(_Params)


def shorten(text: str, chars: int) -> str:
    """Return a text in at most this many characters; one that is cut ends with an ellipsis."""
    return text if len(text) <= chars else text[: chars - 1].rstrip() + "…"


def read_row(line: OutputLine) -> ReportRow:
    """Return a line of results.jsonl or errors.jsonl as the report shows it."""
    outcome = read_result(line.result)
    custom_id = shorten(_plain(bytes(line.custom_id)), MAX_ID_CHARS)
    try:
        result = loose_json.decode(_result, bytes(line.result))
    except UNREADABLE_JSON:
        result = _Result(_Message([_Block("text", NO_TEXT)]))
    if outcome.type != "succeeded":
        sentence = (result.error.error or result.error).message or _SENTENCES.get(outcome.type, "")
        named = (outcome.error_type,) if outcome.type in {"errored", "rejected"} else ()
        answer = shorten(sentence, MAX_ANSWER_CHARS)
        return ReportRow(
            row=line.row, custom_id=custom_id, outcome=outcome.type, flags=named, answer=answer
        )
    message = result.message or _Message()
    stop, empty = (
        message.stop_reason,
        outcome.message is not None and count_empty([outcome.message]),
    )
    flags = [*(["truncated"] if stop in TRUNCATED_STOPS else []), *(["empty"] if empty else [])]
    return ReportRow(
        row=line.row,
        custom_id=custom_id,
        outcome=outcome.type,
        flags=tuple(flags),
        answer=shorten(_text_of(message.content, MAX_ANSWER_CHARS), MAX_ANSWER_CHARS),
        tokens=_tokens(message.usage),
    )


def prompt_of(params: bytes) -> str:
    """Return the last message of a request, shortened."""
    try:
        turns = _params.decode(params).messages
    except UNREADABLE_JSON:
        return _NO_PROMPT
    content = turns[-1].content if turns else ""
    if not isinstance(content, str):
        content = _text_of(content, MAX_PROMPT_CHARS)
    return shorten(content.strip(), MAX_PROMPT_CHARS) or _NO_PROMPT


def _text_of(blocks: Sequence[_Block], chars: int) -> str:
    """Return the beginning of what blocks say. One that is not text is named."""
    return " ".join(filter(None, (_block_text(block, chars) for block in blocks)))


def _block_text(block: _Block, chars: int) -> str:
    match block.type:
        case "text":
            return (block.text or "")[: chars + 1]
        case "thinking" | "redacted_thinking":
            return ""
        case "tool_use":
            return f"[{block.name}({bytes(memoryview(block.input)[:chars]).decode(errors='replace')})]"
        case other:
            return f"[{other}]"


def _tokens(usage: _Usage) -> tuple[int, int] | None:
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    cached = (usage.cache_creation_input_tokens or 0) + (usage.cache_read_input_tokens or 0)
    return usage.input_tokens + cached, usage.output_tokens


def _plain(value: bytes) -> str:
    """Return a JSON value as text: a string without quotes, null empty, anything else as JSON."""
    try:
        decoded: Any = msgspec.json.decode(value)
    except UNREADABLE_JSON:
        return value[:MAX_ID_CHARS].decode(errors="replace")
    if isinstance(decoded, str):
        return decoded
    return "" if decoded is None else value[: MAX_ID_CHARS + 1].decode(errors="replace")


def group_errors(counts: Mapping[str, int], failed: Iterable[ReportRow]) -> list[ErrorGroup]:
    """Group failed rows by error, the most frequent first. Sentences that differ in numbers alone are shown once.

    Args:
        counts: error, or outcome without one → all its rows.
        failed: those of its rows that were read, in order.
    """
    groups = {
        error: ErrorGroup(error=error, count=count, sentences={})
        for error, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    }
    shown: dict[tuple[str, str], str] = {}
    for row in failed:
        group = groups.get(row.error)
        if group is None:
            continue
        like = row.error, _NUMBER.sub("", row.answer)
        if like not in shown and len(group.sentences) < MAX_SENTENCES:
            shown[like] = row.answer
        first = group.sentences.setdefault(shown[like], []) if like in shown else []
        if len(first) < MAX_FIRST_ROWS:
            first.append(row.row)
    return [*groups.values()]
