"""Outcomes of rows, and how they are counted."""

import json
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.model.api_results import (
    RETRYABLE_ERRORS,
    parse_uniform_lines,
    read_line,
    read_result,
)
from functions.model.ids import custom_id_template
from functions.model.items.batch import CloseReason
from functions.model.items.counts import OutcomeCounts, Usage
from functions.model.outcome_counter import MEMBERS, NAMES, OutcomeCounter, total
from functions.model.output_lines import output_line, read_output_lines
from functions.model.rows import Rejection
from functions.model.synthetic_results import closed_result, rejected_result


def errored(error_type: str) -> bytes:
    inner = {"type": "error", "error": {"type": error_type, "message": "m"}, "request_id": None}
    return json.dumps({"type": "errored", "error": inner}).encode()


def succeeded(
    model: str = "claude-haiku-4-5", stop_reason: str | None = "end_turn", **usage: Any
) -> bytes:
    message: dict[str, Any] = {"id": "msg_1", "type": "message", "model": model, "content": []}
    message |= {"stop_reason": stop_reason, "usage": usage}
    return json.dumps({"type": "succeeded", "message": message}).encode()


# Copied from the API reference.
RETRYABLE = ["api_error", "overloaded_error", "timeout_error", "rate_limit_error"]
NOT_RETRYABLE = [
    "invalid_request_error", "authentication_error", "permission_error", "billing_error", "not_found_error",
    "invented_error", "result_missing",
]  # fmt: skip


@pytest.mark.parametrize("error_type", RETRYABLE)
def test_a_transient_error_is_retryable(error_type: str) -> None:
    assert read_result(errored(error_type)).retryable


@pytest.mark.parametrize("error_type", NOT_RETRYABLE)
def test_a_permanent_error_is_not_retryable(error_type: str) -> None:
    assert not read_result(errored(error_type)).retryable
    assert read_result(errored(error_type)).error_type == error_type


@pytest.mark.parametrize(
    ("result", "is_retryable"),
    [
        (b'{"type":"expired"}', True),
        (b'{"type":"canceled"}', False),
        (b'{"type":"invented","more":[1]}', False),
        (succeeded(), False),
        (succeeded(stop_reason="refusal"), False),
        (rejected_result(Rejection("no_params", "line 1: no", 1)), False),
    ],
)
def test_of_the_other_results_only_expired_is_retryable(result: bytes, is_retryable: bool) -> None:  # noqa: FBT001
    assert read_result(result).retryable is is_retryable


@pytest.mark.parametrize(
    "close_reason", [reason for reason in CloseReason if reason is not CloseReason.KEPT]
)
def test_a_row_without_a_result_gets_a_synthetic_one_that_is_not_retryable(
    close_reason: CloseReason,
) -> None:
    result = read_result(closed_result(close_reason))

    assert not result.retryable
    if close_reason is CloseReason.CANCELED:
        assert closed_result(close_reason) == b'{"type":"canceled"}'
    else:
        assert (result.type, result.error_type) == ("errored", close_reason.value)
        assert len(json.loads(closed_result(close_reason))["error"]["error"]["message"]) > 20


@given(st.integers(1, 10**9), st.text(), st.dictionaries(st.text(), st.text()))
def test_an_output_line_contains_id_and_result_byte_for_byte(
    row: int, custom_id_text: str, result: dict[str, str]
) -> None:
    custom_id, raw_result = (
        json.dumps(custom_id_text).encode(),
        json.dumps(result, indent=None).encode(),
    )

    line = output_line(row, msgspec.Raw(custom_id), raw_result)

    assert line == b'{"row":%d,"custom_id":%b,"result":%b}\n' % (row, custom_id, raw_result)
    assert json.loads(line) == {"row": row, "custom_id": custom_id_text, "result": result}


