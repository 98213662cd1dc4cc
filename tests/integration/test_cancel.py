"""A cancel is asked for until the listing shows it: one answer alone says nothing, and one batch stops no other."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from functions.model.create_response import Accepted
from tests.harness import Harness, harness, upload_of

KEY, OTHER = "in/march.jsonl", "in/april.jsonl"


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Harness]:
    """A relay whose batches run for hours."""
    with harness(tmp_path, processing_s=36_000.0) as made:
        yield made


def send(relay: Harness, *keys: str) -> list[str]:
    """Send an upload's batch, and name it at Anthropic."""
    for key in keys:
        relay.upload(key, upload_of(2, key))
        relay.tick()
    return [batch.batch_id or "" for batch in relay.items.unfinished().batches]


def canceled(relay: Harness) -> set[object]:
    return {one["id"] for one in relay.simulator.batches() if one["cancel_initiated_at"]}


@pytest.mark.parametrize("fault", ["not_found", "conflict", "server_error", "lost_answer"])
def test_an_answer_that_decides_nothing_is_no_cancel(relay: Harness, fault: str) -> None:
    (batch_id,) = send(relay, KEY)
    relay.simulator.arm(fault, times=2, endpoint="cancel")
    relay.upload(KEY + ".cancel", b"")

    relay.finish(60)

    assert canceled(relay) == {batch_id}
    assert relay.manifest(KEY)["counts"] == {"canceled": 2}


def test_a_batch_that_cannot_be_canceled_stops_the_cancel_of_no_other(relay: Harness) -> None:
    first, second = send(relay, KEY, OTHER)
    relay.simulator.arm("server_error", times=0, endpoint="cancel", batch_id=first)
    for key in (KEY, OTHER):
        relay.upload(key + ".cancel", b"")

    tallies = [relay.tick() for _ in range(3)]

    assert canceled(relay) == {second}
    assert [tally.passed_over for tally in tallies] == [0] * 3


def test_what_is_canceling_is_not_canceled_again(relay: Harness) -> None:
    send(relay, KEY)
    relay.upload(KEY + ".cancel", b"")
    for _ in range(5):
        relay.tick(1)

    assert relay.simulator.calls()["cancel"] == 1


def duplicate(relay: Harness) -> str:
    """Send the requests of an upload a second time, and flag that; gives the second batch."""
    send(relay, KEY)
    (batch,) = relay.items.unfinished().batches
    body = relay.submit.files.read(relay.submit.files.results_object(batch.requests_key))
    verdict = relay.submit.claude.create(body, batch.size_bytes, "2026-10-21")
    assert isinstance(verdict, Accepted)
    owner = relay.ownership.build(verdict.batch.id, f"{batch.job}/{batch.item}", duplicate=True)
    assert relay.ownership.record(owner)
    return verdict.batch.id


@pytest.mark.parametrize("fault", ["not_found", "conflict", "server_error"])
def test_a_duplicate_stays_open_until_its_cancel_is_seen(relay: Harness, fault: str) -> None:
    extra = duplicate(relay)
    relay.simulator.arm(fault, times=2, endpoint="cancel")

    duplicates = [relay.tick().duplicates for _ in range(4)]

    assert duplicates == [1, 1, 1, 0]
    assert canceled(relay) == {extra}


def test_a_duplicate_whose_cancel_was_heard_and_not_answered_is_seen_in_the_listing(
    relay: Harness,
) -> None:
    extra = duplicate(relay)
    relay.simulator.arm("lost_answer", endpoint="cancel")

    assert [relay.tick(1).duplicates for _ in range(3)] == [1, 1, 0]
    assert canceled(relay) == {extra}
    assert relay.simulator.calls()["cancel"] == 1


def test_duplicates_are_canceled_before_all_else(relay: Harness) -> None:
    extra = duplicate(relay)
    relay.upload(KEY + ".cancel", b"")
    relay.tick(1)  # the job is canceled from here on
    relay.simulator.arm("server_error", times=1, endpoint="cancel")

    relay.tick(1)

    assert canceled(relay) == {extra}


def test_a_duplicate_that_has_ended_is_closed_without_a_cancel(relay: Harness) -> None:
    relay.simulator.end(duplicate(relay))

    assert [relay.tick().duplicates, relay.tick().duplicates] == [1, 0]
    assert "cancel" not in relay.simulator.calls()


def test_a_duplicate_that_nobody_can_find_is_closed_when_it_must_have_ended(
    relay: Harness,
) -> None:
    """Not by 404s, nor by listings: the key may be of another workspace by now."""
    owner = relay.ownership.build("msgbatch_gone", "job/00001-1", duplicate=True)
    assert relay.ownership.record(owner)

    duplicates = [
        relay.tick(3601).duplicates for _ in range(26)
    ]  # from the 25th on, it is past 25 hours

    assert duplicates == [1] * 25 + [0]
