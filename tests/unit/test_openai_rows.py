"""Rows of OpenAI's Batch API: which ones are recognized, and that nothing in one can break planning."""

import copy
import re
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from functions.translations import openai
from functions.translations.contract import (
    NotTranslatableError,
    Policy,
    Translated,
    Translation,
)

HI = [{"role": "user", "content": "Hi"}]
BODY: dict[str, Any] = {"model": "claude-opus-4-8", "max_tokens": 5, "messages": HI}
CHAT = "/v1/chat/completions"
TRANSLATION: Translation = openai
SECRET = "Zq7 secret"


MATCHES = [
    ({"custom_id": "a", "method": "POST", "url": CHAT, "body": BODY}, True),
    ({"custom_id": "a", "body": BODY}, True),
    ({"body": {}}, True),
    ({"method": "POST", "url": CHAT, "body": "text"}, True),
    ({"method": "POST", "url": CHAT}, True),
    ({"custom_id": "a", "params": BODY}, False),
    ({"custom_id": "a", "params": BODY, "body": BODY}, False),
    ({"subject": "a column of a table", "body": "text"}, False),
    ({"url": "https://example.com", "title": "x"}, False),
    ({"recordId": "a", "modelInput": BODY}, False),
    ({}, False),
]


@pytest.mark.parametrize(("row", "expected"), MATCHES)
def test_a_row_is_recognized_by_its_members(row: dict[str, Any], *, expected: bool) -> None:
    assert TRANSLATION.matches(row) is expected


URLS = [
    ("/v1/chat/completions", "messages"),
    ("/chat/completions", "messages"),
    (
        "https://x.openai.azure.com/openai/deployments/d/chat/completions?api-version=2026-01-01",
        "messages",
    ),
    ("/v1/chat/completions/", "messages"),
    (None, "messages"),
    ("/v1/responses", "input"),
    ("/v1/completions", "prompt"),
]


@pytest.mark.parametrize(("url", "prompt"), URLS)
def test_the_end_of_the_url_says_what_the_body_is(url: str | None, prompt: str) -> None:
    body = {"model": "claude-opus-4-8", prompt: HI if prompt == "messages" else "Hi"}
    found = TRANSLATION.translate({"url": url, "body": body}, Policy())

    assert found.params["messages"] == HI


REJECTED = [
    ("endpoint_unsupported", {"url": "/v1/embeddings", "body": BODY}),
    ("endpoint_unsupported", {"url": "/v1/moderations", "body": BODY}),
    ("endpoint_unsupported", {"url": "/v1/images/generations", "body": BODY}),
    ("endpoint_unsupported", {"url": "/v1/images/edits", "body": BODY}),
    ("endpoint_unsupported", {"url": "/v1/videos", "body": BODY}),
    ("endpoint_unsupported", {"url": 5, "body": BODY}),
    ("endpoint_unsupported", {"url": "", "body": BODY}),
    ("method_unsupported", {"url": CHAT, "method": "GET", "body": BODY}),
    ("method_unsupported", {"url": CHAT, "method": 5, "body": BODY}),
    ("no_body", {"url": CHAT, "method": "POST"}),
    ("no_body", {"url": CHAT, "method": "POST", "body": "text"}),
]


@pytest.mark.parametrize(("code", "row"), REJECTED)
def test_other_rows_are_rejected(code: str, row: dict[str, Any]) -> None:
    with pytest.raises(NotTranslatableError) as caught:
        TRANSLATION.translate(row, Policy())
    assert caught.value.code == code


@pytest.mark.parametrize("method", [None, "POST", "post"])
def test_the_method_may_be_omitted(method: str | None) -> None:
    assert TRANSLATION.translate({"method": method, "body": BODY}, Policy()).params


@pytest.mark.parametrize(
    ("custom_id", "expected"),
    [
        ("a", "a"),
        (5, 5),
        (1.5, 1.5),
        ("", ""),
        (None, None),
        (True, None),
        ({"a": 1}, None),
        ([], None),
    ],
)
def test_the_custom_id_is_a_string_or_a_number(custom_id: Any, expected: Any) -> None:
    assert (
        TRANSLATION.translate({"custom_id": custom_id, "body": BODY}, Policy()).custom_id
        == expected
    )


