"""How rows of Bedrock's batch inference become requests, field by field."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import botocore.session
import botocore.validate
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.translations import bedrock
from functions.translations.contract import NotTranslatableError, Policy, Translated, Translation
from functions.translations.converse import is_converse

SAMPLE = Path(__file__).parents[3] / "shared" / "samples" / "bedrock-records.jsonl"
HAIKU = Policy(models={"*": "claude-haiku-5-5"})
STRICT = Policy(models={"*": "claude-haiku-5-5"}, reject_unsupported=True)
SECRET = "Zq7"
USER = {"role": "user", "content": "Hi"}
PNG = base64.b64encode(b"\x89PNG").decode()


def translated(body: dict[str, Any], policy: Policy = HAIKU, **row: Any) -> Translated:
    return bedrock.translate({"recordId": "R1", "modelInput": body, **row}, policy)


def refusal(body: Any, policy: Policy = HAIKU, **row: Any) -> tuple[str, str]:
    with pytest.raises(NotTranslatableError) as refused:
        translated(body, policy, **row)
    return refused.value.code, str(refused.value)


def converse(**body: Any) -> dict[str, Any]:
    """Translate a Converse body with one message. Return the params."""
    return translated({"messages": [{"role": "user", "content": [{"text": "Hi"}]}], **body}).params


def blocks(*parts: Any, policy: Policy = HAIKU) -> Any:
    """Translate a Converse message of these parts. Return its content blocks."""
    body = {"messages": [{"role": "user", "content": [*parts]}], "inferenceConfig": {}}
    return translated(body, policy).params["messages"][0]["content"]


def changes(**body: Any) -> tuple[str, ...]:
    return translated({"inferenceConfig": {}, "messages": [], **body}).changes


def test_bedrock_matches_only_rows_of_bedrock() -> None:
    contract: Translation = bedrock
    assert contract.matches({"modelInput": {}})
    assert not contract.matches({"custom_id": "1", "params": {}})
    assert not contract.matches({"modelInput": {}, "params": {}})


@pytest.mark.skipif(not SAMPLE.exists(), reason="the sample is not here")
def test_each_row_of_the_sample_is_sent_as_it_is() -> None:
    rows = [json.loads(line) for line in SAMPLE.read_text().splitlines()]
    assert len(rows) == 105
    for row in rows:
        body = row["modelInput"]
        assert bedrock.matches(row)
        assert bedrock.translate(row, STRICT) == Translated(
            custom_id=row["recordId"],
            params={
                "model": "claude-haiku-5-5",
                "max_tokens": body["max_tokens"],
                "messages": body["messages"],
            },
        )


# ---- InvokeModel -------------------------------------------------------------------------------

INVOKE = {
    "anthropic_version": "bedrock-2023-05-31",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
    "thinking": {"type": "adaptive"},
    "anything": [1],
}


def test_an_invoke_model_body_is_sent_verbatim_without_its_version() -> None:
    expected = {name: value for name, value in INVOKE.items() if name != "anthropic_version"}

    assert translated(INVOKE).params == {"model": "claude-haiku-5-5", **expected}
    assert translated(INVOKE).changes == ()


@pytest.mark.parametrize(
    ("beta", "betas"),
    [
        (None, ()),
        ([], ()),
        ("context-1m-2025-08-07", ("context-1m-2025-08-07",)),
        (["b-2", "a-1", "b-2"], ("a-1", "b-2")),
    ],
)
def test_betas_are_lifted_in_one_order(beta: Any, betas: tuple[str, ...]) -> None:
    row = translated({**INVOKE, "anthropic_beta": beta})

    assert row.betas == betas
    assert "anthropic_beta" not in row.params


@pytest.mark.parametrize("beta", [3, ["a b"], [["a"]], ["a\r\nx-api-key: b"], {"a": 1}, [""]])
def test_a_beta_that_is_no_name_never_reaches_a_header(beta: Any) -> None:
    assert refusal({**INVOKE, "anthropic_beta": beta})[0] == "malformed_row"


@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k"])
def test_sampling_is_dropped_where_the_api_or_the_model_takes_none(name: str) -> None:
    body = {**INVOKE, name: 1}

    assert name not in translated(body).params
    assert translated(body).changes == (name,)
    old = Policy(models={"*": "claude-haiku-4-5"}, api_version="2023-06-01")
    assert translated(body, old).params[name] == 1
    newer_model = Policy(models=HAIKU.models, api_version=old.api_version)
    assert translated(body, newer_model).changes == (name,)
    assert translated(body, old).changes == ()
    assert refusal(body, STRICT)[0] == "unsupported_field"
    assert f'"{name}"' in refusal(body, STRICT)[1]


def test_a_row_without_max_tokens_gets_the_default() -> None:
    body = {"anthropic_version": "bedrock-2023-05-31", "messages": [USER]}

    assert translated(body).params["max_tokens"] == 16_384


@pytest.mark.parametrize(
    ("record_id", "custom_id"),
    [("CALL1", "CALL1"), (7, 7), (None, None), (True, None), (["a"], None), ({}, None)],
)
def test_the_record_id_is_the_custom_id(record_id: Any, custom_id: Any) -> None:
    row = bedrock.translate({"recordId": record_id, "modelInput": INVOKE}, HAIKU)
    assert row.custom_id == custom_id


# ---- the model ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("claude-haiku-5-5", "claude-haiku-5-5"),
        ("anthropic.claude-opus-4-6-v1", "claude-opus-4-6"),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5-20250929"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5-20250929"),
        ("eu.anthropic.claude-sonnet-5-5", "claude-sonnet-5-5"),
        ("apac.anthropic.claude-sonnet-5-5", "claude-sonnet-5-5"),
        ("jp.anthropic.claude-sonnet-5-5", "claude-sonnet-5-5"),
        ("au.anthropic.claude-sonnet-5-5", "claude-sonnet-5-5"),
        ("global.anthropic.claude-sonnet-5-5", "claude-sonnet-5-5"),
        ("us-gov.anthropic.claude-sonnet-5-5", "claude-sonnet-5-5"),
        ("anthropic.claude-3-sonnet-20240229-v1:0:200k", "claude-3-sonnet-20240229"),
        ("arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-opus-5-v1:0", "claude-opus-5"),
        ("arn:aws-us-gov:bedrock:us-gov-west-1:123456789012:inference-profile/us-gov.anthropic.claude-opus-5-v1:0", "claude-opus-5"),
        ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123", None),
        ("arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc123", None),
        ("amazon.nova-lite-v1:0", None),
        ("", None),
    ],
)  # fmt: skip
def test_a_claude_model_is_derived_from_an_id_of_bedrock(name: str, model: str | None) -> None:
    assert bedrock.claude_id(name) == model


PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123"


@pytest.mark.parametrize(
    ("models", "model_id", "model"),
    [
        ({"*": "claude-opus-5"}, None, "claude-opus-5"),
        ({"*": "us.anthropic.claude-opus-5-v1:0"}, None, "claude-opus-5"),
        ({}, "us.anthropic.claude-opus-5-v1:0", "claude-opus-5"),
        ({"*": "claude-opus-5"}, "anthropic.claude-3-haiku-20240307-v1:0", "claude-opus-5"),
        ({"*": "claude-opus-5", PROFILE: "claude-haiku-5-5"}, PROFILE, "claude-haiku-5-5"),
        ({"amazon.nova-lite-v1:0": "claude-haiku-5-5"}, "amazon.nova-lite-v1:0", "claude-haiku-5-5"),
    ],
)  # fmt: skip
def test_options_choose_the_model_before_the_row_does(
    models: dict[str, str], model_id: str | None, model: str
) -> None:
    policy = Policy(models=models)
    row = {} if model_id is None else {"modelId": model_id}

    assert translated(INVOKE, policy, **row).params["model"] == model


@pytest.mark.parametrize("place", ["modelId", "model"])
def test_the_model_may_be_in_the_body(place: str) -> None:
    body = {**INVOKE, place: "us.anthropic.claude-opus-5-v1:0"}

    params = translated(body, Policy()).params
    assert params["model"] == "claude-opus-5"
    assert "modelId" not in params


@pytest.mark.parametrize(
    ("models", "model_id"),
    [({}, None), ({}, PROFILE), ({"*": PROFILE}, None), ({}, 7), ({"other": "claude-opus-5"}, f"{SECRET} of a prompt")],
)  # fmt: skip
def test_without_a_model_the_sentence_shows_the_option(
    models: dict[str, str], model_id: Any
) -> None:
    code, sentence = refusal(INVOKE, Policy(models=models), modelId=model_id)

    assert code == "model_unmapped"
    assert 'models = { "*" = "claude-sonnet-5-5" }' in sentence
    assert SECRET not in sentence


# ---- other models ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"inputText": SECRET, "textGenerationConfig": {}}, "Titan"),
        ({"prompt": SECRET, "max_gen_len": 9}, "Llama"),
        ({"prompt": SECRET, "max_tokens": 9}, "Mistral"),
        ({"prompt": SECRET, "max_tokens_to_sample": 9}, "Claude 2"),
        ({"schemaVersion": "messages-v1", "messages": [{"role": "user", "content": [{"text": SECRET}]}]}, "Nova"),
        ({"messages": [], "inferenceConfig": {"max_new_tokens": 9}}, "Nova"),
        ({"taskType": "TEXT_IMAGE", "textToImageParams": {"text": SECRET}}, "image model"),
        ({"texts": [SECRET], "input_type": "search_document"}, "Cohere"),
    ],
)  # fmt: skip
def test_bodies_of_other_models_are_refused_by_name(body: dict[str, Any], name: str) -> None:
    code, sentence = refusal(body)

    assert code == "not_claude"
    assert name in sentence
    assert SECRET not in sentence


@pytest.mark.parametrize("body", [None, "", [], 1])
def test_a_row_without_a_body_is_refused(body: Any) -> None:
    assert refusal(body) == (
        "malformed_row",
        '"modelInput" is missing or malformed; it must be an object',
    )


# ---- Converse ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"inferenceConfig": {"maxTokens": 9}}, True),
        ({"toolConfig": {}}, True),
        ({"messages": [{"role": "user", "content": [{"text": "a"}]}]}, True),
        ({"messages": [], "system": [{"text": "a"}]}, True),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]}, False),
        ({"messages": [USER], "system": "a"}, False),
        ({"anthropic_version": "x", "system": [{"text": "a"}]}, False),
        ({}, False),
    ],
)
def test_converse_is_recognized_by_its_own_members_and_by_parts_without_type(
    body: dict[str, Any], *, expected: bool
) -> None:
    assert is_converse(body) is expected


CITED = {"citations": {"enabled": True}}
TEXT = {"text": "Hi"}
TEXT_BLOCK = {"type": "text", "text": "Hi"}
SPEC = {"name": "f", "description": "d", "inputSchema": {"json": {"type": "object"}}}
TOOL = {"name": "f", "description": "d", "input_schema": {"type": "object"}}
CACHED = {"cache_control": {"type": "ephemeral"}}
SCHEMA = {"type": "object", "properties": {}}

PARTS: list[tuple[Any, Any]] = [
    (TEXT, TEXT_BLOCK),
    ({"image": {"format": "png", "source": {"bytes": PNG}}},
     {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}),
    ({"image": {"format": "jpeg", "source": {"bytes": PNG}}},
     {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": PNG}}),
    ({"document": {"format": "pdf", "name": "Bill", "source": {"bytes": PNG}, **CITED}},
     {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PNG}, "title": "Bill", **CITED}),
    ({"document": {"format": "csv", "name": "t", "source": {"bytes": base64.b64encode("é,1".encode()).decode()}, "context": "c"}},
     {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "é,1"}, "title": "t", "context": "c"}),
    ({"document": {"name": "t", "source": {"text": "abc"}}},
     {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "abc"}, "title": "t"}),
    ({"document": {"name": "t", "source": {"content": [TEXT]}}},
     {"type": "document", "source": {"type": "content", "content": [TEXT_BLOCK]}, "title": "t"}),
    ({"toolUse": {"toolUseId": "t1", "name": "f", "input": {"a": 1}}},
     {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}),
    ({"toolResult": {"toolUseId": "t1", "content": [{"json": {"a": "é"}}, TEXT], "status": "error"}},
     {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": '{"a":"é"}'}, TEXT_BLOCK], "is_error": True}),
    ({"toolResult": {"toolUseId": "t1", "content": [], "status": "success"}},
     {"type": "tool_result", "tool_use_id": "t1", "content": []}),
    ({"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}},
     {"type": "thinking", "thinking": "hm", "signature": "s"}),
    ({"reasoningContent": {"redactedContent": "abc"}}, {"type": "redacted_thinking", "data": "abc"}),
    ({"searchResult": {"source": "s", "title": "t", "content": [TEXT], **CITED}},
     {"type": "search_result", "source": "s", "title": "t", "content": [TEXT_BLOCK], **CITED}),
    (TEXT_BLOCK, TEXT_BLOCK),
]  # fmt: skip


@pytest.mark.parametrize(("part", "block"), PARTS)
def test_a_part_of_converse_is_a_content_block(part: Any, block: Any) -> None:
    assert blocks(part, policy=STRICT) == [block]


FIELDS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"system": [TEXT]}, {"system": [TEXT_BLOCK]}),
    ({"inferenceConfig": {"maxTokens": 9, "stopSequences": ["x"]}}, {"max_tokens": 9, "stop_sequences": ["x"]}),
    ({"toolConfig": {"tools": [{"toolSpec": SPEC}]}}, {"tools": [TOOL]}),
    ({"toolConfig": {"tools": [{"toolSpec": SPEC | {"strict": True}}], "toolChoice": {"auto": {}}}},
     {"tools": [TOOL | {"strict": True}], "tool_choice": {"type": "auto"}}),
    ({"toolConfig": {"tools": [{"toolSpec": SPEC}], "toolChoice": {"any": {}}}},
     {"tools": [TOOL], "tool_choice": {"type": "any"}}),
    ({"toolConfig": {"tools": [{"toolSpec": SPEC}], "toolChoice": {"tool": {"name": "f"}}}},
     {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "f"}}),
    ({"additionalModelRequestFields": {"thinking": {"type": "adaptive"}, "metadata": {}}},
     {"thinking": {"type": "adaptive"}, "metadata": {}}),
    ({"additionalModelRequestFields": {"reasoning_config": {"type": "adaptive"}}}, {"thinking": {"type": "adaptive"}}),
    ({"outputConfig": {"effort": "low"}}, {"output_config": {"effort": "low"}}),
    ({"outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": json.dumps(SCHEMA), "name": "n"}}}},
      "additionalModelRequestFields": {"output_config": {"effort": "max"}}},
     {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}, "effort": "max"}}),
]  # fmt: skip


@pytest.mark.parametrize(("body", "params"), FIELDS)
def test_a_field_of_converse_is_a_parameter(body: dict[str, Any], params: dict[str, Any]) -> None:
    messages = [{"role": "user", "content": [TEXT_BLOCK]}]
    expected: dict[str, Any] = {
        "model": "claude-haiku-5-5",
        "max_tokens": 16_384,
        "messages": messages,
    }
    assert converse(**body) == expected | params


@pytest.fixture(scope="module")
def converse_errors() -> Callable[[dict[str, Any]], str]:
    """Return what botocore's own model of Bedrock finds wrong with a Converse body."""
    service = botocore.session.get_session().get_service_model("bedrock-runtime")
    shape = service.operation_model("Converse").input_shape
    validator = botocore.validate.ParamValidator()
    assert shape is not None
    return lambda body: validator.validate({"modelId": "m", **body}, shape).generate_report()