def test_a_line_of_the_api_keeps_its_raw_result() -> None:
    line = read_line(b'{"custom_id":"a", "new": 1, "result" : { "type":"expired" } }')

    assert (line.custom_id, bytes(line.result)) == ("a", b'{ "type":"expired" }')


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b'{"custom_id":1,"result":{}}', b'{"result":{}}'])  # fmt: skip
def test_an_invalid_line_raises_a_decode_error(line: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        read_line(line)


def count_outcomes(*results: bytes) -> OutcomeCounts:
    counter = OutcomeCounter()
    counter.add([read_result(result) for result in results])
    return counter.tally()


def test_outcomes_errors_and_stop_reasons_are_counted_separately() -> None:
    rejection = rejected_result(Rejection("no_params", "line 1: no", 1))

    counts = count_outcomes(
        succeeded(), succeeded(stop_reason="refusal"), succeeded(stop_reason=None), errored("api_error"), errored("new"),
        b'{"type":"expired"}', b'{"type":"invented"}', rejection,
    )  # fmt: skip

    assert counts.outcomes == {
        "succeeded": 3, "errored": 2, "expired": 1, "invented": 1, "rejected": 1,
    }  # fmt: skip
    assert counts.errors == {"api_error": 1, "new": 1, "no_params": 1}
    assert counts.stops == {"end_turn": 1, "refusal": 1, "none": 1}


def answered(content: str, **message: Any) -> bytes:
    """Build a result as the API writes it: compact, and with this content as JSON."""
    head = {"model": "claude-haiku-4-5", "stop_reason": "end_turn", "usage": TOKENS} | message
    members = json.dumps(head, separators=(",", ":"))[1:]
    return f'{{"type":"succeeded","message":{{"content":{content},{members}}}'.encode()


TOKENS: dict[str, Any] = {"input_tokens": 10, "output_tokens": 20}
THINKING = '{"type":"thinking","thinking":"hm","signature":"x"}'
TOOL_USE = '{"type":"tool_use","id":"t","name":"f","input":{}}'
CONTENTS = [
    ("text", '[{"type":"text","text":"Yes."}]', 0),
    ("text after white space", '[{"type":"text","text":"\\n Yes."}]', 0),
    ("text in another form", '[ {"citations": null, "text": "Yes.", "type": "text"} ]', 0),
    ("a tool", f"[{TOOL_USE}]", 0),
    ("a tool after blank text", f'[{{"type":"text","text":""}},{TOOL_USE}]', 0),
    ("thinking and text", f'[{THINKING},{{"type":"text","text":"Yes."}}]', 0),
    ("a block that is invented later", '[{"type":"invented"}]', 0),
    ("content of an unknown shape", '"Yes."', 0),
    ("no block", "[]", 1),
    ("no text", '[{"type":"text","text":""}]', 1),
    ("blank text", '[{"type":"text","text":" \\n\\t"}]', 1),
    ("only thinking", f'[{THINKING},{{"type":"redacted_thinking","data":"x"}}]', 1),
    ("thinking and blank text", f'[{THINKING},{{"type":"text","text":"\\n"}}]', 1),
]


@pytest.mark.parametrize(("content", "empty"), [case[1:] for case in CONTENTS], ids=[case[0] for case in CONTENTS])  # fmt: skip
def test_an_answer_without_text_and_tool_use_is_counted_as_empty(content: str, empty: int) -> None:
    assert count_outcomes(answered(content)).empty_answers == empty


@pytest.mark.parametrize("container", [None, {"id": "c"}], ids=["plain", "odd"])
def test_lines_count_the_same_whether_read_together_or_one_by_one(
    container: object,
) -> None:
    results = [answered(content, container=container) for _, content, _ in CONTENTS]
    template = custom_id_template("0" * 20, "00001", 1)
    lines = [b'{"custom_id":"%b","result":%b}' % (template % row, result) for row, result in enumerate(results, 1)]  # fmt: skip
    together, counter = parse_uniform_lines(b"\n".join(lines), template), OutcomeCounter()
    assert together is not None
    counter.add(together.outcomes)

    assert counter.tally() == count_outcomes(*results)
    assert counter.tally().empty_answers == sum(empty for *_, empty in CONTENTS)


def test_only_answers_that_lack_tokens_are_truncated() -> None:
    reasons = ["max_tokens", "model_context_window_exceeded", "end_turn", "refusal", None]

    counts = count_outcomes(*(succeeded(stop_reason=reason) for reason in reasons))

    assert counts.truncated == 2
    assert total([counts, counts]).truncated == 4
    assert total([counts, counts]).empty_answers == 2 * counts.empty_answers == 10


def used_by(*usages: Any, model: str = "claude-opus-5-5") -> Usage:
    """Count answers of one model with these usages."""
    results = [
        {
            "type": "succeeded",
            "message": {"model": model, "stop_reason": "end_turn", "usage": usage},
        }
        for usage in usages
    ]
    return count_outcomes(*map(msgspec.json.encode, results)).usage[model]


def test_tokens_are_counted_by_model_and_price() -> None:
    long: dict[str, Any] = {"input_tokens": 100_001, "output_tokens": 7}
    short: dict[str, Any] = {"input_tokens": 100_000, "output_tokens": 5}
    cached: dict[str, Any] = {
        "input_tokens": 1, "output_tokens": 2, "cache_creation_input_tokens": 30, "cache_read_input_tokens": 4,
        "cache_creation": {"ephemeral_1h_input_tokens": 10, "ephemeral_5m_input_tokens": 20},
    }  # fmt: skip

    counts = count_outcomes(
        succeeded("claude-haiku-5-5", **long), succeeded("claude-haiku-4-5", **long),
        succeeded("claude-haiku-5-5", **short),
        succeeded("claude-haiku-4-5", **cached),
    )  # fmt: skip

    assert counts.usage == {
        "claude-haiku-5-5": Usage(
            input_tokens=100_000, output_tokens=5, long_input_tokens=100_001, long_output_tokens=7
        ),
        "claude-haiku-4-5": Usage(
            input_tokens=100_002, output_tokens=9, cache_creation_input_tokens=20,
            cache_creation_1h_input_tokens=10, cache_read_input_tokens=4,
        ),
    }  # fmt: skip


_results = st.one_of(
    st.builds(errored, st.sampled_from(RETRYABLE + NOT_RETRYABLE)),
    st.builds(succeeded, st.sampled_from(["claude-haiku-5-5", "new"]), st.sampled_from(["end_turn", "refusal"]),
              input_tokens=st.integers(0, 200_000), output_tokens=st.integers(0, 999)),
    st.sampled_from([b'{"type":"expired"}', b'{"type":"canceled"}']),
)  # fmt: skip


@given(st.lists(st.lists(_results, max_size=4), max_size=4))
def test_counts_of_chunks_add_up(chunks: list[list[bytes]]) -> None:
    all_counts = count_outcomes(*(result for chunk in chunks for result in chunk))

    assert total([count_outcomes(*chunk) for chunk in chunks]) == all_counts


def test_the_retryable_errors_are_those_of_the_reference() -> None:
    assert sorted(RETRYABLE_ERRORS) == sorted(RETRYABLE)


@pytest.mark.parametrize(
    "result",
    [
        b'{"type":"errored","error":null}',
        b'{"type":"errored","error":{"error":"x"}}',
        b'{"type":"errored","error":{"error":{"type":null}}}',
        b'{"type":"rejected"}',
    ],
)
def test_an_error_of_an_unknown_shape_is_counted_and_not_retryable(
    result: bytes,
) -> None:
    outcome = read_result(result)

    assert (outcome.error_type, outcome.retryable) == ("unknown", False)


@pytest.mark.parametrize(
    "line", [b'{"custom_id":"\xff","result":{}}', b'{"custom_id":' + b"[" * 100_000]
)
def test_an_unparsable_line_raises_a_decode_error(line: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        read_line(line)


DEEP = b"[" * 100_000 + b"]" * 100_000
_ANSWER = (
    b'{"type":"succeeded","message":{"model":"m","content":%b,"stop_reason":"tool_use",'
    b'"usage":{"input_tokens":3}}}'
)


@pytest.mark.parametrize(
    "content", [DEEP, b'["]",' + DEEP + b',"[\\"["]', b'[{"a":' * 50_000 + b"0" + b"}]" * 50_000]
)
def test_an_answer_that_is_nested_too_deeply_to_parse_is_an_answer(content: bytes) -> None:
    answer = _ANSWER % content

    line = read_line(b'{"custom_id":"a","result":%b}' % answer)

    assert (line.custom_id, bytes(line.result)) == ("a", answer)
    assert count_outcomes(answer) == count_outcomes(_ANSWER % b"[0]")


@pytest.mark.parametrize(
    "line",
    [
        b'{"custom_id":"a","result":%b' % DEEP,
        b'{"custom_id":"a","result":%b}}' % DEEP,
        b'{"custom_id":"a","result":%b,"result":0}' % DEEP,
        b'{"custom_id":"a","result":%b}' % DEEP[:-1],
        b'{"custom_id":"a","result":[%b}}' % DEEP,
        b'{"custom_id":%b,"result":{}}' % DEEP,
        b'{"result":%b}' % DEEP,
    ],
)
def test_a_deep_line_that_is_none_is_refused(line: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        read_line(line)


def test_lines_that_are_nested_too_deeply_to_parse_are_read_again() -> None:
    lines = [output_line(row, b'"a,\\"result\\":"', DEEP) for row in (7, 8)]

    read = read_output_lines(b"".join(lines).removesuffix(b"\n"))

    assert [line.row for line in read] == [7, 8]
    assert {bytes(line.custom_id) for line in read} == {b'"a,\\"result\\":"'}
    assert {bytes(line.result) for line in read} == {DEEP}


USAGES = [
    ("null members", {**TOKENS, "cache_creation_input_tokens": None, "cache_creation": None, "server_tool_use": None}, TOKENS),
    ("usual properties", {**TOKENS, "service_tier": "batch", "speed": "standard", "inference_geo": "global"}, TOKENS),
    ("thinking", {**TOKENS, "output_tokens_details": {"thinking_tokens": 15}}, {**TOKENS, "output_tokens_details.thinking_tokens": 15}),
    ("tools", {**TOKENS, "server_tool_use": {"web_search_requests": 3, "web_fetch_requests": 1}},
     {**TOKENS, "server_tool_use.web_search_requests": 3, "server_tool_use.web_fetch_requests": 1}),
    ("an unknown tool", {**TOKENS, "server_tool_use": {"web_search_requests": 3, "code_execution_requests": 2}},
     {**TOKENS, "server_tool_use.web_search_requests": 3, "server_tool_use.code_execution_requests": 2}),
    ("written for no named lifetime", {**TOKENS, "cache_creation_input_tokens": 30}, {**TOKENS, "cache_creation_input_tokens": 30}),
    ("written for both lifetimes",
     {**TOKENS, "cache_creation_input_tokens": 30, "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 10}},
     {**TOKENS, "cache_creation_input_tokens": 20, "cache_creation_1h_input_tokens": 10}),
    ("written for lifetimes without a total", {**TOKENS, "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 10}},
     {**TOKENS, "cache_creation_input_tokens": 20, "cache_creation_1h_input_tokens": 10}),
    ("written for an unknown lifetime", {**TOKENS, "cache_creation_input_tokens": 30, "cache_creation": {"ephemeral_24h_input_tokens": 30}},
     {**TOKENS, "cache_creation_input_tokens": 30, "cache_creation.ephemeral_24h_input_tokens": 30}),
    ("in the US", {**TOKENS, "inference_geo": "us"},
     {**TOKENS, "inference_geo=us": 1, "input_tokens[inference_geo=us]": 10, "output_tokens[inference_geo=us]": 20}),
    ("in the US, with something unknown", {**TOKENS, "inference_geo": "us", "invented": 4},
     {**TOKENS, "inference_geo=us": 1, "input_tokens[inference_geo=us]": 10, "output_tokens[inference_geo=us]": 20, "invented": 4}),
    ("an unknown property", {**TOKENS, "speed": "fast"},
     {**TOKENS, "speed=fast": 1, "input_tokens[speed=fast]": 10, "output_tokens[speed=fast]": 20}),
    ("numbers at any depth", {**TOKENS, "iterations": [{"type": "compaction", "input_tokens": 7}, {"type": "compaction", "input_tokens": 8}]},
     {**TOKENS, "iterations.input_tokens": 15, "iterations.type=compaction": 2}),
    ("fractions", {**TOKENS, "code_execution": {"hours": 0.25, "sessions": 2.0}},
     {**TOKENS, "code_execution.hours_millionths": 250_000, "code_execution.sessions_millionths": 2_000_000}),
    ("true, but not false", {**TOKENS, "a": True, "b": False}, {**TOKENS, "a=true": 1}),
    ("a name that is built here", {**TOKENS, "inference_geo=us": 4, "input_tokens[x]": 5, "": 6}, {**TOKENS, "other": 15}),
    ("a name that only the relay uses", {**TOKENS, "long_input_tokens": 4, "cache_creation_1h_input_tokens": 5, "lost_rows": 6},
     {**TOKENS, "other": 15}),
    ("written for more than both lifetimes", {**TOKENS, "cache_creation_input_tokens": 100, "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20}},
     {**TOKENS, "cache_creation_input_tokens": 10, "cache_creation_1h_input_tokens": 90}),
    ("written for one named lifetime", {**TOKENS, "cache_creation_input_tokens": 30, "cache_creation": {"ephemeral_1h_input_tokens": 10}},
     {**TOKENS, "cache_creation_input_tokens": 20, "cache_creation_1h_input_tokens": 10}),
    ("written for lifetimes that exceed the total",
     {**TOKENS, "cache_creation_input_tokens": 10, "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 5}},
     {**TOKENS, "cache_creation_input_tokens": 10, "cache_creation_1h_input_tokens": 5}),
    ("a negative number", {**TOKENS, "invented": -1}, {**TOKENS, "unreadable_rows": 1}),
    ("too deep", {**TOKENS, "a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": 1}}}}}}}}}}},
     {**TOKENS, "unreadable_rows": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("usage", "counted"), [case[1:] for case in USAGES], ids=[case[0] for case in USAGES])  # fmt: skip
