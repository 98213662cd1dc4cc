"""The cost of a job in its manifest: by model, batch and attempt, by day, and why it is unknown.

A marker in a row's text chooses what the simulator bills for it. Figures are worked out by hand from the prices in
docs/cost.md.
"""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from functions.adapters.table import deserialize
from functions.model.items.work_item import MICRO
from tests.harness import TABLE, Harness, make_row, make_upload

KEY = "in/march.jsonl"
HAIKU, OPUS, SONNET = "claude-haiku-4-5", "claude-opus-5-5", "claude-sonnet-5-5"
MILLION = 1_000_000
HOUR_S = 3600.0
# Half of $4 for a million tokens.
MILLION_OF_OPUS_USD = 2.0


def row(number: int, model: str, fate: str = "", **usage: Any) -> bytes:
    """Return a row that is billed for this usage, and for no other tokens."""
    marker = json.dumps({"input_tokens": 0, "output_tokens": 0} | usage)
    return make_row(number, f"{fate}[usage:{marker}]", model=model)


def finish(relay: Harness, *rows: bytes) -> dict[str, Any]:
    """Upload rows; return the manifest of the finished job."""
    relay.upload(KEY, b"\n".join(rows))
    relay.finish(60)
    return relay.manifest(KEY)


def test_the_manifest_has_the_cost_by_model_batch_and_attempt(relay: Harness) -> None:
    relay.deploy(requests_per_batch=2)

    manifest = finish(
        relay,
        row(1, HAIKU, input_tokens=MILLION, output_tokens=100_000),
        row(2, OPUS, "[fate:expired]", input_tokens=MILLION, output_tokens=100_000),
        row(3, OPUS, input_tokens=500_000),
        row(4, OPUS, "[fate:invalid_request_error]", input_tokens=MILLION),
    )

    # Haiku: 0.50 + 0.25. Opus: 2.00 + 1.00 for the row that expired first, 1.00 for the other.
    assert manifest["cost_usd"] == manifest["cost_usd_known"] == 4.75
    assert manifest["cost_usd_by_model"] == {HAIKU: 0.75, OPUS: 4.0}
    assert manifest["cost_usd_by_attempt"] == {"1": 1.75, "2": 3.0}
    assert manifest["cost_usd_by_batch"] == {"00001-1": 0.75, "00001-2": 3.0, "00002-1": 1.0}
    assert manifest["saved_usd"] == {"batch_price": 4.75, "caching": 0}
    assert manifest["prices"]["problem"] is None
    assert manifest["usage"] == {
        HAIKU: {"input_tokens": MILLION, "output_tokens": 100_000},
        OPUS: {"input_tokens": 1_500_000, "output_tokens": 100_000},
    }


def test_a_batch_that_is_not_billed_costs_nothing(relay: Harness) -> None:
    manifest = finish(relay, make_row(1, "[fate:invalid_request_error]"), b"{broken")

    assert manifest["cost_usd"] == manifest["cost_usd_known"] == 0
    assert manifest["cost_usd_by_batch"] == {"00001-1": 0}


def test_each_attempt_is_priced_by_the_day_on_which_it_ended(relay: Harness) -> None:
    """The price of what Sonnet 5.5 reads from the cache was halved on 2026-10-07, UTC."""
    relay.simulator.processing_s = HOUR_S
    relay.moment = datetime(2026, 10, 6, 22, 0, tzinfo=UTC)

    manifest = finish(
        relay,
        row(1, SONNET, cache_read_input_tokens=MILLION),
        row(2, SONNET, "[fate:expired]", cache_read_input_tokens=MILLION),
    )

    days = [batch["ended_at"][:10] for batch in manifest["batches"]]
    assert days == ["2026-10-06", "2026-10-07"]
    assert manifest["cost_usd_by_attempt"] == {"1": 0.1, "2": 0.05}
    # Uncached, each row would have cost $1.
    assert manifest["saved_usd"] == {"batch_price": 0.15, "caching": 1.85}


def test_tools_geography_and_long_prompts_are_part_of_the_cost(relay: Harness) -> None:
    searches = {"web_search_requests": 5, "web_fetch_requests": 7}
    manifest = finish(
        relay,
        row(1, OPUS, input_tokens=MILLION, inference_geo="us", server_tool_use=searches),
        row(2, "claude-haiku-5-5", input_tokens=100_000, cache_read_input_tokens=900_000),
    )

    # 2.00 * 1.1 + 5 searches; 100,000 at $0.25 and 900,000 at $0.025 per million.
    assert manifest["cost_usd_by_model"] == {OPUS: 2.25, "claude-haiku-5-5": 0.0475}


UNKNOWN = [
    ({"inference_geo": "eu"}, "no price for inference_geo=eu"),
    ({"service_tier": "priority"}, "no price for service_tier=priority"),
    ({"invented": {"deep": [{"tokens": 3}]}}, "no price for invented.deep.tokens"),
    ({"server_tool_use": {"code_execution_requests": 1}}, "no price for server_tool_use.code_execution_requests"),
    ({"output_tokens": None}, "the usage of 1 succeeded rows cannot be read"),
]  # fmt: skip


