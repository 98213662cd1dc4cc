"""Choose the fate of each request, and write its line of results.

A fate is chosen when the batch is accepted, so it does not depend on how results are read. It comes
from a marker in the last user text (``[fate:expired]``, ``[fate:always-overloaded_error]``),
otherwise from a seeded share of all params. A retryable failure happens only the first time that
the same params are seen, unless the marker says always.

Usage is that of the Messages API. Tools, system and messages count; a marked prefix is read from the
cache or written to it; a request with a web search tool searches once. A request that asks for
thinking thinks three tokens for each token of text, within its budget and `max_tokens`.

A marker can change what is billed: ``[usage:{"server_tool_use":{"web_search_requests":3}}]`` replaces
members of the answer's usage. ``[needs:500]`` is answered with 500 tokens of text, ``[thinks:500]`` with as
many of thinking before it; with fewer `max_tokens`, the answer ends there.
"""

import hashlib
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

import msgspec

from local.simulator.params import Block as ContentBlock
from local.simulator.params import Params, ParamsError, validate
from local.simulator.prompt_cache import CacheUse, CacheView
from local.simulator.prompts import CHARS_PER_TOKEN, PromptBlock, blocks_of

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
_LENGTH_MARKER = r"\[%s:(\d+)\]"
_MAX_ECHO_CHARS = 200
_OVERHEAD_TOKENS = 8


