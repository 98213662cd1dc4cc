"""Strategies for rows of other batch APIs: like real ones, but any value may be anything."""

import json
from typing import Any

from hypothesis import strategies as st

from tests.verification.fuzz.conversions import PROMPT

type Values = st.SearchStrategy[Any]

texts = st.sampled_from([PROMPT, "", "gpt-4o", "claude-haiku-4-5", "user", "assistant", "system", "tool", "auto", "\u2028", "=1"])  # fmt: skip
numbers = st.sampled_from([0, 1, -1, 5, 0.5, 1e300, 2**63, 300_000])
names = st.sampled_from(
    [
        "type", "text", "content", "role", "image_url", "url", "data", "input", "function", "name", "arguments", "parameters", "schema", "strict",
        "json_schema", "tool_calls", "tool_call_id", "id", "call_id", "output", "properties", "required", "items", "anyOf", "$ref", "$defs", "enum",
        "file", "file_data", "detail", "input_text", "source", "bytes", "format", "toolUse", "toolResult", "json", "toolSpec", "inputSchema",
        "anthropic_beta", "effort", "summary", "refusal", "media_type", "cachePoint", "budget_tokens", PROMPT,
    ]
)  # fmt: skip
types = st.sampled_from(
    [
        "text", "image_url", "input_text", "output_text", "input_image", "input_file", "function", "function_call", "function_call_output", "message",
        "reasoning", "json_schema", "json_object", "object", "array", "string", "number", "integer", "null", "auto", "none", "required", "any", "tool",
        "base64", "image", "document", "tool_use", "tool_result", "thinking", "enabled", "disabled", "data:image/png;base64,AAAA", "data:,x", "https://a/b.png",
    ]
)  # fmt: skip
anything = st.recursive(
    st.none() | st.booleans() | numbers | texts | types,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=10,
)
_typed = st.builds(lambda kind, more: {"type": kind, **more}, types, st.dictionaries(names, anything, max_size=3))  # fmt: skip
_content = texts | st.lists(_typed | anything, max_size=3)
_roles = st.sampled_from(["user", "assistant", "system", "developer", "tool", "function", PROMPT])
_messages = st.lists(
    st.fixed_dictionaries(
        {"role": _roles, "content": _content},
        optional={"name": texts, "tool_calls": st.lists(_typed, max_size=2) | anything, "tool_call_id": texts, "refusal": texts},
    )
    | _typed
    | anything,
    min_size=1,
    max_size=4,
)  # fmt: skip


def _mostly(usual: Values) -> Values:
    """Return a strategy that seldom draws something else."""
    return st.one_of(usual, usual, usual, usual, anything)


def _body(required: dict[str, Values], *optional: str) -> Values:
    return st.fixed_dictionaries(
        {name: _mostly(usual) for name, usual in required.items()},
        optional={name: _typed | anything | st.lists(_typed, max_size=2) for name in optional},
    )


_models = st.sampled_from(["gpt-4o", "gpt-5.2", "o3", "claude-haiku-4-5", "claude-sonnet-5-5", "publishers/anthropic/models/claude-sonnet-4-5@20250929"])  # fmt: skip
_chat = _body(
    {"model": _models, "messages": _messages},
    "temperature", "top_p", "n", "stop", "max_tokens", "max_completion_tokens", "tools", "tool_choice", "parallel_tool_calls", "response_format",
    "reasoning_effort", "user", "logprobs", "stream", "functions", "function_call", "modalities", "metadata", PROMPT,
)  # fmt: skip
_responses = _body(
    {"model": _models, "input": texts | _messages},
    "instructions", "max_output_tokens", "text", "tools", "tool_choice", "reasoning", "previous_response_id", "include", "truncation", "background", "store",
)  # fmt: skip
_completions = _body({"model": _models, "prompt": texts | st.lists(texts, max_size=2)}, "suffix", "echo", "stop", "max_tokens", "best_of", "n")  # fmt: skip
_invoke = _body(
    {"anthropic_version": texts, "max_tokens": numbers, "messages": _messages},
    "anthropic_beta", "system", "tools", "tool_choice", "thinking", "temperature", "modelId", "stop_sequences", "output_config",
)  # fmt: skip
_converse = _body(
    {"messages": _messages},
    "system", "inferenceConfig", "toolConfig", "additionalModelRequestFields", "guardrailConfig", "modelId", "performanceConfig", "outputConfig",
)  # fmt: skip
_urls = st.sampled_from(["/v1/chat/completions", "/v1/responses", "/v1/completions", "/v1/embeddings"])  # fmt: skip
_ids = texts | numbers | anything
_ROWS: dict[str, Values] = {
    "openai": st.fixed_dictionaries(
        {"custom_id": _ids, "body": _mostly(_chat | _responses | _completions)},
        optional={"method": st.just("POST") | anything, "url": _urls | anything},
    ),
    "bedrock": st.fixed_dictionaries(
        {"modelInput": _mostly(_invoke | _converse)}, optional={"recordId": _ids, "modelId": _models}
    ),
    "vertex": st.fixed_dictionaries({"request": _mostly(_invoke)}, optional={"custom_id": _ids}),
    "template": st.dictionaries(st.sampled_from(["id", "a", "b", "body", "c"]), anything),
    "defaults": st.fixed_dictionaries({"custom_id": _ids, "params": _mostly(_invoke)}),
}  # fmt: skip

KINDS = tuple(_ROWS)


def uploads_of(kind: str) -> st.SearchStrategy[bytes]:
    """Return uploads of one kind, with the leading byte of their target."""
    lines = st.lists(_ROWS[kind].map(lambda row: json.dumps(row).encode()), min_size=1, max_size=3)
    return st.builds(
        lambda code, rows: bytes([code]) + b"\n".join(rows), st.integers(0, 15), lines
    )
