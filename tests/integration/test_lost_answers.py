"""Creates whose answer is lost: what is there is found by proof, and nothing is paid twice."""

from pathlib import Path
from typing import Any

import pytest

from tests.harness import Harness, harness, paid_once, upload_of

KEY = "in/march.jsonl"


@pytest.mark.parametrize(
    "fault",
    [
        "lost_answer",
        "bad_gateway_after_accept",
        "server_error_after_accept",
        "gateway_timeout_after_accept",
        "overloaded_after_accept",
    ],
)
def test_promise_2_a_lost_answer_is_adopted_by_proof(relay: Harness, fault: str) -> None:
    relay.simulator.arm(fault)
    relay.upload(KEY, upload_of(5))

    relay.finish()

    assert relay.simulator.calls()["create"] == 1
    assert [len(relay.lines(KEY)), paid_once(relay)] == [5, True]
    (batch,) = relay.manifest(KEY)["batches"]
    assert batch["batch_id"] == relay.simulator.batches()[0]["id"]


def test_a_strangers_row_before_ours_does_not_hide_a_lost_answer(relay: Harness) -> None:
    relay.simulator.arm("lost_answer")
    relay.simulator.arm("row_foreign", times=2)
    relay.upload(KEY, upload_of(5))

    relay.finish()

    assert relay.simulator.calls()["create"] == 1
    assert [len(relay.lines(KEY)), paid_once(relay)] == [5, True]


@pytest.mark.parametrize("cut", ["cut_at_line", "cut_inside_line"])
def test_a_cut_download_takes_no_batch_for_a_strangers(relay: Harness, cut: str) -> None:
    relay.simulator.arm("lost_answer")
    relay.simulator.arm("row_foreign", times=3)
    relay.simulator.arm(cut, times=3, framing="close", rows=1)
    relay.upload(KEY, upload_of(5))

    relay.finish()

    assert relay.simulator.calls()["create"] == 1
    assert [len(relay.lines(KEY)), paid_once(relay)] == [5, True]


def test_three_unconfirmed_creates_of_one_size_are_told_apart(relay: Harness) -> None:
    relay.deploy(requests_per_batch=4)
    relay.simulator.arm("lost_answer", times=3)
    relay.upload(KEY, upload_of(12))

    relay.finish()

    assert relay.simulator.calls()["create"] == 3
    assert [line["custom_id"] for line in relay.lines(KEY)] == [f"row-{n}" for n in range(1, 13)]


def test_foreign_batches_of_the_same_size_are_not_taken_for_ours(relay: Harness) -> None:
    relay.simulator.arm("server_error")
    relay.upload(KEY, upload_of(5))
    relay.tick()
    foreign = relay.simulator.add_foreign(5)

    relay.finish()

    assert len(relay.lines(KEY)) == 5
    (batch,) = relay.manifest(KEY)["batches"]
    assert batch["batch_id"] != foreign
    assert paid_once(relay)


def test_waits_while_a_foreign_batch_could_be_ours(relay: Harness) -> None:
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


def test_sends_again_only_what_is_proved_absent(relay: Harness) -> None:
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


def test_an_orphan_that_appears_late_is_adopted(relay: Harness) -> None:
    relay.simulator.arm("lost_answer")
    relay.simulator.arm("hidden_from_list", listings=6)
    relay.upload(KEY, upload_of(5))

    relay.finish()

    assert relay.simulator.calls()["create"] == 1
    assert paid_once(relay)


def test_under_another_workspace_nothing_is_taken_for_absent(tmp_path: Path) -> None:
    with harness(tmp_path, keys={"sk-a": "one", "sk-b": "two"}) as relay:
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


def test_a_late_200_overrides_what_was_thought_meanwhile(relay: Harness) -> None:
    """A create that outlives its lease and its replacement: two batches, one canceled, one alarm."""
    relay.deploy(create_timeout_s=20.0)
    relay.upload(KEY, upload_of(5))
    late = _send_with_a_late_answer(relay)
    relay.finish(60)

    assert late != relay.manifest(KEY)["batches"][0]["batch_id"]
    assert len(relay.lines(KEY)) == 5


def _send_with_a_late_answer(relay: Harness) -> str:
    """Let a second Message Batch of the same requests be recorded after the first."""
    from functions.adapters.adopt import adopt  # noqa: PLC0415

    relay.tick()
    (batch,) = relay.items.unfinished().batches
    body = relay.submit.files.read(relay.submit.files.results_object(batch.requests_key))
    verdict: Any = relay.submit.claude.create(body, batch.size_bytes, "2026-10-21")
    adopt(relay.submit.items, relay.submit.ownership, batch, verdict.batch)
    assert relay.tick().duplicates == 1
    return str(verdict.batch.id)


def test_a_duplicate_that_is_older_takes_the_place_of_the_newer(tmp_path: Path) -> None:
    """The answer to the first create comes after the second one's."""
    from functions.adapters.adopt import adopt  # noqa: PLC0415

    with harness(tmp_path, processing_s=600.0) as relay:
        relay.upload(KEY, upload_of(3))
        (batch,) = relay.items.unfinished().batches
        body = relay.submit.files.read(relay.submit.files.results_object(batch.requests_key))
        first: Any = relay.submit.claude.create(body, batch.size_bytes, "2026-10-21")
        relay.tick()
        adopt(relay.submit.items, relay.submit.ownership, batch, first.batch)
        duplicates = relay.tick().duplicates
        relay.finish()

        assert duplicates == 1
        assert relay.manifest(KEY)["batches"][0]["batch_id"] == first.batch.id
        assert relay.simulator.calls()["cancel"] == 1
        assert len(relay.lines(KEY)) == 3
