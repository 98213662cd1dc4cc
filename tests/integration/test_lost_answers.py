"""Creates whose answer is lost: their batches are found, and no row is paid for twice."""

from pathlib import Path
from typing import Any

import pytest

from tests.harness import Harness, every_row_accepted_once, make_upload, open_harness

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
def test_promise_2_a_batch_with_a_lost_answer_is_adopted(relay: Harness, fault: str) -> None:
    relay.simulator.arm(fault)
    relay.upload(KEY, make_upload(5))

    relay.finish()

    assert relay.simulator.calls()["create"] == 1
    assert [len(relay.lines(KEY)), every_row_accepted_once(relay)] == [5, True]
    (batch,) = relay.manifest(KEY)["batches"]
    assert batch["batch_id"] == relay.simulator.batches()[0]["id"]


def test_a_foreign_row_does_not_prevent_adoption(relay: Harness) -> None:
    relay.simulator.arm("lost_answer")
    relay.simulator.arm("row_foreign", times=2)
    relay.upload(KEY, make_upload(5))

    relay.finish()

    assert relay.simulator.calls()["create"] == 1
    assert [len(relay.lines(KEY)), every_row_accepted_once(relay)] == [5, True]


@pytest.mark.parametrize("cut", ["cut_at_line", "cut_inside_line"])
def test_a_truncated_download_does_not_make_a_batch_foreign(relay: Harness, cut: str) -> None:
    relay.simulator.arm("lost_answer")
    relay.simulator.arm("row_foreign", times=3)
    relay.simulator.arm(cut, times=3, framing="close", rows=1)
    relay.upload(KEY, make_upload(5))

    relay.finish()

    assert relay.simulator.calls()["create"] == 1
    assert [len(relay.lines(KEY)), every_row_accepted_once(relay)] == [5, True]


def test_three_unconfirmed_creates_of_one_size_are_distinguished(relay: Harness) -> None:
    relay.deploy(requests_per_batch=4)
    relay.simulator.arm("lost_answer", times=3)
    relay.upload(KEY, make_upload(12))

    relay.finish()

    assert relay.simulator.calls()["create"] == 3
    assert [line["custom_id"] for line in relay.lines(KEY)] == [f"row-{n}" for n in range(1, 13)]


def test_foreign_batches_of_the_same_size_are_not_adopted(relay: Harness) -> None:
    relay.simulator.arm("server_error")
    relay.upload(KEY, make_upload(5))
    relay.tick()
    foreign_id = relay.simulator.add_foreign(5)

    relay.finish()

    assert len(relay.lines(KEY)) == 5
    (batch,) = relay.manifest(KEY)["batches"]
    assert batch["batch_id"] != foreign_id
    assert every_row_accepted_once(relay)


def test_a_create_is_not_resent_while_an_open_batch_could_be_its_own(relay: Harness) -> None:
    relay.simulator.arm("server_error")
    relay.upload(KEY, make_upload(5))
    relay.tick()
    foreign_id = relay.simulator.add_foreign(5, ended=False)
    for _ in range(30):
        relay.tick()
    creates_while_open = relay.simulator.calls()["create"]
    relay.simulator.end(foreign_id)
    relay.finish()

    assert creates_while_open == 1
    assert len(relay.lines(KEY)) == 5


def test_a_create_is_resent_only_after_its_batch_is_declared_absent(relay: Harness) -> None:
    relay.simulator.arm("server_error")  # a 500 leaves open whether it was accepted
    relay.upload(KEY, make_upload(5))
    relay.tick()
    for _ in range(
        10
    ):  # ten minutes are too early: five for clock skew, ten between complete listings
        relay.tick()
    early_creates = relay.simulator.calls()["create"]

    relay.finish()

    assert early_creates == 1
    assert relay.simulator.calls()["create"] == 2
    assert every_row_accepted_once(relay)


def test_a_batch_listed_late_is_adopted(relay: Harness) -> None:
    relay.simulator.arm("lost_answer")
    relay.simulator.arm("hidden_from_list", listings=6)
    relay.upload(KEY, make_upload(5))

    relay.finish()

    assert relay.simulator.calls()["create"] == 1
    assert every_row_accepted_once(relay)


def test_a_key_of_another_workspace_proves_no_absence(tmp_path: Path) -> None:
    with open_harness(tmp_path, keys={"sk-a": "one", "sk-b": "two"}) as relay:
        relay.key = "sk-a"
        relay.simulator.arm("lost_answer")
        relay.upload(KEY, make_upload(5))
        relay.tick()
        relay.key = "sk-b"
        relay.deploy()
        for _ in range(30):
            relay.tick()
        creates_meanwhile = relay.simulator.calls()["create"]
        relay.key = "sk-a"
        relay.deploy()
        relay.finish()

        assert creates_meanwhile == 1
        assert every_row_accepted_once(relay)


def test_a_late_200_makes_the_newer_batch_a_duplicate(relay: Harness) -> None:
    """A create outlives its lease and its replacement: two batches, one is canceled."""
    relay.deploy(create_timeout_s=20.0)
    relay.upload(KEY, make_upload(5))
    late_batch_id = _record_second_batch(relay)
    relay.finish(60)

    assert late_batch_id != relay.manifest(KEY)["batches"][0]["batch_id"]
    assert len(relay.lines(KEY)) == 5


def _record_second_batch(relay: Harness) -> str:
    """Record a second Message Batch of the same requests after the first."""
    from functions.adapters.adopt import adopt  # noqa: PLC0415

    relay.tick()
    (batch,) = relay.items.unfinished().batches
    body = relay.submit.files.read(relay.submit.files.results_object(batch.requests_key))
    verdict: Any = relay.submit.claude.create(body, batch.size_bytes, "2026-10-21")
    adopt(relay.submit.items, relay.submit.ownership, batch, verdict.batch)
    assert relay.tick().duplicates == 1
    return str(verdict.batch.id)


def test_an_older_duplicate_replaces_the_newer_batch(tmp_path: Path) -> None:
    """The answer to the first create arrives after the answer to the second."""
    from functions.adapters.adopt import adopt  # noqa: PLC0415

    with open_harness(tmp_path, processing_s=600.0) as relay:
        relay.upload(KEY, make_upload(3))
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
