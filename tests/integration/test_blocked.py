"""A create is refused and the answer names no row: it may be the account, so no row is judged without evidence."""

import json
from collections import Counter
from typing import Any

import pytest

from functions.model import timestamps
from functions.model.create_response import Verdict
from tests.harness import Harness, paid_once, request, upload_of

KEY, OTHER = "in/march.jsonl", "in/other.jsonl"
DAY_S = 86_400
LIMIT = "You have reached your specified API usage limits. You will regain access on 2026-12-01."


def creates(relay: Harness) -> int:
    return relay.simulator.calls().get("create", 0)


def told(relay: Harness) -> list[dict[str, Any]]:
    return [event for event in relay.events() if event["type"].startswith("sending.")]


def tick_until_done(relay: Harness, ticks: int = 200) -> None:
    for _ in range(ticks):
        relay.tick(60.0)
        if not relay.items.unfinished().jobs:
            return
    raise AssertionError(relay.items.unfinished())


def upload_with_bad_row(rows: int, bad: int) -> bytes:
    return b"\n".join(
        request(number, "poison" if number == bad else "fine") for number in range(1, rows + 1)
    )


def test_a_blocked_account_costs_a_create_each_probe_and_rejects_no_row(relay: Harness) -> None:
    relay.simulator.arm("bad_request", times=0, message=LIMIT)
    relay.upload(KEY, upload_of(64))
    for _ in range(DAY_S // 1800):
        relay.tick(1800.0)
    spent = creates(relay)
    relay.simulator.disarm()

    tick_until_done(relay)

    assert 20 <= spent <= 32
    assert relay.manifest(KEY)["counts"] == {"succeeded": 64}
    assert paid_once(relay)
    events = told(relay)
    assert [event["type"] for event in events] == ["sending.paused", "sending.resumed"]
    assert events[0]["data"]["reason"] == "refused"
    assert events[0]["data"]["message"].startswith(f"Anthropic says: {LIMIT[:40]}")


def test_what_was_admitted_before_a_stop_is_not_sent_after_it(relay: Harness) -> None:
    relay.deploy(requests_per_batch=1)
    relay.simulator.arm("bad_request", times=0, message=LIMIT)
    relay.upload(KEY, upload_of(20))

    relay.tick()

    assert creates(relay) == 1


@pytest.mark.parametrize("bad", [1, 40, 64])
def test_one_bad_row_that_is_never_named_is_found(relay: Harness, bad: int) -> None:
    relay.simulator.arm("bad_request", times=0, contains="poison", message="no")
    relay.upload(KEY, upload_with_bad_row(64, bad))

    tick_until_done(relay)

    lines = relay.lines(KEY)
    assert [n for n, line in enumerate(lines, 1) if line["result"]["type"] != "succeeded"] == [bad]
    error = lines[bad - 1]["result"]["error"]
    assert error["message"] == f"line {bad}: refused by the API (400): no"
    assert creates(relay) < 30
    assert relay.circuit.read().paused_reason is None


def test_a_bad_job_stops_others_for_minutes_alone(relay: Harness) -> None:
    relay.simulator.arm("bad_request", times=0, contains="poison", message="no")
    relay.upload("in/bad.jsonl", upload_with_bad_row(16, 5))
    ticks = 0
    for number in range(6):
        key = f"in/good{number}.jsonl"
        relay.upload(key, upload_of(2, f"good {number}"))
        while any(job.key == key for job in relay.items.unfinished().jobs):
            relay.tick(60.0)
            ticks += 1

    tick_until_done(relay)

    assert ticks <= 6 * 6
    assert relay.manifest("in/bad.jsonl")["counts"] == {"rejected": 1, "succeeded": 15}


def test_a_single_row_is_rejected_only_after_others_were_accepted_twice_in_between(
    relay: Harness,
) -> None:
    """An account may be blocked, and well, and blocked again: once is no proof."""
    relay.simulator.arm("bad_request", times=0, contains="poison", message="no")
    relay.upload("in/bad.jsonl", upload_of(1, "poison"))
    relay.tick()
    bad = relay.items.unfinished().batches[0]
    seen = []
    for number in range(3):
        relay.upload(f"in/good{number}.jsonl", upload_of(1, f"good {number}"))
        for _ in range(30):
            relay.tick(60.0)
        now = relay.items.batch(bad.job, bad.item)
        assert now is not None
        seen.append((now.status, now.judged))

    assert seen[0] == ("WAITING", 1)
    assert seen[2][0] == "COLLECTED"
    assert relay.manifest("in/bad.jsonl")["errors"] == {"refused": 1}


def test_what_is_accepted_under_another_version_proves_nothing(relay: Harness) -> None:
    relay.simulator.arm("bad_request", times=0, contains="poison", message="no")
    relay.upload("in/bad.jsonl", upload_of(1, "poison"))
    relay.tick()
    relay.deploy(api_version="2023-06-01")
    for number in range(4):
        relay.upload(f"in/good{number}.jsonl", upload_of(1, f"good {number}"))
        for _ in range(15):
            relay.tick(60.0)

    (bad,) = relay.items.unfinished().batches
    assert (bad.status, bad.judged) == ("WAITING", 0)


def test_a_row_that_is_named_is_rejected_and_the_rest_sent_at_once(relay: Harness) -> None:
    relay.simulator.arm("refuse_matching", times=0, contains="poison")
    relay.upload(KEY, upload_with_bad_row(64, 7))

    relay.finish()

    lines = relay.lines(KEY)
    assert creates(relay) == 2
    assert [n for n, line in enumerate(lines, 1) if line["result"]["type"] == "rejected"] == [7]
    assert "requests.6 (custom_id" in lines[6]["result"]["error"]["message"]
    assert told(relay) == []


def test_many_named_rows_are_found_without_sending_all_the_others_each_time(
    relay: Harness,
) -> None:
    relay.simulator.arm("refuse_matching", times=0, contains="poison")
    body = b"\n".join(request(n, "poison" if n % 4 == 1 else "fine") for n in range(1, 33))
    relay.upload(KEY, body)

    relay.finish(60)

    assert relay.manifest(KEY)["counts"] == {"rejected": 8, "succeeded": 24}
    assert creates(relay) <= 24
    assert paid_once(relay)


@pytest.mark.parametrize("fault", ["rate_limited", "rate_limited_without_retry_after"])
def test_a_429_that_does_not_pass_is_told_after_an_hour_and_asked_about_ever_less(
    relay: Harness, fault: str
) -> None:
    relay.simulator.arm(fault, times=0, message=LIMIT)
    relay.upload(KEY, upload_of(2))
    for _ in range(50):
        relay.tick(60.0)
    early = told(relay)
    for _ in range(DAY_S // 1800):
        relay.tick(1800.0)
    spent = creates(relay)
    paused = told(relay)
    relay.simulator.disarm()
    tick_until_done(relay)

    assert early == []
    assert [event["data"]["reason"] for event in paused] == ["rate_limited"]
    assert LIMIT[:40] in paused[0]["data"]["message"]
    assert spent <= 36
    assert [event["type"] for event in told(relay)] == ["sending.resumed"]
    assert relay.manifest(KEY)["counts"] == {"succeeded": 2}


def test_an_hour_of_429_in_between_accepted_ones_is_told_to_nobody(relay: Harness) -> None:
    for number in range(8):
        relay.simulator.arm("rate_limited", retry_after=600)
        relay.upload(f"in/{number}.jsonl", upload_of(1, f"job {number}"))
        for _ in range(15):
            relay.tick(60.0)

    assert told(relay) == []


def test_no_prompt_is_told_to_all(relay: Harness) -> None:
    relay.simulator.arm("bad_request", message="messages: 'SECRET prompt' is not allowed here")
    relay.upload(KEY, upload_of(2))
    relay.tick()

    (event,) = told(relay)
    assert "SECRET" not in json.dumps(event)
    assert "is not allowed here" in event["data"]["message"]


def test_a_refusal_that_is_judged_resumes_what_it_stopped(relay: Harness) -> None:
    """The other was sent before this one stopped all, and its answer came after that."""
    relay.simulator.arm("bad_request", times=0, contains="poison", message="no")
    relay.upload(KEY, upload_of(1, "poison"))
    relay.tick()
    bad = relay.items.unfinished().batches[0]
    relay.pass_time(1.0)
    relay.circuit.record_accepted(timestamps.text(relay.now()), f"{bad.fingerprint}/2026-10-21")

    relay.tick()

    assert [event["type"] for event in told(relay)] == ["sending.paused", "sending.resumed"]
    assert relay.circuit.read().paused_reason is None


def test_a_connection_that_cannot_be_made_is_tried_ever_more_rarely_under_the_alarm(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay.submit.claude, "_base_url", "http://127.0.0.1:9")  # nobody listens
    create, spent = relay.submit.claude.create, Counter[str]()

    def counted(*given: Any) -> Verdict:
        spent["creates"] += 1
        return create(*given)

    monkeypatch.setattr(relay.submit.claude, "create", counted)
    relay.upload(KEY, upload_of(3))
    for _ in range(6 * 12):
        relay.tick(300.0)
    tried, stuck = spent.total(), relay.poll_once().stuck
    events = [event for event in relay.events() if event["type"].endswith("batch.stuck")]
    monkeypatch.setattr(relay.submit.claude, "_base_url", relay.url)
    relay.submit.claude.reload_key()

    relay.finish()

    assert 5 <= tried <= 10  # at a fixed pace, it would be 72
    assert stuck == 1
    assert len(events) == 1
    assert "no connection to the API" in json.dumps(events)
    assert relay.manifest(KEY)["counts"] == {"succeeded": 3}
    assert paid_once(relay)
