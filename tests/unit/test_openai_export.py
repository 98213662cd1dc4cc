"""Results as OpenAI's Batch API returns them, checked against the types of the `openai` package."""

from itertools import product
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from openai.types import Batch, Completion
from openai.types.chat import ChatCompletion
from openai.types.responses import Response
from pydantic import BaseModel

from functions.exports import openai as export
from functions.exports.contract import Export, ExportContext, ExportRow, JobSummary
from functions.translations.openai.endpoints import Endpoint

OUTPUT, ERROR, BATCH = "openai/output.jsonl", "openai/error.jsonl", "openai/batch.json"
CONTEXT = ExportContext(name="march.jsonl")
EXPORT: Export = export
ENDED = 1_764_201_600
SHAPES: dict[Endpoint, type[BaseModel]] = {
    Endpoint.CHAT: ChatCompletion,
    Endpoint.COMPLETIONS: Completion,
    Endpoint.RESPONSES: Response,
}
USAGE = {
    "input_tokens": 10, "output_tokens": 12, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 7,
    "output_tokens_details": {"thinking_tokens": 5},
}  # fmt: skip


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def use(**input: Any) -> dict[str, Any]:  # noqa: A002
    return {"type": "tool_use", "id": "toolu_1", "name": "f", "input": input}


def message(*content: Any, stop_reason: str = "end_turn", **members: Any) -> dict[str, Any]:
    return {
        "id": "msg_01", "type": "message", "role": "assistant", "model": "claude-sonnet-5-5",
        "content": [*content], "stop_reason": stop_reason, "usage": USAGE, **members,
    }  # fmt: skip


def succeeded(*content: Any, **members: Any) -> dict[str, Any]:
    return {"type": "succeeded", "message": message(*content, **members)}


def errored(kind: str, words: str = "Why.") -> dict[str, Any]:
    error = {"type": kind, "message": words}
    return {"type": "errored", "error": {"type": "error", "error": error, "request_id": None}}


REJECTED = {
    "type": "rejected",
    "error": {"code": "n_unsupported", "message": "line 4: no", "line": 4},
}


def record(endpoint: Endpoint, **body: Any) -> bytes:
    return msgspec.json.encode({"custom_id": "a", "url": f"/v1{endpoint.value}", "body": body})


def raw_line(result: bytes, upload: bytes | None, custom_id: bytes = b'"a"') -> tuple[str, bytes]:
    row = ExportRow("j1", 17, custom_id, result, upload, ENDED)
    (found,) = EXPORT.lines(row, CONTEXT)
    return found


def line(
    result: Any, endpoint: Endpoint = Endpoint.CHAT, **body: Any
) -> tuple[str, dict[str, Any]]:
    path, written = raw_line(msgspec.json.encode(result), record(endpoint, **body))
    assert written.count(b"\n") == 1
    assert written.endswith(b"\n")
    return path, msgspec.json.decode(written)


def answered(result: Any, endpoint: Endpoint = Endpoint.CHAT, **body: Any) -> dict[str, Any]:
    """Return the body of an answered row, after the package's own check."""
    path, found = line(result, endpoint, **body)
    assert path == OUTPUT
    own: dict[str, Any] = found["response"]["body"]
    assert SHAPES[endpoint].model_validate(own).model_extra == {}
    return own


