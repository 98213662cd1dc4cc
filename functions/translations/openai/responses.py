"""Translate a body of ``/v1/responses``."""

from collections.abc import Mapping
from typing import Any

from functions.translations.contract import NotTranslatableError, Policy, Translated
from functions.translations.openai.changes import Changes
from functions.translations.openai.content import blocks_of, text_blocks, texts_of
from functions.translations.openai.conversation import Conversation
from functions.translations.openai.fields import array, count, invalid, mapping, name, text
from functions.translations.openai.params import READ, OpenAIRequest, translated
from functions.translations.openai.request_options import answer_schema
from functions.translations.openai.tools import read_arguments, read_choice, read_tools

_STATE = ("previous_response_id", "conversation", "prompt")
"""Members that name something stored at OpenAI."""
_READ = READ | {
    *_STATE,
    "system",
    "instructions",
    "input",
    "max_output_tokens",
    "reasoning",
    "text",
    "tools",
    "tool_choice",
}
DROPPED: dict[str, tuple[object, ...]] = {
    "access_programs": (),
    "background": (False,),
    "background_options": (),
    "context_management": ([],),
    "image": (),
    "include": ([],),
    "max_tool_calls": (),
    "moderation": (),
    "prompt_cache_key": (),
    "prompt_cache_options": (),
    "prompt_cache_retention": (),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "stream": (False,),
    "stream_options": (),
    "top_logprobs": (0,),
    "truncation": ("disabled",),
}
"""Member without counterpart → its values that request nothing."""
_READ_INSIDE = frozenset(
    {"reasoning.effort", "reasoning.summary", "reasoning.generate_summary", "text.format"}
)
_DROPPED_INSIDE: dict[str, tuple[object, ...]] = {
    "reasoning.context": ("auto",),
    "reasoning.mode": ("standard",),
    "text.verbosity": ("medium",),
}
"""The same for members of `reasoning` and `text`."""


def translate_responses(body: Mapping[str, Any], policy: Policy) -> Translated:
    """Translate a body. The custom_id is left out."""
    changes = Changes()
    changes.drop_members(body, _READ, DROPPED)
    for member in _STATE:
        if body.get(member) is not None:
            raise _stored(member)
    reasoning = _part(body, "reasoning", changes)
    answer = _part(body, "text", changes)
    summary = reasoning.get("summary") or reasoning.get("generate_summary")
    request = OpenAIRequest(
        body=body,
        conversation=_conversation(body, changes),
        max_tokens=count(body.get("max_output_tokens"), "max_output_tokens"),
        effort=reasoning.get("effort"),
        effort_field="reasoning.effort",
        summary=summary is not None,
        schema=answer_schema(answer.get("format"), "text.format", changes),
        schema_field="text.format",
        tools=read_tools(body.get("tools")),
        choice=read_choice(body.get("tool_choice"), "tool_choice"),
    )
    return translated(request, policy, changes)


def _part(body: Mapping[str, Any], field: str, changes: Changes) -> Mapping[str, Any]:
    """Return an object of the body, and record the members of it that nothing reads."""
    part = mapping({} if body.get(field) is None else body[field], field)
    members = {f"{field}.{own}": value for own, value in part.items()}
    changes.drop_members(members, _READ_INSIDE, _DROPPED_INSIDE)
    return part


def _stored(field: str) -> NotTranslatableError:
    sentence = f'"{field}" names something that is stored at OpenAI; send the whole input instead'
    return NotTranslatableError(code="state_unsupported", sentence=sentence)


def _conversation(body: Mapping[str, Any], changes: Changes) -> Conversation:
    conversation = Conversation(changes)
    conversation.add_system(texts_of(body.get("system"), "system", changes))
    if body.get("instructions") is not None:
        conversation.add_system(text_blocks(text(body["instructions"], "instructions")))
    given = body.get("input")
    if isinstance(given, str):
        conversation.add("user", text_blocks(given), "input")
        return conversation
    for number, value in enumerate(array(given, "input")):
        field = f"input[{number}]"
        _read_item(mapping(value, field), field, conversation, changes)
    return conversation


def _read_item(
    item: Mapping[str, Any], field: str, conversation: Conversation, changes: Changes
) -> None:
    """Read one item of the input into the conversation."""
    kind = item.get("type")
    if kind is None or kind == "message":
        _read_message(item, field, conversation, changes)
    elif kind == "function_call":
        arguments = read_arguments(item.get("arguments"), f"{field}.arguments")
        call_id, tool = (name(item.get(own), f"{field}.{own}") for own in ("call_id", "name"))
        conversation.add("assistant", [conversation.call(call_id, tool, arguments)], field)
    elif kind == "function_call_output":
        output = blocks_of(item.get("output"), f"{field}.output", changes)
        call_id = name(item.get("call_id"), f"{field}.call_id")
        conversation.add("user", [conversation.result(call_id, output, field)], field)
    elif kind == "reasoning":
        changes.drop("input.reasoning")
    elif kind == "item_reference":
        raise _stored(field)
    else:
        sentence = (
            f'"{field}" is of a type without counterpart; use messages, function_call and '
            "function_call_output, and put parts like input_text in the content of a message"
        )
        raise NotTranslatableError(code="input_unsupported", sentence=sentence)


def _read_message(
    message: Mapping[str, Any], field: str, conversation: Conversation, changes: Changes
) -> None:
    role, content = message.get("role"), message.get("content")
    if role in ("system", "developer"):
        conversation.add_system(texts_of(content, f"{field}.content", changes))
    elif role == "user":
        conversation.add("user", blocks_of(content, f"{field}.content", changes), field)
    elif role == "assistant":
        conversation.add("assistant", texts_of(content, f"{field}.content", changes), field)
    else:
        raise invalid(
            field=f"{field}.role", expected='"user", "assistant", "system" or "developer"'
        )
