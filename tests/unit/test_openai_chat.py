"""OpenAI's chat completions as Messages requests: the table of the documentation, row by row."""

import base64
from typing import Any, NamedTuple

import msgspec
import pytest

from functions.translations import openai
from functions.translations.contract import NotTranslatableError, Policy, Translated

MODEL = "claude-opus-4-8"  # does not think by itself, and takes forced tools
HI = [{"role": "user", "content": "Hi"}]
OLD = "2023-06-01"
TEXT = {"type": "string"}
OPEN = {"type": "object", "properties": {"a": TEXT}, "required": ["a"]}
CLOSED = {**OPEN, "additionalProperties": False}
PDF = "data:application/pdf;base64,JVBERi0="
PNG = "data:image/png;base64,iVBORw0="


def translate(body: dict[str, Any], policy: Policy | None = None, **row: Any) -> Translated:
    return openai.translate({"custom_id": "a", "body": body, **row}, policy or Policy())


def body(**members: Any) -> dict[str, Any]:
    return {"model": MODEL, "max_tokens": 100, "messages": HI} | members


def rejection(body: dict[str, Any], policy: Policy | None = None) -> tuple[str, str]:
    with pytest.raises(NotTranslatableError) as caught:
        translate(body, policy)
    return caught.value.code, str(caught.value)


class Case(NamedTuple):
    """Members of a body, the params that they become, and the changes that are counted."""

    given: dict[str, Any]
    params: dict[str, Any]
    changes: tuple[str, ...] = ()


def tool(name: str = "f", **members: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **members}}


F = {"name": "f", "input_schema": {"type": "object", "properties": {}}}
G = F | {"name": "g"}
NAMED = {"type": "function", "function": {"name": "f"}}
ONE_OF = {"mode": "required", "tools": [NAMED]}

