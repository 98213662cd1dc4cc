"""Claude's faults: nothing is lost, and nothing is paid twice."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from functions.batches import times
from functions.batches.settings import SubmitSettings
from tests.world import World, request, upload_of, world

KEY = "in/march.jsonl"


def paid_once(relay: World) -> bool:
    """Whether no row's params were accepted twice."""
    return set(relay.simulator.accepted_params().values()) == {1}


@pytest.mark.parametrize("fault", ["lost_answer", "bad_gateway_after_accept"])
def test_promise_2_a_lost_answer_is_adopted_by_proof(relay: World, fault: str) -> None:
    relay.simulator.arm(fault)
    relay.upload(KEY, upload_of(5))

    relay.finish()

    assert relay.simulator.calls()["create"] == 1
    assert [len(relay.lines(KEY)), paid_once(relay)] == [5, True]
    (batch,) = relay.manifest(KEY)["batches"]
    assert batch["batch_id"] == relay.simulator.batches()[0]["id"]


def test_a_strangers_row_before_ours_does_not_hide_a_lost_answer(relay: World) -> None:
    relay.simulator.arm("lost_answer")
    relay.simulator.arm("row_foreign", times=2)
    relay.upload(KEY, upload_of(5))

    relay.finish()

    assert relay.simulator.calls()["create"] == 1
    assert [len(relay.lines(KEY)), paid_once(relay)] == [5, True]


@pytest.mark.parametrize("cut", ["cut_at_line", "cut_inside_line"])
def test_a_cut_download_takes_no_batch_for_a_strangers(relay: World, cut: str) -> None:
    relay.simulator.arm("lost_answer")
    relay.simulator.arm("row_foreign", times=3)
    relay.simulator.arm(cut, times=3, framing="close", rows=1)
    relay.upload(KEY, upload_of(5))

    relay.finish()

    assert relay.simulator.calls()["create"] == 1
    assert [len(relay.lines(KEY)), paid_once(relay)] == [5, True]


def test_three_unsure_creates_of_one_size_are_told_apart(relay: World) -> None:
    relay.deploy(requests_per_batch=4)
    relay.simulator.arm("lost_answer", times=3)
    relay.upload(KEY, upload_of(12))

    relay.finish()

    assert relay.simulator.calls()["create"] == 3
    assert [line["custom_id"] for line in relay.lines(KEY)] == [f"row-{n}" for n in range(1, 13)]


def test_foreign_batches_of_the_same_size_are_not_taken_for_ours(relay: World) -> None:
    relay.simulator.arm("server_error")
    relay.upload(KEY, upload_of(5))
    relay.tick()
    foreign = relay.simulator.add_foreign(5)

    relay.finish()

    assert len(relay.lines(KEY)) == 5
    (batch,) = relay.manifest(KEY)["batches"]
    assert batch["batch_id"] != foreign
    assert paid_once(relay)


def test_waits_while_a_foreign_batch_could_be_ours(relay: World) -> None:
    relay.simulator.arm("server_error")
    relay.upload(KEY, upload_of(5))
    relay.tick()
    foreign = relay.simulator.add_foreign(5, ended=False)
    for _ in range(30):
        relay.tick()
    creates = relay.simulator.calls()["create"]
    relay.simulator.end(foreign)
    relay.finish()

    assert creates == 1
    assert len(relay.lines(KEY)) == 5


def test_sends_again_only_what_is_proved_absent(relay: World) -> None:
    relay.simulator.arm("server_error")  # 500 before it was accepted: nobody can know
    relay.upload(KEY, upload_of(5))
    relay.tick()
    for _ in range(
        10
    ):  # ten minutes after the lost answer is too early: five of skew, ten of listings
        relay.tick()
    early = relay.simulator.calls()["create"]

    relay.finish()

    assert early == 1
    assert relay.simulator.calls()["create"] == 2
    assert paid_once(relay)


def test_an_orphan_that_appears_late_is_adopted(relay: World) -> None:
    relay.simulator.arm("lost_answer")
    relay.simulator.arm("hidden_from_list", listings=6)
    relay.upload(KEY, upload_of(5))

    relay.finish()

    assert relay.simulator.calls()["create"] == 1
    assert paid_once(relay)


