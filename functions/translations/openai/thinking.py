"""Decide how much a request thinks.

Thinking counts toward `max_tokens`. A row with 256 of them, written for a model without thinking, would
spend all of them on thinking and return no text. So thinking is off unless the row asks for it.
"""

from typing import Any, NamedTuple

from functions.model.capabilities import Capabilities
from functions.translations.contract import Policy
from functions.translations.openai.changes import Changes
from functions.translations.openai.fields import invalid

_EFFORTS = {"minimal": "low"} | {name: name for name in ("low", "medium", "high", "xhigh", "max")}
_BUDGETS = {"low": 1024, "medium": 2048, "high": 4096, "xhigh": 8192, "max": 16_384}
"""Tokens of thinking by effort, for models that take no adaptive thinking. LiteLLM uses the same numbers."""


class ThinkingPlan(NamedTuple):
    """How much a request thinks.

    Attributes:
        param: the value of `thinking`; None to send none.
        effort: the value of `output_config.effort`; None to send none.
        headroom: tokens to add to `max_tokens`.
        budget: tokens of thinking that `max_tokens` must exceed.
    """

    param: dict[str, Any] | None = None
    effort: str | None = None
    headroom: int = 0
    budget: int = 0

    @property
    def manual(self) -> bool:
        """Whether thinking has a budget of tokens, which excludes a forced tool choice."""
        return self.param is not None and self.param.get("type") == "enabled"

    @property
    def on(self) -> bool:
        """Whether the request asks for thinking, which excludes sampling parameters."""
        return self.manual or (self.param is not None and self.param.get("type") == "adaptive")

    def summarized(self, changes: Changes) -> "ThinkingPlan":
        """Return it with a summary of the thinking in the answer, unless thinking is off."""
        param = self.param or ({"type": "adaptive"} if self.effort else None)
        if param is None or not self._replace(param=param).on:
            changes.drop("reasoning.summary")
            return self
        return self._replace(param=param | {"display": "summarized"})


def thinking_at(
    effort: object, field: str, *, model: Capabilities, policy: Policy, changes: Changes
) -> ThinkingPlan:
    """Return how much a request thinks at an effort.

    Args:
        effort: OpenAI's reasoning effort; None or ``none`` for no thinking.
        field: the name of the effort in the row.
        model: what the model accepts.
        policy: how to translate.
        changes: records what is dropped and changed.
    """
    if effort is None or effort == "none":
        thinking = _off(model, policy, changes)
        if effort and thinking.headroom:
            changes.drop(f"{field}.none")
        return thinking
    wanted = _EFFORTS.get(effort) if isinstance(effort, str) else None
    if wanted is None:
        raise invalid(field, '"none", "minimal", "low", "medium", "high", "xhigh" or "max"')
    if not model.adaptive:
        budget = _BUDGETS[wanted]
        return ThinkingPlan({"type": "enabled", "budget_tokens": budget}, budget=budget)
    if wanted not in model.efforts:
        changes.drop(f"{field}.{wanted}")
        wanted = "high"
    return ThinkingPlan({"type": "adaptive"}, wanted)


def _off(model: Capabilities, policy: Policy, changes: Changes) -> ThinkingPlan:
    """Return the least thinking of a model."""
    if not model.thinks_by_default:
        return ThinkingPlan()
    if model.thinking_off is not None:
        changes.note("thinking.off")
        return ThinkingPlan(dict(model.thinking_off))
    changes.note("effort.low")
    changes.note("max_tokens.headroom")
    return ThinkingPlan(effort="low", headroom=policy.thinking_headroom)
