"""Validate a request's params as the API does. It validates after accepting the batch: failures are errored results.

Sources: the fields and types are those of SDK 2.14 (``MessageCreateParamsBase``); any other member is
"Extra inputs are not permitted" (anthropic-sdk-python#1118). The messages about ``stream``, ``max_tokens``, ``messages``
and unknown models were captured from results of the real API in July and September 2026 by others.
"""

from collections.abc import Set as AbstractSet
from operator import attrgetter
from typing import Literal

import msgspec

from local.simulator.errors import api_message

# Parameters that are not allowed in a batch.
NOT_IN_A_BATCH = (
    "speed",
    "store",
    "previous_thread_event_id",
    "cache_hint",
    "context_hint",
    "fallbacks",
)
SAMPLING = ("temperature", "top_p", "top_k")
# Versions that still accept sampling parameters.
OLD_VERSIONS = frozenset(("2023-01-01", "2023-06-01"))

_ABSENT = msgspec.Raw(b"")


class ParamsError(Exception):
    """The API rejects these params.

    Args:
        message: the API's message.
        kind: the API's error type.
    """

    def __init__(self, message: str, kind: str = "invalid_request_error") -> None:
        super().__init__(message)
        self.kind = kind


class Block(msgspec.Struct, gc=False):
    """A content block of any type; other members are ignored."""

    type: str
    text: str = ""


class Turn(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A message of the conversation."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Block]


class Tool(msgspec.Struct, gc=False):
    """A tool of any type; other members are ignored."""

    type: str = "custom"


class Thinking(msgspec.Struct, gc=False):
    """How a request thinks; other members are ignored."""

    type: str = ""
    budget_tokens: int | None = None


class _Object(msgspec.Struct, gc=False):
    """Any object."""


class Params(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """All members that params may have, including those not allowed in a batch."""

    model: str
    max_tokens: int
    messages: list[Turn]
    system: str | list[Block] | None = None
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    tools: list[Tool] | None = None
    tool_choice: _Object | None = None
    thinking: Thinking | None = None
    metadata: _Object | None = None
    output_config: _Object | None = None
    cache_control: _Object | None = None
    diagnostics: _Object | None = None
    container: str | _Object | None = None
    inference_geo: str | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    user_profile_id: str | None = None
    temperature: msgspec.Raw = _ABSENT
    top_p: msgspec.Raw = _ABSENT
    top_k: msgspec.Raw = _ABSENT
    speed: msgspec.Raw = _ABSENT
    store: msgspec.Raw = _ABSENT
    previous_thread_event_id: msgspec.Raw = _ABSENT
    cache_hint: msgspec.Raw = _ABSENT
    context_hint: msgspec.Raw = _ABSENT
    fallbacks: msgspec.Raw = _ABSENT


_decoder = msgspec.json.Decoder(Params)
_disallowed = attrgetter(*NOT_IN_A_BATCH)
_sampling = attrgetter(*SAMPLING)
_NONE_DISALLOWED = (_ABSENT,) * len(NOT_IN_A_BATCH)


def validate(params: bytes | msgspec.Raw, version: str, models: AbstractSet[str]) -> Params:
    """Parse and validate params.

    Args:
        params: JSON, as sent.
        version: the ``anthropic-version`` of the create.
        models: the known models.

    Raises:
        ParamsError: the API rejects them.
    """
    try:
        parsed = _decoder.decode(params)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ParamsError(api_message(str(error))) from None
    if violation := _broken_rule(parsed, version):
        raise ParamsError(violation)
    if parsed.model not in models:
        message = f"model: {parsed.model}"
        raise ParamsError(message, "not_found_error")
    return parsed


def _broken_rule(params: Params, version: str) -> str:
    disallowed = _disallowed(params)
    if disallowed != _NONE_DISALLOWED:  # fast check for the common case
        return f"{_first_present(NOT_IN_A_BATCH, disallowed)}: not allowed inside a batch"
    if params.stream:
        return '"stream=True" is not supported in the Message Batches API'
    if version not in OLD_VERSIONS and (present := _first_present(SAMPLING, _sampling(params))):
        return f"{present}: Extra inputs are not permitted"
    if params.max_tokens < 1:
        return "max_tokens: must be greater than or equal to 1"
    if not params.messages:
        return "messages: at least one message is required"
    return ""


def _first_present(names: tuple[str, ...], values: tuple[msgspec.Raw, ...]) -> str:
    """Return the name of the first present parameter; empty if none is."""
    present = (name for name, value in zip(names, values, strict=True) if value is not _ABSENT)
    return next(present, "")