def test_the_bodies_of_these_tables_are_legal_at_bedrock(
    converse_errors: Callable[[dict[str, Any]], str],
) -> None:
    legal = [{"messages": of_user(part)} for part, _ in PARTS if "type" not in part]
    legal += [body for body, _ in FIELDS]

    assert converse_errors({"messages": of_user({"unknown": 1})})
    assert [error for body in legal if (error := converse_errors(body))] == []


def test_a_member_that_is_null_counts_as_absent() -> None:
    body = {"system": None, "guardrailConfig": None, "inferenceConfig": {"maxTokens": None}}

    assert converse(**body) == converse()
    assert changes(**body) == ()


def test_a_cache_point_marks_the_block_before_it() -> None:
    point = {"cachePoint": {"type": "default"}}
    hour = {"cachePoint": {"type": "default", "ttl": "1h"}}

    assert blocks(TEXT, point, TEXT) == [TEXT_BLOCK | CACHED, TEXT_BLOCK]
    assert blocks(TEXT, hour)[0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert converse(system=[TEXT, point])["system"] == [TEXT_BLOCK | CACHED]
    assert converse(toolConfig={"tools": [{"toolSpec": SPEC}, point]})["tools"] == [TOOL | CACHED]
    assert blocks(TEXT_BLOCK, point) == [TEXT_BLOCK | CACHED]
    assert TEXT_BLOCK == {"type": "text", "text": "Hi"}  # the row itself is not changed


def test_betas_of_converse_are_lifted_too() -> None:
    body = {
        "messages": [],
        "additionalModelRequestFields": {"anthropic_beta": ["a-1"], "top_k": 3},
    }

    row = translated(body)
    assert row.betas == ("a-1",)
    assert row.changes == ("top_k",)
    assert row.params.keys() == {"model", "max_tokens", "messages"}


def of_user(*parts: Any) -> list[Any]:
    return [{"role": "user", "content": [*parts]}]


UNSIGNED = {"reasoningContent": {"reasoningText": {"text": "hm"}}}
SIGNED = {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}}
POINT = {"cachePoint": {"type": "default"}}