def test_a_row_stays_as_it_is() -> None:
    for row in SAMPLES:
        before = copy.deepcopy(row)
        TRANSLATION.translate(row, Policy(models={"*": "claude-haiku-4-5"}))
        assert row == before


# Any change to a good row is translated or rejected with a sentence that quotes nothing.
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string", "minLength": 2}},
    "required": ["a"],
}
SAMPLES: list[dict[str, Any]] = [
    {"custom_id": "a", "method": "POST", "url": CHAT, "body": {
        "model": "gpt-4o", "max_tokens": 100, "temperature": 0.5, "top_p": 0.5, "n": 1, "stop": ["a", "b"], "user": "u",
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}},
        "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA, "strict": True}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": False,
        "reasoning_effort": "low", "metadata": {"a": "b"}, "anthropic_beta": ["b-1"],
        "output_config": {"effort": "low"}, "cache_control": {"type": "ephemeral"},
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}]},
            {"role": "user", "name": "Ann", "content": [
                {"type": "text", "text": "t"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO", "detail": "high"}},
                {"type": "file", "file": {"file_data": "data:text/plain;base64,SGk=", "filename": "a"}}]},
            {"role": "assistant", "content": "x", "refusal": None,
             "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":[1]}'}}]},
            {"role": "tool", "tool_call_id": "c", "content": "r"}]}},
    {"custom_id": 5, "url": CHAT, "body": {
        "model": "claude-sonnet-5-5", "max_completion_tokens": 100, "functions": [{"name": "f"}],
        "function_call": {"name": "f"}, "thinking": {"type": "adaptive"}, "system": "s",
        "messages": [
            {"role": "user", "content": "t"},
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "r"}]}},
    {"custom_id": "a", "url": "/v1/responses", "body": {
        "model": "claude-opus-5-5", "max_output_tokens": 100, "instructions": "i", "top_k": 3,
        "reasoning": {"effort": "high", "summary": "auto"}, "text": {"format": {"type": "json_schema", "schema": SCHEMA}},
        "tools": [{"type": "function", "name": "f", "parameters": SCHEMA}],
        "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
        "input": [
            {"role": "user", "content": [
                {"type": "input_text", "text": "t"}, {"type": "input_image", "image_url": "https://x.de/a"},
                {"type": "input_file", "file_url": "https://x.de/a.pdf"}]},
            {"type": "reasoning"},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "r"}]}]}},
    {"custom_id": "a", "url": "/v1/completions", "body": {
        "model": "gpt-3.5", "prompt": "p", "max_tokens": 5, "stop": "x", "suffix": "", "echo": False}},
]  # fmt: skip

type Path = tuple[str | int, ...]