class SimulatedAnswer(msgspec.Struct, frozen=True):
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
        self,
        custom_id: str,
        params: bytes | msgspec.Raw,
        *,
        row: int = 0,
        seen: int,
        version: str,
        cache: CacheView | None = None,
    ) -> SimulatedAnswer:
        """Answer one request.

        Args:
            custom_id: identifies the answer.
            params: JSON, as sent.
            row: its number in the batch, from 0.
            seen: how often the same params were accepted before.
            version: the ``anthropic-version`` of the create.
            cache: the cache as the batch sees it; None for no cache.
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
        if fate and fate not in STOPS:
            return _line(custom_id, _failed(fate))
        blocks = _blocks(params, parsed)
        use = CacheUse() if cache is None else cache.use(row, parsed.model, blocks)
        usage = _usage(fate, parsed, text, _prompt_tokens(parsed, blocks), use)
        answer = _message(fate, parsed, text, digest.hex(), usage)
        return _line(custom_id, {"type": "succeeded", "message": answer})

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


def _last_user_text(params: Params) -> str:
    content = next((t.content for t in reversed(params.messages) if t.role == "user"), "")
    if isinstance(content, str):
        return content
    return next((block.text for block in reversed(content) if block.type == "text"), "")


def _failed(fate: str) -> dict[str, object]:
    if fate in {"expired", "canceled"}:
        return {"type": fate}
    if fate == "unknown_result":
        return {"type": "postponed", "until": None}
    return _errored(fate, f"The simulator was asked for {fate}.")


def _errored(kind: str, message: str) -> dict[str, object]:
    """Build an errored result; ``details`` is undocumented, but present in captured results."""
    details = {"error_visibility": "user_facing"}
    error = {"details": details, "type": kind, "message": message}
    return {"type": "errored", "error": {"type": "error", "error": error, "request_id": None}}


_REFUSAL = {
    "type": "refusal",
    "category": "general_harms",
    "explanation": "The simulator was asked for a refusal.",
}


def _message(
    fate: str, params: Params, text: str, digest: str, usage: dict[str, object]
) -> dict[str, object]:
    """Build a message. Optional members of SDK 2.14 are present, as in captured results."""
    is_refusal = fate == "refusal"
    thinking, output_tokens = _output_tokens(fate, params, text)
    marked_tokens = _marked_number("thinks", text) + _marked_number("needs", text)
    is_cut = (thinking and output_tokens == params.max_tokens) or marked_tokens > params.max_tokens
    content: list[dict[str, object]] = []
    if thinking:
        content.append({"type": "thinking", "thinking": "", "signature": digest})
    if not is_refusal and thinking < output_tokens:
        content.append({"type": "text", "text": _reply(text), "citations": None})
    return {
        "model": params.model,
        "id": f"msg_{digest}",
        "type": "message",
        "role": "assistant",
        "content": content,
        "container": None,
        "stop_reason": fate or ("max_tokens" if is_cut else "end_turn"),
        "stop_sequence": None,
        "stop_details": _REFUSAL if is_refusal else None,
        "usage": usage,
        "diagnostics": None,
    }


def _reply(text: str) -> str:
    return f"echo: {text[:_MAX_ECHO_CHARS]}"


def _usage(
    fate: str, params: Params, text: str, prompt_tokens: int, use: CacheUse
) -> dict[str, object]:
    """Build the usage of an answer. Optional members that do not apply are null or 0, as in captured results."""
    thinking, output_tokens = _output_tokens(fate, params, text)
    searches = sum(tool.type.startswith("web_search_") for tool in params.tools or ())
    return {
        "input_tokens": prompt_tokens - sum(use),
        "cache_creation_input_tokens": use.written_5m + use.written_1h,
        "cache_read_input_tokens": use.read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": use.written_5m,
            "ephemeral_1h_input_tokens": use.written_1h,
        },
        "output_tokens": output_tokens,
        "output_tokens_details": {"thinking_tokens": thinking},
        "server_tool_use": {"web_search_requests": searches, "web_fetch_requests": 0}
        if searches
        else None,
        "service_tier": "batch",
        "speed": "standard",
        "inference_geo": params.inference_geo or "not_available",
        **_marked_usage(text),
    }


def _output_tokens(fate: str, params: Params, text: str) -> tuple[int, int]:
    """Return the tokens of thinking, and those of thinking and text together."""
    text_tokens = _marked_number("needs", text) or len(_reply(text)) // CHARS_PER_TOKEN + 1
    thinking = _marked_number("thinks", text)
    if params.thinking is not None and params.thinking.type in {"enabled", "adaptive"}:
        thinking = min(3 * text_tokens, params.thinking.budget_tokens or 3 * text_tokens)
    if fate == "max_tokens":
        return min(thinking, params.max_tokens), params.max_tokens
    return min(thinking, params.max_tokens), min(thinking + text_tokens, params.max_tokens)


def _blocks(params: bytes | msgspec.Raw, parsed: Params) -> list[PromptBlock]:
    """Return the blocks of a prompt with tools or a mark; empty for any other, which is faster."""
    if parsed.tools or b'"cache_control"' in bytes(params):
        return blocks_of(params)
    return []


def _prompt_tokens(params: Params, blocks: list[PromptBlock]) -> int:
    """Return the tokens of a prompt, cached or not."""
    if blocks:
        return blocks[-1].tokens + _OVERHEAD_TOKENS
    contents = [turn.content for turn in params.messages]
    chars = sum(map(_chars, contents if params.system is None else [params.system, *contents]))
    return chars // CHARS_PER_TOKEN + _OVERHEAD_TOKENS


def _chars(content: str | list[ContentBlock]) -> int:
    return len(content) if isinstance(content, str) else sum(len(block.text) for block in content)


def count_input_tokens(params: bytes, parsed: Params) -> int:
    """Return the input tokens that an answer to this request is billed for, cached or not."""
    usage = _marked_usage(_last_user_text(parsed))
    cached = ("cache_creation_input_tokens", "cache_read_input_tokens")
    prompt_tokens = _prompt_tokens(parsed, _blocks(params, parsed))
    counts = [usage.get("input_tokens", prompt_tokens), *map(usage.get, cached)]
    return sum(count for count in counts if isinstance(count, int))


def _marked_number(name: str, text: str) -> int:
    """Return the number in a marker of this name; 0 without one."""
    marker = re.search(_LENGTH_MARKER % name, text)
    return 0 if marker is None else int(marker[1])


def _marked_usage(text: str) -> dict[str, object]:
    """Return the members of usage that the text asks for; none if they are not JSON."""
    marker = _USAGE_MARKER.search(text)
    if marker is None:
        return {}
    try:
        return msgspec.json.decode(marker[1], type=dict[str, object])
    except msgspec.DecodeError:
        return {}


def _line(custom_id: str, result: dict[str, object]) -> SimulatedAnswer:
    line = msgspec.json.encode({"custom_id": custom_id, "result": result}) + b"\n"
    return SimulatedAnswer(str(result["type"]), line)