@pytest.mark.parametrize(("usage", "reason"), UNKNOWN)
def test_usage_without_a_price_makes_the_cost_null_and_leaves_what_is_known(
    relay: Harness, usage: dict[str, Any], reason: str
) -> None:
    manifest = finish(
        relay, row(1, OPUS, input_tokens=MILLION), row(2, HAIKU, input_tokens=0, **usage)
    )

    assert manifest["cost_usd"] is None
    assert manifest["cost_usd_known"] == MILLION_OF_OPUS_USD
    assert manifest["cost_usd_by_model"] == {HAIKU: None, OPUS: MILLION_OF_OPUS_USD}
    assert reason in manifest["prices"]["problem"]
    [event] = [event for event in relay.events() if event["type"] == "job.completed"]
    assert event["data"]["cost_usd"] is None


def test_a_model_without_a_price_makes_the_cost_null(relay: Harness) -> None:
    model = "claude-mythos-5-2"

    manifest = finish(relay, row(1, OPUS, input_tokens=MILLION), make_row(2, model=model))

    assert (manifest["cost_usd"], manifest["cost_usd_known"]) == (None, MILLION_OF_OPUS_USD)
    assert f"no price for the model {model}" in manifest["prices"]["problem"]


def test_a_result_of_an_unknown_type_makes_the_cost_null(relay: Harness) -> None:
    manifest = finish(
        relay, row(1, OPUS, input_tokens=MILLION), make_row(2, "[fate:unknown_result]")
    )

    assert (manifest["cost_usd"], manifest["cost_usd_known"]) == (None, MILLION_OF_OPUS_USD)
    assert "1 rows have a result of a type that is unknown" in manifest["prices"]["problem"]


def counted_usd(relay: Harness) -> float:
    """Return what counts as spent in the budgets of all months."""
    pages = relay.dynamodb.get_paginator("scan").paginate(TableName=TABLE)
    items = [deserialize(item) for page in pages for item in page["Items"]]
    micro_usd: int = sum(item.get("micro_usd", 0) for item in items)
    return micro_usd / MICRO


def test_what_may_be_billed_without_a_readable_usage_counts_as_it_was_reserved(
    relay: Harness,
) -> None:
    manifest = finish(relay, row(1, OPUS, input_tokens=1), make_row(2, "[fate:unknown_result]"))

    worst_usd = manifest["estimate"]["cost_usd"]["worst"]
    assert worst_usd > manifest["cost_usd_known"] > 0
    assert counted_usd(relay) == pytest.approx(worst_usd, abs=2e-6)


LOST = [
    ("deleted", ["deleted_before_collection"], {}, {"results_gone": 5}),
    ("incomplete", ["row_missing", "row_doubled"], {}, {"result_missing": 1}),
    ("partly received", ["row_missing"], {}, {"results_gone": 1}),
    ("never received", ["server_error"], {"endpoint": "results"}, {"relay_stuck": 5}),
]


@pytest.mark.parametrize(("faults", "options", "errors"), [case[1:] for case in LOST], ids=[case[0] for case in LOST])  # fmt: skip
def test_lost_results_make_the_cost_null(
    relay: Harness, faults: list[str], options: dict[str, Any], errors: dict[str, int]
) -> None:
    relay.upload(KEY, make_upload(5))
    relay.tick()
    for fault in faults:
        relay.simulator.arm(fault, times=0, **options)
    for _ in range(127):
        relay.tick(6 * HOUR_S)
    relay.finish(60)

    manifest, lost = relay.manifest(KEY), sum(errors.values())
    assert manifest["errors"] == errors
    assert manifest["cost_usd"] is None
    assert (manifest["cost_usd_known"] > 0) is (lost < 5)
    assert f"{lost} rows were sent and their results are lost" in manifest["prices"]["problem"]
    worst_usd = manifest["estimate"]["cost_usd"]["worst"]
    assert counted_usd(relay) == pytest.approx(worst_usd, rel=0.01)


def test_an_attempt_that_cannot_be_downloaded_leaves_what_the_one_before_cost(
    relay: Harness,
) -> None:
    rows = [row(1, OPUS, input_tokens=MILLION), row(2, OPUS, "[fate:expired]")]
    relay.upload(KEY, b"\n".join(rows))
    while not relay.simulator.calls().get("results"):
        relay.tick()
    relay.simulator.arm("server_error", times=0, endpoint="results")
    for _ in range(127):
        relay.tick(6 * HOUR_S)
    relay.finish(60)

    manifest = relay.manifest(KEY)
    assert manifest["counts"] == {"succeeded": 1, "expired": 1}
    assert (manifest["cost_usd"], manifest["cost_usd_known"]) == (None, MILLION_OF_OPUS_USD)
    assert manifest["cost_usd_by_attempt"] == {"1": MILLION_OF_OPUS_USD, "2": None}
    assert "1 rows were sent and their results are lost" in manifest["prices"]["problem"]
