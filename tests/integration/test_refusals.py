"""Rejected creates: temporarily, for the key or for the account; sending resumes automatically."""

from datetime import timedelta
from pathlib import Path

import pytest

from functions.model import timestamps
from functions.settings import SubmitSettings
from tests.harness import Harness, every_row_accepted_once, make_upload, open_harness

KEY = "in/march.jsonl"


@pytest.mark.parametrize(
    "fault",
    [
        "rate_limited_without_retry_after",
        "overloaded",
        "service_unavailable",
        "conflict",
        "gateway_timeout",
        "ramp_limit",
        "reset_in_body",
    ],
)
def test_a_temporary_refusal_only_costs_time(relay: Harness, fault: str) -> None:
    relay.simulator.arm(fault)
    relay.upload(KEY, make_upload(5))

    relay.finish()

    assert every_row_accepted_once(relay)
    assert len(relay.lines(KEY)) == 5


def test_retry_after_is_respected(relay: Harness) -> None:
    relay.simulator.arm("rate_limited", retry_after=3600)
    relay.upload(KEY, make_upload(5))
    for _ in range(55):
        relay.tick()
    early_creates = relay.simulator.calls()["create"]

    relay.finish()

    assert early_creates == 1
    assert relay.simulator.calls()["create"] == 2


@pytest.mark.parametrize(
    ("fault", "reason", "times"),
    [
        ("spend_limit", "spend_limit", 3),
        ("billing", "billing", 3),
        ("forbidden", "no_permission", 3),
        ("not_found", "not_found", 3),
        ("bad_request", "refused", 3),
        ("unauthorized", "key_refused", 1),
    ],
)
def test_an_account_problem_pauses_sending_which_resumes_automatically(
    relay: Harness, fault: str, reason: str, times: int
) -> None:
    relay.deploy(requests_per_batch=2)
    relay.simulator.arm(fault, times=times, endpoint="create")
    relay.upload(KEY, make_upload(6))

    relay.finish(60)

    events = [
        (event["type"], event["data"].get("reason"))
        for event in relay.events()
        if "sending" in event["type"]
    ]
    assert events == [("sending.paused", reason), ("sending.resumed", reason)]
    assert [len(relay.lines(KEY)), every_row_accepted_once(relay)] == [6, True]


def test_a_missing_key_pauses_sending_until_a_key_is_stored(relay: Harness) -> None:
    relay.key = "not-set-yet"
    relay.upload(KEY, make_upload(5))
    for _ in range(10):
        relay.tick()
    paused_events = [event for event in relay.events() if event["type"] == "sending.paused"]
    relay.key = "sk-local"

    relay.finish()

    assert [event["data"]["reason"] for event in paused_events] == ["key_missing"]
    assert "store a key from the Claude Console" in paused_events[0]["data"]["message"]
    assert len(relay.lines(KEY)) == 5


def test_a_replaced_key_is_reloaded_without_pausing(tmp_path: Path) -> None:
    with open_harness(tmp_path, keys={"sk-new": "default"}) as relay:
        relay.key = "sk-old"
        relay.submit.claude.fingerprint  # noqa: B018 - the container has loaded the old key
        relay.key = "sk-new"
        relay.upload(KEY, make_upload(5))
        relay.finish()

        assert "sending.paused" not in [event["type"] for event in relay.events()]
        assert len(relay.lines(KEY)) == 5


def sending_events(relay: Harness) -> list[tuple[str, str]]:
    """Return the events about sending, in order."""
    stuck_events = [event for event in relay.events() if event["type"].startswith("sending.")]
    return [(event["type"].partition(".")[2], event["data"]["reason"]) for event in stuck_events]


def test_a_wrong_key_pauses_sending_once_while_poll_still_has_the_old_one(tmp_path: Path) -> None:
    with open_harness(tmp_path, processing_s=36_000.0) as relay:
        relay.upload("in/first.jsonl", make_upload(2, "first"))
        relay.tick()
        relay.keys[SubmitSettings] = (
            "sk-wrong"  # already in the secret: a new container has read it
        )
        relay.submit.claude.reload_key()
        relay.upload(KEY, make_upload(2))
        relay.tick()
        relay.key = "sk-wrong"
        for _ in range(20):
            relay.tick()
        events_before = sending_events(relay)
        relay.keys.clear()
        relay.key = "sk-local"
        for _ in range(10):
            relay.tick()

        assert events_before == [("paused", "key_refused")]
        assert sending_events(relay) == [("resumed", "key_refused")]


