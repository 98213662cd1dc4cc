"""Outcomes of single requests: by marker, by share, and when they are sent again."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic.types.messages import MessageBatchIndividualResponse as Row

from local.simulator import Simulator, serving
from local.simulator.answers import ERRORS, FATES, RETRYABLE, STOPS

type MakeRequests = Callable[..., list[Any]]


def rows(client: anthropic.Anthropic, requests: list[Any]) -> dict[str, Row]:
    batch = client.messages.batches.create(requests=requests)
    return {row.custom_id: row for row in client.messages.batches.results(batch.id)}


def outcome(row: Row) -> str:
    """Return the result type, the error type, or the stop reason."""
    if row.result.type == "errored":
        return row.result.error.error.type
    if row.result.type == "succeeded":
        return str(row.result.message.stop_reason)
    return row.result.type


def test_a_message_echoes_the_last_user_text_and_counts_tokens_of_a_batch(
    client: anthropic.Anthropic, make_requests: MakeRequests
) -> None:
    turns = [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "ü" * 300}]},
    ]
    result = rows(client, make_requests(1, messages=turns))["r0"].result

    assert result.type == "succeeded"
    message = result.message
    assert message.content[0].type == "text"
    assert message.content[0].text == "echo: " + "ü" * 200
    assert (message.model, message.stop_reason) == ("claude-opus-5", "end_turn")
    assert message.usage.service_tier == "batch"
    assert message.usage.input_tokens > 75
    assert 0 < message.usage.output_tokens <= 64


@pytest.mark.parametrize(
    ("text", "stop_reason", "output_tokens", "content"),
    [
        ("[needs:64]", "end_turn", 64, ["text"]),
        ("[needs:65]", "max_tokens", 64, ["text"]),
        ("[thinks:40][needs:20]", "end_turn", 60, ["thinking", "text"]),
        ("[thinks:40][needs:25]", "max_tokens", 64, ["thinking", "text"]),
        ("[thinks:64][needs:1]", "max_tokens", 64, ["thinking"]),
    ],
)
def test_an_answer_of_a_marked_length_ends_at_max_tokens(
    client: anthropic.Anthropic,
    make_requests: MakeRequests,
    text: str,
    stop_reason: str,
    output_tokens: int,
    content: list[str],
) -> None:
    messages = [{"role": "user", "content": text}]
    result = rows(client, make_requests(1, messages=messages, max_tokens=64))["r0"].result

    assert result.type == "succeeded"
    assert result.message.stop_reason == stop_reason
    assert result.message.usage.output_tokens == output_tokens
    assert [block.type for block in result.message.content] == content


def test_a_request_in_a_geography_is_billed_there(
    client: anthropic.Anthropic, make_requests: MakeRequests
) -> None:
    result = rows(client, make_requests(1, inference_geo="us"))["r0"].result

    assert result.type == "succeeded"
    assert result.message.usage.inference_geo == "us"


@pytest.mark.parametrize(
    ("marker", "searches"),
    [
        ('[usage:{"server_tool_use":{"web_search_requests":3,"web_fetch_requests":0}}]', 3),
        ("[usage:{3}]", None),
    ],
)
def test_a_marker_changes_what_is_billed(
    client: anthropic.Anthropic, make_requests: MakeRequests, marker: str, searches: int | None
) -> None:
    result = rows(client, make_requests(1, marker))["r0"].result

    assert result.type == "succeeded"
    usage = result.message.usage
    assert (usage.server_tool_use and usage.server_tool_use.web_search_requests) == searches
    assert usage.output_tokens > 0


def test_the_same_request_gets_the_same_answer_in_any_batch(
    simulator: Simulator, client: anthropic.Anthropic, make_requests: MakeRequests
) -> None:
    first = rows(client, make_requests(3))
    simulator.reset()

    assert rows(client, make_requests(3)) == first


@pytest.mark.parametrize("fate", sorted(RETRYABLE))
def test_a_retryable_fate_happens_only_the_first_time(
    client: anthropic.Anthropic, make_requests: MakeRequests, fate: str
) -> None:
    requests = make_requests(1, f"[fate:{fate}]")

    assert [outcome(rows(client, requests)["r0"]) for _ in range(3)] == [
        fate,
        "end_turn",
        "end_turn",
    ]


@pytest.mark.parametrize("fate", sorted(RETRYABLE))
def test_an_always_marker_makes_a_fate_happen_every_time(
    client: anthropic.Anthropic, make_requests: MakeRequests, fate: str
) -> None:
    requests = make_requests(1, f"[fate:always-{fate}]")

    assert [outcome(rows(client, requests)["r0"]) for _ in range(3)] == [fate] * 3


@pytest.mark.parametrize("fate", sorted((ERRORS | STOPS) - {"unknown_error"}))
def test_any_other_fate_happens_every_time(
    client: anthropic.Anthropic, make_requests: MakeRequests, fate: str
) -> None:
    requests = make_requests(1, f"[fate:{fate}]")

    assert [outcome(rows(client, requests)["r0"]) for _ in range(2)] == [fate] * 2


def test_an_unknown_result_type_counts_as_errored(
    client: anthropic.Anthropic, make_requests: MakeRequests
) -> None:
    requests = [
        *make_requests(1, "[fate:unknown_result]"),
        *make_requests(2, "[fate:unknown_error]")[1:],
    ]

    batch = client.messages.batches.create(requests=requests)
    counts = client.messages.batches.retrieve(batch.id).request_counts
    found = {r.custom_id: outcome(r) for r in client.messages.batches.results(batch.id)}

    assert found == {"r0": "postponed", "r1": "unknown_error"}
    assert counts.errored == 2


def test_a_misspelled_fate_is_an_errored_result_that_names_it(
    client: anthropic.Anthropic, make_requests: MakeRequests
) -> None:
    result = rows(client, make_requests(1, "[fate:expird]"))["r0"].result

    assert result.type == "errored"
    assert "knows no fate 'expird'" in result.error.error.message


def test_shares_select_rows_and_only_invalid_rows_fail_again(
    tmp_path: Path, sdk: anthropic.Anthropic, make_requests: MakeRequests
) -> None:
    fates = {"expired": 0.2, "overloaded_error": 0.2, "invalid_request_error": 0.1}
    with serving(Simulator(tmp_path, fates=fates)) as url:
        client = sdk.with_options(base_url=url)
        first = {name: outcome(row) for name, row in rows(client, make_requests(1000)).items()}
        again = {name: outcome(row) for name, row in rows(client, make_requests(1000)).items()}

    counts = Counter(first.values())
    for fate, share in fates.items():
        assert share * 1000 * 0.8 < counts[fate] < share * 1000 * 1.2
    invalid = {name for name, fate in first.items() if fate == "invalid_request_error"}
    assert {name for name, fate in again.items() if fate != "end_turn"} == invalid
    assert set(again.values()) == {"end_turn", "invalid_request_error"}


def test_another_seed_selects_other_rows(
    tmp_path: Path, sdk: anthropic.Anthropic, make_requests: MakeRequests
) -> None:
    chosen = []
    for seed in (0, 0, 1):
        with serving(Simulator(tmp_path, fates={"refusal": 0.3}, seed=seed)) as url:
            got = rows(sdk.with_options(base_url=url), make_requests(100))
        chosen.append({name for name, row in got.items() if outcome(row) == "refusal"})

    assert chosen[0] == chosen[1]
    assert chosen[0] != chosen[2]


@pytest.mark.parametrize(
    ("fates", "sentence"),
    [
        ({"expird": 0.1}, "no fate 'expird'; choose from"),
        ({"expired": 0.7, "refusal": 0.7}, "add up to at most 1"),
        ({"expired": -0.1}, "add up to at most 1"),
    ],
)
def test_invalid_shares_are_an_error(
    tmp_path: Path, fates: dict[str, float], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        Simulator(tmp_path, fates=fates)


def test_every_result_has_the_documented_shape(
    client: anthropic.Anthropic, make_requests: MakeRequests
) -> None:
    requests: list[Any] = [
        {**request, "custom_id": fate}
        for fate in sorted(FATES)
        for request in make_requests(1, f"[fate:{fate}]")
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
    assert len(lines.splitlines()) == len(requests)
    for line in lines.splitlines():
        row = json.loads(line)
        assert set(row) == {"custom_id", "result"}
        assert set(row["result"]) == shapes[row["result"]["type"]]
