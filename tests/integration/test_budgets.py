"""Money is bounded: a job that may cost too much is held, until somebody decides."""

import json
from typing import Any

import pytest

from functions.model.items.work_item import JOB
from tests.harness import TABLE, Harness, make_row, succeeded

KEY, OPTIONS = "in/march.jsonl", "in/march.jsonl.relay.toml"
ROWS = 4
WORST_USD = (
    ROWS * 1_000 * 2.5 / 1e6
)  # max_tokens at the batch price; the prompts add less than a tenth
TIGHT, AMPLE = b"budget_usd = 0.01", b"budget_usd = 0.02"


def costly_upload(**params: Any) -> bytes:
    """Return an upload that may cost a little more than `WORST_USD`."""
    return b"\n".join(make_row(n, **{"max_tokens": 1_000, **params}) for n in range(1, ROWS + 1))


def events_of_type(relay: Harness, event_type: str) -> list[dict[str, Any]]:
    return [event["data"] for event in relay.events() if event["type"] == event_type]


def status(relay: Harness, key: str = KEY) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(relay.read(key, "status.json"))
    return document


def run_for_days(relay: Harness, days: int = 3) -> None:
    for _ in range(days * 8):
        relay.tick(3 * 3600.0)


def hold(relay: Harness, options: bytes = TIGHT, **params: Any) -> dict[str, Any]:
    """Upload a job that is held. Return the data of its event `job.held`, which comes once."""
    relay.upload(OPTIONS, options)
    relay.pass_time(1)
    relay.upload(KEY, costly_upload(**params))
    run_for_days(relay)
    (held,) = events_of_type(relay, "job.held")
    assert relay.simulator.accepted_params() == {}
    return held


def test_a_job_that_may_cost_more_than_its_budget_is_never_sent(relay: Harness) -> None:
    held = hold(relay)

    assert held["waiting_for"] == "budget"
    assert held["budget_usd"] == 0.01
    assert WORST_USD < held["estimate"]["cost_usd"]["worst"] < 1.1 * WORST_USD
    assert "more than its budget of $0.01" in held["message"]
    assert status(relay)["waiting_for"] == "budget"
    (wait,) = status(relay)["waiting"]
    worst = held["estimate"]["cost_usd"]["worst"]
    assert f"up to ${worst:,.2f}, more than its budget of $0.01, " in wait["message"]


def test_a_job_within_its_budget_is_sent(relay: Harness) -> None:
    relay.upload(OPTIONS, AMPLE)
    relay.upload(KEY, costly_upload())
    relay.finish()

    assert all(succeeded(relay, KEY))
    assert events_of_type(relay, "job.held") == []


@pytest.mark.parametrize("marker", ["in/march.jsonl.go", "in/march.jsonl.GO", "in/march.go"])
def test_a_go_marker_sends_a_held_job(relay: Harness, marker: str) -> None:
    hold(relay)
    relay.upload(marker, b"")
    relay.finish()

    assert all(succeeded(relay, KEY))
    assert status(relay)["waiting_for"] is None


def test_a_go_marker_may_come_before_the_job_is_held(relay: Harness) -> None:
    relay.upload(OPTIONS, TIGHT)
    event = relay.put(KEY, costly_upload())
    relay.pass_time(1)
    relay.upload(KEY + ".go", b"")
    relay.tick()
    relay.submit_message(event)
    relay.finish()

    assert all(succeeded(relay, KEY))


def test_a_go_marker_that_matches_nothing_is_announced(relay: Harness) -> None:
    relay.upload(KEY + ".go", b"")
    for _ in range(12):
        relay.tick()

    (unmatched,) = events_of_type(relay, "go.unmatched")
    assert "A finished job cannot be released" in unmatched["message"]


def test_a_larger_budget_sends_a_held_job(relay: Harness) -> None:
    hold(relay)
    relay.upload(OPTIONS, AMPLE)
    relay.tick()
    relay.finish()

    assert all(succeeded(relay, KEY))


def test_another_budget_that_is_too_small_is_announced_again(relay: Harness) -> None:
    hold(relay)
    relay.upload(OPTIONS, b"budget_usd = 0.005")
    run_for_days(relay)

    (held,) = events_of_type(relay, "job.held")
    assert held["budget_usd"] == 0.005
    assert relay.simulator.accepted_params() == {}


