"""Creates that are refused: for a while, for the key, or for all; sending waits, and resumes by itself."""

from datetime import timedelta
from pathlib import Path

import pytest

from functions.model import timestamps
from functions.settings import SubmitSettings
from tests.harness import Harness, harness, paid_once, upload_of

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
def test_a_passing_refusal_costs_time_and_nothing_else(relay: Harness, fault: str) -> None:
    relay.simulator.arm(fault)
    relay.upload(KEY, upload_of(5))

    relay.finish()

    assert paid_once(relay)
    assert len(relay.lines(KEY)) == 5


def test_waits_as_long_as_retry_after_says(relay: Harness) -> None:
    relay.simulator.arm("rate_limited", retry_after=3600)
    relay.upload(KEY, upload_of(5))
    for _ in range(55):
        relay.tick()
    early = relay.simulator.calls()["create"]

    relay.finish()

    assert early == 1
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
def test_what_is_no_verdict_on_rows_pauses_and_resumes_by_itself(
    relay: Harness, fault: str, reason: str, times: int
) -> None:
    relay.deploy(requests_per_batch=2)
    relay.simulator.arm(fault, times=times, endpoint="create")
    relay.upload(KEY, upload_of(6))

    relay.finish(60)

    events = [
        (e["type"], e["data"].get("reason")) for e in relay.events() if "sending" in e["type"]
    ]
    assert events == [("sending.paused", reason), ("sending.resumed", reason)]
    assert [len(relay.lines(KEY)), paid_once(relay)] == [6, True]


def test_a_missing_key_pauses_and_a_set_one_resumes(relay: Harness) -> None:
    relay.key = "not-set-yet"
    relay.upload(KEY, upload_of(5))
    for _ in range(10):
        relay.tick()
    paused = [e for e in relay.events() if e["type"] == "sending.paused"]
    relay.key = "sk-local"

    relay.finish()

    assert [e["data"]["reason"] for e in paused] == ["key_missing"]
    assert "store a key from the Claude Console" in paused[0]["data"]["message"]
    assert len(relay.lines(KEY)) == 5


def test_a_key_replaced_in_the_secret_is_read_anew_without_parking(tmp_path: Path) -> None:
    with harness(tmp_path, keys={"sk-new": "default"}) as relay:
        relay.key = "sk-old"
        relay.submit.claude.fingerprint  # noqa: B018 - the container has the old key in hand
        relay.key = "sk-new"
        relay.upload(KEY, upload_of(5))
        relay.finish()

        assert "sending.paused" not in [e["type"] for e in relay.events()]
        assert len(relay.lines(KEY)) == 5


def sendings(relay: Harness) -> list[tuple[str, str]]:
    """Give what was told of sending, in order."""
    told = [event for event in relay.events() if event["type"].startswith("sending.")]
    return [(event["type"].partition(".")[2], event["data"]["reason"]) for event in told]


def test_a_wrong_key_pauses_once_while_poll_still_holds_a_good_one(tmp_path: Path) -> None:
    with harness(tmp_path, processing_s=36_000.0) as relay:
        relay.upload("in/first.jsonl", upload_of(2, "first"))
        relay.tick()
        relay.keys[SubmitSettings] = (
            "sk-wrong"  # in the secret by now: a new container has read it
        )
        relay.submit.claude.reload_key()
        relay.upload(KEY, upload_of(2))
        relay.tick()
        relay.key = "sk-wrong"
        for _ in range(20):
            relay.tick()
        before = sendings(relay)
        relay.keys.clear()
        relay.key = "sk-local"
        for _ in range(10):
            relay.tick()

        assert before == [("paused", "key_refused")]
        assert sendings(relay) == [("resumed", "key_refused")]


def test_after_a_rotation_with_overlap_all_functions_agree_on_the_key(tmp_path: Path) -> None:
    """Both keys are good: a lost answer under the old one is still found, and absence still proved."""
    with harness(tmp_path, keys={"sk-a": "one", "sk-b": "one"}) as relay:
        relay.key = "sk-a"
        relay.submit.claude.fingerprint  # noqa: B018 - the container has the old key in hand
        relay.key = "sk-b"
        relay.pass_time(301)
        relay.simulator.arm("server_error")
        relay.upload(KEY, upload_of(2))
        relay.finish(60)

        assert relay.manifest(KEY)["counts"] == {"succeeded": 2}
        assert paid_once(relay)