def test_an_answer_of_chat_completions_has_the_exact_shape() -> None:
    path, found = line(
        succeeded({"type": "thinking", "thinking": "Hm."}, text("Hello "), text("you"))
    )

    assert path == OUTPUT
    assert found == {
        "id": "batch_req_j1_17", "custom_id": "a", "error": None,
        "response": {"status_code": 200, "request_id": "msg_01", "body": {
            "id": "chatcmpl-msg_01", "object": "chat.completion", "created": ENDED, "model": "claude-sonnet-5-5",
            "choices": [{"index": 0, "logprobs": None, "finish_reason": "stop", "message": {
                "role": "assistant", "content": "Hello you", "refusal": None, "annotations": []}}],
            "usage": {
                "prompt_tokens": 20, "completion_tokens": 12, "total_tokens": 32,
                "prompt_tokens_details": {"cached_tokens": 7, "cache_write_tokens": 3, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 5, "audio_tokens": 0,
                    "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}},
            "service_tier": None, "system_fingerprint": None}},
    }  # fmt: skip


def test_an_answer_of_responses_has_the_exact_shape() -> None:
    found = answered(
        succeeded(text("Hello"), use(x=1), stop_reason="tool_use"), Endpoint.RESPONSES
    )

    assert found == {
        "id": "resp_msg_01", "object": "response", "created_at": ENDED, "status": "completed", "error": None,
        "incomplete_details": None, "instructions": None, "metadata": {}, "model": "claude-sonnet-5-5",
        "output": [
            {"type": "message", "id": "msg_01", "role": "assistant", "status": "completed",
             "content": [{"type": "output_text", "text": "Hello", "annotations": []}]},
            {"type": "function_call", "id": "fc_toolu_1", "call_id": "toolu_1", "name": "f",
             "arguments": '{"x":1}', "status": "completed"}],
        "parallel_tool_calls": True, "temperature": None, "tool_choice": "auto", "tools": [], "top_p": None,
        "usage": {"input_tokens": 20, "input_tokens_details": {"cached_tokens": 7, "cache_write_tokens": 3},
                  "output_tokens": 12, "output_tokens_details": {"reasoning_tokens": 5}, "total_tokens": 32},
    }  # fmt: skip


def test_an_answer_of_completions_has_the_exact_shape() -> None:
    found = answered(succeeded(text("Hello")), Endpoint.COMPLETIONS)

    assert found["usage"]["total_tokens"] == 32
    assert found | {"usage": None} == {
        "id": "cmpl-msg_01", "object": "text_completion", "created": ENDED, "model": "claude-sonnet-5-5",
        "choices": [{"index": 0, "text": "Hello", "logprobs": None, "finish_reason": "stop"}], "usage": None,
    }  # fmt: skip


STOP_REASONS = [
    # stop_reason, chat's finish_reason, that of completions, the status of responses and its reason
    ("end_turn", "stop", "stop", "completed", None),
    ("stop_sequence", "stop", "stop", "completed", None),
    ("max_tokens", "length", "length", "incomplete", "max_output_tokens"),
    ("model_context_window_exceeded", "length", "length", "incomplete", "max_output_tokens"),
    ("pause_turn", "length", "length", "incomplete", "max_output_tokens"),
    ("tool_use", "tool_calls", "stop", "completed", None),
    ("refusal", "content_filter", "content_filter", "incomplete", "content_filter"),
    ("a_new_reason", "stop", "stop", "completed", None),
]


@pytest.mark.parametrize(("stop_reason", "chat", "completion", "status", "reason"), STOP_REASONS)
def test_each_stop_reason_has_a_counterpart_in_every_endpoint(
    stop_reason: str, chat: str, completion: str, status: str, reason: str | None
) -> None:
    result = succeeded(text("x"), stop_reason=stop_reason)

    assert answered(result)["choices"][0]["finish_reason"] == chat
    assert answered(result, Endpoint.COMPLETIONS)["choices"][0]["finish_reason"] == completion
    response = answered(result, Endpoint.RESPONSES)
    assert response["status"] == response["output"][0]["status"] == status
    assert (response["incomplete_details"] or {"reason": None})["reason"] == reason


def test_tool_calls_have_their_arguments_as_text() -> None:
    choice = answered(succeeded(use(x="é"), use(), stop_reason="tool_use"))["choices"][0]

    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"] == [
        {"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": '{"x":"é"}'}},
        {"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
    ]


def test_a_row_with_functions_gets_a_function_call() -> None:
    result = succeeded(use(x=1), stop_reason="tool_use")
    choice = answered(result, functions=[{"name": "f"}])["choices"][0]

    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"] == {"name": "f", "arguments": '{"x":1}'}
    assert "tool_calls" not in choice["message"]


def test_an_answer_without_text_has_no_content() -> None:
    cut_off = succeeded(stop_reason="max_tokens")

    assert answered(cut_off)["choices"][0]["message"]["content"] is None
    assert answered(cut_off, Endpoint.RESPONSES)["output"] == []
    assert answered(cut_off, Endpoint.COMPLETIONS)["choices"][0]["text"] == ""


REFUSALS = [
    ({"category": "bio", "explanation": "It is about pathogens."}, "It is about pathogens."),
    ({"category": "bio", "explanation": None}, "Claude refused to answer (category: bio)."),
    (None, "Claude refused to answer."),
]


@pytest.mark.parametrize(("details", "expected"), REFUSALS)
def test_a_refusal_says_why(details: Any, expected: str) -> None:
    refused = succeeded(
        stop_reason="refusal", stop_details={"type": "refusal"} | details if details else None
    )

    assert answered(refused)["choices"][0]["message"]["refusal"] == expected
    (written,) = answered(refused, Endpoint.RESPONSES)["output"]
    assert written["content"] == [{"type": "refusal", "refusal": expected}]


def test_metadata_of_the_row_is_with_the_answer() -> None:
    metadata = {"team": "blue", "wrong": 5}

    assert answered(succeeded(text("x")), metadata=metadata)["metadata"] == {"team": "blue"}
    assert answered(succeeded(text("x")), Endpoint.RESPONSES, metadata=metadata)["metadata"] == {
        "team": "blue"
    }
    assert "metadata" not in answered(succeeded(text("x")))


def test_a_response_repeats_the_tools_of_its_row() -> None:
    tools = [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True, "description": "d"},
             {"type": "web_search"}]  # fmt: skip
    found = answered(
        succeeded(text("x")), Endpoint.RESPONSES,
        tools=tools, tool_choice={"type": "function", "name": "f"}, parallel_tool_calls=False,
    )  # fmt: skip

    assert found["tools"] == [
        {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}
    ]
    assert found["tool_choice"] == {"type": "function", "name": "f"}
    assert found["parallel_tool_calls"] is False


