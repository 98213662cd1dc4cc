"""Translate rows of Amazon Bedrock's batch inference.

A row is ``{"recordId", "modelInput"}``. `modelInput` is either the body of InvokeModel, which for Claude is a
Messages request, or the body of Converse. The shapes are those of bedrock-runtime's service model.
"""

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

import msgspec

from functions.translations.contract import NotTranslatableError, Policy, Translated

type Params = dict[str, Any]

_BEDROCK_ID = re.compile(r"(?:arn:[^/]+/)?(?:[a-z-]+\.)?anthropic\.(claude-[^/]+)")
_REVISION = re.compile(r"-v\d+(:\w+)*$")
_BETA = re.compile(r"[\w.-]{1,100}", re.ASCII)
_SAMPLING = ("temperature", "top_p", "top_k")
_NO_SAMPLING_SINCE = "2026-10-21"
"""API version from which on no model takes sampling parameters."""
_PLATFORM = frozenset({"anthropic_version", "anthropic_beta", "model", "modelId"})
"""Members of a body that are headers or chosen elsewhere at Anthropic."""
_NOVA_LIMIT = "max_new_tokens"
_OTHER_MODELS = {
    "inputText": "a Titan body",
    "max_gen_len": "a Llama body",
    "schemaVersion": "a Nova body",
    _NOVA_LIMIT: "a Nova body",
    "taskType": "the body of an image model",
    "texts": "a Cohere Embed body",
    "max_tokens_to_sample": "a Text Completions body of Claude 2",
    "prompt": "a text completion body, such as Llama's or Mistral's",
}
"""Member → whose body it is, the most specific member first."""
_DROPPED = frozenset(
    {
        "additionalModelResponseFieldPaths",
        "guardrailConfig",
        "performanceConfig",
        "requestMetadata",
        "serviceTier",
    }
)
"""Members of a Converse body that have no counterpart."""
_IMAGES = frozenset({"gif", "jpeg", "png", "webp"})
_TEXTS = frozenset({"csv", "html", "md", "txt"})
"""Document formats that are sent as plain text."""
_UNCACHEABLE = ("thinking", "redacted_thinking")
"""Types of blocks that take no `cache_control`. A tuple, because a type may be unhashable."""


class Drops:
    """Fields of one row that have no counterpart: dropped and counted, or a reason to reject the row.

    Attributes:
        names: the fields dropped, each once, in order.
    """

    def __init__(self, policy: Policy) -> None:
        self._reject = policy.reject_unsupported
        self.names: tuple[str, ...] = ()

    def add(self, name: str) -> None:
        """Record a field as dropped.

        Raises:
            NotTranslatableError: the policy rejects rows that have such a field.
        """
        if self._reject:
            sentence = (
                f'"{name}" has no counterpart at Anthropic; remove it, or set '
                'on_unsupported = "drop" in _relay.toml'
            )
            raise NotTranslatableError(code="unsupported_field", sentence=sentence)
        if name not in self.names:
            self.names += (name,)


def matches(row: Mapping[str, Any]) -> bool:
    """Return whether a row is one of Bedrock's; see `contract.Translation`."""
    return "modelInput" in row and "params" not in row


def translate(row: Mapping[str, Any], policy: Policy) -> Translated:
    """Translate a row; see `contract.Translation`.

    Raises:
        NotTranslatableError: the row has no counterpart. Codes: ``malformed_row``, ``model_unmapped``,
            ``not_claude``, ``part_unsupported``, ``s3_location``, ``stored_prompt``, ``tool_unsupported``,
            ``unsupported_field``.
    """
    body = _object(row.get("modelInput"), "modelInput")
    _refuse_other_models(body)
    drops = Drops(policy)
    names = (row.get("modelId"), body.get("modelId"), body.get("model"))
    name = next((name for name in names if isinstance(name, str)), None)
    model = choose_model(name, policy.models, claude_id)
    fields = _converse_fields(body, drops) if is_converse(body) else body
    return claude_request(row.get("recordId"), model, fields, drops, policy)