@pytest.mark.parametrize(
    "fault",
    [
        "rate_limited_without_retry_after",
        "overloaded",
        "service_unavailable",
        "conflict",
        "reset_in_body",
    ],
)
def test_a_passing_refusal_costs_time_and_nothing_else(relay: World, fault: str) -> None:
    relay.simulator.arm(fault)
    relay.upload(KEY, upload_of(5))

    relay.finish()

    assert paid_once(relay)
    assert len(relay.lines(KEY)) == 5


def test_waits_as_long_as_retry_after_says(relay: World) -> None:
    relay.simulator.arm("rate_limited", retry_after=3600)
    relay.upload(KEY, upload_of(5))
    for _ in range(55):
        relay.tick()
    early = relay.simulator.calls()["create"]

    relay.finish()

    assert early == 1
    assert relay.simulator.calls()["create"] == 2


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("spend_limit", "spend_limit"),
        ("billing", "billing"),
        ("forbidden", "no_permission"),
        ("not_found", "not_found"),
        ("unauthorized", "key_refused"),
    ],
)
def test_what_is_no_verdict_on_rows_parks_and_resumes_by_itself(
    relay: World, fault: str, reason: str
) -> None:
    relay.deploy(requests_per_batch=2)
    relay.simulator.arm(fault, times=3, endpoint="create")
    relay.upload(KEY, upload_of(6))

    relay.finish(60)

    events = [
        (e["type"], e["data"].get("reason")) for e in relay.events() if "sending" in e["type"]
    ]
    assert events == [("sending.parked", reason), ("sending.resumed", reason)]
    assert [len(relay.lines(KEY)), paid_once(relay)] == [6, True]


def test_a_missing_key_parks_and_a_set_one_resumes(relay: World) -> None:
    relay.key = "not-set-yet"
    relay.upload(KEY, upload_of(5))
    for _ in range(10):
        relay.tick()
    parked = [e for e in relay.events() if e["type"] == "sending.parked"]
    relay.key = "sk-local"

    relay.finish()

    assert [e["data"]["reason"] for e in parked] == ["key_missing"]
    assert "put one from the Claude Console" in parked[0]["data"]["message"]
    assert len(relay.lines(KEY)) == 5


def test_a_key_replaced_in_the_secret_is_read_anew_without_parking(tmp_path: Path) -> None:
    with world(tmp_path, keys={"sk-new": "default"}) as relay:
        relay.key = "sk-old"
        relay.submit.claude.fingerprint  # noqa: B018 - the container has the old key in hand
        relay.key = "sk-new"
        relay.upload(KEY, upload_of(5))
        relay.finish()

        assert "sending.parked" not in [e["type"] for e in relay.events()]
        assert len(relay.lines(KEY)) == 5


def sendings(relay: World) -> list[tuple[str, str]]:
    """Give what was told of sending, in order."""
    told = [event for event in relay.events() if event["type"].startswith("sending.")]
    return [(event["type"].partition(".")[2], event["data"]["reason"]) for event in told]


def test_a_wrong_key_parks_once_while_poll_still_holds_a_good_one(tmp_path: Path) -> None:
    with world(tmp_path, processing_s=36_000.0) as relay:
        relay.upload("in/first.jsonl", upload_of(2, "first"))
        relay.tick()
        relay.keys[SubmitSettings] = (
            "sk-wrong"  # in the secret by now: a new container has read it
        )
        relay.submit.claude.renew_key()
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

        assert before == [("parked", "key_refused")]
        assert sendings(relay) == [("resumed", "key_refused")]


def test_after_a_rotation_with_overlap_all_functions_agree_on_the_key(tmp_path: Path) -> None:
    """Both keys are good: a lost answer under the old one is still found, and absence still proved."""
    with world(tmp_path, keys={"sk-a": "one", "sk-b": "one"}) as relay:
        relay.key = "sk-a"
        relay.submit.claude.fingerprint  # noqa: B018 - the container has the old key in hand
        relay.key = "sk-b"
        relay.pass_time(301)
        relay.simulator.arm("server_error")
        relay.upload(KEY, upload_of(2))
        relay.finish(60)

        assert relay.manifest(KEY)["counts"] == {"succeeded": 2}
        assert paid_once(relay)