CHOICES = [
    ("required", "required"),
    ("sometimes", "auto"),
    (None, "auto"),
    ({"type": "mcp", "server_label": "x"}, "auto"),
    ({"type": "function", "name": "f"}, {"type": "function", "name": "f"}),
]


@pytest.mark.parametrize(("choice", "expected"), CHOICES)
def test_a_response_repeats_a_tool_choice_that_was_translated(choice: Any, expected: Any) -> None:
    assert (
        answered(succeeded(text("x")), Endpoint.RESPONSES, tool_choice=choice)["tool_choice"]
        == expected
    )


ERRORS = [
    (errored("invalid_request_error"), 400, "invalid_request_error", None),
    (errored("authentication_error"), 401, "authentication_error", None),
    (errored("billing_error"), 402, "billing_error", None),
    (errored("permission_error"), 403, "permission_error", None),
    (errored("not_found_error"), 404, "not_found_error", None),
    (errored("rate_limit_error"), 429, "rate_limit_error", None),
    (errored("api_error"), 500, "api_error", None),
    (errored("overloaded_error"), 529, "overloaded_error", None),
    (errored("a_new_error"), 500, "a_new_error", None),
    (REJECTED, 400, "invalid_request_error", "n_unsupported"),
    ({"type": "a_new_type"}, 500, "api_error", None),
]


@pytest.mark.parametrize(("result", "status", "kind", "code"), ERRORS)
def test_an_error_is_in_the_error_file(
    result: Any, status: int, kind: str, code: str | None
) -> None:
    path, found = line(result)
    message = {"errored": "Why.", "rejected": "line 4: no"}.get(result["type"], "")

    assert path == ERROR
    assert found == {
        "id": "batch_req_j1_17", "custom_id": "a", "error": None,
        "response": {"status_code": status, "request_id": None,
                     "body": {"error": {"message": message, "type": kind, "param": None, "code": code}}},
    }  # fmt: skip