def claude_id(name: str) -> str | None:
    """Return the Claude model that a name on Bedrock stands for; None if the name does not show it.

    ``us.anthropic.claude-sonnet-4-5-20250929-v1:0`` is ``claude-sonnet-4-5-20250929``. An ARN of a foundation
    model or of a cross-region inference profile ends in such an id; one of an application inference profile
    does not.
    """
    bedrock_id = _BEDROCK_ID.fullmatch(name)
    if bedrock_id is not None:
        return _REVISION.sub("", bedrock_id[1])
    return name if name.startswith("claude-") else None


def choose_model(
    name: str | None, models: Mapping[str, str], claude_id: Callable[[str], str | None]
) -> str:
    """Return the Claude model for a row.

    Args:
        name: the model that the row names; None if it names none, as is usual.
        models: the option `models`: name → model, with ``*`` for every other name.
        claude_id: returns the Claude model that a name of the platform stands for.

    Raises:
        NotTranslatableError: neither the option nor the row names a Claude model.
    """
    chosen = models.get(name or "*", models.get("*", name))
    model = claude_id(chosen) if chosen is not None else None
    if model is None:
        sentence = (
            "no Claude model is named for this row; write in _relay.toml: "
            'models = { "*" = "claude-sonnet-5-5" } (or the name that the row has in place of "*")'
        )
        raise NotTranslatableError(code="model_unmapped", sentence=sentence)
    return model


def claude_request(
    custom_id: object, model: str, body: Mapping[str, Any], drops: Drops, policy: Policy
) -> Translated:
    """Return a request from a Messages body as a cloud platform takes it.

    Args:
        custom_id: the row's id; anything but a string or a number counts as none.
        model: the Claude model.
        body: the body. All but the platform's own members is sent verbatim.
        drops: the fields dropped so far.
        policy: how to translate.
    """
    params: Params = {"model": model, "max_tokens": policy.default_max_tokens}
    params |= {name: value for name, value in body.items() if name not in _PLATFORM}
    if policy.api_version >= _NO_SAMPLING_SINCE:
        for name in [name for name in _SAMPLING if name in params]:
            del params[name]
            drops.add(name)
    return Translated(
        custom_id=_id(custom_id),
        params=params,
        betas=_betas(body.get("anthropic_beta")),
        changes=drops.names,
    )


def is_converse(body: Mapping[str, Any]) -> bool:
    """Return whether a body is one of Converse, not of InvokeModel.

    Either it has a member that only Converse has, or a part that has no `type`.
    """
    if "anthropic_version" in body:
        return False
    if body.keys() & (_DROPPED | _FIELDS.keys() - {"messages", "system"}):
        return True
    return any(isinstance(part, dict) and "type" not in part for part in _all_parts(body))


def _all_parts(body: Mapping[str, Any]) -> Iterator[object]:
    """Yield each part of the system prompt and of the messages that are lists of parts."""
    messages = body.get("messages")
    messages = messages if isinstance(messages, list) else []
    contents = [message.get("content") for message in messages if isinstance(message, dict)]
    for content in (body.get("system"), *contents):
        if isinstance(content, list):
            yield from content


def _id(value: object) -> str | int | float | None:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return value
    return None


def _betas(value: object) -> tuple[str, ...]:
    """Return the values of `anthropic-beta`, sorted: their order must not split a batch."""
    values = value if isinstance(value, list) else [value] if value is not None else []
    for beta in values:
        if not isinstance(beta, str) or _BETA.fullmatch(beta) is None:
            _malformed("anthropic_beta", 'a list of names such as "context-1m-2025-08-07"')
    return tuple(sorted(set(values)))


def _refuse_other_models(body: Mapping[str, Any]) -> None:
    """Refuse a body that is not Claude's, by its name."""
    limits = body.get("inferenceConfig")
    is_nova = isinstance(limits, dict) and _NOVA_LIMIT in limits
    members = (member for member in _OTHER_MODELS if member in body)
    member = _NOVA_LIMIT if is_nova else next(members, None)
    if member is None:
        return
    sentence = (
        f'"modelInput" is {_OTHER_MODELS[member]} (it has "{member}"); write it as a body of Claude: '
        '{"max_tokens": 1024, "messages": [{"role": "user", "content": "…"}]}'
    )
    raise NotTranslatableError(code="not_claude", sentence=sentence)


def _malformed(where: str, expected: str) -> NoReturn:
    sentence = f'"{where}" is missing or malformed; it must be {expected}'
    raise NotTranslatableError(code="malformed_row", sentence=sentence)


def _object(value: object, where: str) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else _malformed(where, "an object")