def test_every_member_of_usage_is_counted(usage: dict[str, Any], counted: Usage) -> None:
    twice = {name: 2 * number for name, number in counted.items()}

    assert used_by(usage) == counted
    if "unreadable_rows" not in counted:
        assert used_by(usage, usage) == twice


def test_requests_of_a_block_are_counted_as_they_are_counted_one_by_one() -> None:
    usages = [usage for _, usage, _ in USAGES]
    haiku = {"input_tokens": 99_000, "output_tokens": 1, "cache_read_input_tokens": 1001}

    together = used_by(*usages, haiku, model="claude-haiku-5-5")

    alone = Counter[str]()
    for usage in (*usages, haiku):
        alone.update(used_by(usage, model="claude-haiku-5-5"))
    assert together.pop("unreadable_rows") == alone.pop("unreadable_rows") == 2
    assert together == dict(alone)
    assert together["long_cache_read_input_tokens"] == 1001


PROMPTS = [
    ("input", {"input_tokens": 100_001}),
    ("read", {"input_tokens": 1, "cache_read_input_tokens": 100_000}),
    ("written", {"input_tokens": 1, "cache_creation_input_tokens": 100_000}),
    ("written for an hour", {"input_tokens": 1, "cache_creation": {"ephemeral_1h_input_tokens": 100_000}}),
    ("all", {"input_tokens": 50_000, "cache_read_input_tokens": 25_000, "cache_creation_input_tokens": 25_001}),
]  # fmt: skip