UNANSWERED = [
    ({"type": "expired"}, "batch_expired"),
    ({"type": "canceled"}, "batch_cancelled"),
    (errored("timeout_error"), "request_timeout"),
]


@pytest.mark.parametrize(("result", "code"), UNANSWERED)
def test_a_row_without_answer_is_in_the_error_file(result: Any, code: str) -> None:
    path, found = line(result)

    assert path == ERROR
    assert found["response"] is None
    assert found["error"]["code"] == code
    assert found["error"]["message"]


@pytest.mark.parametrize("custom_id", [b'"a"', b"5", b"null", b'"\\u00e9"'])
def test_the_custom_id_is_the_users_byte_for_byte(custom_id: bytes) -> None:
    _, written = raw_line(msgspec.json.encode(succeeded(text("x"))), None, custom_id)

    assert b'"custom_id":%b,' % custom_id in written


DEEP = b"[" * 100_000
BAD_RECORDS = [
    None, b"", b"no json", b"[]", b"5", b"\xff", DEEP, b'{"body":[]}', b'{"url":5}', b'{"url":"/v1/embeddings"}',
    b'{"body":{"tools":5,"functions":5,"metadata":[],"tool_choice":7}}', b'{"params":{"model":"x"}}',
]  # fmt: skip


@pytest.mark.parametrize("upload", BAD_RECORDS, ids=lambda upload: str(upload)[:40])
def test_a_bad_record_gets_the_shape_of_chat_completions(upload: bytes | None) -> None:
    path, written = raw_line(msgspec.json.encode(succeeded(text("x"))), upload)

    assert path == OUTPUT
    ChatCompletion.model_validate(msgspec.json.decode(written)["response"]["body"])


BAD_RESULTS = [b"", b"no json", b"[]", b"null", b"\xff", DEEP, b"{}", b'{"type":5}', b'{"type":"errored","error":5}',
               b'{"type":"rejected"}', b'{"type":"errored","error":{"error":{"type":[],"message":{}}}}']  # fmt: skip


@pytest.mark.parametrize("result", BAD_RESULTS, ids=lambda result: str(result)[:40])
def test_a_bad_result_is_an_error(result: bytes) -> None:
    path, written = raw_line(result, None)

    assert path == ERROR
    error = msgspec.json.decode(written)["response"]["body"]["error"]
    assert isinstance(error["message"], str)
    assert error["type"] in ("api_error", "invalid_request_error")


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**15) | st.text(max_size=5) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["type", "text", "id", "name", "input", "category", "input_tokens", "strict", "x"]), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
_messages = st.fixed_dictionaries({}, optional=dict.fromkeys(
    ("id", "model", "usage", "stop_details"), _json
) | {"content": _json | st.lists(st.fixed_dictionaries({"type": st.sampled_from(["text", "tool_use"])}, optional=dict.fromkeys(
    ("text", "id", "name", "input"), _json))), "stop_reason": _json | st.sampled_from(["refusal", "tool_use"])})  # fmt: skip
_bodies = st.dictionaries(
    st.sampled_from(["metadata", "tools", "tool_choice", "functions", "parallel_tool_calls"]),
    _json,
)


@given(_messages | _json, st.sampled_from(Endpoint), _bodies | _json)
@example({"content": [use(x=1)]}, Endpoint.CHAT, {"functions": 1})
def test_any_message_has_the_shape_of_its_endpoint(
    answer: Any, endpoint: Endpoint, body: Any
) -> None:
    result = msgspec.json.encode({"type": "succeeded", "message": answer})
    upload = msgspec.json.encode({"url": endpoint.value, "body": body})

    path, written = raw_line(result, upload)

    assert path == OUTPUT
    SHAPES[endpoint].model_validate(msgspec.json.decode(written)["response"]["body"])