DROPPED: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"inferenceConfig": {"temperature": 0.5, "topP": 0.9}}, ("temperature", "top_p")),
    ({"inferenceConfig": {"other": 1}}, ("inferenceConfig",)),
    ({"guardrailConfig": {"guardrailIdentifier": "g"}}, ("guardrailConfig",)),
    ({"requestMetadata": {"a": "b"}}, ("requestMetadata",)),
    ({"performanceConfig": {}, "serviceTier": {}}, ("performanceConfig", "serviceTier")),
    ({"additionalModelResponseFieldPaths": ["/a"]}, ("additionalModelResponseFieldPaths",)),
    ({SECRET: 1}, ("modelInput",)),
    ({"messages": of_user(POINT, TEXT)}, ("cachePoint",)),
    ({"messages": of_user(SIGNED, POINT)}, ("cachePoint",)),
    ({"messages": of_user(UNSIGNED, UNSIGNED)}, ("reasoningContent",)),
    ({"messages": of_user({"guardContent": {"text": {"text": "Hi"}}})}, ("guardContent",)),
    ({"messages": of_user({"citationsContent": {"content": [TEXT], "citations": []}})}, ("citationsContent",)),
]  # fmt: skip


@pytest.mark.parametrize(("body", "names"), DROPPED)
def test_what_has_no_counterpart_is_dropped_and_named(
    body: dict[str, Any], names: tuple[str, ...]
) -> None:
    assert changes(**body) == names
    code, sentence = refusal({"inferenceConfig": {}, "messages": [], **body}, STRICT)
    assert code == "unsupported_field"
    assert f'"{names[0]}" has no counterpart' in sentence


