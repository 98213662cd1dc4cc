"""How single requests end: by marker, by share, and the second time they are asked."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic.types.messages import MessageBatchIndividualResponse as Row

from local.simulator import Simulator, serving
from local.simulator.answers import FATES, REFUSED, RETRIABLE, STOPS

type Ask = Callable[..., list[Any]]


def rows(client: anthropic.Anthropic, requests: list[Any]) -> dict[str, Row]:
    batch = client.messages.batches.create(requests=requests)
    return {row.custom_id: row for row in client.messages.batches.results(batch.id)}


def ending(row: Row) -> str:
    """The result's type, the error's type, or why the message stopped."""
    if row.result.type == "errored":
        return row.result.error.error.type
    if row.result.type == "succeeded":
        return str(row.result.message.stop_reason)
    return row.result.type


def test_a_message_echoes_the_last_user_text_and_counts_tokens_of_a_batch(
    client: anthropic.Anthropic, ask: Ask
) -> None:
    turns = [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "ü" * 300}]},
    ]
    result = rows(client, ask(1, messages=turns))["r0"].result

    assert result.type == "succeeded"
    message = result.message
    assert message.content[0].type == "text"
    assert message.content[0].text == "echo: " + "ü" * 200
    assert (message.model, message.stop_reason) == ("claude-opus-5", "end_turn")
    assert message.usage.service_tier == "batch"
    assert message.usage.input_tokens > 75
    assert 0 < message.usage.output_tokens <= 64


def test_the_same_request_has_the_same_answer_in_any_batch(
    simulator: Simulator, client: anthropic.Anthropic, ask: Ask
) -> None:
    first = rows(client, ask(3))
    simulator.reset()

    assert rows(client, ask(3)) == first


@pytest.mark.parametrize("fate", sorted(RETRIABLE))
def test_a_retriable_fate_happens_the_first_time_only(
    client: anthropic.Anthropic, ask: Ask, fate: str
) -> None:
    requests = ask(1, f"[fate:{fate}]")

    assert [ending(rows(client, requests)["r0"]) for _ in range(3)] == [
        fate,
        "end_turn",
        "end_turn",
    ]


@pytest.mark.parametrize("fate", sorted(RETRIABLE))
def test_always_makes_it_happen_every_time(
    client: anthropic.Anthropic, ask: Ask, fate: str
) -> None:
    requests = ask(1, f"[fate:always-{fate}]")

    assert [ending(rows(client, requests)["r0"]) for _ in range(3)] == [fate] * 3


@pytest.mark.parametrize("fate", sorted((REFUSED | STOPS) - {"unknown_error"}))
def test_any_other_fate_happens_every_time(
    client: anthropic.Anthropic, ask: Ask, fate: str
) -> None:
    requests = ask(1, f"[fate:{fate}]")

    assert [ending(rows(client, requests)["r0"]) for _ in range(2)] == [fate] * 2


def test_fates_nobody_knows_count_as_errored(client: anthropic.Anthropic, ask: Ask) -> None:
    requests = [*ask(1, "[fate:unknown_result]"), *ask(2, "[fate:unknown_error]")[1:]]

    batch = client.messages.batches.create(requests=requests)
    counts = client.messages.batches.retrieve(batch.id).request_counts
    found = {r.custom_id: ending(r) for r in client.messages.batches.results(batch.id)}

    assert found == {"r0": "postponed", "r1": "unknown_error"}
    assert counts.errored == 2


def test_a_fate_misspelt_is_an_error_that_says_so(client: anthropic.Anthropic, ask: Ask) -> None:
    result = rows(client, ask(1, "[fate:expird]"))["r0"].result

    assert result.type == "errored"
    assert "knows no fate 'expird'" in result.error.error.message


def test_shares_choose_rows_and_only_the_invalid_ones_stay_so(
    tmp_path: Path, sdk: anthropic.Anthropic, ask: Ask
) -> None:
    fates = {"expired": 0.2, "overloaded_error": 0.2, "invalid_request_error": 0.1}
    with serving(Simulator(tmp_path, fates=fates)) as url:
        client = sdk.with_options(base_url=url)
        first = {name: ending(row) for name, row in rows(client, ask(1000)).items()}
        again = {name: ending(row) for name, row in rows(client, ask(1000)).items()}

    counts = Counter(first.values())
    for fate, share in fates.items():
        assert share * 1000 * 0.8 < counts[fate] < share * 1000 * 1.2
    invalid = {name for name, fate in first.items() if fate == "invalid_request_error"}
    assert {name for name, fate in again.items() if fate != "end_turn"} == invalid
    assert set(again.values()) == {"end_turn", "invalid_request_error"}


def test_another_seed_chooses_other_rows(
    tmp_path: Path, sdk: anthropic.Anthropic, ask: Ask
) -> None:
    chosen = []
    for seed in (0, 0, 1):
        with serving(Simulator(tmp_path, fates={"refusal": 0.3}, seed=seed)) as url:
            got = rows(sdk.with_options(base_url=url), ask(100))
        chosen.append({name for name, row in got.items() if ending(row) == "refusal"})

    assert chosen[0] == chosen[1]
    assert chosen[0] != chosen[2]


@pytest.mark.parametrize(
    ("fates", "sentence"),
    [
        ({"expird": 0.1}, "no fate 'expird': take some of"),
        ({"expired": 0.7, "refusal": 0.7}, "between 0 and 1"),
        ({"expired": -0.1}, "between 0 and 1"),
    ],
)
def test_shares_that_cannot_be_are_refused(
    tmp_path: Path, fates: dict[str, float], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        Simulator(tmp_path, fates=fates)


def test_every_result_has_the_documented_shape(client: anthropic.Anthropic, ask: Ask) -> None:
    requests: list[Any] = [
        {**request, "custom_id": fate}
        for fate in sorted(FATES)
        for request in ask(1, f"[fate:{fate}]")
    ]
    batch = client.messages.batches.create(requests=requests)
    lines = client.get(f"/v1/messages/batches/{batch.id}/results", cast_to=bytes)

    shapes = {
        "succeeded": {"type", "message"},
        "errored": {"type", "error"},
        "expired": {"type"},
        "canceled": {"type"},
        "postponed": {"type", "until"},
    }
    for line in lines.splitlines():
        row = json.loads(line)
        assert set(row) == {"custom_id", "result"}
        assert set(row["result"]) == shapes[row["result"]["type"]]
