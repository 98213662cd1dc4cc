"""Translate bodies of Converse, Bedrock's API for all models, into Messages bodies.

The shapes are those of bedrock-runtime's service model.
"""

import base64
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from functions.translations.contract import NotTranslatableError
from functions.translations.drops import Drops
from functions.translations.shapes import list_of, malformed, object_of, text_of

type Params = dict[str, Any]

PLATFORM = frozenset({"anthropic_version", "anthropic_beta", "model", "modelId"})
"""Members of a body that are headers or chosen elsewhere at Anthropic."""
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


def messages_fields(body: Mapping[str, Any], drops: Drops) -> Params:
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
        elif name not in PLATFORM:
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
    for index, item in enumerate(list_of(value, "messages")):
        where = f"messages[{index}]"
        message = object_of(item, where)
        role = text_of(message.get("role"), f"{where}.role")
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
    config = object_of(value, "inferenceConfig")
    if config.keys() - names.keys():
        drops.add("inferenceConfig")
    return {
        names[name]: item for name, item in config.items() if name in names and item is not None
    }


def _additional(value: object, _drops: Drops) -> Params:
    """Return Claude's own fields. Bedrock's guide calls `thinking` `reasoning_config`, too."""
    fields = dict(object_of(value, "additionalModelRequestFields"))
    reasoning = fields.pop("reasoning_config", None)
    return {"thinking": reasoning, **fields} if reasoning is not None else fields


def _output(value: object, _drops: Drops) -> Params:
    """Return `output_config`. The JSON schema is a string on Bedrock."""
    config = object_of(value, "outputConfig")
    output: Params = {}
    if config.get("effort") is not None:
        output["effort"] = config["effort"]
    if config.get("textFormat") is not None:
        where = "outputConfig.textFormat.structure"
        text_format = object_of(config["textFormat"], "outputConfig.textFormat")
        structure = object_of(text_format.get("structure"), where)
        json_schema = object_of(structure.get("jsonSchema"), f"{where}.jsonSchema")
        schema = _schema(json_schema.get("schema"), f"{where}.jsonSchema.schema")
        output["format"] = {"type": "json_schema", "schema": schema}
    return {"output_config": output} if output else {}