@pytest.mark.parametrize(
    "prompt", [case[1] for case in PROMPTS], ids=[case[0] for case in PROMPTS]
)
@pytest.mark.parametrize("also", [{}, {"inference_geo": "us"}, {"invented": 1}])
def test_a_prompt_is_long_by_all_its_tokens(prompt: dict[str, Any], also: dict[str, Any]) -> None:
    shorter = prompt | {"input_tokens": prompt["input_tokens"] - 1}

    long, short = (
        used_by({**usage, "output_tokens": 3, **also}, model="claude-haiku-5-5")
        for usage in (prompt, shorter)
    )

    assert (long.get("long_output_tokens"), long.get("output_tokens")) == (3, None)
    assert (short.get("long_output_tokens"), short.get("output_tokens")) == (None, 3)


UNREADABLE = [
    b'"of another shape"',
    b'{"model":"claude-haiku-4-5"}',
    b'{"model":"claude-haiku-4-5","usage":null}',
    b'{"model":"claude-haiku-4-5","usage":[]}',
    b'{"model":"claude-haiku-4-5","usage":{"input_tokens":1}}',
    b'{"model":"claude-haiku-4-5","usage":{"input_tokens":null,"output_tokens":1}}',
    b'{"model":"claude-haiku-4-5","usage":{"input_tokens":1.5,"output_tokens":1}}',
    b'{"model":"claude-haiku-4-5","usage":{"input_tokens":"1","output_tokens":1}}',
    b'{"model":"claude-haiku-4-5","usage":{"input_tokens":true,"output_tokens":1}}',
    b'{"model":"claude-haiku-4-5","usage":{"input_tokens":-1,"output_tokens":1}}',
    b'{"model":"claude-haiku-4-5","usage":{"input_tokens":99999999999999999999999999999999999999999,"output_tokens":1}}',
    b'{"model":"claude-haiku-4-5","usage":{"input_tokens":1,"output_tokens":1,"cache_read_input_tokens":-1}}',
    b'{"model":"claude-haiku-4-5","usage":{"input_tokens":1,"output_tokens":1,"invented":1e999}}',
    b'{"model":["claude"],"usage":{"input_tokens":1,"output_tokens":1}}',
]  # fmt: skip


