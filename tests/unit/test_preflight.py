"""Which requests are certain to fail, and which only look like it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from functions.model.capabilities import Capabilities
from functions.planning import preflight
from functions.planning.preflight import notice, refusal

SECRET = "Zq7"
USER = {"role": "user", "content": SECRET}
ASSISTANT = {"role": "assistant", "content": SECRET}
PARAMS = {"model": "m", "max_tokens": 4_096, "messages": [USER]}


NEW = Capabilities(max_output_tokens=128_000, thinks_by_default=True)
OLD = Capabilities(forced_tool_choice=True, prefill=True, max_output_tokens=64_000)


def params(**members: Any) -> dict[str, Any]:
    return PARAMS | members


def of_user(*blocks: Any) -> dict[str, Any]:
    return params(messages=[{"role": "user", "content": [*blocks]}])


def base64_block(kind: str, size: int) -> dict[str, Any]:
    return {"type": kind, "source": {"type": "base64", "data": "A" * size}}


def result_of(*blocks: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": "t", "content": [*blocks]}


IMAGE = preflight.IMAGE_BYTES * 4 // 3 + 1
DOCUMENT = preflight.DOCUMENT_BYTES
EMPTY_TEXT = {"type": "text", "text": ""}
TEXT = {"type": "text", "text": SECRET}
PAUSED = {
    "role": "assistant",
    "content": [TEXT, {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}],
}

CERTAIN: list[tuple[dict[str, Any], Capabilities, str, str]] = [
    (params(messages=[]), OLD, "no_messages", '"messages"'),
    (params(messages={}), OLD, "no_messages", '"messages"'),
    (params(messages=[{"role": "user", "content": ""}]), OLD, "empty_message", '"messages[0].content"'),
    (params(messages=[{"role": "user", "content": []}]), OLD, "empty_message", '"messages[0].content"'),
    (params(messages=[{"role": "user"}]), OLD, "empty_message", '"messages[0].content"'),
    (params(messages=[USER, {"role": "assistant", "content": ""}, USER]), OLD, "empty_message", '"messages[1].content"'),
    (of_user(TEXT, EMPTY_TEXT), OLD, "empty_text", '"messages[0].content[1].text"'),
    (params(system=[EMPTY_TEXT]), OLD, "empty_text", '"system[0].text"'),
    (params(messages=[USER, ASSISTANT]), NEW, "prefill_unsupported", "user message"),
    (params(messages=[USER, {"role": "assistant", "content": [TEXT]}]), NEW, "prefill_unsupported", "last"),
    (params(messages=[USER, {"role": "assistant", "content": ""}]), NEW, "prefill_unsupported", "last"),
    (params(tool_choice={"type": "any"}), NEW, "forced_tool_choice_unsupported", '{"type": "auto"}'),
    (params(tool_choice={"type": "tool", "name": "f"}), NEW, "forced_tool_choice_unsupported", '"tool_choice"'),
    (params(max_tokens=128_001), NEW, "max_tokens_too_large", "128,000"),
    (params(max_tokens=64_001), OLD, "max_tokens_too_large", "64,000"),
    (of_user(TEXT, base64_block("image", IMAGE + 4)), OLD, "image_too_large", '"messages[0].content[1]"'),
    (of_user(result_of(base64_block("image", IMAGE + 4))), OLD, "image_too_large", '"messages[0].content[0].content[0]"'),
    (of_user(base64_block("document", DOCUMENT + 1)), OLD, "document_too_large", "32 MB"),
    (PARAMS, replace(OLD, lifecycle="retired"), "retired_model", "newer"),
    (PARAMS, replace(OLD, retires="2026-11-30"), "retired_model", "newer"),
    (PARAMS, replace(OLD, retires="2026-11-29"), "retired_model", "newer"),
]  # fmt: skip


@pytest.mark.parametrize(("request_params", "model", "code", "words"), CERTAIN)
def test_what_is_certain_to_fail_is_refused_in_a_sentence(
    request_params: dict[str, Any], model: Capabilities, code: str, words: str
) -> None:
    refused = refusal(request_params, model, today="2026-11-30")

    assert refused is not None
    assert refused[0] == code
    assert words in refused[1]
    assert SECRET not in refused[1]


POSSIBLE: list[tuple[dict[str, Any], Capabilities]] = [
    (PARAMS, NEW),
    (PARAMS, OLD),
    (PARAMS, replace(OLD, lifecycle="deprecated", retires="2026-12-01")),
    (params(messages=[USER, ASSISTANT]), OLD),
    (params(messages=[USER, {"role": "assistant", "content": ""}]), OLD),
    (params(messages=[USER, ASSISTANT, USER]), NEW),
    (params(messages=[USER, PAUSED]), NEW),
    (params(messages=["?"]), NEW),
    (params(messages=[USER, {"role": "assistant", "content": ["?"]}]), NEW),
    (params(tool_choice={"type": "any"}), OLD),
    (params(tool_choice={"type": "auto"}), NEW),
    (params(tool_choice={"type": "none"}), NEW),
    (params(max_tokens=128_000), NEW),
    (params(system=""), NEW),
    (of_user({"type": "text", "text": " "}), NEW),
    (of_user(result_of(EMPTY_TEXT)), NEW),
    (of_user(base64_block("image", IMAGE)), NEW),
    (of_user(base64_block("document", DOCUMENT)), NEW),
    (of_user({"type": "image", "source": {"type": "url", "url": "https://example.com"}}), NEW),
]


@pytest.mark.parametrize(("request_params", "model"), POSSIBLE)
def test_what_may_succeed_is_sent(request_params: dict[str, Any], model: Capabilities) -> None:
    assert refusal(request_params, model, today="2026-11-30") is None


def test_an_unknown_model_is_refused_before_all_else() -> None:
    refused = refusal(params(messages=[]), None)

    assert refused is not None
    assert refused[0] == "unknown_model"
    assert "spelling" in refused[1]


def test_without_a_day_no_model_retires_by_date() -> None:
    assert refusal(PARAMS, replace(OLD, retires="2020-01-01")) is None


def test_a_beta_raises_the_maximum_of_output_tokens() -> None:
    betas = ("context-1m-2025-08-07", "output-300k-2026-03-24")

    assert refusal(params(max_tokens=300_000), NEW, betas=betas) is None
    assert refusal(params(max_tokens=300_001), NEW, betas=betas) is not None
    assert refusal(params(max_tokens=300_000), NEW, betas=betas[:1]) is not None


@pytest.mark.parametrize(
    "code", sorted({code for _, _, code, _ in CERTAIN if not code.endswith("_model")})
)
def test_each_check_can_be_turned_off(code: str) -> None:
    for request_params, model, found, _ in CERTAIN:
        refused = refusal(request_params, model, skip_checks={code})
        assert found != code or refused is None


def test_without_the_check_of_the_model_the_others_remain() -> None:
    off = {"unknown_model"}

    assert refusal(PARAMS, None, skip_checks=off) is None
    assert (
        refusal(params(max_tokens=10**9, tool_choice={"type": "any"}), None, skip_checks=off)
        is None
    )
    refused = refusal(params(messages=[]), None, skip_checks=off)
    assert refused is not None
    assert refused[0] == "no_messages"


@pytest.mark.parametrize(
    ("request_params", "model", "code"),
    [
        (params(max_tokens=1_999), NEW, "low_max_tokens"),
        (params(max_tokens=1_999, thinking=None), NEW, "low_max_tokens"),
        (params(max_tokens=2_000), NEW, None),
        (params(max_tokens=256, thinking={"type": "disabled"}), NEW, None),
        (params(max_tokens=256), OLD, None),
        (params(max_tokens=256), None, None),
        (params(max_tokens="256"), NEW, None),
        ({}, NEW, None),
    ],
)
def test_few_tokens_on_a_model_that_thinks_are_noticed(
    request_params: dict[str, Any], model: Capabilities | None, code: str | None
) -> None:
    assert notice(request_params, model) == code


_names = st.sampled_from(
    ["messages", "role", "assistant", "user", "content", "type", "text", "image", "document", "tool_result", "source",
     "base64", "data", "tool_choice", "any", "max_tokens", "system", "thinking"]
)  # fmt: skip
_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=2) | _names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=4),
    max_leaves=20,
)
_requests = st.fixed_dictionaries(
    {}, optional={"messages": _anything | st.lists(st.dictionaries(_names, _anything, max_size=3), max_size=3),
                  "system": _anything, "tool_choice": _anything, "max_tokens": _anything, "thinking": _anything},
)  # fmt: skip


@given(_requests, st.sampled_from([NEW, OLD, None]))
def test_any_request_can_be_checked(
    request_params: dict[str, Any], model: Capabilities | None
) -> None:
    refused = refusal(request_params, model, skip_checks={"unknown_model"})

    assert refused is None or len(refused[1]) < 300
    assert notice(request_params, model) in {None, "low_max_tokens"}
