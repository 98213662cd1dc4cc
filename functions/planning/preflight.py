"""Find requests that are certain to fail. The API reports such rows only when their batch ends.

What is only likely to fail is sent: a wrong rejection costs the user more than a failed row, which is not billed.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from functions.model.capabilities import Capabilities, capabilities_of, list_of

IMAGE_BYTES = 10 * 1024 * 1024
"""Largest image, decoded. Errors of the API up to 2026-03 quote 5 MB of base64 (claude-code#19631); the limit may
have risen since, so twice that is allowed."""
DOCUMENT_BYTES = 32 * 1024 * 1024
"""Largest document, in characters, of base64 or of text: a whole Messages request may have 32 MB."""
MIN_THINKING_MAX_TOKENS = 2_000
"""Below this, thinking may use up `max_tokens` and leave no text."""
_FORCED = ("any", "tool")

type _Finding = tuple[str, str]


@dataclass(frozen=True)
class Preflight:
    """The checks of one job.

    Attributes:
        today: the day of the job's claim in ISO 8601, for models that retire.
        betas: the values of `anthropic-beta` of the job.
        skip_checks: the codes of checks that are turned off.
        capability_list: the version of the list that says what each model accepts; None for the newest.
    """

    today: str
    betas: frozenset[str] = frozenset()
    skip_checks: frozenset[str] = frozenset()
    capability_list: str | None = None

    def with_betas(self, betas: Iterable[str]) -> "Preflight":
        """Return the checks of a row that needs more values of `anthropic-beta`."""
        return replace(self, betas=self.betas | {*betas}) if betas else self

    def refusal(self, params: Mapping[str, Any]) -> tuple[str, str] | None:
        """Return why the API is certain to refuse a request: a rejection code and a sentence. None if it is not."""
        model = params.get("model")
        known = capabilities_of(model, self.capability_list) if isinstance(model, str) else None
        return refusal(
            params,
            known,
            betas=self.betas,
            today=self.today,
            skip_checks=self.skip_checks,
            day=list_of(self.capability_list).day,
        )

    def accepts_plain(self, model: str, max_tokens: int) -> bool:
        """Return whether a request without anything unusual is sure to pass, by its model and `max_tokens`."""
        capabilities = capabilities_of(model, self.capability_list)
        return (
            capabilities is not None
            and not _is_retired(capabilities, self.today)
            and max_tokens <= capabilities.max_output_tokens
        )


def refusal(
    params: Mapping[str, Any],
    capabilities: Capabilities | None,
    *,
    betas: Collection[str] = (),
    today: str = "",
    skip_checks: Collection[str] = (),
    day: str = "",
) -> tuple[str, str] | None:
    """Return why the API is certain to refuse a request: a rejection code and a sentence. None if it is not.

    Args:
        params: the params of the request, parsed.
        capabilities: what its model accepts; None for an unknown model.
        betas: the values of `anthropic-beta` that it is sent with.
        today: the day in ISO 8601, for models that retire; empty to ignore dates.
        skip_checks: the codes of checks that are turned off.
        day: the day of the list that `capabilities` is from, in ISO 8601.
    """
    model = () if capabilities is None else _of_model(params, capabilities, betas)
    findings = chain(_model(capabilities, today, day), _messages(params), model, _media(params))
    return next((finding for finding in findings if finding[0] not in skip_checks), None)


def notice(params: Mapping[str, Any], capabilities: Capabilities | None) -> str | None:
    """Return ``low_max_tokens`` for a request whose answer may be empty, None for others.

    Its model thinks by default, thinking counts toward `max_tokens`, and `max_tokens` is low.
    """
    if (
        capabilities is None
        or not capabilities.thinks_by_default
        or params.get("thinking") is not None
    ):
        return None
    max_tokens = params.get("max_tokens")
    is_low = isinstance(max_tokens, int | float) and max_tokens < MIN_THINKING_MAX_TOKENS
    return "low_max_tokens" if is_low else None


def params_notice(params: Mapping[str, Any], capability_list: str | None) -> str | None:
    """Return the notice of `notice` for a request, by the name of its model."""
    model = params.get("model")
    known = capabilities_of(model, capability_list) if isinstance(model, str) else None
    return notice(params, known)


def _model(capabilities: Capabilities | None, today: str, day: str) -> Iterator[_Finding]:
    if capabilities is None:
        sentence = (
            f'the model in "model" is not among those known on {day}; check its spelling, or turn this '
            'check off with the option skip_checks = ["unknown_model"]'
        )
        yield "unknown_model", sentence
    elif _is_retired(capabilities, today):
        yield "retired_model", 'the model in "model" is retired; name a newer one'


def _is_retired(capabilities: Capabilities, today: str) -> bool:
    return capabilities.lifecycle == "retired" or (capabilities.retires or "9999") <= today


def _messages(params: Mapping[str, Any]) -> Iterator[_Finding]:
    messages = params.get("messages")
    if not isinstance(messages, list) or not messages:
        yield "no_messages", '"messages" is empty or not a list; it must hold at least one message'
        return
    for index, message in enumerate(messages):
        is_prefill = index == len(messages) - 1 and _role(message) == "assistant"
        if isinstance(message, dict) and not message.get("content") and not is_prefill:
            yield (
                "empty_message",
                f'"messages[{index}].content" is empty; write a text or remove it',
            )
    for where, block in chain(_blocks("system", params.get("system")), _message_blocks(params)):
        if block.get("type") == "text" and block.get("text") == "":
            yield "empty_text", f'"{where}.text" is empty; write a text or remove the block'


def _of_model(
    params: Mapping[str, Any], capabilities: Capabilities, betas: Collection[str]
) -> Iterator[_Finding]:
    """Yield what this model refuses."""
    messages = params.get("messages")
    if not capabilities.prefill and isinstance(messages, list) and _ends_in_prefill(messages):
        sentence = (
            'the last of "messages" is the assistant\'s, which this model does not accept; end with '
            "a user message"
        )
        yield "prefill_unsupported", sentence
    choice = params.get("tool_choice")
    is_forced = isinstance(choice, dict) and choice.get("type") in _FORCED
    if is_forced and not capabilities.forced_tool_choice:
        sentence = (
            '"tool_choice" forces a tool, which this model does not accept; use {"type": "auto"} '
            "and ask for the tool in the prompt"
        )
        yield "forced_tool_choice_unsupported", sentence
    yield from _output_tokens(params, capabilities, betas)


def _output_tokens(
    params: Mapping[str, Any], capabilities: Capabilities, betas: Collection[str]
) -> Iterator[_Finding]:
    maximum, max_tokens = capabilities.max_tokens_with(betas), params.get("max_tokens")
    if isinstance(max_tokens, int | float) and max_tokens > maximum:
        sentence = f'"max_tokens" is above {maximum:,}, the maximum of this model; lower it'
        yield "max_tokens_too_large", sentence


def _media(params: Mapping[str, Any]) -> Iterator[_Finding]:
    for where, block in _message_blocks(params):
        yield from _too_large(where, block)
        if block.get("type") == "tool_result":
            for inner_where, inner in _blocks(f"{where}.content", block.get("content")):
                yield from _too_large(inner_where, inner)


def _too_large(where: str, block: Mapping[str, Any]) -> Iterator[_Finding]:
    source = block.get("source")
    data = source.get("data") if isinstance(source, dict) else None
    if not isinstance(data, str):
        return
    if block.get("type") == "image" and len(data) * 3 // 4 > IMAGE_BYTES:
        yield "image_too_large", f'"{where}" is an image of more than 10 MB; make it smaller'
    if block.get("type") == "document" and len(data) > DOCUMENT_BYTES:
        yield "document_too_large", f'"{where}" is a document of more than 32 MB; split it'


def _message_blocks(params: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each content block of the messages with its place: ``messages[0].content[1]``."""
    messages = params.get("messages")
    for index, message in enumerate(messages if isinstance(messages, list) else []):
        if isinstance(message, dict):
            yield from _blocks(f"messages[{index}].content", message.get("content"))


def _blocks(where: str, content: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for index, block in enumerate(content if isinstance(content, list) else []):
        if isinstance(block, dict):
            yield f"{where}[{index}]", block


def _role(message: object) -> object:
    return message.get("role") if isinstance(message, dict) else None


def _ends_in_prefill(messages: list[Any]) -> bool:
    """Return whether the last message is the beginning of an answer.

    One with other blocks than text continues a turn that the API paused.
    """
    if not messages or _role(messages[-1]) != "assistant":
        return False
    content = messages[-1].get("content")
    blocks = content if isinstance(content, list) else []
    return all(isinstance(block, dict) and block.get("type") == "text" for block in blocks)
