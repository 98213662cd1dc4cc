"""Choose the fate of each request, and write its line of results.

A fate is chosen when the batch is accepted, so it does not depend on how results are read. It comes
from a marker in the last user text (``[fate:expired]``, ``[fate:always-overloaded_error]``),
otherwise from a seeded share of all params. A retryable failure happens only the first time that
the same params are seen, unless the marker says always.

A marker can also change what is billed: ``[usage:{"server_tool_use":{"web_search_requests":3}}]``
replaces members of the answer's usage.
"""

import hashlib
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

import msgspec

from local.simulator.params import Params, ParamsError, validate

RETRYABLE = frozenset(
    ("expired", "canceled", "api_error", "overloaded_error", "timeout_error", "rate_limit_error")
)
ERRORS = frozenset(
    (
        "invalid_request_error",
        "authentication_error",
        "permission_error",
        "billing_error",
        "not_found_error",
        "unknown_error",
    )
)
STOPS = frozenset(("refusal", "max_tokens", "pause_turn", "model_context_window_exceeded"))
FATES = RETRYABLE | ERRORS | STOPS | {"unknown_result"}

_MARKER = re.compile(r"\[fate:(always-)?([a-z_]+)\]")
_USAGE_MARKER = re.compile(r"\[usage:(\{.*\})\]", re.DOTALL)
_MAX_ECHO_CHARS = 200


class Answer(msgspec.Struct, frozen=True):
    """The outcome of a request: ``kind`` is the API's result type, ``line`` its line of results."""

    kind: str
    line: bytes


class Answers:
    """Answers requests deterministically.

    Args:
        fates: share of requests by fate, such as ``{"expired": 0.03}``; they add up to at most 1.
        seed: selects the requests with a fate.
        models: the known models; the set may change.
    """

    def __init__(self, fates: Mapping[str, float], seed: int, models: AbstractSet[str]) -> None:
        if unknown := set(fates) - FATES:
            message = f"there is no fate {min(unknown)!r}; choose from {', '.join(sorted(FATES))}"
            raise ValueError(message)
        if min(fates.values(), default=0) < 0 or sum(fates.values()) > 1:
            message = "the shares of all fates must be positive and add up to at most 1"
            raise ValueError(message)
        self._fates = dict(fates)
        self._key = seed.to_bytes(8, "big", signed=True)
        self._models = models

    def answer(
        self, custom_id: str, params: bytes | msgspec.Raw, *, seen: int, version: str
    ) -> Answer:
        """Answer one request.

        Args:
            custom_id: identifies the answer.
            params: JSON, as sent.
            seen: how often the same params were accepted before.
            version: the ``anthropic-version`` of the create.
        """
        try:
            parsed = validate(params, version, self._models)
        except ParamsError as error:
            return _line(custom_id, _errored(error.kind, str(error)))
        text = _last_user_text(parsed)
        digest = hashlib.blake2b(memoryview(params), digest_size=8, key=self._key).digest()
        fate = self._fate(text, digest, first=seen == 0)
        if fate not in FATES | {""}:
            message = f"the simulator knows no fate {fate!r}"
            return _line(custom_id, _errored("invalid_request_error", message))
        return _line(custom_id, _result(fate, parsed, text, digest.hex()))

    def _fate(self, text: str, digest: bytes, *, first: bool) -> str:
        """Return the request's fate; empty for a normal answer."""
        if marked := _MARKER.search(text):
            always, fate = marked.groups()
            return "" if fate in RETRYABLE and not (first or always) else fate
        position = int.from_bytes(digest, "big") / 2**64
        for fate, share in self._fates.items():
            if position < share:
                return fate if first or fate not in RETRYABLE else ""
            position -= share
        return ""


def unfinished_line(line: bytes, kind: str) -> bytes:
    """Return the line of a request that was unfinished when its batch ended."""
    head, _, _ = line.partition(b',"result":')
    return head + b',"result":{"type":"' + kind.encode() + b'"}}\n'


def _last_user_text(params: Params) -> str:
    content = next((t.content for t in reversed(params.messages) if t.role == "user"), "")
    if isinstance(content, str):
        return content
    return next((block.text for block in reversed(content) if block.type == "text"), "")


def _result(fate: str, params: Params, text: str, digest: str) -> dict[str, object]:
    if fate in {"expired", "canceled"}:
        return {"type": fate}
    if fate == "unknown_result":
        return {"type": "postponed", "until": None}
    if fate and fate not in STOPS:
        return _errored(fate, f"The simulator was asked for {fate}.")
    return {"type": "succeeded", "message": _message(fate, params, text, digest)}


def _errored(kind: str, message: str) -> dict[str, object]:
    """Build an errored result; ``details`` is undocumented, but present in captured results."""
    details = {"error_visibility": "user_facing"}
    error = {"details": details, "type": kind, "message": message}
    return {"type": "errored", "error": {"type": "error", "error": error, "request_id": None}}


# Constant members of a message. Optional members of SDK 2.14 are present, as in captured results: null, or the
# value for a request without caching, tools and thinking.
_CACHE = {
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
}
_BATCH = {
    "output_tokens_details": {"thinking_tokens": 0},
    "server_tool_use": None,
    "service_tier": "batch",
    "speed": "standard",
}
_REFUSAL = {
    "type": "refusal",
    "category": "general_harms",
    "explanation": "The simulator was asked for a refusal.",
}


def _message(fate: str, params: Params, text: str, digest: str) -> dict[str, object]:
    reply_text = f"echo: {text[:_MAX_ECHO_CHARS]}"
    output_tokens = (
        params.max_tokens
        if fate == "max_tokens"
        else min(len(reply_text) // 4 + 1, params.max_tokens)
    )
    is_refusal = fate == "refusal"
    return {
        "model": params.model,
        "id": f"msg_{digest}",
        "type": "message",
        "role": "assistant",
        "content": [] if is_refusal else [{"type": "text", "text": reply_text, "citations": None}],
        "container": None,
        "stop_reason": fate or "end_turn",
        "stop_sequence": None,
        "stop_details": _REFUSAL if is_refusal else None,
        "usage": {
            "input_tokens": _input_tokens(params),
            **_CACHE,
            "output_tokens": output_tokens,
            **_BATCH,
            "inference_geo": params.inference_geo or "not_available",
            **_marked_usage(text),
        },
        "diagnostics": None,
    }


def _input_tokens(params: Params) -> int:
    input_chars = sum(
        len(turn.content)
        if isinstance(turn.content, str)
        else sum(len(block.text) for block in turn.content)
        for turn in params.messages
    )
    return input_chars // 4 + 8


def count_input_tokens(params: Params) -> int:
    """Return the input tokens that an answer to this request is billed for, cached or not."""
    usage = _marked_usage(_last_user_text(params))
    cached = ("cache_creation_input_tokens", "cache_read_input_tokens")
    counts = [usage.get("input_tokens", _input_tokens(params)), *map(usage.get, cached)]
    return sum(count for count in counts if isinstance(count, int))


def _marked_usage(text: str) -> dict[str, object]:
    """Return the members of usage that the text asks for; none if they are not JSON."""
    marker = _USAGE_MARKER.search(text)
    if marker is None:
        return {}
    try:
        return msgspec.json.decode(marker[1], type=dict[str, object])
    except msgspec.DecodeError:
        return {}


def _line(custom_id: str, result: dict[str, object]) -> Answer:
    line = msgspec.json.encode({"custom_id": custom_id, "result": result}) + b"\n"
    return Answer(str(result["type"]), line)