def test_input_that_is_nearly_too_deep_to_write_is_still_a_line() -> None:
    for depth in range(500, 12_000, 500):
        inner = b"[" * depth + b"]" * depth
        result = (
            b'{"type":"succeeded","message":{"content":[{"type":"tool_use","input":{"x":%b}}]}}'
            % inner
        )
        path, written = raw_line(result, None)
        assert path in (OUTPUT, ERROR)
        assert written.startswith(b'{"id":"batch_req_j1_17"')


def test_the_two_files_have_lines_and_no_head() -> None:
    assert EXPORT.paths(CONTEXT) == (OUTPUT, ERROR)
    assert EXPORT.head(OUTPUT, CONTEXT) == EXPORT.head(ERROR, CONTEXT) == b""


# The batch object.
TIMES: dict[str, str | None] = {
    "uploaded_at": "2026-11-27T00:00:00.000Z", "claimed_at": "2026-11-27T00:00:10.900Z",
    "ended_at": "2026-11-27T01:00:00.000Z", "canceled_at": None,
}  # fmt: skip
START = 1_795_737_600


def batch(outcomes: dict[str, int], **changes: Any) -> dict[str, Any]:
    summary = JobSummary(
        job="j1", outcome="partial", outcomes=outcomes,
        usage={"claude-sonnet-5-5": {"input_tokens": 10, "output_tokens": 4, "cache_read_input_tokens": 5}},
        times=TIMES, files={OUTPUT: "s3://r/o", ERROR: "s3://r/e"}, upload="s3://u/march.jsonl",
    )  # fmt: skip
    files = EXPORT.closing(msgspec.structs.replace(summary, **changes), CONTEXT)
    assert files.keys() == {BATCH}
    found: dict[str, Any] = msgspec.json.decode(files[BATCH])
    assert Batch.model_validate(found).model_extra == {}
    return found


