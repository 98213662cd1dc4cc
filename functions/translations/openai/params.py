"""Write the params of a Messages request from what a row asks for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from functions.model.capabilities import Capabilities
from functions.translations.contract import Policy, Translated
from functions.translations.json_schema import SchemaBudget
from functions.translations.openai.changes import Changes
from functions.translations.openai.conversation import Conversation
from functions.translations.openai.fields import flag, mapping, shallow
from functions.translations.openai.model_map import claude_model
from functions.translations.openai.request_options import betas, metadata, sampling, stop_sequences
from functions.translations.openai.thinking import ThinkingPlan, thinking_at
from functions.translations.openai.tool_params import ToolRules, ToolWriter
from functions.translations.openai.tools import FunctionTool, ToolChoice

READ = frozenset(
    {
        "model",
        "temperature",
        "top_p",
        "top_k",
        "stop",
        "parallel_tool_calls",
        "user",
        "safety_identifier",
        "metadata",
        "thinking",
        "output_config",
        "cache_control",
        "anthropic_beta",
    }
)
"""The members of a body that are read here. The last four and `top_k` are Anthropic's own.

`metadata` is not sent; the export writes it beside the answer.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenAIRequest:
    """What a row asks for, whatever its endpoint.

    Attributes:
        body: the body of the row, for the members in `READ`.
        conversation: its messages.
        max_tokens: the most tokens that it wants; None if it does not say.
        effort: its reasoning effort, unchecked.
        effort_field: where the effort is in the body.
        summary: True if it wants a summary of the thinking.
        schema: the schema that the answer must follow; None for free text.
        schema_field: where the schema is in the body.
        tools: its tools.
        choice: which of them the model calls.
        choice_field: where the choice is in the body.
    """

    body: Mapping[str, Any]
    conversation: Conversation
    max_tokens: int | None = None
    effort: object = None
    effort_field: str = "reasoning_effort"
    summary: bool = False
    schema: object = None
    schema_field: str = "response_format"
    tools: Sequence[FunctionTool] = ()
    choice: ToolChoice | None = None
    choice_field: str = "tool_choice"


def translated(request: OpenAIRequest, policy: Policy, changes: Changes) -> Translated:
    """Return the request for Claude, without custom_id.

    Raises:
        NotTranslatableError: it has no counterpart, or the policy rejects what was dropped.
    """
    params = _Writer(request, policy, changes).params()
    if policy.reject_unsupported:
        changes.reject_drops()
    needed = betas(request.body.get("anthropic_beta"))
    return Translated(custom_id=None, params=params, betas=needed, changes=changes.names())


class _Writer:
    """Writes one request for its model."""

    def __init__(self, request: OpenAIRequest, policy: Policy, changes: Changes) -> None:
        self._request, self._policy, self._changes = request, policy, changes
        self._body, self._budget = request.body, SchemaBudget()
        self._model = claude_model(request.body.get("model"), policy)
        self._can = self._capabilities()
        self._thinking = self._how_much_thinking()

    def params(self) -> dict[str, Any]:
        """Return the params."""
        params = {"model": self._model, "max_tokens": self._max_tokens()}
        config = self._output_config()
        structured = "format" in config
        params |= self._request.conversation.params(self._can, structured=structured)
        params |= {"output_config": config} if config else {}
        params |= {"thinking": self._thinking.param} if self._thinking.param else {}
        params |= self._sampling() | self._tools()
        params |= stop_sequences(self._body.get("stop"), self._changes)
        params |= metadata(self._body, self._changes)
        cache_control = self._own("cache_control")
        return params | ({"cache_control": cache_control} if cache_control else {})

    def _own(self, name: str) -> dict[str, Any]:
        """Return a member that the body has in Anthropic's form; empty if it has none."""
        value = self._body.get(name)
        return {} if value is None else shallow(dict(mapping(value, name)), name)

    def _capabilities(self) -> Capabilities:
        known = self._policy.capabilities_of(self._model)
        if known is None:
            self._changes.note("model.unknown")
        return known or self._policy.unknown_model

    def _how_much_thinking(self) -> ThinkingPlan:
        own = self._own("thinking")
        effort = self._request.effort
        if own or (effort in (None, "none") and "effort" in self._own("output_config")):
            return ThinkingPlan(own or None)
        thinking = thinking_at(
            effort,
            self._request.effort_field,
            model=self._can,
            policy=self._policy,
            changes=self._changes,
        )
        return thinking.summarized(self._changes) if self._request.summary else thinking

    def _max_tokens(self) -> int:
        wanted, most = self._request.max_tokens, self._can.max_output_tokens
        if wanted is None:
            self._changes.note("max_tokens.default")
            wanted = self._policy.default_max_tokens
        elif wanted > most:
            self._changes.note("max_tokens.capped")
        if wanted <= self._thinking.budget:
            self._changes.note("max_tokens.headroom")
            wanted += self._thinking.budget
        return min(wanted + self._thinking.headroom, most)

    def _output_config(self) -> dict[str, Any]:
        config = self._own("output_config")
        if self._thinking.effort is not None:
            config["effort"] = self._thinking.effort
        if self._request.schema is not None:
            schema = self._budget.fit(self._request.schema, tools=0)
            if schema is None:
                self._changes.drop(f"{self._request.schema_field}.json_schema")
            else:
                config["format"] = {"type": "json_schema", "schema": schema}
        return config

    def _sampling(self) -> dict[str, Any]:
        accepted = self._policy.takes_sampling(self._model)
        return sampling(self._body, self._changes, accepted=accepted and not self._thinking.on)

    def _tools(self) -> dict[str, Any]:
        request = self._request
        parallel = flag(self._body.get("parallel_tool_calls"), "parallel_tool_calls")
        rules = ToolRules(
            can_force=self._can.forced_tool_choice and not self._thinking.manual,
            parallel=parallel is not False,
            called=request.conversation.tools_called,
        )
        writer = ToolWriter(rules, self._budget, self._changes)
        return writer.params(request.tools, request.choice, request.choice_field)
