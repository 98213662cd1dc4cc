"""Write `tools` and `tool_choice` of a request."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from functions.translations.json_schema import SchemaBudget
from functions.translations.openai.changes import Changes
from functions.translations.openai.fields import invalid
from functions.translations.openai.tools import FunctionTool, ToolChoice


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolRules:
    """What the model and the rest of the request allow.

    Attributes:
        can_force: True if the model may be made to call a tool.
        parallel: False if it must call at most one tool at a time.
        called: the tools that the conversation has called.
    """

    can_force: bool
    parallel: bool
    called: Sequence[str]


class ToolWriter:
    """Writes the tools of one request."""

    def __init__(self, rules: ToolRules, budget: SchemaBudget, changes: Changes) -> None:
        self._rules, self._budget, self._changes = rules, budget, changes

    def params(
        self, tools: Sequence[FunctionTool], choice: ToolChoice | None, field: str
    ) -> dict[str, Any]:
        """Return the params.

        Args:
            tools: the tools of the row.
            choice: which of them the model calls; None if the row leaves it to the model.
            field: where the choice is in the body.
        """
        offered = _offered(tools, choice, field)
        if not offered:
            return self._tools_of_messages()
        params: dict[str, Any] = {"tools": [self._tool(tool) for tool in offered]}
        written = {} if choice is None else self._choice(choice, field)
        if not self._rules.parallel and written.get("type") != "none":
            written = {"type": "auto", **written, "disable_parallel_tool_use": True}
        return params | ({"tool_choice": written} if written else {})

    def _tools_of_messages(self) -> dict[str, Any]:
        """Return tools that may not be called, because messages with calls need their tools."""
        if not self._rules.called:
            return {}
        self._changes.note("tools.from_messages")
        tools = [{"name": name, "input_schema": {"type": "object"}} for name in self._rules.called]
        return {"tools": tools, "tool_choice": {"type": "none"}}

    def _tool(self, tool: FunctionTool) -> dict[str, Any]:
        if not tool.strict:
            return tool.members
        schema = self._budget.fit(tool.members["input_schema"], tools=1)
        if schema is None:
            self._changes.drop("tools.strict")
            return tool.members
        return tool.members | {"input_schema": schema, "strict": True}

    def _choice(self, choice: ToolChoice, field: str) -> dict[str, Any]:
        if choice.forced and not self._rules.can_force:
            self._changes.drop(f"{field}.{choice.forced}")
            return {"type": "auto"}
        return {"type": choice.type} | ({"name": choice.tool} if choice.tool else {})


def _offered(
    tools: Sequence[FunctionTool], choice: ToolChoice | None, field: str
) -> list[FunctionTool]:
    """Return the tools that a choice leaves, and check that it names one of them."""
    if choice is None:
        return [*tools]
    allowed = choice.allowed
    offered = [tool for tool in tools if allowed is None or tool.name in allowed]
    names = {tool.name for tool in offered}
    if choice.forced and (not names or choice.tool not in {None, *names}):
        raise invalid(field=field, expected="a choice among the tools of the row")
    return offered