def _schema(value: object, where: str) -> Params:
    try:
        return msgspec.json.decode(text_of(value, where), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        malformed(where, "a JSON schema, as a string")


def _tool_config(value: object, drops: Drops) -> Params:
    config = object_of(value, "toolConfig")
    tools: list[Params] = []
    for index, item in enumerate(list_of(config.get("tools"), "toolConfig.tools")):
        where = f"toolConfig.tools[{index}]"
        tool = object_of(item, where)
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
    spec = object_of(value, where)
    schema = object_of(
        object_of(spec.get("inputSchema"), f"{where}.inputSchema").get("json"), where
    )
    tool: Params = {"name": text_of(spec.get("name"), f"{where}.name"), "input_schema": schema}
    return tool | {name: spec[name] for name in ("description", "strict") if name in spec}


def _choice(value: object) -> Params:
    choice = object_of(value, "toolConfig.toolChoice")
    if "tool" in choice:
        tool = object_of(choice["tool"], "toolConfig.toolChoice.tool")
        return {
            "type": "tool",
            "name": text_of(tool.get("name"), "toolConfig.toolChoice.tool.name"),
        }
    if choice.keys() & {"auto", "any"}:
        return {"type": "any" if "any" in choice else "auto"}
    return malformed("toolConfig.toolChoice", 'one of "auto", "any" and "tool"')


def _parts(value: object, where: str, drops: Drops) -> str | list[Params]:
    """Return the parts of a system prompt, a message or a tool result as content blocks."""
    if isinstance(value, str):
        return value
    blocks: list[Params] = []
    for index, item in enumerate(list_of(value, where)):
        part = object_of(item, f"{where}[{index}]")
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
    """Cache up to the last block. Bedrock marks the place after it, Anthropic the block itself."""
    ttl = object_of(value, where).get("ttl")
    if not blocks or blocks[-1].get("type") in _UNCACHEABLE:
        drops.add("cachePoint")
        return
    blocks[-1]["cache_control"] = {"type": "ephemeral"} | ({"ttl": ttl} if ttl is not None else {})


def _text_block(value: object, where: str, _drops: Drops) -> list[Params]:
    return [{"type": "text", "text": text_of(value, where)}]


def _json_block(value: object, where: str, _drops: Drops) -> list[Params]:
    """Return a tool's result in JSON as text."""
    try:
        return [{"type": "text", "text": msgspec.json.encode(value).decode()}]
    except (RecursionError, UnicodeError):
        malformed(where, "JSON of valid text, less deeply nested")


def _image(value: object, where: str, _drops: Drops) -> list[Params]:
    image = object_of(value, where)
    kind = text_of(image.get("format"), f"{where}.format")
    if kind not in _IMAGES:
        malformed(f"{where}.format", '"png", "jpeg", "gif" or "webp"')
    data = _inline(object_of(image.get("source"), f"{where}.source"), f"{where}.source")
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
    return text_of(source.get("bytes"), f"{where}.bytes")


def _document(value: object, where: str, drops: Drops) -> list[Params]:
    document = object_of(value, where)
    source = object_of(document.get("source"), f"{where}.source")
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
        return _plain_text(text_of(source["text"], f"{where}.source.text"))
    if "content" in source:
        content = _parts(source["content"], f"{where}.source.content", drops)
        return {"type": "content", "content": content}
    data = _inline(source, f"{where}.source")
    kind = text_of(document.get("format"), f"{where}.format")
    if kind == "pdf":
        return _base64("application/pdf", data)
    if kind not in _TEXTS:
        sentence = f'"{where}" is neither a PDF nor plain text; convert it to PDF'
        raise NotTranslatableError(code="part_unsupported", sentence=sentence)
    try:
        return _plain_text(base64.b64decode(data).decode())
    except ValueError:
        malformed(f"{where}.source.bytes", "UTF-8 text as base64")


def _plain_text(data: str) -> Params:
    return {"type": "text", "media_type": "text/plain", "data": data}


def _tool_use(value: object, where: str, _drops: Drops) -> list[Params]:
    use = object_of(value, where)
    if use.get("type") is not None:
        sentence = f'"{where}" is a call of a tool that Bedrock ran itself; remove it'
        raise NotTranslatableError(code="tool_unsupported", sentence=sentence)
    tool_id, name = (text_of(use.get(key), f"{where}.{key}") for key in ("toolUseId", "name"))
    return [{"type": "tool_use", "id": tool_id, "name": name, "input": use.get("input", {})}]


def _tool_result(value: object, where: str, drops: Drops) -> list[Params]:
    result = object_of(value, where)
    tool_id = text_of(result.get("toolUseId"), f"{where}.toolUseId")
    content = _parts(result.get("content"), f"{where}.content", drops)
    block: Params = {"type": "tool_result", "tool_use_id": tool_id, "content": content}
    return [block | ({"is_error": True} if result.get("status") == "error" else {})]


def _reasoning(value: object, where: str, drops: Drops) -> list[Params]:
    """Return a thinking block. The API takes none without its signature."""
    content = object_of(value, where)
    if "redactedContent" in content:
        return [{"type": "redacted_thinking", "data": content["redactedContent"]}]
    reasoning = object_of(content.get("reasoningText"), f"{where}.reasoningText")
    if reasoning.get("signature") is None:
        drops.add("reasoningContent")
        return []
    thinking = text_of(reasoning.get("text"), f"{where}.reasoningText.text")
    return [{"type": "thinking", "thinking": thinking, "signature": reasoning["signature"]}]


def _guarded(value: object, where: str, drops: Drops) -> list[Params]:
    """Return what a guardrail would assess, without the guardrail."""
    drops.add("guardContent")
    content = object_of(value, where)
    if "image" in content:
        return _image(content["image"], f"{where}.image", drops)
    guarded = object_of(content.get("text"), f"{where}.text")
    return _text_block(guarded.get("text"), f"{where}.text.text", drops)


def _cited(value: object, where: str, drops: Drops) -> list[Params]:
    """Return the text of an earlier answer without its citations, whose places only Bedrock knows."""
    drops.add("citationsContent")
    content = object_of(value, where).get("content")
    blocks = _parts(content, f"{where}.content", drops)
    return blocks if isinstance(blocks, list) else _text_block(blocks, where, drops)


def _search_result(value: object, where: str, drops: Drops) -> list[Params]:
    result = object_of(value, where)
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
