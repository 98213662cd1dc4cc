"""A cancel is repeated until the listing shows it, and one failing batch blocks no other."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from functions.model.create_response import Accepted
from tests.harness import Harness, make_upload, open_harness

KEY, OTHER = "in/march.jsonl", "in/april.jsonl"


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Harness]:
    """A relay whose batches run for hours."""
    with open_harness(tmp_path, processing_s=36_000.0) as harness:
        yield harness


def upload_and_send(relay: Harness, *keys: str) -> list[str]:
    """Upload files and send their batches; return the batches' ids at Anthropic."""
    for key in keys:
        relay.upload(key, make_upload(2, key))
        relay.tick()
    return [batch.batch_id or "" for batch in relay.items.unfinished().batches]


def canceled_batches(relay: Harness) -> set[object]:
    return {batch["id"] for batch in relay.simulator.batches() if batch["cancel_initiated_at"]}


@pytest.mark.parametrize("fault", ["not_found", "conflict", "server_error", "lost_answer"])
def test_a_failed_cancel_is_repeated(relay: Harness, fault: str) -> None:
    (batch_id,) = upload_and_send(relay, KEY)
    relay.simulator.arm(fault, times=2, endpoint="cancel")
    relay.upload(KEY + ".cancel", b"")

    relay.finish(60)

    assert canceled_batches(relay) == {batch_id}
    assert relay.manifest(KEY)["counts"] == {"canceled": 2}


def test_a_cancel_after_all_rows_were_done_says_so(relay: Harness) -> None:
    (batch_id,) = upload_and_send(relay, KEY)
    relay.simulator.end(batch_id)
    relay.upload(f"{KEY}.cancel", b"")

    relay.finish()

    manifest = relay.manifest(KEY)
    assert (manifest["outcome"], manifest["counts"]) == ("succeeded", {"succeeded": 2})
    assert manifest["reason"] == (
        "canceled after all rows were done, so the cancel changed nothing"
    )


def test_a_failing_cancel_does_not_block_other_cancels(relay: Harness) -> None:
    first, second = upload_and_send(relay, KEY, OTHER)
    relay.simulator.arm("server_error", times=0, endpoint="cancel", batch_id=first)
    for key in (KEY, OTHER):
        relay.upload(key + ".cancel", b"")

    summaries = [relay.tick() for _ in range(3)]

    assert canceled_batches(relay) == {second}
    assert [summary.passed_over for summary in summaries] == [0] * 3


def test_a_batch_that_is_canceling_is_not_canceled_again(relay: Harness) -> None:
    upload_and_send(relay, KEY)
    relay.upload(KEY + ".cancel", b"")
    for _ in range(5):
        relay.tick(1)

    assert relay.simulator.calls()["cancel"] == 1


def create_duplicate(relay: Harness) -> str:
    """Send an upload's requests again, flagged as a duplicate; return the second batch's id."""
    upload_and_send(relay, KEY)
    (batch,) = relay.items.unfinished().batches
    body = relay.submit.files.read(relay.submit.files.results_object(batch.requests_key))
    verdict = relay.submit.claude.create(body, batch.size_bytes, "2026-10-21")
    assert isinstance(verdict, Accepted)
    ownership_record = relay.ownership.build(
        verdict.batch.id, f"{batch.job}/{batch.item}", duplicate=True
    )
    assert relay.ownership.record(ownership_record)
    return verdict.batch.id


@pytest.mark.parametrize("fault", ["not_found", "conflict", "server_error"])
def test_a_duplicate_stays_open_until_the_listing_shows_its_cancel(
    relay: Harness, fault: str
) -> None:
    duplicate_id = create_duplicate(relay)
    relay.simulator.arm(fault, times=2, endpoint="cancel")

    duplicates = [relay.tick().duplicates for _ in range(4)]

    assert duplicates == [1, 1, 1, 0]
    assert canceled_batches(relay) == {duplicate_id}


def test_a_cancel_with_a_lost_answer_is_found_in_the_listing(
    relay: Harness,
) -> None:
    duplicate_id = create_duplicate(relay)
    relay.simulator.arm("lost_answer", endpoint="cancel")

    assert [relay.tick(1).duplicates for _ in range(3)] == [1, 1, 0]
    assert canceled_batches(relay) == {duplicate_id}
    assert relay.simulator.calls()["cancel"] == 1


def test_duplicates_are_canceled_first(relay: Harness) -> None:
    duplicate_id = create_duplicate(relay)
    relay.upload(KEY + ".cancel", b"")
    relay.tick(1)  # the job counts as canceled from now on
    relay.simulator.arm("server_error", times=1, endpoint="cancel")

    relay.tick(1)

    assert canceled_batches(relay) == {duplicate_id}


def test_a_duplicate_that_has_ended_is_closed_without_a_cancel(relay: Harness) -> None:
    relay.simulator.end(create_duplicate(relay))

    assert [relay.tick().duplicates, relay.tick().duplicates] == [1, 0]
    assert "cancel" not in relay.simulator.calls()


def test_a_missing_duplicate_is_closed_after_25_hours(
    relay: Harness,
) -> None:
    """Neither 404s nor listings close it: the key may be of another workspace by now."""
    ownership_record = relay.ownership.build("msgbatch_gone", "job/00001-1", duplicate=True)
    assert relay.ownership.record(ownership_record)

    duplicates = [
        relay.tick(3601).duplicates for _ in range(26)
    ]  # the 25th tick is beyond 25 hours

    assert duplicates == [1] * 25 + [0]
