"""OpenAI's responses and completions as Messages requests: the table of the documentation, row by row."""

from typing import Any, NamedTuple

import msgspec
import pytest

from functions.translations import openai
from functions.translations.contract import NotTranslatableError, Policy, Translated

MODEL = "claude-opus-4-8"  # does not think by itself, and takes forced tools
HI = [{"role": "user", "content": "Hi"}]
TEXT = {"type": "string"}
OPEN = {"type": "object", "properties": {"a": TEXT}, "required": ["a"]}
CLOSED = {**OPEN, "additionalProperties": False}
PDF = "data:application/pdf;base64,JVBERi0="


def translate(url: str, body: dict[str, Any], policy: Policy | None = None) -> Translated:
    row = {"custom_id": "a", "method": "POST", "url": url, "body": body}
    return openai.translate(row, policy or Policy())


def responses(policy: Policy | None = None, /, **members: Any) -> Translated:
    body = {"model": MODEL, "max_output_tokens": 100, "input": "Hi"} | members
    return translate("/v1/responses", body, policy)


def completions(policy: Policy | None = None, /, **members: Any) -> Translated:
    body = {"model": MODEL, "max_tokens": 100, "prompt": "Hi"} | members
    return translate("/v1/completions", body, policy)


class Case(NamedTuple):
    """Members of a body, the params that they become, and the changes that are counted."""

    given: dict[str, Any]
    params: dict[str, Any]
    changes: tuple[str, ...] = ()


def said(text: str) -> dict[str, Any]:
    return {"type": "input_text", "text": text}


def block(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": [*content]}


def called(call_id: str = "call.1", arguments: str = '{"x":1}') -> dict[str, Any]:
    return {
        "type": "function_call",
        "id": "fc_1",
        "call_id": call_id,
        "name": "f",
        "arguments": arguments,
    }


def output(call_id: str = "call.1", value: Any = "42") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": value}


SPOKEN = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
          "content": [{"type": "output_text", "text": "Yes?", "annotations": []}]}  # fmt: skip
TOOL = {"type": "function", "name": "f", "parameters": OPEN}
F = {"name": "f", "input_schema": OPEN}
ADAPTIVE = {"type": "adaptive"}
USE = {"type": "tool_use", "id": "call_1", "name": "f", "input": {"x": 1}}
RESULT = {"type": "tool_result", "tool_use_id": "call_1", "content": "42"}