FIELDS = [
    Case({"model": "claude-haiku-4-5"}, {"model": "claude-haiku-4-5"}),
    Case({"model": "anthropic/claude-opus-4-7"}, {"model": "claude-opus-4-7"}),
    Case({"max_tokens": None, "max_completion_tokens": 7}, {"max_tokens": 7}),
    Case({"max_tokens": 5, "max_completion_tokens": 7}, {"max_tokens": 7}),
    Case({"max_tokens": 5.0}, {"max_tokens": 5}),
    Case({"max_tokens": None}, {"max_tokens": 16_384}, ("max_tokens.default",)),
    Case({"max_tokens": 200_000}, {"max_tokens": 128_000}, ("max_tokens.capped",)),
    Case({"temperature": 0.2}, {}, ("temperature",)),
    Case({"temperature": 1, "top_p": 1.0}, {}),
    Case({"top_p": 0.9}, {}, ("top_p",)),
    Case({"stop": "END"}, {"stop_sequences": ["END"]}),
    Case({"stop": ["a", "\n", "b"]}, {"stop_sequences": ["a", "b"]}, ("stop.whitespace",)),
    Case({"stop": ["\n"]}, {}, ("stop.whitespace",)),
    Case({"stop": []}, {}),
    Case({"n": 1}, {}),
    Case({"user": "u-17"}, {"metadata": {"user_id": "u-17"}}),
    Case({"user": "u", "safety_identifier": "s"}, {"metadata": {"user_id": "s"}}),
    Case({"user": "ann@example.com"}, {}, ("user",)),
    Case({"safety_identifier": "+49 (30) 123-456"}, {}, ("safety_identifier",)),
    Case({"user": "x" * 257}, {}, ("user",)),
    Case({"metadata": {"team": "blue"}}, {}),
    Case({"seed": 1, "logit_bias": {"5": -100}}, {}, ("logit_bias", "seed")),
    Case({"presence_penalty": 0.5, "frequency_penalty": -1}, {}, ("frequency_penalty", "presence_penalty")),
    Case({"presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": {}}, {}),
    Case({"logprobs": True, "top_logprobs": 3}, {}, ("logprobs", "top_logprobs")),
    Case({"logprobs": False, "store": False, "stream": False, "service_tier": "auto"}, {}),
    Case({"store": True, "stream": True, "service_tier": "flex"}, {}, ("service_tier", "store", "stream")),
    Case({"stream_options": {"include_usage": True}, "verbosity": "low"}, {}, ("stream_options", "verbosity")),
    Case({"prediction": {"type": "content"}, "moderation": {}}, {}, ("moderation", "prediction")),
    Case({"prompt_cache_key": "k", "prompt_cache_retention": "24h", "prompt_cache_options": {}}, {},
         ("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention")),
    Case({"modalities": ["text"]}, {}),
    Case({"modalities": ["text", "audio"], "audio": {"voice": "x"}}, {}, ("audio", "modalities")),
    Case({"my_own": 1, "another": 2}, {}, ("unknown",)),
    Case({"my_own": None}, {}),
    # Anthropic's own members pass.
    Case({"system": "Be brief."}, {"system": "Be brief."}),
    Case({"thinking": {"type": "adaptive"}}, {"thinking": {"type": "adaptive"}}),
    Case({"output_config": {"effort": "low"}}, {"output_config": {"effort": "low"}}),
    Case({"cache_control": {"type": "ephemeral"}}, {"cache_control": {"type": "ephemeral"}}),
    # The answer's format.
    Case({"response_format": {"type": "text"}}, {}),
    Case({"response_format": {"type": "json_object"}}, {}, ("response_format.json_object",)),
    Case({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": OPEN}}},
         {"output_config": {"format": {"type": "json_schema", "schema": CLOSED}}}),
    Case({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}},
         {}, ("response_format.json_schema",)),
    Case({"reasoning_effort": "low", "response_format": {"type": "json_schema", "json_schema": {"schema": OPEN}}},
         {"thinking": {"type": "adaptive"},
          "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": CLOSED}}}),
    # Tools.
    Case({"tools": []}, {}),
    Case({"tools": [tool()]}, {"tools": [F]}),
    Case({"tools": [tool(description="d", parameters=OPEN)]},
         {"tools": [{"name": "f", "description": "d", "input_schema": OPEN}]}),
    Case({"tools": [tool(parameters={"properties": {}})]}, {"tools": [F]}),
    Case({"tools": [tool(parameters=OPEN, strict=True)]},
         {"tools": [{"name": "f", "input_schema": CLOSED, "strict": True}]}),
    Case({"tools": [tool(parameters={"type": "object"}, strict=True)]},
         {"tools": [{"name": "f", "input_schema": {"type": "object"}}]}, ("tools.strict",)),
    Case({"tools": [tool(parameters=OPEN, strict=False)]}, {"tools": [{"name": "f", "input_schema": OPEN}]}),
    Case({"tools": [tool(cache_control={"type": "ephemeral"})]}, {"tools": [F | {"cache_control": {"type": "ephemeral"}}]}),
    Case({"functions": [{"name": "f"}]}, {"tools": [F]}),
    Case({"tools": [tool()], "tool_choice": "none"}, {"tools": [F], "tool_choice": {"type": "none"}}),
    Case({"tools": [tool()], "tool_choice": "auto"}, {"tools": [F], "tool_choice": {"type": "auto"}}),
    Case({"tools": [tool()], "tool_choice": "required"}, {"tools": [F], "tool_choice": {"type": "any"}}),
    Case({"tools": [tool()], "tool_choice": NAMED}, {"tools": [F], "tool_choice": {"type": "tool", "name": "f"}}),
    Case({"functions": [{"name": "f"}], "function_call": {"name": "f"}},
         {"tools": [F], "tool_choice": {"type": "tool", "name": "f"}}),
    Case({"functions": [{"name": "f"}], "function_call": "auto"}, {"tools": [F], "tool_choice": {"type": "auto"}}),
    Case({"tools": [tool(), tool("g")], "tool_choice": {"type": "allowed_tools", "allowed_tools": ONE_OF}},
         {"tools": [F], "tool_choice": {"type": "any"}}),
    Case({"tools": [tool()], "parallel_tool_calls": False},
         {"tools": [F], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}),
    Case({"tools": [tool()], "parallel_tool_calls": False, "tool_choice": "required"},
         {"tools": [F], "tool_choice": {"type": "any", "disable_parallel_tool_use": True}}),
    Case({"tools": [tool()], "parallel_tool_calls": False, "tool_choice": "none"},
         {"tools": [F], "tool_choice": {"type": "none"}}),
    Case({"tools": [tool()], "parallel_tool_calls": True}, {"tools": [F]}),
    Case({"parallel_tool_calls": False, "tool_choice": "auto"}, {}),
]  # fmt: skip