def test_a_batch_accepted_that_was_sent_before_parking_resumes_nothing(relay: Harness) -> None:
    relay.deploy(requests_per_batch=2)
    relay.simulator.arm("lost_answer")
    relay.simulator.arm("spend_limit", times=4, after=1)
    relay.upload(KEY, upload_of(4))

    relay.finish(90)

    assert sendings(relay) == [("paused", "spend_limit"), ("resumed", "spend_limit")]
    assert [len(relay.lines(KEY)), paid_once(relay)] == [4, True]


def test_a_key_that_may_send_and_not_list_stays_paused(relay: Harness) -> None:
    relay.deploy(requests_per_batch=1)
    relay.simulator.arm("forbidden", times=0, endpoint="list")
    relay.upload(KEY, upload_of(3))

    for _ in range(40):
        relay.tick()

    assert sendings(relay) == [("paused", "no_permission")]


def test_creates_in_vain_for_days_while_others_are_accepted_end_their_rows(relay: Harness) -> None:
    relay.simulator.arm("refuse_matching", times=0, contains="poison", status=500)
    relay.upload("in/bad.jsonl", upload_of(2, "poison"))
    relay.tick(1800)
    relay.upload("in/good.jsonl", upload_of(2, "good"))
    ticks = 0
    while relay.items.unfinished().jobs and ticks < 300:
        relay.tick(1800)
        ticks += 1

    told = [event for event in relay.events() if event["type"] == "batch.stuck"]
    assert 3 * 48 <= ticks < 4 * 48
    assert [event["data"]["step"] for event in told] == ["send"]
    assert "returned neither a batch nor a reason" in told[0]["data"]["problem"]
    assert relay.manifest("in/bad.jsonl")["errors"] == {"relay_stuck": 2}


def test_creates_in_vain_for_a_week_while_none_is_accepted_give_up_nothing(relay: Harness) -> None:
    relay.simulator.arm("server_error", times=0, endpoint="create")
    relay.upload(KEY, upload_of(2))
    for _ in range(7 * 24):
        relay.tick(3600)
    relay.simulator.disarm()
    relay.finish(60)

    assert relay.manifest(KEY)["counts"] == {"succeeded": 2}
    assert paid_once(relay)


@pytest.mark.parametrize("status", [403, 422])
def test_a_batch_refused_as_if_for_all_holds_up_no_other_for_long(
    relay: Harness, status: int
) -> None:
    relay.simulator.arm("bad_request", times=0, contains="poison", status=status)
    relay.upload("in/bad.jsonl", upload_of(2, "poison"))
    for number in range(10):
        relay.upload(f"in/good{number}.jsonl", upload_of(2, f"good {number}"))
        for _ in range(12):
            relay.tick()

    assert relay.items.unfinished().batches == []
    assert [relay.manifest(f"in/good{n}.jsonl")["outcome"] for n in range(10)] == [
        "succeeded"
    ] * 10
    assert relay.manifest("in/bad.jsonl")["errors"] == {"refused": 2}


def test_of_two_pauses_that_are_asked_for_the_longer_counts(relay: Harness) -> None:
    relay.deploy(requests_per_batch=1)
    relay.simulator.arm("rate_limited", retry_after=3600)
    relay.simulator.arm("rate_limited", retry_after=60)
    relay.upload(KEY, upload_of(2))
    relay.tick()

    held_until = relay.circuit.read().not_before
    assert held_until is not None
    assert timestamps.parse(held_until) - relay.now() > timedelta(minutes=50)


def test_a_key_that_is_refused_while_nothing_waits_pauses_until_it_works_again(
    tmp_path: Path,
) -> None:
    with harness(tmp_path, processing_s=600.0) as relay:
        relay.upload(KEY, upload_of(5))
        relay.tick()
        relay.key = "sk-wrong"
        relay.deploy()
        paused = [relay.tick().paused for _ in range(3)]
        relay.key = "sk-local"
        relay.finish()

        events = [e["type"] for e in relay.events() if "sending" in e["type"]]
        assert paused == [True] * 3
        assert events == ["sending.paused", "sending.resumed"]
        assert relay.manifest(KEY)["counts"] == {"succeeded": 5}
