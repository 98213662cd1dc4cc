"""A succeeded message has every member of the SDK's types, and each parses as its type."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import pytest
from anthropic.types import Message
from pydantic import BaseModel

from local.simulator.answers import STOPS

type MakeRequests = Callable[..., list[Any]]


@pytest.fixture
def messages(
    client: anthropic.Anthropic, make_requests: MakeRequests
) -> dict[str, dict[str, Any]]:
    """Return a message for each stop reason, as JSON."""
    requests: list[Any] = [
        {**request, "custom_id": stop}
        for stop in (*sorted(STOPS), "end_turn")
        for request in make_requests(1, "hello" if stop == "end_turn" else f"[fate:{stop}]")
    ]
    batch = client.messages.batches.create(requests=requests)
    content = client.get(f"/v1/messages/batches/{batch.id}/results", cast_to=bytes)
    rows = [json.loads(line) for line in content.splitlines()]
    return {row["custom_id"]: row["result"]["message"] for row in rows}


def missing(parsed: BaseModel, told: dict[str, Any], where: str) -> Iterator[str]:
    """List the missing and the unknown members, at any depth."""
    yield from (f"{where}.{name}" for name in {*type(parsed).model_fields} ^ {*told})
    for name, value in told.items():
        inner = getattr(parsed, name, None)
        if isinstance(inner, BaseModel):
            yield from missing(inner, value, f"{where}.{name}")
        elif isinstance(inner, list):
            for one, item in zip(inner, value, strict=True):
                yield from missing(one, item, f"{where}.{name}")


def test_messages_have_exactly_the_members_of_the_sdk_types(
    messages: dict[str, dict[str, Any]],
) -> None:
    assert len(messages) == len(STOPS) + 1
    for told in messages.values():
        parsed = Message.model_validate(told, strict=True)

        assert list(missing(parsed, told, "message")) == []


def test_only_a_refusal_has_stop_details(messages: dict[str, dict[str, Any]]) -> None:
    details = {stop: told["stop_details"] for stop, told in messages.items()}
    refusal = details.pop("refusal")

    assert refusal["type"] == "refusal"
    assert set(details.values()) == {None}
    assert messages["refusal"]["content"] == []
    assert all(told["stop_reason"] == stop for stop, told in messages.items())


def test_usage_is_that_of_a_batch_request(messages: dict[str, dict[str, Any]]) -> None:
    usage = messages["end_turn"]["usage"]

    assert usage["service_tier"] == "batch"
    assert usage["inference_geo"] == "not_available"
    assert usage["cache_creation"] == {
        "ephemeral_5m_input_tokens": 0,
        "ephemeral_1h_input_tokens": 0,
    }
