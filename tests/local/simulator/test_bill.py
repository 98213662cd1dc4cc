"""The simulator's own bill, worked out by hand, and equal to the relay's for the same usage."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import anthropic
import pytest

from functions.model.pricing import newest_price_list
from local.simulator import Simulator
from local.simulator.models import MODELS
from local.simulator.standard_prices import micro_usd

type MakeRequests = Callable[..., list[Any]]

CREATED = {"ephemeral_5m_input_tokens": 2_000, "ephemeral_1h_input_tokens": 3_000}
USAGE: dict[str, Any] = {
    "input_tokens": 1_000,
    "cache_creation_input_tokens": 5_000,
    "cache_creation": CREATED,
    "cache_read_input_tokens": 10_000,
    "output_tokens": 400,
}
RELAY_USAGE = {
    "input_tokens": 1_000,
    "cache_creation_input_tokens": 2_000,
    "cache_creation_1h_input_tokens": 3_000,
    "cache_read_input_tokens": 10_000,
    "output_tokens": 400,
}


@pytest.mark.parametrize(
    ("model", "day", "usage", "expected"),
    [
        # Inputs of 1,000 + 2,000 x 1.25 + 3,000 x 2 = 9,500 tokens, and 10,000 that are read.
        ("claude-opus-5", "2026-11-27", {}, (9_500 + 1_000) * 2.5 + 400 * 12.5),
        ("claude-opus-4-1-20250805", "2026-11-27", {}, (9_500 + 1_000) * 7.5 + 400 * 37.5),
        ("claude-opus-5-5", "2026-11-27", {}, (9_500 + 500) * 2 + 400 * 10),
        ("claude-sonnet-5-5", "2026-10-06", {}, (9_500 + 1_000) * 1 + 400 * 5),
        ("claude-sonnet-5-5", "2026-10-07", {}, (9_500 + 500) * 1 + 400 * 5),
        ("claude-haiku-5-5", "2026-11-27", {}, (9_500 + 1_000) * 0.05 + 400 * 0.25),
        (
            "claude-haiku-5-5",
            "2026-11-27",
            {"cache_read_input_tokens": 94_000},
            (9_500 + 9_400) * 0.05 + 400 * 0.25,
        ),
        (
            "claude-haiku-5-5",
            "2026-11-27",
            {"cache_read_input_tokens": 94_001},
            (9_500 + 9_400.1) * 0.25 + 400 * 1.25,
        ),
        (
            "claude-haiku-4-5",
            "2026-11-27",
            {"inference_geo": "us", "server_tool_use": {"web_search_requests": 3}},
            ((9_500 + 1_000) * 0.5 + 400 * 2.5) * 1.1 + 30_000,
        ),
        ("claude-opus-5", "2026-11-27", {"cache_creation": None}, 3_375 * 5.0 + 400 * 12.5),
    ],
)
def test_an_answer_costs_what_its_tokens_and_searches_cost(
    model: str, day: str, usage: dict[str, Any], expected: float
) -> None:
    if usage.get("cache_creation", USAGE) is None:  # 5,000 tokens for 5 minutes
        expected = (1_000 + 5_000 * 1.25 + 1_000) * 2.5 + 400 * 12.5
    cost = micro_usd(model, USAGE | usage, day)

    assert cost is not None
    assert float(cost) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("model", sorted(MODELS))
@pytest.mark.parametrize("day", ["2026-10-06", "2026-11-27"])
def test_both_price_lists_agree(model: str, day: str) -> None:
    ours = newest_price_list().cost_usd(model, RELAY_USAGE, day)
    theirs = micro_usd(model, USAGE, day)

    assert (ours is None) == (theirs is None)
    assert theirs is None or ours == pytest.approx(float(theirs) / 1e6)


def test_the_bill_has_each_ended_batch_by_the_price_of_its_day(
    simulator: Simulator,
    client: anthropic.Anthropic,
    make_requests: MakeRequests,
    send_raw: Callable[..., tuple[int, dict[str, str], bytes]],
) -> None:
    now_s = datetime(2026, 10, 6, 23, 59, 50, tzinfo=UTC).timestamp()
    simulator.clock = lambda: now_s
    marker = '[usage:{"input_tokens":0,"output_tokens":0,"cache_read_input_tokens":1000000}]'
    requests = make_requests(3, marker, model="claude-sonnet-5-5")
    created = [client.messages.batches.create(requests=requests).id]
    simulator.processing_s = 20.0
    created.append(client.messages.batches.create(requests=requests).id)
    created.append(
        client.messages.batches.create(requests=make_requests(2, model="claude-mythos-preview")).id
    )
    simulator.add_foreign(5)
    now_s += 1
    assert json.loads(send_raw("GET", "/_simulator/bill")[2])["batches"] == {created[0]: 0.3}
    now_s += 20
    simulator.delete(created[0])

    assert json.loads(send_raw("GET", "/_simulator/bill")[2]) == {
        "usd": pytest.approx(0.45),
        "batches": {created[0]: 0.3, created[1]: 0.15, created[2]: 0.0},
        "unpriced": {"claude-mythos-preview": 2},
    }
