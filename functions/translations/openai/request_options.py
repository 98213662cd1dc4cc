"""Translate the options of a request that depend on nothing but the model."""

import re
from collections.abc import Mapping
from typing import Any

from functions.translations.contract import NotTranslatableError
from functions.translations.openai.changes import Changes
from functions.translations.openai.fields import array, count, invalid, mapping, number, text

_BETA = re.compile(r"[a-z0-9-]{1,64}")
_PERSONAL = re.compile(r"\S+@\S+|\+?[\d\s().-]{7,}")
"""E-mail addresses and telephone numbers, which `metadata.user_id` must not hold."""
_MAX_USER_ID = 256


def check_single_answer(value: object, field: str) -> None:
    """Reject a row that asks for several answers."""
    if (count(value, field) or 1) > 1:
        sentence = (
            f'"{field}" asks for several answers, and Claude gives one; repeat the row instead'
        )
        raise NotTranslatableError(code="n_unsupported", sentence=sentence)


def answer_schema(value: object, field: str, changes: Changes) -> object:
    """Return the schema of the answer's format, nested or flat; None for free text.

    Args:
        value: `response_format` of chat completions, or `text.format` of responses.
        field: where it is in the body.
        changes: records what is dropped.
    """
    if value is None:
        return None
    answer_format = mapping(value, field)
    kind = answer_format.get("type")
    if kind == "json_schema":
        wrapper = mapping(answer_format.get("json_schema", answer_format), f"{field}.json_schema")
        return wrapper.get("schema") or {}
    if kind == "json_object":
        changes.drop(f"{field}.json_object")
    elif kind != "text":
        raise invalid(field=f"{field}.type", expected='"text", "json_object" or "json_schema"')
    return None


def sampling(body: Mapping[str, Any], changes: Changes, *, accepted: bool) -> dict[str, Any]:
    """Return `temperature`, `top_p` and `top_k`, unless they are 1, which is the default of both APIs.

    Claude's highest temperature is 1. The models that accept these take `temperature` or `top_p`, not both.

    Args:
        body: the body of the row.
        changes: records what is dropped and changed.
        accepted: True if the model accepts them in this request.
    """
    values = {
        "temperature": number(body.get("temperature"), "temperature", 2),
        "top_p": number(body.get("top_p"), "top_p", 1),
        "top_k": count(body.get("top_k"), "top_k"),
    }
    asked = {
        name: value
        for name, value in values.items()
        if value is not None and (value != 1 or name == "top_k")
    }
    for name in [*asked]:
        if not accepted or (name == "top_p" and "temperature" in asked):
            changes.drop(name)
            del asked[name]
    if asked.get("temperature", 0) > 1:
        changes.note("temperature.capped")
        asked["temperature"] = 1
    return asked


def stop_sequences(stop: object, changes: Changes) -> dict[str, Any]:
    """Return `stop_sequences` without blank ones, which the API refuses."""
    if stop is None:
        return {}
    wanted = (
        [stop]
        if isinstance(stop, str)
        else [text(sequence, "stop") for sequence in array(stop, "stop")]
    )
    kept = [sequence for sequence in wanted if sequence.strip()]
    if len(kept) < len(wanted):
        changes.drop("stop.whitespace")
    return {"stop_sequences": kept} if kept else {}


def metadata(body: Mapping[str, Any], changes: Changes) -> dict[str, Any]:
    """Return `metadata`: the id of the user, unless it looks personal."""
    name = "user" if body.get("safety_identifier") is None else "safety_identifier"
    if body.get(name) is None:
        return {}
    user = text(body[name], name)
    if not user or len(user) > _MAX_USER_ID or _PERSONAL.fullmatch(user):
        changes.drop(name)
        return {}
    return {"metadata": {"user_id": user}}


def betas(value: object) -> tuple[str, ...]:
    """Return the values of `anthropic_beta`, a string with commas or an array."""
    if value is None:
        return ()
    listed = value.split(",") if isinstance(value, str) else array(value, "anthropic_beta")
    names = {text(name, "anthropic_beta").strip() for name in listed}
    if not all(_BETA.fullmatch(name) for name in names):
        raise invalid(field="anthropic_beta", expected="names of betas")
    return tuple(sorted(names))