def test_a_broken_options_file_keeps_a_job_held(relay: Harness) -> None:
    hold(relay)
    relay.upload(OPTIONS, b"budget_usd = -1")
    run_for_days(relay)

    assert [event["type"] for event in relay.events()] == ["options.rejected"]
    assert relay.simulator.accepted_params() == {}
    relay.upload(OPTIONS, AMPLE)
    relay.finish()
    assert all(succeeded(relay, KEY))


def test_a_held_job_can_be_canceled(relay: Harness) -> None:
    hold(relay)
    relay.upload(KEY + ".cancel", b"")
    relay.finish()

    assert relay.manifest(KEY)["outcome"] == "canceled"
    assert relay.manifest(KEY)["counts"] == {"canceled": ROWS}
    assert relay.simulator.accepted_params() == {}


def test_a_model_without_a_price_is_held_under_a_budget(relay: Harness) -> None:
    held = hold(relay, b'skip_checks = ["unknown_model"]\nbudget_usd = 100', model="claude-next-9")

    assert held["waiting_for"] == "price"
    assert "key in marker; to end it" in held["message"]  # a larger budget would change nothing
    assert held["estimate"]["cost_usd"]["worst"] is None


def test_a_job_whose_tools_add_input_is_held_under_a_budget(relay: Harness) -> None:
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 1}
    held = hold(relay, b"budget_usd = 100", tools=[search])

    assert held["waiting_for"] == "price"
    assert (
        "rows may be billed for input whose length is not known here, such as a PDF, a document at a URL or web search results"
        in held["message"]
    )
    assert held["estimate"]["cost_usd"]["worst"] is None
    relay.upload(KEY + ".go", b"")
    relay.finish()
    assert all(succeeded(relay, KEY))


def test_the_stacks_budget_holds_and_a_folders_budget_overrides_it(relay: Harness) -> None:
    relay.deploy(job_budget_usd=1)
    relay.upload("free/_relay.toml", b"budget_usd = 0")
    for key in ("in/a.jsonl", "free/b.jsonl"):
        relay.upload(key, costly_upload(max_tokens=128_000, model="claude-opus-5-5"))
    run_for_days(relay, 1)

    (held,) = events_of_type(relay, "job.held")
    assert (held["upload"]["key"], held["budget_usd"]) == ("in/a.jsonl", 1)
    assert all(succeeded(relay, "free/b.jsonl"))


def test_a_held_job_that_cannot_be_read_holds_its_batches_back(relay: Harness) -> None:
    hold(relay)
    (job,) = relay.items.unfinished().jobs
    spoil(relay, job.job, "uploaded_at", "0001-01-01T00:00:00.000Z")

    assert relay.poll_once().admitted == 0
    relay.drain_queues()
    assert relay.simulator.accepted_params() == {}

    spoil(relay, job.job, "uploaded_at", job.uploaded_at)
    relay.upload(KEY + ".go", b"")
    relay.finish()
    assert all(succeeded(relay, KEY))


def spoil(relay: Harness, job: str, attribute: str, value: str) -> None:
    relay.dynamodb.update_item(
        TableName=TABLE,
        Key={"job": {"S": job}, "item": {"S": JOB}},
        UpdateExpression=f"SET {attribute} = :value",
        ExpressionAttributeValues={":value": {"S": value}},
    )


def test_nothing_is_sent_before_the_whole_job_is_planned(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planning stops after the first chunk, and continues later."""
    relay.deploy(requests_per_batch=1)
    relay.upload(OPTIONS, AMPLE)
    monkeypatch.setattr("functions.planning.plan._MIN_TIME_LEFT_S", 900.0)
    monkeypatch.setattr(relay.context, "left_s", 900.0)
    lefts = iter([900_000, 900_000, 900_000, *[0] * 9])
    monkeypatch.setattr(relay.context, "get_remaining_time_in_millis", lambda: next(lefts))
    relay.upload(KEY, costly_upload())
    assert len(relay.items.unfinished().batches) == 1
    monkeypatch.undo()

    assert relay.poll_once().admitted == 0
    relay.drain_queues()
    relay.finish()
    assert all(succeeded(relay, KEY))
