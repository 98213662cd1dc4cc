"""Translate rows of Amazon Bedrock's batch inference.

A row is ``{"recordId", "modelInput"}``. `modelInput` is either the body of InvokeModel, which for Claude is a
Messages request, or the body of Converse.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from functions.model.capabilities import SAMPLING
from functions.translations.contract import (
    ModelUnmappedError,
    NotTranslatableError,
    Policy,
    Translated,
)
from functions.translations.converse import PLATFORM, Params, is_converse, messages_fields
from functions.translations.drops import Drops
from functions.translations.shapes import malformed, object_of

_BEDROCK_ID = re.compile(r"(?:arn:[^/]+/)?(?:[a-z-]+\.)?anthropic\.(claude-[^/]+)")
_REVISION = re.compile(r"-v\d+(:\w+)*$")
_BETA = re.compile(r"[\w.-]{1,100}", re.ASCII)
_NOVA_LIMIT = "max_new_tokens"
_OTHER_MODELS = {
    "inputText": "a Titan body",
    "max_gen_len": "a Llama body",
    "schemaVersion": "a Nova body",
    _NOVA_LIMIT: "a Nova body",
    "taskType": "the body of an image model",
    "texts": "a Cohere Embed body",
    "max_tokens_to_sample": "a Text Completions body of Claude 2",
    "prompt": "a text completion body, such as Llama's or Mistral's",
}
"""Member → whose body it is, the most specific member first."""


def matches(row: Mapping[str, Any]) -> bool:
    """Return whether a row is one of Bedrock's; see `contract.Translation`."""
    return "modelInput" in row and "params" not in row


def translate(row: Mapping[str, Any], policy: Policy) -> Translated:
    """Translate a row; see `contract.Translation`.

    Raises:
        NotTranslatableError: the row has no counterpart. Codes: ``malformed_row``, ``model_unmapped``,
            ``not_claude``, ``part_unsupported``, ``s3_location``, ``stored_prompt``, ``tool_unsupported``,
            ``unsupported_field``.
    """
    body = object_of(row.get("modelInput"), "modelInput")
    _refuse_other_models(body)
    drops = Drops(policy)
    names = (row.get("modelId"), body.get("modelId"), body.get("model"))
    name = next((name for name in names if isinstance(name, str)), None)
    model = choose_model(name, policy.models, claude_id)
    fields = messages_fields(body, drops) if is_converse(body) else body
    return claude_request(row.get("recordId"), model, fields, drops, policy)


def claude_id(name: str) -> str | None:
    """Return the Claude model that a name on Bedrock stands for; None if the name does not show it.

    ``us.anthropic.claude-sonnet-4-5-20250929-v1:0`` is ``claude-sonnet-4-5-20250929``. An ARN of a foundation
    model or of a cross-region inference profile ends in such an id; one of an application inference profile
    does not.
    """
    bedrock_id = _BEDROCK_ID.fullmatch(name)
    if bedrock_id is not None:
        return _REVISION.sub("", bedrock_id[1])
    return name if name.startswith("claude-") else None


def choose_model(
    name: str | None, models: Mapping[str, str], claude_id: Callable[[str], str | None]
) -> str:
    """Return the Claude model for a row.

    Args:
        name: the model that the row names; None if it names none, as is usual.
        models: the option `models`: name → model, with ``*`` for every other name.
        claude_id: returns the Claude model that a name of the platform stands for.

    Raises:
        ModelUnmappedError: neither the option nor the row names a Claude model.
    """
    chosen = models.get(name or "*", models.get("*", name))
    model = claude_id(chosen) if chosen is not None else None
    if model is None:
        raise ModelUnmappedError(name)
    return model


def claude_request(
    custom_id: object, model: str, body: Mapping[str, Any], drops: Drops, policy: Policy
) -> Translated:
    """Return a request from a Messages body as a cloud platform takes it.

    Args:
        custom_id: the row's id; anything but a string or a number counts as none.
        model: the Claude model.
        body: the body. All but the platform's own members is sent verbatim.
        drops: the fields dropped so far.
        policy: how to translate.
    """
    params: Params = {"model": model, "max_tokens": policy.default_max_tokens}
    params |= {name: value for name, value in body.items() if name not in PLATFORM}
    if not policy.takes_sampling(model):
        for name in [name for name in SAMPLING if name in params]:
            del params[name]
            drops.add(name)
    return Translated(
        custom_id=_id(custom_id),
        params=params,
        betas=_betas(body.get("anthropic_beta")),
        changes=drops.names,
    )


def _id(value: object) -> str | int | float | None:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return value
    return None


def _betas(value: object) -> tuple[str, ...]:
    """Return the values of `anthropic-beta`, sorted: their order must not split a batch."""
    values = value if isinstance(value, list) else [value] if value is not None else []
    for beta in values:
        if not isinstance(beta, str) or _BETA.fullmatch(beta) is None:
            malformed("anthropic_beta", 'a list of names such as "context-1m-2025-08-07"')
    return tuple(sorted(set(values)))


def _refuse_other_models(body: Mapping[str, Any]) -> None:
    """Refuse a body that is not Claude's, by its name."""
    limits = body.get("inferenceConfig")
    is_nova = isinstance(limits, dict) and _NOVA_LIMIT in limits
    members = (member for member in _OTHER_MODELS if member in body)
    member = _NOVA_LIMIT if is_nova else next(members, None)
    if member is None:
        return
    sentence = (
        f'"modelInput" is {_OTHER_MODELS[member]} (it has "{member}"); write it as a body of Claude: '
        '{"max_tokens": 1024, "messages": [{"role": "user", "content": "…"}]}'
    )
    raise NotTranslatableError(code="not_claude", sentence=sentence)
