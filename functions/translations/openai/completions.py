"""Translate a body of ``/v1/completions``, the endpoint before chat completions."""

from collections.abc import Mapping
from typing import Any

from functions.translations.contract import NotTranslatableError, Policy, Translated
from functions.translations.openai.changes import Changes
from functions.translations.openai.content import text_blocks
from functions.translations.openai.conversation import Conversation
from functions.translations.openai.fields import count
from functions.translations.openai.params import READ, OpenAIRequest, translated
from functions.translations.openai.request_options import check_single_answer

_REJECTED: dict[str, tuple[object, ...]] = {"echo": (False,), "suffix": ("",), "logprobs": ()}
"""Member that would change the answer → its values that request nothing."""
_READ = READ | _REJECTED.keys() | {"prompt", "max_tokens", "n", "best_of"}
DROPPED: dict[str, tuple[object, ...]] = {
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "seed": (),
    "stream": (False,),
    "stream_options": (),
}
"""Member without counterpart → its values that request nothing."""


def translate_completions(body: Mapping[str, Any], policy: Policy) -> Translated:
    """Translate a body, whose prompt becomes a user message. The custom_id is left out."""
    changes = Changes()
    changes.drop_members(body, _READ, DROPPED)
    check_single_answer(body.get("n"), "n")
    check_single_answer(body.get("best_of"), "best_of")
    for name, neutral in _REJECTED.items():
        if body.get(name) is not None and body[name] not in neutral:
            sentence = f'"{name}" has no counterpart at Anthropic; remove it'
            raise NotTranslatableError(code="unsupported_field", sentence=sentence)
    request = OpenAIRequest(
        body=body,
        conversation=_conversation(body.get("prompt"), changes),
        max_tokens=count(body.get("max_tokens"), "max_tokens"),
    )
    return translated(request, policy, changes)


def _conversation(prompt: object, changes: Changes) -> Conversation:
    if not isinstance(prompt, str):
        sentence = '"prompt" must be one string; write one row for each prompt, as text'
        raise NotTranslatableError(code="prompt_unsupported", sentence=sentence)
    conversation = Conversation(changes)
    conversation.add("user", text_blocks(prompt), "prompt")
    return conversation
