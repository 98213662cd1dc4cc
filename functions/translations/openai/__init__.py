"""Translate rows of OpenAI's Batch API: ``{"custom_id", "method", "url", "body"}``."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from functions.translations.contract import NotTranslatableError, Policy, Translated
from functions.translations.openai.chat import translate_chat
from functions.translations.openai.completions import translate_completions
from functions.translations.openai.endpoints import Endpoint, endpoint_of
from functions.translations.openai.responses import translate_responses

_TRANSLATIONS: dict[Endpoint, Callable[[Mapping[str, Any], Policy], Translated]] = {
    Endpoint.CHAT: translate_chat,
    Endpoint.COMPLETIONS: translate_completions,
    Endpoint.RESPONSES: translate_responses,
}


def matches(row: Mapping[str, Any]) -> bool:
    """Return whether a row is of this API; see `contract.Translation`.

    Some tools leave out `method` and `url`. A `body` that is not an object may be a column of a table.
    """
    if "params" in row:
        return False
    return isinstance(row.get("body"), Mapping) or ("method" in row and "url" in row)


def translate(row: Mapping[str, Any], policy: Policy) -> Translated:
    """Translate a row; see `contract.Translation`."""
    method = row.get("method")
    if method is not None and (not isinstance(method, str) or method.upper() != "POST"):
        sentence = '"method" must be "POST"'
        raise NotTranslatableError(code="method_unsupported", sentence=sentence)
    body = row.get("body")
    if not isinstance(body, Mapping):
        sentence = '"body" is missing or not an object; it must be the body of a request to OpenAI'
        raise NotTranslatableError(code="no_body", sentence=sentence)
    endpoint = endpoint_of(row)
    if endpoint is None:
        sentence = (
            '"url" names an endpoint that has no counterpart at Anthropic; use /v1/chat/completions, '
            "/v1/responses or /v1/completions"
        )
        raise NotTranslatableError(code="endpoint_unsupported", sentence=sentence)
    translated = _TRANSLATIONS[endpoint](body, policy)
    return msgspec.structs.replace(translated, custom_id=_custom_id(row.get("custom_id")))


def _custom_id(value: object) -> str | int | float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return value
