"""All jobs together stay within the budgets of a day and a month, and resume automatically."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from functions.model.items.work_item import MICRO
from functions.model.spending import month_of
from tests.harness import Harness, make_row, open_harness, succeeded
from tests.integration.test_budgets import events_of_type, status
from tests.integration.test_lost_parts import delete, run

KEY = "in/march.jsonl"
MORNING = datetime(2026, 11, 28, 8, 0, tzinfo=UTC)
MAX_TOKENS = 60_000
WORST_USD = MAX_TOKENS * 2.5 / 1e6  # of one row; its prompt adds little
USAGE = {"input_tokens": 0, "output_tokens": 40_000}
COST_USD = 0.1


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Harness]:
    """A relay whose batches have one row each and run for an hour; each costs 0.1 dollars of at most 0.15."""
    with open_harness(tmp_path, processing_s=3600.0) as harness:
        harness.moment = MORNING
        harness.deploy(requests_per_batch=1)
        yield harness


def rows(count: int, **params: Any) -> bytes:
    marker = f"[usage:{json.dumps(USAGE)}]"
    defaults = {"max_tokens": MAX_TOKENS, "model": "claude-haiku-4-5"}
    options = {**defaults, **params}
    return b"\n".join(make_row(number, marker, **options) for number in range(1, count + 1))


def spent_usd(relay: Harness) -> dict[str, float]:
    counters = relay.poll.spending.counters(month_of(relay.now()))
    return {c.item: c.micro_usd / MICRO for c in counters if c.micro_usd}


def sent(relay: Harness) -> int:
    return sum(relay.simulator.accepted_params().values())


def run_until(relay: Harness, moment: datetime) -> None:
    while relay.now() < moment:
        relay.tick(3600.0)


def test_batches_wait_for_the_next_day_once_the_budget_is_reached(relay: Harness) -> None:
    """Of one dollar, six rows may cost 0.9; they cost 0.6, so two more fit, then one more."""
    relay.deploy(day_budget_usd=1)
    relay.upload(KEY, rows(12))
    relay.tick()
    assert sent(relay) == 6

    run_until(relay, datetime(2026, 11, 28, 23, 0, tzinfo=UTC))
    assert sent(relay) == 9
    assert spent_usd(relay) == {"2026-11-28": pytest.approx(0.9)}
    assert status(relay)["waiting_for"] == "day_budget"
    (reached,) = events_of_type(relay, "budget.reached")
    assert (reached["period"], reached["budget_usd"]) == ("2026-11-28", 1)
    assert reached["until"] == "2026-11-29T00:00:00.000Z"

    relay.finish()
    assert all(succeeded(relay, KEY))
    assert spent_usd(relay) == {"2026-11-28": pytest.approx(0.9), "2026-11-29": pytest.approx(0.3)}


def test_a_month_is_the_sum_of_its_days(relay: Harness) -> None:
    relay.deploy(month_budget_usd=1)
    relay.upload(KEY, rows(12))
    run_until(relay, datetime(2026, 11, 30, 23, 0, tzinfo=UTC))
    assert sent(relay) == 9
    assert status(relay)["waiting_for"] == "month_budget"
    assert [e["period"] for e in events_of_type(relay, "budget.reached")] == ["2026-11"]

    relay.finish()
    assert all(succeeded(relay, KEY))


def test_what_was_not_billed_is_refunded(relay: Harness) -> None:
    """Six rows fill the budget. They fail, so six others fit on the same day."""
    relay.deploy(day_budget_usd=1)
    failing = [
        make_row(number, "[fate:invalid_request_error]", max_tokens=MAX_TOKENS)
        for number in range(1, 7)
    ]
    relay.upload(KEY, b"\n".join(failing))
    relay.upload("in/april.jsonl", rows(6))
    relay.tick()
    assert sent(relay) == 6

    run_until(relay, datetime(2026, 11, 28, 23, 0, tzinfo=UTC))

    assert sent(relay) == 12
    assert succeeded(relay, "in/april.jsonl") == [True] * 6
    assert spent_usd(relay) == {"2026-11-28": pytest.approx(6 * COST_USD)}


def test_what_is_admitted_and_not_sent_yet_is_reserved(relay: Harness) -> None:
    """The work messages wait in the queue while another job, which comes first by turns, arrives."""
    relay.deploy(day_budget_usd=1)
    relay.upload(KEY, rows(6))
    relay.pass_time(60)
    assert relay.poll_once().admitted == 6
    relay.upload("in/april.jsonl", rows(6, stop_sequences=["x"]))
    relay.pass_time(1)

    relay.poll_once()
    relay.drain_queues()

    assert sent(relay) == 6


def test_one_poll_reserves_a_bounded_number_of_batches(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is a write. What is reserved already needs none, so it takes no place from others."""
    monkeypatch.setattr("functions.polling.budgets.MAX_RESERVED", 2)
    relay.deploy(day_budget_usd=1)
    relay.upload(KEY, rows(5))
    relay.pass_time(60)

    assert [relay.poll_once().admitted for _ in range(3)] == [2, 4, 5]
    relay.drain_queues()
    assert sent(relay) == 5