def test_the_text_of_what_is_dropped_stays() -> None:
    assert blocks({"guardContent": {"text": {"text": "Hi"}}}) == [TEXT_BLOCK]
    assert blocks({"guardContent": {"image": {"format": "png", "source": {"bytes": PNG}}}})
    assert blocks({"citationsContent": {"content": [TEXT], "citations": []}}) == [TEXT_BLOCK]
    assert blocks({"citationsContent": {"content": "Hi"}}) == [TEXT_BLOCK]


S3 = {"s3Location": {"uri": f"s3://{SECRET}/a.pdf"}}
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"messages": of_user({"image": {"format": "png", "source": S3}})}, "s3_location", "content[0].image.source"),
    ({"messages": of_user({"document": {"format": "pdf", "name": "n", "source": S3}})}, "s3_location", "base64"),
    ({"messages": of_user({"document": {"format": "docx", "name": "n", "source": {"bytes": PNG}}})}, "part_unsupported", "PDF"),
    ({"messages": of_user({"document": {"format": "txt", "name": "n", "source": {"bytes": PNG}}})}, "malformed_row", "UTF-8"),
    ({"messages": of_user({"document": {"format": "txt", "name": "n", "source": {"bytes": SECRET + "é"}}})}, "malformed_row", "base64"),
    ({"messages": of_user({"image": {"format": "tiff", "source": {"bytes": PNG}}})}, "malformed_row", "webp"),
    ({"messages": of_user({"image": {"format": ["png"], "source": {"bytes": PNG}}})}, "malformed_row", "format"),
    ({"messages": of_user({"document": {"name": "n", "source": {"bytes": PNG}}})}, "malformed_row", "format"),
    ({"messages": of_user(TEXT, {"video": {"format": "mp4", "source": S3}})}, "part_unsupported", "messages[0].content[1]"),
    ({"messages": of_user({"audio": {}})}, "part_unsupported", "audio"),
    ({"messages": of_user({SECRET: {}})}, "part_unsupported", "unknown"),
    ({"messages": of_user({"toolUse": {"type": "server_tool_use", "toolUseId": "t", "name": "n"}})}, "tool_unsupported", "toolUse"),
    ({"toolConfig": {"tools": [{"systemTool": {"name": "n"}}]}}, "tool_unsupported", "tools[0]"),
    ({"toolConfig": {"tools": [], "toolChoice": {}}}, "malformed_row", "toolChoice"),
    ({"promptVariables": {"a": {"text": "b"}}}, "stored_prompt", "promptVariables"),
    ({"messages": {}}, "malformed_row", '"messages"'),
    ({"messages": [7]}, "malformed_row", '"messages[0]"'),
    ({"messages": [{"content": []}]}, "malformed_row", '"messages[0].role"'),
    ({"messages": of_user({"text": 7})}, "malformed_row", '"messages[0].content[0].text"'),
    ({"system": 7}, "malformed_row", '"system"'),
    ({"outputConfig": {"textFormat": {"structure": {"jsonSchema": {"schema": "[" * 9}}}}}, "malformed_row", "JSON schema"),
    ({"outputConfig": {"textFormat": {"structure": {"jsonSchema": {"schema": "\ud83d"}}}}}, "malformed_row", "JSON schema"),
    ({"outputConfig": {"textFormat": {"structure": {"jsonSchema": {"schema": '{"a":' * 10**5}}}}}, "malformed_row", "JSON schema"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "code", "words"), REFUSED)