def test_a_batch_accepted_that_was_sent_before_parking_resumes_nothing(relay: World) -> None:
    relay.deploy(requests_per_batch=2)
    relay.simulator.arm("lost_answer")
    relay.simulator.arm("spend_limit", times=4, after=1)
    relay.upload(KEY, upload_of(4))

    relay.finish(90)

    assert sendings(relay) == [("parked", "spend_limit"), ("resumed", "spend_limit")]
    assert [len(relay.lines(KEY)), paid_once(relay)] == [4, True]


def test_a_key_that_may_send_and_not_list_stays_parked(relay: World) -> None:
    relay.deploy(requests_per_batch=1)
    relay.simulator.arm("forbidden", times=0, endpoint="list")
    relay.upload(KEY, upload_of(3))

    for _ in range(40):
        relay.tick()

    assert sendings(relay) == [("parked", "no_permission")]


def test_creates_that_come_to_nothing_for_days_are_set_aside(relay: World) -> None:
    relay.simulator.arm("refuse_matching", times=0, contains="poison", status=500)
    relay.upload("in/bad.jsonl", upload_of(2, "poison"))
    ticks = 0
    while relay.store.unfinished().jobs and ticks < 1000:
        relay.tick(600.0)
        ticks += 1

    told = [event for event in relay.events() if event["type"] == "batch.stuck"]
    assert 3 * 144 <= ticks < 4 * 144
    assert [event["data"]["step"] for event in told] == ["send"]
    assert "creates gave no batch and no reason" in told[0]["data"]["problem"]
    assert relay.manifest("in/bad.jsonl")["errors"] == {"relay_stuck": 2}


@pytest.mark.parametrize("status", [403, 422])
def test_a_batch_refused_as_if_for_all_holds_up_no_other_for_long(
    relay: World, status: int
) -> None:
    relay.simulator.arm("refuse_matching", times=0, contains="poison", status=status)
    relay.upload("in/bad.jsonl", upload_of(2, "poison"))
    for number in range(10):
        relay.upload(f"in/good{number}.jsonl", upload_of(2, f"good {number}"))
        for _ in range(12):
            relay.tick()

    assert relay.store.unfinished().batches == []
    assert [relay.manifest(f"in/good{n}.jsonl")["outcome"] for n in range(10)] == [
        "succeeded"
    ] * 10
    assert relay.manifest("in/bad.jsonl")["errors"] == {"relay_stuck": 2}


def test_of_two_pauses_that_are_asked_for_the_longer_counts(relay: World) -> None:
    relay.deploy(requests_per_batch=1)
    relay.simulator.arm("rate_limited", retry_after=3600)
    relay.simulator.arm("rate_limited", retry_after=60)
    relay.upload(KEY, upload_of(2))
    relay.tick()

    held_until = relay.store.sending().not_before
    assert held_until is not None
    assert times.parse(held_until) - relay.now() > timedelta(minutes=50)


def test_under_another_workspace_nothing_is_taken_for_absent(tmp_path: Path) -> None:
    with world(tmp_path, keys={"sk-a": "one", "sk-b": "two"}) as relay:
        relay.key = "sk-a"
        relay.simulator.arm("lost_answer")
        relay.upload(KEY, upload_of(5))
        relay.tick()
        relay.key = "sk-b"
        relay.deploy()
        for _ in range(30):
            relay.tick()
        meanwhile = relay.simulator.calls()["create"]
        relay.key = "sk-a"
        relay.deploy()
        relay.finish()

        assert meanwhile == 1
        assert paid_once(relay)


def test_a_refused_chunk_is_halved_down_to_the_row_at_fault(relay: World) -> None:
    rows = [request(n, "refuse-me" if n == 6 else "fine") for n in range(1, 11)]
    relay.simulator.arm("refuse_matching", times=0, contains="refuse-me")
    relay.upload(KEY, b"\n".join(rows))

    relay.finish()

    lines = relay.lines(KEY)
    assert [line["row"] for line in lines] == list(range(1, 11))
    rejected = [line for line in lines if line["result"]["type"] == "rejected"]
    assert [line["custom_id"] for line in rejected] == ["row-6"]
    assert rejected[0]["result"]["error"]["message"].startswith(
        "line 6: refused by the API (400): "
    )
    assert relay.read(KEY, "retry.jsonl") == rows[5] + b"\n"
    assert paid_once(relay)