def test_a_batch_that_no_day_can_pay_for_is_announced_each_day(relay: Harness) -> None:
    relay.deploy(day_budget_usd=1, requests_per_batch=2)
    relay.upload(KEY, rows(2, model="claude-opus-4-5"))
    relay.upload("in/april.jsonl", rows(1))
    run_until(relay, MORNING + timedelta(days=2))

    messages = [event["message"] for event in events_of_type(relay, "budget.reached")]
    assert len(messages) == 3
    assert all("none ever fits: raise dayBudgetUsd" in message for message in messages)
    assert all(succeeded(relay, "in/april.jsonl"))
    assert sent(relay) == 1


def costly_and_cheap() -> bytes:
    """Return two cheap rows and one that may cost almost all that the three may."""
    usage = json.dumps({"input_tokens": 1, "output_tokens": 1})
    return b"\n".join(
        make_row(n, f"[usage:{usage}] {fate}", max_tokens=limit)
        for n, limit, fate in ((1, 1, ""), (2, 1, ""), (3, MAX_TOKENS, "[fate:expired]"))
    )


@pytest.mark.parametrize("case", ["attempt", "half"])
def test_a_part_of_a_batch_reserves_what_its_own_rows_may_cost(relay: Harness, case: str) -> None:
    """The expired row is sent again; or the API refuses three rows at once, so one half has two."""
    relay.deploy(requests_per_batch=3, day_budget_usd=1)
    if case == "half":
        relay.simulator.arm("too_large", times=0, more_than=2)
    relay.upload(KEY, costly_and_cheap())
    while not (parts := [b for b in relay.items.unfinished().batches if b.requests < 3]):
        relay.tick(600.0)

    worst_usd = [part.worst_micro_usd / MICRO for part in parts]
    assert max(worst_usd) == pytest.approx(WORST_USD, rel=0.01)
    assert sum(worst_usd) == pytest.approx(WORST_USD, rel=0.01)
    relay.finish()
    assert all(succeeded(relay, KEY))


def test_results_that_are_fetched_again_count_once(relay: Harness) -> None:
    relay.context.left_s = 200.0  # too little to assemble immediately
    relay.upload(KEY, rows(1))
    (job,) = relay.items.unfinished().jobs
    while job.status != "ASSEMBLING":
        relay.tick(600.0)
        (job,) = relay.items.unfinished().jobs
    (batch,) = relay.items.batches(job.job)
    assert batch.part is not None
    delete(relay, batch.part.results.key)
    run(relay, 1)
    (collected,) = relay.items.batches(job.job)
    assert collected.refetches == 1

    assert all(succeeded(relay, KEY))
    assert spent_usd(relay) == {"2026-11-28": pytest.approx(COST_USD)}


def test_each_attempt_counts_what_it_used_itself(relay: Harness) -> None:
    relay.deploy(requests_per_batch=2)
    expired = make_row(2, f"[fate:expired] [usage:{json.dumps(USAGE)}]", max_tokens=MAX_TOKENS)
    relay.upload(KEY, b"\n".join([rows(1), expired]))
    relay.finish()

    assert all(succeeded(relay, KEY))
    assert spent_usd(relay) == {"2026-11-28": pytest.approx(2 * COST_USD)}
    assert relay.manifest(KEY)["cost_usd"] == pytest.approx(2 * COST_USD)
