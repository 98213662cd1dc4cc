"""Read Claude's messages for an export. What has an unexpected shape is left out, because nothing here may fail."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

_CACHE_WRITES, _CACHE_READS = "cache_creation_input_tokens", "cache_read_input_tokens"


class ToolCall(NamedTuple):
    """A tool call. Its arguments are JSON in a string."""

    id: str
    name: str
    arguments: str


class Tokens(NamedTuple):
    """The tokens of a message: `prompt` includes those written to and read from the cache."""

    prompt: int
    cache_writes: int
    cache_reads: int
    answer: int
    thinking: int


class Answer(NamedTuple):
    """A message, reduced to what OpenAI's shapes can hold.

    Attributes:
        id: the message's id.
        model: the model that wrote it.
        text: its texts, joined; None if it has none. Thinking is left out.
        calls: its tool calls.
        stop_reason: the API's own word.
        refusal: why the model refused; None if it did not.
        tokens: its tokens.
    """

    id: str
    model: str
    text: str | None
    calls: Sequence[ToolCall]
    stop_reason: str
    refusal: str | None
    tokens: Tokens


def read_answer(value: object) -> Answer:
    """Read a message of the API."""
    message = members(value)
    content = message.get("content")
    blocks = [members(block) for block in content] if isinstance(content, list) else []
    texts = [string(block.get("text")) for block in blocks if block.get("type") == "text"]
    stop_reason = string(message.get("stop_reason"))
    return Answer(
        id=string(message.get("id")),
        model=string(message.get("model")),
        text="".join(texts) or None,
        calls=[_call(block) for block in blocks if block.get("type") == "tool_use"],
        stop_reason=stop_reason,
        refusal=_refusal(message) if stop_reason == "refusal" else None,
        tokens=_tokens(members(message.get("usage"))),
    )


def members(value: object) -> Mapping[str, Any]:
    """Return an object; an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def string(value: object) -> str:
    """Return a string; an empty one for anything else."""
    return value if isinstance(value, str) else ""


def _call(block: Mapping[str, Any]) -> ToolCall:
    arguments = msgspec.json.encode(block.get("input") or {}).decode()
    return ToolCall(string(block.get("id")), string(block.get("name")), arguments)


def _refusal(message: Mapping[str, Any]) -> str:
    details = members(message.get("stop_details"))
    category = string(details.get("category"))
    reason = f" (category: {category})" if category else ""
    return string(details.get("explanation")) or f"Claude refused to answer{reason}."


def _tokens(usage: Mapping[str, Any]) -> Tokens:
    writes, reads = _count(usage.get(_CACHE_WRITES)), _count(usage.get(_CACHE_READS))
    details = members(usage.get("output_tokens_details"))
    return Tokens(
        prompt=_count(usage.get("input_tokens")) + writes + reads,
        cache_writes=writes,
        cache_reads=reads,
        answer=_count(usage.get("output_tokens")),
        thinking=_count(details.get("thinking_tokens")),
    )


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0