def _list(value: object, where: str) -> list[Any]:
    return value if isinstance(value, list) else _malformed(where, "a list")


def _text(value: object, where: str) -> str:
    return value if isinstance(value, str) else _malformed(where, "a string")


# ---- Converse ----------------------------------------------------------------------------------


def _converse_fields(body: Mapping[str, Any], drops: Drops) -> Params:
    """Return a Converse body as a Messages body. `additionalModelRequestFields` are Claude's own fields."""
    fields: Params = {}
    for name, value in body.items():
        if value is None:
            continue
        if name == "promptVariables":
            sentence = (
                '"promptVariables" fills in a prompt that is stored in Bedrock; write the prompt '
                "itself into the row"
            )
            raise NotTranslatableError(code="stored_prompt", sentence=sentence)
        if name in _FIELDS:
            _merge(fields, _FIELDS[name](value, drops))
        elif name not in _PLATFORM:
            drops.add(name if name in _DROPPED else "modelInput")
    return fields


def _merge(fields: Params, others: Params) -> None:
    """Add fields. Two objects of one name, such as `output_config`, become one."""
    for name, value in others.items():
        known = fields.get(name)
        if isinstance(known, dict) and isinstance(value, dict):
            fields[name] = known | value
        else:
            fields[name] = value


def _system(value: object, drops: Drops) -> Params:
    return {"system": _parts(value, "system", drops)}


def _messages(value: object, drops: Drops) -> Params:
    messages = []
    for index, item in enumerate(_list(value, "messages")):
        where = f"messages[{index}]"
        message = _object(item, where)
        role = _text(message.get("role"), f"{where}.role")
        content = _parts(message.get("content"), f"{where}.content", drops)
        messages.append({"role": role, "content": content})
    return {"messages": messages}


def _inference(value: object, drops: Drops) -> Params:
    names = {
        "maxTokens": "max_tokens",
        "temperature": "temperature",
        "topP": "top_p",
        "stopSequences": "stop_sequences",
    }
    config = _object(value, "inferenceConfig")
    if config.keys() - names.keys():
        drops.add("inferenceConfig")
    return {
        names[name]: item for name, item in config.items() if name in names and item is not None
    }


def _additional(value: object, _drops: Drops) -> Params:
    """Return Claude's own fields. Bedrock's guide calls `thinking` `reasoning_config`, too."""
    fields = dict(_object(value, "additionalModelRequestFields"))
    reasoning = fields.pop("reasoning_config", None)
    return {"thinking": reasoning, **fields} if reasoning is not None else fields


def _output(value: object, _drops: Drops) -> Params:
    """Return `output_config`. The JSON schema is a string on Bedrock."""
    config = _object(value, "outputConfig")
    output: Params = {}
    if config.get("effort") is not None:
        output["effort"] = config["effort"]
    if config.get("textFormat") is not None:
        where = "outputConfig.textFormat.structure"
        text_format = _object(config["textFormat"], "outputConfig.textFormat")
        structure = _object(text_format.get("structure"), where)
        json_schema = _object(structure.get("jsonSchema"), f"{where}.jsonSchema")
        schema = _schema(json_schema.get("schema"), f"{where}.jsonSchema.schema")
        output["format"] = {"type": "json_schema", "schema": schema}
    return {"output_config": output} if output else {}


