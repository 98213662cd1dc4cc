"""Translate a body of ``/v1/chat/completions``."""

from collections.abc import Mapping
from typing import Any

from functions.translations.contract import NotTranslatableError, Policy, Translated
from functions.translations.openai.changes import Changes
from functions.translations.openai.content import Block, blocks_of, text_blocks, texts_of
from functions.translations.openai.conversation import Conversation
from functions.translations.openai.fields import (
    array,
    count,
    invalid,
    mapping,
    name,
    text,
)
from functions.translations.openai.params import READ, OpenAIRequest, translated
from functions.translations.openai.request_options import answer_schema, check_single_answer
from functions.translations.openai.tools import (
    read_arguments,
    read_choice,
    read_function_call,
    read_functions,
    read_tools,
)

_READ = READ | {
    "messages",
    "system",
    "max_tokens",
    "max_completion_tokens",
    "reasoning_effort",
    "response_format",
    "tools",
    "tool_choice",
    "functions",
    "function_call",
    "web_search_options",
    "n",
}
DROPPED: dict[str, tuple[object, ...]] = {
    "audio": (),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "moderation": (),
    "prediction": (),
    "presence_penalty": (0,),
    "prompt_cache_key": (),
    "prompt_cache_options": (),
    "prompt_cache_retention": (),
    "seed": (),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "stream": (False,),
    "stream_options": (),
    "top_logprobs": (0,),
    "verbosity": ("medium",),
}
"""Member without counterpart → its values that request nothing."""


def translate_chat(body: Mapping[str, Any], policy: Policy) -> Translated:
    """Translate a body. The custom_id is left out."""
    changes = Changes()
    changes.drop_members(body, _READ, DROPPED)
    check_single_answer(body.get("n"), "n")
    if body.get("web_search_options") is not None:
        sentence = '"web_search_options" has no counterpart in a batch; remove it'
        raise NotTranslatableError(code="tool_unsupported", sentence=sentence)
    tools = read_tools(body.get("tools")) + read_functions(body.get("functions"))
    old_style = body.get("tool_choice") is None and body.get("function_call") is not None
    request = OpenAIRequest(
        body=body,
        conversation=_conversation(body, changes),
        max_tokens=_max_tokens(body),
        effort=body.get("reasoning_effort"),
        schema=answer_schema(body.get("response_format"), "response_format", changes),
        tools=tools,
        choice=read_function_call(body["function_call"])
        if old_style
        else read_choice(body.get("tool_choice"), "tool_choice"),
        choice_field="function_call" if old_style else "tool_choice",
    )
    return translated(request, policy, changes)


def _max_tokens(body: Mapping[str, Any]) -> int | None:
    newer = count(body.get("max_completion_tokens"), "max_completion_tokens")
    older = count(body.get("max_tokens"), "max_tokens")
    return newer or older


def _conversation(body: Mapping[str, Any], changes: Changes) -> Conversation:
    conversation = Conversation(changes)
    conversation.add_system(texts_of(body.get("system"), "system", changes))
    reader = _Messages(conversation, changes)
    for number, value in enumerate(array(body.get("messages"), "messages")):
        field = f"messages[{number}]"
        reader.read(mapping(value, field), field)
    return conversation


class _Messages:
    """Reads messages into a conversation."""

    def __init__(self, conversation: Conversation, changes: Changes) -> None:
        self._conversation, self._changes = conversation, changes
        self._functions_called = 0

    def read(self, message: Mapping[str, Any], field: str) -> None:
        """Read one message."""
        role = message.get("role")
        content = f"{field}.content"
        if role not in ("tool", "function") and message.get("name") is not None:
            self._changes.drop("messages.name")
        if role in ("system", "developer"):
            blocks = texts_of(message.get("content"), content, self._changes)
            self._conversation.add_system(blocks)
        elif role == "user":
            blocks = blocks_of(message.get("content"), content, self._changes)
            self._conversation.add("user", blocks, field)
        elif role == "assistant":
            self._conversation.add("assistant", self._assistant(message, field), field)
        elif role in ("tool", "function"):
            self._conversation.add("user", [self._result(message, field)], field)
        else:
            raise invalid(field=f"{field}.role", expected="a role of chat completions")

    def _assistant(self, message: Mapping[str, Any], field: str) -> list[Block]:
        if message.get("audio") is not None:
            self._changes.drop("messages.audio")
        blocks = texts_of(message.get("content"), f"{field}.content", self._changes)
        if message.get("refusal") is not None:
            refusal = text_blocks(text(message["refusal"], f"{field}.refusal"))
            if blocks and refusal:
                self._changes.drop("refusal")
            blocks = blocks or refusal
        return blocks + self._calls(message, field)

    def _calls(self, message: Mapping[str, Any], field: str) -> list[Block]:
        calls = []
        for number, value in enumerate(
            array(message.get("tool_calls") or [], f"{field}.tool_calls")
        ):
            at = f"{field}.tool_calls[{number}]"
            call = mapping(value, at)
            call_id = name(call.get("id"), f"{at}.id")
            calls.append(self._call(call_id, call.get("function"), f"{at}.function"))
        if message.get("function_call") is not None:
            self._functions_called += 1
            call_id = f"call_{self._functions_called}"
            calls.append(self._call(call_id, message["function_call"], f"{field}.function_call"))
        return calls

    def _call(self, call_id: str, value: object, field: str) -> Block:
        function = mapping(value, field)
        arguments = read_arguments(function.get("arguments"), f"{field}.arguments")
        tool = name(function.get("name"), f"{field}.name")
        return self._conversation.call(call_id, tool, arguments)

    def _result(self, message: Mapping[str, Any], field: str) -> Block:
        content = blocks_of(message.get("content"), f"{field}.content", self._changes)
        if message["role"] == "function":
            call_id = f"call_{self._functions_called}"
        else:
            call_id = name(message.get("tool_call_id"), f"{field}.tool_call_id")
        return self._conversation.result(call_id, content, field)
