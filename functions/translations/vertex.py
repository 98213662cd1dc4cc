"""Translate rows of Claude's batch predictions on Google Cloud (Vertex AI).

A row is ``{"custom_id", "request"}``. `request` is a Messages body with `anthropic_version`. Rows of Gemini look
alike but hold `contents`; they are recognized so that the rejection can name them.
"""

from collections.abc import Mapping
from typing import Any

from functions.translations.bedrock import choose_model, claude_request
from functions.translations.contract import NotTranslatableError, Policy, Translated
from functions.translations.drops import Drops

_BODY = frozenset({"messages", "contents", "anthropic_version"})
"""Members that distinguish a request from a table's column named `request`."""
_NEWEST = frozenset({"", "default", "latest"})


def matches(row: Mapping[str, Any]) -> bool:
    """Return whether a row is one of Vertex AI; see `contract.Translation`."""
    request = row.get("request")
    has_body = isinstance(request, dict) and not _BODY.isdisjoint(request)
    return "params" not in row and (has_body or isinstance(row.get("contents"), list))


def translate(row: Mapping[str, Any], policy: Policy) -> Translated:
    """Translate a row; see `contract.Translation`.

    Raises:
        NotTranslatableError: the row has no counterpart. Codes: ``gemini_row``, ``malformed_row``,
            ``model_unmapped``, ``unsupported_field``.
    """
    request = row.get("request")
    if "contents" in (request if isinstance(request, dict) else row):
        sentence = (
            'this is a row of Gemini ("contents"), not of Claude; write it as {"custom_id": "…", '
            '"params": {"model": "…", "max_tokens": 1024, "messages": […]}}'
        )
        raise NotTranslatableError(code="gemini_row", sentence=sentence)
    if not isinstance(request, dict):
        sentence = '"request" is missing or malformed; it must be an object'
        raise NotTranslatableError(code="malformed_row", sentence=sentence)
    name = request.get("model")
    model = choose_model(name if isinstance(name, str) else None, policy.models, claude_id)
    return claude_request(row.get("custom_id"), model, request, Drops(policy), policy)


def claude_id(name: str) -> str | None:
    """Return the Claude model that a name on Vertex AI stands for; None if the name does not show it.

    ``publishers/anthropic/models/claude-sonnet-4-5@20250929`` is ``claude-sonnet-4-5-20250929``.
    """
    model, _, date = name.rpartition("/")[2].partition("@")
    if not model.startswith("claude-"):
        return None
    return model if date in _NEWEST else f"{model}-{date}"