@pytest.mark.parametrize("case", FIELDS, ids=lambda case: str(case.given)[:80])
def test_each_field_is_translated(case: Case) -> None:
    found = translate(body(**case.given))

    assert found.params == {"model": MODEL, "max_tokens": 100, "messages": HI} | case.params
    assert found.changes == case.changes


def system(*texts: str) -> list[dict[str, Any]]:
    return [{"role": "system", "content": text} for text in texts]


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": [*parts]}


def call(id: str = "c", arguments: Any = "{}", name: str = "f") -> dict[str, Any]:  # noqa: A002
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def calls(*tool_calls: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": [*tool_calls], **members}


def answer(id: str = "c", content: Any = "42") -> dict[str, Any]:  # noqa: A002
    return {"role": "tool", "tool_call_id": id, "content": content}


def use(id: str = "c", **input: Any) -> dict[str, Any]:  # noqa: A002
    return {"type": "tool_use", "id": id, "name": "f", "input": input}


def result(id: str = "c", content: Any = "42") -> dict[str, Any]:  # noqa: A002
    return {"type": "tool_result", "tool_use_id": id, "content": content}


def said(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def image(**source: Any) -> dict[str, Any]:
    return {"type": "image", "source": source}


def document(**source: Any) -> dict[str, Any]:
    return {"type": "document", "source": source}


ANSWERED = {"role": "assistant", "content": "Yes?"}
CACHED = said("Long.") | {"cache_control": {"type": "ephemeral"}}
PLAIN = base64.b64encode("Grüße".encode()).decode()
TOOLS = {"tools": [tool()]}

MESSAGES = [
    # The system prompt.
    Case({"messages": system("One.", "Two.") + HI}, {"system": "One.\nTwo.", "messages": HI}),
    Case({"messages": [{"role": "developer", "content": [said("One.")]}, *HI]}, {"system": "One.", "messages": HI}),
    Case({"messages": [*HI, *system("Late."), *HI]},
         {"system": "Late.", "messages": [user(said("Hi"), said("Hi"))]}, ("hoisted_system",)),
    Case({"messages": [{"role": "system", "content": [CACHED, said("More.")]}, *HI]},
         {"system": [CACHED, said("More.")], "messages": HI}),
    Case({"messages": system("", " ") + HI}, {"messages": HI}),
    Case({"system": "First.", "messages": system("Then.") + HI}, {"system": "First.\nThen.", "messages": HI}),
    # Texts.
    Case({"messages": [user(said("Hi"))]}, {"messages": HI}),
    Case({"messages": [user(said("Hi"), said(" "), said("you"))]}, {"messages": [user(said("Hi"), said("you"))]}),
    Case({"messages": [user(CACHED)]}, {"messages": [user(CACHED)]}),
    Case({"messages": [HI[0] | {"name": "Ann"}]}, {"messages": HI}, ("messages.name",)),
    Case({"messages": [*HI, ANSWERED, *HI]}, {"messages": [*HI, ANSWERED, *HI]}),
    Case({"messages": [*HI, *HI]}, {"messages": [user(said("Hi"), said("Hi"))]}),
    # Images and files.
    Case({"messages": [user({"type": "image_url", "image_url": {"url": PNG}})]},
         {"messages": [user(image(type="base64", media_type="image/png", data="iVBORw0="))]}),
    Case({"messages": [user({"type": "image_url", "image_url": "https://x.de/a.png"})]},
         {"messages": [user(image(type="url", url="https://x.de/a.png"))]}),
    Case({"messages": [user({"type": "image_url", "image_url": {"url": "https://x.de/a", "detail": "high"}})]},
         {"messages": [user(image(type="url", url="https://x.de/a"))]}, ("image_url.detail",)),
    Case({"messages": [user({"type": "image_url", "image_url": {"url": "data:image/JPG;base64,/9j/"}})]},
         {"messages": [user(image(type="base64", media_type="image/jpeg", data="/9j/"))]}),
    Case({"messages": [user({"type": "image_url", "image_url": {"url": PDF}})]},
         {"messages": [user(document(type="base64", media_type="application/pdf", data="JVBERi0="))]}),
    Case({"messages": [user({"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}})]},
         {"messages": [user(document(type="base64", media_type="application/pdf", data="JVBERi0=")
                            | {"title": "a.pdf"})]}),
    Case({"messages": [user({"type": "file", "file": {"file_data": f"data:text/plain;base64,{PLAIN}"}})]},
         {"messages": [user(document(type="text", media_type="text/plain", data="Grüße"))]}),
    Case({"messages": [user({"type": "file", "file": {"file_data": "data:text/plain;charset=utf-8,Hi%20you"}})]},
         {"messages": [user(document(type="text", media_type="text/plain", data="Hi you"))]}),
    Case({"messages": [user({"type": "file", "file": {"file_id": "file_011"}})]},
         {"messages": [user(document(type="file", file_id="file_011"))]}),
    # Refusals.
    Case({"messages": [*HI, {"role": "assistant", "content": None, "refusal": "No."}, *HI]},
         {"messages": [*HI, {"role": "assistant", "content": "No."}, *HI]}),
    Case({"messages": [*HI, {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}, *HI]},
         {"messages": [*HI, {"role": "assistant", "content": "No."}, *HI]}),
    Case({"messages": [*HI, ANSWERED | {"refusal": "No."}, *HI]},
         {"messages": [*HI, ANSWERED, *HI]}, ("refusal",)),
    Case({"messages": [*HI, {"role": "assistant", "content": [said("Yes?"), {"type": "refusal", "refusal": "No."}]},
                       *HI]},
         {"messages": [*HI, ANSWERED, *HI]}, ("refusal",)),
    Case({"messages": [*HI, ANSWERED | {"audio": {"id": "a"}}, *HI]},
         {"messages": [*HI, ANSWERED, *HI]}, ("messages.audio",)),
    # Tool calls and their results.
    Case(TOOLS | {"messages": [*HI, calls(call(arguments='{"x":1}')), answer()]},
         {"messages": [*HI, {"role": "assistant", "content": [use(x=1)]}, user(result())]}),
    Case(TOOLS | {"messages": [*HI, calls(call(arguments="")), answer(content=[said("4"), said("2")])]},
         {"messages": [*HI, {"role": "assistant", "content": [use()]}, user(result(content=[said("4"), said("2")]))]}),
    Case(TOOLS | {"messages": [*HI, calls(call(), content="So:"), answer(content="")]},
         {"messages": [*HI, {"role": "assistant", "content": [said("So:"), use()]},
                       user({"type": "tool_result", "tool_use_id": "c"})]}),
    Case(TOOLS | {"messages": [*HI, calls(call("a"), call("b")), answer("b"), *HI, answer("a")]},
         {"messages": [*HI, {"role": "assistant", "content": [use("a"), use("b")]},
                       user(result("b"), result("a"), said("Hi"))]}),
    Case(TOOLS | {"messages": [*HI, calls(call("a.1"), call("a:1")), answer("a:1"), answer("a.1")]},
         {"messages": [*HI, {"role": "assistant", "content": [use("a_1"), use("a_1_2")]},
                       user(result("a_1_2"), result("a_1"))]}),
    Case(TOOLS | {"messages": [*HI, calls(call()), answer(), calls(call()), answer()]},
         {"messages": [*HI, {"role": "assistant", "content": [use("c")]}, user(result("c")),
                       {"role": "assistant", "content": [use("c_2")]}, user(result("c_2"))]}),
    Case(TOOLS | {"messages": [*HI, {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
                               {"role": "function", "name": "f", "content": "42"}]},
         {"messages": [*HI, {"role": "assistant", "content": [use("call_1")]}, user(result("call_1"))]}),
    Case({"messages": [*HI, calls(call()), answer()]},
         {"messages": [*HI, {"role": "assistant", "content": [use()]}, user(result())],
          "tools": [{"name": "f", "input_schema": {"type": "object"}}], "tool_choice": {"type": "none"}},
         ("tools.from_messages",)),
]  # fmt: skip


@pytest.mark.parametrize("case", MESSAGES, ids=lambda case: str(case.given["messages"])[:80])
def test_each_kind_of_message_is_translated(case: Case) -> None:
    found = translate(body(**case.given))

    expected = {"model": MODEL, "max_tokens": 100, "messages": HI} | case.params
    assert found.params == ({"tools": [F]} if "tools" in case.given else {}) | expected
    assert found.changes == case.changes


OFF, BETWEEN, ADAPTIVE = {"type": "disabled"}, {"type": "between_tools"}, {"type": "adaptive"}
LOW = {"output_config": {"effort": "low"}}
HEADROOM = ("effort.low", "max_tokens.headroom")


class Thinks(NamedTuple):
    """A model, an effort, and the params and changes that they lead to."""

    model: str
    effort: str | None
    params: dict[str, Any]
    changes: tuple[str, ...] = ()


THINKING = [
    # Without an effort, 100 tokens must be enough for an answer.
    Thinks("claude-sonnet-5", None, {"thinking": OFF}, ("thinking.off",)),
    Thinks("claude-haiku-5-5", None, {"thinking": OFF}, ("thinking.off",)),
    Thinks("claude-opus-5", None, {"thinking": OFF}, ("thinking.off",)),
    Thinks("claude-sonnet-5-5", None, {"thinking": BETWEEN}, ("thinking.off",)),
    Thinks("claude-opus-5-5", None, LOW | {"max_tokens": 4196}, HEADROOM),
    Thinks("claude-fable-5-2", None, LOW | {"max_tokens": 4196}, HEADROOM),
    Thinks("claude-future-9", None, LOW | {"max_tokens": 4196}, (*HEADROOM, "model.unknown")),
    Thinks("claude-opus-4-8", None, {}),
    Thinks("claude-haiku-4-5", None, {}),
    # none
    Thinks("claude-sonnet-5", "none", {"thinking": OFF}, ("thinking.off",)),
    Thinks("claude-opus-4-8", "none", {}),
    Thinks("claude-opus-5-5", "none", LOW | {"max_tokens": 4196}, (*HEADROOM, "reasoning_effort.none")),
    # Adaptive thinking.
    Thinks("claude-opus-5-5", "minimal", LOW | {"thinking": ADAPTIVE}),
    Thinks("claude-sonnet-5-5", "low", LOW | {"thinking": ADAPTIVE}),
    Thinks("claude-opus-4-8", "xhigh", {"thinking": ADAPTIVE, "output_config": {"effort": "xhigh"}}),
    Thinks("claude-sonnet-4-6", "max", {"thinking": ADAPTIVE, "output_config": {"effort": "max"}}),
    Thinks("claude-sonnet-4-6", "xhigh", {"thinking": ADAPTIVE, "output_config": {"effort": "high"}},
           ("reasoning_effort.xhigh",)),
    # A budget of tokens, which max_tokens must exceed.
    Thinks("claude-haiku-4-5", "minimal", {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 1124},
           ("max_tokens.headroom",)),
    Thinks("claude-opus-4-5", "max", {"thinking": {"type": "enabled", "budget_tokens": 16_384}, "max_tokens": 16_484},
           ("max_tokens.headroom",)),
]  # fmt: skip


@pytest.mark.parametrize("case", THINKING, ids=lambda case: f"{case.model} {case.effort}")
def test_how_much_each_model_thinks(case: Thinks) -> None:
    found = translate(body(model=case.model, reasoning_effort=case.effort))

    assert found.params == {"model": case.model, "max_tokens": 100, "messages": HI} | case.params
    assert found.changes == case.changes


def test_a_budget_below_max_tokens_changes_nothing() -> None:
    found = translate(body(model="claude-haiku-4-5", max_tokens=5000, reasoning_effort="high"))

    assert found.params["max_tokens"] == 5000
    assert found.params["thinking"]["budget_tokens"] == 4096


def test_headroom_is_an_option_and_is_limited_by_the_models_maximum() -> None:
    policy = Policy(thinking_headroom=50, default_max_tokens=127_990)

    assert translate(body(model="claude-opus-5-5"), policy).params["max_tokens"] == 150
    assert (
        translate(body(model="claude-opus-5-5", max_tokens=None), policy).params["max_tokens"]
        == 128_000
    )


@pytest.mark.parametrize("own", [{"thinking": ADAPTIVE}, {"output_config": {"effort": "max"}}])
def test_a_row_that_sets_thinking_in_anthropics_way_gets_what_it_sets(own: dict[str, Any]) -> None:
    found = translate(body(model="claude-sonnet-5", **own))

    assert found.params == {"model": "claude-sonnet-5", "max_tokens": 100, "messages": HI} | own
    assert found.changes == ()


def test_betas_are_for_the_batch_and_not_for_the_params() -> None:
    assert translate(body(anthropic_beta="b-2, a-1")).betas == ("a-1", "b-2")
    assert translate(body(anthropic_beta=["b-2"])).betas == ("b-2",)
    assert "anthropic_beta" not in translate(body(anthropic_beta="a-1")).params


SAMPLING = [
    ("claude-haiku-4-5", OLD, {"temperature": 0.5}, {"temperature": 0.5}, ()),
    ("claude-haiku-4-5", OLD, {"temperature": 1.7}, {"temperature": 1}, ("temperature.capped",)),
    ("claude-haiku-4-5", OLD, {"temperature": 0, "top_p": 0.5}, {"temperature": 0}, ("top_p",)),
    ("claude-haiku-4-5", OLD, {"temperature": 1, "top_p": 0.5}, {"top_p": 0.5}, ()),
    ("claude-haiku-4-5", OLD, {"top_k": 1}, {"top_k": 1}, ()),
    ("claude-haiku-4-5", "2026-10-21", {"temperature": 0.5}, {}, ("temperature",)),
    ("claude-opus-4-8", OLD, {"temperature": 0.5}, {}, ("temperature",)),
    ("claude-sonnet-4-6", OLD, {"temperature": 0.5, "thinking": ADAPTIVE}, {"thinking": ADAPTIVE}, ("temperature",)),
]  # fmt: skip


@pytest.mark.parametrize(("model", "version", "given", "params", "changes"), SAMPLING)
def test_sampling_parameters_depend_on_the_model_and_the_api_version(
    model: str, version: str, given: dict[str, Any], params: dict[str, Any], changes: tuple[str, ...]
) -> None:  # fmt: skip
    found = translate(body(model=model, **given), Policy(api_version=version))

    assert found.params == {"model": model, "max_tokens": 100, "messages": HI} | params
    assert found.changes == changes


FORCED = [
    ("claude-opus-5-5", "required", "tool_choice.required"),
    ("claude-sonnet-5-5", NAMED, "tool_choice.function"),
    ("claude-fable-5-1", "required", "tool_choice.required"),
]


@pytest.mark.parametrize(("model", "choice", "change"), FORCED)
def test_a_forced_choice_that_a_model_refuses_becomes_auto(
    model: str, choice: Any, change: str
) -> None:
    found = translate(body(model=model, tools=[tool()], tool_choice=choice))

    assert found.params["tool_choice"] == {"type": "auto"}
    assert change in found.changes


@pytest.mark.parametrize("model", ["claude-haiku-5-5", "claude-fable-5", "claude-haiku-4-5"])
def test_a_forced_choice_that_a_model_takes_stays(model: str) -> None:
    found = translate(body(model=model, tools=[tool()], tool_choice="required"))

    assert found.params["tool_choice"] == {"type": "any"}


def test_a_budget_for_thinking_excludes_a_forced_choice() -> None:
    asked = body(
        model="claude-haiku-4-5", tools=[tool()], tool_choice="required", reasoning_effort="low"
    )

    assert translate(asked).params["tool_choice"] == {"type": "auto"}


def test_only_so_many_tools_are_strict() -> None:
    tools = [tool(f"t{number}", parameters=OPEN, strict=True) for number in range(21)]
    found = translate(body(tools=tools))

    assert [written.get("strict", False) for written in found.params["tools"]] == [True] * 20 + [
        False
    ]
    assert found.changes == ("tools.strict",)


def test_the_schema_of_the_answer_comes_before_those_of_tools() -> None:
    unions = {
        "type": "object",
        "properties": {f"p{n}": {"type": ["string", "null"]} for n in range(16)},
    }
    unions["required"] = [*unions["properties"]]
    found = translate(body(
        tools=[tool(parameters=unions, strict=True)],
        response_format={"type": "json_schema", "json_schema": {"schema": unions}},
    ))  # fmt: skip

    assert "format" in found.params["output_config"]
    assert found.changes == ("tools.strict",)


# The last message is the assistant's: the beginning of the answer.
PREFILL = {"messages": [*HI, {"role": "assistant", "content": "{ "}]}


def test_a_beginning_of_the_answer_stays_where_the_model_continues_it() -> None:
    found = translate(body(model="claude-haiku-4-5", **PREFILL))

    assert found.params["messages"][-1] == {"role": "assistant", "content": "{"}


@pytest.mark.parametrize("model", ["claude-opus-4-8", "claude-sonnet-5-5", "claude-opus-4-6"])
def test_a_beginning_of_the_answer_is_rejected_elsewhere(model: str) -> None:
    assert rejection(body(model=model, **PREFILL))[0] == "prefill_unsupported"


def test_a_beginning_of_the_answer_excludes_a_schema() -> None:
    schema = {"type": "json_schema", "json_schema": {"schema": OPEN}}

    code, _ = rejection(body(model="claude-haiku-4-5", response_format=schema, **PREFILL))
    assert code == "prefill_unsupported"


MODELS = Policy(
    models={"gpt-4o": "claude-sonnet-5-5", "claude-old": "claude-opus-5", "*": "claude-haiku-5-5"}
)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-4o", "claude-sonnet-5-5"),
        ("gpt-4o-mini", "claude-haiku-5-5"),
        ("claude-opus-4-8", "claude-opus-4-8"),
        ("claude-old", "claude-opus-5"),
        ("anthropic/claude-opus-4-8", "claude-opus-4-8"),
        (None, "claude-haiku-5-5"),
    ],
)
def test_models_are_mapped(model: str | None, expected: str) -> None:
    assert translate(body(model=model), MODELS).params["model"] == expected


def test_a_model_that_is_not_mapped_is_named_with_the_option() -> None:
    code, sentence = rejection(body(model="gpt-4o"))

    assert code == "model_unmapped"
    assert '"gpt-4o"' in sentence
    assert '"models"' in sentence


def test_a_model_that_is_no_name_is_not_quoted() -> None:
    assert "secret" not in rejection(body(model="my secret prompt"))[1]


REJECTED = [
    ("n_unsupported", {"n": 2}),
    ("tool_unsupported", {"web_search_options": {}}),
    ("tool_unsupported", {"tools": [{"type": "custom", "custom": {"name": "x"}}]}),
    ("tool_unsupported", {"tools": [tool()], "tool_choice": {"type": "custom", "custom": {"name": "x"}}}),
    ("invalid_field", {"tools": [tool()], "tool_choice": {"type": "function", "function": {"name": "other"}}}),
    ("invalid_field", {"tool_choice": "required"}),
    ("invalid_field", {"tools": [tool()], "tool_choice": "sometimes"}),
    ("invalid_field", {"tools": [tool(parameters={"type": "array"})]}),
    ("invalid_field", {"response_format": {"type": "grammar"}}),
    ("invalid_field", {"reasoning_effort": "extreme"}),
    ("invalid_field", {"max_tokens": 0}),
    ("invalid_field", {"max_tokens": 1.5}),
    ("invalid_field", {"max_tokens": True}),
    ("invalid_field", {"temperature": 3}),
    ("invalid_field", {"temperature": "hot"}),
    ("invalid_field", {"stop": [1]}),
    ("invalid_field", {"user": 5}),
    ("invalid_field", {"anthropic_beta": "two words"}),
    ("invalid_field", {"messages": None}),
    ("invalid_field", {"messages": ["Hi"]}),
    ("invalid_field", {"messages": [{"role": "narrator", "content": "x"}]}),
    ("invalid_field", {"messages": [user({"type": "text"})]}),
    ("no_user_message", {"messages": []}),
    ("no_user_message", {"messages": system("x")}),
    ("no_user_message", {"messages": [ANSWERED, *HI]}),
    ("empty_message", {"messages": [{"role": "user", "content": " "}]}),
    ("empty_message", {"messages": [*HI, {"role": "assistant", "content": None}, *HI]}),
    ("content_unsupported", {"messages": [user({"type": "video"})]}),
    ("content_unsupported", {"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": PNG}]}]}),
    ("audio_unsupported", {"messages": [user({"type": "input_audio", "input_audio": {}})]}),
    ("image_unsupported", {"messages": [user({"type": "image_url", "image_url": {"url": "http://x.de/a.png"}})]}),
    ("image_unsupported", {"messages": [user({"type": "image_url", "image_url": {"url": "s3://bucket/a.png"}})]}),
    ("image_unsupported", {"messages": [user({"type": "image_url", "image_url": {"url": "data:image/bmp;base64,x"}})]}),
    ("image_unsupported", {"messages": [user({"type": "image_url", "image_url": {"url": "data:image/png,x"}})]}),
    ("document_unsupported", {"messages": [user({"type": "file", "file": {"file_data": "JVBERi0="}})]}),
    ("document_unsupported", {"messages": [user({"type": "file", "file": {"file_data": "data:text/plain;base64,/w=="}})]}),
    ("document_unsupported", {"messages": [user({"type": "file", "file": {"file_data": "data:text/plain,"}})]}),
    ("invalid_field", {"messages": [user({"type": "file", "file": {"filename": "a.pdf"}})]}),
    ("file_unsupported", {"messages": [user({"type": "file", "file": {"file_id": "file-abc"}})]}),
    ("arguments_unreadable", {"messages": [*HI, calls(call(arguments="{")), answer()]}),
    ("arguments_unreadable", {"messages": [*HI, calls(call(arguments="[]")), answer()]}),
    ("tool_result_unmatched", {"messages": [*HI, answer()]}),
    ("tool_result_unmatched", {"messages": [*HI, calls(call()), *HI]}),
    ("tool_result_unmatched", {"messages": [*HI, calls(call("a"), call("b")), answer("a")]}),
    ("tool_call_unanswered", {"messages": [*HI, calls(call())]}),
]  # fmt: skip


@pytest.mark.parametrize(("code", "given"), REJECTED, ids=lambda value: str(value)[:80])
def test_what_has_no_counterpart_is_rejected(code: str, given: dict[str, Any]) -> None:
    assert rejection(body(**given))[0] == code


def test_a_rejection_says_where() -> None:
    messages = [*HI, user(said("ok"), {"type": "input_audio"})]

    assert '"messages[1].content[1]"' in rejection(body(messages=messages))[1]


STRICT = Policy(reject_unsupported=True)


def test_a_strict_policy_rejects_a_row_that_would_lose_a_field() -> None:
    code, sentence = rejection(body(seed=1, temperature=0.5, my_own=1), STRICT)

    assert code == "unsupported_field"
    assert '"seed", "temperature", "my_own"' in sentence


def test_a_strict_policy_names_only_what_is_surely_a_name() -> None:
    code, sentence = rejection(body(**{"my secret prompt": 1}), STRICT)

    assert code == "unsupported_field"
    assert "secret" not in sentence


def test_a_strict_policy_names_only_so_many_fields() -> None:
    _, sentence = rejection(body(**{f"field{number}": 1 for number in range(99)}), STRICT)

    assert "and 89 more" in sentence


def test_a_strict_policy_takes_changes_that_lose_nothing() -> None:
    late = [*HI, *system("Late."), *HI]
    found = translate(
        body(model="claude-sonnet-5", max_tokens=None, messages=late, seed=None), STRICT
    )

    assert found.changes == ("hoisted_system", "max_tokens.default", "thinking.off")


def test_params_are_json() -> None:
    for case in FIELDS + MESSAGES:
        msgspec.json.encode(translate(body(**case.given)).params)
