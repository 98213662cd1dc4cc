"""A create fails without naming a row: this may be the account, so no row is rejected immediately."""

import json
from collections import Counter
from typing import Any

import pytest

from functions.model import timestamps
from functions.model.create_response import Verdict
from tests.harness import Harness, every_row_accepted_once, make_row, make_upload

KEY, OTHER = "in/march.jsonl", "in/other.jsonl"
DAY_S = 86_400
LIMIT = "You have reached your specified API usage limits. You will regain access on 2026-12-01."


def count_creates(relay: Harness) -> int:
    return relay.simulator.calls().get("create", 0)


def sending_events(relay: Harness) -> list[dict[str, Any]]:
    return [event for event in relay.events() if event["type"].startswith("sending.")]


def tick_until_done(relay: Harness, ticks: int = 200) -> None:
    for _ in range(ticks):
        relay.tick(60.0)
        if not relay.items.unfinished().jobs:
            return
    raise AssertionError(relay.items.unfinished())


def upload_with_bad_row(rows: int, bad: int) -> bytes:
    return b"\n".join(
        make_row(number, "poison" if number == bad else "fine") for number in range(1, rows + 1)
    )


def test_a_blocked_account_costs_one_create_per_probe_and_rejects_no_row(relay: Harness) -> None:
    relay.simulator.arm("bad_request", times=0, message=LIMIT)
    relay.upload(KEY, make_upload(64))
    for _ in range(DAY_S // 1800):
        relay.tick(1800.0)
    creates_made = count_creates(relay)
    relay.simulator.disarm()

    tick_until_done(relay)

    assert 20 <= creates_made <= 32
    assert relay.manifest(KEY)["counts"] == {"succeeded": 64}
    assert every_row_accepted_once(relay)
    events = sending_events(relay)
    assert [event["type"] for event in events] == ["sending.paused", "sending.resumed"]
    assert events[0]["data"]["reason"] == "refused"
    assert events[0]["data"]["message"].startswith(f"Anthropic says: {LIMIT[:40]}")


def test_batches_admitted_before_a_pause_are_not_sent_during_it(relay: Harness) -> None:
    relay.deploy(requests_per_batch=1)
    relay.simulator.arm("bad_request", times=0, message=LIMIT)
    relay.upload(KEY, make_upload(20))

    relay.tick()

    assert count_creates(relay) == 1


@pytest.mark.parametrize("bad", [1, 40, 64])
def test_a_bad_row_that_the_api_does_not_name_is_found(relay: Harness, bad: int) -> None:
    relay.simulator.arm("bad_request", times=0, contains="poison", message="no")
    relay.upload(KEY, upload_with_bad_row(64, bad))

    tick_until_done(relay)

    lines = relay.lines(KEY)
    assert [n for n, line in enumerate(lines, 1) if line["result"]["type"] != "succeeded"] == [bad]
    error = lines[bad - 1]["result"]["error"]
    assert error["message"] == f"line {bad}: refused by the API (400): no"
    assert count_creates(relay) < 30
    assert relay.circuit.read().paused_reason is None


def test_a_bad_job_delays_others_by_minutes_only(relay: Harness) -> None:
    relay.simulator.arm("bad_request", times=0, contains="poison", message="no")
    relay.upload("in/bad.jsonl", upload_with_bad_row(16, 5))
    ticks = 0
    for number in range(6):
        key = f"in/good{number}.jsonl"
        relay.upload(key, make_upload(2, f"good {number}"))
        while any(job.key == key for job in relay.items.unfinished().jobs):
            relay.tick(60.0)
            ticks += 1

    tick_until_done(relay)

    assert ticks <= 6 * 6
    assert relay.manifest("in/bad.jsonl")["counts"] == {"rejected": 1, "succeeded": 15}


def test_a_single_row_is_rejected_only_after_other_batches_were_accepted_twice(
    relay: Harness,
) -> None:
    """One acceptance is not enough: the account may be blocked, restored, and blocked again."""
    relay.simulator.arm("bad_request", times=0, contains="poison", message="no")
    relay.upload("in/bad.jsonl", make_upload(1, "poison"))
    relay.tick()
    bad = relay.items.unfinished().batches[0]
    states = []
    for number in range(3):
        relay.upload(f"in/good{number}.jsonl", make_upload(1, f"good {number}"))
        for _ in range(30):
            relay.tick(60.0)
        current = relay.items.batch(bad.job, bad.item)
        assert current is not None
        states.append((current.status, current.accepted_between))

    assert states[0] == ("WAITING", 1)
    assert states[2][0] == "COLLECTED"
    assert relay.manifest("in/bad.jsonl")["errors"] == {"refused": 1}


def test_batches_accepted_under_another_api_version_do_not_count_as_evidence(
    relay: Harness,
) -> None:
    relay.simulator.arm("bad_request", times=0, contains="poison", message="no")
    relay.upload("in/bad.jsonl", make_upload(1, "poison"))
    relay.tick()
    relay.deploy(api_version="2023-06-01")
    for number in range(4):
        relay.upload(f"in/good{number}.jsonl", make_upload(1, f"good {number}"))
        for _ in range(15):
            relay.tick(60.0)

    (bad,) = relay.items.unfinished().batches
    assert (bad.status, bad.accepted_between) == ("WAITING", 0)


def test_a_row_that_the_api_names_is_rejected_and_the_rest_is_sent_immediately(
    relay: Harness,
) -> None:
    relay.simulator.arm("refuse_matching", times=0, contains="poison")
    relay.upload(KEY, upload_with_bad_row(64, 7))

    relay.finish()

    lines = relay.lines(KEY)
    assert count_creates(relay) == 2
    assert [n for n, line in enumerate(lines, 1) if line["result"]["type"] == "rejected"] == [7]
    assert "requests.6 (custom_id" in lines[6]["result"]["error"]["message"]
    assert sending_events(relay) == []


def test_many_named_rows_are_found_without_resending_the_others_each_time(
    relay: Harness,
) -> None:
    relay.simulator.arm("refuse_matching", times=0, contains="poison")
    body = b"\n".join(make_row(n, "poison" if n % 4 == 1 else "fine") for n in range(1, 33))
    relay.upload(KEY, body)

    relay.finish(60)

    assert relay.manifest(KEY)["counts"] == {"rejected": 8, "succeeded": 24}
    assert count_creates(relay) <= 24
    assert every_row_accepted_once(relay)


@pytest.mark.parametrize("fault", ["rate_limited", "rate_limited_without_retry_after"])
def test_a_lasting_429_is_announced_after_an_hour_and_probed_less_and_less_often(
    relay: Harness, fault: str
) -> None:
    relay.simulator.arm(fault, times=0, message=LIMIT)
    relay.upload(KEY, make_upload(2))
    for _ in range(50):
        relay.tick(60.0)
    early_events = sending_events(relay)
    for _ in range(DAY_S // 1800):
        relay.tick(1800.0)
    creates_made = count_creates(relay)
    paused_events = sending_events(relay)
    relay.simulator.disarm()
    tick_until_done(relay)

    assert early_events == []
    assert [event["data"]["reason"] for event in paused_events] == ["rate_limited"]
    assert LIMIT[:40] in paused_events[0]["data"]["message"]
    assert creates_made <= 36
    assert [event["type"] for event in sending_events(relay)] == ["sending.resumed"]
    assert relay.manifest(KEY)["counts"] == {"succeeded": 2}


def test_429s_between_accepted_creates_are_not_announced(relay: Harness) -> None:
    for number in range(8):
        relay.simulator.arm("rate_limited", retry_after=600)
        relay.upload(f"in/{number}.jsonl", make_upload(1, f"job {number}"))
        for _ in range(15):
            relay.tick(60.0)

    assert sending_events(relay) == []


def test_the_event_does_not_contain_the_prompt(relay: Harness) -> None:
    relay.simulator.arm("bad_request", message="messages: 'SECRET prompt' is not allowed here")
    relay.upload(KEY, make_upload(2))
    relay.tick()

    (event,) = sending_events(relay)
    assert "SECRET" not in json.dumps(event)
    assert "is not allowed here" in event["data"]["message"]


def test_a_refusal_resumes_sending_once_its_rows_are_at_fault(relay: Harness) -> None:
    """Another batch was sent before this one paused sending, and was accepted after that."""
    relay.simulator.arm("bad_request", times=0, contains="poison", message="no")
    relay.upload(KEY, make_upload(1, "poison"))
    relay.tick()
    bad = relay.items.unfinished().batches[0]
    relay.pass_time(1.0)
    relay.circuit.record_accepted(timestamps.text(relay.now()), f"{bad.fingerprint}/2026-10-21")

    relay.tick()

    assert [event["type"] for event in sending_events(relay)] == [
        "sending.paused",
        "sending.resumed",
    ]
    assert relay.circuit.read().paused_reason is None


def test_an_unreachable_api_is_tried_less_and_less_often_and_raises_the_alarm(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    sdk = relay.submit.claude._sdk  # noqa: SLF001 - its address cannot be changed otherwise
    sdk.base_url = "http://127.0.0.1:9"  # no server listens here
    create, creates_made = relay.submit.claude.create, Counter[str]()

    def count_and_create(*arguments: Any) -> Verdict:
        creates_made["creates"] += 1
        return create(*arguments)

    monkeypatch.setattr(relay.submit.claude, "create", count_and_create)
    relay.upload(KEY, make_upload(3))
    for _ in range(6 * 12):
        relay.tick(300.0)
    attempts, stuck = creates_made.total(), relay.poll_once().stuck
    events = [event for event in relay.events() if event["type"].endswith("batch.stuck")]
    sdk.base_url = relay.url

    relay.finish()

    assert 5 <= attempts <= 10  # a fixed interval would give 72
    assert stuck == 1
    assert len(events) == 1
    assert "no connection to the API" in json.dumps(events)
    assert relay.manifest(KEY)["counts"] == {"succeeded": 3}
    assert every_row_accepted_once(relay)