def places(value: Any, path: Path = ()) -> list[Path]:
    """Return where a value may be replaced: the paths of all that is in it."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [place for key, one in inner for place in [(*path, key), *places(one, (*path, key))]]


def nested(depth: int) -> Any:
    value: Any = SECRET
    for _ in range(depth):
        value = {"properties": [value]}
    return value


_scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=6)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0, 1, -1, 1e300, SECRET, "", " ", "auto", "none", "function", "user", "assistant", "tool",
                       "json_schema", "{}", "[]", "[" * 20_000, "claude-x", "data:,", "data:text/plain;base64,é",
                       "https://", "file_", "\ud7ff", "9" * 5000])
)  # fmt: skip
_names = st.sampled_from(
    ["type", "role", "content", "text", "name", "id", "url", "function", "parameters", "arguments", "schema",
     "properties", "$ref", "anyOf", "refusal", "file_id", "effort", "cache_control", SECRET]
)  # fmt: skip
_json = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(_names | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=8,
)
_hostile = _json | st.sampled_from([nested(50), nested(150), nested(400)])
_changes = st.lists(st.tuples(st.integers(0, 10_000), _hostile), min_size=1, max_size=3)
_policies = st.sampled_from([
    Policy(models={"*": "claude-haiku-4-5"}, api_version="2023-06-01"),
    Policy(models={"*": "claude-sonnet-5"}, reject_unsupported=True),
    Policy(),
])  # fmt: skip


def replaced(value: Any, path: Path, new: Any) -> Any:
    """Return a value with another one at a path, or as it is if the path is no longer there."""
    if not path:
        return new
    key, rest = path[0], path[1:]
    if isinstance(value, dict) and key in value:
        return value | {key: replaced(value[key], rest, new)}
    if isinstance(value, list) and isinstance(key, int) and key < len(value):
        return [*value[:key], replaced(value[key], rest, new), *value[key + 1 :]]
    return value


def as_read(row: Any) -> dict[str, Any]:
    """Return a row as planning reads it."""
    read: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(row))
    return read


def outcome(row: dict[str, Any], policy: Policy) -> Translated | NotTranslatableError:
    TRANSLATION.matches(row)
    try:
        return TRANSLATION.translate(row, policy)
    except NotTranslatableError as rejected:
        return rejected


def holds(row: dict[str, Any], policy: Policy) -> None:
    found = outcome(row, policy)
    if isinstance(found, NotTranslatableError):
        assert re.fullmatch(r"[a-z_]+", found.code)
        assert re.fullmatch(r"[^\n]{10,900}[^.\n]", str(found))
        assert SECRET not in str(found)
    else:
        assert as_read(found.params)["max_tokens"] >= 1
        assert all(re.fullmatch(r"[a-z_.]+", change) for change in found.changes)


@given(st.sampled_from(SAMPLES), _changes, _policies)
@settings(max_examples=300)
def test_any_change_to_a_row_is_translated_or_rejected(
    row: dict[str, Any], changes: list[tuple[int, Any]], policy: Policy
) -> None:
    all_places = places(row)
    for number, value in changes:
        row = replaced(row, all_places[number % len(all_places)], value)
    holds(as_read(row), policy)


@given(st.sampled_from([CHAT, "/v1/responses", "/v1/completions"]), st.data())
@settings(max_examples=100)
def test_any_body_is_translated_or_rejected(url: str, data: st.DataObject) -> None:
    (sample,) = [row for row in SAMPLES if row["url"] == url][:1]
    body = {
        name: data.draw(_hostile | st.just(value), label=name)
        for name, value in sample["body"].items()
    }
    holds({"url": url, "body": as_read(body)}, Policy())


@given(_json)
@example({"url": CHAT, "body": {"messages": []}})
def test_any_row_is_translated_or_rejected(row: Any) -> None:
    if isinstance(row, dict):
        holds(as_read(row), Policy())


def test_the_samples_can_be_translated() -> None:
    """Behind a fault in one, nothing would ever be tested."""
    for row in SAMPLES:
        assert TRANSLATION.translate(row, Policy(models={"*": "claude-haiku-4-5"})).params


def deep_members(depth: int) -> list[dict[str, Any]]:
    """Return members of a body that are sent verbatim, nested twice as many levels deep."""
    deep = {"x": nested(depth)}
    arguments = msgspec.json.encode(deep).decode()
    call = {"id": "c", "function": {"name": "f", "arguments": arguments}}
    answered = [
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "r"},
    ]
    return [
        {"thinking": deep},
        {"output_config": deep},
        {"cache_control": deep},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": deep}}]},
        {"messages": [*HI, *answered]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": deep}]}]},
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(6))
def test_what_is_sent_verbatim_is_nested_at_most_100_levels_deep(number: int) -> None:
    fitting, too_deep = (BODY | deep_members(depth)[number] for depth in (48, 51))

    assert isinstance(outcome({"body": fitting}, Policy()), Translated)
    assert isinstance(outcome({"body": too_deep}, Policy()), NotTranslatableError)


@pytest.mark.parametrize("depth", [51, 2_000])
def test_a_deep_schema_is_not_sent(depth: int) -> None:
    for schema in (
        {"x": nested(depth)},
        {"properties": nested(depth)},
        {"type": "array", "items": nested(depth)},
    ):
        answer = {"type": "json_schema", "json_schema": {"schema": schema}}
        holds({"body": BODY | {"response_format": answer}}, Policy())


def test_many_tool_calls_with_ids_that_become_the_same_take_no_time() -> None:
    calls = [
        {"id": f"é{'!?'[n % 2]}", "function": {"name": "f", "arguments": "{}"}}
        for n in range(5_000)
    ]
    answers = [{"role": "tool", "tool_call_id": "é?", "content": "r"}]
    messages = [*HI, {"role": "assistant", "tool_calls": calls}, *answers]

    holds({"body": BODY | {"messages": messages}}, Policy())
