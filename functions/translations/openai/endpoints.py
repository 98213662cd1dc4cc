"""Find out which endpoint of OpenAI a row is for."""

from collections.abc import Mapping
from enum import Enum
from typing import Any


class Endpoint(Enum):
    """An endpoint with a counterpart at Anthropic, by the end of its URL."""

    CHAT = "/chat/completions"
    COMPLETIONS = "/completions"
    RESPONSES = "/responses"


def endpoint_of(row: Mapping[str, Any]) -> Endpoint | None:
    """Return the endpoint of a row; None for one without counterpart.

    Azure's URLs have another beginning. A row without URL is for chat completions.
    """
    url = row.get("url")
    if url is None:
        return Endpoint.CHAT
    if not isinstance(url, str):
        return None
    path = "/" + url.partition("?")[0].strip("/")
    return next((endpoint for endpoint in Endpoint if path.endswith(endpoint.value)), None)