def test_a_create_that_is_too_large_is_halved(relay: World) -> None:
    relay.simulator.arm("too_large", times=0, more_than=3)
    relay.upload(KEY, upload_of(10))

    relay.finish()

    assert [line["row"] for line in relay.lines(KEY)] == list(range(1, 11))
    assert max(relay.simulator.accepted_params().values()) == 1


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("fault", ["cut_at_line", "cut_inside_line"])
def test_a_download_that_is_cut_is_fetched_again(relay: World, fault: str, framing: str) -> None:
    relay.simulator.arm(fault, times=2, framing=framing)
    relay.upload(KEY, upload_of(20))

    relay.finish(60)

    assert relay.manifest(KEY)["counts"] == {"succeeded": 20}


@pytest.mark.parametrize(
    "fault", ["row_missing", "row_doubled", "row_foreign", "results_not_found"]
)
def test_results_that_are_not_the_rows_sent_are_fetched_again(relay: World, fault: str) -> None:
    relay.simulator.arm(fault, times=2)
    relay.upload(KEY, upload_of(20))

    relay.finish(60)

    assert relay.manifest(KEY)["counts"] == {"succeeded": 20}
    assert paid_once(relay)


def test_a_row_missing_for_good_is_errored_and_never_sent_again(relay: World) -> None:
    relay.simulator.arm("row_missing", times=0)
    relay.upload(KEY, upload_of(20))

    relay.finish(60)

    assert relay.manifest(KEY)["counts"] == {"errored": 1, "succeeded": 19}
    assert relay.manifest(KEY)["errors"] == {"result_missing": 1}
    assert paid_once(relay)


@pytest.mark.parametrize(
    ("fault", "errors"), [("unknown_result_type", {}), ("unknown_error_type", None)]
)
def test_an_unknown_result_passes_through(relay: World, fault: str, errors: Any) -> None:
    relay.simulator.arm(fault)
    relay.upload(KEY, upload_of(5))

    relay.finish()

    counts = relay.manifest(KEY)["counts"]
    assert (counts["succeeded"], sum(counts.values())) == (4, 5)
    assert paid_once(relay)
    assert (relay.manifest(KEY)["errors"] == {}) is (errors == {})


@pytest.mark.parametrize("fault", ["deleted_before_collection", "archived_before_collection"])
def test_a_batch_that_is_gone_ends_its_rows_with_a_sentence(relay: World, fault: str) -> None:
    relay.simulator.arm(fault)
    relay.upload(KEY, upload_of(5))
    for _ in range(5):
        relay.tick()
    relay.pass_time(26 * 3600)

    relay.finish(60)

    assert relay.manifest(KEY)["errors"] == {"results_gone": 5}
    assert "deleted or archived" in relay.lines(KEY)[0]["result"]["error"]["error"]["message"]
    assert paid_once(relay)


def test_404s_decide_nothing(relay: World) -> None:
    relay.simulator.arm("results_not_found", times=10)
    relay.upload(KEY, upload_of(5))

    relay.finish(60)

    assert relay.manifest(KEY)["counts"] == {"succeeded": 5}


def test_a_batch_canceled_in_the_console_is_delivered_as_it_is(tmp_path: Path) -> None:
    with world(tmp_path, processing_s=600.0) as relay:
        relay.simulator.arm("canceled_in_console", done=0.5)
        relay.upload(KEY, upload_of(20))
        relay.finish(60)

        counts = relay.manifest(KEY)["counts"]
        assert counts["canceled"] + counts["succeeded"] == 20
        assert counts["canceled"] > 0
        assert paid_once(relay)