def test_the_batch_object_has_the_exact_shape() -> None:
    assert batch({"succeeded": 8, "errored": 1, "expired": 1}) == {
        "id": "batch_j1", "object": "batch", "endpoint": "/v1/chat/completions", "errors": None,
        "input_file_id": "s3://u/march.jsonl", "completion_window": "24h", "status": "completed",
        "output_file_id": "s3://r/o", "error_file_id": "s3://r/e",
        "created_at": START, "in_progress_at": START + 10, "expires_at": None, "finalizing_at": START + 3600,
        "completed_at": START + 3600, "failed_at": None, "expired_at": None,
        "cancelling_at": None, "cancelled_at": None,
        "request_counts": {"total": 10, "completed": 8, "failed": 2}, "metadata": None,
        "model": "claude-sonnet-5-5",
        "usage": {"input_tokens": 15, "input_tokens_details": {"cached_tokens": 5}, "output_tokens": 4,
                  "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 19},
    }  # fmt: skip


STATUSES = [
    ({"succeeded": 1, "canceled": 5, "expired": 5}, "completed"),
    ({"expired": 5}, "expired"),
    ({"expired": 5, "canceled": 1}, "cancelled"),
    ({"canceled": 5, "errored": 1}, "cancelled"),
    ({"expired": 5, "errored": 1}, "failed"),
    ({"errored": 5}, "failed"),
    ({"rejected": 5}, "failed"),
    ({}, "failed"),
]


@pytest.mark.parametrize(("outcomes", "status"), STATUSES)
def test_the_status_comes_from_the_counts(outcomes: dict[str, int], status: str) -> None:
    found = batch(outcomes)

    assert found["status"] == status
    ends = {name: found[f"{name}_at"] for name in ("completed", "failed", "expired", "cancelled")}
    assert [name for name, time in ends.items() if time is not None] == [status]


def test_a_canceled_job_has_both_times() -> None:
    found = batch({"canceled": 1}, times=TIMES | {"canceled_at": "2026-11-27T00:30:00.000Z"})

    assert (found["cancelling_at"], found["cancelled_at"]) == (START + 1800, START + 3600)


SEE = f"rows were not sent; {ERROR} has the reason for each"
BATCH_ERRORS: list[tuple[dict[str, int], dict[str, Any], dict[str, str]]] = [
    ({"succeeded": 1, "errored": 1}, {}, {}),
    ({"succeeded": 1, "rejected": 1200}, {"rejections": {"n_unsupported": 1200}}, {"n_unsupported": f"1,200 {SEE}"}),
    ({"succeeded": 1, "rejected": 3}, {"rejections": {"no_params": 1}},
     {"no_params": f"1 {SEE}", "rows_rejected": f"2 {SEE}"}),
    ({"errored": 5}, {"failure": "none of the 5 rows succeeded"}, {"job_failed": "none of the 5 rows succeeded"}),
    ({"rejected": 1}, {"failure": "not UTF-8", "rejections": {"too_long": 1}},
     {"job_failed": "not UTF-8", "too_long": f"1 {SEE}"}),
]  # fmt: skip


@pytest.mark.parametrize(("outcomes", "summary", "expected"), BATCH_ERRORS)
def test_the_errors_say_why_the_job_failed_and_why_rows_were_not_sent(
    outcomes: dict[str, int], summary: dict[str, Any], expected: dict[str, str]
) -> None:
    errors = Batch.model_validate(batch(outcomes, **summary)).errors

    found = [] if errors is None or errors.data is None else errors.data
    assert {error.code: error.message for error in found} == expected
    assert all(error.line is None and error.param is None for error in found)


ENDPOINTS = [
    (b'{"url":"/v1/responses","body":{}}', "/v1/responses"),
    (b'{"url":"/v1/embeddings"}', "/v1/embeddings"),
    (b'{"url":"/chat/completions"}', "/chat/completions"),
    (b'{"body":{}}', "/v1/chat/completions"),
    (b'{"url":5}', "/v1/chat/completions"),
    (b"no json", "/v1/chat/completions"),
    (None, "/v1/chat/completions"),
]


@pytest.mark.parametrize(("first_record", "endpoint"), ENDPOINTS)
def test_the_endpoint_is_the_url_of_the_rows(first_record: bytes | None, endpoint: str) -> None:
    found = Batch.model_validate(batch({"succeeded": 1}, first_record=first_record))

    assert found.endpoint == endpoint


def test_thinking_and_long_prompts_are_in_the_usage_and_nothing_is_twice() -> None:
    used = {
        "input_tokens": 1, "cache_creation_input_tokens": 2, "cache_creation_1h_input_tokens": 4, "cache_read_input_tokens": 8,
        "output_tokens": 16, "long_input_tokens": 32, "long_cache_read_input_tokens": 64, "long_output_tokens": 128,
        "output_tokens_details.thinking_tokens": 9, "input_tokens[inference_geo=us]": 1, "iterations.input_tokens": 1,
    }  # fmt: skip
    usage = Batch.model_validate(batch({"succeeded": 2}, usage={"a": used, "b": used})).usage

    assert usage is not None
    assert usage.input_tokens == 2 * (1 + 2 + 4 + 8 + 32 + 64)
    assert usage.input_tokens_details.cached_tokens == 2 * (8 + 64)
    assert usage.output_tokens == 2 * (16 + 128)
    assert usage.output_tokens_details.reasoning_tokens == 2 * 9
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens


def test_a_job_that_wrote_nothing_has_no_files_and_no_model() -> None:
    found = batch({"rejected": 1}, files={}, usage={}, times={})

    assert found["output_file_id"] is found["error_file_id"] is found["model"] is None
    assert found["created_at"] == found["usage"]["total_tokens"] == 0


def test_a_job_of_several_models_names_none() -> None:
    found = batch(
        {"succeeded": 2}, usage={"a": {"input_tokens": 1}, "b": {"long_input_tokens": 2}}
    )

    assert found["model"] is None
    assert found["usage"]["input_tokens"] == 3


def test_each_endpoint_and_each_stop_reason_passes_the_package_types() -> None:
    for endpoint, (stop_reason, *_), content in product(
        Endpoint, STOP_REASONS, [[], [text("x")], [use()], [text("x"), use()]]
    ):
        answered(succeeded(*content, stop_reason=stop_reason), endpoint)