def test_functions_agree_on_the_key_after_a_rotation(tmp_path: Path) -> None:
    """Both keys are valid: a lost answer under the old one is still found, or declared absent."""
    with open_harness(tmp_path, keys={"sk-a": "one", "sk-b": "one"}) as relay:
        relay.key = "sk-a"
        relay.submit.claude.fingerprint  # noqa: B018 - the container has loaded the old key
        relay.key = "sk-b"
        relay.pass_time(301)
        relay.simulator.arm("server_error")
        relay.upload(KEY, make_upload(2))
        relay.finish(60)

        assert relay.manifest(KEY)["counts"] == {"succeeded": 2}
        assert every_row_accepted_once(relay)


def test_a_batch_sent_before_the_pause_does_not_resume_sending(relay: Harness) -> None:
    relay.deploy(requests_per_batch=2)
    relay.simulator.arm("lost_answer")
    relay.simulator.arm("spend_limit", times=4, after=1)
    relay.upload(KEY, make_upload(4))

    relay.finish(90)

    assert sending_events(relay) == [("paused", "spend_limit"), ("resumed", "spend_limit")]
    assert [len(relay.lines(KEY)), every_row_accepted_once(relay)] == [4, True]


def test_sending_stays_paused_with_a_key_that_cannot_list(relay: Harness) -> None:
    relay.deploy(requests_per_batch=1)
    relay.simulator.arm("forbidden", times=0, endpoint="list")
    relay.upload(KEY, make_upload(3))

    for _ in range(40):
        relay.tick()

    assert sending_events(relay) == [("paused", "no_permission")]


def test_rows_end_after_days_of_inconclusive_creates_if_others_are_accepted(
    relay: Harness,
) -> None:
    relay.simulator.arm("refuse_matching", times=0, contains="poison", status=500)
    relay.upload("in/bad.jsonl", make_upload(2, "poison"))
    relay.tick(1800)
    relay.upload("in/good.jsonl", make_upload(2, "good"))
    ticks = 0
    while relay.items.unfinished().jobs and ticks < 300:
        relay.tick(1800)
        ticks += 1

    stuck_events = [event for event in relay.events() if event["type"] == "batch.stuck"]
    assert 3 * 48 <= ticks < 4 * 48
    assert [event["data"]["step"] for event in stuck_events] == ["send"]
    assert "returned neither a batch nor a reason" in stuck_events[0]["data"]["problem"]
    assert relay.manifest("in/bad.jsonl")["errors"] == {"relay_stuck": 2}


def test_no_row_ends_after_a_week_of_failing_creates_if_none_is_accepted(relay: Harness) -> None:
    relay.simulator.arm("server_error", times=0, endpoint="create")
    relay.upload(KEY, make_upload(2))
    for _ in range(7 * 24):
        relay.tick(3600)
    relay.simulator.disarm()
    relay.finish(60)

    assert relay.manifest(KEY)["counts"] == {"succeeded": 2}
    assert every_row_accepted_once(relay)


@pytest.mark.parametrize("status", [403, 422])
def test_a_batch_refused_with_an_account_error_does_not_delay_others_for_long(
    relay: Harness, status: int
) -> None:
    relay.simulator.arm("bad_request", times=0, contains="poison", status=status)
    relay.upload("in/bad.jsonl", make_upload(2, "poison"))
    for number in range(10):
        relay.upload(f"in/good{number}.jsonl", make_upload(2, f"good {number}"))
        for _ in range(12):
            relay.tick()

    assert relay.items.unfinished().batches == []
    assert [relay.manifest(f"in/good{n}.jsonl")["outcome"] for n in range(10)] == [
        "succeeded"
    ] * 10
    assert relay.manifest("in/bad.jsonl")["errors"] == {"refused": 2}


def test_the_longer_of_two_retry_after_delays_counts(relay: Harness) -> None:
    relay.deploy(requests_per_batch=1)
    relay.simulator.arm("rate_limited", retry_after=3600)
    relay.simulator.arm("rate_limited", retry_after=60)
    relay.upload(KEY, make_upload(2))
    relay.tick()

    held_until = relay.circuit.read().not_before
    assert held_until is not None
    assert timestamps.parse(held_until) - relay.now() > timedelta(minutes=50)


def test_a_key_refused_by_the_listing_pauses_sending_until_it_works_again(
    tmp_path: Path,
) -> None:
    with open_harness(tmp_path, processing_s=600.0) as relay:
        relay.upload(KEY, make_upload(5))
        relay.tick()
        relay.key = "sk-wrong"
        relay.deploy()
        paused = [relay.tick().paused for _ in range(3)]
        relay.key = "sk-local"
        relay.finish()

        events = [event["type"] for event in relay.events() if "sending" in event["type"]]
        assert paused == [True] * 3
        assert events == ["sending.paused", "sending.resumed"]
        assert relay.manifest(KEY)["counts"] == {"succeeded": 5}