def _schema(value: object, where: str) -> Params:
    try:
        return msgspec.json.decode(_text(value, where), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        _malformed(where, "a JSON schema, as a string")


def _tool_config(value: object, drops: Drops) -> Params:
    config = _object(value, "toolConfig")
    tools: list[Params] = []
    for index, item in enumerate(_list(config.get("tools"), "toolConfig.tools")):
        where = f"toolConfig.tools[{index}]"
        tool = _object(item, where)
        if "cachePoint" in tool:
            _mark_cached(tools, tool["cachePoint"], f"{where}.cachePoint", drops)
        elif "toolSpec" in tool:
            tools.append(_tool(tool["toolSpec"], f"{where}.toolSpec"))
        else:
            sentence = (
                f"{where} is a tool of Bedrock's own, which Anthropic does not have; remove it"
            )
            raise NotTranslatableError(code="tool_unsupported", sentence=sentence)
    choice = config.get("toolChoice")
    return {"tools": tools} | ({"tool_choice": _choice(choice)} if choice is not None else {})


def _tool(value: object, where: str) -> Params:
    spec = _object(value, where)
    schema = _object(_object(spec.get("inputSchema"), f"{where}.inputSchema").get("json"), where)
    tool: Params = {"name": _text(spec.get("name"), f"{where}.name"), "input_schema": schema}
    return tool | {name: spec[name] for name in ("description", "strict") if name in spec}


def _choice(value: object) -> Params:
    choice = _object(value, "toolConfig.toolChoice")
    if "tool" in choice:
        tool = _object(choice["tool"], "toolConfig.toolChoice.tool")
        return {"type": "tool", "name": _text(tool.get("name"), "toolConfig.toolChoice.tool.name")}
    if choice.keys() & {"auto", "any"}:
        return {"type": "any" if "any" in choice else "auto"}
    return _malformed("toolConfig.toolChoice", 'one of "auto", "any" and "tool"')


def _parts(value: object, where: str, drops: Drops) -> str | list[Params]:
    """Return the parts of a system prompt, a message or a tool result as content blocks."""
    if isinstance(value, str):
        return value
    blocks: list[Params] = []
    for index, item in enumerate(_list(value, where)):
        part = _object(item, f"{where}[{index}]")
        if "type" in part:  # already a content block
            blocks.append(dict(part))
        elif "cachePoint" in part:
            _mark_cached(blocks, part["cachePoint"], f"{where}[{index}].cachePoint", drops)
        else:
            blocks += _blocks(part, f"{where}[{index}]", drops)
    return blocks


def _blocks(part: Mapping[str, Any], where: str, drops: Drops) -> list[Params]:
    for kind, block in _PARTS.items():
        if kind in part:
            return block(part[kind], f"{where}.{kind}", drops)
    sentence = (
        f"{where} is a kind of content that Claude does not read here (video, audio or unknown); "
        "remove it"
    )
    raise NotTranslatableError(code="part_unsupported", sentence=sentence)


def _mark_cached(blocks: list[Params], value: object, where: str, drops: Drops) -> None:
    """Cache up to the last block. Bedrock marks the place behind it, Anthropic the block itself."""
    ttl = _object(value, where).get("ttl")
    if not blocks or blocks[-1].get("type") in _UNCACHEABLE:
        drops.add("cachePoint")
        return
    blocks[-1]["cache_control"] = {"type": "ephemeral"} | ({"ttl": ttl} if ttl is not None else {})


def _text_block(value: object, where: str, _drops: Drops) -> list[Params]:
    return [{"type": "text", "text": _text(value, where)}]


def _json_block(value: object, where: str, _drops: Drops) -> list[Params]:
    """Return a tool's result in JSON as text."""
    try:
        return [{"type": "text", "text": msgspec.json.encode(value).decode()}]
    except (RecursionError, UnicodeError):
        _malformed(where, "JSON of valid text, less deeply nested")


def _image(value: object, where: str, _drops: Drops) -> list[Params]:
    image = _object(value, where)
    kind = _text(image.get("format"), f"{where}.format")
    if kind not in _IMAGES:
        _malformed(f"{where}.format", '"png", "jpeg", "gif" or "webp"')
    data = _inline(_object(image.get("source"), f"{where}.source"), f"{where}.source")
    return [{"type": "image", "source": _base64(f"image/{kind}", data)}]


def _base64(media_type: str, data: str) -> Params:
    return {"type": "base64", "media_type": media_type, "data": data}


def _inline(source: Mapping[str, Any], where: str) -> str:
    """Return the base64 text of an image or a document."""
    if "s3Location" in source:
        sentence = (
            f'"{where}" is an object in S3, which Anthropic cannot read; put its bytes into the row '
            'as base64: {"bytes": "…"}'
        )
        raise NotTranslatableError(code="s3_location", sentence=sentence)
    return _text(source.get("bytes"), f"{where}.bytes")


def _document(value: object, where: str, drops: Drops) -> list[Params]:
    document = _object(value, where)
    source = _object(document.get("source"), f"{where}.source")
    block: Params = {
        "type": "document",
        "source": _document_source(document, source, where, drops),
    }
    names = {"name": "title", "context": "context", "citations": "citations"}
    return [
        block | {names[name]: document[name] for name in names if document.get(name) is not None}
    ]


def _document_source(
    document: Mapping[str, Any], source: Mapping[str, Any], where: str, drops: Drops
) -> Params:
    if "text" in source:
        return _plain_text(_text(source["text"], f"{where}.source.text"))
    if "content" in source:
        content = _parts(source["content"], f"{where}.source.content", drops)
        return {"type": "content", "content": content}
    data = _inline(source, f"{where}.source")
    kind = _text(document.get("format"), f"{where}.format")
    if kind == "pdf":
        return _base64("application/pdf", data)
    if kind not in _TEXTS:
        sentence = f'"{where}" is neither a PDF nor plain text; convert it to PDF'
        raise NotTranslatableError(code="part_unsupported", sentence=sentence)
    try:
        return _plain_text(base64.b64decode(data).decode())
    except ValueError:
        _malformed(f"{where}.source.bytes", "UTF-8 text as base64")


def _plain_text(data: str) -> Params:
    return {"type": "text", "media_type": "text/plain", "data": data}


def _tool_use(value: object, where: str, _drops: Drops) -> list[Params]:
    use = _object(value, where)
    if use.get("type") is not None:
        sentence = f'"{where}" is a call of a tool that Bedrock ran itself; remove it'
        raise NotTranslatableError(code="tool_unsupported", sentence=sentence)
    tool_id, name = (_text(use.get(key), f"{where}.{key}") for key in ("toolUseId", "name"))
    return [{"type": "tool_use", "id": tool_id, "name": name, "input": use.get("input", {})}]


def _tool_result(value: object, where: str, drops: Drops) -> list[Params]:
    result = _object(value, where)
    tool_id = _text(result.get("toolUseId"), f"{where}.toolUseId")
    content = _parts(result.get("content"), f"{where}.content", drops)
    block: Params = {"type": "tool_result", "tool_use_id": tool_id, "content": content}
    return [block | ({"is_error": True} if result.get("status") == "error" else {})]


def _reasoning(value: object, where: str, drops: Drops) -> list[Params]:
    """Return a thinking block. The API takes none without its signature."""
    content = _object(value, where)
    if "redactedContent" in content:
        return [{"type": "redacted_thinking", "data": content["redactedContent"]}]
    reasoning = _object(content.get("reasoningText"), f"{where}.reasoningText")
    if reasoning.get("signature") is None:
        drops.add("reasoningContent")
        return []
    thinking = _text(reasoning.get("text"), f"{where}.reasoningText.text")
    return [{"type": "thinking", "thinking": thinking, "signature": reasoning["signature"]}]


def _guarded(value: object, where: str, drops: Drops) -> list[Params]:
    """Return what a guardrail would assess, without the guardrail."""
    drops.add("guardContent")
    content = _object(value, where)
    if "image" in content:
        return _image(content["image"], f"{where}.image", drops)
    guarded = _object(content.get("text"), f"{where}.text")
    return _text_block(guarded.get("text"), f"{where}.text.text", drops)


def _cited(value: object, where: str, drops: Drops) -> list[Params]:
    """Return the text of an earlier answer without its citations, whose places only Bedrock knows."""
    drops.add("citationsContent")
    content = _object(value, where).get("content")
    blocks = _parts(content, f"{where}.content", drops)
    return blocks if isinstance(blocks, list) else _text_block(blocks, where, drops)


def _search_result(value: object, where: str, drops: Drops) -> list[Params]:
    result = _object(value, where)
    content = _parts(result.get("content"), f"{where}.content", drops)
    names = ("source", "title", "citations")
    kept = {name: result[name] for name in names if result.get(name) is not None}
    return [{"type": "search_result", "content": content, **kept}]


_FIELDS: dict[str, Callable[[object, Drops], Params]] = {
    "additionalModelRequestFields": _additional,
    "inferenceConfig": _inference,
    "messages": _messages,
    "outputConfig": _output,
    "system": _system,
    "toolConfig": _tool_config,
}
_PARTS: dict[str, Callable[[object, str, Drops], list[Params]]] = {
    "text": _text_block,
    "image": _image,
    "document": _document,
    "toolUse": _tool_use,
    "toolResult": _tool_result,
    "reasoningContent": _reasoning,
    "guardContent": _guarded,
    "citationsContent": _cited,
    "searchResult": _search_result,
    "json": _json_block,
}