RESPONSES = [
    Case({"max_output_tokens": 7}, {"max_tokens": 7}),
    Case({"max_output_tokens": None}, {"max_tokens": 16_384}, ("max_tokens.default",)),
    Case({"instructions": "Be brief."}, {"system": "Be brief."}),
    # The input.
    Case({"input": HI}, {}),
    Case({"input": [{"type": "message", **HI[0]}]}, {}),
    Case({"input": [user(said("Hi"))]}, {}),
    Case({"instructions": "One.", "input": [{"role": "developer", "content": [said("Two.")]}, *HI]},
         {"system": "One.\nTwo."}),
    Case({"input": [*HI, {"role": "system", "content": "Late."}]}, {"system": "Late."}, ("hoisted_system",)),
    Case({"input": [*HI, SPOKEN, *HI]}, {"messages": [*HI, {"role": "assistant", "content": "Yes?"}, *HI]}),
    Case({"input": [*HI, {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}, *HI]},
         {"messages": [*HI, {"role": "assistant", "content": "No."}, *HI]}),
    Case({"input": [user({"type": "input_image", "image_url": "https://x.de/a.png", "detail": "low"})]},
         {"messages": [user({"type": "image", "source": {"type": "url", "url": "https://x.de/a.png"}})]},
         ("image_url.detail",)),
    Case({"input": [user({"type": "input_image", "file_id": "file_01"})]},
         {"messages": [user({"type": "image", "source": {"type": "file", "file_id": "file_01"}})]}),
    Case({"input": [user({"type": "input_file", "file_url": "https://x.de/a.pdf"})]},
         {"messages": [user({"type": "document", "source": {"type": "url", "url": "https://x.de/a.pdf"}})]}),
    Case({"input": [user({"type": "input_file", "file_data": PDF, "filename": "a.pdf"})]},
         {"messages": [user({"type": "document", "title": "a.pdf", "source": {
             "type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}})]}),
    Case({"tools": [TOOL], "input": [*HI, called(), output()]},
         {"tools": [F], "messages": [*HI, {"role": "assistant", "content": [USE]}, user(RESULT)]}),
    Case({"tools": [TOOL], "input": [*HI, SPOKEN, called(), output(value=[said("4"), said("2")]), *HI]},
         {"tools": [F], "messages": [*HI, {"role": "assistant", "content": [block("Yes?"), USE]},
                                     user(RESULT | {"content": [block("4"), block("2")]}, block("Hi"))]}),
    Case({"input": [*HI, {"type": "reasoning", "id": "rs_1", "summary": []}]}, {}, ("input.reasoning",)),
    # The answer's format.
    Case({"text": {"format": {"type": "text"}, "verbosity": "medium"}}, {}),
    Case({"text": {"format": {"type": "json_object"}, "verbosity": "low"}}, {},
         ("text.format.json_object", "text.verbosity")),
    Case({"text": {"format": {"type": "json_schema", "name": "x", "schema": OPEN, "strict": True}}},
         {"output_config": {"format": {"type": "json_schema", "schema": CLOSED}}}),
    Case({"text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}}}}, {},
         ("text.format.json_schema",)),
    # Reasoning.
    Case({"reasoning": {"effort": "low"}}, {"thinking": ADAPTIVE, "output_config": {"effort": "low"}}),
    Case({"reasoning": {"effort": "high", "summary": "auto"}},
         {"thinking": ADAPTIVE | {"display": "summarized"}, "output_config": {"effort": "high"}}),
    Case({"reasoning": {"effort": "high", "generate_summary": "concise"}},
         {"thinking": ADAPTIVE | {"display": "summarized"}, "output_config": {"effort": "high"}}),
    Case({"reasoning": {"summary": "auto"}}, {}, ("reasoning.summary",)),
    Case({"model": "claude-opus-5-5", "reasoning": {"summary": "auto"}},
         {"model": "claude-opus-5-5", "max_tokens": 4196, "output_config": {"effort": "low"},
          "thinking": ADAPTIVE | {"display": "summarized"}}, ("effort.low", "max_tokens.headroom")),
    Case({"model": "claude-sonnet-5", "reasoning": {"summary": "auto"}},
         {"model": "claude-sonnet-5", "thinking": {"type": "disabled"}}, ("reasoning.summary", "thinking.off")),
    Case({"model": "claude-sonnet-4-6", "reasoning": {"effort": "xhigh"}},
         {"model": "claude-sonnet-4-6", "thinking": ADAPTIVE, "output_config": {"effort": "high"}},
         ("reasoning.effort.xhigh",)),
    Case({"reasoning": {"mode": "pro", "context": "all_turns"}}, {}, ("reasoning.context", "reasoning.mode")),
    Case({"reasoning": {"mode": "standard", "context": "auto"}}, {}),
    # Tools.
    Case({"tools": [TOOL | {"description": "d", "strict": True}]},
         {"tools": [{"name": "f", "description": "d", "input_schema": CLOSED, "strict": True}]}),
    Case({"tools": [TOOL], "tool_choice": {"type": "function", "name": "f"}},
         {"tools": [F], "tool_choice": {"type": "tool", "name": "f"}}),
    Case({"tools": [TOOL, TOOL | {"name": "g"}],
          "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "g"}]}},
         {"tools": [F | {"name": "g"}], "tool_choice": {"type": "auto"}}),
    Case({"tools": [TOOL], "parallel_tool_calls": False},
         {"tools": [F], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}),
    # As in chat completions.
    Case({"temperature": 0.5, "top_p": 0.5}, {}, ("temperature", "top_p")),
    Case({"user": "u-17", "metadata": {"a": "b"}}, {"metadata": {"user_id": "u-17"}}),
    # Without counterpart.
    Case({"truncation": "auto", "include": ["x"], "store": True, "background": True}, {},
         ("background", "include", "store", "truncation")),
    Case({"truncation": "disabled", "include": [], "store": False, "background": False, "stream": False}, {}),
    Case({"service_tier": "flex", "max_tool_calls": 3, "top_logprobs": 2, "stream": True, "moderation": {}}, {},
         ("max_tool_calls", "moderation", "service_tier", "stream", "top_logprobs")),
    Case({"previous_response_id": None, "conversation": None, "prompt": None}, {}),
    Case({"my_own": 1, "text": {"my_own": 2}}, {}, ("unknown",)),
]  # fmt: skip


@pytest.mark.parametrize("case", RESPONSES, ids=lambda case: str(case.given)[:80])
def test_each_field_of_responses(case: Case) -> None:
    found = responses(**case.given)

    assert found.params == {"model": MODEL, "max_tokens": 100, "messages": HI} | case.params
    assert found.changes == case.changes


REJECTED_RESPONSES = [
    ("state_unsupported", {"previous_response_id": "resp_1"}),
    ("state_unsupported", {"conversation": "conv_1"}),
    ("state_unsupported", {"prompt": {"id": "pmpt_1"}}),
    ("state_unsupported", {"input": [{"type": "item_reference", "id": "msg_1"}]}),
    ("input_unsupported", {"input": [said("Hi")]}),
    ("input_unsupported", {"input": [{"type": "web_search_call"}]}),
    ("invalid_field", {"input": None}),
    ("invalid_field", {"input": [{"role": "narrator", "content": "Hi"}]}),
    ("invalid_field", {"input": [{"role": "user", "content": 5}]}),
    ("invalid_field", {"instructions": 5}),
    ("invalid_field", {"reasoning": "high"}),
    ("invalid_field", {"reasoning": {"effort": "extreme"}}),
    ("invalid_field", {"text": {"format": {"type": "grammar"}}}),
    ("tool_unsupported", {"tools": [{"type": "web_search"}]}),
    ("tool_unsupported", {"tools": [{"type": "mcp", "server_label": "x"}]}),
    ("audio_unsupported", {"input": [user({"type": "input_audio"})]}),
    ("file_unsupported", {"input": [user({"type": "input_file", "file_id": "file-1"})]}),
    ("file_unsupported", {"input": [user({"type": "input_image", "file_id": "file-1"})]}),
    ("empty_message", {"input": ""}),
    ("prefill_unsupported", {"input": [*HI, SPOKEN]}),
    ("tool_call_unanswered", {"input": [*HI, called()]}),
    ("tool_result_unmatched", {"input": [*HI, output()]}),
    ("arguments_unreadable", {"input": [*HI, called(arguments="x")]}),
]  # fmt: skip


@pytest.mark.parametrize(("code", "given"), REJECTED_RESPONSES, ids=lambda value: str(value)[:80])
def test_what_responses_cannot_ask_of_claude_is_rejected(code: str, given: dict[str, Any]) -> None:
    with pytest.raises(NotTranslatableError) as caught:
        responses(**given)
    assert caught.value.code == code


def test_a_part_without_a_message_is_rejected_with_its_place() -> None:
    with pytest.raises(NotTranslatableError, match=r'"input\[1\]".*in the content of a message'):
        responses(input=[*HI, said("Hi")])


def test_a_strict_policy_names_inner_fields() -> None:
    with pytest.raises(NotTranslatableError, match=r'"input\.reasoning", "text\.verbosity"'):
        responses(
            Policy(reject_unsupported=True),
            input=[*HI, {"type": "reasoning"}],
            text={"verbosity": "low"},
        )


COMPLETIONS = [
    Case({}, {}),
    Case({"max_tokens": None}, {"max_tokens": 16_384}, ("max_tokens.default",)),
    Case({"stop": ["\n", "END"]}, {"stop_sequences": ["END"]}, ("stop.whitespace",)),
    Case({"n": 1, "best_of": 1, "echo": False, "suffix": "", "logprobs": None}, {}),
    Case({"temperature": 0, "seed": 5, "stream": True, "presence_penalty": 1}, {},
         ("presence_penalty", "seed", "stream", "temperature")),
    Case({"user": "u"}, {"metadata": {"user_id": "u"}}),
    Case({"model": "claude-sonnet-5"}, {"model": "claude-sonnet-5", "thinking": {"type": "disabled"}},
         ("thinking.off",)),
]  # fmt: skip


@pytest.mark.parametrize("case", COMPLETIONS, ids=lambda case: str(case.given)[:80])
def test_each_field_of_completions(case: Case) -> None:
    found = completions(**case.given)

    assert found.params == {"model": MODEL, "max_tokens": 100, "messages": HI} | case.params
    assert found.changes == case.changes


REJECTED_COMPLETIONS = [
    ("prompt_unsupported", {"prompt": ["Hi"]}),
    ("prompt_unsupported", {"prompt": [1, 2]}),
    ("prompt_unsupported", {"prompt": [[1], [2]]}),
    ("prompt_unsupported", {"prompt": None}),
    ("empty_message", {"prompt": ""}),
    ("n_unsupported", {"n": 2}),
    ("n_unsupported", {"best_of": 2}),
    ("unsupported_field", {"echo": True}),
    ("unsupported_field", {"suffix": "end"}),
    ("unsupported_field", {"logprobs": 0}),
]


@pytest.mark.parametrize(
    ("code", "given"), REJECTED_COMPLETIONS, ids=lambda value: str(value)[:80]
)
def test_what_completions_cannot_ask_of_claude_is_rejected(
    code: str, given: dict[str, Any]
) -> None:
    with pytest.raises(NotTranslatableError) as caught:
        completions(**given)
    assert caught.value.code == code


def test_params_are_json() -> None:
    for case in RESPONSES:
        msgspec.json.encode(responses(**case.given).params)