def test_a_late_200_overrides_what_was_thought_meanwhile(relay: World) -> None:
    """A create that outlives its lease and its replacement: two batches, one canceled, one alarm."""
    relay.deploy(create_timeout_s=20.0)
    relay.upload(KEY, upload_of(5))
    late = _send_with_a_late_answer(relay)
    relay.finish(60)

    assert late != relay.manifest(KEY)["batches"][0]["batch_id"]
    assert len(relay.lines(KEY)) == 5


def _send_with_a_late_answer(relay: World) -> str:
    """Let a second Message Batch of the same requests be recorded after the first."""
    from functions.steps.record import record  # noqa: PLC0415

    relay.tick()
    (batch,) = relay.store.unfinished().batches
    body = relay.submit.files.read(relay.submit.files.own(batch.requests_key))
    verdict: Any = relay.submit.claude.create(body, batch.size_bytes, "2026-10-21")
    record(relay.submit, batch, verdict.batch)
    assert relay.tick().doubles == 1
    return str(verdict.batch.id)


def test_when_claude_does_not_answer_the_poll_says_so(relay: World) -> None:
    relay.upload(KEY, upload_of(5))
    relay.tick()
    relay.simulator.arm("server_error", times=0, endpoint="any")

    failing = relay.tick()
    relay.simulator.reset()

    assert not failing.succeeded


def test_a_batch_deleted_before_it_was_seen_to_end_is_gone_when_it_must_have_expired(
    relay: World,
) -> None:
    relay.upload(KEY, upload_of(5))
    relay.tick()
    relay.simulator.delete(relay.simulator.batches()[0]["id"])  # type: ignore[arg-type]
    for _ in range(10):
        relay.tick()
    (waiting,) = relay.store.unfinished().batches
    relay.pass_time(26 * 3600)
    relay.finish()

    assert waiting.status == "IN_PROGRESS"
    assert relay.manifest(KEY)["errors"] == {"results_gone": 5}


def test_a_key_that_is_refused_while_nothing_waits_parks_until_it_works_again(
    tmp_path: Path,
) -> None:
    with world(tmp_path, processing_s=600.0) as relay:
        relay.upload(KEY, upload_of(5))
        relay.tick()
        relay.key = "sk-wrong"
        relay.deploy()
        parked = [relay.tick().parked for _ in range(3)]
        relay.key = "sk-local"
        relay.finish()

        events = [e["type"] for e in relay.events() if "sending" in e["type"]]
        assert parked == [True] * 3
        assert events == ["sending.parked", "sending.resumed"]
        assert relay.manifest(KEY)["counts"] == {"succeeded": 5}


def test_a_double_that_is_older_takes_the_place_of_the_newer(tmp_path: Path) -> None:
    """The answer to the first create comes after the second one's."""
    from functions.steps.record import record  # noqa: PLC0415

    with world(tmp_path, processing_s=600.0) as relay:
        relay.upload(KEY, upload_of(3))
        (batch,) = relay.store.unfinished().batches
        body = relay.submit.files.read(relay.submit.files.own(batch.requests_key))
        first: Any = relay.submit.claude.create(body, batch.size_bytes, "2026-10-21")
        relay.tick()
        record(relay.submit, batch, first.batch)
        doubles = relay.tick().doubles
        relay.finish()

        assert doubles == 1
        assert relay.manifest(KEY)["batches"][0]["batch_id"] == first.batch.id
        assert relay.simulator.calls()["cancel"] == 1
        assert len(relay.lines(KEY)) == 3


def test_a_job_that_cannot_be_assembled_still_ends_and_says_so(relay: World) -> None:
    relay.deploy(retry_s=10)
    relay.upload(KEY, upload_of(3))
    relay.simulator.arm("results_not_found")
    for _ in range(2):
        relay.tick()
    put = relay.results.files.put
    relay.results.files.put = lambda *_: 1 / 0  # type: ignore[assignment]
    ended: list[dict[str, Any]] = []
    for _ in range(60):
        try:
            relay.tick(200)
        except ZeroDivisionError:
            continue
        ended += [e for e in relay.events() if e["type"] == "job.completed"]
    relay.results.files.put = put  # type: ignore[method-assign]

    (event,) = ended
    assert event["data"]["outcome"] == "failed"
    assert "could not be assembled" in event["data"]["reason"]