@pytest.mark.parametrize("message", [None, *UNREADABLE])
def test_an_answer_whose_usage_cannot_be_read_is_counted_as_such(message: bytes | None) -> None:
    member = b"" if message is None else b',"message":%b' % message
    counts = count_outcomes(b'{"type":"succeeded"%b}' % member)

    assert counts.outcomes == {"succeeded": 1}
    assert sum(used.get("unreadable_rows", 0) for used in counts.usage.values()) >= 1


def test_an_answer_from_a_container_is_counted() -> None:
    message = {"model": "claude-opus-5-5", "usage": TOKENS, "container": {"id": "container_1"}}
    counts = count_outcomes(msgspec.json.encode({"type": "succeeded", "message": message}))

    assert counts.usage == {"claude-opus-5-5": {**TOKENS, "container": 1}}


def test_rows_of_an_unknown_type_are_counted_because_they_may_be_billed() -> None:
    counts = count_outcomes(b'{"type":"postponed"}', b'{"type":"expired"}', errored("api_error"))

    assert counts.usage == {"unknown": {"unknown_result_rows": 1}}


def test_rows_and_what_they_used_can_be_counted_apart() -> None:
    """An attempt counts the rows that an earlier one answered, but not what they used."""
    counter = OutcomeCounter()
    counter.add_rows([read_result(succeeded("a", **TOKENS)), read_result(errored("api_error"))])
    counter.add_usage([read_result(succeeded("b", **TOKENS))])

    counts = counter.tally()
    assert (counts.outcomes, counts.errors) == ({"succeeded": 1, "errored": 1}, {"api_error": 1})
    assert counts.usage == {"b": TOKENS}


def test_the_number_of_counted_names_is_limited() -> None:
    results = [
        b'{"type":"succeeded","message":{"model":"m%d","stop_reason":"s%d"}}' % (n, n)
        for n in range(1000)
    ]
    counts = count_outcomes(*results, b'{"type":""}', b'{"type":"%b"}' % (b"x" * 500_000))

    assert counts.outcomes == {"succeeded": 1000, "other": 2}
    assert (len(counts.stops), counts.stops["other"]) == (NAMES + 1, 1000 - NAMES)
    assert len(counts.usage) == NAMES + 1


def test_the_members_of_usage_that_are_counted_are_limited() -> None:
    invented = {f"member_{n}": 1 for n in range(1000)}
    used = used_by({**invented, "x" * 101: 1, "é": 1, **TOKENS})

    assert len(used) == MEMBERS + 1
    assert sum(used.values()) == 1002 + sum(TOKENS.values())
    assert used["output_tokens"] == 20


def test_a_lost_row_is_counted_by_its_name_beside_any_number_of_errors() -> None:
    errors = [errored(f"new_{n}") for n in range(NAMES + 1)]

    counts = count_outcomes(*errors, closed_result(CloseReason.GONE))

    assert counts.errors["results_gone"] == 1
