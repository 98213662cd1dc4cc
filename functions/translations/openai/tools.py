"""Read the tools of a row and which of them the model must call."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from functions.errors import UNREADABLE_JSON
from functions.translations.contract import NotTranslatableError
from functions.translations.openai.fields import (
    array,
    flag,
    invalid,
    mapping,
    name,
    shallow,
    text,
)

_MODES: dict[str, Literal["none", "auto", "any"]] = {
    "none": "none",
    "auto": "auto",
    "required": "any",
}


class FunctionTool(NamedTuple):
    """A function that the model may call, with the members of a tool of the Messages API."""

    name: str
    members: dict[str, Any]
    strict: bool


class ToolChoice(NamedTuple):
    """Which tools the model calls.

    Attributes:
        type: the type of the Messages API.
        tool: the tool that it must call, with the type ``tool``.
        allowed: the only tools that it may call; None for all.
    """

    type: Literal["none", "auto", "any", "tool"]
    tool: str | None = None
    allowed: frozenset[str] | None = None

    @property
    def forced(self) -> str | None:
        """OpenAI's name for a choice that forces a call; None for one that does not."""
        return {"any": "required", "tool": "function"}.get(self.type)


def read_tools(values: object) -> list[FunctionTool]:
    """Read `tools`, nested as in chat completions or flat as in responses; null has none."""
    if values is None:
        return []
    tools = []
    for number, value in enumerate(array(values, "tools")):
        path = f"tools[{number}]"
        tools.append(_function(_inner(value, path), path))
    return tools


def read_functions(values: object) -> list[FunctionTool]:
    """Read `functions`, the old form of tools."""
    if values is None:
        return []
    functions = enumerate(array(values, "functions"))
    return [_function(mapping(value, path := f"functions[{n}]"), path) for n, value in functions]


def read_choice(value: object, field: str) -> ToolChoice | None:
    """Read `tool_choice`, nested as in chat completions or flat as in responses."""
    if value is None:
        return None
    if isinstance(value, str):
        return ToolChoice(_mode(value, field))
    choice = mapping(value, field)
    if choice.get("type") != "allowed_tools":
        return ToolChoice("tool", _named(choice, field))
    allowed = mapping(choice.get("allowed_tools", choice), field)
    names = [
        _named(tool, f"{field}.tools") for tool in array(allowed.get("tools"), f"{field}.tools")
    ]
    return ToolChoice(_mode(allowed.get("mode"), f"{field}.mode"), allowed=frozenset(names))


def read_function_call(value: object) -> ToolChoice | None:
    """Read `function_call`, the old form of `tool_choice`."""
    if not isinstance(value, Mapping):
        return read_choice(value, "function_call")
    return ToolChoice("tool", name(value.get("name"), "function_call.name"))


def read_arguments(value: object, field: str) -> dict[str, Any]:
    """Return the arguments of a tool call, which the API wants as an object."""
    written = "" if value is None else text(value, field)
    try:
        arguments = msgspec.json.decode(written) if written.strip() else {}
    except UNREADABLE_JSON:
        arguments = None
    if not isinstance(arguments, dict):
        sentence = f'"{field}" must be a JSON object in a string'
        raise NotTranslatableError(code="arguments_unreadable", sentence=sentence)
    return shallow(arguments, field)


def _function(function: Mapping[str, Any], field: str) -> FunctionTool:
    own = name(function.get("name"), f"{field}.name")
    members: dict[str, Any] = {"name": own}
    if function.get("description"):
        members["description"] = text(function["description"], f"{field}.description")
    members["input_schema"] = _input_schema(function.get("parameters"), f"{field}.parameters")
    if function.get("cache_control") is not None:
        path = f"{field}.cache_control"
        members["cache_control"] = shallow(mapping(function["cache_control"], path), path)
    return FunctionTool(own, members, flag(function.get("strict"), f"{field}.strict") or False)


def _input_schema(parameters: object, field: str) -> dict[str, Any]:
    if not parameters:
        return {"type": "object", "properties": {}}
    schema = shallow(mapping(parameters, field), field)
    if schema.get("type", "object") != "object":
        raise invalid(field=f"{field}.type", expected='"object"')
    return {"type": "object", **schema}


def _inner(value: object, field: str) -> Mapping[str, Any]:
    """Return the function of a tool. Tools of other types run at OpenAI."""
    tool = mapping(value, field)
    if tool.get("type") != "function":
        sentence = f'"{field}" is a tool of a type that Anthropic does not have; use functions'
        raise NotTranslatableError(code="tool_unsupported", sentence=sentence)
    return mapping(tool.get("function", tool), f"{field}.function")


def _named(value: object, field: str) -> str:
    return name(_inner(value, field).get("name"), f"{field}.name")


def _mode(value: object, field: str) -> Literal["none", "auto", "any"]:
    mode = _MODES.get(text(value, field))
    if mode is None:
        raise invalid(field, '"none", "auto", "required" or a function')
    return mode