def test_what_cannot_be_translated_is_refused(body: dict[str, Any], code: str, words: str) -> None:
    said = refusal({"inferenceConfig": {}, "messages": [], **body})

    assert said[0] == code
    assert words in said[1]
    assert SECRET not in said[1]


# ---- anything ----------------------------------------------------------------------------------

_NAMES = st.sampled_from(
    ["recordId", "modelInput", "modelId", "model", "messages", "system", "role", "content", "type", "text", "image",
     "document", "format", "source", "bytes", "pdf", "txt", "png", "name", "content", "toolUse", "toolUseId", "toolResult",
     "json", "input", "status", "cachePoint", "ttl", "reasoningContent", "reasoningText", "redactedContent", "signature",
     "guardContent", "citationsContent", "searchResult", "title", "inferenceConfig", "maxTokens", "toolConfig", "tools",
     "toolSpec", "inputSchema", "toolChoice", "tool", "any", "additionalModelRequestFields", "reasoning_config",
     "outputConfig", "textFormat", "structure", "jsonSchema", "schema", "effort", "anthropic_version", "anthropic_beta",
     "temperature", "output_config", "request", "contents", "custom_id"]
)  # fmt: skip
_leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | _NAMES
hostile = st.recursive(
    _leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(_NAMES | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=25,
)
_parts = st.lists(st.dictionaries(_NAMES, hostile, min_size=1, max_size=2), max_size=3)
_bodies = st.fixed_dictionaries(
    {}, optional={"messages": st.lists(st.fixed_dictionaries({"role": st.just("user"), "content": _parts})),
                  "inferenceConfig": hostile, "toolConfig": hostile, "outputConfig": hostile, "system": _parts,
                  "additionalModelRequestFields": hostile, "anthropic_beta": hostile},
)  # fmt: skip


@given(hostile | _bodies, hostile, st.sampled_from([HAIKU, STRICT]))
def test_hostile_rows_raise_no_other_error(body: Any, model_id: Any, policy: Policy) -> None:
    row = {"recordId": model_id, "modelId": model_id, "modelInput": body}
    try:
        translated = bedrock.translate(row, policy)
    except NotTranslatableError as refused:
        sentence = str(refused)
    else:
        sentence = ""
        assert translated.params["model"] == "claude-haiku-5-5"
        assert all(isinstance(beta, str) for beta in translated.betas)
    assert len(sentence) < 400


def test_json_that_cannot_be_written_raises_no_other_error() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]

    for value in (deep, "\ud83d"):
        result = {"toolUseId": "t", "content": [{"json": value}]}
        assert refusal({"messages": of_user({"toolResult": result})})[0] == "malformed_row"


def test_a_type_that_is_no_text_before_a_cache_point_is_left_to_the_api() -> None:
    content = blocks({"type": ["text"]}, {"cachePoint": {"type": "default"}})

    assert content == [{"type": ["text"], "cache_control": {"type": "ephemeral"}}]
